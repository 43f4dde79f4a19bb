"""The rows of a study's tables, from one recording with its names and corrections."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from moppet.timeline.annotations import AnnotatedTimeline, Corrected, correct
from moppet.timeline.blinks import BLINK, find_blinks
from moppet.timeline.durations import frame_times
from moppet.timeline.episodes import find_episodes
from moppet.timeline.movements import (
    MovementEpisode,
    find_movements,
    movement_labels,
    movements_in,
)
from moppet.timeline.schema import MOVEMENT, flags, numbers, rows_of_faces, texts
from moppet.timeline.summary import UNNAMED, name_and_role
from moppet.timeline.table import Timeline

KINDS: Final = ("expression", "group", "movement", "blink", "valence")
"""What a row of the summary can be about."""
_FIGURES: Final = (
    "time_s",
    "time_sure_s",
    "time_unsure_s",
    "share",
    "share_with_unsure",
    "episodes",
    "per_min",
    "mean_s",
    "longest_s",
    "mean",
)
_CORRECTED: Final = tuple(name for name in _FIGURES if name != "time_unsure_s")
SUMMARY_COLUMNS: Final = (
    *("person", "role", "kind", "label"),
    *_FIGURES,
    *(f"corrected_{name}" for name in _CORRECTED),
    *("face_s", "face_sure_s", "face_unsure_s", "corrected_face_sure_s"),
    *("analyzed_s", "faceless_s", "corrections"),
)
EPISODE_COLUMNS: Final = (
    *("person", "role", "kind", "label"),
    *("start_s", "end_s", "duration_s", "mean"),
)
CORRECTED_COLUMNS: Final = ("corrected_expression", "corrected_group", "corrected_unsure")
"""Columns that frames have besides those of a timeline: the labels after the corrections."""

Row = dict[str, Any]


class _Face(NamedTuple):
    """One face of a recording, or one person; rows: (n,) of the table, in order of time."""

    face_id: int
    person: str
    role: str
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class RecordingTables:
    """The tables of one recording, each a list of rows by column; recording columns are not in it.

    summary: SUMMARY_COLUMNS; a row for each person and label. episodes, corrected_episodes:
    EPISODE_COLUMNS; before and after the corrections. frames: pyarrow.Table, the timeline's columns
    after `person`, `role` and before CORRECTED_COLUMNS. facts: what the list of recordings has.
    """

    summary: list[Row]
    episodes: list[Row]
    corrected_episodes: list[Row]
    frames: Any
    facts: Row


def recording_tables(annotated: AnnotatedTimeline) -> RecordingTables:
    """Return the tables of one recording. Undefined values are None."""
    timeline, summary = annotated.timeline, annotated.summary()
    corrected = correct(annotated) if annotated.corrections else None
    faces = _faces(timeline)
    movements = _Movements(timeline)
    episodes: list[_Stretch | MovementEpisode] = [
        *_episodes(timeline, timeline.table, timeline.names),
        *movements.episodes,
    ]
    after = episodes
    if corrected is not None:
        after = [*_episodes(timeline, corrected.table, corrected.names), *movements.episodes]
    rows = [row for face in faces for row in _summary_rows(face, summary, movements)]
    of = {face.face_id: face for face in faces}
    return RecordingTables(
        summary=rows,
        episodes=[_episode_row(of[one.face_id], one) for one in _sorted(episodes)],
        corrected_episodes=[_episode_row(of[one.face_id], one) for one in _sorted(after)],
        frames=_frames(timeline, faces, corrected),
        facts=_facts(annotated, summary, faces),
    )


def _faces(timeline: Timeline) -> list[_Face]:
    table = timeline.table
    found = rows_of_faces(numbers(table, "face_id"), numbers(table, "time_s"))
    known = ((i, *name_and_role(timeline.metadata, i), rows) for i, rows in found.items())
    return [_Face(i, name, role or UNNAMED, rows) for i, name, role, rows in known]


class _Movements:
    """The movements of a recording: their episodes, and the figures of each face."""

    def __init__(self, timeline: Timeline) -> None:
        table, settings = timeline.table, timeline.settings
        self.names = movements_in(table)
        self.episodes = find_movements(table, settings, self.names)
        self._table = table
        self._time_s = numbers(table, "time_s")
        self._seconds = frame_times(table, settings).row_seconds
        self._sure = ~flags(table, "unsure")
        self._watched_s = {i: found.watched_s for i, found in find_blinks(table).items()}
        self._of: dict[tuple[int, str], list[MovementEpisode]] = {}
        for one in self.episodes:
            self._of.setdefault((one.face_id, one.label), []).append(one)

    def figures(self, face: _Face) -> Iterator[tuple[str, str, Row]]:
        """Yield kind, label and figures of each movement of a face."""
        for name in self.names:
            values = numbers(self._table, MOVEMENT + name)[face.rows]
            for place, label in enumerate(movement_labels(name)):
                shown = np.maximum(-values if place else values, 0)
                found = self._of.get((face.face_id, label), [])
                yield (
                    "blink" if name == "blink" else "movement",
                    label,
                    self._of_label(face, name, shown, found),
                )

    def _of_label(
        self, face: _Face, name: str, values: NDArray[np.float64], found: list[MovementEpisode]
    ) -> Row:
        """values: (n,) of the face's rows, NaN where the movement was not measured."""
        time_s, seconds = self._time_s[face.rows], self._seconds[face.rows]
        sure, known = self._sure[face.rows], ~np.isnan(values)
        on = np.zeros(len(time_s), np.bool_)
        for one in found:
            first, stop = np.searchsorted(time_s, [one.start_s - 1e-9, one.end_s - 1e-9])
            on[first:stop] = True
        lengths = [one.end_s - one.start_s for one in found]
        watched_s: float | None = _sum(seconds[known])
        count: int | None = len(found)
        if name == "blink" and f"{MOVEMENT}{name}" == BLINK:
            watched_s = self._watched_s.get(face.face_id)
            count = None if watched_s is None else count
        return {
            "time_s": _sum(seconds[on]),
            "time_sure_s": _sum(seconds[on & sure]),
            "time_unsure_s": _sum(seconds[on & ~sure]),
            "share": _ratio(_sum(seconds[on & sure]), _sum(seconds[known & sure])),
            "share_with_unsure": _ratio(_sum(seconds[on]), _sum(seconds[known])),
            "episodes": count,
            "per_min": _per_min(count, watched_s),
            "mean_s": math.fsum(lengths) / len(lengths) if lengths else None,
            "longest_s": max(lengths, default=None),
            "mean": _ratio(_sum((values * seconds)[known & sure]), _sum(seconds[known & sure])),
        }


def _summary_rows(face: _Face, summary: Mapping[str, Any], movements: _Movements) -> Iterator[Row]:
    key, corrected = str(face.face_id), summary.get("corrected")
    machine = summary["faces"][key]
    after = corrected["faces"][key] if corrected else machine
    common = {
        "face_s": machine["time_s"],
        "face_sure_s": machine["time_sure_s"],
        "face_unsure_s": machine["time_unsure_s"],
        "corrected_face_sure_s": after["time_sure_s"],
        "analyzed_s": summary["analyzed_s"],
        "faceless_s": summary["time_without_face_s"],
        "corrections": corrected["corrections"] if corrected else 0,
    }
    head = {"person": face.person, "role": face.role}
    for kind, part in (("expression", "expressions"), ("group", "groups")):
        for label in dict.fromkeys((*machine[part], *after[part])):
            own = _label_figures(machine[part].get(label), machine["time_s"])
            theirs = _label_figures(after[part].get(label), after["time_s"])
            yield {**head, "kind": kind, "label": label, **own, **_as_corrected(theirs), **common}
    valence = {"mean": machine["mean_valence"], "corrected_mean": after["mean_valence"]}
    yield {**head, "kind": "valence", "label": "valence", **valence, **common}
    for kind, label, figures in movements.figures(face):
        yield {**head, "kind": kind, "label": label, **figures, **common}


def _label_figures(figures: Mapping[str, Any] | None, face_s: float | None) -> Row:
    """Return the figures of a label in a summary; {} for a label that only the coders use."""
    if figures is None:
        return {}
    row = {name: figures[name] for name in _FIGURES if name in figures}
    return row | {"per_min": _per_min(figures["episodes"], face_s)}


def _as_corrected(figures: Row) -> Row:
    return {f"corrected_{name}": value for name, value in figures.items() if name in _CORRECTED}


@dataclass(frozen=True)
class _Stretch:
    face_id: int
    kind: str
    label: str
    start_s: float
    end_s: float
    mean: float


def _episodes(timeline: Timeline, table: Any, names: Sequence[str]) -> list[_Stretch]:
    found = find_episodes(table, names, timeline.group_of, timeline.settings)
    return [
        _Stretch(e.face_id, e.kind, e.label, e.start_s, e.end_s, e.mean_probability) for e in found
    ]


def _sorted(episodes: Sequence[_Stretch | MovementEpisode]) -> list[_Stretch | MovementEpisode]:
    return sorted(episodes, key=lambda one: (one.start_s, one.face_id, _kind(one), one.label))


def _kind(one: _Stretch | MovementEpisode) -> str:
    if isinstance(one, _Stretch):
        return one.kind
    return "blink" if one.movement == "blink" else "movement"


def _episode_row(face: _Face, one: _Stretch | MovementEpisode) -> Row:
    return {
        "person": face.person,
        "role": face.role,
        "kind": _kind(one),
        "label": one.label,
        "start_s": one.start_s,
        "end_s": one.end_s,
        "duration_s": one.end_s - one.start_s,
        "mean": one.mean,
    }


def _frames(timeline: Timeline, faces: Sequence[_Face], corrected: Corrected | None) -> Any:
    """Return the timeline's table with the person of each row, and the corrected labels."""
    table = timeline.table
    person = np.full(table.num_rows, None, np.object_)
    role = person.copy()
    for face in faces:
        person[face.rows], role[face.rows] = face.person, face.role
    after = table if corrected is None else corrected.table
    labels = (texts(after, "expression"), texts(after, "group"))
    columns = {"person": pa.array(person, pa.string()), "role": pa.array(role, pa.string())}
    columns |= {name: table.column(name) for name in table.column_names}
    columns |= {
        name: pa.array(values, pa.string())
        for name, values in zip(CORRECTED_COLUMNS, labels, strict=False)
    }
    columns[CORRECTED_COLUMNS[2]] = after.column("unsure")
    return pa.table(columns)


def _facts(annotated: AnnotatedTimeline, summary: Mapping[str, Any], faces: Sequence[_Face]) -> Row:
    """Return what a study's list of recordings has of one recording."""
    about, corrected = annotated.timeline.metadata, summary.get("corrected")
    return {
        "source_name": about.get("source_name"),
        "source_sha256": about.get("source_sha256"),
        "complete": about.get("complete"),
        "frames": summary["frames"]["total"],
        "duration_s": summary["duration_s"],
        "analyzed_s": summary["analyzed_s"],
        "with_face_s": summary["time_with_face_s"],
        "faceless_s": summary["time_without_face_s"],
        "unreadable_s": summary["time_unreadable_s"],
        "unsure_s": summary["time_unsure_s"],
        "people": "; ".join(face.person for face in faces),
        "corrections": corrected["corrections"] if corrected else 0,
        "corrected_s": corrected["time_corrected_s"] if corrected else 0.0,
        "coders": "; ".join(corrected["coders"]) if corrected else None,
        **{
            name: about.get(name)
            for name in ("model_name", "model_sha256", "detector", "moppet_version", "analyzed_at")
        },
    }


RECORDING_COLUMNS: Final = (
    *("source_name", "complete", "frames", "duration_s", "analyzed_s", "with_face_s"),
    *("faceless_s", "unreadable_s", "unsure_s", "people", "corrections", "corrected_s", "coders"),
    *("model_name", "model_sha256", "detector", "moppet_version", "analyzed_at"),
)
"""Columns of recordings.csv after those of the list."""


def _sum(seconds: NDArray[np.float64]) -> float | None:
    total_s = math.fsum(seconds.tolist())
    return total_s if math.isfinite(total_s) else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _per_min(count: int | None, seconds: float | None) -> float | None:
    return 60 * count / seconds if count is not None and seconds else None
