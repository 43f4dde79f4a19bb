"""The value of each rater in every time unit, and the rater's events."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.coders.code_map import Level
from moppet.coders.codings import Code, Lane
from moppet.timeline.durations import frame_times
from moppet.timeline.schema import flags, numbers, present, texts
from moppet.timeline.smoothing import TIME_TOLERANCE_S
from moppet.timeline.table import Timeline
from moppet.values import UsageError

UNCODED, LEFT_OUT, TWICE, UNSURE, NO_FACE, NOT_READ = -1, -2, -3, -4, -5, -6
REASONS: Final = {
    UNCODED: "uncoded",
    LEFT_OUT: "left out",
    TWICE: "coded twice",
    UNSURE: "unsure",
    NO_FACE: "no face",
    NOT_READ: "not read",
}
"""Code of a unit without a value → its reason in words."""
Values = NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """n segments of equal length; a rater's value is the one at the middle of the unit."""

    from_s: float
    unit_s: float
    n: int

    @property
    def middle_s(self) -> NDArray[np.float64]:
        """(n,) the middles, in seconds."""
        return np.asarray(self.from_s + (np.arange(self.n) + 0.5) * self.unit_s, np.float64)

    def covered(self, code: Code) -> slice:
        """Return the units whose middle a code covers."""
        # The tolerance makes middles on an edge independent of float rounding.
        edges = np.array(code[:2]) - TIME_TOLERANCE_S
        first, last = np.searchsorted(self.middle_s, edges, "left").tolist()
        return slice(first, last)

    def touched(self, code: Code) -> slice:
        """Return the units that a code covers; if there are none, the one it starts in."""
        covered = self.covered(code)
        at = math.floor((code.start_s - self.from_s) / self.unit_s + TIME_TOLERANCE_S)
        if covered.start == covered.stop and 0 <= at < self.n:
            return slice(at, at + 1)
        return covered


@dataclass(frozen=True)
class Track:
    """One rater: name; value (n,), an index into the names or a key of REASONS; events."""

    name: str
    value: Values
    events: tuple[Code, ...]


def make_units(
    timeline: Timeline, unit_s: float, from_s: float | None, to_s: float | None
) -> Units:
    """Return the units from the first frame to the end of the last, limited to from_s and to_s.

    Raises UsageError if no unit fits.
    """
    times = frame_times(timeline.table, timeline.settings)
    ends = times.time_s + np.nan_to_num(times.seconds)
    start = max(float(times.time_s.min()) if len(ends) else 0.0, from_s or 0.0)
    end = min([float(ends.max()) if len(ends) else 0.0, *([] if to_s is None else [to_s])])
    n = int((end - start + TIME_TOLERANCE_S) / unit_s)
    if n < 1:
        raise UsageError(
            f"There is no whole unit of {unit_s} s to compare between {start:.3f} and {end:.3f} s."
        )
    return Units(start, unit_s, n)


def machine_track(
    timeline: Timeline,
    faces: Sequence[int],
    units: Units,
    names: Sequence[str],
    level: Level,
    *,
    rename: Callable[[str], str],
    count: Sequence[str] = (),
) -> Track:
    """Return the timeline's values and events for one person.

    faces: the person's face tracks; where two overlap, the first in the list counts.
    rename: class or group → its entry in `names`.
    count: "unsure" uses the labels of unsure rows, "no face" makes missing faces a value;
        otherwise such units have no value.
    """
    table = timeline.table
    times = frame_times(table, timeline.settings)
    of_frame = np.where(np.equal(times.status, "unreadable"), NOT_READ, NO_FACE)
    if "no face" in count:
        of_frame[of_frame == NO_FACE] = names.index("no face")
    of_row = _row_values(table, names, level, rename, unsure_counts="unsure" in count)
    face = numbers(table, "face_id")
    for face_id in reversed(faces):
        rows = np.flatnonzero(face == face_id)
        of_frame[times.frame_of_row[rows]] = of_row[rows]
    seen = np.flatnonzero(np.not_equal(times.status, "skipped"))
    if not len(seen):
        return Track("machine", np.full(units.n, NOT_READ, np.int64), ())
    frame = np.searchsorted(times.time_s[seen], units.middle_s + TIME_TOLERANCE_S, "right") - 1
    frame = seen[np.maximum(frame, 0)]
    lasts = units.middle_s < times.time_s[frame] + np.nan_to_num(times.seconds[frame])
    lasts &= units.middle_s + TIME_TOLERANCE_S >= times.time_s[frame]
    events = [
        Code(e.start_s, e.end_s, rename(e.label))
        for e in timeline.episodes(level)
        if e.face_id in faces
    ]
    value = np.where(lasts, of_frame[frame], NOT_READ)
    return Track("machine", value, merged(events, units.unit_s))


def _row_values(
    table: Any,
    names: Sequence[str],
    level: Level,
    rename: Callable[[str], str],
    *,
    unsure_counts: bool,
) -> Values:
    index = {name: number for number, name in enumerate(names)}
    of_label = {
        label: index.get(rename(label), LEFT_OUT) for label in set(texts(table, level)) - {None}
    }
    value = np.array([of_label.get(label, LEFT_OUT) for label in texts(table, level)], np.int64)
    doubtful = ~present(table, "expression")
    if not unsure_counts:
        doubtful |= flags(table, "unsure")
    return np.where(doubtful, UNSURE, value)


def human_track(
    lane: Lane,
    name: str,
    units: Units,
    names: Sequence[str],
    *,
    rename: Callable[[str], str | None],
    uncoded: str | None = None,
) -> Track:
    """Return a coder's values and events; units without one clear code have a key of REASONS.

    rename: label → its entry in `names`; None leaves its time out.
    uncoded: the name for time without a code; None gives it no value.
    Points have no length: they count as events only.
    """
    value = np.full(units.n, UNCODED, np.int64)
    events = []
    for code in lane.codes:
        target = rename(code.label)
        if target is not None:
            events.append(Code(code.start_s, code.end_s, target))
        if code.is_point:
            continue
        here = value[units.covered(code)]
        wanted = LEFT_OUT if target is None else names.index(target)
        here[:] = np.where((here == UNCODED) | (here == wanted), wanted, TWICE)
    if uncoded is not None:
        value[value == UNCODED] = names.index(uncoded)
    return Track(name, value, merged(events, units.unit_s))


def merged(events: Iterable[Code], gap_s: float) -> tuple[Code, ...]:
    """Return sorted events; events of one label at most gap_s apart are joined, except points."""
    last: dict[str, int] = {}
    found: list[Code] = []
    for event in sorted(events):
        at = last.get(event.label)
        if at is not None and not event.is_point and event.start_s <= found[at].end_s + gap_s:
            found[at] = found[at]._replace(end_s=max(found[at].end_s, event.end_s))
            continue
        if not event.is_point:
            last[event.label] = len(found)
        found.append(event)
    return tuple(found)
