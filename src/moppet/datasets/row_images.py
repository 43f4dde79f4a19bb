"""Reads a row's image from an image file, a row of an .npz, or a frame of a video."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.files import read_arrays
from moppet.media import read_frames
from moppet.media.images import load_image
from moppet.values import Image, MediaError, MoppetError

ARRAY_KEY = "images"


def read_image(path: Path, array_row: int | None, time_s: float | None) -> Image:
    """Return a manifest row's image: (h, w, 3) RGB or (h, w) gray, uint8, upright.

    Raises MoppetError if it cannot be read.
    """
    if array_row is not None:
        return read_array_row(path, array_row)
    if time_s is not None:
        image = next(read_video_frames(path, np.array([time_s])))
        if image is None:
            raise MediaError(f"{path} cannot be read at {time_s:.3f} s: the frame is damaged.")
        return image
    still = load_image(path)
    if still is None:
        why = "it is damaged or not an image" if path.is_file() else "there is no such file"
        raise MoppetError(f"the image {path} cannot be read: {why}.")
    return still


def read_array_row(path: Path, row: int) -> Image:
    """Return row `row` of the array `images` of an .npz, or of its JPEG files one after another.

    Raises MoppetError if it is unreadable.
    """
    try:
        stamp = path.stat()
    except OSError as error:
        raise MoppetError(f"the images {path} cannot be read: {error.strerror}.") from None
    images = _images(path, stamp.st_mtime_ns, stamp.st_size)
    count = len(images.offset) - 1 if isinstance(images, _JpegImages) else len(images)
    if row >= count:
        raise MoppetError(f"{path} has {count} images, but row {row} was requested.")
    return images.image(row) if isinstance(images, _JpegImages) else np.asarray(images[row])


def read_video_frames(path: Path, times_s: NDArray[np.float64]) -> Iterator[Image | None]:
    """Yield the frame shown at each of these times, None if it is unreadable.

    times_s: sorted. A frame is shown from its timestamp (to the microsecond) to the next frame's;
    times before the first frame get the first. The video is read once, from its start.
    Raises MediaError if it cannot be read at all.
    """
    if not len(times_s):
        return
    wanted = iter(times_s + 1e-6)
    target = next(wanted)
    with contextlib.closing(read_frames(path)) as frames:
        shown = next(frames)
        for coming in frames:
            while target < coming.time_s:
                yield shown.image
                if (following := next(wanted, None)) is None:
                    return
                target = following
            shown = coming
    yield shown.image
    for _ in wanted:
        yield shown.image


def read_video_rows(
    path: Path, rows: Sequence[int], times_s: NDArray[np.float64]
) -> Iterator[tuple[int, Image | None]]:
    """Yield a manifest's rows of one video with their images, None if unreadable."""
    given = 0
    try:
        for image in read_video_frames(path, times_s):
            given += 1
            yield rows[given - 1], image
    except MoppetError:
        yield from ((row, None) for row in rows[given:])


class _JpegImages(NamedTuple):
    """Images as JPEG files one after another: the bytes, and (n + 1,) where each starts."""

    jpeg: NDArray[np.uint8]
    offset: NDArray[np.int64]

    def image(self, row: int) -> Image:
        data = self.jpeg[self.offset[row] : self.offset[row + 1]]
        found: Any = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if found is None:
            raise MoppetError(f"row {row} of the images is damaged or no JPEG.")
        return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)


@lru_cache(maxsize=2)
def _images(path: Path, stamp: int, size: int) -> NDArray[np.uint8] | _JpegImages:
    """Return the images of an .npz; cached until the file changes."""
    arrays = read_arrays(path, (), (ARRAY_KEY, "jpeg", "offset"))
    if ARRAY_KEY not in arrays and {"jpeg", "offset"} <= set(arrays):
        return _JpegImages(arrays["jpeg"], arrays["offset"])
    if ARRAY_KEY not in arrays:
        raise MoppetError(f"{path} lacks the arrays {ARRAY_KEY}.")
    images = arrays[ARRAY_KEY]
    gray = images.ndim == 3
    shaped = (gray or (images.ndim == 4 and images.shape[3] == 3)) and all(images.shape[1:])
    if images.dtype != np.uint8 or not shaped:
        raise MoppetError(
            f"{path}: {ARRAY_KEY!r} should be (n, h, w) or (n, h, w, 3) uint8, "
            f"but is {images.shape} {images.dtype}."
        )
    images.flags.writeable = False
    return np.asarray(images)
