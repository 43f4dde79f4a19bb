"""Find images and folders of images, and read images upright, at a bounded size."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import cv2
import numpy as np

from moppet.files import read_bytes
from moppet.media.sources import IMAGE_SUFFIXES, media_files
from moppet.media.video import unreadable_reason
from moppet.values import Image, MediaError

MOST_PIXELS: Final = 64_000_000
"""Larger JPEG images are read at a half, a quarter or an eighth; other large images are refused."""

_ORIENTATION_TAG: Final = 0x0112
_XMP_ORIENTATION: Final = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_HEIF: Final = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_AVIF: Final = (b"avif", b"avis")
_REDUCED: Final = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def image_format(head: bytes) -> str | None:
    """Return the format of an image file by its first bytes; None if they are of no image."""
    if head[4:8] == b"ftyp":
        return {**dict.fromkeys(_HEIF, "heif"), **dict.fromkeys(_AVIF, "avif")}.get(head[8:12])
    if head[:4] == b"RIFF":
        return "webp" if head[8:12] == b"WEBP" else None
    signs = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"BM": "bmp", b"II*\0": "tiff"}
    signs[b"MM\0*"] = "tiff"
    return next((name for sign, name in signs.items() if head.startswith(sign)), None)


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return the width and height in pixels that the header gives; None if it gives none.

    HEIF and AVIF images have no header of this kind.
    """
    kind = image_format(data[:16])
    try:
        if kind == "png":
            return struct.unpack_from(">II", data, 16)
        if kind == "bmp":
            width, height = struct.unpack_from("<ii", data, 18)
            return width, abs(height)
        if kind == "webp" and len(data) >= 30:
            return _webp_size(data)
        if kind == "jpeg":
            return _jpeg_size(data)
        if kind == "tiff":
            tags = tiff_tags(data)
            return tags[0x100], tags[0x101]
    except (struct.error, KeyError):  # truncated
        pass
    return None


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", data, at + 2)[0] if marker != 0xFF else 1
    return None


def tiff_tags(data: bytes) -> dict[int, int]:
    """Return the whole numbers in a TIFF file's first directory, and under 0 where it ends.

    The end is the offset of the next directory, 0 if there is none (TIFF 6.0, section 2).
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    found: dict[int, int] = {}
    if order is None:
        return found
    with contextlib.suppress(struct.error):  # truncated
        start = struct.unpack_from(f"{order}I", data, 4)[0]
        entries = struct.unpack_from(f"{order}H", data, start)[0]
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            code = {3: "H", 4: "I"}.get(kind)
            if code:
                found[tag] = struct.unpack_from(f"{order}{code}", data, entry + 8)[0]
        found[0] = struct.unpack_from(f"{order}I", data, start + 2 + 12 * entries)[0]
    return found


def _orientation(data: bytes) -> int:
    """Return the orientation of an image by its EXIF, 1 to 8; by its XMP if it has no EXIF."""
    kind = image_format(data[:16])
    tiff = b""
    if kind == "webp":
        tiff = _riff_chunk(data, b"EXIF").removeprefix(b"Exif\0\0")
    elif kind == "jpeg" and (at := data.find(b"Exif\0\0", 0, 1 << 20)) >= 0:
        tiff = data[at + 6 : at + (1 << 16)]
    elif kind == "png":
        at = data.find(b"eXIf")
        tiff = data[at + 4 : at + (1 << 16)] if at >= 0 else b""
    elif kind == "tiff":
        tiff = data
    value = tiff_tags(tiff).get(_ORIENTATION_TAG)
    if value is None and (match := _XMP_ORIENTATION.search(data, 0, 1 << 20)):
        value = int(match[1])
    return value if value is not None and 1 <= value <= 8 else 1


def _riff_chunk(data: bytes, name: bytes) -> bytes:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == name:
            return data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return b""


def turn_upright(image: Image, orientation: int) -> Image:
    """Return an image with this EXIF orientation (1 to 8) turned upright."""
    if orientation >= 5:
        image = np.swapaxes(image, 0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def images_of(path: Path) -> list[Path] | None:
    """Return the images at a path, None for a video; MediaError if there is nothing to read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return _folder_images(path)
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(
                f"{path} is a pipe, a socket or a device, not a file: save the recording to a file."
            )
        with path.open("rb") as file:
            kind = image_format(file.read(16))
    except FileNotFoundError as error:
        raise MediaError(f"there is no file or folder {path}: check its name.") from error
    except (OSError, ValueError) as error:
        raise MediaError(unreadable_reason(path, error)) from error
    if status.st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes): copy it again.")
    if kind is None and path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    if reason := refusal(path):
        raise MediaError(reason)
    return [path]


def _folder_images(path: Path) -> list[Path]:
    images = media_files(path, IMAGE_SUFFIXES)
    if not images:
        raise MediaError(
            f"the folder {path} contains no images ({', '.join(sorted(IMAGE_SUFFIXES))}): "
            "choose a video file, or a folder with images."
        )
    apple = [image for image in images if image.suffix.lower() in (".heic", ".heif")]
    if apple and not _has_heif():
        raise MediaError(f"the folder {path} contains {len(apple)} HEIC images. {_HEIF_REMEDY}")
    return images


_HEIF_REMEDY: Final = (
    "Install their reader with: pip install 'moppet[heif]', or convert them to JPEG."
)


def _has_heif() -> bool:
    return importlib.util.find_spec("pillow_heif") is not None


def refusal(path: Path) -> str | None:
    """Return why an image is not read, as one sentence; None if it may be read."""
    try:
        data = read_bytes(path, "image", MediaError)
    except MediaError:
        return None  # told when it is read
    kind, size = image_format(data[:16]), image_size(data)
    if kind == "heif" and not _has_heif():
        return f"{path} is a HEIC image. {_HEIF_REMEDY}"
    if size is not None and _scale(kind, size) is None:
        return (
            f"{path} has {size[0]} x {size[1]} pixels, at most {MOST_PIXELS // 10**6} million are "
            "read: make it smaller."
        )
    return None


def image_note(path: Path) -> str | None:
    """Return what of an image is not read as it is, as one sentence; None if all is.

    None for a video or a folder.
    """
    if path.is_dir():
        return None
    with path.open("rb") as file:
        data = file.read(16)
        if image_format(data) is None:  # a video, of any size
            return None
        data += file.read()
    kind, size = image_format(data[:16]), image_size(data)
    if (kind == "png" and b"acTL" in data[:4096]) or (
        kind == "webp" and _riff_chunk(data, b"ANIM")
    ):
        return "only the first image of the animation is read: convert it to a video to read all."
    if kind == "tiff" and tiff_tags(data).get(0):
        return "only the first page is read: save the pages as files to read all."
    scale = None if size is None else _scale(kind, size)
    return None if scale in (None, 1) else f"it is read at 1/{scale} of its size."


def _scale(kind: str | None, size: tuple[int, int]) -> int | None:
    """Return the divisor of the size at which an image is read, None if it is too large."""
    for divisor in (1, 2, 4, 8) if kind == "jpeg" else (1,):
        if size[0] * size[1] <= MOST_PIXELS * divisor**2:
            return divisor
    return None


_STDERR_LOCK: Final = threading.Lock()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the warnings of the image libraries, which they write themselves, off the terminal."""
    with _STDERR_LOCK, open(os.devnull, "wb") as nothing:
        try:
            kept = os.dup(2)
        except OSError:  # a program without a terminal
            yield
            return
        try:
            os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def load_image(path: Path) -> Image | None:
    """Return an image, turned upright by its EXIF or XMP; None if it is damaged or too large."""
    try:
        data = read_bytes(path, "image", MediaError)
        kind, size = image_format(data[:16]), image_size(data)
        scale = 1 if size is None else _scale(kind, size)
        if scale is None:
            return None
        if kind == "heif":
            return _load_heif(path)
        flags = _REDUCED[scale] | (0 if kind == "avif" else cv2.IMREAD_IGNORE_ORIENTATION)
        with _quiet():
            # Not imread, which fills the missing part of a truncated JPEG with gray.
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (MediaError, OSError, cv2.error):
        return None
    if image is None or image.dtype != np.uint8:
        return None
    photo = cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return photo if kind == "avif" else turn_upright(photo, _orientation(data))


def _load_heif(path: Path) -> Image | None:
    """Return a HEIC image, whole and upright; None if it is damaged or cannot be read here."""
    try:
        import pillow_heif
    except ImportError:
        return None
    try:
        opened: Any = pillow_heif.open_heif(path, convert_hdr_to_8bit=True)
        if opened.size[0] * opened.size[1] > MOST_PIXELS:
            return None
        pixels = np.asarray(opened.to_pillow().convert("RGB"), np.uint8)
    except Exception:  # the reader raises many kinds
        return None
    return np.ascontiguousarray(pixels)
