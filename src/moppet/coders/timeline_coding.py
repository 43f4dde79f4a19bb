"""A timeline and its corrections as lanes for the coders' programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.coders.codings import Code, Coding, Lane
from moppet.timeline.annotations import Correction, correction_parts
from moppet.timeline.durations import frame_times
from moppet.timeline.episodes import KINDS
from moppet.timeline.movements import LEVEL, MovementEpisode, find_movements
from moppet.timeline.people import People
from moppet.timeline.schema import class_columns, flags, numbers, texts
from moppet.timeline.smoothing import TIME_TOLERANCE_S
from moppet.timeline.table import Timeline
from moppet.values import TimelineError

NO_FACE: Final = "no face"
UNSURE: Final = "unsure"
_Numbers = NDArray[np.float64]


def coding_of(
    timeline: Timeline,
    *,
    probabilities_s: float = 1.0,
    movements: Sequence[str] = (),
    level: float = LEVEL,
    made_at: str = Coding.made_at,
    corrected: Sequence[Lane] = (),
) -> Coding:
    """Return a timeline as lanes: several for each face, and one named "no face".

    expression, group: the face's episodes; the part "probability" is their mean probability.
    unsure: the time with unsure rows. probabilities: the mean smoothed probability of each class
        in slots of probabilities_s seconds, one part for each class; none if that is 0.
    One lane for each of `movements`: its episodes from `level` on, or blinks, as `find_movements`
        gives them; the part "intensity" is their mean value.
    corrected: lanes of people's corrections from `corrected_lanes`; they come last.
    Raises TimelineError for photos, which have no times.
    """
    if timeline.photos:
        raise TimelineError(
            f"{timeline.metadata.get('source_name') or 'This'} is a set of photos, which have no "
            "times: coding programs cannot hold it. photos.csv beside the timeline has one row for "
            "each face. Analyze a folder that is a film with --sequence."
        )
    times = frame_times(timeline.table, timeline.settings)
    face = numbers(timeline.table, "face_id")
    moved = find_movements(timeline.table, timeline.settings, movements, level)
    lanes: list[Lane] = []
    for face_id in np.unique(face[~np.isnan(face)]).astype(int).tolist():
        rows = np.flatnonzero(face == face_id)
        starts = times.time_s[times.frame_of_row[rows]]
        ends = starts + np.nan_to_num(times.row_seconds[rows])
        lanes += _episode_lanes(timeline, face_id)
        lanes += _movement_lanes(moved, movements, timeline.face_name(face_id), face_id)
        lanes.append(_unsure_lane(timeline, face_id, rows, starts, ends))
        if probabilities_s > 0:
            lanes += _probability_lanes(timeline, face_id, rows, starts, ends, probabilities_s)
    absent = times.intervals("no_face")
    lanes.append(Lane(NO_FACE, tuple(Code(*s, NO_FACE) for s in absent if np.isfinite(s.end_s))))
    about = timeline.metadata
    duration_s, frames = about.get("duration_s"), about.get("frame_count")
    return Coding(
        (*lanes, *corrected),
        source_name=_as_unicode(about.get("source_name")),
        duration_s=duration_s,
        fps=frames / duration_s if frames and duration_s else None,
        made_at=made_at,
    )


def frame_coding(timeline: Timeline) -> Coding:
    """Return a timeline as a coder's codes: the expression of every face in every frame.

    One lane for each face; frames without an expression have no code. Equal frames in a row are
    one code. So a true timeline, or another analysis, is compared frame by frame.
    """
    times = frame_times(timeline.table, timeline.settings)
    face, expression = numbers(timeline.table, "face_id"), texts(timeline.table, "expression")
    lanes: list[Lane] = []
    for face_id in np.unique(face[~np.isnan(face)]).astype(int).tolist():
        rows = np.flatnonzero(face == face_id)
        starts = times.time_s[times.frame_of_row[rows]]
        ends = starts + np.nan_to_num(times.row_seconds[rows])
        codes: list[Code] = []
        for start_s, end_s, row in zip(starts.tolist(), ends.tolist(), rows, strict=True):
            label = expression[row]
            if label is None:
                continue
            last = codes[-1] if codes else None
            if last and last.label == label and start_s <= last.end_s + TIME_TOLERANCE_S:
                start_s = codes.pop().start_s
            codes.append(Code(start_s, end_s, label))
        lanes.append(Lane("expression", tuple(codes), timeline.face_name(face_id)))
    about = timeline.metadata
    return Coding(
        tuple(lanes),
        source_name=_as_unicode(about.get("source_name")),
        duration_s=about.get("duration_s"),
    )


def _as_unicode(name: str | None) -> str | None:
    """Return a file name with ? in place of invalid Unicode, as in names from other systems."""
    return name and name.encode("utf-8", "replace").decode("utf-8")


def _episode_lanes(timeline: Timeline, face_id: int) -> Iterator[Lane]:
    for kind in KINDS:
        found = [e for e in timeline.episodes(kind) if e.face_id == face_id]
        spans = [(e.start_s, e.end_s) for e in found]
        means = [f"{e.mean_probability:.2f}" for e in found]
        for part, labels in (("", [e.label for e in found]), ("probability", means)):
            codes = tuple(Code(*span, label) for span, label in zip(spans, labels, strict=True))
            yield Lane(kind, codes, timeline.face_name(face_id), part)


def _movement_lanes(
    found: Sequence[MovementEpisode], movements: Sequence[str], person: str, face_id: int
) -> Iterator[Lane]:
    for name in movements:
        mine = [one for one in found if (one.face_id, one.movement) == (face_id, name)]
        for part, labels in (
            ("", [one.label for one in mine]),
            ("intensity", [f"{one.mean:.2f}" for one in mine]),
        ):
            spans = zip(mine, labels, strict=True)
            codes = tuple(Code(one.start_s, one.end_s, label) for one, label in spans)
            yield Lane(name, codes, person, part)


def _unsure_lane(
    timeline: Timeline, face_id: int, rows: Any, starts: _Numbers, ends: _Numbers
) -> Lane:
    codes: list[Code] = []
    for row in np.flatnonzero(flags(timeline.table, "unsure")[rows]):
        start_s, end_s = float(starts[row]), float(ends[row])
        if codes and start_s <= codes[-1].end_s + TIME_TOLERANCE_S:
            start_s = codes.pop().start_s
        codes.append(Code(start_s, end_s, UNSURE))
    return Lane(UNSURE, tuple(codes), timeline.face_name(face_id))


def _probability_lanes(
    timeline: Timeline, face_id: int, rows: Any, starts: _Numbers, ends: _Numbers, step_s: float
) -> Iterator[Lane]:
    smoothed = class_columns(timeline.table, "s_", timeline.names)[rows]
    slot = np.floor(starts / step_s + TIME_TOLERANCE_S).astype(np.int64)
    known = np.flatnonzero(~np.isnan(smoothed).any(axis=1) & (slot >= 0))
    known = known[np.argsort(slot[known], kind="stable")]
    numbers_used, first, n = np.unique(slot[known], return_index=True, return_counts=True)
    last_s = float(ends.max())
    spans = [(i * step_s, min((i + 1) * step_s, last_s)) for i in numbers_used.tolist()]
    for column, name in enumerate(timeline.names):
        sums = np.add.reduceat(smoothed[known, column], first) if len(first) else np.zeros(0)
        means = (sums / n).tolist()
        codes = (Code(*span, f"{mean:.2f}") for span, mean in zip(spans, means, strict=True))
        yield Lane("probabilities", tuple(codes), timeline.face_name(face_id), name)


def corrected_lanes(corrections: Sequence[Correction], people: People | None = None) -> list[Lane]:
    """Return a lane "corrected by <coder>" for each person and coder.

    Where two corrections of one coder overlap, the later one counts. people: the names of the
    faces; a face without a name is "face <id>".
    """
    found: dict[tuple[str, str], list[Code]] = {}
    for one in corrections:
        for person, code in split_by_person(one, people or People()):
            lane = found.setdefault((person, one.by), [])
            kept = [part for old in lane for part in _outside(old, code.start_s, code.end_s)]
            lane[:] = [*kept, code]
    return [
        Lane(f"corrected by {by}", tuple(sorted(codes)), person)
        for (person, by), codes in sorted(found.items())
    ]


def split_by_person(one: Correction, people: People) -> Iterator[tuple[str, Code]]:
    """Yield the name and code of each part of a correction; a face track may be several people."""
    for name, start_s, end_s in correction_parts(one, people):
        yield name or f"face {one.face_id}", Code(start_s, end_s, one.label)


def _outside(code: Code, start_s: float, end_s: float) -> Iterable[Code]:
    """Return the parts of a code before start_s and after end_s."""
    before = code._replace(end_s=min(code.end_s, start_s))
    after = code._replace(start_s=max(code.start_s, end_s))
    return [part for part in (before, after) if part.start_s < part.end_s]
