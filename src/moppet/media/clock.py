"""Convert the time stamps in files into strictly increasing times."""

from __future__ import annotations

import math


class StrictClock:
    """Converts the time stamps of a file into strictly increasing times.

    A stamp later than the previous time is kept. A missing stamp is placed one frame duration
    after the previous time. A stamp that does not advance is placed half a duration later, so that
    the next valid stamp can be kept. A stamp more than a second before the previous time starts an
    appended recording: it is placed one duration later, and later stamps are shifted with it.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s if math.isfinite(step_s) and step_s > 0 else 1 / 25
        self._last_s = -math.inf
        self._shift_s = 0.0

    def tick(self, stamp_s: float | None, duration_s: float = math.nan) -> float:
        """Return the next frame's time in seconds. stamp_s: None if missing."""
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
