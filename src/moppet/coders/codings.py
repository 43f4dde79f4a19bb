"""Codings: lanes of labeled stretches of time, as coders write them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from moppet.values import TimelineError


class Code(NamedTuple):
    """A label from start_s to end_s, in seconds of the recording; a point where they are equal."""

    start_s: float
    end_s: float
    label: str

    @property
    def is_point(self) -> bool:
        """Whether it has no length."""
        return self.end_s <= self.start_s


@dataclass(frozen=True)
class Lane:
    """What one coder noted of one thing: a tier, a column, the behaviors of a subject.

    name: what was coded. codes: by start.
    person: whom it is about, "" if the file does not say.
    part: which of several values of the same stretches, "" for the only or the main one.
    observation: to which observation of a BORIS file it belongs.
    """

    name: str
    codes: tuple[Code, ...]
    person: str = ""
    part: str = ""
    observation: str = ""

    @property
    def title(self) -> str:
        """Person, name and part in one; what a tier or column is called."""
        return " ".join(word for word in (self.person, self.name, self.part) if word)

    @property
    def labels(self) -> list[str]:
        """The different labels, in the order in which they come."""
        return list(dict.fromkeys(code.label for code in self.codes))


@dataclass(frozen=True)
class Coding:
    """The lanes of one file.

    source_name: the recording's file name, without a folder. duration_s, fps: of the recording.
    made_at: ISO 8601, when it was written; moppet's readers leave it out.
    faults: observation of a BORIS file that cannot be read → why; it has no lanes.
    """

    lanes: tuple[Lane, ...]
    source_name: str | None = None
    duration_s: float | None = None
    fps: float | None = None
    made_at: str = "1970-01-01T00:00:00Z"
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def recording(self) -> str:
        """The recording's name, a word for it if the file does not say."""
        return self.source_name or "recording"

    @property
    def end_s(self) -> float:
        """The recording's length, or where the last code ends if that is later or all we know."""
        ends = [code.end_s for lane in self.lanes for code in lane.codes]
        return max([self.duration_s or 0.0, *ends])


def in_order(codes: Iterable[Code]) -> tuple[Code, ...]:
    """Return codes by start, then end; of equal ones, in the order they came."""
    return tuple(sorted(codes, key=lambda code: code[:2]))


def shifted(coding: Coding, seconds: float) -> Coding:
    """Return the coding with every time moved by so many seconds."""
    lanes = []
    for lane in coding.lanes:
        moved = (Code(c.start_s + seconds, c.end_s + seconds, c.label) for c in lane.codes)
        lanes.append(replace(lane, codes=tuple(moved)))
    return replace(coding, lanes=tuple(lanes))


def milliseconds(seconds: float) -> int:
    """Return the nearest whole millisecond; TimelineError where there is none, or before 0."""
    if not math.isfinite(seconds) or seconds < -0.0005:
        raise TimelineError(
            f"Coders' files hold times from 0 seconds on, but a code starts or ends at {seconds}."
        )
    return max(0, round(seconds * 1000))


def check_titles(titles: Sequence[str], what: str) -> None:
    """Raise TimelineError if two lanes would have one name. what: e.g. "tiers of an .eaf"."""
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise TimelineError(f"The {what} need different names, but two are called {twice[0]!r}.")


def check_apart(lane: Lane, program: str) -> None:
    """Raise TimelineError if codes of a lane overlap, which this program's tiers cannot hold."""
    for before, after in pairwise(lane.codes):
        if milliseconds(after.start_s) < milliseconds(before.end_s):
            raise TimelineError(
                f"{program} allows no overlapping codes in one tier, but in {lane.title!r} "
                f"{after.label!r} starts at {after.start_s:.3f} s, before {before.label!r} ends."
            )
