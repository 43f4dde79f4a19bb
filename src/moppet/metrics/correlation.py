"""Pearson's correlation of two measurements of the same rows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.bootstrap import Weights, divide

_FLAT: Final = 1e-12
"""Rows of less than this share of the whole variance are all alike."""


def pearson(first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]]) -> float:
    """Return Pearson's r of the rows (n,) in which both are defined; NaN if one does not vary."""
    return float(drawn_pearson(first, second, np.ones((1, len(first))))[0])


def drawn_pearson(
    first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]], weight: Weights
) -> Weights:
    """Return (m,) Pearson's r under weights (m, n), how often each row occurs in each of m draws.

    Rows in which one of the two is NaN are left out. NaN where one does not vary.
    """
    known = ~(np.isnan(first) | np.isnan(second))
    a, b = _standardized(first[known]), _standardized(second[known])
    w = weight[:, known]
    total = w.sum(axis=1)
    mean_a, mean_b, both = divide(w @ a, total), divide(w @ b, total), divide(w @ (a * b), total)
    var_a = divide(w @ (a * a), total) - mean_a**2
    var_b = divide(w @ (b * b), total) - mean_b**2
    varies = (var_a > _FLAT) & (var_b > _FLAT)
    spread = np.sqrt(np.where(varies, var_a * var_b, 1))
    return np.where(varies, np.clip((both - mean_a * mean_b) / spread, -1, 1), np.nan)


def _standardized(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return values with the mean 0 and the variance 1, so that sums of squares lose no digits."""
    x = values.astype(np.float64)
    if not len(x) or np.ptp(x) == 0:
        return np.zeros_like(x)
    return np.asarray((x - x.mean()) / x.std())
