"""How much of one sample lies where the other does: precision, recall, density, coverage."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
PRECISION_NEIGHBOURS: Final = 3
DENSITY_NEIGHBOURS: Final = 5


class Overlap(NamedTuple):
    """Figures of made rows against real ones, each with the balls of k nearest neighbours.

    precision: share of the made rows in a ball of a real one, 0 to 1: do they look real?
    recall: share of the real rows in a ball of a made one, 0 to 1: is every kind of face made?
    (Kynkäänniemi et al. 2019, k = 3.)
    density: how many balls of real rows a made one lies in, on average, over k: about 1 alike, more
    where made rows crowd where real ones do; no upper limit. coverage: share of the balls
    of real rows that hold a made one, 0 to 1; steadier than recall. (Naeem et al. 2020, k = 5.)
    """

    precision: float
    recall: float
    density: float
    coverage: float


def distances(first: NDArray[Any], second: NDArray[Any]) -> Values:
    """Return (n, m) Euclidean distances of (n, d) and (m, d)."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    middle = b.mean(axis=0) if len(b) else 0.0
    a, b = a - middle, b - middle  # near 0 fewer digits cancel
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(squared, 0)))


def overlap(
    made: Values,
    across: Values,
    real: Values,
    *,
    precision_neighbours: int = PRECISION_NEIGHBOURS,
    density_neighbours: int = DENSITY_NEIGHBOURS,
) -> Overlap:
    """Return precision, recall, density and coverage.

    made: (m, m), across: (m, n), real: (n, n): `distances` within and between the samples.
    A figure is NaN where a sample that has balls has no more than k rows, or the other none.
    """
    m, n = across.shape
    precision = recall = density = coverage = math.nan
    if m and n > precision_neighbours:
        precision = float((across <= _reach(real, precision_neighbours)).any(axis=1).mean())
    if n and m > precision_neighbours:
        reach = _reach(made, precision_neighbours)
        recall = float((across <= reach[:, None]).any(axis=0).mean())
    if m and n > density_neighbours:
        inside = across <= _reach(real, density_neighbours)
        density = float(inside.sum() / (density_neighbours * m))
        coverage = float(inside.any(axis=0).mean())
    return Overlap(precision, recall, density, coverage)


def _reach(within: Values, neighbours: int) -> Values:
    """Each row's distance to its k-th neighbour; the row itself is the nearest."""
    return np.asarray(np.partition(within, neighbours, axis=1)[:, neighbours])
