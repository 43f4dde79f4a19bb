"""The layers that people lay over a timeline in the page: who is who, and what is set right."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from moppet.timeline import Timeline, read_timeline
from moppet.timeline.corrections import (
    add_correction,
    corrections_path,
    take_back,
)
from moppet.timeline.people import ROLES, People, name_people, people_of, people_path, read_people
from moppet.timeline.people_edits import (
    forget_face,
    join_faces,
    machine_spans,
    name_face,
    split_face,
)
from moppet.values import UsageError

Json = dict[str, Any]
EDITS: Final = ("name", "join", "split", "forget")
_LOCK: Final = threading.Lock()
"""Two tabs may change one recording at once: each change reads, edits and writes in one go."""


def people_beside(timeline: Path) -> People:
    """Return who is who in a timeline file; nobody if nobody said."""
    path = people_path(timeline)
    return read_people(path) if path.is_file() else People()


def edit_people(timeline: Path, edit: str, asked: Json) -> People:
    """Make one of EDITS to a timeline's people, save and return them.

    asked: "face", a face of the named timeline, and "name" and "role", "into", or "at_s".
    Raises UsageError, and saves nothing, where it cannot be.
    """
    with _LOCK:
        machine, before = read_timeline(timeline), people_beside(timeline)
        people = _edited(machine, before, edit, asked)
        name_people(machine, people)
        people.write(people_path(timeline))
        return people


def set_people(timeline: Path, given: object) -> People:
    """Replace a timeline's people, as an undo does; UsageError where they cannot be."""
    people = people_of(given)
    with _LOCK:
        name_people(read_timeline(timeline), people)
        people.write(people_path(timeline))
    return people


def _edited(machine: Timeline, before: People, edit: str, asked: Json) -> People:
    face = _whole(asked, "face")
    if edit == "name":
        name, role = asked.get("name"), asked.get("role") or None
        if not isinstance(name, str) or role not in (None, *ROLES):
            raise UsageError(f"A face is given a name, and a role of {', '.join(ROLES)} or none.")
        return name_face(machine, before, face, name, role)
    if edit == "join":
        return join_faces(machine, before, face, _whole(asked, "into"))
    if edit == "split":
        return split_face(machine, before, face, _seconds(asked, "at_s"))
    return forget_face(machine, before, face)


def correct(timeline: Path, asked: Json) -> None:
    """Keep what a coder says a face truly shows from "start_s" to "end_s".

    asked: "face" of the named timeline, "label" of the model's classes, "by".
    Raises UsageError where it cannot be; nothing is kept then.
    """
    face, label, by = _whole(asked, "face"), asked.get("label"), asked.get("by")
    start_s, end_s = _seconds(asked, "start_s"), _seconds(asked, "end_s")
    if not isinstance(by, str) or not by.strip():
        raise UsageError("Say who corrects: a name or initials.")
    with _LOCK:
        machine = read_timeline(timeline)
        if label not in machine.names:
            raise UsageError(f"A face is set to one of {', '.join(machine.names)}, got {label!r}.")
        if not start_s < end_s:
            raise UsageError("A correction needs a start before its end.")
        spans = machine_spans(machine, people_beside(timeline), face, start_s, end_s)
        if not spans:
            raise UsageError(f"The face is not seen from {start_s:.2f} to {end_s:.2f} s.")
        for face_id, from_s, to_s in spans:
            add_correction(
                corrections_path(timeline),
                face_id=face_id,
                start_s=from_s,
                end_s=to_s,
                label=label,
                by=" ".join(by.split()),
                at=_now(),
            )


def take_back_correction(timeline: Path, number: int, by: str) -> None:
    """Take a correction back; UsageError if it does not hold."""
    with _LOCK:
        take_back(corrections_path(timeline), number, by=by, at=_now())


def _whole(asked: Json, name: str) -> int:
    value = asked.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"`{name}` is the number of a face.")
    return value


def _seconds(asked: Json, name: str) -> float:
    value = asked.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"`{name}` is a time in seconds.")
    return float(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
