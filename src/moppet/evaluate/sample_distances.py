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

from moppet.metrics import Estimate

Values = NDArray[np.float64]
PRECISION_NEIGHBORS: Final = 3
DENSITY_NEIGHBORS: Final = 5


class Overlap(NamedTuple):
    """Overlap of synthetic and real rows. Each row has a ball that reaches its k-th neighbor.

    precision: share of synthetic rows inside a real row's ball, 0 to 1 (realism).
    recall: share of real rows inside a synthetic row's ball, 0 to 1 (variety).
    (Kynkäänniemi et al. 2019, k = 3.)
    density: mean number of real balls that contain a synthetic row, divided by k: about 1 for
    equal distributions, more if synthetic rows cluster in dense regions; no upper limit.
    coverage: share of real balls that contain a synthetic row, 0 to 1; more stable than recall.
    (Naeem et al. 2020, k = 5.)
    """

    precision: float
    recall: float
    density: float
    coverage: float


def distances(first: NDArray[Any], second: NDArray[Any]) -> Values:
    """Return (n, m) Euclidean distances of (n, d) and (m, d)."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    middle = b.mean(axis=0) if len(b) else 0.0
    a, b = a - middle, b - middle  # centering avoids cancellation
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(squared, 0)))


def overlap(
    synthetic: Values,
    across: Values,
    real: Values,
    *,
    precision_neighbors: int = PRECISION_NEIGHBORS,
    density_neighbors: int = DENSITY_NEIGHBORS,
) -> Overlap:
    """Return precision, recall, density and coverage.

    synthetic: (m, m), across: (m, n), real: (n, n): `distances` within and between the samples.
    A value is NaN if a sample with balls has at most k rows, or if the other sample is empty.
    """
    m, n = across.shape
    precision = recall = density = coverage = math.nan
    if m and n > precision_neighbors:
        precision = float((across <= _reach(real, precision_neighbors)).any(axis=1).mean())
    if n and m > precision_neighbors:
        reach = _reach(synthetic, precision_neighbors)
        recall = float((across <= reach[:, None]).any(axis=0).mean())
    if m and n > density_neighbors:
        inside = across <= _reach(real, density_neighbors)
        density = float(inside.sum() / (density_neighbors * m))
        coverage = float(inside.any(axis=0).mean())
    return Overlap(precision, recall, density, coverage)


def _reach(within: Values, neighbors: int) -> Values:
    """Return each row's distance to its k-th neighbor, not counting the row itself."""
    return np.asarray(np.partition(within, neighbors, axis=1)[:, neighbors])


def frechet_distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the squared Fréchet distance of the normal densities fitted to two samples (FID).

    first, second: (n, d) and (m, d). The squared distance of the means plus
    tr(C₁ + C₂ - 2 (C₁ C₂)^½) (Heusel et al. 2017, eq. 6), with covariances C divided by n - 1.
    0 for equal distributions, no upper limit. Small samples are biased upward: compare only
    values from equally many rows. NaN if a sample has fewer than two rows.
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
    0 on average for samples of the same distribution, and by chance below 0; no upper limit.
    NaN if a sample has fewer than two rows.
    """
    n, m = across.shape
    if min(n, m) < 2:
        return math.nan
    within = (first.sum() - np.trace(first)) / (n * (n - 1))
    beside = (second.sum() - np.trace(second)) / (m * (m - 1))
    return float(within + beside - 2 * across.mean())


NEIGHBORS: Final = 3
COMPONENTS: Final = 5
_SUBSET_DRAWS: Final = 10


@dataclass(frozen=True)
class Space:
    """The first principal components of subsample rows, each scaled to a variance of 1.

    mean: (d,). axes: (d, c), already divided by the components' standard deviations.
    explained: share of the rows' variance that the components explain, NaN without variance.
    """

    mean: Values
    axes: Values
    explained: float

    def apply(self, rows: NDArray[Any]) -> Values:
        """Return (n, c) for (n, d)."""
        return np.asarray((rows - self.mean) @ self.axes)


def fit_space(rows: NDArray[Any], components: int = COMPONENTS) -> Space:
    """Return the space of the rows' principal components. rows: (n, d), the real training rows.

    Components without variance are left out, so there may be fewer, or none.
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
    """Return the Jensen-Shannon divergence of two samples in bits: 0 equal, 1 disjoint.

    first, second: (n, d) and (m, d) rows of two distributions, d small.
    rng: draws ten subsets of the larger sample, each as large as the smaller one.
    clip: False keeps estimates that are below 0 or above 1 by chance.

    The divergence is the mutual information between a row and the sample it was drawn from, if
    both are equally likely (Lin 1991). It is estimated from each row's distance to its k-th
    neighbor in its own sample and the number of rows of both within it (Ross 2014, after Kraskov
    et al. 2004): ψ(2n) + ψ(k) - ψ(n) - mean ψ(rows within). There are no bins, and no bias where
    the densities are constant over such distances. NaN if a sample has at most k rows.
    """
    n = min(len(first), len(second))
    if n <= neighbors or not first.shape[1]:
        return math.nan
    draws = 1 if len(first) == len(second) else _SUBSET_DRAWS
    found = [
        _equal_size_divergence(_subset(first, n, rng), _subset(second, n, rng), neighbors)
        for _ in range(draws)
    ]
    return float(np.clip(np.mean(found), 0, 1)) if clip else float(np.mean(found))


def _subset(rows: Values, n: int, rng: np.random.Generator) -> Values:
    return rows if len(rows) == n else rows[rng.choice(len(rows), n, replace=False)]


def _equal_size_divergence(first: Values, second: Values, neighbors: int) -> float:
    """Return the divergence in bits of two samples of equal size; by chance below 0."""
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
"""Row numbers of the synthetic and of the real sample → figures by name."""
FIGURES: Final = {
    "js_divergence": (0.0, 1.0),
    "frechet_distance": (0.0, math.inf),
    "kernel_distance": (-math.inf, math.inf),
    "precision": (0.0, 1.0),
    "recall": (0.0, 1.0),
    "density": (0.0, math.inf),
    "coverage": (0.0, 1.0),
}
"""Figure → its range."""
_LEAST_GROUPS: Final = 8


def half_sample_intervals(
    figures: Figures,
    synthetic_groups: NDArray[np.integer[Any]],
    real_groups: NDArray[np.integer[Any]],
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Estimate]:
    """Return figures of two samples with 95 % intervals by random half samples.

    synthetic_groups: (m,), real_groups: (n,): groups (a subject, duplicates) are never divided.
    Half of the groups of both samples are drawn without replacement, `draws` times. The figure of
    a half varies around the mean of the halves as much as the figure of the whole varies around
    its expectation: both variances are proportional to 2/n - 1/n = 1/n (McCarthy 1969;
    Politis & Romano 1994). The interval is the whole's figure plus the 2.5 and 97.5 % quantiles
    of these deviations, so a bias from fewer rows cancels. The estimate's n is the number of
    synthetic rows. No interval with fewer than 8 groups in either sample.
    """
    m, n = len(synthetic_groups), len(real_groups)
    whole = figures(np.arange(m), np.arange(n))
    synthetic, real = _Groups(synthetic_groups), _Groups(real_groups)
    enough = min(synthetic.count, real.count) >= _LEAST_GROUPS and draws >= 2
    drawn = [figures(synthetic.draw_half(rng), real.draw_half(rng)) for _ in range(draws * enough)]
    return {
        name: Estimate(
            clipped(name, value), *_interval(name, value, np.array([d[name] for d in drawn])), m
        )
        for name, value in whole.items()
    }


class _Groups:
    """The groups of some rows, of which some are drawn."""

    def __init__(self, groups: NDArray[np.integer[Any]]) -> None:
        self._of_row = np.unique(groups, return_inverse=True)[1]
        self.count = int(self._of_row.max(initial=-1)) + 1

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return whether each row belongs to one of so many groups drawn."""
        return np.isin(self._of_row, rng.choice(self.count, count, replace=False))

    def draw_half(self, rng: np.random.Generator) -> Rows:
        """Return the rows of half of the groups, rounded up or down at random."""
        return np.flatnonzero(self.draw((self.count + int(rng.integers(2))) // 2, rng))


def _interval(name: str, value: float, drawn: NDArray[np.float64]) -> tuple[float, float]:
    defined = drawn[~np.isnan(drawn)]
    if math.isnan(value) or not len(defined) or len(defined) < len(drawn) / 2:
        return math.nan, math.nan
    low, high = value + np.quantile(defined - defined.mean(), [0.025, 0.975])
    return clipped(name, float(low)), clipped(name, float(high))


def clipped(name: str, value: float) -> float:
    """Return a value clipped to the range of its figure in FIGURES; NaN stays."""
    return float(np.clip(value, *FIGURES.get(name, (-math.inf, math.inf))))


MOST: Final = 2000
"""Most rows of a sample that are compared; of larger samples, a random subset."""
_SPLITS: Final = 10


@dataclass(frozen=True)
class SampleComparison:
    """Synthetic faces compared with real ones, and real ones with each other.

    n_synthetic, n_real: faces compared. figures: name in FIGURES → estimate.
    among_real: the same between two random halves of the real faces: mean and range of ten splits;
    n is the size of a half. To this model, synthetic faces with these values equal real ones.
    """

    n_synthetic: int
    n_real: int
    figures: dict[str, Estimate]
    among_real: dict[str, Estimate]


@dataclass(frozen=True)
class Sample:
    """(n, d) embeddings and (n,) group numbers; rows of one group belong together."""

    embeddings: NDArray[Any]
    groups: NDArray[np.integer[Any]]

    def subsample(self, rng: np.random.Generator, most: int = MOST) -> Sample:
        """Return the sample, or a random subset of `most` rows."""
        if len(self.groups) <= most:
            return self
        rows = np.sort(rng.permutation(len(self.groups))[:most])
        return Sample(self.embeddings[rows], self.groups[rows])


def compare_samples(
    synthetic: Sample,
    real: Sample,
    space: Space,
    rng: np.random.Generator,
    draws: int,
    *,
    frechet: bool = True,
) -> SampleComparison:
    """Return every figure of synthetic faces against real ones.

    space: for the Jensen-Shannon divergence, fitted to real rows. draws: for the intervals.
    frechet: whether to compute the Fréchet distance (biased for few faces); otherwise NaN.
    rng: also draws 2,000 faces from a larger sample.
    """
    synthetic, real = synthetic.subsample(rng), real.subsample(rng)
    seed = int(rng.integers(2**31))
    table = _PairTable(synthetic.embeddings, real.embeddings, space, seed, frechet)
    figures = half_sample_intervals(table.figures, synthetic.groups, real.groups, rng, draws)
    within = _PairTable(real.embeddings, real.embeddings, space, seed, frechet)
    return SampleComparison(
        len(synthetic.groups), len(real.groups), figures, _among(within, real.groups, rng)
    )


class _PairTable:
    """Distances and kernels of all pairs, for fast figures of any subset of rows."""

    def __init__(
        self, synthetic: NDArray[Any], real: NDArray[Any], space: Space, seed: int, frechet: bool
    ) -> None:
        self._samples = synthetic, real
        self._reduced = space.apply(synthetic), space.apply(real)
        pairs = ((synthetic, synthetic), (synthetic, real), (real, real))
        self._distances = [distances(a, b) for a, b in pairs]
        self._kernels = [cubic_kernel(a, b) for a, b in pairs]
        self._seed, self._frechet = seed, frechet

    def figures(self, synthetic: Rows, real: Rows) -> Mapping[str, float]:
        """Return the figures of these rows of both samples."""
        a, b = self._reduced[0][synthetic], self._reduced[1][real]
        first, second = self._samples[0][synthetic], self._samples[1][real]
        places = (np.ix_(synthetic, synthetic), np.ix_(synthetic, real), np.ix_(real, real))
        kernels = (k[place] for k, place in zip(self._kernels, places, strict=True))
        apart = (d[place] for d, place in zip(self._distances, places, strict=True))
        return {
            "js_divergence": js_divergence(a, b, np.random.default_rng(self._seed), clip=False),
            "frechet_distance": frechet_distance(first, second) if self._frechet else math.nan,
            "kernel_distance": kernel_distance(*kernels),
            **overlap(*apart)._asdict(),
        }


def _among(
    table: _PairTable, groups: NDArray[np.integer[Any]], rng: np.random.Generator
) -> dict[str, Estimate]:
    of_real, half = _Groups(groups), len(groups) // 2
    if of_real.count < 2:
        return {name: Estimate(math.nan, math.nan, math.nan, half) for name in FIGURES}
    drawn = []
    for _ in range(_SPLITS):
        chosen = of_real.draw(of_real.count // 2, rng)
        drawn.append(table.figures(np.flatnonzero(chosen), np.flatnonzero(~chosen)))
    return {name: _range(name, np.array([d[name] for d in drawn]), half) for name in FIGURES}


def _range(name: str, values: NDArray[np.float64], n: int) -> Estimate:
    values = values[~np.isnan(values)]
    if len(values) < _SPLITS / 2:
        return Estimate(math.nan, math.nan, math.nan, n)
    low, mean, high = (clipped(name, float(x)) for x in (values.min(), values.mean(), values.max()))
    return Estimate(mean, low, high, n)
