"""The rows of a report of photos: each photo, its faces, and their readings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np

from moppet.pages.face_images import Thumbnail
from moppet.pages.html_tables import Cell, Row, Table, color_class
from moppet.pages.wording import format_share
from moppet.timeline import Timeline
from moppet.timeline.annotations import SLACK_S, AnnotatedTimeline, correction_parts
from moppet.timeline.readings import second_reading
from moppet.timeline.time_axis import NO_VALUE

MAX_PHOTOS: Final = 1000
_LETTERS: Final = {"display": "d", "observers": "p", None: ""}
"""Second reading → the letter of its columns."""
Bar = Sequence[tuple[str, str, float, float]]


@dataclass(frozen=True)
class PhotoFace:
    """A face in a photo, as it is drawn. who: which face, if the photo has several or it is named.

    row: of the timeline. bar: CSS class, expression, left end and width in percent of each
    probability. second: the bar of the second reading, empty if there is none. marks: "unsure",
    "low quality", and what coders said.
    """

    who: str
    row: Mapping[str, Any]
    bar: Sequence[tuple[str, str, float, float]]
    second: Sequence[tuple[str, str, float, float]]
    marks: Sequence[str]
    thumbnail: Thumbnail | None


def photos_of(
    annotated: AnnotatedTimeline, thumbnails: Sequence[Thumbnail]
) -> Iterator[tuple[str, str, list[PhotoFace]]]:
    """Yield the name and status of each photo, and its faces from left to right."""
    timeline = annotated.timeline
    image_of = {(one.face_id, one.time_s): one for one in thumbnails}
    said = [
        (who or f"face {one.face_id}", start_s, end_s, f"corrected: {one.label} by {one.by}")
        for one in annotated.corrections
        for who, start_s, end_s in correction_parts(one, annotated.people)
    ]
    second = _LETTERS[second_reading(timeline.table, timeline.names, timeline.settings)]
    for name, rows in _rows_of_photos(timeline):
        faces = sorted((r for r in rows if r["face_id"] is not None), key=lambda r: r["box_x"] or 0)
        drawn = []
        for place, row in enumerate(faces, 1):
            name_of = timeline.face_name(row["face_id"])
            title = "" if name_of == f"face {row['face_id']}" else name_of
            if len(faces) > 1:
                title = f"{name_of}, {place} of {len(faces)} from left"
            marks = ["unsure"] * bool(row["unsure"])
            marks += ["low quality"] * (row["status"] == "low_quality")
            at = row["time_s"] + SLACK_S
            marks += [text for who, a, b, text in said if who == name_of and a <= at < b]
            image = image_of.get((row["face_id"], row["time_s"]))
            bar, other = (list(_bar(row, timeline.names, letter)) for letter in ("s", second))
            drawn.append(PhotoFace(title, row, bar, other, marks, image))
        yield name, rows[0]["status"], drawn


def _rows_of_photos(timeline: Timeline) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the first MAX_PHOTOS photos: their names, and their rows."""
    frames = timeline.table.column("frame").to_numpy()
    last = np.unique(frames)[:MAX_PHOTOS][-1:]
    part = timeline.table.slice(0, int(np.searchsorted(frames, last, "right").sum()))
    for frame, rows in groupby(part.to_pylist(), key=lambda row: row["frame"]):
        yield timeline.photos[frame], list(rows)


def _bar(
    row: Mapping[str, Any], names: Sequence[str], letter: str
) -> Iterator[tuple[str, str, float, float]]:
    """Yield the parts of a reading's bar. letter: of its columns; "" for none."""
    left = 0.0
    for name in names if letter else ():
        width = 100 * (row[f"{letter}_{name}"] or 0.0)
        if width >= 0.05:
            yield color_class(name, names, grouped=False), name, left, width
        left += width


def photo_table(timeline: Timeline) -> Table:
    """Return the probabilities of each face in a photo."""
    names = timeline.names
    rows: list[Row] = []
    for file, found in _rows_of_photos(timeline):
        for row in found:
            has_face, status = row["face_id"] is not None, row["status"].replace("_", " ")
            notes = [status] * (status != "ok") + ["unsure"] * bool(row["unsure"])
            shares = [row[f"s_{name}"] for name in names]
            rows.append(
                [
                    file,
                    str(row["face_id"]) if has_face else NO_VALUE,
                    row["expression"] or NO_VALUE,
                    ", ".join(notes) or NO_VALUE,
                    *(Cell(format_share(p), sort=f"{-1 if p is None else p:.4g}") for p in shares),
                ]
            )
    head = ["image", "face", "highest", "notes", *names]
    return Table("Probability of each expression", head, rows, css="sortable tall", words=4)
