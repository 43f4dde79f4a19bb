"""Measures of how two series of one recording go together, and surrogates of chance.

Series are sampled at equal steps; NaN, or -1 for states, is time without a sure value. A positive
lag means that the second series follows the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Series = NDArray[np.float64]
States = NDArray[np.int64]
_FLAT: Final = 1e-9
_MOST_R: Final = 0.999
"""Correlations are cut there before Fisher's transformation."""
LEAST_SHARE: Final = 0.5
"""A window with a smaller share of known pairs has no correlation."""


class LagProfile(NamedTuple):
    """Windowed cross-correlation of two series.

    lags: (m,) in steps, from -max to max. r: (m,) mean correlation over windows, by Fisher's z.
    synchrony: mean absolute Fisher's z over windows and lags. peak_lag, peak_r: where the mean
    correlation is largest. lead: mean z at positive lags less that at negative ones; above 0 if
    the first series leads. windows: number of those with a correlation.
    """

    lags: NDArray[np.int64]
    r: Series
    synchrony: float
    peak_lag: float
    peak_r: float
    lead: float
    windows: int


def windowed_correlations(
    first: Series, second: Series, window: int, stride: int, max_lag: int
) -> Series:
    """Return (w, m) Pearson's r of each window of `first` with `second` at each lag.

    first, second: (n,). window, stride, max_lag: in steps. NaN where fewer than half of the pairs
    are known, or one of the two does not vary. Source: Boker, Rotondo, Xu & King (2002),
    Psychological Methods 7, 338-355.
    """
    n = min(len(first), len(second))
    starts = np.arange(0, n - window + 1, stride)
    if not len(starts):
        return np.full((0, 2 * max_lag + 1), np.nan)
    x, y = (_centered(series[:n]) for series in (first, second))
    padded = np.concatenate([np.full(max_lag, np.nan), y, np.full(max_lag, np.nan)])
    shifted = sliding_window_view(padded, n)  # (m, n): row i is the lag i - max_lag
    both = ~np.isnan(shifted) & ~np.isnan(x)
    a = np.where(both, x, 0.0)
    b = np.where(both, shifted, 0.0)

    def sums(values: NDArray[Any]) -> Series:
        total = np.cumsum(values, axis=1, dtype=np.float64)
        total = np.concatenate([np.zeros((len(total), 1)), total], axis=1)
        return np.asarray((total[:, starts + window] - total[:, starts]).T)

    count, sa, sb = sums(both), sums(a), sums(b)
    saa, sbb, sab = sums(a * a), sums(b * b), sums(a * b)
    with np.errstate(invalid="ignore", divide="ignore"):
        va, vb = saa - sa * sa / count, sbb - sb * sb / count
        r = (sab - sa * sb / count) / np.sqrt(va * vb)
    known = (count >= LEAST_SHARE * window) & (va > _FLAT) & (vb > _FLAT)
    return np.where(known, np.clip(r, -1, 1), np.nan)


def _centered(series: Series) -> Series:
    known = series[~np.isnan(series)]
    if not len(known):
        return series
    spread = float(known.std())
    return np.asarray((series - known.mean()) / (spread if spread > _FLAT else 1.0), np.float64)


def lag_profile(
    first: Series, second: Series, window: int, stride: int, max_lag: int
) -> LagProfile:
    """Return the windowed cross-correlation of two series, summed up; see LagProfile.

    `synchrony` is that of Ramseyer & Tschacher (2011), Journal of Consulting and Clinical
    Psychology 79, 284-295. All is NaN without a window that has a correlation.
    """
    r = windowed_correlations(first, second, window, stride, max_lag)
    z = np.arctanh(np.clip(r, -_MOST_R, _MOST_R))
    lags = np.arange(-max_lag, max_lag + 1)
    known = ~np.isnan(z)
    windows = int(known.any(axis=1).sum()) if len(z) else 0
    if not windows:
        nothing = np.full(len(lags), math.nan)
        return LagProfile(lags, nothing, math.nan, math.nan, math.nan, math.nan, 0)
    count = known.sum(axis=0)
    mean = np.divide(
        np.where(known, z, 0).sum(axis=0), count, out=np.full(len(lags), np.nan), where=count > 0
    )
    peak = int(np.nanargmax(mean))
    later, earlier = mean[lags > 0], mean[lags < 0]
    return LagProfile(
        lags,
        np.tanh(mean),
        float(np.abs(z[known]).mean()),
        float(lags[peak]),
        float(np.tanh(mean[peak])),
        _mean(later) - _mean(earlier),
        windows,
    )


def _mean(values: Series) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def matching(first: States, second: States) -> float:
    """Return the share of the time known of both in which both are in one state.

    NaN without such time. Source: Tronick & Cohn (1989), Child Development 60, 85-92.
    """
    n = min(len(first), len(second))
    a, b = first[:n], second[:n]
    known = (a >= 0) & (b >= 0)
    return float((a == b)[known].mean()) if known.any() else math.nan


class Contingency(NamedTuple):
    """How often the second follows the first: rate is `followed` / `onsets`, NaN without onsets."""

    rate: float
    followed: int
    onsets: int


def contingency(first: States, second: States, respond: int) -> Contingency:
    """Return how often the second starts within `respond` steps after the first started.

    first, second: (n,) 1 while it is shown, 0 while it is not, -1 unknown. Only onsets at which
    the second is known and does not show it count. Source: time-window sequential analysis,
    Bakeman & Quera (2011), Sequential Analysis and Observational Methods for the Behavioral
    Sciences, chapter 9; on mothers and infants, Van Egeren, Barratt & Roach (2001), Developmental
    Psychology 37, 684-697.
    """
    n = min(len(first), len(second))
    starts = _onsets(first[:n])
    starts = starts[second[:n][starts] == 0]
    if not len(starts):
        return Contingency(math.nan, 0, 0)
    answers = np.zeros(n + 1, np.int64)
    answers[1:] = np.cumsum(np.bincount(_onsets(second[:n]), minlength=n)[:n])
    until = np.minimum(starts + respond, n - 1)
    followed = int((answers[until + 1] > answers[starts + 1]).sum())
    return Contingency(followed / len(starts), followed, len(starts))


def _onsets(states: States) -> NDArray[np.int64]:
    return np.flatnonzero((states[1:] == 1) & (states[:-1] == 0)) + 1


def phase_randomized(series: Series, rng: np.random.Generator) -> Series:
    """Return a series with the same power spectrum, so autocorrelation, but random phases.

    Unknown values are interpolated for it, and unknown again afterward. Source: Theiler, Eubank,
    Longtin, Galdrikian & Farmer (1992), Physica D 58, 77-94.
    """
    known = ~np.isnan(series)
    if known.sum() < 3:
        return series.copy()
    at = np.arange(len(series))
    filled = np.interp(at, at[known], series[known])
    spectrum = np.fft.rfft(filled - filled.mean())
    phase = rng.uniform(0, 2 * np.pi, len(spectrum))
    phase[0] = 0
    if len(series) % 2 == 0:
        phase[-1] = 0
    turned = np.fft.irfft(np.abs(spectrum) * np.exp(1j * phase), len(series)) + filled.mean()
    return np.where(known, turned, np.nan)


def rotated(states: NDArray[Any], least: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return states that begin elsewhere and go on at their start: at least `least` steps away.

    This keeps the lengths of all states. Source: Moulder, Boker, Ramseyer & Tschacher (2018),
    Psychological Methods 23, 757-773, on surrogates of behavior.
    """
    n = len(states)
    low = min(least, n // 2)
    return np.roll(states, int(rng.integers(low, max(n - low, low + 1))))


class Against(NamedTuple):
    """An observed figure against surrogates: their mean and standard deviation, z, p, and number.

    p: share of figures, the observed one included, that are at least as large; of surrogates of
    `lead`, at least as far from their mean. NaN without surrogates.
    """

    mean: float
    sd: float
    z: float
    p: float
    n: int


def against(observed: float, surrogates: Sequence[float], *, two_sided: bool = False) -> Against:
    """Return a figure compared with those of surrogates; NaN ones are left out."""
    known = np.array([value for value in surrogates if not math.isnan(value)])
    if math.isnan(observed) or not len(known):
        return Against(math.nan, math.nan, math.nan, math.nan, 0)
    mean = float(known.mean())
    sd = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    if two_sided:
        beyond = int((np.abs(known - mean) >= abs(observed - mean) - _FLAT).sum())
    else:
        beyond = int((known >= observed - _FLAT).sum())
    z = (observed - mean) / sd if sd > _FLAT else math.nan
    return Against(mean, sd, z, (1 + beyond) / (1 + len(known)), len(known))
