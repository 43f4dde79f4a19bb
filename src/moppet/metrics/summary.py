"""Computes every figure of a model's scores, with intervals from one set of draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moppet.metrics import raters
from moppet.metrics.bootstrap import (
    DrawnFigures,
    Estimate,
    Groups,
    Weights,
    bootstrap_many,
    drawn_means,
    exact_share,
    mean_defined,
)
from moppet.metrics.classification import (
    Labels,
    Scores,
    Values,
    accuracy_of,
    calibration_errors,
    check_scores,
    confusion,
    confusions,
    f1_of,
    g_mean_of,
    kappa_of,
    precisions_of,
    recalls_of,
    row_briers,
)
from moppet.metrics.ranking import drawn_aucs
from moppet.metrics.raters import Votes
from moppet.values import UsageError


@dataclass(frozen=True)
class Summary:
    """Every figure of n rows.

    overall: figure → estimate. per_class: figure → class → estimate.
    confusion: (k, k), one row for each true class, one column for each guess, ordered as names.
    """

    names: tuple[str, ...]
    n: int
    overall: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    confusion: NDArray[np.int64]

    def as_json(self) -> dict[str, Any]:
        """Return plain values; undefined figures are None."""
        return dict(as_json(self))


def as_json(value: Any) -> Any:
    """Return results as plain values for JSON; undefined numbers are None.

    A named tuple or dataclass, such as an estimate, becomes a dict of its fields, an array a list.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value


def summarize(
    probabilities: Scores,
    label: Labels,
    groups: Groups,
    names: Sequence[str],
    rng: np.random.Generator,
    *,
    votes: Votes | None = None,
    abstained: Votes | None = None,
    draws: int = 1000,
) -> Summary:
    """Return every figure with its 95 % interval; see drawn_figures for names and votes.

    groups: (n,) rows of one group (a subject, duplicates of an image) are drawn together.
    Accuracy, recall and precision of exactly 0 or 1 are equal in all draws; they get the exact
    binomial limits for the number of groups (Clopper and Pearson 1934).
    An estimate's n: rows of the class for recall and AUC, rows predicted as the class for
    precision, either for F1, rows with enough votes for figures of votes, else all rows.
    """
    if len(groups) != len(label):
        raise UsageError(f"needed one group per label: got {len(groups)} and {len(label)}.")
    figures = drawn_figures(probabilities, label, names, votes=votes, abstained=abstained)
    estimates = bootstrap_many(figures, groups, rng, draws)
    guess = probabilities.argmax(axis=1)
    estimates |= _exact_limits(estimates, label, guess, names, groups)
    counts = confusion(label, guess, len(names))
    true, guessed = counts.sum(axis=1), counts.sum(axis=0)
    rests_on = {
        "recall": true,
        "auc": true,
        "precision": guessed,
        "f1": true + guessed - counts.diagonal(),
    }
    per_class = {
        figure: {
            name: estimates[f"{figure}/{name}"]._replace(n=int(rows[number]))
            for number, name in enumerate(names)
        }
        for figure, rows in rests_on.items()
    }
    overall = {name: e for name, e in estimates.items() if "/" not in name}
    if votes is not None:
        for name, values in _vote_rows(probabilities, guess, votes, abstained).items():
            overall[name] = overall[name]._replace(n=int((~np.isnan(values)).sum()))
    return Summary(tuple(names), len(label), overall, per_class, counts)


def _exact_limits(
    estimates: dict[str, Estimate],
    label: Labels,
    guess: Labels,
    names: Sequence[str],
    groups: Groups,
) -> dict[str, Estimate]:
    """Return accuracy, recalls and precisions of 0 or 1 with exact binomial limits over groups.

    All draws of such a share are equal, so its bootstrap interval would have no width. Each group
    is then entirely right or entirely wrong, so groups are independent trials.
    """
    rows = {"accuracy": label == label}
    for number, name in enumerate(names):
        rows |= {f"recall/{name}": label == number, f"precision/{name}": guess == number}
    exact = {}
    for name, denominator in rows.items():
        whole = estimates[name]
        if whole.low == whole.high and whole.value in (0.0, 1.0):
            total = len(np.unique(groups[denominator]))
            exact[name] = exact_share(int(whole.value) * total, total)._replace(n=whole.n)
    return exact


def drawn_figures(
    probabilities: Scores,
    label: Labels,
    names: Sequence[str],
    *,
    votes: Votes | None = None,
    abstained: Votes | None = None,
) -> DrawnFigures:
    """Return a function from weights (m, n) to every figure of the m draws.

    It is for bootstrap_many, and for paired_bootstrap_many between two models or subgroups.
    probabilities: (n, k); label: (n,) in 0..k-1; names: the k classes.
    votes: (n, k) raters' votes; abstained: (n,) raters who chose none of the classes.
    Figures of one class are named "recall/<class>", "precision/…", "f1/…" and "auc/…".
    """
    check_scores(probabilities, label)
    k = probabilities.shape[1]
    if len(names) != k or len(set(names)) != k:
        raise UsageError(f"needed {k} different names for {k} classes: got {list(names)}.")
    guess = probabilities.argmax(axis=1)
    by_row = {"brier": row_briers(probabilities, label)}
    if votes is not None:
        by_row |= _vote_rows(probabilities, guess, votes, abstained)

    def figures(weight: Weights) -> dict[str, Values]:
        counts = confusions(label, guess, k, weight)
        per_class = {
            "recall": recalls_of(counts),
            "precision": precisions_of(counts),
            "f1": f1_of(counts),
            "auc": drawn_aucs(probabilities, label, weight),
        }
        found = {
            "accuracy": accuracy_of(counts),
            "balanced_accuracy": mean_defined(per_class["recall"]),
            "macro_precision": mean_defined(per_class["precision"]),
            "macro_f1": mean_defined(per_class["f1"]),
            "g_mean": g_mean_of(counts),
            "macro_auc": mean_defined(per_class["auc"]),
            "kappa": kappa_of(counts),
            "ece": calibration_errors(probabilities, label, weight),
        }
        found |= {name: drawn_means(values, weight) for name, values in by_row.items()}
        for figure, values in per_class.items():
            found |= {f"{figure}/{name}": values[:, i] for i, name in enumerate(names)}
        return found

    return figures


def _vote_rows(
    probabilities: Scores, guess: Labels, votes: Votes, abstained: Votes | None
) -> dict[str, Values]:
    return {
        "vote_divergence": raters.vote_divergences(probabilities, votes),
        "vote_distance": raters.vote_distances(probabilities, votes),
        "model_rater_agreement": raters.guess_agreements(guess, votes, abstained),
        "human_rater_agreement": raters.rater_agreements(votes, abstained),
        "model_plurality_agreement": raters.guess_plurality_agreements(guess, votes, abstained),
        "human_plurality_agreement": raters.rater_plurality_agreements(votes, abstained),
    }
