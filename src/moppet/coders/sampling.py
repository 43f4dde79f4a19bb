"""A blind sample of a timeline for human coders: segments without the model's word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moppet.coders.codings import Code, Coding, Lane
from moppet.coders.programs import write_program
from moppet.timeline import Timeline
from moppet.timeline.durations import frame_times
from moppet.values import UsageError

SEGMENTS = "segments to code"
CODES = "codes"


class Segment(NamedTuple):
    """A part of a recording to code, in seconds. number: from 1, in the order of time."""

    number: int
    start_s: float
    end_s: float


def read_share(text: str) -> float:
    """Return a share from "20%", "20 %" or "0.2"; UsageError if it is not in (0, 1]."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*(%?)\s*", text)
    try:
        share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UsageError(f"--sample takes a share such as 20% or 0.2, got {text!r}.")
    return share


def draw_segments(
    timeline: Timeline, share: float, segment_s: float, rng: np.random.Generator
) -> list[Segment]:
    """Return segments drawn at random without regard to what the model read, in order of time.

    share: of the analyzed time, rounded up to whole segments of segment_s seconds that do not
    overlap. A recording shorter than a segment is one segment. Raises UsageError for photos, or a
    segment_s of 0 or less.
    """
    if timeline.photos:
        raise UsageError("a set of photos has no time to draw segments from.")
    if not 0 < segment_s < 1e6:
        raise UsageError(f"--segment needs a number of seconds above 0, got {segment_s}.")
    times = frame_times(timeline.table, timeline.settings)
    start_s = float(times.time_s.min())
    end_s = float((times.time_s + np.nan_to_num(times.seconds)).max())
    number = max(1, int((end_s - start_s) / segment_s + 1e-9))
    wanted = min(number, max(1, int(np.ceil(share * (end_s - start_s) / segment_s - 1e-9))))
    chosen = np.sort(rng.choice(number, wanted, replace=False)).tolist()
    found = []
    for count, place in enumerate(chosen, start=1):
        first_s = start_s + place * segment_s
        found.append(Segment(count, first_s, min(first_s + segment_s, end_s)))
    return found


def write_sample(
    timeline: Timeline, segments: list[Segment], folder: Path, stem: str, program: str
) -> list[Path]:
    """Write a file for a coder's program with the segments and an empty lane for the codes.

    It holds nothing that the model read, nor whom it found. Return the paths.
    """
    metadata: Any = timeline.metadata
    codes = tuple(Code(s.start_s, s.end_s, f"segment {s.number}") for s in segments)
    coding = Coding(
        (Lane(SEGMENTS, codes), Lane(CODES, ())),
        source_name=metadata.get("source_name"),
        duration_s=metadata.get("duration_s"),
    )
    return write_program(coding, folder, stem, program)
