"""Confusion matrices and the metrics computed from their counts, and calibration."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.bootstrap import Weights, divide, drawn_sums, mean_defined
from moppet.values import MoppetError, UsageError

Labels = NDArray[np.integer[Any]]
Counts = NDArray[np.int64] | NDArray[np.float64]
Values = NDArray[np.float64]
Scores = NDArray[np.floating[Any]]
KappaWeights = Literal["none", "linear", "quadratic"]


def accuracy(label: Labels, guess: Labels) -> float:
    """Return the share of correct rows; NaN without rows."""
    _check_lengths(label, guess)
    return float(np.mean(label == guess)) if len(label) else math.nan


def confusion(label: Labels, guess: Labels, classes: int) -> NDArray[np.int64]:
    """Return counts (classes, classes): one row for each true class, one column for each guess."""
    cells = _cells(label, guess, classes)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def confusions(label: Labels, guess: Labels, classes: int, weight: Weights) -> Values:
    """Return the counts of m weighted draws, (m, classes, classes). weight: (m, n)."""
    sums = drawn_sums(weight, _cells(label, guess, classes), classes * classes)
    return sums.reshape(-1, classes, classes)


def recalls(label: Labels, guess: Labels, classes: int) -> Values:
    """Return each class's recall, NaN for a class without rows."""
    return recalls_of(confusion(label, guess, classes))


def precisions(label: Labels, guess: Labels, classes: int) -> Values:
    """Return each class's precision, NaN for a class that was never guessed."""
    return precisions_of(confusion(label, guess, classes))


def f1_scores(label: Labels, guess: Labels, classes: int) -> Values:
    """Return each class's F1, NaN for a class neither present nor guessed."""
    return f1_of(confusion(label, guess, classes))


def balanced_accuracy(label: Labels, guess: Labels, classes: int) -> float:
    """Return the mean recall over the classes that are present."""
    return float(mean_defined(recalls(label, guess, classes)))


def macro_precision(label: Labels, guess: Labels, classes: int) -> float:
    """Return the mean precision over the classes that were guessed.

    A class that is never guessed is left out here; its recall and F1 are 0.
    """
    return float(mean_defined(precisions(label, guess, classes)))


def macro_f1(label: Labels, guess: Labels, classes: int) -> float:
    """Return the mean F1 over the classes that are present or guessed."""
    return float(mean_defined(f1_scores(label, guess, classes)))


def g_mean(label: Labels, guess: Labels, classes: int) -> float:
    """Return the geometric mean of the recalls of the classes that are present.

    0 if any present class has recall 0; NaN without rows (Kubat & Matwin 1997, for two classes).
    """
    return float(g_mean_of(confusion(label, guess, classes)))


def cohen_kappa(
    first: Labels, second: Labels, classes: int, weights: KappaWeights = "none"
) -> float:
    """Return Cohen's kappa of two raters: 1 = perfect agreement, 0 = chance agreement; min -1.

    weights: cost of a disagreement between i and j: "none" 1, "linear" abs(i - j), "quadratic"
        (i - j)**2; the last two for ordered classes only (Cohen 1960, 1968).
    NaN without rows, and if both raters use only one and the same class.
    """
    return float(kappa_of(confusion(first, second, classes), weights))


def accuracy_of(counts: Counts) -> Values:
    """Return (...) shares of correct rows."""
    return divide(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def recalls_of(counts: Counts) -> Values:
    """Return (..., k) recalls, NaN for a class without rows."""
    return divide(_diagonal(counts), counts.sum(axis=-1))


def precisions_of(counts: Counts) -> Values:
    """Return (..., k) precisions, NaN for a class that was never guessed."""
    return divide(_diagonal(counts), counts.sum(axis=-2))


def f1_of(counts: Counts) -> Values:
    """Return (..., k) F1 scores, NaN for a class neither present nor guessed."""
    return divide(2 * _diagonal(counts), counts.sum(axis=-2) + counts.sum(axis=-1))


def g_mean_of(counts: Counts) -> Values:
    """Return (...) geometric means of the recalls of the classes that are present."""
    with np.errstate(divide="ignore"):  # a recall of 0 makes the whole mean 0
        return np.asarray(np.exp(mean_defined(np.log(recalls_of(counts)))))


def kappa_of(counts: Counts, weights: KappaWeights = "none") -> Values:
    """Return (...) Cohen's kappa; see cohen_kappa."""
    k = counts.shape[-1]
    apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k))).astype(np.float64)
    try:
        cost = {"none": np.sign(apart), "linear": apart, "quadratic": apart**2}[weights]
    except KeyError:
        raise UsageError(
            f"weights must be 'none', 'linear' or 'quadratic', not {weights!r}."
        ) from None
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    observed = (cost * counts).sum(axis=(-2, -1)) * counts.sum(axis=(-2, -1))
    expected = (cost * rows[..., :, None] * columns[..., None, :]).sum(axis=(-2, -1))
    return np.asarray(1.0 - divide(observed, expected))


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


def check_scores(scores: Scores, label: Labels) -> None:
    """Check that scores are (n, k) and finite, with n labels in 0..k-1.

    Raises UsageError for shapes and labels, MoppetError for values that are not finite.
    """
    if scores.ndim != 2 or len(scores) != len(label):
        raise UsageError(
            "scores must be a table with one row per label: "
            f"got the shape {scores.shape} for {len(label)} labels."
        )
    bad = int((~np.isfinite(scores)).any(axis=1).sum())
    if bad:
        raise MoppetError(
            f"scores must be finite, but {bad} of {len(scores)} rows contain NaN or infinity: "
            "check the images and the training run that produced them."
        )
    _check_range("label", label, scores.shape[1])


def _diagonal(counts: Counts) -> NDArray[Any]:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _cells(label: Labels, guess: Labels, classes: int) -> NDArray[np.int64]:
    _check_lengths(label, guess)
    _check_range("label", label, classes)
    _check_range("guess", guess, classes)
    return np.asarray(label, np.int64) * classes + np.asarray(guess, np.int64)


def _check_lengths(label: Labels, guess: Labels) -> None:
    if len(label) != len(guess):
        raise UsageError(
            f"needed one guess per label: got {len(label)} labels and {len(guess)} guesses."
        )


def _check_range(what: str, values: Labels, classes: int) -> None:
    if len(values) and (values.min() < 0 or values.max() >= classes):
        raise UsageError(
            f"a {what} must be a class from 0 to {classes - 1}: got {values.min()} to "
            f"{values.max()}. Leave out rows without a class (-1)."
        )
