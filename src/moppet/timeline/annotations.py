"""Corrections by coders, and timelines together with their annotation layers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from annotated_types import Interval
from numpy.typing import NDArray

from moppet.config import check_settings
from moppet.files import parse_json, read_bytes
from moppet.timeline.durations import frame_times
from moppet.timeline.formats import check_values
from moppet.timeline.people import (
    People,
    check_layer,
    layer_origin,
    name_people,
    people_path,
    read_people,
)
from moppet.timeline.schema import flags, numbers, present, rows_of_faces, texts, valence
from moppet.timeline.summary import summarize_faces
from moppet.timeline.table import THINNED, Timeline, read_thinned, read_timeline
from moppet.values import TimelineError, UsageError

CORRECTIONS_SUFFIX: Final = ".corrections.jsonl"
_MAX_NAME: Final = 60
SLACK_S: Final = 5e-4
"""The page rounds times to milliseconds."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A coder's label for a face from start_s to end_s.

    face_id: of the original timeline, before people are named. by: the coder's name.
    at: ISO 8601, UTC. number: 1, 2, … in the order of creation. source_sha256, tracks_sha256: of
    the timeline, see `layer_origin`; None in files of moppet 0.1.
    Raises UsageError for invalid times, or a name or label that is empty or too long.
    """

    number: Annotated[int, Interval(ge=1, lt=2**53)]
    face_id: Annotated[int, Interval(ge=0, lt=2**31)]
    start_s: float
    end_s: float
    label: str
    by: str
    at: str
    source_sha256: str | None = None
    tracks_sha256: str | None = None

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


def read_corrections(path: Path, origin: Mapping[str, Any] | None = None) -> list[Correction]:
    """Return the corrections that have not been undone, in order of creation.

    origin: of the timeline that they correct, see `layer_origin`. An incomplete last line is
    ignored. Raises TimelineError if the file is invalid or unreadable, or was written for another
    recording, or for another analysis of it.
    """
    valid, _ = _read(path)
    for hashes in dict.fromkeys((one.source_sha256, one.tracks_sha256) for one in valid.values()):
        check_layer(path, *hashes, origin or {})
    return list(valid.values())


def add_correction(path: Path, **fields: Any) -> Correction:
    """Append a correction to the file and return it. fields: those of Correction except number.

    Raises UsageError for invalid fields, TimelineError if the file cannot be written, or holds
    corrections of another recording or analysis.
    """
    valid, last = _read(path) if path.exists() else ({}, 0)
    correction = Correction(number=last + 1, **fields)
    for one in valid.values():
        check_layer(path, one.source_sha256, one.tracks_sha256, fields)
    _append(path, {key: value for key, value in asdict(correction).items() if value is not None})
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
    empty; the corrections refer to the faces of the original timeline. path: of the file that it
    was read from. origin: what its layers must have been written for, see `layer_origin`.
    """

    timeline: Timeline
    people: People
    corrections: list[Correction]
    path: Path | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Return `Timeline.summary()`, and the figures that include the corrections beside it.

        `timeline` is the path of the file, if it was read from one. If there are corrections,
        `corrected` has the same figures of the faces after the coders' corrections, whose rows
        count as sure; the page "Timeline" describes it.
        """
        found = self.timeline.summary()
        if self.path is not None:
            found["timeline"] = str(self.path)
        if self.corrections:
            found["corrected"] = _corrected_summary(self)
        return found


def read_annotated(
    path: Path, people: Path | None = None, *, thin: bool = False
) -> AnnotatedTimeline:
    """Read a timeline file and the layers beside it.

    people: a file of people; by default the one beside the timeline, if it exists. thin: for a
    report; of a very long recording, only every k-th frame is read, see `read_thinned`.
    Raises TimelineError if a file is invalid, unreadable or too large to be read whole, or a layer
    was written for another recording or analysis; UsageError if a face or a time of a layer is not
    in the timeline.
    """
    check_values(path, thin=thin)
    timeline = read_thinned(path) if thin else read_timeline(path)
    return replace(annotate(timeline, path, people), path=path)


def annotate(timeline: Timeline, path: Path, people: Path | None = None) -> AnnotatedTimeline:
    """Return a timeline with the layers beside its file; see `read_annotated`."""
    people_file, corrections_file = people or people_path(path), corrections_path(path)
    origin = layer_origin(timeline)
    named = read_people(people_file, origin) if people or people_file.is_file() else People()
    is_corrected = corrections_file.is_file()
    corrections = read_corrections(corrections_file, origin) if is_corrected else []
    _check_faces(timeline, corrections, corrections_file)
    return AnnotatedTimeline(name_people(timeline, named), named, corrections, origin=origin)


def _check_faces(timeline: Timeline, corrections: Sequence[Correction], path: Path) -> None:
    """Raise UsageError if a correction is of a face, or of a time, that is not in the timeline."""
    if THINNED in timeline.metadata:
        return  # short stretches may have no frame left
    rows = _FaceRows(timeline)
    for one in corrections:
        if not len(rows.of(one.face_id, one.start_s, one.end_s)):
            raise UsageError(
                f"Correction {one.number} in {path} is of face {one.face_id} from "
                f"{one.start_s:.2f} to {one.end_s:.2f} s, where this timeline does not have that "
                "face. Is the file beside the timeline that was corrected?"
            )


class _FaceRows:
    """The rows of each face of a timeline, by time."""

    def __init__(self, timeline: Timeline) -> None:
        self._time_s = numbers(timeline.table, "time_s")
        self._rows = rows_of_faces(numbers(timeline.table, "face_id"), self._time_s)

    def of(self, face_id: int, start_s: float, end_s: float) -> NDArray[np.int64]:
        """Return the rows of a face for start_s ≤ time < end_s, to half a millisecond."""
        rows = self._rows.get(face_id, np.zeros(0, np.int64))
        low, high = np.searchsorted(self._time_s[rows], [start_s - SLACK_S, end_s - SLACK_S])
        return np.asarray(rows[low:high], np.int64)


def correction_parts(one: Correction, people: People) -> Iterator[tuple[str | None, float, float]]:
    """Yield the parts of a correction: whose each is, and its start and end in seconds.

    A track of a face may be several people. None: nobody's, so the face keeps its number.
    """
    rest = [(one.start_s, one.end_s)]
    for person in people.persons:
        for piece in (piece for piece in person.pieces if piece.face_id == one.face_id):
            start_s, end_s = max(one.start_s, piece.from_s), min(one.end_s, piece.until_s)
            if start_s < end_s:
                yield person.name, start_s, end_s
                around = [((a, min(b, start_s)), (max(a, end_s), b)) for a, b in rest]
                rest = [(a, b) for pair in around for a, b in pair if a < b]
    for start_s, end_s in rest:
        yield None, start_s, end_s


class Corrected(NamedTuple):
    """A timeline's rows after the corrections.

    table: the timeline's columns, and s_<label> of labels that only the coders use; `names` are the
    classes with those labels. is_corrected: (n,) the corrected rows; is_disputed: (n,) those that
    two coders corrected differently.
    """

    table: Any
    names: tuple[str, ...]
    coders: list[str]
    is_corrected: NDArray[np.bool_]
    is_disputed: NDArray[np.bool_]


def correct(annotated: AnnotatedTimeline) -> Corrected:
    """Return the rows in which every corrected one has its coder's label, and counts as sure.

    Where corrections overlap, the latest one counts.
    """
    timeline, corrections = annotated.timeline, annotated.corrections
    new = {one.label: None for one in corrections if one.label not in timeline.names}
    names = (*timeline.names, *new)
    coders = list(dict.fromkeys(one.by for one in corrections))
    rows, n = _FaceRows(timeline), timeline.table.num_rows
    label, coder, is_disputed = np.full(n, -1), np.full(n, -1), np.zeros(n, np.bool_)
    id_of = {
        person["name"]: int(i) for i, person in (timeline.metadata.get("people") or {}).items()
    }
    for one in corrections:
        code, by = names.index(one.label), coders.index(one.by)
        for name, start_s, end_s in correction_parts(one, annotated.people):
            if name is None and one.face_id in id_of.values():
                continue  # this number is a person's now, so nobody else has a row here
            face_id = one.face_id if name is None else id_of[name]
            mine = rows.of(face_id, start_s, end_s)
            differs = (label[mine] >= 0) & (coder[mine] != by)
            is_disputed[mine] = np.where(differs, label[mine] != code, is_disputed[mine])
            label[mine], coder[mine] = code, by
    table = _corrected_table(timeline, names, label)
    return Corrected(table, names, coders, label >= 0, is_disputed)


def _corrected_summary(annotated: AnnotatedTimeline) -> dict[str, Any]:
    """Return the figures of the faces in which corrected rows have their coder's label."""
    timeline, found = annotated.timeline, correct(annotated)
    seconds = frame_times(timeline.table, timeline.settings).row_seconds
    if timeline.photos:
        seconds = np.full(len(seconds), np.nan)
    return {
        "coders": found.coders,
        "corrections": len(annotated.corrections),
        "time_corrected_s": _sum_s(seconds[found.is_corrected]),
        "time_disputed_s": _sum_s(seconds[found.is_disputed]),
        **summarize_faces(timeline, found.table, found.names),
    }


def _sum_s(seconds: NDArray[np.float64]) -> float | None:
    return math.fsum(seconds) if np.isfinite(seconds).all() else None


def _corrected_table(timeline: Timeline, names: Sequence[str], label: NDArray[np.int64]) -> Any:
    """Return the table with the probability of corrected labels set to 1, and no doubt there."""
    table, mine = timeline.table, label >= 0
    of_label = np.array([*names, None], np.object_)
    groups = np.array([*(timeline.group_of.get(name) for name in names), None], np.object_)
    columns = {
        "expression": np.where(mine, of_label[label], texts(table, "expression")),
        "group": np.where(mine, groups[label], texts(table, "group")),
        "status": np.where(mine, "ok", texts(table, "status")),
        "quality": np.where(mine, 1, numbers(table, "quality")),
        "unsure": np.where(mine, False, flags(table, "unsure")),
    }
    for place, name in enumerate(names):
        column = f"s_{name}"
        if column in table.column_names:
            before = numbers(table, column)
        else:  # a coder's own label
            before = np.where(present(table, "expression"), 0.0, np.nan)
        columns[column] = np.where(mine, label == place, before)
    smoothed = np.column_stack([columns[f"s_{name}"] for name in names])
    columns["valence"] = valence(smoothed, names)
    for name, values in columns.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array(values, pa.float32(), from_pandas=True))
            continue
        place, kind = table.column_names.index(name), table.schema.field(name).type
        table = table.set_column(place, name, pa.array(values, kind, from_pandas=True))
    return table
