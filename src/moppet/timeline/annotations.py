"""Corrections by people, and reading a timeline with all of its annotation layers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from moppet.timeline.people import People, name_people, people_path, read_people
from moppet.timeline.table import Timeline, read_timeline
from moppet.values import TimelineError, UsageError

CORRECTIONS_SUFFIX: Final = ".corrections.jsonl"
_LONGEST_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class Correction:
    """What a face truly shows from start_s until end_s, by whom and when it was said.

    face_id: of the machine's own timeline, whoever it is called. by: the coder's name.
    at: ISO 8601, UTC. number: 1, 2, … in the order in which they were made.
    Raises UsageError for a time that is none, or a name or label that is empty or too long.
    """

    number: int
    face_id: int
    start_s: float
    end_s: float
    label: str
    by: str
    at: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.end_s) and 0 <= self.start_s < self.end_s):
            raise UsageError(
                f"A correction starts at 0 s or later and ends after that, got {self.start_s} to "
                f"{self.end_s}."
            )
        for word, what in ((self.by, "coder's name"), (self.label, "label")):
            if not word.strip() or len(word) > _LONGEST_NAME or not word.isprintable():
                raise UsageError(f"A {what} has 1 to {_LONGEST_NAME} printable characters.")


def corrections_path(timeline: Path) -> Path:
    """Return where the corrections of a timeline file are kept: beside it, by its name."""
    return timeline.with_name(timeline.stem + CORRECTIONS_SUFFIX)


def read_corrections(path: Path) -> list[Correction]:
    """Return what holds: all that were made and not taken back, in the order they were made.

    A torn last line is left out. Raises TimelineError if the file cannot be read or is another.
    """
    holds, _ = _read(path)
    return list(holds.values())


def add_correction(path: Path, **said: Any) -> Correction:
    """Add a correction to the file and return it. said: the fields of Correction but its number.

    Raises UsageError where the fields are none, TimelineError if the place cannot be written.
    """
    _, last = _read(path) if path.exists() else ({}, 0)
    made = Correction(number=last + 1, **said)
    _append(path, asdict(made))
    return made


def take_back(path: Path, number: int, *, by: str, at: str) -> None:
    """Take a correction back; UsageError if it does not hold."""
    holds, _ = _read(path) if path.exists() else ({}, 0)
    if number not in holds:
        raise UsageError(f"There is no correction {number}.")
    _append(path, {"back": number, "by": by, "at": at})


def _read(path: Path) -> tuple[dict[int, Correction], int]:
    """Return what holds by its number, and the last number that was given."""
    try:
        data = path.read_bytes()
        lines = data[: data.rfind(b"\n") + 1].decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise TimelineError(f"Cannot read {path}: {reason}.") from None
    holds: dict[int, Correction] = {}
    last = 0
    for place, line in enumerate(lines[:-1], start=1):
        try:
            said = json.loads(line)
            if "back" in said:
                holds.pop(said["back"], None)
                continue
            made = _correction(said)
        except (ValueError, TypeError, KeyError, UsageError) as error:
            raise TimelineError(f"Line {place} of {path} is no correction: {error}.") from None
        holds[made.number], last = made, made.number
    return holds, last


def _correction(said: Mapping[str, Any]) -> Correction:
    return Correction(
        number=int(said["number"]),
        face_id=int(said["face_id"]),
        start_s=float(said["start_s"]),
        end_s=float(said["end_s"]),
        label=str(said["label"]),
        by=str(said["by"]),
        at=str(said["at"]),
    )


def _append(path: Path, line: Mapping[str, Any]) -> None:
    try:
        with path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # a line that a kill has torn
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TimelineError(f"Cannot write {path}: {error.strerror}.") from None


@dataclass(frozen=True)
class Layered:
    """A recording's timeline as people left it.

    timeline: with a face for each person who was named. people, corrections: the layers, empty
    where there are none; the corrections speak of the machine's own faces.
    """

    timeline: Timeline
    people: People
    corrections: list[Correction]


def read_layered(path: Path, people: Path | None = None) -> Layered:
    """Return a timeline file and the layers beside it.

    people: a file of who is who; by default the one beside the timeline, if it is there.
    Raises TimelineError if a file cannot be read or is none of these, UsageError if the people
    are those of another recording.
    """
    timeline = read_timeline(path)
    who, corrected = people or people_path(path), corrections_path(path)
    named = read_people(who) if people or who.is_file() else People()
    said = read_corrections(corrected) if corrected.is_file() else []
    return Layered(name_people(timeline, named), named, said)
