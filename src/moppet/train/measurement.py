"""The figures of a finished model on the test rows."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from moppet.infer.expression_model import ExpressionModel
from moppet.metrics import (
    Difference,
    DrawnFigures,
    Estimate,
    Labels,
    Summary,
    accuracy,
    as_json,
    bootstrap,
    drawn_figures,
    paired_bootstrap_many,
    summarize,
    within,
)
from moppet.metrics.bootstrap import drawn_means
from moppet.train.data_module import TrainingData, evaluation_crops
from moppet.values import Floats

Json = dict[str, Any]
CHILDREN: Final = ("infant", "child")
CHILDREN_KEY: Final = "infant or child"


def fit_temperature(
    logits: Floats,
    label: NDArray[np.integer[Any]],
    *,
    weights: NDArray[np.floating] | None = None,
    spread: float = math.inf,
) -> float:
    """Return the temperature with the lowest negative log-likelihood (Guo et al. 2017).

    weights: (n,) of the rows, equal if left out.

    spread: standard deviation of a normal prior on its logarithm, around 0; infinite for none.
        Without a prior, a few rows that are all correct give a temperature of nearly 0.
    """
    rows = np.arange(len(label))
    pull = 0.0 if math.isinf(spread) else 0.5 / (spread**2 * max(1, len(label)))

    def loss(log_temperature: float) -> float:
        z = logits.astype(np.float64) / np.exp(log_temperature)
        z -= z.max(axis=1, keepdims=True)
        loss = np.average(np.log(np.exp(z).sum(axis=1)) - z[rows, label], weights=weights)
        return float(loss + pull * log_temperature**2)

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
    return float(np.exp(found.x))


def measure(model: ExpressionModel, data: TrainingData) -> Json:
    """Return the model's figures on the test rows, as plain values.

    Two views of an image: found and aligned as in video, the whole image where no face
    is found ("aligned"); and, where every image is a face crop, the crop as it is ("raw").
    Also the accuracy with every missed face counted as wrong. Intervals: 95 %,
    bootstrap over groups (a subject's images, copies of an image).
    model: its classes are those of the data, in the same order.
    """
    rows = data.rows("test", labeled=True)
    label, groups = data.label[rows], data.manifest.groups[rows]
    attempt = data.faces.attempt[rows]
    figures: Json = {
        "names": list(data.names),
        "rows": len(rows),
        "faces_found": int((attempt >= 0).sum()),
        "faces_found_at_default_thresholds": int((attempt == 0).sum()),
    }
    parts = age_parts(data, rows)
    views = ["aligned", "raw"] if data.faces.tight[rows].all() else ["aligned"]
    for view in views:
        crops = evaluation_crops(data, rows, aligned=view == "aligned")
        probabilities = model.predict(crops).probabilities
        figures[view] = {
            name: part_figures(data, rows[part], probabilities[part], model.temperature)
            for name, part in parts.items()
        }
        if view == "aligned":
            guess = np.where(attempt >= 0, probabilities.argmax(axis=1), -1)
            figures["aligned_missed_wrong"] = {"accuracy": _accuracy(label, guess, groups)}
            figures["gap"] = _gap(data, rows, probabilities)
    grouped = _grouped(data, rows, parts, model)
    if grouped is not None:
        figures["grouped"] = grouped
    figures["human"] = {name: as_json(one_rater(data, rows[part])) for name, part in parts.items()}
    return figures


def _accuracy(label: Labels, guess: Labels, groups: Labels) -> Json:
    rng = np.random.default_rng(0)
    found = bootstrap(lambda rows: accuracy(label[rows], guess[rows]), groups, rng)
    return dict(as_json(found))


def age_parts(data: TrainingData, rows: NDArray[np.intp]) -> dict[str, NDArray[np.intp]]:
    """Return all rows, and those of each age band that occurs: positions within `rows`."""
    band = data.manifest.column("age_band")[rows]
    order = ("infant", "child", "adult", "uncertain")
    known = sorted({str(b) for b in band if b is not None})
    known.sort(key=lambda one: order.index(one) if one in order else len(order))
    parts = {"all": np.arange(len(rows))}
    parts |= {name: np.flatnonzero(band == name) for name in known}
    if set(CHILDREN) <= set(known):
        parts[CHILDREN_KEY] = np.flatnonzero(_children(band))
    return parts


def _children(band: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isin(band.astype(str), CHILDREN)


def part_figures(
    data: TrainingData, rows: NDArray[np.intp], probabilities: Floats, temperature: float
) -> Json:
    """Return every figure of some rows as plain values; see `moppet.metrics.summarize`.

    temperature: of the probabilities, to also give the calibration error without it.
    """
    votes, abstained = _votes(data, rows)
    label, groups = data.label[rows], data.manifest.groups[rows]
    rng = np.random.default_rng(0)
    summary = summarize(
        probabilities, label, groups, data.names, rng, votes=votes, abstained=abstained
    )
    plain = at_temperature_one(probabilities, temperature)
    before = summarize(plain, label, groups, data.names, np.random.default_rng(0), draws=200)
    return {**summary_values(summary), "ece_before_scaling": as_json(before.overall["ece"])}


def summary_values(summary: Summary) -> Json:
    """Return a summary's figures as plain values: n, each figure, each class's, the confusion."""
    found = summary.as_json()
    return {
        "n": found["n"],
        **found["overall"],
        **found["per_class"],
        "confusion": found["confusion"],
    }


def _grouped(
    data: TrainingData,
    rows: NDArray[np.intp],
    parts: dict[str, NDArray[np.intp]],
    model: ExpressionModel,
) -> Json | None:
    """The aligned rows' figures over the groups, each the sum of its classes.

    None where a class is in no group, or where the groups are one or as many as the classes.
    """
    of_class = [model.group_of.get(name) for name in data.names]
    known = {str(group) for group in of_class if group}
    usual = [name for name in ("positive", "neutral", "negative") if name in known]
    names: list[str] = usual + sorted(known.difference(usual))
    if None in of_class or not 2 <= len(names) < len(of_class):
        return None
    index = np.array([names.index(str(group)) for group in of_class])
    found = model.predict(evaluation_crops(data, rows, aligned=True)).probabilities
    probabilities = found @ np.eye(len(names), dtype=np.float32)[index]
    label, groups = index[data.label[rows]], data.manifest.groups[rows]
    return {"names": names} | {
        name: summary_values(
            summarize(probabilities[p], label[p], groups[p], names, np.random.default_rng(0))
        )
        for name, p in parts.items()
    }


def _votes(
    data: TrainingData, rows: NDArray[np.intp]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """The raters' votes for the classes, and how many voted for none of them."""
    all_votes = np.nan_to_num(data.manifest.column("votes")[rows]).astype(np.float64)
    if not (all_votes.sum(axis=1) >= 2).all() or not len(rows):
        return None, None
    columns = [data.manifest.names.index(name) for name in data.names]
    cast = all_votes.sum(axis=1) / np.maximum(data.manifest.weights[rows], 1e-6)
    votes = all_votes[:, columns]
    return votes, np.maximum(np.round(cast) - votes.sum(axis=1), 0)


def one_rater(data: TrainingData, rows: NDArray[np.intp]) -> Estimate:
    """Return how often one rater's vote is the label: the share of all votes on it."""
    share = _share_on_label(data, rows)
    groups = data.manifest.groups[rows]
    return bootstrap(
        lambda drawn: float(np.mean(share[drawn])) if len(drawn) else float("nan"),
        groups,
        np.random.default_rng(0),
    )


def _share_on_label(data: TrainingData, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    votes, abstained = _votes(data, rows)
    if votes is None or abstained is None:
        return np.full(len(rows), np.nan)
    total = votes.sum(axis=1) + abstained
    return np.asarray(votes[np.arange(len(rows)), data.label[rows]] / total)


def _gap(data: TrainingData, rows: NDArray[np.intp], probabilities: Floats) -> Json | None:
    """Accuracy on infants and children minus that on adults, of the model and of one rater."""
    band = data.manifest.column("age_band")[rows].astype(str)
    young, old = _children(band), band == "adult"
    if not young.any() or not old.any():
        return None
    groups = data.manifest.groups[rows]
    share = _share_on_label(data, rows)
    of_model = drawn_figures(probabilities, data.label[rows], data.names)

    def of_rater(weight: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"accuracy": drawn_means(share, weight)}

    def difference(figures: DrawnFigures) -> Difference:
        found = paired_bootstrap_many(
            within(figures, young), within(figures, old), groups, np.random.default_rng(0)
        )
        return found["accuracy"]

    return {
        "of": f"accuracy, {CHILDREN_KEY} less adult",
        "model": as_json(difference(of_model)),
        "one_rater": as_json(difference(of_rater)),
    }


def at_temperature_one(probabilities: Floats, temperature: float) -> Floats:
    """Return (n, k) probabilities as they were before they were scaled by a temperature."""
    logits = np.log(np.maximum(probabilities, 1e-30)) * temperature
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)
