"""Changes to who is who, as a person makes them by hand: name, join, divide, forget.

Each takes the machine's own timeline and its people so far, and a face of the timeline that
`name_people` makes of both; each returns the people afterwards, or raises UsageError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from moppet.timeline.people import People, Person, Piece, name_people
from moppet.timeline.schema import numbers
from moppet.timeline.table import Timeline
from moppet.values import UsageError

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
