"""Counts of rare events → figures with exact intervals, for few events that are independent."""

from __future__ import annotations

import math
from typing import Final

from moppet.metrics.intervals import Estimate

_SIDE: Final = 0.025


def event_rate(count: int, time: float) -> Estimate:
    """Return events per unit of time with the exact 95 % Poisson interval (Garwood 1936).

    NaN where there is no time. n: the events.
    """
    from scipy.special import gammaincinv  # not at import: a tenth of a second

    if not time > 0:
        return Estimate(math.nan, math.nan, math.nan, count)
    low = float(gammaincinv(count, _SIDE)) if count else 0.0
    high = float(gammaincinv(count + 1, 1 - _SIDE))
    return Estimate(count / time, low / time, high / time, count)


def exact_share(count: int, total: int) -> Estimate:
    """Return a share with its exact 95 % binomial interval (Clopper and Pearson 1934).

    NaN of none. n: the total.
    """
    from scipy.special import betaincinv  # not at import: a tenth of a second

    if not total:
        return Estimate(math.nan, math.nan, math.nan, 0)
    low = float(betaincinv(count, total - count + 1, _SIDE)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - _SIDE)) if count < total else 1.0
    return Estimate(count / total, low, high, total)
