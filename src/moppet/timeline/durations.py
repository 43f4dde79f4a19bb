"""The duration in seconds of each frame of a timeline."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.schema import integers, numbers, texts
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import TIME_TOLERANCE_S
from moppet.values import Status

_BEST_FIRST: Final[tuple[Status, ...]] = ("ok", "low_quality", "no_face", "unreadable", "skipped")


class Interval(NamedTuple):
    """An interval of the recording, in seconds."""

    start_s: float
    end_s: float


class FrameTimes(NamedTuple):
    """The m frames of a timeline in order of time, and the frame of each of its n rows.

    status: (m,) "ok" if any face is ok, else "low_quality" if any is, else the status of the row.
    seconds: (m,) duration of the frame; 0 if skipped, NaN if only one frame was analyzed.
    frame_of_row: (n,) index of each row's frame.
    max_gap_s: frames that are further apart do not touch.
    """

    time_s: NDArray[np.float64]
    status: NDArray[np.object_]
    seconds: NDArray[np.float64]
    frame_of_row: NDArray[np.int64]
    max_gap_s: float

    @property
    def row_seconds(self) -> NDArray[np.float64]:
        """(n,) duration of each row's frame, in seconds."""
        return self.seconds[self.frame_of_row]

    def intervals(self, status: Status) -> list[Interval]:
        """Return the intervals of consecutive frames with this status, without gaps."""
        seen = np.flatnonzero(np.not_equal(self.status, "skipped"))
        start_s, end_s = self.time_s[seen], self.time_s[seen] + self.seconds[seen]
        joined = np.diff(start_s) <= self.max_gap_s + TIME_TOLERANCE_S
        return intervals(np.equal(self.status[seen], status), start_s, end_s, joined)


def frame_times(table: Any, settings: TimelineSettings) -> FrameTimes:
    """Return the frames of a timeline with their times, statuses and durations.

    A frame lasts until the next analyzed (not skipped) frame. If that is more than max_gap_s
    later, and for the last frame, the duration is the median step, at most max_gap_s.
    """
    _, first, frame_of_row = np.unique(
        integers(table, "frame"), return_index=True, return_inverse=True
    )
    # A frame with several faces counts once, with the best status.
    rank = np.array([_BEST_FIRST.index(value) for value in texts(table, "status")], dtype=np.int64)
    best = np.full(len(first), len(_BEST_FIRST))
    np.minimum.at(best, frame_of_row, rank)
    time_s = numbers(table, "time_s")[first]
    order = np.argsort(time_s, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    status = np.array([*_BEST_FIRST, None], dtype=np.object_)[best][order]
    time_s = time_s[order]
    seconds = _seconds(time_s, status, settings.max_gap_s)
    return FrameTimes(time_s, status, seconds, place[frame_of_row], settings.max_gap_s)


def _seconds(
    time_s: NDArray[np.float64], status: NDArray[np.object_], max_gap_s: float
) -> NDArray[np.float64]:
    seconds = np.zeros(len(time_s))
    seen = np.flatnonzero(np.not_equal(status, "skipped"))
    if not len(seen):
        return seconds
    step = np.diff(time_s[seen])
    forward = step[step > 0]
    usual = min(float(np.median(forward)), max_gap_s) if len(forward) else np.nan
    gap = step > max_gap_s + TIME_TOLERANCE_S
    seconds[seen] = np.append(np.where(gap, usual, step), usual)
    return seconds


def intervals(
    on: NDArray[np.bool_],
    start_s: NDArray[np.float64],
    end_s: NDArray[np.float64],
    joined: NDArray[np.bool_],
) -> list[Interval]:
    """Return the runs of the n cells that are `on`. joined: (n - 1,) whether neighbors touch."""
    first, last = on.copy(), on.copy()
    first[1:] &= ~(joined & on[:-1])
    last[:-1] &= ~(joined & on[1:])
    return [Interval(*one) for one in np.column_stack((start_s[first], end_s[last])).tolist()]
