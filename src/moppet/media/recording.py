"""Types shared by all kinds of recordings."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moppet.values import Image

# The time of each frame and a function that decodes its image (None if unreadable).
FrameSource = Generator[tuple[float, Callable[[], Image | None] | None], None, None]


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """The properties of a recording.

    width, height: size in pixels of the upright images that `read_frames` yields.
    duration_s, fps: NaN if unknown; fps is the average, for information only.
    files: the names of a folder's images, in the order of the frames.
    frame_count: estimated if the container does not store it; None if unknown.
    """

    path: Path | None
    name: str
    kind: Literal["video", "images", "camera"]
    width: int
    height: int
    duration_s: float
    frame_count: int | None
    codec: str
    fps: float
    files: tuple[str, ...] = ()


def printable_name(path: Path) -> str:
    """Return a file's name as text; bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(path.name).decode("utf-8", "replace")
