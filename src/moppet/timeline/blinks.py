"""Blinks: short closures of the eyes, from the movement `blink` of each frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.schema import MOVEMENT, numbers, rows_of_faces, texts
from moppet.timeline.smoothing import TIME_TOLERANCE_S

BLINK: Final = f"{MOVEMENT}blink"
CLOSES: Final = 0.5
"""The lids close at this value of `blink`; it is a blink until they are below OPENS again."""
OPENS: Final = 0.3
SHORTEST_S: Final = 0.05
LONGEST_S: Final = 0.5
"""A longer closure is no blink: the eyes are shut."""
LONGEST_STEP_S: Final = 0.1
"""Where frames are further apart, blinks are missed, so none are counted."""


@dataclass(frozen=True, slots=True)
class Blink:
    """One blink of a face: seconds of its first closed frame and of the first open one after it."""

    face_id: int
    start_s: float
    end_s: float


class FaceBlinks(NamedTuple):
    """The blinks of one face, and the seconds in which one would have been seen."""

    blinks: list[Blink]
    watched_s: float


def find_blinks(table: Any) -> dict[int, FaceBlinks]:
    """Return face_id → its blinks, of the faces whose frames come at 10 a second or more.

    Only rows with the status "ok" count. A closure of which the beginning or the end was not seen,
    because frames are missing, is left out. Empty for a timeline without the movement blink.
    """
    if BLINK not in table.column_names:
        return {}
    time_s, closed = numbers(table, "time_s"), numbers(table, BLINK)
    good = np.equal(texts(table, "status"), "ok") & ~np.isnan(closed)
    face = np.where(good, numbers(table, "face_id"), np.nan)
    found = {}
    for face_id, rows in rows_of_faces(face, time_s).items():
        steps = np.diff(time_s[rows])
        if len(steps) and np.median(steps) <= LONGEST_STEP_S + TIME_TOLERANCE_S:
            near = steps <= LONGEST_STEP_S + TIME_TOLERANCE_S
            blinks = _blinks(face_id, time_s[rows], closed[rows], near)
            found[face_id] = FaceBlinks(blinks, float(steps[near].sum()))
    return found


def _blinks(
    face_id: int, time_s: NDArray[np.float64], closed: NDArray[np.float64], near: NDArray[np.bool_]
) -> list[Blink]:
    """near: (n - 1,) whether a row follows the one before it without a missing frame."""
    found, start = [], -1
    for row in range(1, len(closed)):
        if not near[row - 1]:
            start = -1
        elif start < 0 and closed[row] >= CLOSES > closed[row - 1]:
            start = row
        elif start >= 0 and closed[row] < OPENS:
            length_s = time_s[row] - time_s[start]
            if SHORTEST_S - TIME_TOLERANCE_S <= length_s <= LONGEST_S + TIME_TOLERANCE_S:
                found.append(Blink(face_id, float(time_s[start]), float(time_s[row])))
            start = -1
    return found
