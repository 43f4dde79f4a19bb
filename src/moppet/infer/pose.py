"""Head pose from five landmarks."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from moppet.infer.align import TEMPLATE_PX
from moppet.values import Floats

_EYE_TO_EYE: Final = float(TEMPLATE_PX[1, 0] - TEMPLATE_PX[0, 0])
_DEPTH: Final = np.array([0.0, 0.0, -0.42, -0.10, -0.10]) * _EYE_TO_EYE
"""Nose tip and mouth corners stand out before the eyes, in distances between the eyes."""

HEAD_POINTS: Final = np.column_stack([TEMPLATE_PX - TEMPLATE_PX.mean(axis=0), _DEPTH])
"""(5, 3) a head seen from the front: x to the viewer's right, y down, z away from the viewer."""

_SOLVE: Final = np.linalg.pinv(np.column_stack([HEAD_POINTS, np.ones(5)]))


def head_pose(landmarks_px: Floats) -> tuple[float, float, float]:
    """Return yaw, pitch and roll in degrees, signs as in `Face`.

    NaN if the points coincide or are not finite.

    The head is fitted under weak perspective: least squares for the affine camera, then the
    nearest rotation. From five points this is good to about ten degrees; the face's own
    proportions show as pitch.
    """
    if not np.isfinite(landmarks_px).all():
        return math.nan, math.nan, math.nan
    camera = (_SOLVE @ landmarks_px.astype(np.float64))[:3].T
    left, strength, right = np.linalg.svd(camera, full_matrices=False)
    if strength[1] < 1e-6 * max(strength[0], 1e-12):
        return math.nan, math.nan, math.nan
    x_row, y_row = left @ right
    rotation = np.stack([x_row, y_row, np.cross(x_row, y_row)])
    roll = math.atan2(rotation[1, 0], rotation[0, 0])
    cos, sin = math.cos(roll), math.sin(roll)
    upright = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) @ rotation
    right_of, down, away = -upright[:, 2]  # where the face looks
    yaw = math.atan2(right_of, -away)
    pitch = math.asin(float(np.clip(-down, -1, 1)))
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
