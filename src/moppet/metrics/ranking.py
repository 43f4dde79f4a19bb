"""ROC curves, areas under them, and DeLong's test of two areas."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.bootstrap import Weights, divide, mean_defined
from moppet.metrics.classification import Labels, Scores, Values, check_scores
from moppet.values import UsageError

_Z95: Final = 1.959963984540054


class RocCurve(NamedTuple):
    """The points of a receiver operating characteristic, from (0, 0) to (1, 1).

    Rows with a score of at least `threshold` are predicted positive; its first value is infinity.
    """

    false_positive_rate: Values
    true_positive_rate: Values
    threshold: Values


def auc(score: Scores, positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve.

    It is the chance that a positive row has a higher score than a negative one, ties counting
    half: the Mann-Whitney statistic (Hanley & McNeil 1982). score, positive: (n,).
    NaN without positive or without negative rows.
    """
    check_positive(score, positive)
    return float(_drawn_auc(score, positive, np.ones((1, len(score))))[0])


def aucs(probabilities: Scores, label: Labels) -> Values:
    """Return (k,) the one-vs-rest area of each class; NaN for a class of no rows or of all."""
    return drawn_aucs(probabilities, label, np.ones((1, len(label)))).reshape(-1)


def macro_auc(probabilities: Scores, label: Labels) -> float:
    """Return the mean of the one-vs-rest areas that are defined."""
    return float(mean_defined(aucs(probabilities, label)))


def drawn_aucs(probabilities: Scores, label: Labels, weight: Weights) -> Values:
    """Return the one-vs-rest areas of m draws, (m, k). weight: (m, n)."""
    check_scores(probabilities, label)
    columns = [
        _drawn_auc(score, label == number, weight) for number, score in enumerate(probabilities.T)
    ]
    return np.stack(columns, axis=1)


def roc_curve(score: Scores, positive: NDArray[np.bool_]) -> RocCurve:
    """Return the curve's points, one for each distinct score (Fawcett 2006).

    Rates are NaN without positive, or without negative, rows.
    """
    check_positive(score, positive)
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last_of_ties = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], len(ordered) > 0])
    found = np.r_[0, np.cumsum(positive[order])[last_of_ties]]
    false = np.r_[0, 1 + last_of_ties] - found
    return RocCurve(
        divide(false, np.full(len(false), (~positive).sum())),
        divide(found, np.full(len(found), positive.sum())),
        np.r_[math.inf, ordered[last_of_ties]].astype(np.float64),
    )


def check_positive(score: Scores, positive: NDArray[np.bool_]) -> None:
    """Raise UsageError unless there is one finite score for each bool."""
    if positive.dtype != np.bool_ or score.shape != positive.shape or score.ndim != 1:
        raise UsageError(
            "needed one true or false value per score: got scores of the shape "
            f"{score.shape} and {positive.dtype} values of the shape {positive.shape}."
        )
    if not np.isfinite(score).all():
        raise UsageError("scores must be finite to be ranked, but some are NaN or infinity.")


def _drawn_auc(score: Scores, positive: NDArray[np.bool_], weight: Weights) -> Values:
    order = np.flatnonzero(~positive)
    order = order[np.argsort(score[order], kind="stable")]
    below = np.zeros((len(weight), len(order) + 1))
    np.cumsum(weight[:, order], axis=1, out=below[:, 1:])
    # Each positive row wins against negatives with a lower score, and half against equal scores.
    first = np.searchsorted(score[order], score[positive], side="left")
    last = np.searchsorted(score[order], score[positive], side="right")
    mine = weight[:, positive]
    won = np.einsum("mp,mp->m", mine, below[:, first] + below[:, last]) / 2
    return divide(won, mine.sum(axis=1) * below[:, -1])


class AucDifference(NamedTuple):
    """Two areas, the first minus the second with its 95 % interval, z, and two-sided p."""

    first: float
    second: float
    value: float
    low: float
    high: float
    z: float
    p: float
    n: int


def delong_test(first: Scores, second: Scores, positive: NDArray[np.bool_]) -> AucDifference:
    """Return the difference of two correlated areas under the curve.

    first, second: (n,) the models' scores of the same rows; positive: (n,).
    DeLong, DeLong & Clarke-Pearson 1988, computed by midranks in n log n (Sun & Xu 2014). Assumes
    independent rows: if subjects or duplicate images repeat, use the paired bootstrap.
    Interval, z and p are NaN with fewer than two positive or negative rows, and if the difference
    has no variance (for example, if both scores rank the rows equally).
    """
    check_positive(first, positive)
    check_positive(second, positive)
    n, nan = len(positive), math.nan
    wins_a, losses_a = _placements(first, positive)
    wins_b, losses_b = _placements(second, positive)
    if not len(wins_a) or not len(losses_a):
        return AucDifference(nan, nan, nan, nan, nan, nan, nan, n)
    area_a, area_b = float(wins_a.mean()), float(wins_b.mean())
    value = area_a - area_b
    by_positive, by_negative = wins_a - wins_b, losses_a - losses_b
    if min(len(by_positive), len(by_negative)) < 2 or (
        # Placements are multiples of half a row: smaller differences are rounding errors.
        max(np.ptp(by_positive), np.ptp(by_negative)) < 1e-9
    ):
        return AucDifference(area_a, area_b, value, nan, nan, nan, nan, n)
    error = math.sqrt(
        by_positive.var(ddof=1) / len(by_positive) + by_negative.var(ddof=1) / len(by_negative)
    )
    z = value / error
    p = math.erfc(abs(z) / math.sqrt(2))
    low, high = value - _Z95 * error, value + _Z95 * error
    return AucDifference(area_a, area_b, value, low, high, z, p, n)


def _placements(score: Scores, positive: NDArray[np.bool_]) -> tuple[Values, Values]:
    """Return each positive's share of negatives below it and each negative's share of positives
    above it, ties counting half. The mean of either is the area."""
    ranks = _midranks(score)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    below = ranks[positive] - _midranks(score[positive])
    above = positives - (ranks[~positive] - _midranks(score[~positive]))
    return below / max(negatives, 1), above / max(positives, 1)


def _midranks(score: Scores) -> Values:
    """Return ranks from 1; equal scores have their mean rank."""
    _, which, count = np.unique(score, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[which])
