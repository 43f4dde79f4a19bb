"""Corrections by coders, and timelines together with their annotation layers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from annotated_types import Interval

from moppet.config import check_settings
from moppet.files import parse_json, read_bytes
from moppet.timeline.people import People, name_people, people_path, read_people
from moppet.timeline.table import Timeline, read_timeline
from moppet.values import TimelineError, UsageError

CORRECTIONS_SUFFIX: Final = ".corrections.jsonl"
_MAX_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class Correction:
    """A coder's label for a face from start_s to end_s.

    face_id: of the original timeline, before people are named. by: the coder's name.
    at: ISO 8601, UTC. number: 1, 2, … in the order of creation.
    Raises UsageError for invalid times, or a name or label that is empty or too long.
    """

    number: Annotated[int, Interval(ge=1, lt=2**53)]
    face_id: Annotated[int, Interval(ge=0, lt=2**31)]
    start_s: float
    end_s: float
    label: str
    by: str
    at: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.end_s) and 0 <= self.start_s < self.end_s):
            raise UsageError(
                "A correction must start at 0 s or later and end after its start, got "
                f"{self.start_s} to {self.end_s}."
            )
        for word, what in ((self.by, "coder's name"), (self.label, "label")):
            if not word.strip() or len(word) > _MAX_NAME or not word.isprintable():
                raise UsageError(f"A {what} must have 1 to {_MAX_NAME} printable characters.")


def corrections_path(timeline: Path) -> Path:
    """Return the path of a timeline's corrections, beside the timeline file."""
    return timeline.with_name(timeline.stem + CORRECTIONS_SUFFIX)


def read_corrections(path: Path) -> list[Correction]:
    """Return the corrections that have not been undone, in order of creation.

    An incomplete last line is ignored. Raises TimelineError if the file is invalid or unreadable.
    """
    valid, _ = _read(path)
    return list(valid.values())


def add_correction(path: Path, **fields: Any) -> Correction:
    """Append a correction to the file and return it. fields: those of Correction except number.

    Raises UsageError for invalid fields, TimelineError if the file cannot be written.
    """
    _, last = _read(path) if path.exists() else ({}, 0)
    correction = Correction(number=last + 1, **fields)
    _append(path, asdict(correction))
    return correction


def undo_correction(path: Path, number: int, *, by: str, at: str) -> None:
    """Undo a correction; UsageError if there is none with this number."""
    valid, _ = _read(path) if path.exists() else ({}, 0)
    if number not in valid:
        raise UsageError(f"There is no correction {number}.")
    _append(path, {"back": number, "by": by, "at": at})


@dataclass(frozen=True)
class _Undone:
    """A line of the file that takes an earlier correction back."""

    back: int
    by: str | None = None
    at: str | None = None


def _read(path: Path) -> tuple[dict[int, Correction], int]:
    """Return the valid corrections by number, and the last number that was given."""
    data = read_bytes(path, "file of corrections", TimelineError)
    valid: dict[int, Correction] = {}
    last = 0
    for place, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            record = parse_json(line, "it", UsageError)
            if isinstance(record, dict) and "back" in record:
                valid.pop(check_settings(_Undone, record).back, None)
                continue
            correction = check_settings(Correction, record)
        except UsageError as error:
            raise TimelineError(f"Line {place} of {path} is not a correction: {error}") from None
        valid[correction.number], last = correction, correction.number
    return valid, last


def _append(path: Path, line: Mapping[str, Any]) -> None:
    try:
        with path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # removes an incomplete last line
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TimelineError(f"Cannot write {path}: {error.strerror}.") from None


@dataclass(frozen=True)
class AnnotatedTimeline:
    """A timeline with its annotation layers.

    timeline: with one face for each named person. people, corrections: the layers, which may be
    empty; the corrections refer to the faces of the original timeline.
    """

    timeline: Timeline
    people: People
    corrections: list[Correction]


def read_annotated(path: Path, people: Path | None = None) -> AnnotatedTimeline:
    """Read a timeline file and the layers beside it.

    people: a file of people; by default the one beside the timeline, if it exists.
    Raises TimelineError if a file is invalid or unreadable, UsageError if the people do not belong
    to this recording.
    """
    timeline = read_timeline(path)
    people_file, corrections_file = people or people_path(path), corrections_path(path)
    named = read_people(people_file) if people or people_file.is_file() else People()
    corrections = read_corrections(corrections_file) if corrections_file.is_file() else []
    return AnnotatedTimeline(name_people(timeline, named), named, corrections)
