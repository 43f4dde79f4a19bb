"""A picture or a folder of pictures → its files, and what is in them."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from moppet.media.orientation import is_webp, turn_upright, webp_orientation
from moppet.media.sources import PICTURE_SUFFIXES, inside
from moppet.media.video import why_not
from moppet.values import Image, MediaError


def pictures_of(path: Path) -> list[Path] | None:
    """Return the pictures that a path stands for, None for a video; MediaError for nothing."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            if pictures := inside(path, PICTURE_SUFFIXES):
                return pictures
            raise MediaError(
                f"the folder {path} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}): "
                "name a video file, or a folder with pictures."
            )
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise MediaError(f"there is no file or folder {path}: check its name.") from error
    except (OSError, ValueError) as error:
        raise MediaError(why_not(path, error)) from error
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes): copy it again.")
    return [path] if path.suffix.lower() in PICTURE_SUFFIXES else None


def load_picture(path: Path) -> Image | None:
    """Return a still picture, upright by its EXIF; None if it is damaged or cut short."""
    try:
        data = path.read_bytes()
        webp = is_webp(data)
        flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if webp else 0)
        # Not imread: it fills up a JPEG that is cut short in grey.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (OSError, ValueError, cv2.error):  # ValueError: a name that no file can have
        return None
    if image is None or image.dtype != np.uint8:
        return None
    picture = cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return turn_upright(picture, webp_orientation(data)) if webp else picture
