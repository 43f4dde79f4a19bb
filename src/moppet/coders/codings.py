"""Codings: lanes of labeled time segments, as coders write them, and the media they belong to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from moppet.values import TimelineError

MOST_S: Final = 1e11
"""Times further from zero, some 3,000 years, are none."""
MAX_BYTES: Final = 64_000_000
"""Larger files, also when unpacked, are refused: an hour coded by frame needs a tenth of this."""
MOST_CODES: Final = 1_000_000
"""Files with more are refused: an hour coded by frame has a tenth of this. The limits together
keep the memory that reading a file takes below 1 GB."""
_MOST_MARKS: Final = 5_000_000
NO_VALUE: Final = "without a value"
NO_TIME: Final = "without a time"
REVERSED: Final = "that end before they start"
OUTSIDE: Final = "of other media"
"""Why a code is left out: the end of the sentence "3 codes …"."""


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
    parent: the tier that an ELAN tier depends on.
    left_out: reason, such as NO_VALUE → number of the codes that the file holds besides `codes`.
    is_presence: whether the file holds times only, so that every label is the lane's name.
    """

    name: str
    codes: tuple[Code, ...]
    person: str = ""
    part: str = ""
    observation: str = ""
    parent: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict, hash=False)
    is_presence: bool = False

    def __post_init__(self) -> None:
        ordered = sorted(self.codes, key=lambda code: code[:2])
        object.__setattr__(self, "codes", tuple(ordered))

    @property
    def title(self) -> str:
        """The name of the tier or column: person, name and part."""
        return " ".join(word for word in (self.person, self.name, self.part) if word)

    @property
    def path(self) -> str:
        """Where the lane lies in its file: parent tier, person, name and part between slashes."""
        words = (self.parent, self.person, self.name, self.part)
        return "/".join(word for word in words if word)

    @property
    def labels(self) -> list[str]:
        """The distinct labels, in order of first use."""
        return list(dict.fromkeys(code.label for code in self.codes))


def quoted(text: str) -> str:
    """Return a name or a label in quotes, as printable text of at most some 80 characters."""
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


def counted(*counts: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of counts by their key, without zeros."""
    total: dict[str, int] = {}
    for one in counts:
        for key, number in one.items():
            total[key] = total.get(key, 0) + number
    return {key: number for key, number in total.items() if number}


class Medium(NamedTuple):
    """A recording that was open while coding, and where it lies on the clock of the codes.

    name: file name without a folder. observation: of a BORIS file. player: of BORIS, or the
    position among ELAN's media; counted from 1.
    length_s: None if unspecified.
    start_s: the time of the codes at which the recording begins; None if the file does not tell.
    from_s, to_s: the time of the codes during which it was shown; to_s None if unknown. Media that
        are shown side by side have no limits.
    is_sound: whether it holds sound only. created_s: what BORIS added to all times, its creation
    time in seconds since 1970, which is taken off again; 0 if none.
    """

    name: str
    observation: str = ""
    player: int = 1
    length_s: float | None = None
    start_s: float | None = 0.0
    from_s: float = -math.inf
    to_s: float | None = math.inf
    is_sound: bool = False
    created_s: float = 0.0

    def __str__(self) -> str:
        """The quoted name, with the length if it is known."""
        return quoted(self.name) + ("" if self.length_s is None else f" ({self.length_s:.1f} s)")


@dataclass(frozen=True)
class Coding:
    """The lanes of one file.

    source_name: the recording's file name, without a folder. duration_s, fps: of the recording.
    made_at: time of writing, ISO 8601; not set by moppet's readers.
    faults: observation of a BORIS file that cannot be read → reason; it has no lanes.
    media: the recordings that were coded. The times of the lanes are those of the first medium of
        their observation; `moppet.coders.media` takes the codes of another one.
    left_out: reason → number of rows that belong to no lane.
    notes: how doubtful content was read, as sentences.
    """

    lanes: tuple[Lane, ...]
    source_name: str | None = None
    duration_s: float | None = None
    fps: float | None = None
    made_at: str = "1970-01-01T00:00:00Z"
    faults: Mapping[str, str] = field(default_factory=dict)
    media: tuple[Medium, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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


def checked(coding: Coding) -> Coding:
    """Return the coding without codes that are reversed or have no possible time; counts them."""
    lanes = []
    for lane in coding.lanes:
        timed = [x for x in lane.codes if abs(x.start_s) < MOST_S and abs(x.end_s) < MOST_S]
        kept = tuple(code for code in timed if code.end_s >= code.start_s)
        counts = {NO_TIME: len(lane.codes) - len(timed), REVERSED: len(timed) - len(kept)}
        lanes.append(replace(lane, codes=kept, left_out=counted(lane.left_out, counts)))
    return replace(coding, lanes=tuple(lanes))


def read_content(path: Path, most: int = MAX_BYTES) -> bytes:
    """Return a file's content. Raises ValueError if it has more than `most` bytes."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    check_size(len(data), most)
    return data


def check_size(size: int, most: int, what: str = "it") -> None:
    """Raise ValueError if a size in bytes is above `most`. what: the subject of the sentence."""
    if size > most:
        raise ValueError(f"{what} is larger than {most // 1_000_000} MB: export a part of it")


def check_codes(number: int) -> None:
    """Raise ValueError if a file holds more than MOST_CODES codes."""
    if number > MOST_CODES:
        raise ValueError(f"it has more than {MOST_CODES:,} codes: export a part of them")


def check_marks(data: bytes, marks: Iterable[bytes]) -> None:
    """Raise ValueError if a text has more of these marks, so more values, than parsing may hold."""
    if sum(map(data.count, marks)) > _MOST_MARKS:
        raise ValueError(f"it has more than {_MOST_MARKS:,} values: export a part of it")


def decoded(data: bytes, other: str) -> str:
    """Return the text of a file in marked UTF-16, in UTF-8, or else in the other encoding."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(other, errors="replace")


def milliseconds(seconds: float) -> int:
    """Return the nearest whole millisecond. Raises TimelineError if negative or not finite."""
    if not -0.0005 <= seconds < MOST_S:
        raise TimelineError(
            f"Times in coders' files start at 0 seconds, but a code starts or ends at {seconds}."
        )
    return max(0, round(seconds * 1000))


def check_titles(titles: Sequence[str], what: str) -> None:
    """Raise TimelineError if two lanes have the same name. what: e.g. "tiers of an .eaf"."""
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise TimelineError(
            f"The {what} need different names, but two are named {quoted(twice[0])}."
        )


def check_no_overlap(lane: Lane, program: str) -> None:
    """Raise TimelineError if codes of a lane overlap, because this program's tiers cannot."""
    for before, after in pairwise(lane.codes):
        if milliseconds(after.start_s) < milliseconds(before.end_s):
            raise TimelineError(
                f"{program} allows no overlapping codes in one tier, but in {quoted(lane.title)} "
                f"{quoted(after.label)} starts at {after.start_s:.3f} s, before "
                f"{quoted(before.label)} ends."
            )
