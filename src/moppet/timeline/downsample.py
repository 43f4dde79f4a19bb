"""Downsample timelines for charts.

`RowBins` groups rows that are close in time, also for the curves of the local page.
`build_overview` returns the small chart for notebooks, `build_drawing` the lanes of a report.
`FrameThinner` keeps every k-th frame of a table that is too large for a report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moppet.timeline.durations import Interval, frame_times, intervals
from moppet.timeline.movements import movements_in
from moppet.timeline.readings import second_probabilities, second_reading
from moppet.timeline.schema import (
    FACE_STATUSES,
    MOVEMENT,
    class_columns,
    codes,
    flags,
    numbers,
    present,
    rows_of_faces,
    texts,
)
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import TIME_TOLERANCE_S, segment_ids

if TYPE_CHECKING:
    from moppet.timeline.table import Timeline

MAX_TABLE_VALUES: Final = 30_000_000
"""Rows times columns of the timelines that reports are made of: about a million rows of seven
classes, for which a report takes 850 MB."""

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class RowBins:
    """Groups of consecutive rows. first, last: (m,) the first and last row of each bin."""

    first: Integers
    last: Integers

    @classmethod
    def of(cls, bin_of_row: Integers) -> RowBins:
        """Return the bins of rows; neighbors with equal numbers share a bin. bin_of_row: (n,)."""
        n = len(bin_of_row)
        change = np.flatnonzero(np.diff(bin_of_row)) + 1
        start = np.zeros(min(n, 1), np.int64)
        return cls(np.append(start, change), np.append(change, n)[: len(change) + len(start)] - 1)

    @property
    def counts(self) -> Integers:
        """(m,) the number of rows in each bin."""
        return self.last - self.first + 1

    def sums(self, values: NDArray[Any]) -> Numbers:
        """Return (m, …) the sums of values (n, …)."""
        if not len(self.first):
            return np.zeros((0, *values.shape[1:]))
        return np.asarray(np.add.reduceat(values, self.first, axis=0, dtype=np.float64))

    def means(self, values: NDArray[Any]) -> Numbers:
        """Return (m, …) the means of values (n, …), ignoring NaN; NaN if all are NaN."""
        known = ~np.isnan(values)
        n_known = self.sums(known)
        sums = self.sums(np.where(known, values, 0).astype(np.float64))
        return np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan)

    def peaks(self, values: Numbers) -> Numbers:
        """Return (m, …) the maxima of values (n, …), ignoring NaN; NaN if all are NaN."""
        return np.asarray(np.fmax.reduceat(values, self.first, axis=0))

    def extremes(self, values: Numbers) -> Numbers:
        """Return (m, …) the values furthest from 0, ignoring NaN; NaN if all are NaN."""
        high, low = self.peaks(values), -self.peaks(-values)
        return np.where(-low > high, low, high)

    def mostly(self, on: Flags) -> Flags:
        """Return (m,) whether at least half of a bin's rows are `on`."""
        return np.asarray(2 * self.sums(on) >= self.counts)

    def some(self, on: Flags) -> Flags:
        """Return (m,) whether any of a bin's rows is `on`."""
        return self.sums(on) > 0

    def most_common(self, codes: Integers, n_codes: int) -> Integers:
        """Return (m,) the most frequent code of 0 to n_codes - 1; -1 if there is none."""
        counts = np.stack([self.sums(codes == code) for code in range(n_codes)])
        return np.where(counts.max(axis=0) > 0, counts.argmax(axis=0), -1)


class FrameThinner:
    """Keeps the rows of every k-th analyzed frame, and no skipped frame, of a table in batches.

    batches: sorted by frame; a frame may reach from one batch into the next.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._frames = 0
        self._last: int | None = None

    def keep(self, batch: Any) -> Any:
        """Return the rows of a table, or of a record batch, that are kept."""
        batch = batch.filter(pc.not_equal(batch.column("status"), "skipped"))
        frame = np.asarray(batch.column("frame"), np.int64)
        if not len(frame):
            return batch
        is_new = np.r_[self._last is None or frame[0] != self._last, np.diff(frame) != 0]
        place = self._frames + np.cumsum(is_new) - 1
        self._frames, self._last = int(place[-1]) + 1, int(frame[-1])
        return batch.filter(pa.array(place % self._every == 0))


def thinning_step(rows: int, columns: int) -> int:
    """Return the k for which every k-th frame of a table has at most MAX_TABLE_VALUES values."""
    return max(1, -(-rows * columns // MAX_TABLE_VALUES))


def equal_bins(time_s: Numbers, start_s: float, end_s: float, n: int) -> Integers:
    """Return the bin of each time when start to end is divided into n equal bins."""
    share = (time_s - start_s) / (end_s - start_s)
    return np.clip(share * n, 0, n - 1).astype(np.int64)


MAX_FACES: Final = 6
MAX_POINTS: Final = 600
MAX_VALUES: Final = 15_000
"""Points of all faces and classes together: six faces of seven classes get 357 points each."""


class CurvePart(NamedTuple):
    """A part of a face's curves without a gap: time_s (m,) and values (m, k)."""

    time_s: Numbers
    values: Numbers


class FaceCurves(NamedTuple):
    """One face: its curves in parts, and the intervals in which it is mostly unsure."""

    face_id: int
    n_rows: int
    start_s: float
    end_s: float
    parts: list[CurvePart]
    unsure: list[Interval]


class Overview(NamedTuple):
    """A small chart of a timeline from start_s to end_s.

    timed: False if the recording has no duration (a single image); it is drawn as one second.
    faces: those with the most rows, longest first; n_faces: number of all faces.
    no_face, unreadable: intervals in which at least half of the frames have this status.
    """

    start_s: float
    end_s: float
    timed: bool
    faces: list[FaceCurves]
    n_faces: int
    no_face: list[Interval]
    unreadable: list[Interval]


def build_overview(table: Any, names: Sequence[str], settings: TimelineSettings) -> Overview | None:
    """Return a timeline with at most MAX_POINTS per curve; None if no frame was analyzed.

    A point is the mean of its rows. A curve is interrupted if the face is absent for more than
    max_gap_s, unless the absence is within one point.
    """
    times = frame_times(table, settings)
    seen = np.flatnonzero(np.not_equal(times.status, "skipped"))
    if not len(seen):
        return None
    seconds = np.nan_to_num(times.seconds)
    start_s = float(times.time_s[seen[0]])
    end_s = float((times.time_s[seen] + seconds[seen]).max())
    if not (timed := end_s > start_s):
        seconds, end_s = np.ones_like(seconds), start_s + 1
    rows_of = rows_of_faces(numbers(table, "face_id"), numbers(table, "time_s"))
    longest = sorted(rows_of, key=lambda face_id: (-len(rows_of[face_id]), face_id))[:MAX_FACES]
    share = MAX_VALUES // max(1, len(longest) * len(names))
    points = max(2, min(MAX_POINTS, share))
    cell = np.arange(len(times.time_s))  # one per frame if there are few, else of equal length
    if len(cell) > points:
        cell = equal_bins(times.time_s, start_s, end_s, points)
    frames = _Frames(times.time_s, seconds, cell, settings.max_gap_s)
    smoothed, unsure = class_columns(table, "s_", names), flags(table, "unsure")
    classified = present(table, "expression")
    faces = []
    for number in longest:
        rows = rows_of[number]
        at = times.frame_of_row[rows]
        first_s = float(times.time_s[at[0]])
        last_s = float(times.time_s[at[-1]] + seconds[at[-1]])
        known = classified[rows]
        parts = frames.parts(at[known], smoothed[rows[known]])
        doubt = frames.intervals(at, unsure[rows])
        faces.append(FaceCurves(number, len(rows), first_s, last_s, parts, doubt))
    absent = frames.intervals(seen, np.equal(times.status[seen], "no_face"))
    unreadable = frames.intervals(seen, np.equal(times.status[seen], "unreadable"))
    return Overview(start_s, end_s, timed, faces, len(rows_of), absent, unreadable)


class _Frames(NamedTuple):
    """Time, duration and cell of each frame; the methods take frames in order of time."""

    time_s: Numbers
    seconds: Numbers
    cell: Integers
    max_gap_s: float

    def parts(self, frames: Integers, values: NDArray[np.float32]) -> list[CurvePart]:
        """Return the parts of a face whose classified rows (n, k) are in these frames."""
        if not len(frames):
            return []
        bins = RowBins.of(self.cell[frames])
        first, last = bins.first, bins.last
        mean = bins.means(values)
        time_s = self.time_s[frames]
        middle = (time_s[first] + time_s[last]) / 2
        end_s = time_s + self.seconds[frames]
        segment = segment_ids(time_s, self.max_gap_s)
        breaks = np.flatnonzero(segment[first[1:]] != segment[last[:-1]]) + 1
        found = []
        for part in np.split(np.arange(len(first)), breaks):
            a, b = part[0], part[-1]
            # A part ends with its last frame, so that a single frame stays visible.
            at = np.r_[time_s[first[a]], middle[part], end_s[last[b]]]
            found.append(CurvePart(at, mean[np.r_[a, part, b]]))
        return found

    def intervals(self, frames: Integers, on: Flags) -> list[Interval]:
        """Return the intervals of cells in which at least half of these frames are `on`."""
        bins = RowBins.of(self.cell[frames])
        start_s = self.time_s[frames[bins.first]]
        end_s = self.time_s[frames[bins.last]] + self.seconds[frames[bins.last]]
        joined = start_s[1:] - end_s[:-1] <= self.max_gap_s + TIME_TOLERANCE_S
        return intervals(bins.mostly(on), start_s, end_s, joined)


MAX_COLUMNS: Final = 6000
MAX_LANE_COLUMNS: Final = 9000
"""For all lanes together: about 100 bytes of HTML each, so an hour stays below 1.5 MB."""

MIN_COLUMNS: Final = 200
FACE, NO_FACE, UNREADABLE = 0, 1, 2


@dataclass(frozen=True)
class Columns:
    """The shared time axis: n cells with at least one frame each.

    left_s, right_s, middle_s: (n,) seconds. Neighboring cells touch unless the recording jumps.
    joined: (n,) whether a cell follows the previous one without a jump in time.
    state: (n,) FACE if the cell contains a face, else NO_FACE or UNREADABLE.
    downsampled: whether a cell can contain several frames.
    """

    left_s: Numbers
    right_s: Numbers
    middle_s: Numbers
    joined: Flags
    state: Integers
    downsampled: bool

    @property
    def span_s(self) -> tuple[float, float]:
        """Start and end of the axis."""
        return float(self.left_s[0]), float(self.right_s[-1])


@dataclass(frozen=True)
class Lane:
    """One face in the columns where it is present. name: "face 0", or the person's name.

    at: (m,) columns, ascending. peak, mean: (m, k), NaN if there is no value.
    expression, group: (m,) index of the most frequent one in the column, -1 for none.
    unsure, low_quality: (m,) whether at least half of the frames in the column are.
    second: (m, k) means of the second reading; (m, 0) if the timeline has one reading.
    valence: (m,) means. movements, movement_peaks: (m, x) means of the timeline's x movements, and
    their values furthest from 0.
    """

    face_id: int
    name: str
    at: Integers
    peak: Numbers
    mean: Numbers
    expression: Integers
    group: Integers
    unsure: Flags
    low_quality: Flags
    second: Numbers
    valence: Numbers
    movements: Numbers
    movement_peaks: Numbers
    n_frames: int
    start_s: float
    end_s: float

    @property
    def title(self) -> str:
        """The name as a heading: "Face 0", or the person's name."""
        return self.name[:1].upper() + self.name[1:]


@dataclass(frozen=True)
class Drawing:
    """All lanes, longest first; columns is None if no frame has a time.

    movements: names of the columns of `Lane.movements`, see `moppet.vocabulary.MOVEMENT_OF`.
    second: name of the second reading, "display" or "observers"; None if there is none.
    """

    columns: Columns | None
    lanes: list[Lane]
    movements: tuple[str, ...] = ()
    second: str | None = None


@dataclass(frozen=True)
class _Rows:
    """The analyzed rows (not skipped, with a time), sorted by time."""

    time_s: Numbers
    face_id: Integers
    has_face: Flags
    unreadable: Flags
    low_quality: Flags
    unsure: Flags
    expression: Integers
    group: Integers
    curves: Numbers
    second: Numbers
    valence: Numbers
    movements: Numbers


def _read_rows(timeline: Timeline, groups: Sequence[str]) -> _Rows:
    analyzed = timeline.table.filter(pc.field("status") != "skipped")
    table = analyzed.take(pa.array(np.argsort(numbers(analyzed, "time_s"), kind="stable")))
    status = texts(table, "status")
    return _Rows(
        time_s=numbers(table, "time_s"),
        face_id=np.nan_to_num(numbers(table, "face_id"), nan=-1).astype(np.int64),
        has_face=np.isin(status, FACE_STATUSES),
        unreadable=np.equal(status, "unreadable"),
        low_quality=np.equal(status, "low_quality"),
        unsure=flags(table, "unsure"),
        expression=codes(table, "expression", timeline.names),
        group=codes(table, "group", groups),
        curves=class_columns(table, "s_", timeline.names).astype(np.float64),
        second=second_probabilities(table, timeline.names, timeline.settings).astype(np.float64),
        valence=numbers(table, "valence"),
        movements=class_columns(table, MOVEMENT, movements_in(table)).astype(np.float64),
    )


def _cells(rows: _Rows) -> tuple[Integers, bool]:
    """Return the column of each row, and whether columns contain several frames."""
    times, frame = np.unique(rows.time_s, return_inverse=True)
    few = len(times) <= MAX_COLUMNS and rows.has_face.sum() <= MAX_LANE_COLUMNS
    if few or len(times) < 2 * MIN_COLUMNS:
        return np.asarray(frame, dtype=np.int64), False
    n = min(MAX_COLUMNS, len(times) // 2)
    while True:
        bins = equal_bins(rows.time_s, times[0], times[-1], n)
        pairs = rows.face_id[rows.has_face] * n + bins[rows.has_face]
        if n <= MIN_COLUMNS or len(np.unique(pairs)) <= MAX_LANE_COLUMNS:
            break
        n = max(MIN_COLUMNS, int(n * 0.8))
    return np.unique(bins, return_inverse=True)[1].astype(np.int64), True


def _build_columns(rows: _Rows, cell: Integers, downsampled: bool, max_gap_s: float) -> Columns:
    bins = RowBins.of(cell)
    first, last = rows.time_s[bins.first], rows.time_s[bins.last]
    steps = np.diff(np.unique(rows.time_s))
    step = float(np.median(steps)) if len(steps) else 1.0
    joined = np.r_[False, first[1:] - last[:-1] <= max(max_gap_s, 4 * step)]
    middle = np.r_[0.0, (first[1:] + last[:-1]) / 2]
    left = np.where(joined, middle, first - step / 2)
    left[0] = first[0]  # the axis starts with the first frame, not before it
    right = np.r_[np.where(joined[1:], left[1:], last[:-1] + step / 2), last[-1] + step]
    state = np.full(len(first), NO_FACE, dtype=np.int64)
    state[bins.some(rows.unreadable)] = UNREADABLE
    state[bins.some(rows.has_face)] = FACE
    return Columns(left, right, (first + last) / 2, joined, state, downsampled)


def _build_lane(
    rows: _Rows, mine: Integers, cell: Integers, n_groups: int, name_of: Callable[[int], str]
) -> Lane:
    """Return the lane of one face. mine: indices of its rows, in order of time."""
    bins = RowBins.of(cell[mine])
    curves = rows.curves[mine]
    return Lane(
        face_id=int(rows.face_id[mine[0]]),
        name=name_of(int(rows.face_id[mine[0]])),
        at=cell[mine][bins.first],
        peak=bins.peaks(curves),
        mean=bins.means(curves),
        expression=bins.most_common(rows.expression[mine], curves.shape[1]),
        group=bins.most_common(rows.group[mine], max(n_groups, 1)),
        unsure=bins.mostly(rows.unsure[mine]),
        low_quality=bins.mostly(rows.low_quality[mine]),
        second=bins.means(rows.second[mine]),
        valence=bins.means(rows.valence[mine]),
        movements=bins.means(rows.movements[mine]),
        movement_peaks=bins.extremes(rows.movements[mine]),
        n_frames=len(mine),
        start_s=float(rows.time_s[mine[0]]),
        end_s=float(rows.time_s[mine[-1]]),
    )


def build_drawing(timeline: Timeline, groups: Sequence[str]) -> Drawing:
    """Return the columns and lanes of a timeline.

    groups: the values of the column `group`, in the order that Lane.group refers to.
    """
    rows = _read_rows(timeline, groups)
    if not len(rows.time_s):
        return Drawing(None, [])
    cell, downsampled = _cells(rows)
    columns = _build_columns(rows, cell, downsampled, timeline.settings.max_gap_s)
    parts = rows_of_faces(np.where(rows.has_face, rows.face_id, np.nan), rows.time_s).values()
    lanes = [_build_lane(rows, part, cell, len(groups), timeline.face_name) for part in parts]
    lanes.sort(key=lambda lane: (-lane.n_frames, lane.face_id))
    second = second_reading(timeline.table, timeline.names, timeline.settings)
    return Drawing(columns, lanes, movements_in(timeline.table), second)
