"""Upright face crops, the same for training and for video."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.values import FaceError, Floats, Image

CROP_PX: Final = 112

TEMPLATE_PX: Final = np.array(
    [[34.8, 42.6], [76.6, 42.6], [55.7, 66.5], [38.1, 86.7], [73.3, 86.7]], np.float32
)
"""Where the five landmarks come to lie in the crop (eyes, nose tip, mouth corners).

Median of MTCNN's landmarks over the training faces of FER+, scaled from 48 to 112 pixels and
made symmetric.
"""


def align_face(image: Image, landmarks_px: Floats, size: int = CROP_PX) -> Image:
    """Return the face upright in a square, its landmarks near TEMPLATE_PX.

    image: (height, width, 3) RGB uint8.
    landmarks_px: (5, 2), x before y, in the order of `Face.landmarks_px`.
    size: side of the square in pixels.
    What lies beyond the picture's edge repeats its last pixels. Large faces are averaged down
    rather than sampled, so that fine texture does not turn into noise.
    Raises FaceError if the landmarks coincide or are not finite.
    """
    matrix = similarity(landmarks_px, TEMPLATE_PX * (size / CROP_PX))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    image, matrix = average_down(image, matrix, int(1 / scale), size)
    return np.asarray(
        cv2.warpAffine(
            image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        np.uint8,
    )


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
        raise FaceError("a face needs five landmarks apart from each other; these coincide.")
    turn = (np.conj(a - a0) @ (b - b0)) / spread
    if abs(turn) < 1e-9:
        raise FaceError("these landmarks do not describe a face: no similarity fits them.")
    shift = b0 - turn * a0
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def average_down(
    image: Image, matrix: NDArray[np.float64], factor: int, size: int
) -> tuple[Image, NDArray[np.float64]]:
    """Shrink by a whole factor the part of the picture that the matrix brings into the square.

    Returns the part and the matrix from it to the square; both unchanged for a factor below 2.
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
    # A pixel centre p of the small part lies at p * factor + (factor - 1) / 2 + corner.
    centre = np.array([x1, y1]) + (factor - 1) / 2
    moved = matrix[:, :2] @ centre + matrix[:, 2]
    return part, np.column_stack([matrix[:, :2] * factor, moved])
