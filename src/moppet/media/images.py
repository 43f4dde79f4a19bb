"""Find images and folders of images, and read images upright."""

from __future__ import annotations

import stat
import struct
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from moppet.media.sources import IMAGE_SUFFIXES, media_files
from moppet.media.video import unreadable_reason
from moppet.values import Image, MediaError

_ORIENTATION_TAG = 0x0112


def is_webp(data: bytes) -> bool:
    """Whether the bytes are those of a WebP file."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def webp_orientation(data: bytes) -> int:
    """Return the EXIF orientation of a WebP image, 1 to 8; 1 (upright) if unspecified."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            return _orientation(data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0"))
        at += 8 + size + size % 2
    return 1


def turn_upright(image: Image, orientation: int) -> Image:
    """Return an image with this EXIF orientation (1 to 8) turned upright."""
    if orientation >= 5:
        image = np.swapaxes(image, 0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _orientation(tiff: bytes) -> int:
    """Read the orientation tag in a TIFF header's first directory (TIFF 6.0, section 2)."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        start = struct.unpack_from(f"{order or '<'}I", tiff, 4)[0]
        entries = struct.unpack_from(f"{order or '<'}H", tiff, start)[0] if order else 0
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # truncated
        pass
    return 1


def images_of(path: Path) -> list[Path] | None:
    """Return the images at a path, None for a video; MediaError if there are none."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            if images := media_files(path, IMAGE_SUFFIXES):
                return images
            raise MediaError(
                f"the folder {path} contains no images ({', '.join(sorted(IMAGE_SUFFIXES))}): "
                "choose a video file, or a folder with images."
            )
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise MediaError(f"there is no file or folder {path}: check its name.") from error
    except (OSError, ValueError) as error:
        raise MediaError(unreadable_reason(path, error)) from error
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes): copy it again.")
    return [path] if path.suffix.lower() in IMAGE_SUFFIXES else None


def load_image(path: Path) -> Image | None:
    """Return an image, turned upright by its EXIF tag; None if it is damaged or truncated."""
    try:
        data = path.read_bytes()
        webp = is_webp(data)
        flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if webp else 0)
        # Not imread, which fills the missing part of a truncated JPEG with gray.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (OSError, ValueError, cv2.error):  # ValueError: invalid file name
        return None
    if image is None or image.dtype != np.uint8:
        return None
    photo = cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return turn_upright(photo, webp_orientation(data)) if webp else photo
