"""Distances between synthetic and real faces, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma

from moppet.metrics import Estimate, as_json

Values = NDArray[np.float64]
PRECISION_NEIGHBORS: Final = 3
DENSITY_NEIGHBORS: Final = 5


class Overlap(NamedTuple):
    """Figures of synthetic rows against real ones, each with the balls of k nearest neighbors.

    precision: share of the synthetic rows in a ball of a real one, 0 to 1: do they look real?
    recall: share of the real rows in a ball of a synthetic one, 0 to 1: is every kind of face made?
    (Kynkäänniemi et al. 2019, k = 3.)
    density: mean number of real rows' balls that contain a synthetic row, over k: about 1 if both
    are alike, more if synthetic rows crowd where real ones do; no upper limit.
    coverage: share of real rows' balls that contain a synthetic row, 0 to 1; more stable than
    recall. (Naeem et al. 2020, k = 5.)
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
    precision_neighbors: int = PRECISION_NEIGHBORS,
    density_neighbors: int = DENSITY_NEIGHBORS,
) -> Overlap:
    """Return precision, recall, density and coverage.

    made: (m, m), across: (m, n), real: (n, n): `distances` within and between the samples.
    A figure is NaN where a sample that has balls has no more than k rows, or the other none.
    """
    m, n = across.shape
    precision = recall = density = coverage = math.nan
    if m and n > precision_neighbors:
        precision = float((across <= _reach(real, precision_neighbors)).any(axis=1).mean())
    if n and m > precision_neighbors:
        reach = _reach(made, precision_neighbors)
        recall = float((across <= reach[:, None]).any(axis=0).mean())
    if m and n > density_neighbors:
        inside = across <= _reach(real, density_neighbors)
        density = float(inside.sum() / (density_neighbors * m))
        coverage = float(inside.any(axis=0).mean())
    return Overlap(precision, recall, density, coverage)


def _reach(within: Values, neighbors: int) -> Values:
    """Each row's distance to its k-th neighbor; the row itself is the nearest."""
    return np.asarray(np.partition(within, neighbors, axis=1)[:, neighbors])


def frechet_distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the squared Fréchet distance of the normal densities fitted to two samples (FID).

    first, second: (n, d) and (m, d). The distance of the means, squared, and
    tr(C₁ + C₂ - 2 (C₁ C₂)^½) (Heusel et al. 2017, eq. 6); C with n - 1 below. 0 alike, no upper
    limit. Too large for few rows, the more so the fewer: compare only figures of as many rows.
    NaN where a sample has fewer than two rows.
    """
    if min(len(first), len(second)) < 2 or not first.shape[1]:
        return math.nan
    apart = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    one, two = (np.atleast_2d(np.cov(x.astype(np.float64).T)) for x in (first, second))
    # (C₁ C₂)^½ has the trace of (R C₂ R)^½ with R = C₁^½, which is symmetric.
    values, axes = np.linalg.eigh(one)
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ two @ root), 0)).sum()
    return max(0.0, float(apart @ apart + np.trace(one) + np.trace(two) - 2 * shared))


def cubic_kernel(first: NDArray[Any], second: NDArray[Any]) -> Values:
    """Return (n, m) of (x · y / d + 1)³, the kernel of KID. first: (n, d); second: (m, d)."""
    product = first.astype(np.float64) @ second.astype(np.float64).T
    return np.asarray((product / max(first.shape[1], 1) + 1) ** 3)


def kernel_distance(first: Values, across: Values, second: Values) -> float:
    """Return the unbiased squared maximum mean discrepancy (KID; Bińkowski et al. 2018, eq. 4).

    first: (n, n), across: (n, m), second: (m, m): `cubic_kernel` within and between the samples.
    0 on average for two samples of one density, below 0 by chance; no upper limit.
    NaN where a sample has fewer than two rows.
    """
    n, m = across.shape
    if min(n, m) < 2:
        return math.nan
    within = (first.sum() - np.trace(first)) / (n * (n - 1))
    beside = (second.sum() - np.trace(second)) / (m * (m - 1))
    return float(within + beside - 2 * across.mean())


NEIGHBORS: Final = 3
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
    neighbors: int = NEIGHBORS,
    clip: bool = True,
) -> float:
    """Return the Jensen-Shannon divergence of two samples in bits: 0 alike, 1 wholly apart.

    first, second: (n, d) and (m, d) rows drawn from two densities, d small.
    rng: draws rows of the larger sample, ten times, so that both have as many.
    clip: False leaves estimates as they are, below 0 or above 1 by chance.

    The divergence is the information that a row, drawn from one or the other by the toss of a
    coin, gives of which it was (Lin 1991). It is estimated from each row's distance to its k-th
    neighbor in its own sample and the number of rows of both within it (Ross 2014, after Kraskov
    et al. 2004): ψ(2n) + ψ(k) - ψ(n) - mean ψ(rows within). No bins, and
    no bias where the densities are even over such distances.
    NaN where a sample has no more than k rows.
    """
    n = min(len(first), len(second))
    if n <= neighbors or not first.shape[1]:
        return math.nan
    draws = 1 if len(first) == len(second) else _EVEN_DRAWS
    found = [_even(_some(first, n, rng), _some(second, n, rng), neighbors) for _ in range(draws)]
    return float(np.clip(np.mean(found), 0, 1)) if clip else float(np.mean(found))


def _some(rows: Values, n: int, rng: np.random.Generator) -> Values:
    return rows if len(rows) == n else rows[rng.choice(len(rows), n, replace=False)]


def _even(first: Values, second: Values, neighbors: int) -> float:
    """The information in bits, of two samples with as many rows; below 0 by chance."""
    n = len(first)
    trees: tuple[Any, Any] = cKDTree(first), cKDTree(second)
    within: list[Values] = []
    for own, rows, other in ((trees[0], first, trees[1]), (trees[1], second, trees[0])):
        reach = np.nextafter(own.query(rows, neighbors + 1)[0][:, -1], 0)
        inside = own.query_ball_point(rows, reach, return_length=True)
        across = other.query_ball_point(rows, reach, return_length=True)
        within.append(digamma(np.maximum(inside + across, neighbors)))
    nats = digamma(2 * n) + digamma(neighbors) - digamma(n) - np.concatenate(within).mean()
    return float(nats / math.log(2))


Rows = NDArray[np.intp]
Figures = Callable[[Rows, Rows], Mapping[str, float]]
"""Row numbers of the made and of the real sample → figures by name."""
LIMITS: Final = {
    "js_divergence": (0.0, 1.0),
    "frechet_distance": (0.0, math.inf),
    "precision": (0.0, 1.0),
    "recall": (0.0, 1.0),
    "density": (0.0, math.inf),
    "coverage": (0.0, 1.0),
}
_LEAST_GROUPS: Final = 8


def half_sample_intervals(
    figures: Figures,
    made_groups: NDArray[np.integer[Any]],
    real_groups: NDArray[np.integer[Any]],
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Estimate]:
    """Return figures of two samples with 95 % intervals by random half samples.

    made_groups: (m,), real_groups: (n,): rows of one group (a subject, copies) go together.
    Half of the groups of both samples are drawn without repeats, `draws` times. A figure of
    halves scatters around their mean as that of the whole does around its own, for n/2 of n rows
    leave 2/n - 1/n = 1/n (McCarthy 1969; Politis & Romano 1994): that scatter's 2.5 and 97.5 %
    points, put around the figure of the whole, are the interval. How the figure itself shifts with
    fewer rows drops out. n: synthetic rows. No interval with fewer than 8 groups in either sample.
    """
    m, n = len(made_groups), len(real_groups)
    whole = figures(np.arange(m), np.arange(n))
    made, real = _HalfSampler(made_groups), _HalfSampler(real_groups)
    if min(made.groups, real.groups) < _LEAST_GROUPS or draws < 2:
        return {
            name: Estimate(limited(name, value), math.nan, math.nan, m)
            for name, value in whole.items()
        }
    drawn = [figures(made.draw(rng), real.draw(rng)) for _ in range(draws)]
    return {
        name: Estimate(
            limited(name, value), *_interval(name, value, np.array([d[name] for d in drawn])), m
        )
        for name, value in whole.items()
    }


class _HalfSampler:
    def __init__(self, groups: NDArray[np.integer[Any]]) -> None:
        _, self._of_row = np.unique(groups, return_inverse=True)
        self.groups = int(self._of_row.max(initial=-1)) + 1

    def draw(self, rng: np.random.Generator) -> Rows:
        """Rows of half of the groups; of an odd number one more in every other draw."""
        half = (self.groups + int(rng.integers(2))) // 2
        chosen = np.zeros(self.groups, bool)
        chosen[rng.choice(self.groups, half, replace=False)] = True
        return np.flatnonzero(chosen[self._of_row])


def _interval(name: str, value: float, drawn: NDArray[np.float64]) -> tuple[float, float]:
    defined = drawn[~np.isnan(drawn)]
    if math.isnan(value) or len(defined) < len(drawn) / 2:
        return math.nan, math.nan
    low, high = value + np.quantile(defined - defined.mean(), [0.025, 0.975])
    return limited(name, float(low)), limited(name, float(high))


def limited(name: str, value: float) -> float:
    """Return a figure's value within what the figure can be; NaN stays."""
    least, most = LIMITS.get(name, (-math.inf, math.inf))
    return float(np.clip(value, least, most))


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
"""Most rows of a sample that are compared; of larger samples, a random subset."""
_SPLITS: Final = 10


@dataclass(frozen=True)
class Comparison:
    """Synthetic faces compared with real ones, and real ones with each other.

    n_made, n_real: faces compared. figures: name in FIGURES → estimate.
    among_real: the same between two random halves of these real faces, the mean of ten splits and
    their range; its n is that of a half. Synthetic faces that reach
    these values cannot be told from real ones by this model.
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
    """Return every figure of synthetic faces against real ones.

    space: of the Jensen-Shannon divergence, fitted on real rows. draws: for the intervals.
    frechet: whether to compute the Fréchet distance, which few faces make too high; else NaN.
    Of more than 2,000 faces of either kind so many are drawn by rng.
    """
    made, real = made.some(rng), real.some(rng)
    seed = int(rng.integers(2**31))
    table = _Table(made.embeddings, real.embeddings, space, seed, frechet)
    figures = half_sample_intervals(table.figures, made.groups, real.groups, rng, draws)
    within = _Table(real.embeddings, real.embeddings, space, seed, frechet)
    return Comparison(len(made.groups), len(real.groups), figures, _among(within, real.groups, rng))


class _Table:
    """Distances and kernels of all pairs, from which the figures of any rows are quick."""

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
