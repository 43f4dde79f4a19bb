"""Scores and labels → how well the scores put a class's rows before the others."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.counts import Labels, Scores, Values, check_scores
from moppet.metrics.draws import Weights, divide, mean_defined
from moppet.values import UsageError


class RocCurve(NamedTuple):
    """The points of a receiver operating characteristic, from (0, 0) to (1, 1).

    Rows with at least `threshold` count as found; its first value is infinity.
    """

    false_positive_rate: Values
    true_positive_rate: Values
    threshold: Values


def auc(score: Scores, positive: NDArray[np.bool_]) -> float:
    """Return the chance that a positive row scores higher than a negative one, ties counting half.

    score, positive: (n,). The Mann-Whitney statistic over all pairs (Hanley & McNeil 1982);
    NaN without positive or without negative rows.
    """
    check_positive(score, positive)
    return float(_drawn_auc(score, positive, np.ones((1, len(score))))[0])


def aucs(probabilities: Scores, label: Labels) -> Values:
    """Return each class's area under the curve against all others, (k,).

    NaN for a class that no row or every row has.
    """
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
    """Return the curve's points, one per distinct score (Fawcett 2006).

    Rates are NaN where there is no row of their kind.
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
    """Raise UsageError unless there is one finite score for each true or false value."""
    if positive.dtype != np.bool_ or score.shape != positive.shape or score.ndim != 1:
        raise UsageError(
            "needed one true or false value per score: got scores of the shape "
            f"{score.shape} and {positive.dtype} values of the shape {positive.shape}."
        )
    if not np.isfinite(score).all():
        raise UsageError("scores must be finite to be ranked, but there are NaN or infinity.")


def _drawn_auc(score: Scores, positive: NDArray[np.bool_], weight: Weights) -> Values:
    order = np.flatnonzero(~positive)
    order = order[np.argsort(score[order], kind="stable")]
    below = np.zeros((len(weight), len(order) + 1))
    np.cumsum(weight[:, order], axis=1, out=below[:, 1:])
    # Each positive row beats the negatives with a smaller score and half of those with its own.
    first = np.searchsorted(score[order], score[positive], side="left")
    last = np.searchsorted(score[order], score[positive], side="right")
    mine = weight[:, positive]
    won = np.einsum("mp,mp->m", mine, below[:, first] + below[:, last]) / 2
    return divide(won, mine.sum(axis=1) * below[:, -1])
