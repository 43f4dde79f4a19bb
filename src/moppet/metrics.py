"""Labels and scores → figures with intervals. Undefined is NaN, never 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]


class Estimate(NamedTuple):
    """A figure, its 95 % interval, and the number of rows it rests on."""

    value: float
    low: float
    high: float
    n: int


def accuracy(label: Labels, guess: Labels) -> float:
    """Return the share of rows guessed right; NaN without rows."""
    return float(np.mean(label == guess)) if len(label) else math.nan


def confusion(label: Labels, guess: Labels, classes: int) -> NDArray[np.int64]:
    """Return counts (classes, classes): rows by true class, columns by guess."""
    flat = np.asarray(label, np.int64) * classes + np.asarray(guess, np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def recalls(label: Labels, guess: Labels, classes: int) -> NDArray[np.float64]:
    """Return each class's recall, NaN for a class without rows."""
    counts = confusion(label, guess, classes)
    return _divide(counts.diagonal(), counts.sum(axis=1))


def precisions(label: Labels, guess: Labels, classes: int) -> NDArray[np.float64]:
    """Return each class's precision, NaN for a class that was never guessed."""
    counts = confusion(label, guess, classes)
    return _divide(counts.diagonal(), counts.sum(axis=0))


def f1_scores(label: Labels, guess: Labels, classes: int) -> NDArray[np.float64]:
    """Return each class's F1, NaN for a class neither present nor guessed."""
    counts = confusion(label, guess, classes)
    return _divide(2 * counts.diagonal(), counts.sum(axis=0) + counts.sum(axis=1))


def balanced_accuracy(label: Labels, guess: Labels, classes: int) -> float:
    """Return the mean recall over the classes that are present."""
    return _mean(recalls(label, guess, classes))


def macro_f1(label: Labels, guess: Labels, classes: int) -> float:
    """Return the mean F1 over the classes that are present or guessed."""
    return _mean(f1_scores(label, guess, classes))


def calibration_error(
    probabilities: NDArray[np.floating[Any]], label: Labels, bins: int = 15
) -> float:
    """Return the expected calibration error of the likeliest class (Guo et al. 2017).

    probabilities: (n, k), rows sum to 1. Equal-width bins of confidence, weighted by their rows.
    """
    if not len(label):
        return math.nan
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == label
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for number in np.unique(which):
        rows = which == number
        error += rows.mean() * abs(right[rows].mean() - confidence[rows].mean())
    return float(error)


def bootstrap(
    figure: Callable[[NDArray[np.intp]], float],
    groups: NDArray[np.integer[Any]],
    rng: np.random.Generator,
    draws: int = 1000,
) -> Estimate:
    """Return a figure over all rows with its 95 % percentile interval.

    figure: takes row numbers (with repeats), returns the figure.
    groups: (n,) rows of one group (a subject, copies of a picture) are drawn together.
    The interval is NaN where fewer than half of the draws are defined.
    """
    n = len(groups)
    value = figure(np.arange(n))
    if not n:
        return Estimate(value, math.nan, math.nan, 0)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    singles = len(members) == n
    values = []
    for _ in range(draws):
        drawn = rng.integers(0, len(members), len(members))
        rows = order[drawn] if singles else np.concatenate([members[i] for i in drawn])
        values.append(figure(rows))
    defined = np.array([v for v in values if not math.isnan(v)])
    if len(defined) < draws / 2:
        return Estimate(value, math.nan, math.nan, n)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n)


def _divide(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(a, b, out=np.full(len(a), math.nan), where=b > 0))


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan
