"""Which events two raters both saw, and how far apart they let them begin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics import Estimate, as_json, bootstrap
from moppet.timeline.agreement.tracks import Track, Units
from moppet.timeline.coders import Code
from moppet.timeline.smooth import TIME_TOLERANCE_S

MIN_DRAWN: Final = 5
"""With fewer blocks or events to draw from, a figure has no interval: it would say nothing."""


@dataclass(frozen=True)
class EventAgreement:
    """How two raters' events fit.

    found: share of the first rater's events that the second saw. confirmed: share of the second's
        that the first saw. onset_s: median of second less first onset, over the pairs.
    quartiles_s: of that error. within: share of pairs whose onsets differ by the tolerance at most.
    by_label: label → events of the first, of the second, pairs.
    left_out: events of either in time that is not compared.
    """

    found: Estimate
    confirmed: Estimate
    onset_s: Estimate
    quartiles_s: tuple[float, float]
    within: Estimate
    by_label: dict[str, tuple[int, int, int]]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values, None for what is undefined."""
        quartiles = [None if math.isnan(value) else value for value in self.quartiles_s]
        by_label = {
            label: dict(zip(("first", "second", "pairs"), counts, strict=True))
            for label, counts in self.by_label.items()
        }
        return {
            "found": as_json(self.found),
            "confirmed": as_json(self.confirmed),
            "onset_error_median_s": as_json(self.onset_s),
            "onset_error_quartiles_s": quartiles,
            "onsets_within_tolerance": as_json(self.within),
            "by_label": by_label,
            "left_out": self.left_out,
        }


def pair_events(
    first: Sequence[Code], second: Sequence[Code], tolerance_s: float
) -> list[tuple[int, int]]:
    """Return pairs of one label that overlap or lie no more than tolerance_s apart.

    One to one; the largest overlap first, of equal ones the nearest onsets.
    """
    pairs: list[tuple[int, int]] = []
    for label in {event.label for event in first} & {event.label for event in second}:
        a = np.array([i for i, event in enumerate(first) if event.label == label])
        b = np.array([i for i, event in enumerate(second) if event.label == label])
        start_a, end_a = np.array([first[i][:2] for i in a]).T
        start_b, end_b = np.array([second[i][:2] for i in b]).T
        overlap = np.minimum.outer(end_a, end_b) - np.maximum.outer(start_a, start_b)
        apart = np.abs(np.subtract.outer(start_a, start_b))
        rows, columns = np.nonzero(overlap >= -tolerance_s)
        best = np.lexsort((columns, rows, apart[rows, columns], -overlap[rows, columns]))
        taken_a: set[int] = set()
        taken_b: set[int] = set()
        for i, j in zip(rows[best].tolist(), columns[best].tolist(), strict=True):
            if i not in taken_a and j not in taken_b:
                taken_a.add(i)
                taken_b.add(j)
                pairs.append((int(a[i]), int(b[j])))
    return sorted(pairs)


def compare_events(
    first: Track,
    second: Track,
    units: Units,
    usable: NDArray[np.bool_],
    labels: Sequence[str],
    tolerance_s: float,
    rng: np.random.Generator,
) -> EventAgreement:
    """Return how the events of these labels agree; an event is drawn as one in every interval.

    usable: (n,) the units that are compared; an event with less than half of its units there is
        left out.
    """
    of_first = [event for event in first.events if event.label in labels]
    of_second = [event for event in second.events if event.label in labels]
    a, b = (
        [event for event in events if _mean(usable[units.touched(event)]) >= 0.5]
        for events in (of_first, of_second)
    )
    pairs = pair_events(a, b, tolerance_s)
    errors = np.array([b[j].start_s - a[i].start_s for i, j in pairs])
    near = np.abs(errors) <= tolerance_s + TIME_TOLERANCE_S
    by_label = {
        label: (_count(a, label), _count(b, label), _count([a[i] for i, _ in pairs], label))
        for label in labels
    }
    quartiles = np.quantile(errors, [0.25, 0.75]) if len(errors) else np.array([math.nan] * 2)
    return EventAgreement(
        found=_share(_hits(len(a), [i for i, _ in pairs]), rng),
        confirmed=_share(_hits(len(b), [j for _, j in pairs]), rng),
        onset_s=_drawn(errors, _median, rng),
        quartiles_s=(float(quartiles[0]), float(quartiles[1])),
        within=_share(near, rng),
        by_label={label: counts for label, counts in by_label.items() if any(counts)},
        left_out=len(of_first) + len(of_second) - len(a) - len(b),
    )


def _count(events: Sequence[Code], label: str) -> int:
    return sum(event.label == label for event in events)


def _hits(n: int, which: Sequence[int]) -> NDArray[np.bool_]:
    hit = np.zeros(n, np.bool_)
    hit[list(which)] = True
    return hit


def _share(hit: NDArray[np.bool_], rng: np.random.Generator) -> Estimate:
    return _drawn(hit, _mean, rng)


def _drawn(
    values: NDArray[Any], figure: Callable[[NDArray[Any]], float], rng: np.random.Generator
) -> Estimate:
    each = np.arange(len(values))
    return drawn_from(bootstrap(lambda rows: figure(values[rows]), each, rng), each)


def drawn_from(estimate: Estimate, block: NDArray[np.integer[Any]]) -> Estimate:
    """Return the estimate with its rows counted, without an interval if their blocks are too few.

    block: (n,) the block of every row that it rests on.
    """
    if len(np.unique(block)) < MIN_DRAWN:
        estimate = estimate._replace(low=math.nan, high=math.nan)
    return estimate._replace(n=len(block))


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _median(values: NDArray[Any]) -> float:
    return float(np.median(values)) if len(values) else math.nan
