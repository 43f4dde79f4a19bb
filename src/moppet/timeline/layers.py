"""A timeline file with the layers that people laid beside it: who is who, and what is set right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moppet.timeline.corrections import Correction, corrections_path, read_corrections
from moppet.timeline.people import People, name_people, people_path, read_people
from moppet.timeline.table import Timeline, read_timeline


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
