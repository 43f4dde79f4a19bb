"""Tracking: one face_id per person and recording, from position and motion alone.

No biometric identity is computed or stored: a person who is absent for longer than `max_gap_s`
gets a new face_id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from moppet.values import Face, Floats

_LEAST_OVERLAP: Final = 0.2
_MOTION_MEMORY_S: Final = 0.15
_FARTHEST: Final = 1.0
_TRACK_VALUES: Final = 23  # id, time, box 4, landmarks 10, velocity 2, score, 3 angles, quality


@dataclass
class Track:
    """One person: the last position and the motion of the face.

    velocity: (2,) running mean of the box center's speed, pixels per second.
    """

    face_id: int
    face: Face
    time_s: float
    velocity: Floats = field(default_factory=lambda: np.zeros(2, np.float32))

    def expect(self, time_s: float) -> Floats:
        """Return the expected box at a time, (4,) x, y, width, height.

        Motion is extrapolated for at most a quarter of a second, because heads swing back.
        """
        ahead = min(max(time_s - self.time_s, -0.25), 0.25)
        box = self.face.box_px.copy()
        box[:2] += self.velocity * np.float32(ahead)
        return box

    def move(self, face: Face, time_s: float) -> None:
        """Update the track with the face detected at a time."""
        elapsed = time_s - self.time_s
        if elapsed != 0:
            speed = (_center(face.box_px) - _center(self.face.box_px)) / np.float32(elapsed)
            keep = np.float32(np.exp(-abs(elapsed) / _MOTION_MEMORY_S))
            self.velocity = keep * self.velocity + (1 - keep) * speed
        self.face, self.time_s = face, time_s

    def scaled(self, ratio: Floats) -> Track:
        """Return the track in an image of another size; ratio: (2,) horizontal, vertical."""
        face = replace(
            self.face,
            box_px=self.face.box_px * np.tile(ratio, 2),
            landmarks_px=self.face.landmarks_px * ratio,
        )
        return replace(self, face=face, velocity=self.velocity * ratio)

    def to_list(self) -> list[Any]:
        """Return the track as JSON values, exact to the last bit; None for NaN."""
        face = self.face
        arrays = [face.box_px, face.landmarks_px.reshape(-1), self.velocity]
        floats = [float(number) for array in arrays for number in array]
        floats += [face.score, face.yaw, face.pitch, face.roll, face.quality]
        numbers = [None if math.isnan(number) else number for number in floats]
        return [self.face_id, self.time_s, *numbers]

    @classmethod
    def from_list(cls, values: Sequence[Any]) -> Track:
        """Return the track of `to_list`; ValueError if it has another length."""
        if len(values) != _TRACK_VALUES:
            raise ValueError(f"a track has {_TRACK_VALUES} values, not {len(values)}.")
        numbers = [math.nan if value is None else float(value) for value in values[2:]]
        box, points, velocity = np.split(np.array(numbers[:16], np.float32), [4, 14])
        score, yaw, pitch, roll, quality = numbers[16:]
        face = Face(box, points.reshape(5, 2), score, yaw, pitch, roll, quality)
        return cls(int(values[0]), face, float(values[1]), velocity)


def assign(expected: Sequence[Floats], faces: Sequence[Face]) -> list[int | None]:
    """Return for each expected box the index of its face, or None.

    Hungarian assignment by overlap. Boxes of a fast head that no longer overlap are matched by
    distance, if they are at most one box side apart and of similar size.
    """
    if not expected or not faces:
        return [None] * len(expected)
    from scipy.optimize import linear_sum_assignment  # slow to import

    gain = np.array([[_similarity(box, face.box_px) for face in faces] for box in expected])
    rows, columns = linear_sum_assignment(gain, maximize=True)
    found: list[int | None] = [None] * len(expected)
    for row, column in zip(rows, columns, strict=True):
        if gain[row, column] > 0:
            found[row] = int(column)
    return found


def overlap(a: Floats, b: Floats) -> float:
    """Return the intersection over union of two boxes (x, y, width, height)."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.tolist(), b.tolist()  # ten times as fast as arrays
    across = min(ax + aw, bx + bw) - max(ax, bx)
    down = min(ay + ah, by + bh) - max(ay, by)
    shared = max(across, 0.0) * max(down, 0.0)
    whole = aw * ah + bw * bh - shared
    return float(shared / whole) if whole > 0 else 0.0


def _similarity(expected: Floats, box: Floats) -> float:
    shared = overlap(expected, box)
    if shared >= _LEAST_OVERLAP:
        return 1.0 + shared
    side = float(np.sqrt(max(1.0, float(expected[2:].prod()))))
    size_change = abs(float(np.log(max(1.0, float(box[2:].prod()))) / 2 - np.log(side)))
    away = float(np.linalg.norm(_center(expected) - _center(box))) / side
    return max(0.0, _FARTHEST - away) if size_change < 0.4 else 0.0


def _center(box: Floats) -> Floats:
    return np.asarray(box[:2] + box[2:] / 2, np.float32)
