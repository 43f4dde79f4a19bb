"""Reliability of several raters: intraclass correlations and Krippendorff's alpha."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.bootstrap import Weights, divide
from moppet.values import UsageError

Ratings = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
AlphaLevel = Literal["nominal", "ordinal", "interval", "ratio"]


class IntraclassCorrelation(NamedTuple):
    """ICC(2,1), absolute agreement of raters drawn at random, and ICC(3,1), consistency of these.

    n: rows, those that all raters rated.
    """

    icc_2_1: float
    icc_3_1: float
    n: int


def intraclass_correlation(ratings: Ratings) -> IntraclassCorrelation:
    """Return the intraclass correlations of single ratings (Shrout & Fleiss 1979).

    ratings: (n, k), a row for each target and a column for each rater. Rows with a NaN are left
    out. NaN for fewer than two rows or raters, or if nothing varies.
    """
    if ratings.ndim != 2:
        raise UsageError(f"needed (n, k) ratings of k raters, got the shape {ratings.shape}.")
    x = ratings[~np.isnan(ratings.astype(np.float64)).any(axis=1)].astype(np.float64)
    n, k = x.shape
    if n < 2 or k < 2:
        return IntraclassCorrelation(math.nan, math.nan, n)
    total, rows, columns = x.mean(), x.mean(axis=1), x.mean(axis=0)
    between = k * float(((rows - total) ** 2).sum()) / (n - 1)
    judges = n * float(((columns - total) ** 2).sum()) / (k - 1)
    rest = x - rows[:, None] - columns + total
    error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    consistency = between + (k - 1) * error
    agreement = consistency + k * (judges - error) / n
    return IntraclassCorrelation(
        (between - error) / agreement if agreement > _LEAST else math.nan,
        (between - error) / consistency if consistency > _LEAST else math.nan,
        n,
    )


_LEAST: Final = 1e-15


def krippendorff_alpha(ratings: Ratings, level: AlphaLevel = "nominal") -> float:
    """Return Krippendorff's alpha: 1 = perfect agreement, 0 = chance (Krippendorff 2011).

    ratings: (k, n), a row for each rater and a column for each unit; NaN for no rating. level: how
    far two values are apart. NaN if no unit has two ratings, or all ratings are one value.
    """
    if ratings.ndim != 2:
        raise UsageError(f"needed (k, n) ratings of k raters, got the shape {ratings.shape}.")
    x = ratings.astype(np.float64)
    values = np.unique(x[~np.isnan(x)])
    if not len(values):
        return math.nan
    counts = np.stack([(x == value).sum(axis=0) for value in values], axis=1)
    together = coincidences(counts)
    return float(alpha_of(together, distance_of(level)(values, together.sum(axis=1))))


def coincidences(counts: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return the (v, v) coincidence matrix of the values that raters gave.

    counts: (n, v), how many raters gave each value to each unit. Units with one rating are left
    out; each pair of ratings in a unit of m ratings counts 1 / (m - 1).
    """
    m = counts.sum(axis=1)
    c = counts[m > 1].astype(np.float64)
    weight = 1 / (m[m > 1] - 1)
    together = (c * weight[:, None]).T @ c
    together[np.diag_indices_from(together)] -= (c * weight[:, None]).sum(axis=0)
    return np.asarray(together)


def alpha_of(together: NDArray[np.floating[Any]], distance: Weights) -> Weights:
    """Return (...) Krippendorff's alpha of coincidence matrices (..., v, v).

    distance: (v, v), squared, between the values.
    """
    each = together.sum(axis=-1)
    n = each.sum(axis=-1)
    observed = (together * distance).sum(axis=(-2, -1)) * (n - 1)
    expected = (each[..., :, None] * each[..., None, :] * distance).sum(axis=(-2, -1))
    return np.asarray(1.0 - divide(observed, expected))


Distance = Callable[[NDArray[np.float64], NDArray[np.float64]], Weights]


def distance_of(level: AlphaLevel) -> Distance:
    """Return the function of values and their frequencies that gives squared distances."""
    try:
        return _DISTANCES[level]
    except KeyError:
        known = ", ".join(_DISTANCES)
        raise UsageError(f"level must be one of {known}, not {level!r}.") from None


def _ordinal(values: NDArray[np.float64], each: NDArray[np.float64]) -> Weights:
    """The number of ratings from one value to the other, half of both ends."""
    upto = np.cumsum(each) - each / 2
    return np.asarray(np.subtract.outer(upto, upto) ** 2)


def _ratio(values: NDArray[np.float64], each: NDArray[np.float64]) -> Weights:
    total = np.add.outer(values, values)
    apart = np.subtract.outer(values, values)
    return np.asarray(np.divide(apart, total, out=np.zeros_like(total), where=total != 0) ** 2)


_DISTANCES: Final[dict[str, Distance]] = {
    "nominal": lambda values, each: 1.0 - np.eye(len(values)),
    "ordinal": _ordinal,
    "interval": lambda values, each: np.asarray(np.subtract.outer(values, values) ** 2),
    "ratio": _ratio,
}
