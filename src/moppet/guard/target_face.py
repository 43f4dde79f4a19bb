"""Which of the faces in a frame is the child's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from moppet.timeline.smoothing import TIME_TOLERANCE_S

Row = Mapping[str, Any]

_LARGER: Final = 1.5
_TAKES_OVER_S: Final = 2.0


class ChildFinder:
    """Keeps to one face until it was away for more than max_gap_s.

    child = "largest": the largest face of the frame is taken; later, a face takes over whose box
    was the largest, half as large again as the child's, for two seconds on end.
    child = "longest": the face is taken that was seen longest so far.
    A face that was chosen by hand is kept as long as it is there.
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
        """Take this face for the child's from now on, as long as it is there."""
        self._face_id, self._seen_at_s, self._is_chosen = face_id, self._last_s, True

    def find(self, time_s: float, faces: Sequence[Row]) -> Row | None:
        """Return the child's row among one frame's faces, None if it is not there."""
        self._note(time_s, faces)
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
        """Return the face that takes over now, if one does."""
        largest = max(faces, key=_area)
        if self._is_chosen or not self._by_size or _area(largest) < _LARGER * _area(child):
            self._rival = None
            return None
        if self._rival is None or self._rival[0] != largest["face_id"]:
            self._rival = largest["face_id"], time_s
        since_s = time_s - self._rival[1]
        return largest if since_s >= _TAKES_OVER_S - TIME_TOLERANCE_S else None

    def _note(self, time_s: float, faces: Sequence[Row]) -> None:
        """Add up how long each face has been seen."""
        if time_s - self._last_s <= self._max_gap_s:
            for face_id in self._here:
                self._seen_s[face_id] = self._seen_s.get(face_id, 0.0) + time_s - self._last_s
        self._last_s = time_s
        self._here = tuple(face["face_id"] for face in faces)

    def _time_seen(self, face: Row) -> tuple[float, float]:
        return self._seen_s.get(face["face_id"], 0.0), _area(face)


def _area(face: Row) -> float:
    return float((face["box_w"] or 0.0) * (face["box_h"] or 0.0))
