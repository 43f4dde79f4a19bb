"""The EXIF orientation of a WebP picture, which OpenCV leaves to its caller."""

from __future__ import annotations

import struct

import numpy as np

from moppet.values import Image

_ORIENTATION_TAG = 0x0112


def is_webp(data: bytes) -> bool:
    """Whether a file's bytes are those of a WebP picture."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def webp_orientation(data: bytes) -> int:
    """Return how a WebP picture lies, 1 to 8 as EXIF counts; 1, upright, where it does not say."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            return _orientation(data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0"))
        at += 8 + size + size % 2
    return 1


def turn_upright(image: Image, orientation: int) -> Image:
    """Return a picture that lies as EXIF counts (1 to 8) upright."""
    if orientation >= 5:
        image = np.swapaxes(image, 0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _orientation(tiff: bytes) -> int:
    """Read the tag of a TIFF header's first directory (TIFF 6.0, section 2)."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        start = struct.unpack_from(f"{order or '<'}I", tiff, 4)[0]
        entries = struct.unpack_from(f"{order or '<'}H", tiff, start)[0] if order else 0
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # cut short
        pass
    return 1
