"""People: a layer beside a timeline that names, joins and splits its faces."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from moppet.files import write_text
from moppet.timeline.schema import RawColumns, numbers, table_columns
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
        text = json.dumps(self.as_json(), ensure_ascii=False, allow_nan=False, indent=1)
        return write_text(path, text + "\n", TimelineError)


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
    """Return which of the sorted rows have the same frame and owner as a neighbor."""
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


Span = tuple[int, float, float]


def name_face(timeline: Timeline, people: People, face: int, name: str, role: str | None) -> People:
    """Call a face by this name and role."""
    claims = _Claims(timeline, people)
    return claims.with_person(face, Person(" ".join(name.split()), role, claims.pieces(face)))


def join_faces(timeline: Timeline, people: People, face: int, into: int) -> People:
    """Say that a face is the same person as another, whose name and role stay.

    Raises UsageError if both are seen at once.
    """
    if face == into:
        raise UsageError("A face is itself already: name another one.")
    claims = _Claims(timeline, people)
    pieces = (*claims.pieces(into), *claims.pieces(face))
    joined = Person(claims.name(into), claims.role(into), _in_order(pieces))
    others = claims.with_person(into, joined).persons
    gone = claims.index.get(face)
    kept = tuple(p for p in others if gone is None or p is not people.persons[gone])
    return _checked(timeline, People(kept))


def split_face(timeline: Timeline, people: People, face: int, at_s: float) -> People:
    """Make two of a face: before at_s it stays who it is, from then on it is somebody new."""
    claims = _Claims(timeline, people)
    before = claims.seen(_clipped(claims.pieces(face), 0.0, at_s))
    after = claims.seen(_clipped(claims.pieces(face), at_s, math.inf))
    if not before or not after:
        raise UsageError(
            f"{claims.name(face)} is seen only {'after' if after else 'before'} {at_s:.2f} s: "
            "there is nothing to split there."
        )
    name = claims.name(face)
    stays = claims.with_person(face, Person(name, claims.role(face), before)).persons
    taken = {person.name for person in stays}
    new = next(f"{name} ({n})" for n in range(2, len(taken) + 3) if f"{name} ({n})" not in taken)
    return _checked(timeline, People((*stays, Person(new, None, after))))


def forget_face(timeline: Timeline, people: People, face: int) -> People:
    """Take a person's name away: its pieces are the machine's faces again."""
    claims = _Claims(timeline, people)
    if face not in claims.index:
        raise UsageError(f"Nobody named {claims.name(face)}: there is nothing to take back.")
    mine = people.persons[claims.index[face]]
    return People(tuple(person for person in people.persons if person is not mine))


def machine_spans(
    timeline: Timeline, people: People, face: int, start_s: float, end_s: float
) -> list[Span]:
    """Return which of the machine's faces a face is from start_s to end_s, and when each.

    Each: the machine's face_id, start and end in seconds. Empty where the face is not seen.
    """
    claims = _Claims(timeline, people)
    pieces = claims.seen(_clipped(claims.pieces(face), start_s, end_s))
    return [(p.face_id, p.from_s, end_s if p.to_s is None else p.to_s) for p in pieces]


class _Claims:
    """Whom the faces of the named timeline stand for, in pieces of the machine's faces."""

    def __init__(self, timeline: Timeline, people: People) -> None:
        self._people, self._named = people, name_people(timeline, people)
        said = self._named.metadata.get("people") or {}
        self.index = {int(face): place for place, face in enumerate(said)}
        self._face, self._time_s = (
            numbers(timeline.table, "face_id"),
            numbers(timeline.table, "time_s"),
        )
        there = numbers(self._named.table, "face_id")
        self._there = {int(face) for face in there[~(there != there)]}

    def _person(self, face: int) -> Person | None:
        if face not in self._there:
            raise UsageError(f"There is no face {face} in this recording.")
        return self._people.persons[self.index[face]] if face in self.index else None

    def name(self, face: int) -> str:
        self._person(face)
        return self._named.face_name(face)

    def role(self, face: int) -> str | None:
        person = self._person(face)
        return person.role if person else None

    def pieces(self, face: int) -> tuple[Piece, ...]:
        """A person's pieces, or what nobody claims of the machine's face."""
        person = self._person(face)
        if person:
            return person.pieces
        left: list[Piece] = [Piece(face)]
        for other in self._people.persons:
            for claimed in (p for p in other.pieces if p.face_id == face):
                until = math.inf if claimed.to_s is None else claimed.to_s
                left = [
                    *_clipped(left, 0.0, claimed.from_s),
                    *_clipped(left, until, math.inf),
                ]
        return self.seen(_in_order(left))

    def seen(self, pieces: Iterable[Piece]) -> tuple[Piece, ...]:
        """Those pieces in which the face is seen at all."""
        return tuple(p for p in pieces if p.holds(self._face, self._time_s).any())

    def with_person(self, face: int, person: Person) -> People:
        """The people with this one in the face's place, or at the end if nobody had it."""
        persons = list(self._people.persons)
        place = self.index.get(face, len(persons))
        return People((*persons[:place], person, *persons[place + 1 :]))


def _clipped(pieces: Sequence[Piece], start_s: float, end_s: float) -> list[Piece]:
    """Return what of the pieces lies from start_s until end_s."""
    found = []
    for piece in pieces:
        until = math.inf if piece.to_s is None else piece.to_s
        low, high = max(piece.from_s, start_s), min(until, end_s)
        if low < high:
            found.append(replace(piece, from_s=low, to_s=None if math.isinf(high) else high))
    return found


def _in_order(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    return tuple(sorted(pieces, key=lambda p: (p.from_s, p.face_id)))


def _checked(timeline: Timeline, people: People) -> People:
    name_people(timeline, people)
    return people
