"""Counts of rare events → figures with exact intervals, for few events that are independent."""

from __future__ import annotations

import math
from typing import Final

from scipy.stats import binomtest, chi2

from moppet.metrics.intervals import Estimate

_SIDE: Final = 0.025


def event_rate(count: int, time: float) -> Estimate:
    """Return events per unit of time with the exact 95 % Poisson interval (Garwood 1936).

    NaN where there is no time. n: the events.
    """
    if not time > 0:
        return Estimate(math.nan, math.nan, math.nan, count)
    low = float(chi2.ppf(_SIDE, 2 * count)) / 2 if count else 0.0
    high = float(chi2.ppf(1 - _SIDE, 2 * count + 2)) / 2
    return Estimate(count / time, low / time, high / time, count)


def exact_share(count: int, total: int) -> Estimate:
    """Return a share with its exact 95 % binomial interval (Clopper and Pearson 1934).

    NaN of none. n: the total.
    """
    if not total:
        return Estimate(math.nan, math.nan, math.nan, 0)
    interval = binomtest(count, total).proportion_ci()
    return Estimate(count / total, float(interval.low), float(interval.high), total)
