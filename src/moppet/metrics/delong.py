"""Two models' scores of the same rows → whether their areas under the curve differ."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.counts import Scores, Values
from moppet.metrics.ranking import check_positive

_Z95: Final = 1.959963984540054


class AucDifference(NamedTuple):
    """Two areas, the first less the second with its 95 % interval, z, and two-sided p."""

    first: float
    second: float
    value: float
    low: float
    high: float
    z: float
    p: float
    n: int


def delong_test(first: Scores, second: Scores, positive: NDArray[np.bool_]) -> AucDifference:
    """Return how two correlated areas under the curve differ.

    first, second: (n,) the models' scores of the same rows; positive: (n,).
    DeLong, DeLong & Clarke-Pearson 1988, by midranks in n log n (Sun & Xu 2014). Rows are taken
    as independent: where subjects or copies repeat, use the paired bootstrap.
    Interval, z and p are NaN with fewer than two positive or negative rows, and where the
    difference has no variance (both scores order the rows alike, say).
    """
    check_positive(first, positive)
    check_positive(second, positive)
    n, nan = len(positive), math.nan
    wins_a, losses_a = _placements(first, positive)
    wins_b, losses_b = _placements(second, positive)
    if not len(wins_a) or not len(losses_a):
        return AucDifference(nan, nan, nan, nan, nan, nan, nan, n)
    area_a, area_b = float(wins_a.mean()), float(wins_b.mean())
    value = area_a - area_b
    by_positive, by_negative = wins_a - wins_b, losses_a - losses_b
    if min(len(by_positive), len(by_negative)) < 2 or (
        # Placements come in steps of half a row: what is closer differs by rounding only.
        max(np.ptp(by_positive), np.ptp(by_negative)) < 1e-9
    ):
        return AucDifference(area_a, area_b, value, nan, nan, nan, nan, n)
    error = math.sqrt(
        by_positive.var(ddof=1) / len(by_positive) + by_negative.var(ddof=1) / len(by_negative)
    )
    z = value / error
    p = math.erfc(abs(z) / math.sqrt(2))
    low, high = value - _Z95 * error, value + _Z95 * error
    return AucDifference(area_a, area_b, value, low, high, z, p, n)


def _placements(score: Scores, positive: NDArray[np.bool_]) -> tuple[Values, Values]:
    """Return for each positive the share of negatives below it, for each negative of positives
    above it, ties counting half. Both means are the area."""
    ranks = _midranks(score)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    below = ranks[positive] - _midranks(score[positive])
    above = positives - (ranks[~positive] - _midranks(score[~positive]))
    return below / max(negatives, 1), above / max(positives, 1)


def _midranks(score: Scores) -> Values:
    """Return ranks from 1, equal scores sharing their mean rank."""
    _, which, count = np.unique(score, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[which])
