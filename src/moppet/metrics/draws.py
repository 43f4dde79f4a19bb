"""Bootstrap draws as weights: how often each row stands in each draw.

A figure that is computed from weights serves a thousand draws in a few array operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Groups = NDArray[np.integer[Any]]
_BLOCK: Final = 4_000_000  # weights held at once, 32 MB


class Drawer:
    """Draws groups of rows with replacement. first_rows: (groups,) a row of each."""

    def __init__(self, groups: Groups, rng: np.random.Generator, draws: int) -> None:
        _, self.first_rows, self._group_of = np.unique(
            groups, return_index=True, return_inverse=True
        )
        self._rng, self._draws = rng, draws

    def weights(self) -> Iterator[Weights]:
        """Yield (m, n) blocks: how often each row stands in each of m draws."""
        groups, rng = len(self.first_rows), self._rng
        block = max(1, _BLOCK // max(len(self._group_of), 1))
        for first in range(0, self._draws, block):
            m = min(block, self._draws - first)
            drawn = (rng.integers(0, groups, groups) for _ in range(m))
            times = [np.bincount(each, minlength=groups) for each in drawn]
            yield np.asarray(times, np.float64)[:, self._group_of]


def drawn_sums(weight: Weights, which: NDArray[np.integer[Any]], size: int) -> Weights:
    """Return (m, size): the weight of the rows of each kind. which: (n,), in 0..size-1."""
    sums = np.zeros((len(weight), size))
    if len(which):
        order = np.argsort(which, kind="stable")
        kinds = which[order]
        starts = np.flatnonzero(np.r_[True, kinds[1:] != kinds[:-1]])
        sums[:, kinds[starts]] = np.add.reduceat(weight[:, order], starts, axis=1)
    return sums


def drawn_means(values: NDArray[np.floating[Any]], weight: Weights) -> Weights:
    """Return (m,) weighted means of the defined values; NaN where no defined row has weight."""
    defined = ~np.isnan(values)
    filled = np.where(defined, values, 0.0).astype(np.float64)
    return divide(weight @ filled, weight @ defined.astype(np.float64))


def mean_defined(values: NDArray[np.floating[Any]]) -> Weights:
    """Return the mean along the last axis of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def divide(a: NDArray[Any], b: NDArray[Any]) -> Weights:
    """Return a / b as float64, NaN where b is 0."""
    out = np.full(np.shape(b), math.nan)
    return np.asarray(np.divide(a, b, out=out, where=np.asarray(b) > 0))
