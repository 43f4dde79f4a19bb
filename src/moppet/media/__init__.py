"""Read videos, images, folders of images and cameras as `Frame`s with exact time stamps.

Time. 0 is the start of the container, as in a player: a video stream that begins half a second
after the sound begins at 0.5. The `time_s` of a frame is its presentation time relative to that
start; it increases strictly (see `clock.py` for damaged stamps). In a folder of images, image i is
at i seconds. A camera counts from its first image.

Frames. Every packet that should contain an image yields one frame, in presentation order: the
image, or `unreadable` if the decoder rejects, drops or flags it. A run of packets missing from
the file yields one `unreadable` frame. Images that the decoder repairs count as images.

Images are 8-bit RGB, upright (rotated and mirrored according to the file), with square pixels and
without alpha.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

from moppet.media.camera import camera_frames, probe_camera
from moppet.media.clock import ClockReport, StrictClock, clock_notes
from moppet.media.images import image_note, images_of, load_image
from moppet.media.sources import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    FoundRecording,
    FrameSource,
    MediaInfo,
    camera_number,
    find_recordings,
    printable_name,
    recording_sha256,
    skipped_files,
)
from moppet.media.video import probe_video, video_frames
from moppet.values import Frame, MediaError, UsageError

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "ClockReport",
    "FoundRecording",
    "FrameReader",
    "MediaInfo",
    "StrictClock",
    "clock_notes",
    "find_recordings",
    "image_note",
    "probe",
    "read_frames",
    "recording_sha256",
    "skipped_files",
]


def probe(source: str | Path) -> MediaInfo:
    """Return the properties of a recording, read up to its first readable image.

    Raises MediaError if no image can be read.
    """
    number = camera_number(source)
    if number is not None:
        return probe_camera(number)
    path = Path(source)
    with contextlib.closing(read_frames(path)) as frames:
        height, width = next(frame.image.shape[:2] for frame in frames if frame.image is not None)
    images = images_of(path)
    if images is None:
        return probe_video(path, width, height)
    codec = images[0].suffix.lower().lstrip(".")
    count = len(images)
    rate, span_s = (1.0, float(count)) if path.is_dir() else (math.nan, math.nan)
    files = tuple(map(printable_name, images))
    name = printable_name(path)
    return MediaInfo(path, name, "images", width, height, span_s, count, codec, rate, files)


class FrameReader(Iterator[Frame]):
    """The frames of a recording, in presentation order, and what was assumed about its clock.

    Close it to free the decoder.
    """

    def __init__(
        self, source: str | Path, every: int, first_s: float, last_s: float, threads: int | None
    ) -> None:
        self.clock = ClockReport()
        """What was assumed about the time stamps of the frames read so far."""
        self._source, self._every = source, every
        self._first_s, self._last_s = first_s, last_s
        self._frames = self._window(threads)

    def __next__(self) -> Frame:
        return next(self._frames)

    def close(self) -> None:
        """Free the decoder and its file."""
        self._frames.close()

    def _window(self, threads: int | None) -> Generator[Frame, None, None]:
        readable = False
        with contextlib.closing(_frames(self._source, threads, self.clock)) as frames:
            for index, (time_s, decode) in enumerate(frames):
                if time_s >= self._last_s:
                    return
                skip = time_s < self._first_s or index % self._every > 0
                image = None if skip or decode is None else decode()
                readable = readable or image is not None or (skip and decode is not None)
                if time_s < self._first_s:
                    continue
                if skip and decode is not None:
                    yield Frame(index, time_s, None, "skipped")
                else:
                    yield Frame(index, time_s, image, "unreadable" if image is None else "ok")
        if not readable:
            raise MediaError(
                f"{self._source} contains no image that can be decoded: it is damaged."
            )


def read_frames(
    source: str | Path,
    *,
    every: int = 1,
    start_s: float | None = None,
    end_s: float | None = None,
    threads: int | None = None,
) -> FrameReader:
    """Return an iterator over a recording's frames; close it to free the decoder.

    every: frames whose index is not a multiple of it are `skipped` and have no image.
    start_s, end_s: yield only frames with start_s ≤ time_s < end_s; the index still counts from
        the start of the recording.
    threads: number of CPU threads for decoding; None lets FFmpeg choose.
    Raises UsageError for an invalid argument; MediaError, while reading, if no image is readable.
    """
    if every < 1:
        raise UsageError(f"every must be at least 1, not {every}.")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}.")
    first_s = -math.inf if start_s is None else start_s
    last_s = math.inf if end_s is None else end_s
    if not first_s < last_s:
        raise UsageError(f"the end ({last_s} s) must be after the start ({first_s} s).")
    return FrameReader(source, every, first_s, last_s, threads)


def _frames(source: str | Path, threads: int | None, report: ClockReport) -> FrameSource:
    number = camera_number(source)
    if number is not None:
        return camera_frames(number)
    path = Path(source)
    images = images_of(path)
    if images is None:
        return video_frames(path, threads, report)
    return ((float(i), partial(load_image, p)) for i, p in enumerate(images))
