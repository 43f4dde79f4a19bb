"""Choose the child's face among the faces of a frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from moppet.timeline.smoothing import TIME_TOLERANCE_S

Row = Mapping[str, Any]

_LARGER: Final = 1.5
_TAKES_OVER_S: Final = 2.0


class TargetFace:
    """Keeps one face as the target until it has been absent for more than max_gap_s.

    child = "largest": the target is the largest face of the frame. Another face replaces it once
    that face's box has been the largest, and at least 1.5 times as large, for two seconds.
    child = "longest": the target is the face that has been seen for the longest time so far.
    A face chosen by hand is kept for as long as it is present.
    """

    def __init__(self, child: str, max_gap_s: float) -> None:
        self._by_size = child == "largest"
        self._max_gap_s = max_gap_s + TIME_TOLERANCE_S
        self._face_id: int | None = None
        self._is_chosen = False
        self._seen_at_s = -math.inf
        self._rival: tuple[int, float] | None = None
        self._seen_s: dict[int, float] = {}
        self._here: tuple[int, ...] = ()
        self._last_s = math.nan

    def choose(self, face_id: int) -> None:
        """Make this face the target for as long as it is present."""
        self._face_id, self._seen_at_s, self._is_chosen = face_id, self._last_s, True

    def find(self, time_s: float, faces: Sequence[Row]) -> Row | None:
        """Return the target's row among one frame's faces; None if it is absent."""
        self._add_time_seen(time_s, faces)
        for face in faces:
            if face["face_id"] == self._face_id:
                return self._take(time_s, self._larger(time_s, face, faces) or face)
        if not faces or 0 <= time_s - self._seen_at_s <= self._max_gap_s:
            return None
        self._is_chosen = False
        return self._take(time_s, max(faces, key=_area if self._by_size else self._time_seen))

    def _take(self, time_s: float, face: Row) -> Row:
        self._face_id, self._seen_at_s = face["face_id"], time_s
        return face

    def _larger(self, time_s: float, child: Row, faces: Sequence[Row]) -> Row | None:
        """Return the face that replaces the target now; None if there is none."""
        largest = max(faces, key=_area)
        if self._is_chosen or not self._by_size or _area(largest) < _LARGER * _area(child):
            self._rival = None
            return None
        if self._rival is None or self._rival[0] != largest["face_id"]:
            self._rival = largest["face_id"], time_s
        since_s = time_s - self._rival[1]
        return largest if since_s >= _TAKES_OVER_S - TIME_TOLERANCE_S else None

    def _add_time_seen(self, time_s: float, faces: Sequence[Row]) -> None:
        if time_s - self._last_s <= self._max_gap_s:
            for face_id in self._here:
                self._seen_s[face_id] = self._seen_s.get(face_id, 0.0) + time_s - self._last_s
        self._last_s = time_s
        self._here = tuple(face["face_id"] for face in faces)

    def _time_seen(self, face: Row) -> tuple[float, float]:
        return self._seen_s.get(face["face_id"], 0.0), _area(face)


def _area(face: Row) -> float:
    return float((face["box_w"] or 0.0) * (face["box_h"] or 0.0))
