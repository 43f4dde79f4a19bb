"""What people set right in a timeline, as lanes for the coders' programs and the agreement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from moppet.timeline.coders.codes import Code, Coding, Lane
from moppet.timeline.corrections import Correction, read_corrections
from moppet.timeline.people import People

CORRECTED: Final = "corrected by"


def corrected_lanes(corrections: Sequence[Correction], people: People | None = None) -> list[Lane]:
    """Return a lane "corrected by <coder>" for each person and coder.

    Where two of one coder overlap, the later one holds. people: who the faces are; without it, and
    where nobody claims a face, the person is "face <id>".
    """
    said: dict[tuple[str, str], list[Code]] = {}
    for one in corrections:
        for person, code in divided(one, people or People()):
            lane = said.setdefault((person, one.by), [])
            kept = [part for old in lane for part in _outside(old, code.start_s, code.end_s)]
            lane[:] = [*kept, code]
    return [
        Lane(f"{CORRECTED} {by}", tuple(sorted(codes)), person)
        for (person, by), codes in sorted(said.items())
    ]


def read_corrections_coding(path: Path) -> Coding:
    """Return a file of corrections as lanes; see `corrected_lanes`."""
    return Coding(tuple(corrected_lanes(read_corrections(path))))


def divided(one: Correction, people: People) -> Iterator[tuple[str, Code]]:
    """Yield the name and the code of each part of a correction: a face may be several people."""
    rest = [Code(one.start_s, one.end_s, one.label)]
    for person in people.persons:
        for piece in person.pieces:
            until = math.inf if piece.to_s is None else piece.to_s
            start_s, end_s = max(one.start_s, piece.from_s), min(one.end_s, until)
            if piece.face_id == one.face_id and start_s < end_s:
                yield person.name, Code(start_s, end_s, one.label)
                rest = [part for code in rest for part in _outside(code, start_s, end_s)]
    for code in rest:
        yield f"face {one.face_id}", code


def _outside(code: Code, start_s: float, end_s: float) -> Iterable[Code]:
    """Return what is left of a code before start_s and after end_s."""
    before = code._replace(end_s=min(code.end_s, start_s))
    after = code._replace(start_s=max(code.start_s, end_s))
    return [part for part in (before, after) if part.start_s < part.end_s]
