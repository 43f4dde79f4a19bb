"""A timeline downsampled to the lanes a report draws, and the values under its crosshair."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moppet.timeline import Timeline

MAX_COLUMNS = 6000
MAX_LANE_COLUMNS = 9000
"""Of all lanes together: about 100 bytes of HTML each, so an hour stays below 1.5 MB."""

MIN_COLUMNS = 200
LANES_SHOWN = 6
LANES_FOLDED = 24
"""The longest tracks are open, the next lie in a fold, the rest only stand in the tables."""

FACE, NO_FACE, UNREADABLE = 0, 1, 2

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """The shared time axis: n cells that hold at least one frame.

    left_s, right_s, middle_s: (n,) seconds. Neighboring cells touch unless the recording jumps.
    joined: (n,) whether a cell follows the one before it without a jump in time.
    state: (n,) FACE if any face shows in the cell, else NO_FACE or UNREADABLE.
    thinned: whether a cell can hold more than one frame.
    """

    left_s: Numbers
    right_s: Numbers
    middle_s: Numbers
    joined: Flags
    state: Whole
    thinned: bool

    @property
    def span_s(self) -> tuple[float, float]:
        """Where the axis starts and ends."""
        return float(self.left_s[0]), float(self.right_s[-1])


@dataclass(frozen=True)
class Lane:
    """One face in the columns where it shows. name: "face 0", or the person's.

    at: (m,) columns, ascending. peak, mean: (m, k), NaN where there is no value.
    expression, group: (m,) the commonest in the column, an index, -1 for none.
    unsure, low_quality: (m,) true of at least half of the frames in the column.
    """

    face_id: int
    name: str
    at: Whole
    peak: Numbers
    mean: Numbers
    expression: Whole
    group: Whole
    unsure: Flags
    low_quality: Flags
    n_frames: int
    start_s: float
    end_s: float

    @property
    def title(self) -> str:
        """Name of the lane as a heading: "Face 0", or the person's."""
        return self.name[:1].upper() + self.name[1:]


@dataclass(frozen=True)
class Drawing:
    """All lanes, longest first; columns is None if no frame has a time."""

    columns: Columns | None
    lanes: list[Lane]


@dataclass(frozen=True)
class _Rows:
    """The rows that were looked at (not skipped, with a time), sorted by time."""

    time_s: Numbers
    face_id: Whole
    has_face: Flags
    unreadable: Flags
    low_quality: Flags
    unsure: Flags
    expression: Whole
    group: Whole
    curves: Numbers

    @property
    def n_face_rows(self) -> int:
        return int(self.has_face.sum())


def _floats(table: pa.Table, name: str) -> Numbers:
    return np.asarray(table.column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)


def _codes(table: pa.Table, name: str, words: Sequence[str]) -> Whole:
    """Index of each row's word in words, -1 for null or any other word."""
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    found = pc.index_in(column, value_set=pa.array(list(words), type=column.type))
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)


def _read_rows(timeline: Timeline, groups: Sequence[str]) -> _Rows:
    table = timeline.table
    time_s = _floats(table, "time_s")
    status = _codes(table, "status", ("ok", "low_quality", "no_face", "unreadable", "skipped"))
    keep = np.flatnonzero(np.isfinite(time_s) & (status != 4))
    keep = keep[np.argsort(time_s[keep], kind="stable")]
    ids = pc.fill_null(table.column("face_id"), -1).to_numpy()
    unsure = pc.fill_null(table.column("unsure"), False).to_numpy()
    curves = [_floats(table, f"s_{name}") for name in timeline.names]
    status = status[keep]
    return _Rows(
        time_s=time_s[keep],
        face_id=np.asarray(ids, dtype=np.int64)[keep],
        has_face=(status == 0) | (status == 1),
        unreadable=status == 3,
        low_quality=status == 1,
        unsure=np.asarray(unsure, dtype=np.bool_)[keep],
        expression=_codes(table, "expression", timeline.names)[keep],
        group=_codes(table, "group", groups)[keep],
        curves=np.stack(curves, axis=1)[keep],
    )


def _cells(rows: _Rows) -> tuple[Whole, bool]:
    """Return the column of each row, and whether columns hold several frames."""
    times, frame = np.unique(rows.time_s, return_inverse=True)
    few = len(times) <= MAX_COLUMNS and rows.n_face_rows <= MAX_LANE_COLUMNS
    if few or len(times) < 2 * MIN_COLUMNS:
        return np.asarray(frame, dtype=np.int64), False
    n = min(MAX_COLUMNS, len(times) // 2)
    span = times[-1] - times[0]
    while True:
        bins = np.minimum(((rows.time_s - times[0]) / span * n).astype(np.int64), n - 1)
        pairs = rows.face_id[rows.has_face] * n + bins[rows.has_face]
        if n <= MIN_COLUMNS or len(np.unique(pairs)) <= MAX_LANE_COLUMNS:
            break
        n = max(MIN_COLUMNS, int(n * 0.8))
    return np.unique(bins, return_inverse=True)[1].astype(np.int64), True


def _build_columns(rows: _Rows, cell: Whole, thinned: bool, max_gap_s: float) -> Columns:
    starts = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
    first = rows.time_s[starts]
    last = rows.time_s[np.r_[starts[1:] - 1, len(cell) - 1]]
    steps = np.diff(np.unique(rows.time_s))
    step = float(np.median(steps)) if len(steps) else 1.0
    joined = np.r_[False, first[1:] - last[:-1] <= max(max_gap_s, 4 * step)]
    middle = np.r_[0.0, (first[1:] + last[:-1]) / 2]
    left = np.where(joined, middle, first - step / 2)
    left[0] = first[0]  # the axis starts with the first frame, not before it
    right = np.r_[np.where(joined[1:], left[1:], last[:-1] + step / 2), last[-1] + step]
    state = np.full(len(starts), NO_FACE, dtype=np.int64)
    state[np.logical_or.reduceat(rows.unreadable, starts)] = UNREADABLE
    state[np.logical_or.reduceat(rows.has_face, starts)] = FACE
    return Columns(left, right, (first + last) / 2, joined, state, thinned)


def _commonest(codes: Whole, starts: Whole, n_codes: int) -> Whole:
    """The commonest code ≥ 0 of every stretch, -1 where there is none."""
    counts = np.stack([np.add.reduceat(codes == c, starts, dtype=np.int64) for c in range(n_codes)])
    return np.where(counts.max(axis=0) > 0, counts.argmax(axis=0), -1)


def _build_lane(
    rows: _Rows, mine: Whole, cell: Whole, n_groups: int, name_of: Callable[[int], str]
) -> Lane:
    """mine: indices of one face's rows, in order of time."""
    at = cell[mine]
    starts = np.flatnonzero(np.r_[True, at[1:] != at[:-1]])
    n = np.diff(np.r_[starts, len(at)])
    curves = rows.curves[mine]
    known = np.isfinite(curves)
    n_known = np.add.reduceat(known, starts, axis=0, dtype=np.int64)
    sums = np.add.reduceat(np.where(known, curves, 0.0), starts, axis=0)
    return Lane(
        face_id=int(rows.face_id[mine[0]]),
        name=name_of(int(rows.face_id[mine[0]])),
        at=at[starts],
        peak=np.fmax.reduceat(curves, starts, axis=0),
        mean=np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan),
        expression=_commonest(rows.expression[mine], starts, curves.shape[1]),
        group=_commonest(rows.group[mine], starts, max(n_groups, 1)),
        unsure=2 * np.add.reduceat(rows.unsure[mine], starts, dtype=np.int64) >= n,
        low_quality=2 * np.add.reduceat(rows.low_quality[mine], starts, dtype=np.int64) >= n,
        n_frames=len(mine),
        start_s=float(rows.time_s[mine[0]]),
        end_s=float(rows.time_s[mine[-1]]),
    )


def build_drawing(timeline: Timeline, groups: Sequence[str]) -> Drawing:
    """Return the columns and lanes of a timeline.

    groups: the words of the column `group` in the order that Lane.group counts them.
    """
    rows = _read_rows(timeline, groups)
    if not len(rows.time_s):
        return Drawing(None, [])
    cell, thinned = _cells(rows)
    columns = _build_columns(rows, cell, thinned, timeline.settings.max_gap_s)
    order = np.flatnonzero(rows.has_face)
    order = order[np.argsort(rows.face_id[order], kind="stable")]
    changes = np.flatnonzero(np.diff(rows.face_id[order])) + 1
    parts = np.split(order, changes) if len(order) else []
    lanes = [_build_lane(rows, part, cell, len(groups), timeline.face_name) for part in parts]
    return Drawing(columns, sorted(lanes, key=lambda lane: (-lane.n_frames, lane.face_id)))


NOTHING = 255


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(values.astype(np.uint8).tobytes()).decode("ascii")


def _pack_lane(lane: Lane, thinned: bool) -> dict[str, Any]:
    first, n = int(lane.at[0]), int(lane.at[-1] - lane.at[0]) + 1
    place = lane.at - first

    def spread(values: NDArray[Any], default: int) -> str:
        whole = np.full((n, *values.shape[1:]), default, dtype=np.int64)
        whole[place] = values
        return _packed(whole)

    def halves(curves: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(curves)
        return np.where(known, np.rint(np.clip(np.where(known, curves, 0), 0, 1) * 200), NOTHING)

    best = np.where(lane.expression < 0, NOTHING, lane.expression)
    packed = {
        "first": first,
        "flags": spread(1 + 2 * lane.unsure + 4 * lane.low_quality, 0),
        "best": spread(best, NOTHING),
        "mean": spread(halves(lane.mean), NOTHING),
    }
    return {**packed, "peak": spread(halves(lane.peak), NOTHING)} if thinned else packed


def pack_values(drawing: Drawing, names: Sequence[str]) -> str:
    """Return the lanes' values as JSON that is safe inside a script element.

    steps: milliseconds from one column to the next. Each lane from its column `first` on:
    probabilities as bytes of half a percent, 255 where there is none; flags 1 shows, 2 unsure,
    4 low quality.
    """
    columns = drawing.columns
    if columns is None:
        return "{}"
    thinned = columns.thinned
    ms = np.rint(columns.middle_s * 1000).astype(np.int64)
    data = {
        "span": columns.span_s,
        "steps": np.diff(ms, prepend=0).tolist(),
        "names": list(names),
        "lanes": {str(lane.face_id): _pack_lane(lane, thinned) for lane in drawing.lanes},
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c")
