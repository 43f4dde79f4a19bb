"""Compare a guard's events with coded distress: misses, false alarms and delays."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from moppet.metrics import Estimate, event_rate, exact_share

LATE_S: Final = 1.0
"""An event up to this many seconds after the end of a distress still belongs to it."""


class Distress(NamedTuple):
    """An interval in which the child was in distress, in seconds of the recording.

    delay_s: from its start to the guard's first event in it; NaN if the guard missed it.
    """

    start_s: float
    end_s: float
    delay_s: float = math.nan


@dataclass(frozen=True)
class DetectionResult:
    """A guard's events compared with coded distress. calm_s: watched time without distress."""

    distress: tuple[Distress, ...]
    false_alarms_s: tuple[float, ...]
    calm_s: float

    @property
    def false_alarms_per_hour(self) -> Estimate:
        return event_rate(len(self.false_alarms_s), self.calm_s / 3600)

    @property
    def delays_s(self) -> list[float]:
        """The delays of all detected intervals, in order of time."""
        return [one.delay_s for one in self.distress if not math.isnan(one.delay_s)]

    @property
    def missed(self) -> Estimate:
        return exact_share(len(self.distress) - len(self.delays_s), len(self.distress))

    @property
    def median_delay_s(self) -> float:
        """NaN if nothing was detected."""
        return statistics.median(self.delays_s) if self.delays_s else math.nan


def match_events(
    events_s: Sequence[float], distress: Sequence[tuple[float, float]], watched_s: float
) -> DetectionResult:
    """Match a guard's events with the intervals of distress.

    events_s: times at which the guard paused or alerted. distress: start and end of each interval
    in seconds; intervals that touch or overlap are merged. watched_s: seconds the guard watched.
    An event within an interval, or up to LATE_S after it, detects it. All others are false alarms.
    """
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted(distress):
        if joined and start_s <= joined[-1][1]:
            start_s, end_s = joined[-1][0], max(end_s, joined.pop()[1])
        joined.append((start_s, end_s))
    found, during = [], set()
    for start_s, end_s in joined:
        inside = [t for t in sorted(events_s) if start_s <= t <= end_s + LATE_S]
        during.update(inside)
        delay_s = inside[0] - start_s if inside else math.nan
        found.append(Distress(start_s, end_s, delay_s))
    calm_s = max(0.0, watched_s - sum(end_s - start_s for start_s, end_s in joined))
    return DetectionResult(tuple(found), tuple(sorted(set(events_s) - during)), calm_s)
