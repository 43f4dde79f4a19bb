"""Where in a video a reader looks: one row every so many seconds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from moppet.media import probe, read_frames
from moppet.values import MediaError, UsageError


def frame_times(video: Path, every_s: float) -> list[float]:
    """Return the middles of a video's stretches of `every_s` seconds; its own middle if shorter.

    A video that cannot be read is looked at once, at 0, so that the audit finds it.
    Raises UsageError unless every_s is a number above 0.
    """
    if not (math.isfinite(every_s) and every_s > 0):
        raise UsageError(f"every_s must be a number of seconds above 0, not {every_s!r}.")
    try:
        duration_s = probe(video).duration_s
        if math.isnan(duration_s):
            duration_s = max(frame.time_s for frame in read_frames(video))
    except MediaError:
        return [0.0]
    times = np.arange(every_s / 2, duration_s, every_s)
    return [round(float(t), 3) for t in times] or [round(duration_s / 2, 3)]
