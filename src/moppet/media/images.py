"""Images and folders of images: which files they are, and reading them upright."""

from __future__ import annotations

import stat
import struct
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from moppet.media.sources import IMAGE_SUFFIXES, inside
from moppet.media.video import why_not
from moppet.values import Image, MediaError

_ORIENTATION_TAG = 0x0112


def is_webp(data: bytes) -> bool:
    """Whether a file's bytes are those of a WebP image."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def webp_orientation(data: bytes) -> int:
    """Return how a WebP image lies, 1 to 8 as EXIF counts; 1, upright, where it does not say."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            return _orientation(data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0"))
        at += 8 + size + size % 2
    return 1


def turn_upright(image: Image, orientation: int) -> Image:
    """Return an image that lies as EXIF counts (1 to 8) upright."""
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


def images_of(path: Path) -> list[Path] | None:
    """Return the images that a path stands for, None for a video; MediaError for nothing."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            if pictures := inside(path, IMAGE_SUFFIXES):
                return pictures
            raise MediaError(
                f"the folder {path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): "
                "name a video file, or a folder with images."
            )
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise MediaError(f"there is no file or folder {path}: check its name.") from error
    except (OSError, ValueError) as error:
        raise MediaError(why_not(path, error)) from error
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes): copy it again.")
    return [path] if path.suffix.lower() in IMAGE_SUFFIXES else None


def load_image(path: Path) -> Image | None:
    """Return a still image, upright by its EXIF; None if it is damaged or cut short."""
    try:
        data = path.read_bytes()
        webp = is_webp(data)
        flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if webp else 0)
        # Not imread: it fills up a JPEG that is cut short in gray.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (OSError, ValueError, cv2.error):  # ValueError: a name that no file can have
        return None
    if image is None or image.dtype != np.uint8:
        return None
    photo = cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return turn_upright(photo, webp_orientation(data)) if webp else photo
