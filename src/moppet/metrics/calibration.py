"""Calibration: how well predicted probabilities match the observed frequencies."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.bootstrap import Weights, divide, drawn_sums
from moppet.metrics.classification import Labels, Scores, Values, check_scores


class Reliability(NamedTuple):
    """The points of a reliability diagram: rows in equal-width bins of confidence, each (bins,).

    low, high: edges; rows: count; confidence, accuracy: means, NaN if the bin is empty.
    """

    low: Values
    high: Values
    rows: NDArray[np.int64]
    confidence: Values
    accuracy: Values


def calibration_error(probabilities: Scores, label: Labels, bins: int = 15) -> float:
    """Return the expected calibration error of the most probable class (Guo et al. 2017).

    probabilities: (n, k), rows sum to 1. Uses equal-width bins of confidence, weighted by rows.
    """
    weight = np.ones((1, len(label)))
    return float(calibration_errors(probabilities, label, weight, bins)[0])


def calibration_errors(
    probabilities: Scores, label: Labels, weight: Weights, bins: int = 15
) -> Values:
    """Return the expected calibration errors of m draws, (m,). weight: (m, n)."""
    confidence, right, which = _by_confidence(probabilities, label, bins)
    # A bin's share times its gap equals the sum of its rows' gaps divided by the number of rows.
    excess = drawn_sums(weight * (right - confidence), which, bins)
    return divide(np.abs(excess).sum(axis=1), weight.sum(axis=1))


def reliability(probabilities: Scores, label: Labels, bins: int = 15) -> Reliability:
    """Return mean confidence and accuracy in equal-width bins of confidence."""
    confidence, right, which = _by_confidence(probabilities, label, bins)
    rows = np.bincount(which, minlength=bins)
    edges = np.linspace(0, 1, bins + 1)
    return Reliability(
        edges[:-1],
        edges[1:],
        rows,
        divide(np.bincount(which, confidence, bins), rows),
        divide(np.bincount(which, right, bins), rows),
    )


def brier_score(probabilities: Scores, label: Labels) -> float:
    """Return the mean squared distance to the truth, 0 (perfect) to 2; NaN without rows.

    The mean over rows of the sum over all k classes of (probability - truth)**2 (Brier 1950).
    For two classes this is twice the score that uses one class only.
    """
    values = row_briers(probabilities, label)
    return float(values.mean()) if len(values) else math.nan


def row_briers(probabilities: Scores, label: Labels) -> Values:
    """Return (n,) the Brier score of each row."""
    check_scores(probabilities, label)
    truth = np.eye(probabilities.shape[1])[label]
    return np.asarray(((probabilities - truth) ** 2).sum(axis=1))


def _by_confidence(
    probabilities: Scores, label: Labels, bins: int
) -> tuple[Values, Values, NDArray[np.intp]]:
    """Return each row's confidence, correctness (0 or 1) and bin."""
    check_scores(probabilities, label)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == label
    which = np.minimum((confidence * bins).astype(np.intp), bins - 1)
    return confidence.astype(np.float64), right.astype(np.float64), which
