"""Jensen-Shannon divergence of two samples, from nearest neighbours, in a space of few numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma

Values = NDArray[np.float64]
NEIGHBOURS: Final = 3
COMPONENTS: Final = 5
_EVEN_DRAWS: Final = 10


@dataclass(frozen=True)
class Space:
    """The first principal components of some rows, each scaled to a variance of 1.

    mean: (d,). axes: (d, c), already divided by the components' standard deviations.
    explained: the share of the rows' variance that the components hold, NaN without variance.
    """

    mean: Values
    axes: Values
    explained: float

    def apply(self, rows: NDArray[Any]) -> Values:
        """Return (n, c) for (n, d)."""
        return np.asarray((rows - self.mean) @ self.axes)


def fit_space(rows: NDArray[Any], components: int = COMPONENTS) -> Space:
    """Return the space of the rows' principal components. rows: (n, d), the real training rows.

    Components without variance are left out, so that there may be fewer, or none.
    """
    mean = rows.mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(rows.shape[1])
    _, values, axes = np.linalg.svd(rows - mean, full_matrices=False)
    spread = values / math.sqrt(max(len(rows) - 1, 1))
    kept = np.flatnonzero(spread > 1e-9 * max(spread.max(initial=0.0), 1e-300))[:components]
    total = float((spread**2).sum())
    explained = float((spread[kept] ** 2).sum()) / total if total > 0 else math.nan
    return Space(mean, np.asarray(axes[kept].T / spread[kept]), explained)


def js_divergence(
    first: Values,
    second: Values,
    rng: np.random.Generator,
    *,
    neighbours: int = NEIGHBOURS,
    clip: bool = True,
) -> float:
    """Return the Jensen-Shannon divergence of two samples in bits: 0 alike, 1 wholly apart.

    first, second: (n, d) and (m, d) rows drawn from two densities, d small.
    rng: draws rows of the larger sample, ten times, so that both have as many.
    clip: False leaves estimates as they are, below 0 or above 1 by chance.

    The divergence is the information that a row, drawn from one or the other by the toss of a
    coin, gives of which it was (Lin 1991). It is estimated from each row's distance to its k-th
    neighbour in its own sample and the number of rows of both within it (Ross 2014, after Kraskov
    et al. 2004): ψ(2n) + ψ(k) - ψ(n) - mean ψ(rows within). No bins, and
    no bias where the densities are even over such distances.
    NaN where a sample has no more than k rows.
    """
    n = min(len(first), len(second))
    if n <= neighbours or not first.shape[1]:
        return math.nan
    draws = 1 if len(first) == len(second) else _EVEN_DRAWS
    found = [_even(_some(first, n, rng), _some(second, n, rng), neighbours) for _ in range(draws)]
    return float(np.clip(np.mean(found), 0, 1)) if clip else float(np.mean(found))


def _some(rows: Values, n: int, rng: np.random.Generator) -> Values:
    return rows if len(rows) == n else rows[rng.choice(len(rows), n, replace=False)]


def _even(first: Values, second: Values, neighbours: int) -> float:
    """The information in bits, of two samples with as many rows; below 0 by chance."""
    n = len(first)
    trees: tuple[Any, Any] = cKDTree(first), cKDTree(second)
    within: list[Values] = []
    for own, rows, other in ((trees[0], first, trees[1]), (trees[1], second, trees[0])):
        reach = np.nextafter(own.query(rows, neighbours + 1)[0][:, -1], 0)
        inside = own.query_ball_point(rows, reach, return_length=True)
        across = other.query_ball_point(rows, reach, return_length=True)
        within.append(digamma(np.maximum(inside + across, neighbours)))
    nats = digamma(2 * n) + digamma(neighbours) - digamma(n) - np.concatenate(within).mean()
    return float(nats / math.log(2))
