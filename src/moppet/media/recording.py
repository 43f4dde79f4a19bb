"""What every kind of recording gives: facts about itself, and shots."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moppet.values import Image

# A time and what makes the image of it, if somebody wants it; None: known to be unreadable.
Shots = Generator[tuple[float, Callable[[], Image | None] | None], None, None]


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a recording says of itself.

    width, height: pixels, upright, as `read_frames` gives them.
    duration_s, fps: NaN if unknown; fps is the average, for information only.
    frame_count: an estimate where the container keeps no count; None if unknown.
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
