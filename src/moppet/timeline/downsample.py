"""A timeline reduced to as many points as a small chart can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.durations import Clock, Stretch, read_clock
from moppet.timeline.schema import class_columns, flags, numbers, present
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import TIME_TOLERANCE_S, segment_ids

MOST_FACES: Final = 6
MOST_POINTS: Final = 600
MOST_VALUES: Final = 15_000
"""Points of all faces and classes together: six faces of seven classes get 357 points each."""

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Piece(NamedTuple):
    """A stretch of a face's curves without a gap: time_s (m,) and the values there, (m, k)."""

    time_s: Numbers
    values: Numbers


class Lane(NamedTuple):
    """One face: its curves in pieces, and where at least half of its rows are unsure."""

    face_id: int
    n_rows: int
    start_s: float
    end_s: float
    pieces: list[Piece]
    unsure: list[Stretch]


class Thinned(NamedTuple):
    """What is drawn, from start_s to end_s.

    timed: false where time has no length, as in a single image; it is then drawn as one second.
    lanes: the faces with most rows, longest first; n_faces: how many there are in all.
    no_face, unreadable: where that is true of at least half of the frames.
    """

    start_s: float
    end_s: float
    timed: bool
    lanes: list[Lane]
    n_faces: int
    no_face: list[Stretch]
    unreadable: list[Stretch]


def thin(table: Any, names: Sequence[str], settings: TimelineSettings) -> Thinned | None:
    """Return a timeline in at most MOST_POINTS points a curve; None if no frame was looked at.

    A point is the mean of its rows. A curve breaks where the face was away for longer than
    max_gap_s, unless the whole absence lies within one point.
    """
    clock = read_clock(table, settings)
    seen = np.flatnonzero(np.not_equal(clock.status, "skipped"))
    if not len(seen):
        return None
    seconds = np.nan_to_num(clock.seconds)
    start_s, end_s = _span(clock, seconds, seen)
    if not (timed := end_s > start_s):
        seconds, end_s = np.ones_like(seconds), start_s + 1
    face = numbers(table, "face_id")
    ids, counts = np.unique(face[~np.isnan(face)], return_counts=True)
    longest = ids[np.lexsort((ids, -counts))][:MOST_FACES]
    share = MOST_VALUES // max(1, len(longest) * len(names))
    cell = _cells(clock, start_s, end_s, max(2, min(MOST_POINTS, share)))
    frames = _Frames(clock.time_s, seconds, cell, settings.max_gap_s)
    smoothed, unsure = class_columns(table, "s_", names), flags(table, "unsure")
    classified = present(table, "expression")
    lanes = []
    for number in longest:
        rows = np.flatnonzero(face == number)
        rows = rows[np.argsort(clock.frame_of_row[rows], kind="stable")]
        mine = smoothed[rows], unsure[rows], classified[rows]
        lanes.append(frames.lane(int(number), clock.frame_of_row[rows], *mine))
    absent = frames.stretches(seen, np.equal(clock.status[seen], "no_face"))
    unreadable = frames.stretches(seen, np.equal(clock.status[seen], "unreadable"))
    return Thinned(start_s, end_s, timed, lanes, len(ids), absent, unreadable)


def _span(clock: Clock, seconds: Numbers, seen: Whole) -> tuple[float, float]:
    ends = clock.time_s[seen] + seconds[seen]
    return float(clock.time_s[seen[0]]), float(ends.max())


def _cells(clock: Clock, start_s: float, end_s: float, points: int) -> Whole:
    """Return (m,) the cell of each frame: its own if there are few, else one of equal length."""
    if len(clock.time_s) <= points:
        return np.arange(len(clock.time_s))
    share = (clock.time_s - start_s) / (end_s - start_s)
    return np.clip(share * points, 0, points - 1).astype(np.int64)


class _Frames(NamedTuple):
    """When each frame is, how long it lasts, its cell; the methods take frames in order of time."""

    time_s: Numbers
    seconds: Numbers
    cell: Whole
    max_gap_s: float

    def lane(
        self,
        face_id: int,
        frames: Whole,
        smoothed: NDArray[np.float32],
        unsure: Flags,
        classified: Flags,
    ) -> Lane:
        """Return one face whose rows lie in these frames."""
        first, last = frames[0], frames[-1]
        return Lane(
            face_id,
            len(frames),
            float(self.time_s[first]),
            float(self.time_s[last] + self.seconds[last]),
            self.pieces(frames[classified], smoothed[classified]),
            self.stretches(frames, unsure),
        )

    def pieces(self, frames: Whole, values: NDArray[np.float32]) -> list[Piece]:
        """Return the curves of one face whose classified rows (n, k) lie in these frames."""
        if not len(frames):
            return []
        first, last = self._ends(frames)
        counts = (last - first + 1)[:, None]
        mean = np.add.reduceat(values.astype(np.float64), first, axis=0) / counts
        time_s = self.time_s[frames]
        middle = (time_s[first] + time_s[last]) / 2
        end_s = time_s + self.seconds[frames]
        segment = segment_ids(time_s, self.max_gap_s)
        breaks = np.flatnonzero(segment[first[1:]] != segment[last[:-1]]) + 1
        found = []
        for part in np.split(np.arange(len(first)), breaks):
            a, b = part[0], part[-1]
            # A piece reaches from its first frame to the end of its last, or a lone frame is lost.
            at = np.concatenate(([time_s[first[a]]], middle[part], [end_s[last[b]]]))
            found.append(Piece(at, mean[np.concatenate(([a], part, [b]))]))
        return found

    def stretches(self, frames: Whole, on: Flags) -> list[Stretch]:
        """Return where at least half of these frames, cell by cell, are `on`."""
        first, last = self._ends(frames)
        share = np.add.reduceat(on, first, dtype=np.float64) / (last - first + 1)
        start_s = self.time_s[frames[first]]
        end_s = self.time_s[frames[last]] + self.seconds[frames[last]]
        found: list[Stretch] = []
        before = -2
        for at in np.flatnonzero(share >= 0.5).tolist():
            joins = at == before + 1 and (
                start_s[at] - end_s[before] <= self.max_gap_s + TIME_TOLERANCE_S
            )
            found.append(Stretch(found.pop().start_s if joins else float(start_s[at]), end_s[at]))
            before = at
        return found

    def _ends(self, frames: Whole) -> tuple[Whole, Whole]:
        """Return where the frames of one cell begin and end."""
        change = np.flatnonzero(np.diff(self.cell[frames])) + 1
        return np.append(0, change), np.append(change, len(frames)) - 1
