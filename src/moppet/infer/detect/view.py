"""Upright views of a part of a picture: where a face is expected, or the whole picture turned."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.infer.align import average_down
from moppet.values import Face, Floats, Image

VIEW_WIDTH: Final = 1.8
"""Side of a view in sides of the face's box: room for the head to have moved."""


def upright_view(
    image: Image, box_px: Floats, roll_deg: float, size: int
) -> tuple[Image, NDArray[np.float64]]:
    """Return a square view of the box's surroundings in which the head stands upright.

    box_px: (4,) x, y, width, height. roll_deg: the head's tilt, as in `Face.roll`.
    size: side of the view in pixels; the box's longer side is size / VIEW_WIDTH of it.
    Returns the view, (size, size, 3), and the (2, 3) matrix from picture to view. Beyond the
    picture's edge the view is grey.
    """
    side = max(float(box_px[2]), float(box_px[3]), 1.0)
    centre = np.asarray(box_px[:2], np.float64) + np.asarray(box_px[2:], np.float64) / 2
    scale = size / (side * VIEW_WIDTH)
    angle = np.radians(-roll_deg)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, size / 2 - turn @ centre])
    source, shrunk = average_down(image, matrix, int(1 / scale), size)
    grey = (127.5, 127.5, 127.5)
    view = cv2.warpAffine(source, shrunk, (size, size), flags=cv2.INTER_LINEAR, borderValue=grey)
    return np.asarray(view, np.uint8), matrix


def face_from_view(face: Face, matrix: NDArray[np.float64]) -> Face:
    """Return a face found in a view in the coordinates of the picture.

    matrix: (2, 3), picture → view, a similarity. The box keeps its size and stays upright.
    """
    inverse = cv2.invertAffineTransform(matrix)
    size = face.box_px[2:] * np.float32(np.hypot(inverse[0, 0], inverse[1, 0]))
    centre = inverse[:, :2] @ (face.box_px[:2] + face.box_px[2:] / 2) + inverse[:, 2]
    landmarks = face.landmarks_px @ inverse[:, :2].T + inverse[:, 2]
    return replace(
        face,
        box_px=np.concatenate([centre - size / 2, size]).astype(np.float32),
        landmarks_px=landmarks.astype(np.float32),
    )


def turn_back(face: Face, quarter_turns: int, height: int, width: int) -> Face:
    """Return a face found in np.rot90(image, quarter_turns) in the image's own coordinates.

    height, width: of the image before it was turned.
    """
    matrix = {
        1: np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, width - 1.0]]),
        2: np.array([[-1.0, 0.0, width - 1.0], [0.0, -1.0, height - 1.0]]),
        3: np.array([[0.0, -1.0, height - 1.0], [1.0, 0.0, 0.0]]),
    }[quarter_turns]
    return face_from_view(face, matrix)
