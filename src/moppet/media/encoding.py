"""Writes videos: H.264 with exact time stamps, in parts that are joined without encoding again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av

from moppet.files import replacing
from moppet.values import Image, MediaError, MoppetError

_OPTIONS: Final = {"preset": "fast", "bf": "0", "threads": "1"}
"""Without B-frames, frames are in the order of their times."""


def write_frames(
    path: Path, frames: Iterable[tuple[int, Image]], ticks: int, *, crf: int = 16
) -> int:
    """Write frames as a part of a video (.nut), beginning with a key frame; return their number.

    frames: times in ticks, increasing, with images (height, width, 3), RGB, uint8, of one even
        size. ticks: of a second. crf: constant rate factor of H.264, 0 lossless to 51 worst.
    Raises MoppetError if the file cannot be written.
    """
    base, count = Fraction(1, ticks), 0
    with (
        replacing(path, MoppetError, (av.error.FFmpegError,)) as part,
        av.open(str(part), "w", format="nut") as container,
    ):
        stream: Any = container.add_stream(
            "libx264", rate=25, options={**_OPTIONS, "crf": str(crf)}
        )
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", base
        for tick, image in frames:
            if count == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = tick, base
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count


def join_videos(parts: Sequence[Path], path: Path, ticks: int, sound: Path | None = None) -> Path:
    """Join parts of `write_frames` to one video (.mp4), with their times; return its path.

    sound: a recording whose first track of sound is added, as AAC, if it has one.
    Raises MediaError for a part that cannot be read, MoppetError if the video cannot be written.
    """
    base = Fraction(1, ticks)
    with replacing(path, MoppetError, (av.error.FFmpegError,)) as file:
        options = {"movflags": "+faststart", "video_track_timescale": str(ticks)}
        with av.open(str(file), "w", format="mp4", options=options) as container:
            stream: Any = None
            for part in parts:
                try:
                    source = av.open(f"file:{part}")
                except (av.error.FFmpegError, OSError):
                    raise MediaError(f"{part} is damaged: remove it, and rerun.") from None
                with source:
                    video = source.streams.video[0]
                    if stream is None:
                        stream = container.add_stream_from_template(video)
                        stream.time_base = base
                        add_sound = _sound_adder(container, sound)
                    for packet in source.demux(video):
                        if packet.size:
                            packet.stream = stream
                            container.mux(packet)
            if stream is not None:
                add_sound()
    return path


def _sound_adder(container: Any, sound: Path | None) -> Callable[[], None]:
    """Add a stream for the sound of a recording; return what then encodes it, at its own times."""
    if sound is None:
        return lambda: None
    with av.open(f"file:{sound}") as probe:
        if not probe.streams.audio:
            return lambda: None
        rate = probe.streams.audio[0].rate or 48_000
    stream: Any = container.add_stream("aac", rate=rate)

    def add() -> None:
        with av.open(f"file:{sound}") as source:
            start_s = (source.start_time or 0) / av.time_base
            for frame in source.decode(source.streams.audio[0]):
                if frame.pts is not None and frame.time_base:
                    late = round(start_s / frame.time_base)
                    frame.pts = frame.pts - late
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    return add
