"""Any video, image, folder of images or camera → `Frame`s with true time stamps.

Time. 0 is the start of the container, as in a player: a video that begins half a second after
its sound begins at 0.5. A frame's `time_s` is its presentation stamp times the time base, minus
that start; it grows strictly (see `StrictClock`). A folder of images has no clock: image i
stands at i seconds. A camera counts from its first image.

Rows. Every packet that promises an image gives one frame, in order of presentation: the image,
or `unreadable` when the decoder refuses, drops or flags it. A run of packets that the file no
longer holds (it was cut short) gives one `unreadable` frame. What a decoder conceals counts as a
image, as it does in a player.

Images are 8-bit RGB, upright (rotated and mirrored as the file asks), with square pixels; alpha
is dropped.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator
from functools import partial
from pathlib import Path

from moppet.media.camera import camera_number, camera_shots, probe_camera
from moppet.media.clock import StrictClock
from moppet.media.images import images_of, load_image
from moppet.media.recording import MediaInfo, Shots
from moppet.media.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, expand_sources, recording_sha256
from moppet.media.video import probe_video, video_shots
from moppet.values import Frame, MediaError, UsageError

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "MediaInfo",
    "StrictClock",
    "expand_sources",
    "probe",
    "read_frames",
    "recording_sha256",
]


def probe(source: str | Path) -> MediaInfo:
    """Return what is known of a recording after its first readable image.

    Raises MediaError if nothing in it can be read.
    """
    number = camera_number(source)
    if number is not None:
        return probe_camera(number)
    path = Path(source)
    with contextlib.closing(read_frames(path)) as frames:
        height, width = next(frame.image.shape[:2] for frame in frames if frame.image is not None)
    pictures = images_of(path)
    if pictures is None:
        return probe_video(path, width, height)
    codec = pictures[0].suffix.lower().lstrip(".")
    count = len(pictures)
    rate, span_s = (1.0, float(count)) if path.is_dir() else (math.nan, math.nan)
    return MediaInfo(path, path.name, "images", width, height, span_s, count, codec, rate)


def read_frames(
    source: str | Path,
    *,
    every: int = 1,
    start_s: float | None = None,
    end_s: float | None = None,
    threads: int | None = None,
) -> Generator[Frame, None, None]:
    """Yield a recording's frames in order of presentation; closing it frees everything.

    every: frames whose index is no multiple of it come as `skipped`, without an image.
    start_s, end_s: only frames with start_s ≤ time_s < end_s come; their index still counts
        from the start of the recording.
    threads: CPU threads to decode with; None leaves it to FFmpeg.
    Raises UsageError for a wrong argument; MediaError, on the way, if there is nothing to read.
    """
    if every < 1:
        raise UsageError(f"every must be at least 1, not {every}.")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}.")
    first_s = -math.inf if start_s is None else start_s
    last_s = math.inf if end_s is None else end_s
    if not first_s < last_s:
        raise UsageError(f"the end ({last_s} s) must lie after the start ({first_s} s).")
    return _window(source, every, first_s, last_s, threads)


def _window(
    source: str | Path, every: int, first_s: float, last_s: float, threads: int | None
) -> Generator[Frame, None, None]:
    readable = False
    with contextlib.closing(_shots(source, threads)) as shots:
        for index, (time_s, develop) in enumerate(shots):
            if time_s >= last_s:
                return
            skip = time_s < first_s or index % every > 0
            image = None if skip or develop is None else develop()
            readable = readable or image is not None or (skip and develop is not None)
            if time_s < first_s:
                continue
            if skip and develop is not None:
                yield Frame(index, time_s, None, "skipped")
            else:
                yield Frame(index, time_s, image, "unreadable" if image is None else "ok")
    if not readable:
        raise MediaError(f"{source} holds no image that can be decoded: it is damaged.")


def _shots(source: str | Path, threads: int | None) -> Shots:
    number = camera_number(source)
    if number is not None:
        return camera_shots(number)
    path = Path(source)
    pictures = images_of(path)
    if pictures is None:
        return video_shots(path, threads)
    return ((float(i), partial(load_image, p)) for i, p in enumerate(pictures))
