"""A message of the live page: when the picture was taken, and the picture, never kept."""

from __future__ import annotations

import math
import struct
from typing import Final

import cv2
import numpy as np

from moppet.values import Image, MediaError

LARGEST_MESSAGE: Final = 2_000_000
"""Bytes of one picture and its time."""
LARGEST_PX: Final = 1920
"""Longest side; checked before the picture is unpacked, so that a small file cannot fill memory."""
_TIME: Final = struct.Struct("<d")
_SIZES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG behind which its size stands (ITU T.81, table B.1)."""


def read_message(message: bytes) -> tuple[float, Image]:
    """Return the seconds and the picture (height, width, 3), RGB, uint8, of a message.

    message: a little-endian float64, seconds on the sender's clock, and a JPEG behind it.
    Raises MediaError, in one sentence, for anything else.
    """
    if len(message) > LARGEST_MESSAGE:
        raise MediaError(f"A picture may have {LARGEST_MESSAGE:,} bytes at most.")
    data = message[_TIME.size :]
    if not data.startswith(b"\xff\xd8"):
        raise MediaError("A time (8 bytes) and a JPEG picture were needed.")
    (time_s,) = _TIME.unpack_from(message)
    if not math.isfinite(time_s) or not 0 <= time_s < 1e9:
        raise MediaError("The picture's time must be seconds from 0 up.")
    width, height = _size_px(data)
    if min(width, height) < 1 or max(width, height) > LARGEST_PX:
        raise MediaError(f"A picture needs a size, of {LARGEST_PX} pixels a side at most.")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise MediaError("The picture is damaged.")
    return time_s, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _size_px(data: bytes) -> tuple[int, int]:
    """Return a JPEG's width and height as its header has them; (0, 0) if it has none."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if length < 2:
            break
        at += 2 + length
    return 0, 0
