"""Bootstrap intervals and differences over groups of rows, and exact intervals for rare events."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.values import UsageError

Weights = NDArray[np.float64]
Groups = NDArray[np.integer[Any]]
_BLOCK: Final = 4_000_000  # weights held at once, 32 MB
_SIDE: Final = 0.025  # beyond either limit of a 95 % interval


def draw_weights(groups: Groups, rng: np.random.Generator, draws: int) -> Iterator[Weights]:
    """Draw groups of rows with replacement; yield (m, n) how often each row occurs in m draws."""
    group_of_row = np.unique(groups, return_inverse=True)[1]
    count = int(group_of_row.max(initial=-1)) + 1
    block = max(1, _BLOCK // max(len(groups), 1))
    for first in range(0, draws, block):
        drawn = (rng.integers(0, count, count) for _ in range(min(block, draws - first)))
        times = [np.bincount(each, minlength=count) for each in drawn]
        yield np.asarray(times, np.float64)[:, group_of_row]


def drawn_sums(weight: Weights, which: NDArray[np.integer[Any]], size: int) -> Weights:
    """Return (m, size): the total weight of the rows of each kind. which: (n,), in 0..size-1."""
    sums = np.zeros((len(weight), size))
    if len(which):
        order = np.argsort(which, kind="stable")
        kinds = which[order]
        starts = np.flatnonzero(np.r_[True, kinds[1:] != kinds[:-1]])
        sums[:, kinds[starts]] = np.add.reduceat(weight[:, order], starts, axis=1)
    return sums


def drawn_means(values: NDArray[Any], weight: Weights) -> Weights:
    """Return (m,) weighted means of the defined values; NaN where no defined row has weight."""
    defined = ~np.isnan(values)
    filled = np.where(defined, values, 0.0).astype(np.float64)
    return divide(weight @ filled, weight @ defined.astype(np.float64))


def mean_defined(values: NDArray[np.floating[Any]]) -> Weights:
    """Return the mean of the defined values along the last axis; NaN where there are none."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def divide(a: NDArray[Any], b: NDArray[Any]) -> Weights:
    """Return a / b as float64, NaN where b is 0."""
    out = np.full(np.shape(b), math.nan)
    return np.asarray(np.divide(a, b, out=out, where=np.asarray(b) > 0))


RowFigure = Callable[[NDArray[np.intp]], float]
"""Row numbers, possibly repeated → a figure."""
DrawnFigures = Callable[[Weights], Mapping[str, NDArray[np.float64]]]
"""Weights (m, n), how often each row occurs in each of m draws → name → figures (m,)."""


class Estimate(NamedTuple):
    """A figure, its 95 % interval, and the number of rows it is computed from."""

    value: float
    low: float
    high: float
    n: int


class Difference(NamedTuple):
    """First figure minus second, its 95 % interval, two-sided p, and the number of rows."""

    value: float
    low: float
    high: float
    p: float
    n: int


def bootstrap(
    figure: RowFigure, groups: Groups, rng: np.random.Generator, draws: int = 1000
) -> Estimate:
    """Return a figure over all rows with its 95 % percentile interval.

    groups: (n,) rows of one group (a subject, duplicates of an image) are drawn together.
    The interval is NaN if fewer than half of the draws are defined, or if the figure depends on
    one group: there is only one, or the figure is undefined in every draw without it.
    """
    return bootstrap_many(from_rows({"figure": figure}), groups, rng, draws)["figure"]


def bootstrap_many(
    figures: DrawnFigures, groups: Groups, rng: np.random.Generator, draws: int = 1000
) -> dict[str, Estimate]:
    """Return many figures with intervals from one set of draws; see bootstrap.

    figures: `drawn_figures` returns such a function for a model's scores, `from_rows` for any
        figures of rows.
    """
    found = _bootstrap(figures, groups, rng, draws)
    return {name: Estimate(d.value, d.low, d.high, d.n) for name, d in found.items()}


def bootstrap_means(
    columns: Mapping[str, NDArray[Any]], groups: Groups, rng: np.random.Generator, draws: int = 1000
) -> dict[str, Estimate]:
    """Return the mean of each column's defined values; see bootstrap.

    columns: name → (n,) numbers, or true and false for a share. n: the defined values.
    """

    def means(weight: Weights) -> dict[str, Weights]:
        return {name: drawn_means(x, weight) for name, x in columns.items()}

    found = bootstrap_many(means, groups, rng, draws)
    return {name: found[name]._replace(n=int((~np.isnan(x)).sum())) for name, x in columns.items()}


def paired_bootstrap_many(
    first: DrawnFigures,
    second: DrawnFigures,
    groups: Groups,
    rng: np.random.Generator,
    draws: int = 1000,
) -> dict[str, Difference]:
    """Return name → difference of two models' figures, from one set of draws.

    Names that only one of the two returns are left out.
    p: two-sided, 2 (1 + the draws on the rarer side of 0) / (1 + draws), at most 1: below 0.05
        if the interval excludes 0, never below 2 / (1 + draws) (Davison & Hinkley 1997, chapter
        4, for the 1).
    Interval and p are NaN if fewer than half of the draws are defined, or if the difference
    depends on one group (see bootstrap).
    """

    def difference(weight: Weights) -> dict[str, NDArray[np.float64]]:
        a, b = first(weight), second(weight)
        return {name: a[name] - b[name] for name in a if name in b}

    return _bootstrap(difference, groups, rng, draws)


def from_rows(figures: Mapping[str, RowFigure]) -> DrawnFigures:
    """Return figures of row numbers as figures of weights; slower: one call for each draw."""

    def drawn(weight: Weights) -> dict[str, NDArray[np.float64]]:
        numbers = np.arange(weight.shape[1])
        rows = [np.repeat(numbers, times.astype(np.int64)) for times in weight]
        return {name: np.array([f(r) for r in rows], np.float64) for name, f in figures.items()}

    return drawn


def within(figures: DrawnFigures, part: NDArray[np.bool_]) -> DrawnFigures:
    """Return the figures of some rows only, to compare two subgroups.

    part: (n,) bool, the rows to use. The gap between children and the rest is
    `paired_bootstrap_many(within(f, child), within(f, ~child), groups, rng)`.
    The n of the result still counts all rows.
    """
    if part.dtype != np.bool_:
        raise UsageError(f"part must be a mask of n true or false values, not {part.dtype}.")
    return lambda weight: figures(weight * part)


def _bootstrap(
    figures: DrawnFigures, groups: Groups, rng: np.random.Generator, draws: int
) -> dict[str, Difference]:
    """Return figures with their intervals, and p-values for the difference from 0."""
    n, undefined = len(groups), (math.nan, math.nan, math.nan)
    whole = {name: float(value[0]) for name, value in figures(np.ones((1, n))).items()}
    if not n:
        return {name: Difference(value, *undefined, 0) for name, value in whole.items()}
    first_rows = np.unique(groups, return_index=True)[1]
    blocks = [(figures(w), w[:, first_rows] > 0) for w in draw_weights(groups, rng, draws)]
    included = np.concatenate([included for _, included in blocks])
    found = {}
    for name, value in whole.items():
        drawn = np.concatenate([block[name] for block, _ in blocks])
        limits = undefined if _needs_one_group(drawn, included) else _limits(drawn)
        found[name] = Difference(value, *limits, n)
    return found


def _needs_one_group(drawn: NDArray[np.float64], included: NDArray[np.bool_]) -> bool:
    """Return whether all defined draws include the same group. included: (draws, groups).

    Such a group is a whole class or subgroup: its draws are all alike, so their interval would
    be too narrow.
    """
    defined = ~np.isnan(drawn)
    if defined.all():
        return bool(included.shape[1] < 2)
    return bool(included[defined].all(axis=0).any())


def _limits(drawn: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the interval, and the p-value of a difference from 0; see paired_bootstrap_many."""
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < len(drawn) / 2:
        return math.nan, math.nan, math.nan
    low, high = np.quantile(defined, [_SIDE, 1 - _SIDE])
    rarer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return float(low), float(high), min(1.0, 2 * (1 + rarer) / (1 + len(defined)))


def event_rate(count: int, time: float) -> Estimate:
    """Return events per unit of time with the exact 95 % Poisson interval (Garwood 1936).

    NaN if the time is 0. n: the number of events.
    """
    from scipy.special import gammaincinv  # not at import: a tenth of a second

    if not time > 0:
        return Estimate(math.nan, math.nan, math.nan, count)
    low = float(gammaincinv(count, _SIDE)) if count else 0.0
    high = float(gammaincinv(count + 1, 1 - _SIDE))
    return Estimate(count / time, low / time, high / time, count)


def exact_share(count: int, total: int) -> Estimate:
    """Return a share with its exact 95 % binomial interval (Clopper and Pearson 1934).

    NaN if the total is 0. n: the total.
    """
    from scipy.special import betaincinv  # not at import: a tenth of a second

    if not total:
        return Estimate(math.nan, math.nan, math.nan, 0)
    low = float(betaincinv(count, total - count + 1, _SIDE)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - _SIDE)) if count < total else 1.0
    return Estimate(count / total, low, high, total)
