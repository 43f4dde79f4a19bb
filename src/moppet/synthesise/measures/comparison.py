"""Every distance between made and real faces at once, with intervals, and between real ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics import Estimate, as_json
from moppet.synthesise.measures.distances import cubic_kernel, frechet_distance, kernel_distance
from moppet.synthesise.measures.divergence import Space, js_divergence
from moppet.synthesise.measures.halves import Rows, estimate_by_halves, limited
from moppet.synthesise.measures.manifold import distances, overlap

FIGURES: Final = (
    "js_divergence",
    "frechet_distance",
    "kernel_distance",
    "precision",
    "recall",
    "density",
    "coverage",
)
MOST: Final = 2000
"""Rows of a sample that are compared at most; more are drawn from."""
_SPLITS: Final = 10


@dataclass(frozen=True)
class Comparison:
    """Made faces against real ones, and the real ones among themselves.

    n_made, n_real: faces compared. figures: name in FIGURES → estimate.
    among_real: the same between two random halves of these real faces, the mean of ten splits and
    their range; its n is that of a half. So near is near enough: made faces that do as well are,
    to this model, of the same kind.
    """

    n_made: int
    n_real: int
    figures: dict[str, Estimate]
    among_real: dict[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """Return plain values, None for what is undefined."""
        return {
            "n_made": self.n_made,
            "n_real": self.n_real,
            "figures": {name: as_json(e) for name, e in self.figures.items()},
            "among_real": {name: as_json(e) for name, e in self.among_real.items()},
        }


@dataclass(frozen=True)
class Sample:
    """(n, d) embeddings and (n,) numbers of the groups that belong together."""

    embeddings: NDArray[Any]
    groups: NDArray[np.integer[Any]]

    def some(self, rng: np.random.Generator, most: int = MOST) -> Sample:
        """Return all rows, or as many as may be compared."""
        if len(self.groups) <= most:
            return self
        rows = np.sort(rng.permutation(len(self.groups))[:most])
        return Sample(self.embeddings[rows], self.groups[rows])


def compare_samples(
    made: Sample,
    real: Sample,
    space: Space,
    rng: np.random.Generator,
    draws: int,
    *,
    frechet: bool = True,
) -> Comparison:
    """Return every figure of made faces against real ones.

    space: of the Jensen-Shannon divergence, fitted on real rows. draws: for the intervals.
    frechet: whether to compute the Fréchet distance, which few faces make too high; else NaN.
    Of more than 2,000 faces of either kind so many are drawn by rng.
    """
    made, real = made.some(rng), real.some(rng)
    seed = int(rng.integers(2**31))
    table = _Table(made.embeddings, real.embeddings, space, seed, frechet)
    figures = estimate_by_halves(table.figures, made.groups, real.groups, rng, draws)
    within = _Table(real.embeddings, real.embeddings, space, seed, frechet)
    return Comparison(len(made.groups), len(real.groups), figures, _among(within, real.groups, rng))


class _Table:
    """Distances and kernels of all pairs, so that the figures of some rows are soon had."""

    def __init__(
        self, made: NDArray[Any], real: NDArray[Any], space: Space, seed: int, frechet: bool
    ) -> None:
        self._samples = made, real
        self._reduced = space.apply(made), space.apply(real)
        pairs = ((made, made), (made, real), (real, real))
        self._distances = [distances(a, b) for a, b in pairs]
        self._kernels = [cubic_kernel(a, b) for a, b in pairs]
        self._seed, self._frechet = seed, frechet

    def figures(self, made: Rows, real: Rows) -> Mapping[str, float]:
        """Return the figures of these rows of both samples."""
        a, b = (reduced[rows] for reduced, rows in zip(self._reduced, (made, real), strict=True))
        first, second = (x[rows] for x, rows in zip(self._samples, (made, real), strict=True))
        places = (np.ix_(made, made), np.ix_(made, real), np.ix_(real, real))
        kernels = (k[place] for k, place in zip(self._kernels, places, strict=True))
        apart = (d[place] for d, place in zip(self._distances, places, strict=True))
        return {
            "js_divergence": js_divergence(a, b, np.random.default_rng(self._seed), clip=False),
            "frechet_distance": frechet_distance(first, second) if self._frechet else math.nan,
            "kernel_distance": kernel_distance(*kernels),
            **overlap(*apart)._asdict(),
        }


def _among(
    table: _Table, groups: NDArray[np.integer[Any]], rng: np.random.Generator
) -> dict[str, Estimate]:
    of_row = np.unique(groups, return_inverse=True)[1]
    count = int(of_row.max(initial=-1)) + 1
    half = len(groups) // 2
    if count < 2:
        return {name: Estimate(math.nan, math.nan, math.nan, half) for name in FIGURES}
    drawn = []
    for _ in range(_SPLITS):
        chosen = np.isin(of_row, rng.choice(count, count // 2, replace=False))
        drawn.append(table.figures(np.flatnonzero(chosen), np.flatnonzero(~chosen)))
    return {name: _range(name, np.array([d[name] for d in drawn]), half) for name in FIGURES}


def _range(name: str, values: NDArray[np.float64], n: int) -> Estimate:
    values = values[~np.isnan(values)]
    if len(values) < _SPLITS / 2:
        return Estimate(math.nan, math.nan, math.nan, n)
    low, mean, high = (limited(name, float(x)) for x in (values.min(), values.mean(), values.max()))
    return Estimate(mean, low, high, n)
