"""Agreement between a timeline and its coders: kappa by time unit, and matched events."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.coders.codings import Code
from moppet.coders.time_units import REASONS, Track, Units, Values
from moppet.metrics import Estimate, as_json, bootstrap, bootstrap_many, confusion
from moppet.metrics.bootstrap import Weights, drawn_means
from moppet.metrics.classification import (
    accuracy_of,
    confusions,
    kappa_of,
    precisions_of,
    recalls_of,
)
from moppet.timeline.smoothing import TIME_TOLERANCE_S

MIN_SAMPLE: Final = 5
"""With fewer blocks or events to draw from, a figure has no interval."""


@dataclass(frozen=True)
class EventAgreement:
    """Agreement between the events of two raters.

    found: share of the first rater's events that the second also coded. confirmed: the reverse.
    onset_s: median onset error (second minus first) over the pairs; quartiles_s: its quartiles.
    within: share of pairs whose onsets differ by at most the tolerance.
    by_label: label → events of the first rater, events of the second, pairs.
    left_out: events of both raters in time that is not compared.
    """

    found: Estimate
    confirmed: Estimate
    onset_s: Estimate
    quartiles_s: tuple[float, float]
    within: Estimate
    by_label: dict[str, tuple[int, int, int]]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values; undefined figures are None."""
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
    """Return one-to-one pairs of equal label that overlap or are at most tolerance_s apart.

    Pairs with the largest overlap are matched first; ties are broken by the nearest onsets.
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
    """Return the agreement of the events with these labels; intervals resample whole events.

    usable: (n,) the units that are compared. An event with less than half of its units among
        them is left out.
    """
    of_first = [event for event in first.events if event.label in labels]
    of_second = [event for event in second.events if event.label in labels]
    a, b = (
        [event for event in events if _mostly(usable[units.touched(event)])]
        for events in (of_first, of_second)
    )
    pairs = pair_events(a, b, tolerance_s)
    errors = np.array([b[j].start_s - a[i].start_s for i, j in pairs])
    near = np.abs(errors) <= tolerance_s + TIME_TOLERANCE_S
    counts = [Counter(e.label for e in events) for events in (a, b, [a[i] for i, _ in pairs])]
    by_label = {label: (counts[0][label], counts[1][label], counts[2][label]) for label in labels}
    quartiles = np.quantile(errors, [0.25, 0.75]) if len(errors) else np.array([math.nan] * 2)
    return EventAgreement(
        found=_estimate(np.isin(np.arange(len(a)), [i for i, _ in pairs]), rng),
        confirmed=_estimate(np.isin(np.arange(len(b)), [j for _, j in pairs]), rng),
        onset_s=_estimate(errors, rng, np.median),
        quartiles_s=(float(quartiles[0]), float(quartiles[1])),
        within=_estimate(near, rng),
        by_label={label: counts for label, counts in by_label.items() if any(counts)},
        left_out=len(of_first) + len(of_second) - len(a) - len(b),
    )


def _mostly(usable: NDArray[np.bool_]) -> bool:
    return 2 * int(usable.sum()) >= len(usable) > 0


def _estimate(
    values: NDArray[Any], rng: np.random.Generator, figure: Callable[..., Any] = np.mean
) -> Estimate:
    """Return a figure of values, each drawn by itself; NaN without values."""
    each = np.arange(len(values))

    def of_rows(rows: NDArray[np.intp]) -> float:
        return float(figure(values[rows])) if len(rows) else math.nan

    return with_sample_size(bootstrap(of_rows, each, rng), each)


def with_sample_size(estimate: Estimate, block: NDArray[np.integer[Any]]) -> Estimate:
    """Return the estimate with its row count; without an interval if there are too few blocks.

    block: (n,) the block of every row that the estimate uses.
    """
    if len(np.unique(block)) < MIN_SAMPLE:
        estimate = estimate._replace(low=math.nan, high=math.nan)
    return estimate._replace(n=len(block))


BLOCK_S: Final = 10.0
"""Longer segments of one code are cut: moments 10 s apart are nearly independent."""
FEW_BLOCKS: Final = 20
"""With fewer blocks, percentile intervals are too narrow; below MIN_SAMPLE there is none."""


class UnitAgreement(NamedTuple):
    """Figures over the time units: `overall` by figure, recall and precision by label."""

    overall: dict[str, Estimate]
    recall: dict[str, Estimate]
    precision: dict[str, Estimate]
    confusion: NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """The agreement of two raters; recall and precision take the first as the truth."""

    first: str
    second: str
    where: str
    seconds: float
    blocks: int
    units: UnitAgreement
    events: EventAgreement

    def as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Return plain values; undefined figures are None."""
        return {
            "first": self.first,
            "second": self.second,
            "where": self.where,
            "compared_s": round(self.seconds, 6),
            "blocks": self.blocks,
            "units": {
                **{name: as_json(e) for name, e in self.units.overall.items()},
                "recall": {name: as_json(e) for name, e in self.units.recall.items()},
                "precision": {name: as_json(e) for name, e in self.units.precision.items()},
                "labels": list(names),
                "confusion": self.units.confusion.tolist(),
            },
            "events": self.events.as_json(),
        }


@dataclass(frozen=True)
class Comparison:
    """Every pair of raters, compared on the time that all of them judged.

    tracks: the coders, then the machine. everyone: (n,) whether all raters have a value there.
    """

    names: tuple[str, ...]
    units: Units
    tracks: tuple[Track, ...]
    everyone: NDArray[np.bool_]
    pairs: tuple[Pair, ...]

    def left_out_s(self) -> dict[str, dict[str, float]]:
        """Return the seconds without a value, by rater and reason."""
        return {
            track.name: {
                word: round(float((track.value == reason).sum()) * self.units.unit_s, 6)
                for reason, word in REASONS.items()
                if (track.value == reason).any()
            }
            for track in self.tracks
        }

    def disagreements(self) -> list[tuple[Code, list[str]]]:
        """Return the segments where the raters disagree, each with every rater's label."""
        values = np.stack([track.value for track in self.tracks])
        differ = self.everyone & (values != values[0]).any(axis=0)
        changes = np.flatnonzero((values[:, 1:] != values[:, :-1]).any(axis=0)) + 1
        found = []
        for first, last in _runs(differ, changes):
            start_s = self.units.from_s + first * self.units.unit_s
            end_s = self.units.from_s + last * self.units.unit_s
            labels = [self.names[index] for index in values[:, first].tolist()]
            found.append((Code(start_s, end_s, ""), labels))
        return found

    def disagreements_csv(self) -> str:
        """Return the disagreements as a CSV table: times in seconds, and every rater's label."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = [track.name.replace(" ", "_") for track in self.tracks]
        writer.writerow(["start_s", "end_s", "duration_s", *columns])
        for code, labels in self.disagreements():
            times = (code.start_s, code.end_s, code.end_s - code.start_s)
            writer.writerow([*(f"{time:.3f}" for time in times), *labels])
        return text.getvalue()


def _runs(mask: NDArray[np.bool_], changes: NDArray[Any]) -> list[tuple[int, int]]:
    """Return (first, last + 1) of every run of True, cut at the changes."""
    edges = np.flatnonzero(np.diff(mask)) + 1
    bounds = np.unique(np.r_[0, edges, changes, len(mask)]).tolist()
    return [(a, b) for a, b in pairwise(bounds) if mask[a]]


def compare_tracks(
    coders: Sequence[Track],
    machine: Track,
    units: Units,
    names: Sequence[str],
    *,
    labels: Sequence[str],
    tolerance_s: float,
    rng: np.random.Generator,
) -> Comparison:
    """Return the figures of every pair of raters on the units that all raters judged.

    Two coders are also compared wherever both coded, with or without the machine.
    labels: the labels whose events are compared.
    """
    tracks = (*coders, machine)
    everyone = np.logical_and.reduce([track.value >= 0 for track in tracks])
    jobs = [(coder, machine, everyone, "all judged") for coder in coders]
    if len(coders) == 2:
        one, other = coders
        both = (one.value >= 0) & (other.value >= 0)
        jobs += [(one, other, everyone, "all judged"), (one, other, both, "both coded")]
    reach = int(tolerance_s / units.unit_s + 1e-9)
    pairs = []
    for first, second, where, words in jobs:
        block = make_blocks(first.value, units.unit_s)
        pair = Pair(
            first.name,
            second.name,
            words,
            seconds=float(where.sum()) * units.unit_s,
            blocks=len(np.unique(block[where])),
            units=compare_units(
                first.value, second.value, where, block, names, reach=reach, rng=rng
            ),
            events=compare_events(first, second, units, where, labels, tolerance_s, rng),
        )
        pairs.append(pair)
    return Comparison(tuple(names), units, tracks, everyone, tuple(pairs))


def make_blocks(value: Values, unit_s: float) -> Values:
    """Return (n,) the bootstrap block of every unit: a segment of one code, cut after BLOCK_S."""
    at = np.arange(len(value))
    starts = np.r_[True, value[1:] != value[:-1]]
    since = at - np.maximum.accumulate(np.where(starts, at, 0))
    most = max(1, round(BLOCK_S / unit_s))
    return np.cumsum(starts | (since % most == 0))


def compare_units(
    first: Values,
    second: Values,
    where: NDArray[np.bool_],
    block: Values,
    names: Sequence[str],
    *,
    reach: int,
    rng: np.random.Generator,
) -> UnitAgreement:
    """Return agreement, agreement within `reach` units, kappa, and the figures of every label."""
    label, guess, k = first[where], second[where], len(names)
    near = (_nearby(first, second, reach, k) + _nearby(second, first, reach, k))[where] / 2

    def figures(weight: Weights) -> dict[str, NDArray[np.float64]]:
        counts = confusions(label, guess, k, weight)
        recall, precision = recalls_of(counts), precisions_of(counts)
        found = {
            "agreement": accuracy_of(counts),
            "agreement_within_tolerance": drawn_means(near, weight),
            "kappa": kappa_of(counts),
        }
        found |= {f"recall/{name}": recall[:, i] for i, name in enumerate(names)}
        return found | {f"precision/{name}": precision[:, i] for i, name in enumerate(names)}

    estimates = bootstrap_many(figures, block[where], rng)
    return UnitAgreement(
        {
            name: with_sample_size(e, block[where])
            for name, e in estimates.items()
            if "/" not in name
        },
        _by_label("recall", estimates, names, label, block[where]),
        _by_label("precision", estimates, names, guess, block[where]),
        confusion(label, guess, k),
    )


def _by_label(
    figure: str,
    estimates: dict[str, Estimate],
    names: Sequence[str],
    value: Values,
    block: Values,
) -> dict[str, Estimate]:
    """Return a figure for every label that has rows, with the number of rows."""
    return {
        name: with_sample_size(estimates[f"{figure}/{name}"], block[value == index])
        for index, name in enumerate(names)
        if (value == index).any()
    }


def _nearby(value: Values, other: Values, reach: int, k: int) -> NDArray[np.float64]:
    """Return (n,) 1 where the other rater has the same value within `reach` units, else 0."""
    n = len(value)
    at = np.arange(n)
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, n)
    found = np.zeros(n)
    for index in range(k):
        before = np.r_[0, np.cumsum(other == index)]
        mine = value == index
        found[mine] = (before[high] > before[low])[mine]
    return found
