"""People: an annotation layer that names, joins and splits the faces of a timeline."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from annotated_types import Interval, MaxLen
from numpy.typing import NDArray

from moppet.config import check_settings
from moppet.files import one_line, read_json, write_text
from moppet.timeline.schema import numbers, table_columns, table_hashes
from moppet.timeline.table import THINNED, TRACKS, Timeline, timeline_of
from moppet.values import TimelineError, UsageError

ROLES: Final = ("child", "caregiver", "other")
PEOPLE_SUFFIX: Final = ".people.json"
MAX_PEOPLE: Final = 500
MAX_PIECES: Final = 10_000
_MAX_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class Piece:
    """A face of the timeline for from_s ≤ time < to_s, in seconds; to_s None: until its end."""

    face_id: int
    from_s: float = 0.0
    to_s: float | None = None

    @property
    def until_s(self) -> float:
        """Its end in seconds; infinite if it lasts until the end of the recording."""
        return math.inf if self.to_s is None else self.to_s

    def holds(self, face: NDArray[np.float64], time_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows belong to it. face, time_s: (n,) columns of the timeline."""
        is_inside = (time_s >= self.from_s) & (time_s < self.until_s)
        return np.asarray(is_inside & (face == self.face_id))


@dataclass(frozen=True, slots=True)
class Person:
    """A person who appears in these pieces. role: one of ROLES, or None if unspecified."""

    name: str
    role: str | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class People:
    """All named persons, in the order in which they were named.

    Raises UsageError for an empty or duplicate name, an unknown role, a person without pieces, or
    a piece that ends before it starts.
    """

    persons: tuple[Person, ...] = ()

    def __post_init__(self) -> None:
        if len(self.persons) > MAX_PEOPLE:
            raise UsageError(f"A recording can have at most {MAX_PEOPLE} people.")
        names = [person.name for person in self.persons]
        for person in self.persons:
            _check(person)
            if names.count(person.name) > 1:
                raise UsageError(f"Two people are called {person.name!r}: use different names.")

    def as_json(self) -> dict[str, Any]:
        """Return JSON values that `people_of` reads."""
        persons = []
        for one in self.persons:
            pieces = [{"face": p.face_id, "from_s": p.from_s, "to_s": p.to_s} for p in one.pieces]
            persons.append({"name": one.name, "role": one.role, "pieces": pieces})
        return {"persons": persons}

    def write(
        self, path: Path, source_sha256: str | None = None, tracks_sha256: str | None = None
    ) -> Path:
        """Write the layer and return its path; an existing file is replaced atomically.

        source_sha256, tracks_sha256: of the timeline whose faces these are, see `layer_origin`.
        Raises TimelineError if the file cannot be written.
        """
        origin = {"source_sha256": source_sha256, "tracks_sha256": tracks_sha256}
        values = {key: value for key, value in origin.items() if value}
        text = json.dumps(values | self.as_json(), ensure_ascii=False, allow_nan=False, indent=1)
        return write_text(path, text + "\n", TimelineError)


@dataclass(frozen=True)
class _PieceEntry:
    face: Annotated[int, Interval(ge=0, lt=2**31)]
    from_s: float | None = None
    to_s: float | None = None


@dataclass(frozen=True)
class _PersonEntry:
    name: str
    role: str | None = None
    pieces: Annotated[tuple[_PieceEntry, ...], MaxLen(MAX_PIECES)] = ()


@dataclass(frozen=True)
class _PeopleFile:
    """A file of people, as JSON."""

    persons: Annotated[tuple[_PersonEntry, ...], MaxLen(MAX_PEOPLE)]
    source_sha256: str | None = None
    tracks_sha256: str | None = None


def people_of(given: object) -> People:
    """Return the people described by JSON values; UsageError if they are invalid."""
    return _people(check_settings(_PeopleFile, given, "people"))


def _people(file: _PeopleFile) -> People:
    return People(
        tuple(
            Person(
                " ".join(person.name.split()),
                person.role or None,
                tuple(Piece(one.face, one.from_s or 0.0, one.to_s) for one in person.pieces),
            )
            for person in file.persons
        )
    )


def read_people(path: Path, origin: Mapping[str, Any] | None = None) -> People:
    """Read a file of people; TimelineError if it is invalid or cannot be read.

    origin: of the timeline whose faces these are, see `layer_origin`; TimelineError if the file was
    written for another recording, or for another analysis of it.
    """
    try:
        file = check_settings(
            _PeopleFile, read_json(path, "file of people", TimelineError), "people"
        )
        people = _people(file)
    except UsageError as error:
        raise TimelineError(f"{path} is not a valid file of people: {error}") from None
    check_layer(path, file.source_sha256, file.tracks_sha256, origin or {})
    return people


def layer_origin(timeline: Timeline) -> dict[str, Any]:
    """Return what the layers of a timeline must have been written for.

    source_sha256, source_name: of the recording. tracks_sha256: of the analysis, which changes
    where a face gets another number in a frame, or another detector found it; a model that reads
    the same faces changes nothing.
    """
    metadata = timeline.metadata
    origin = {key: metadata.get(key) for key in ("source_sha256", "source_name")}
    tracks = metadata.get(TRACKS) or table_hashes(timeline.table, timeline.names).tracks_sha256
    text = f"{tracks} {metadata.get('detector')}"
    return origin | {"tracks_sha256": hashlib.sha256(text.encode()).hexdigest()}


def check_layer(
    path: Path, source_sha256: str | None, tracks_sha256: str | None, origin: Mapping[str, Any]
) -> None:
    """Raise TimelineError if a layer was written for another recording or analysis.

    source_sha256, tracks_sha256: in the layer; files of moppet 0.1 have none, and pass.
    origin: of the timeline, see `layer_origin`.
    """
    known, tracks = origin.get("source_sha256"), origin.get("tracks_sha256")
    name = origin.get("source_name") or "the recording of this timeline"
    if source_sha256 and known and source_sha256 != known:
        raise TimelineError(
            f"{path} was written for another recording, not for {name}: its faces are not those "
            "of this timeline. Move the file away, or put it beside the timeline that it was "
            "written for."
        )
    if tracks_sha256 and tracks and tracks_sha256 != tracks:
        raise TimelineError(
            f"{path} was written for another analysis of {name}, in which the faces have other "
            "numbers. Analyze it again with the settings of that time, or move the file away and "
            "enter names and corrections anew."
        )


def people_path(timeline: Path) -> Path:
    """Return the path of a timeline's people, beside the timeline file."""
    return timeline.with_name(timeline.stem + PEOPLE_SUFFIX)


def name_people(timeline: Timeline, people: People) -> Timeline:
    """Return the timeline with one face per person, smoothed and labeled again.

    A person gets the face_id of its earliest piece if it is free, else a new one. Unassigned faces
    and parts of faces do not change. `Timeline.face_name` returns the names of the people.
    Raises UsageError for a face that does not exist, or a person in two places at once.
    """
    if not people.persons:
        return timeline
    face, time_s = numbers(timeline.table, "face_id"), numbers(timeline.table, "time_s")
    owner = np.full(len(face), -1, dtype=np.int64)
    for number, person in enumerate(people.persons):
        for piece in person.pieces:
            mine = piece.holds(face, time_s)
            if not mine.any() and THINNED not in timeline.metadata:
                raise UsageError(f"{person.name}: face {piece.face_id} does not appear then.")
            if (owner[mine] >= 0).any():
                other = people.persons[int(owner[mine].max())].name
                raise UsageError(f"Face {piece.face_id} is already {other}, not {person.name}.")
            owner[mine] = number
    _check_places(timeline, people, owner)
    ids = _ids(people, face, owner)
    renamed = np.where(owner >= 0, np.array([*ids, -1])[owner], face)
    named = {
        str(i): {"name": p.name, "role": p.role, "faces": sorted({q.face_id for q in p.pieces})}
        for i, p in zip(ids, people.persons, strict=True)
    }
    return timeline_of(
        table_columns(timeline.table, timeline.names) | {"face_id": renamed},
        names=timeline.names,
        group_of=timeline.group_of,
        settings=timeline.settings,
        metadata={**timeline.metadata, "people": named},
    )


def _check(person: Person) -> None:
    if not person.name or len(person.name) > _MAX_NAME or not person.name.isprintable():
        raise UsageError(f"A name must have 1 to {_MAX_NAME} printable characters.")
    if person.role is not None and person.role not in ROLES:
        raise UsageError(
            f"A role must be one of {', '.join(ROLES)}, got {one_line(repr(person.role), 60)}."
        )
    if not person.pieces:
        raise UsageError(f"{person.name} has no face: add one, or remove the name.")
    for piece in person.pieces:
        if not 0 <= piece.from_s < piece.until_s:
            raise UsageError(f"{person.name}: a piece must start at 0 s or later, before its end.")


def _check_places(timeline: Timeline, people: People, owner: NDArray[np.int64]) -> None:
    frame, face = numbers(timeline.table, "frame"), numbers(timeline.table, "face_id")
    claimed = np.flatnonzero(owner >= 0)
    order = claimed[np.lexsort((owner[claimed], frame[claimed]))]
    twice = (np.diff(frame[order]) == 0) & (np.diff(owner[order]) == 0)
    if twice.any():
        before, after = order[np.argmax(twice) :][:2]
        name, time_s = people.persons[int(owner[before])].name, numbers(timeline.table, "time_s")
        raise UsageError(
            f"{name} cannot be face {int(face[before])} and face {int(face[after])}: both "
            f"appear at {time_s[before]:.2f} s. Split one of them there first."
        )


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


def name_face(timeline: Timeline, people: People, face: int, name: str, role: str | None) -> People:
    """Return the people after giving a face this name and role."""
    claims = _Claims(timeline, people)
    named = replace(claims.person(face), name=" ".join(name.split()), role=role)
    return claims.with_person(face, named)


def join_faces(timeline: Timeline, people: People, face: int, into: int) -> People:
    """Return the people after joining a face with another, whose name and role are kept.

    Raises UsageError if both appear at the same time.
    """
    if face == into:
        raise UsageError("A face cannot be joined with itself: choose another one.")
    claims = _Claims(timeline, people)
    stays, gone = claims.person(into), claims.person(face)
    joined = replace(stays, pieces=_in_order((*stays.pieces, *gone.pieces)))
    others = claims.with_person(into, joined).persons
    return _checked(timeline, People(tuple(person for person in others if person is not gone)))


def split_face(timeline: Timeline, people: People, face: int, at_s: float) -> People:
    """Return the people after splitting a face: from at_s on, it is a new person."""
    claims = _Claims(timeline, people)
    person = claims.person(face)
    before = claims.seen(_clipped(person.pieces, 0.0, at_s))
    after = claims.seen(_clipped(person.pieces, at_s, math.inf))
    if not before or not after:
        raise UsageError(
            f"{person.name} appears only {'after' if after else 'before'} {at_s:.2f} s: "
            "there is nothing to split."
        )
    stays = claims.with_person(face, replace(person, pieces=before)).persons
    taken = {one.name for one in stays}
    new = next(name for n in count(2) if (name := f"{person.name} ({n})") not in taken)
    return _checked(timeline, People((*stays, Person(new, None, after))))


def forget_face(timeline: Timeline, people: People, face: int) -> People:
    """Return the people without this person; its pieces are unnamed faces again."""
    person = _Claims(timeline, people).person(face)
    if person not in people.persons:
        raise UsageError(f"{person.name} has no name that could be removed.")
    return People(tuple(one for one in people.persons if one != person))


def original_faces(
    timeline: Timeline, people: People, face: int, start_s: float, end_s: float
) -> list[tuple[int, float, float]]:
    """Return the original faces that make up a face between start_s and end_s.

    Each: original face_id, start and end in seconds. Empty if the face does not appear.
    """
    claims = _Claims(timeline, people)
    pieces = claims.seen(_clipped(claims.person(face).pieces, start_s, end_s))
    return [(p.face_id, p.from_s, min(p.until_s, end_s)) for p in pieces]


class _Claims:
    """Maps the faces of the named timeline to persons and pieces of the original faces."""

    def __init__(self, timeline: Timeline, people: People) -> None:
        self._people, self._named = people, name_people(timeline, people)
        named = self._named.metadata.get("people") or {}
        self._index = {int(face): place for place, face in enumerate(named)}
        self._face = numbers(timeline.table, "face_id")
        self._time_s = numbers(timeline.table, "time_s")

    def person(self, face: int) -> Person:
        """Return the person of a face; an unnamed one is "face <id>" with its unassigned parts."""
        if face not in numbers(self._named.table, "face_id"):
            raise UsageError(f"There is no face {face} in this recording.")
        if face in self._index:
            return self._people.persons[self._index[face]]
        left = [Piece(face)]
        for other in self._people.persons:
            for claimed in (p for p in other.pieces if p.face_id == face):
                later = _clipped(left, claimed.until_s, math.inf)
                left = [*_clipped(left, 0.0, claimed.from_s), *later]
        return Person(self._named.face_name(face), None, self.seen(_in_order(left)))

    def seen(self, pieces: Iterable[Piece]) -> tuple[Piece, ...]:
        """Return the pieces in which the face appears."""
        return tuple(p for p in pieces if p.holds(self._face, self._time_s).any())

    def with_person(self, face: int, person: Person) -> People:
        """Return the people with this person in place of the face's, or added at the end."""
        persons = list(self._people.persons)
        place = self._index.get(face, len(persons))
        return People((*persons[:place], person, *persons[place + 1 :]))


def _clipped(pieces: Sequence[Piece], start_s: float, end_s: float) -> list[Piece]:
    """Return the parts of the pieces between start_s and end_s."""
    found = []
    for piece in pieces:
        low, high = max(piece.from_s, start_s), min(piece.until_s, end_s)
        if low < high:
            found.append(replace(piece, from_s=low, to_s=None if math.isinf(high) else high))
    return found


def _in_order(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    return tuple(sorted(pieces, key=lambda p: (p.from_s, p.face_id)))


def _checked(timeline: Timeline, people: People) -> People:
    name_people(timeline, people)
    return people
