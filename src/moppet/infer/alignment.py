"""Upright face crops, head pose, upright views of part of an image, and the quality of a face."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.values import Face, FaceError, Floats, Image, UsageError

CROP_PX: Final = 112

TEMPLATE_PX: Final = np.array(
    [[34.8, 42.6], [76.6, 42.6], [55.7, 66.5], [38.1, 86.7], [73.3, 86.7]], np.float32
)
"""Positions of the five landmarks in the crop (eyes, nose tip, mouth corners).

Median of MTCNN's landmarks over the training faces of FER+, scaled from 48 to 112 pixels and
made symmetric.
"""


def check_rgb(pixels: Any, n_dimensions: int, need: str) -> None:
    """Raise UsageError, which begins with `need`, unless pixels are RGB uint8 of this shape."""
    is_array = isinstance(pixels, np.ndarray)
    if not is_array or pixels.ndim != n_dimensions or pixels.shape[-1] != 3:
        raise UsageError(f"{need}, got {getattr(pixels, 'shape', type(pixels).__name__)}.")
    if pixels.dtype != np.uint8:
        raise UsageError(f"{need} of uint8 pixels (0 to 255), got {pixels.dtype}.")


def align_face(image: Image, landmarks_px: Floats, size: int = CROP_PX) -> Image:
    """Return the face upright in a square, its landmarks near TEMPLATE_PX.

    image: (height, width, 3) RGB uint8.
    landmarks_px: (5, 2), x before y, in the order of `Face.landmarks_px`.
    size: side of the square in pixels.
    Pixels beyond the edge of the image repeat its border. Large faces are averaged down rather
    than sampled, to avoid aliasing.
    Raises FaceError if the landmarks coincide or are not finite.
    """
    matrix = similarity(landmarks_px, TEMPLATE_PX * (size / CROP_PX))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    image, matrix = average_down(image, matrix, int(1 / scale), size)
    return warped(image, matrix, size)


def warped(image: Image, matrix: NDArray[np.float64], size: int) -> Image:
    """Return the image warped to (size, size), its edge repeated beyond it.

    matrix: (2, 3), from the image to the square.
    """
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    square = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=border)
    return np.asarray(square, np.uint8)


def similarity(source: Floats, target: Floats) -> NDArray[np.float64]:
    """Return the (2, 3) rotation, uniform scale and shift that best maps source onto target.

    source, target: (n, 2) points. Least squares, closed form, without reflection.
    Source: Umeyama (1991), in the plane, where it is a complex linear regression.
    Raises FaceError if the source points coincide or are not finite.
    """
    a = source.astype(np.float64) @ [1, 1j]
    b = target.astype(np.float64) @ [1, 1j]
    a0, b0 = a.mean(), b.mean()
    spread = float((np.abs(a - a0) ** 2).sum())
    if not np.isfinite(spread) or spread < 1e-6:
        raise FaceError("a face needs five distinct landmarks; these coincide.")
    turn = (np.conj(a - a0) @ (b - b0)) / spread
    if abs(turn) < 1e-9:
        raise FaceError("these landmarks do not describe a face: no similarity fits them.")
    shift = b0 - turn * a0
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def average_down(
    image: Image, matrix: NDArray[np.float64], factor: int, size: int
) -> tuple[Image, NDArray[np.float64]]:
    """Shrink the part of the image that the matrix maps into the square by an integer factor.

    Returns the part and its matrix to the square; image and matrix are unchanged if factor < 2.
    """
    if factor < 2:
        return image, matrix
    inverse = cv2.invertAffineTransform(matrix)
    square = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]])
    corners = square @ inverse.T
    height, width = image.shape[:2]
    x1, y1 = np.clip(np.floor(corners.min(axis=0)).astype(int) - factor, 0, [width, height])
    x2, y2 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + factor, 0, [width, height])
    columns, rows = (x2 - x1) // factor, (y2 - y1) // factor
    if min(columns, rows) < 2:
        return image, matrix
    part = image[y1 : y1 + rows * factor, x1 : x1 + columns * factor]
    part = np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    # A pixel center p of the small part is at p * factor + (factor - 1) / 2 + corner.
    center = np.array([x1, y1]) + (factor - 1) / 2
    moved = matrix[:, :2] @ center + matrix[:, 2]
    return part, np.column_stack([matrix[:, :2] * factor, moved])


_EYE_TO_EYE: Final = float(TEMPLATE_PX[1, 0] - TEMPLATE_PX[0, 0])
_DEPTH: Final = np.array([0.0, 0.0, -0.42, -0.10, -0.10]) * _EYE_TO_EYE
"""Depth of the landmarks in front of the eyes, as a multiple of the distance between the eyes."""

HEAD_POINTS: Final = np.column_stack([TEMPLATE_PX - TEMPLATE_PX.mean(axis=0), _DEPTH])
"""(5, 3) landmarks of a frontal head: x to the viewer's right, y down, z away from the viewer."""

_SOLVE: Final = np.linalg.pinv(np.column_stack([HEAD_POINTS, np.ones(5)]))


def head_pose(landmarks_px: Floats) -> tuple[float, float, float]:
    """Return yaw, pitch and roll in degrees, signs as in `Face`.

    NaN if the points coincide or are not finite.

    The head is fitted under weak perspective: least squares for the affine camera, then the
    nearest rotation. With five points, errors are about ten degrees; pitch also depends on the
    proportions of the face.
    """
    if not np.isfinite(landmarks_px).all():
        return math.nan, math.nan, math.nan
    a, b, c, d, e, f = (_SOLVE @ landmarks_px.astype(np.float64))[:3].T.ravel().tolist()
    # The nearest rows at right angles, by the square root of the 2 × 2 matrix of their products;
    # plain numbers, because it is done for every face.
    xx, xy, yy = a * a + b * b + c * c, a * d + b * e + c * f, d * d + e * e + f * f
    area = math.sqrt(max(0.0, xx * yy - xy * xy))  # product of the singular values
    if area < 1e-6 * max(xx + yy, 1e-24):
        return math.nan, math.nan, math.nan
    over = math.sqrt(xx + yy + 2 * area) / ((xx + area) * (yy + area) - xy * xy)
    p, q, r = over * (yy + area), -over * xy, over * (xx + area)
    ax, ay, az = p * a + q * d, p * b + q * e, p * c + q * f
    bx, by, bz = q * a + r * d, q * b + r * e, q * c + r * f
    cz = ax * by - ay * bx
    roll = math.atan2(bx, ax)
    cos, sin = math.cos(roll), math.sin(roll)
    # Where the face looks, once the head is upright.
    right_of, down, away = -(cos * az + sin * bz), sin * az - cos * bz, -cz
    yaw = math.atan2(right_of, -away)
    pitch = math.asin(min(1.0, max(-1.0, -down)))
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def with_pose(face: Face) -> Face:
    """Return the face with yaw, pitch and roll from its landmarks."""
    yaw, pitch, roll = head_pose(face.landmarks_px)
    return replace(face, yaw=yaw, pitch=pitch, roll=roll)


VIEW_WIDTH: Final = 1.8
"""Side of a view as a multiple of the face box, so that a moving head stays inside."""


def upright_view(
    image: Image, box_px: Floats, roll_deg: float, size: int
) -> tuple[Image, NDArray[np.float64]]:
    """Return a square view around the box in which the head is upright.

    box_px: (4,) x, y, width, height. roll_deg: the head's tilt, as in `Face.roll`.
    size: side of the view in pixels; the longer side of the box takes size / VIEW_WIDTH pixels.
    Returns the view, (size, size, 3), and the (2, 3) matrix from image to view. The view is gray
    beyond the edge of the image.
    """
    side = max(float(box_px[2]), float(box_px[3]), 1.0)
    center = np.asarray(box_px[:2], np.float64) + np.asarray(box_px[2:], np.float64) / 2
    scale = size / (side * VIEW_WIDTH)
    angle = np.radians(-roll_deg)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, size / 2 - turn @ center])
    source, shrunk = average_down(image, matrix, int(1 / scale), size)
    gray = (127.5, 127.5, 127.5)
    view = cv2.warpAffine(source, shrunk, (size, size), flags=cv2.INTER_LINEAR, borderValue=gray)
    return np.asarray(view, np.uint8), matrix


def face_from_view(face: Face, matrix: NDArray[np.float64]) -> Face:
    """Return a face detected in a view, in the coordinates of the image.

    matrix: (2, 3), image → view, a similarity. The box keeps its size and stays upright.
    """
    inverse = cv2.invertAffineTransform(matrix)
    size = face.box_px[2:] * np.float32(np.hypot(inverse[0, 0], inverse[1, 0]))
    center = inverse[:, :2] @ (face.box_px[:2] + face.box_px[2:] / 2) + inverse[:, 2]
    landmarks = face.landmarks_px @ inverse[:, :2].T + inverse[:, 2]
    return replace(
        face,
        box_px=np.concatenate([center - size / 2, size]).astype(np.float32),
        landmarks_px=landmarks.astype(np.float32),
    )


def turn_back(face: Face, quarter_turns: int, height: int, width: int) -> Face:
    """Return a face detected in np.rot90(image, quarter_turns), in coordinates of the image.

    height, width: size of the image before rotation.
    """
    matrix = {
        1: np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, width - 1.0]]),
        2: np.array([[-1.0, 0.0, width - 1.0], [0.0, -1.0, height - 1.0]]),
        3: np.array([[0.0, -1.0, height - 1.0], [1.0, 0.0, 0.0]]),
    }[quarter_turns]
    return face_from_view(face, matrix)


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
