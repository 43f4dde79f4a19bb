"""Time stamps as files have them → times that grow strictly."""

from __future__ import annotations

import math


class StrictClock:
    """Turns stamps as files have them into times that grow strictly.

    A stamp later than the time before it is kept as it is. A missing stamp comes one frame
    duration after the time before; one that does not advance half a duration, so that the next
    good stamp stays as it is. A stamp that falls back by more than a second begins a joined
    recording: it comes one duration after, and those behind it keep their distance to it.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s if math.isfinite(step_s) and step_s > 0 else 1 / 25
        self._last_s = -math.inf
        self._shift_s = 0.0

    def tick(self, stamp_s: float | None, duration_s: float = math.nan) -> float:
        """Return the time of the next frame from its stamp (None: missing) and its duration."""
        if stamp_s is None or not math.isfinite(stamp_s):
            time_s = 0.0 if self._last_s == -math.inf else self._last_s + self._step_s
        elif stamp_s > self._last_s:
            time_s, self._shift_s = stamp_s, 0.0
        elif (time_s := stamp_s + self._shift_s) < self._last_s - 1:
            time_s = self._last_s + self._step_s
            self._shift_s = time_s - stamp_s
        elif time_s <= self._last_s:
            time_s = self._last_s + self._step_s / 2
        self._last_s = max(time_s, math.nextafter(self._last_s, math.inf))
        if math.isfinite(duration_s) and duration_s > 0:
            self._step_s = duration_s
        return self._last_s
