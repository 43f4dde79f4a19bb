"""Metrics of all faces and of subgroups (ages, columns, found or not), and gaps between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.manifest import AGE_BANDS, Manifest
from moppet.evaluate.predictions import Predictions
from moppet.media.sources import natural
from moppet.metrics import (
    Difference,
    DrawnFigures,
    Estimate,
    paired_bootstrap_many,
    summarize,
    within,
)
from moppet.metrics.bootstrap import bootstrap_means, drawn_means
from moppet.values import UsageError, name_hint

Mask = NDArray[np.bool_]
CHILDREN: Final = ("infant", "child")
CHILDREN_KEY: Final = "infant or child"
NOT_STATED: Final = "unspecified"
MOST_VALUES: Final = 500
_MOST_NUMBERS: Final = 12
_GAP_FIGURES: Final = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "ece",
    "model_plurality_agreement",
    "human_plurality_agreement",
    "one_rater",
    "accuracy_less_one_rater",
)


class Resampling(NamedTuple):
    """How intervals are drawn: the seed, and the number of bootstrap draws."""

    seed: int = 0
    draws: int = 1000

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator, so that every figure has the same draws."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class Subgroup:
    """Metrics of n faces.

    overall, per_class, confusion: see `moppet.metrics.Summary`.
    groups: number of subjects or images; duplicates count once.
    one_rater: how often the vote of one rater is the label.
    commonest: "name", the most frequent class, and its share as an estimate: the accuracy of
    always predicting it.
    """

    n: int
    overall: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    confusion: NDArray[np.int64]
    groups: int
    one_rater: Estimate
    commonest: dict[str, Any]


def measure_subgroup(predictions: Predictions, resampling: Resampling) -> Subgroup:
    """Return every metric of these faces, with 95 % intervals."""
    summary = summarize(
        predictions.probabilities,
        predictions.label,
        predictions.groups,
        predictions.names,
        resampling.rng,
        votes=predictions.votes,
        abstained=predictions.abstained,
        draws=resampling.draws,
    )
    counts = np.bincount(predictions.label, minlength=len(predictions.names))
    most = int(counts.argmax()) if len(predictions) else -1
    means = bootstrap_means(
        {"rater": predictions.votes_on_label(), "commonest": predictions.label == most},
        *(predictions.groups, resampling.rng, resampling.draws),
    )
    return Subgroup(
        summary.n,
        summary.overall,
        summary.per_class,
        summary.confusion,
        len(np.unique(predictions.groups)),
        means["rater"],
        {"name": predictions.names[most] if most >= 0 else None, **means["commonest"]._asdict()},
    )


def age_subgroups(bands: Iterable[Any]) -> dict[str, Mask]:
    """Return a mask for each age band that occurs, and for infants and children together."""
    band = np.array([str(b) for b in bands], object)
    parts = {name: band == name for name in AGE_BANDS if (band == name).any()}
    if all(name in parts for name in CHILDREN):
        parts[CHILDREN_KEY] = parts["infant"] | parts["child"]
    return parts


def column_subgroups(manifest: Manifest, name: str) -> dict[str, Mask]:
    """Return a mask for each value of a column; for numbers with many values, for each quarter.

    Every row is in one of them; rows without a value are in the last one.
    Raises UsageError for a column that does not exist, contains lists, or has too many values.
    """
    if name not in manifest.table.column_names:
        raise UsageError(
            f"--by needs a column of the data, but there is no {name!r}."
            f"{name_hint(name, manifest.table.column_names)}"
        )
    if manifest.table[name].type.num_fields:
        raise UsageError(f"--by needs a column of words or numbers; {name!r} holds lists.")
    values = manifest.table[name].to_pylist()
    missing = np.array([v is None or v != v for v in values], bool)
    known = [v for v, none in zip(values, missing, strict=True) if not none]
    different = _in_order(name, set(known))
    parts = {}
    if len(different) > _MOST_NUMBERS and isinstance(different[0], int | float):
        for text, inside in _quarters(np.array(known)).items():
            parts[text] = np.zeros(len(values), bool)
            parts[text][~missing] = inside
    else:
        for text, value in zip(_texts(different), different, strict=True):
            parts[text] = np.array([v == value for v in values], bool)
    if len(parts) > MOST_VALUES:
        raise UsageError(
            f"--by {name} would make {len(parts):,} parts of {len(manifest):,} rows; name a "
            f"column with at most {MOST_VALUES} different values."
        )
    if missing.any():
        parts[NOT_STATED if NOT_STATED not in parts else f"{NOT_STATED} at all"] = missing
    return parts


def _in_order(name: str, values: set[Any]) -> list[Any]:
    if name == "age_band":
        return [band for band in AGE_BANDS if band in values]
    return sorted(values, key=lambda v: (1, natural(v)) if isinstance(v, str) else (0, v))


def _texts(values: Sequence[Any]) -> list[str]:
    """Return a text for each value, with all digits if numbers would look the same."""
    short = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    return short if len(set(short)) == len(values) else [str(v) for v in values]


def _quarters(values: NDArray[Any]) -> dict[str, Mask]:
    """Masks between the quartiles, which are values that occur, including infinite ones."""
    places = np.ceil(np.linspace(0, 1, 5) * (len(values) - 1)).astype(np.intp)
    edges = np.unique(np.sort(values)[places])
    parts = {}
    texts = _texts(edges.tolist())
    for number, ((low, high), (start, end)) in enumerate(
        zip(pairwise(edges), pairwise(texts), strict=True)
    ):
        last = number == len(edges) - 2
        inside = (values >= low) & ((values <= high) if last else (values < high))
        parts[f"{start} to {'' if last else 'under '}{end}"] = inside
    return parts


@dataclass(frozen=True)
class Gap:
    """How metrics on infants and children differ from those on others.

    of: both sides in words. others: the other side. n_children, n_others: faces on either side.
    figures: metric → infants and children minus the others, of the model; `one_rater` and
        `human_plurality_agreement` are the human raters' own gaps, and
        `accuracy_less_one_rater` is how much wider the model's is.
    """

    of: str
    others: str
    n_children: int
    n_others: int
    figures: dict[str, Difference]


def measure_gaps(
    predictions: Predictions, bands: Iterable[Any], resampling: Resampling
) -> list[Gap]:
    """Return the gaps between infants and children, pooled, and adults, and all others.

    Rows without an age band are on neither side.
    """
    band = np.array([str(b) for b in bands], object)[predictions.rows]
    young = np.isin(band, CHILDREN)
    sides = {"adult": band == "adult", "all others": np.isin(band, AGE_BANDS) & ~young}
    if (sides["adult"] == sides["all others"]).all():
        del sides["all others"]
    figures = _with_raters(predictions)
    return [
        Gap(
            f"{CHILDREN_KEY} less {others}",
            others,
            int(young.sum()),
            int(old.sum()),
            {
                name: d._replace(n=int((young | old).sum()))
                for name, d in paired_bootstrap_many(
                    within(figures, young),
                    within(figures, old),
                    *(predictions.groups, resampling.rng, resampling.draws),
                ).items()
                if name in _GAP_FIGURES and not math.isnan(d.value)
            },
        )
        for others, old in sides.items()
        if young.any() and old.any()
    ]


def _with_raters(predictions: Predictions) -> DrawnFigures:
    figures, on_label = predictions.drawn_figures(), predictions.votes_on_label()

    def drawn(weight: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        rater = drawn_means(on_label, weight)
        found = dict(figures(weight))
        return found | {"one_rater": rater, "accuracy_less_one_rater": found["accuracy"] - rater}

    return drawn
