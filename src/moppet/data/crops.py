"""Aligned crops of pictures that already are face crops, as most data sets of faces hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.infer.align import CROP_PX, align_face
from moppet.infer.detect.mtcnn import THRESHOLDS, Mtcnn
from moppet.values import Floats, Image

_BATCH: Final = 256


class _Attempt(NamedTuple):
    """A frame of `margin` of the crop's side around it, and thresholds to look with.

    A face that fills its picture is outside what MTCNN learned; with a margin it is inside.
    """

    margin: float
    border: int
    thresholds: tuple[float, float, float]


_LOOSE: Final = (0.4, 0.4, 0.5)
ATTEMPTS: Final = (
    _Attempt(0.5, cv2.BORDER_CONSTANT, THRESHOLDS),
    _Attempt(0.25, cv2.BORDER_REFLECT_101, THRESHOLDS),
    _Attempt(0.5, cv2.BORDER_CONSTANT, _LOOSE),
    _Attempt(0.25, cv2.BORDER_REFLECT_101, _LOOSE),
    _Attempt(1.0, cv2.BORDER_CONSTANT, _LOOSE),
    _Attempt(1.5, cv2.BORDER_CONSTANT, _LOOSE),
)
"""Tried in turn. The loose thresholds are safe here only: a face is known to be there."""

_SIDE: Final = 96


def find_crop_landmarks(crops: Sequence[Image]) -> tuple[Floats, NDArray[np.int8]]:
    """Return each crop's five landmarks and the number of the attempt that found them.

    crops: n square face crops, (side, side) grey or (side, side, 3) RGB, uint8.
    Returns (n, 5, 2) float32 in pixels of the crop, NaN where none was found, and (n,) int8,
    the index into ATTEMPTS or -1. Of several faces the largest is taken.
    """
    landmarks = np.full((len(crops), 5, 2), np.nan, np.float32)
    attempt_used = np.full(len(crops), -1, np.int8)
    for number, attempt in enumerate(ATTEMPTS):
        detector = Mtcnn(min_face_px=_SIDE * 0.4, thresholds=attempt.thresholds)
        missing = np.flatnonzero(attempt_used < 0)
        for start in range(0, len(missing), _BATCH):
            rows = missing[start : start + _BATCH]
            for row, faces in zip(
                rows, detector.detect([_frame(crops[i], attempt) for i in rows]), strict=True
            ):
                if faces:
                    face = max(faces, key=lambda f: float(f.box_px[2:].prod()))
                    scale = crops[row].shape[0] / _SIDE
                    landmarks[row] = (face.landmarks_px - attempt.margin * _SIDE) * scale
                    attempt_used[row] = number
    return landmarks, attempt_used


def whole_crop(crop: Image, size: int = CROP_PX) -> Image:
    """Return the crop as it is, RGB, at the size of aligned crops."""
    shrink = crop.shape[0] > size
    flags = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return _rgb(np.asarray(cv2.resize(crop, (size, size), interpolation=flags), np.uint8))


def aligned_crop(crop: Image, landmarks_px: Floats, size: int = CROP_PX) -> Image:
    """Return the crop aligned as in video, or whole where the landmarks are NaN."""
    if np.isnan(landmarks_px).any():
        return whole_crop(crop, size)
    return align_face(_rgb(crop), landmarks_px, size)


def _rgb(crop: Image) -> Image:
    return np.repeat(crop[:, :, None], 3, axis=2) if crop.ndim == 2 else crop


def _frame(crop: Image, attempt: _Attempt) -> Image:
    flags = cv2.INTER_AREA if crop.shape[0] > _SIDE else cv2.INTER_CUBIC
    picture = cv2.resize(_rgb(crop), (_SIDE, _SIDE), interpolation=flags)
    margin = round(attempt.margin * _SIDE)
    grey = (128, 128, 128)
    return np.asarray(
        cv2.copyMakeBorder(picture, margin, margin, margin, margin, attempt.border, value=grey),
        np.uint8,
    )
