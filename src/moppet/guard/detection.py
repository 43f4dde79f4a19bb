"""What a guard detected and missed of coded distress: misses, false alarms, delay."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from moppet.metrics import Estimate, event_rate, exact_share

LATE_S: Final = 1.0
"""So long after its end an event still belongs to a distress."""


class Distress(NamedTuple):
    """A stretch in which the child was in distress, in seconds of the recording.

    delay_s: from its begin to the guard's first event in it; NaN where the guard missed it.
    """

    start_s: float
    end_s: float
    delay_s: float = math.nan


@dataclass(frozen=True)
class Found:
    """A guard's events beside the truth. calm_s: watched time outside of distress."""

    distress: tuple[Distress, ...]
    false_alarms_s: tuple[float, ...]
    calm_s: float

    @property
    def false_alarms_per_hour(self) -> Estimate:
        return event_rate(len(self.false_alarms_s), self.calm_s / 3600)

    @property
    def delays_s(self) -> list[float]:
        """The delays of what was found, in order of time."""
        return [one.delay_s for one in self.distress if not math.isnan(one.delay_s)]

    @property
    def missed(self) -> Estimate:
        return exact_share(len(self.distress) - len(self.delays_s), len(self.distress))

    @property
    def median_delay_s(self) -> float:
        """NaN where nothing was found."""
        return statistics.median(self.delays_s) if self.delays_s else math.nan


def find_events(
    events_s: Sequence[float], distress: Sequence[tuple[float, float]], watched_s: float
) -> Found:
    """Return what a guard's events found.

    events_s: when it paused or alerted. distress: start and end of each, in seconds, by time and
    apart; touching ones are one. watched_s: time that the guard watched.
    An event in a distress, or up to LATE_S after it, finds it; any other is a false alarm.
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
    return Found(tuple(found), tuple(t for t in sorted(set(events_s) - during)), calm_s)
