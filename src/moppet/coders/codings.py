"""Codings: lanes of labeled time segments, as coders write them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from moppet.values import TimelineError


class Code(NamedTuple):
    """A label from start_s to end_s, in seconds of the recording; a point if they are equal."""

    start_s: float
    end_s: float
    label: str

    @property
    def is_point(self) -> bool:
        """Whether the code has no length."""
        return self.end_s <= self.start_s


@dataclass(frozen=True)
class Lane:
    """One series of codes: a tier, a column, or the behaviors of a subject.

    name: what was coded. codes: sorted by start, then end, when a lane is made.
    person: who was coded; "" if unspecified.
    part: name of an additional value of the same segments; "" for the only or main value.
    observation: the observation of a BORIS file that the lane belongs to.
    """

    name: str
    codes: tuple[Code, ...]
    person: str = ""
    part: str = ""
    observation: str = ""

    def __post_init__(self) -> None:
        ordered = sorted(self.codes, key=lambda code: code[:2])
        object.__setattr__(self, "codes", tuple(ordered))

    @property
    def title(self) -> str:
        """The name of the tier or column: person, name and part."""
        return " ".join(word for word in (self.person, self.name, self.part) if word)

    @property
    def labels(self) -> list[str]:
        """The distinct labels, in order of first use."""
        return list(dict.fromkeys(code.label for code in self.codes))


@dataclass(frozen=True)
class Coding:
    """The lanes of one file.

    source_name: the recording's file name, without a folder. duration_s, fps: of the recording.
    made_at: time of writing, ISO 8601; not set by moppet's readers.
    faults: observation of a BORIS file that cannot be read → reason; it has no lanes.
    """

    lanes: tuple[Lane, ...]
    source_name: str | None = None
    duration_s: float | None = None
    fps: float | None = None
    made_at: str = "1970-01-01T00:00:00Z"
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def recording(self) -> str:
        """The recording's name, or "recording" if unspecified."""
        return self.source_name or "recording"

    @property
    def end_s(self) -> float:
        """The recording's length, or the end of the last code if that is later."""
        ends = [code.end_s for lane in self.lanes for code in lane.codes]
        return max([self.duration_s or 0.0, *ends])


def shifted(coding: Coding, seconds: float) -> Coding:
    """Return the coding with every time shifted by `seconds`."""
    lanes = []
    for lane in coding.lanes:
        moved = (Code(c.start_s + seconds, c.end_s + seconds, c.label) for c in lane.codes)
        lanes.append(replace(lane, codes=tuple(moved)))
    return replace(coding, lanes=tuple(lanes))


def decoded(data: bytes, other: str) -> str:
    """Return the text of a file in UTF-8, or else in the other encoding."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(other, errors="replace")


def milliseconds(seconds: float) -> int:
    """Return the nearest whole millisecond. Raises TimelineError if negative or not finite."""
    if not math.isfinite(seconds) or seconds < -0.0005:
        raise TimelineError(
            f"Times in coders' files start at 0 seconds, but a code starts or ends at {seconds}."
        )
    return max(0, round(seconds * 1000))


def check_titles(titles: Sequence[str], what: str) -> None:
    """Raise TimelineError if two lanes have the same name. what: e.g. "tiers of an .eaf"."""
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise TimelineError(f"The {what} need different names, but two are named {twice[0]!r}.")


def check_no_overlap(lane: Lane, program: str) -> None:
    """Raise TimelineError if codes of a lane overlap, because this program's tiers cannot."""
    for before, after in pairwise(lane.codes):
        if milliseconds(after.start_s) < milliseconds(before.end_s):
            raise TimelineError(
                f"{program} allows no overlapping codes in one tier, but in {lane.title!r} "
                f"{after.label!r} starts at {after.start_s:.3f} s, before {before.label!r} ends."
            )
