"""Find hard cuts: frames whose image cannot have followed from the one before."""

from __future__ import annotations

import base64
from typing import Any, Final, Literal

import cv2
import numpy as np

from moppet.values import Floats, Image

LEAST_LIKENESS: Final = 0.75
"""Correlation with the previous frame below which a frame begins a new shot.

In a sample of close-ups of 200 people, it separates 98 in 100 pairs of people, and keeps every
camera motion of up to a seventh of the image's width a frame."""
SAME_FACE: Final = 0.95
"""Correlation of a face's place in two frames above which the face has stayed."""
FLASH_S: Final = 0.5
"""An image that returns within this time was interrupted by a flash or a fault, not by a cut."""

_WIDTH, _HEIGHT = 48, 36  # pixels of the thumbnails that are compared
_PATCH: Final = 24  # pixels of the side of a face's patch
_SHIFT: Final = (8, 6)  # pixels of motion, right or left and up or down, that are compensated
_BLANK: Final = 4.0  # standard deviation in gray levels below which an image shows nothing
_STEADY: Final = 4.0  # mean difference in gray levels below which nothing has changed
_BLACK: Final = 20  # gray level of the bars around a letterboxed image

Change = Literal["none", "cut", "return"]


class CutDetector:
    """Compares successive frames of a recording by small gray thumbnails.

    The measure is the largest normalized correlation over small shifts. It does not react to
    brightness, so fades and flashes are no cuts; blank images are passed over. A dissolve has no
    hard cut and is not found.
    """

    def __init__(self) -> None:
        self._shot: Image | None = None  # the newest thumbnail of the shot
        self._previous: Image | None = None  # the last thumbnail of the shot before
        self._cut_s = -np.inf

    def check(self, image: Image, time_s: float) -> Change:
        """Return whether this frame begins a new shot, or returns to the one before a flash.

        image: (height, width, 3), RGB, uint8. time_s must not decrease.
        """
        now = _thumbnail(image)
        if now.std() < _BLANK:
            return "none"
        change: Change = "none"
        if self._shot is not None and _differ(self._shot, now):
            returned = self._previous is not None and time_s - self._cut_s <= FLASH_S
            if returned and not _differ(self._previous, now):
                change, self._previous = "return", None
            else:
                change, self._previous, self._cut_s = "cut", self._shot, time_s
        self._shot = now
        return change

    def state(self) -> dict[str, Any]:
        """Return the state as JSON values, for `restore`."""
        return {
            "shot": _packed(self._shot),
            "previous": _packed(self._previous),
            "cut_s": None if np.isinf(self._cut_s) else self._cut_s,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._shot, self._previous = _unpacked(state["shot"]), _unpacked(state["previous"])
        self._cut_s = -np.inf if state["cut_s"] is None else float(state["cut_s"])


def face_patch(image: Image, box_px: Floats) -> Image:
    """Return what a box shows as a small gray patch, (24, 24) uint8, to tell whether it stays."""
    height, width = image.shape[:2]
    x, y, w, h = (float(value) for value in box_px)
    left, top = (int(np.clip(v, 0, most - 1)) for v, most in ((x, width), (y, height)))
    right = int(np.clip(x + w, left + 1, width))
    bottom = int(np.clip(y + h, top + 1, height))
    gray = cv2.cvtColor(np.ascontiguousarray(image[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_PATCH, _PATCH), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def is_same_face(before: Image, now: Image) -> bool:
    """Whether two patches of one place show the same face, hardly moved."""
    if before.std() < _BLANK or now.std() < _BLANK:
        return False
    likeness = cv2.matchTemplate(before, now[2:-2, 2:-2], cv2.TM_CCOEFF_NORMED).max()
    return bool(likeness >= SAME_FACE)


def _thumbnail(image: Image) -> Image:
    step = max(1, min(image.shape[0] // (4 * _HEIGHT), image.shape[1] // (4 * _WIDTH)))
    small = np.ascontiguousarray(image[::step, ::step])
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(gray, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _differ(before: Image | None, now: Image) -> bool:
    """Whether two thumbnails show different scenes, apart from black bars."""
    assert before is not None
    if np.abs(before.astype(np.int16) - now).mean() < _STEADY:
        return False
    seen = np.maximum(before, now) > _BLACK
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    size = (_WIDTH, _HEIGHT)
    whole = cv2.resize(before[inside], size)
    right, down = _SHIFT
    middle = cv2.resize(now[inside], size)[down:-down, right:-right]
    if whole.std() < _BLANK or middle.std() < _BLANK:
        return bool(whole.std() < _BLANK) != bool(middle.std() < _BLANK)
    likeness = cv2.matchTemplate(whole, middle, cv2.TM_CCOEFF_NORMED).max()
    return bool(likeness < LEAST_LIKENESS)


def pack(image: Image) -> str:
    """Return a small gray image as text, for `unpack`."""
    return base64.b64encode(image.tobytes()).decode()


def unpack(text: str, height: int = _PATCH) -> Image:
    """Return the image of this height that `pack` made a text of."""
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, -1).copy()


def _packed(thumbnail: Image | None) -> str | None:
    return None if thumbnail is None else pack(thumbnail)


def _unpacked(text: str | None) -> Image | None:
    return None if text is None else unpack(text, _HEIGHT)
