"""How long something has been so, and the curve that led there."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from moppet.timeline.smooth import TIME_TOLERANCE_S

_POINTS: Final = 40
_REACH: Final = 1.5
"""The curve reaches back so many times the length that is waited for."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What a condition saw before an event: equally many times, values and answers.

    value: [0, 1]; None where there was no face. counts: whether that moment counted.
    """

    time_s: tuple[float, ...] = ()
    value: tuple[float | None, ...] = ()
    counts: tuple[bool, ...] = ()


class Tally:
    """Counts the time for which a condition holds, frame by frame.

    A frame lasts until the next one; after more than bridge_s it is nobody's time. Time that
    counts is added. Other time takes away as much as it lasts, never below 0; more than bridge_s
    of it on end starts the count afresh.
    """

    def __init__(self, needed_s: float, bridge_s: float) -> None:
        self.needed_s = needed_s
        self._bridge_s = bridge_s + TIME_TOLERANCE_S
        self._step_s = _REACH * needed_s / _POINTS - TIME_TOLERANCE_S
        self._curve: deque[tuple[float, float | None, bool]] = deque(maxlen=_POINTS)
        self._now: tuple[float, float | None, bool] | None = None
        self._since: tuple[float, bool] | None = None
        self._rests_until_s = -math.inf
        self.counted_s = 0.0
        self._broken_s = 0.0

    @property
    def value(self) -> float | None:
        """The condition's value in the last frame."""
        return self._now[1] if self._now else None

    def look(self, time_s: float, value: float | None, counts: bool) -> bool:
        """Take in a frame; return whether it counts and the time needed is full."""
        if self._since is not None:
            self._pass(self._since[0], time_s, self._since[1])
        if not self._curve or time_s - self._curve[-1][0] >= self._step_s:
            self._curve.append((time_s, value, counts))
        self._now, self._since = (time_s, value, counts), (time_s, counts)
        rests = time_s < self._rests_until_s
        return counts and not rests and self.counted_s >= self.needed_s - TIME_TOLERANCE_S

    def _pass(self, start_s: float, end_s: float, counts: bool) -> None:
        hole = end_s - start_s > self._bridge_s
        seconds = max(0.0, end_s - max(start_s, self._rests_until_s))
        if counts and not hole:
            self.counted_s += seconds
            self._broken_s = 0.0
            return
        self._broken_s += end_s - start_s
        afresh = self._broken_s > self._bridge_s
        self.counted_s = 0.0 if afresh else max(0.0, self.counted_s - seconds)

    def rest(self, until_s: float) -> None:
        """Count from 0 again, and nothing before until_s."""
        self.counted_s = self._broken_s = 0.0
        self._rests_until_s = until_s

    def restart(self) -> None:
        """Count from 0 again, from the next frame on; the curve stays."""
        self.counted_s = self._broken_s = 0.0
        self._since = None

    def curve(self) -> Curve:
        """Return the curve up to the last frame."""
        points = list(self._curve)
        if self._now is not None and self._now != points[-1]:
            points.append(self._now)
        return Curve(*map(tuple, zip(*points, strict=True))) if points else Curve()
