"""Quality of a face image, in [0, 1]: how reliably its expression can be read."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from moppet.infer.alignment import align_face
from moppet.values import Face, FaceError, Floats, Image

_UNREADABLE_PX: Final = 16.0
_READABLE_PX: Final = 44.0
_SURE_SCORE: Final = 0.95
_LEAST_SCORE: Final = 0.5
_SHARPNESS_PX: Final = 48
_SHARP: Final = 0.04
_BLURRED: Final = 0.005


def face_quality(image: Image, face: Face) -> float:
    """Return the product of four factors, each in [0, 1]: size, pose, detection score, sharpness.

    image: the image in which `face` (with its pose) was detected.
    """
    try:
        crop = align_face(image, face.landmarks_px)
    except FaceError:
        return 0.0
    return crop_quality(crop, face)


def crop_quality(crop: Image, face: Face) -> float:
    """Return the quality of a face from its aligned crop; see `face_quality`."""
    side = float(np.sqrt(max(0.0, float(face.box_px[2] * face.box_px[3]))))
    size = _ramp(side, _UNREADABLE_PX, _READABLE_PX)
    score = _ramp(face.score, _LEAST_SCORE, _SURE_SCORE)
    sharp = _ramp(math.log(max(sharpness(crop), 1e-9)), math.log(_BLURRED), math.log(_SHARP))
    return size * pose_factor(face.yaw, face.pitch) * score * sharp


def pose_factor(yaw: float, pitch: float) -> float:
    """Return 1 up to 25 degrees from frontal, falling to 0 at 70; 0 if the pose is unknown."""
    if math.isnan(yaw) or math.isnan(pitch):
        return 0.0
    # Pitch also depends on the proportions of the face, so its first 10 degrees are ignored.
    off = math.hypot(yaw, max(0.0, abs(pitch) - 10.0))
    return 1.0 - _ramp(off, 25.0, 70.0)


def sharpness(crop: Image) -> float:
    """Return the fraction of the crop's contrast in its finest detail; 0 for a uniform crop.

    Mean square of the Laplacian divided by the variance, at 48 pixels, the input size of the
    expression models. It does not depend on brightness or contrast.
    """
    small: Floats = cv2.resize(
        cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY),
        (_SHARPNESS_PX, _SHARPNESS_PX),
        interpolation=cv2.INTER_AREA,
    ).astype(np.float32)
    variance = float(small.var())
    if variance < 1.0:
        return 0.0
    laplacian = cv2.Laplacian(small, cv2.CV_32F)[1:-1, 1:-1]
    return float(np.mean(np.square(laplacian))) / variance


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
