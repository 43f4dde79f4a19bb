"""Who is who: a layer that names, joins and divides the faces of a timeline, kept beside it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.raw import RawColumns, table_columns
from moppet.timeline.schema import numbers
from moppet.timeline.table import Timeline, timeline_of
from moppet.values import TimelineError, UsageError

ROLES: Final = ("child", "caregiver", "other")
PEOPLE_SUFFIX: Final = ".people.json"
MOST_PEOPLE: Final = 500
_LONGEST_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class Piece:
    """A face of the timeline from from_s until before to_s, in seconds; None is to its end."""

    face_id: int
    from_s: float = 0.0
    to_s: float | None = None

    def holds(self, face: NDArray[np.float64], time_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows are its own. face, time_s: (n,) columns of the timeline."""
        until = math.inf if self.to_s is None else self.to_s
        return np.asarray((face == self.face_id) & (time_s >= self.from_s) & (time_s < until))


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is seen in these pieces. role: one of ROLES, None if it is not said."""

    name: str
    role: str | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class People:
    """Everybody who was named, in the order in which they were.

    Raises UsageError for a name that is empty or twice there, an unknown role, a person without
    a piece, or a piece that ends before it begins.
    """

    persons: tuple[Person, ...] = ()

    def __post_init__(self) -> None:
        if len(self.persons) > MOST_PEOPLE:
            raise UsageError(f"At most {MOST_PEOPLE} people have a place in one recording.")
        names = [person.name for person in self.persons]
        for person in self.persons:
            _check(person)
            if names.count(person.name) > 1:
                raise UsageError(f"Two people are called {person.name!r}: give each a name.")

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, as `people_of` takes them."""
        return {
            "persons": [
                {
                    "name": person.name,
                    "role": person.role,
                    "pieces": [
                        {"face": p.face_id, "from_s": p.from_s, "to_s": p.to_s}
                        for p in person.pieces
                    ],
                }
                for person in self.persons
            ]
        }

    def write(self, path: Path) -> Path:
        """Write the layer and return its path; a file that is there is replaced when it is whole.

        Raises TimelineError if the place cannot be written.
        """
        part = path.with_name(f".{os.getpid()}.{path.name}")
        try:
            text = json.dumps(self.as_json(), ensure_ascii=False, allow_nan=False, indent=1)
            part.write_text(text + "\n", encoding="utf-8")
            os.replace(part, path)
        except OSError as error:
            raise TimelineError(f"Cannot write {path}: {error.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)
        return path


def people_of(given: object) -> People:
    """Return the people in plain values, as JSON holds them; UsageError where they are none."""
    try:
        persons = cast(Mapping[str, Any], given)["persons"]
        return People(tuple(_person(one) for one in persons))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise UsageError(
            'People are written as {"persons": [{"name": …, "role": …, "pieces": [{"face": …, '
            '"from_s": …, "to_s": …}]}]}.'
        ) from None


def read_people(path: Path) -> People:
    """Return the people in a file; TimelineError if it cannot be read or holds none."""
    try:
        return people_of(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise TimelineError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, UsageError) as error:
        raise TimelineError(f"{path} says nothing of people that can be used: {error}") from None


def people_path(timeline: Path) -> Path:
    """Return where the people of a timeline file are kept: beside it, by its name."""
    return timeline.with_name(timeline.stem + PEOPLE_SUFFIX)


def name_people(timeline: Timeline, people: People) -> Timeline:
    """Return the timeline with a face for each person, smoothed and judged anew.

    A person's face_id is that of its earliest piece where no other has it, else a new one; faces,
    and parts of them, that nobody claims stay as they are. `Timeline.face_name` and the summary's
    roles say who is who.
    Raises UsageError for a face that is not there, and for one person in two places at once.
    """
    if not people.persons:
        return timeline
    face, time_s = numbers(timeline.table, "face_id"), numbers(timeline.table, "time_s")
    owner = np.full(len(face), -1, dtype=np.int64)
    for number, person in enumerate(people.persons):
        for piece in person.pieces:
            mine = piece.holds(face, time_s)
            if not mine.any():
                raise UsageError(f"{person.name}: face {piece.face_id} is not seen then.")
            if (owner[mine] >= 0).any():
                other = people.persons[int(owner[mine].max())].name
                raise UsageError(f"Face {piece.face_id} is {other} already, not {person.name}.")
            owner[mine] = number
    _check_places(timeline, people, owner)
    ids = _ids(people, face, owner)
    columns = table_columns(timeline.table, timeline.names)
    renamed = np.where(owner >= 0, np.array([*ids, -1])[owner], face)
    order = np.lexsort((np.nan_to_num(renamed, nan=-1), columns["frame"]))
    columns = cast(RawColumns, {k: v[order] for k, v in (columns | {"face_id": renamed}).items()})
    said = {
        str(i): {"name": p.name, "role": p.role, "faces": sorted({q.face_id for q in p.pieces})}
        for i, p in zip(ids, people.persons, strict=True)
    }
    return timeline_of(
        columns,
        names=timeline.names,
        group_of=timeline.group_of,
        settings=timeline.settings,
        metadata={**timeline.metadata, "people": said},
    )


def _person(given: Mapping[str, Any]) -> Person:
    name, role = given["name"], given.get("role")
    if not isinstance(name, str) or not (role is None or isinstance(role, str)):
        raise TypeError
    return Person(" ".join(name.split()), role or None, tuple(map(_piece, given["pieces"])))


def _piece(given: Mapping[str, Any]) -> Piece:
    to_s = given.get("to_s")
    face, from_s = given["face"], float(given.get("from_s") or 0.0)
    if not isinstance(face, int) or isinstance(face, bool):
        raise TypeError
    return Piece(face, from_s, None if to_s is None else float(to_s))


def _check(person: Person) -> None:
    if not person.name or len(person.name) > _LONGEST_NAME or not person.name.isprintable():
        raise UsageError(f"A name has 1 to {_LONGEST_NAME} printable characters.")
    if person.role is not None and person.role not in ROLES:
        raise UsageError(f"A role is one of {', '.join(ROLES)}, got {person.role!r}.")
    if not person.pieces:
        raise UsageError(f"{person.name} has no face: give one, or leave the name out.")
    for piece in person.pieces:
        until = math.inf if piece.to_s is None else piece.to_s
        if not (0 <= piece.from_s < until and math.isfinite(piece.from_s)):
            raise UsageError(f"{person.name}: a piece begins at 0 s or later, and before its end.")


def _check_places(timeline: Timeline, people: People, owner: NDArray[np.int64]) -> None:
    """Raise UsageError if a frame shows one person twice."""
    frame, time_s = numbers(timeline.table, "frame"), numbers(timeline.table, "time_s")
    face = numbers(timeline.table, "face_id")
    claimed = np.flatnonzero(owner >= 0)
    order = claimed[np.lexsort((owner[claimed], frame[claimed]))]
    for before, after in pairwise(order[_beside_twin(frame[order], owner[order])]):
        if frame[before] == frame[after] and owner[before] == owner[after]:
            name = people.persons[int(owner[before])].name
            raise UsageError(
                f"{name} cannot be face {int(face[before])} and face {int(face[after])}: both are "
                f"seen at {time_s[before]:.2f} s. Split one of them there first."
            )


def _beside_twin(frame: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the sorted rows have the same frame and owner as a neighbour."""
    same = (np.diff(frame) == 0) & (np.diff(owner) == 0)
    return np.asarray(np.r_[same, False] | np.r_[False, same])


def _ids(people: People, face: NDArray[np.float64], owner: NDArray[np.int64]) -> list[int]:
    taken = set(np.unique(face[(owner < 0) & ~np.isnan(face)]).astype(int).tolist())
    spare = int(np.nanmax(face)) + 1
    first = [min((p.from_s, p.face_id) for p in person.pieces) for person in people.persons]
    ids = dict.fromkeys(range(len(first)), -1)
    for number in sorted(ids, key=lambda i: first[i]):
        wanted = first[number][1]
        if wanted in taken:
            wanted, spare = spare, spare + 1
        taken.add(wanted)
        ids[number] = wanted
    return list(ids.values())
