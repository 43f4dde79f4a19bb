"""Smooth probabilities over time, using time stamps and not across gaps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moppet.timeline.settings import TimelineSettings

REACH: Final = 3.0
"""The Gaussian is truncated at this many standard deviations."""
TIME_TOLERANCE_S: Final = 1e-6
"""Time stamps are sums of floats, so durations are compared to the microsecond."""
FADED: Final = 1e-12
"""In a live stream, past rows are ignored once their total weight is below this."""


def segment_ids(time_s: NDArray[np.float64], max_gap_s: float) -> NDArray[np.int64]:
    """Return the number of the gap-free segment of each row of a face.

    time_s: (n,), not decreasing.
    """
    breaks = np.diff(time_s) > max_gap_s + TIME_TOLERANCE_S
    return np.concatenate(([0], np.cumsum(breaks)))[: len(time_s)]


def smooth_face(
    time_s: NDArray[np.float64],
    p: NDArray[np.float32],
    quality: NDArray[np.float64],
    settings: TimelineSettings,
) -> NDArray[np.float32]:
    """Return the probabilities of one face, smoothed by a Gaussian over time.

        s_i = sum_j w_j p_j / sum_j w_j,   w_j = quality_j exp(-(t_j - t_i)^2 / (2 smooth_s^2))

    over the rows j within 3 smooth_s of i that are not separated from it by a gap of more than
    max_gap_s. A NaN quality has weight 1; if all weights are 0, s_i = p_i.
    time_s: (n,), not decreasing. p: (n, k). quality: (n,) in [0, 1].
    The cost grows with the number of pairs of rows within reach, not with n squared.
    """
    sigma = settings.smooth_s
    if sigma == 0 or len(time_s) < 2:
        return p.copy()
    weight = np.where(np.isnan(quality), 1.0, quality)
    weighted = weight[:, None] * p.astype(np.float64)
    total, norm = weighted.copy(), weight.copy()
    for near, far, step in _pairs(time_s, segment_ids(time_s, settings.max_gap_s), REACH * sigma):
        kernel = np.exp(-0.5 * (step / sigma) ** 2)
        total[near] += kernel[:, None] * weighted[far]
        norm[near] += kernel * weight[far]
        total[far] += kernel[:, None] * weighted[near]
        norm[far] += kernel * weight[near]
    some = norm > 0
    smoothed = p.astype(np.float64)
    smoothed[some] = total[some] / norm[some, None]
    return smoothed.astype(np.float32)


def _pairs(
    time_s: NDArray[np.float64], segment: NDArray[np.int64], reach_s: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Yield each pair of rows within reach once: earlier rows, later rows, seconds between them.

    Each yield contains the pairs that are a fixed number of rows apart, so rows are unique.
    """
    near, offset = np.arange(len(time_s)), 0
    # Rows are sorted by time: a row without a partner at `offset` has none at larger offsets.
    while len(near):
        offset += 1
        near = near[near + offset < len(time_s)]
        far = near + offset
        step = time_s[far] - time_s[near]
        paired = (step <= reach_s + TIME_TOLERANCE_S) & (segment[far] == segment[near])
        near = near[paired]
        yield near, far[paired], step[paired]


class CausalSmoother:
    """Smooths a live stream, using only past rows.

    It is the one-sided counterpart of `smooth_face`,

        s_i = sum_j<=i w_j p_j / sum_j<=i w_j,   w_j = quality_j exp(-(t_i - t_j) / tau)

    with the time constant tau = smooth_s. Both kernels have the standard deviation smooth_s;
    this one lags by up to tau. Smoothing restarts if a face was absent for more than max_gap_s or
    time runs backward.
    """

    def __init__(self, settings: TimelineSettings | None = None) -> None:
        self._settings = settings or TimelineSettings()
        self._past: dict[int, tuple[float, NDArray[np.float64], float]] = {}

    def update(
        self, face_id: int, time_s: float, p: ArrayLike, quality: float | None = None
    ) -> NDArray[np.float32]:
        """Return the smoothed (k,) probabilities of this face at time_s.

        quality: [0, 1]; None or NaN has weight 1. If the total weight is 0, p is returned.
        """
        now: NDArray[np.float64] = np.asarray(p, dtype=np.float64)
        tau = self._settings.smooth_s
        if tau == 0:
            return now.astype(np.float32)
        self._forget(time_s)
        weight = 1.0 if quality is None or math.isnan(quality) else float(quality)
        total, norm = weight * now, weight
        if face_id in self._past:
            then, past_total, past_norm = self._past[face_id]
            fade = math.exp(-(time_s - then) / tau)
            total, norm = total + fade * past_total, norm + fade * past_norm
        self._past[face_id] = (time_s, total, norm)
        smoothed: NDArray[Any] = total / norm if norm > FADED else now
        return smoothed.astype(np.float32)

    def _forget(self, time_s: float) -> None:
        limit = self._settings.max_gap_s + TIME_TOLERANCE_S
        gone = [face for face, past in self._past.items() if not 0 <= time_s - past[0] <= limit]
        for face in gone:
            del self._past[face]
