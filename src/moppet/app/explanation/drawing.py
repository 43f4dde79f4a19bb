"""Saliency drawn: over a face, and as a mean on the empty template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.infer.align import CROP_PX, TEMPLATE_PX
from moppet.study.saliency import FACE_CENTRE_PX, FACE_HALF_PX, region_boxes
from moppet.values import Floats, Image, MoppetError

ZOOM: Final = 3
_GAP_PX: Final = 6
_COVER: Final = 0.8
_SOFT_PX: Final = 2.5


def draw_overlay(crop: Image, saliency: Floats) -> Image:
    """Return a face and, beside it, the same face under its saliency, RGB.

    crop: (CROP_PX, CROP_PX, 3) RGB. saliency: (CROP_PX, CROP_PX), drawn from nothing to its own
    largest value; what speaks against the class is not drawn.
    """
    side = ZOOM * CROP_PX
    face = np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
    strength = _enlarged(np.maximum(saliency, 0).astype(np.float64), side)
    strength /= max(float(strength.max()), 1e-12)
    cover = _COVER * np.sqrt(strength)[:, :, None]
    over = face * (1 - cover) + _colours(strength) * cover
    gap = np.full((side, _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([face, gap, over.round().astype(np.uint8)], axis=1)


def draw_mean(mean: NDArray[np.float64], most: float) -> Image:
    """Return mean saliency on the template, RGB: rings on eyes and mouth, lines around regions.

    mean: (CROP_PX, CROP_PX), 1 where saliency is spread evenly. most: the value drawn brightest.
    No face is in it, so that it can be shown where pictures of the children cannot.
    """
    side = ZOOM * CROP_PX
    colours = _colours(np.clip(_enlarged(np.nan_to_num(mean), side) / max(most, 1e-12), 0, 1))
    picture: Image = np.ascontiguousarray(colours.round().astype(np.uint8))
    _mark(picture)
    return picture


def brightest(means: Sequence[NDArray[np.float64]]) -> float:
    """Return the value that several means are drawn brightest at: only a hundredth is above it."""
    known = [mean for mean in means if not np.isnan(mean).any()]
    return float(np.quantile(np.stack(known), 0.99)) if known else 1.0


def colour_bar(width: int = 256, height: int = 12) -> Image:
    """Return the colours from nothing to the brightest, RGB."""
    row = np.linspace(0, 1, width)
    return np.tile(_colours(row[None]).round().astype(np.uint8), (height, 1, 1))


def as_png(picture: Image) -> bytes:
    """Return an RGB picture as PNG."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))
    if not done:
        raise MoppetError("a picture could not be written as PNG.")
    return bytes(data.tobytes())


def _enlarged(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Enlarge without the squares of a patch's steps: smoothed by a few pixels, for the eye."""
    soft = cv2.GaussianBlur(values, (0, 0), _SOFT_PX)
    return np.asarray(cv2.resize(soft, (side, side), interpolation=cv2.INTER_LINEAR), np.float64)


def _colours(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (…, 3) RGB of values from 0 to 1: black to yellow, growing steadily in lightness."""
    levels = np.round(strength * 255).astype(np.uint8)
    coloured: Any = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    return np.asarray(coloured[:, :, ::-1], np.float64)


def _mark(picture: Image) -> None:
    def point(x: float, y: float) -> tuple[int, int]:
        return round((x + 0.5) * ZOOM), round((y + 0.5) * ZOOM)

    grey, white = (150, 150, 150), (255, 255, 255)
    for left, top, right, bottom in region_boxes().values():
        cv2.rectangle(picture, point(left, top), point(right, bottom), grey, 1, cv2.LINE_AA)
    axes = round(FACE_HALF_PX[0] * ZOOM), round(FACE_HALF_PX[1] * ZOOM)
    cv2.ellipse(picture, point(*FACE_CENTRE_PX), axes, 0, 0, 360, grey, 1, cv2.LINE_AA)
    left_eye, right_eye, nose, left_mouth, right_mouth = TEMPLATE_PX.astype(float).tolist()
    for eye in (left_eye, right_eye):
        cv2.circle(picture, point(*eye), 4 * ZOOM, white, 1, cv2.LINE_AA)
    cv2.circle(picture, point(*nose), ZOOM, white, 1, cv2.LINE_AA)
    cv2.line(picture, point(*left_mouth), point(*right_mouth), white, 1, cv2.LINE_AA)
    for corner in (left_mouth, right_mouth):
        cv2.circle(picture, point(*corner), ZOOM, white, 1, cv2.LINE_AA)
