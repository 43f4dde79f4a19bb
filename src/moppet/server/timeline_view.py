"""A timeline as the page draws it: downsampled curves, and boxes by time.

While a recording is being analyzed, the view contains the frames in its journal so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.coders.timeline_coding import split_by_person
from moppet.pages.movement_lanes import movement_rows
from moppet.timeline import Timeline, read_unfinished
from moppet.timeline.annotations import (
    AnnotatedTimeline,
    Correction,
    corrections_path,
    read_annotated,
)
from moppet.timeline.downsample import RowBins
from moppet.timeline.durations import frame_times
from moppet.timeline.movements import movements_in
from moppet.timeline.people import People, people_path
from moppet.timeline.readings import second_probabilities, second_reading
from moppet.timeline.schema import MOVEMENT, numbers
from moppet.timeline.summary import name_and_role
from moppet.values import UsageError

Json = dict[str, Any]
TIMELINE: Final = "timeline.parquet"
JOURNAL: Final = "journal.arrows"
MOST_POINTS: Final = 4000
_LARGEST_FACE: Final = 2**31
LONGEST_S: Final = 60.0
"""The longest stretch of boxes in one request."""


class TimelineView:
    """A timeline as arrays, for quick access to any stretch."""

    def __init__(
        self,
        timeline: Timeline,
        people: People | None = None,
        corrections: Sequence[Correction] = (),
    ) -> None:
        self.timeline, self._people = timeline, people or People()
        self._valid = corrections
        table = timeline.table
        self.time_s = table["time_s"].to_numpy()
        self.face = np.asarray(table["face_id"].to_numpy(zero_copy_only=False), np.float64)
        columns = [table[f"s_{name}"].to_numpy(zero_copy_only=False) for name in timeline.names]
        self.smoothed: NDArray[np.float32] = np.stack(columns, axis=1).astype(np.float32)
        self.movements = movements_in(table)
        moved = ("valence", *(MOVEMENT + name for name in self.movements))
        self.moved = np.column_stack([numbers(table, name) for name in moved])
        reading = table, timeline.names, timeline.settings
        self.second = None if timeline.photos else second_reading(*reading)
        self.second_smoothed = second_probabilities(*reading) if self.second else None
        unsure = table["unsure"].to_pylist()
        self.unsure = np.array([bool(u) for u in unsure], bool)

    def head(self) -> Json:
        """Return the classes, faces, episodes, corrections and absences of the recording."""
        timeline = self.timeline
        numbers = np.unique(self.face[~np.isnan(self.face)]).astype(int).tolist()
        faces = sorted(map(self._face, numbers), key=lambda face: (-face["rows"], face["id"]))
        length = timeline.metadata.get("duration_s")
        duration = float(length) if isinstance(length, int | float) else math.nan
        last = float(self.time_s[-1]) if len(self.time_s) else 0.0
        times = frame_times(timeline.table, timeline.settings)
        faceless = [] if timeline.photos else times.intervals("no_face")
        return {
            "name": timeline.metadata.get("source_name"),
            "names": list(timeline.names),
            "groups": dict(timeline.group_of),
            "duration_s": max(last, duration) if math.isfinite(duration) else last,
            "size_px": [timeline.metadata.get("width"), timeline.metadata.get("height")],
            "complete": bool(timeline.metadata.get("complete")),
            "photos": self._photos(),
            "faces": faces,
            "episodes": [
                {
                    "face": one.face_id,
                    "label": one.label,
                    "start_s": round(one.start_s, 3),
                    "end_s": round(one.end_s, 3),
                    "mean": round(one.mean_probability, 3),
                }
                for one in timeline.episodes("expression")
            ],
            "faceless": [_rounded(np.asarray(one)) for one in faceless],
            "shares": self._shares(),
            "second": self.second,
            "movements": self._movement_lanes(),
            "blinks": [
                {"face": one.face_id, "start_s": round(one.start_s, 3)} for one in timeline.blinks()
            ],
            "people": self._people.as_json(),
            "corrections": self._corrections({face["name"]: face["id"] for face in faces}),
        }

    def _movement_lanes(self) -> list[Json]:
        """Return the lanes of valence and movements; `at`: their places in `curves` "moved"."""
        if not self.movements or self.timeline.photos:
            return []
        rows = movement_rows(self.movements)
        return [
            {"kind": row.kind, "title": row.title, "about": row.about, "at": row.at} for row in rows
        ]

    def _photos(self) -> list[Json]:
        """Return each photo's file name, status and time (its number), and the readings in it."""
        files = self.timeline.photos
        if not files:
            return []
        of_face = ("expression", "group", "confidence", "unsure", "status")
        columns = ["frame", "time_s", "face_id", *of_face]
        found: dict[int, Json] = {}
        for row in self.timeline.table.select(columns).to_pylist():
            known = {"file": files[row["frame"]], "at_s": row["time_s"], "status": row["status"]}
            photo = found.setdefault(row["frame"], {**known, "faces": []})
            if row["face_id"] is not None:
                photo["faces"].append({"id": row["face_id"]} | {key: row[key] for key in of_face})
        return list(found.values())

    def _shares(self) -> Json:
        """Return each face's shares of sure time and its unsure time, by face number or "all".

        corrected: the share with the coders' corrections; null if there are none. Photos have
        `unsure_faces` in place of the unsure time.
        """
        summary = AnnotatedTimeline(self.timeline, self._people, list(self._valid)).summary()
        corrected = (summary.get("corrected") or {}).get("faces")

        def figures(number: str, face: Json, kind: str) -> list[Json]:
            other = None if corrected is None else corrected[number][kind]
            labels = face[kind] if other is None else other
            none: Json = {"share": None, "time_unsure_s": None}
            none |= {"unsure_faces": 0} if self.timeline.photos else {}
            return [
                {
                    "label": label,
                    **{name: face[kind].get(label, none)[name] for name in none},
                    "corrected": None if other is None else other[label]["share"],
                }
                for label in labels
            ]

        return {
            number: {kind: figures(number, face, kind) for kind in ("groups", "expressions")}
            for number, face in summary["faces"].items()
        }

    def _face(self, number: int) -> Json:
        at = self.time_s[self.face == number]
        name, role = name_and_role(self.timeline.metadata, number)
        times = {"from_s": float(at[0]), "to_s": float(at[-1])}
        return {"id": number, "name": name, "role": role, **times, "rows": len(at)}

    def _corrections(self, id_of: dict[str, int]) -> list[Json]:
        """Return the valid corrections in order of creation, with the current face numbers."""
        return [
            {
                "number": one.number,
                "face": id_of[name],
                "start_s": round(code.start_s, 3),
                "end_s": round(code.end_s, 3),
                "label": code.label,
                "by": one.by,
                "at": one.at,
            }
            for one in self._valid
            for name, code in split_by_person(one, self._people)
            if name in id_of
        ]

    def curves(self, face: int, start_s: float, end_s: float, points: int) -> Json:
        """Return a face's smoothed probabilities from start to end, in at most `points` points.

        Each point is the mean of its rows; null where the face is missing for over max_gap_s.
        `unsure`: share of unsure rows in the point. second: the same of the second reading, if
        there is one. moved: valence and each movement, the value of each point furthest from 0;
        only with movements.
        """
        _check_span(start_s, end_s)
        if not 0 <= face <= _LARGEST_FACE:
            raise UsageError("There is no face of this number.")
        points = max(2, min(points, MOST_POINTS))
        inside = (self.face == face) & (self.time_s >= start_s) & (self.time_s <= end_s)
        rows = np.flatnonzero(inside & ~np.isnan(self.smoothed[:, 0]))
        bin_of_row = np.arange(len(rows))
        if len(rows) > points:
            width = (end_s - start_s) / points
            place = ((self.time_s[rows] - start_s) / width).astype(np.int64)
            bin_of_row = np.minimum(place, points - 1)
        bins = RowBins.of(bin_of_row)
        time_s, smoothed = bins.means(self.time_s[rows]), bins.means(self.smoothed[rows])
        unsure = bins.means(self.unsure[rows])
        of_rows = self.time_s[rows]
        between = of_rows[bins.first[1:]] - of_rows[bins.first[1:] - 1]
        away = np.flatnonzero(between > self.timeline.settings.max_gap_s) + 1
        time_s = np.insert(time_s, away, np.nan)
        smoothed, unsure = np.insert(smoothed, away, np.nan, 0), np.insert(unsure, away, np.nan)
        found: Json = {
            "time_s": _rounded(time_s),
            "s": {name: _rounded(smoothed[:, i]) for i, name in enumerate(self.timeline.names)},
            "unsure": _rounded(unsure),
        }
        if self.second_smoothed is not None:
            second = np.insert(bins.means(self.second_smoothed[rows]), away, np.nan, 0)
            names = enumerate(self.timeline.names)
            found["second"] = {name: _rounded(second[:, i]) for i, name in names}
        if self.movements:
            shown = bins.extremes(self.moved[rows]) if len(rows) else self.moved[rows]
            moved = np.insert(shown, away, np.nan, 0)
            found["moved"] = [_rounded(column) for column in moved.T]
        return found

    def boxes(self, start_s: float, end_s: float) -> list[Json]:
        """Return the rows from start to end, at most a minute: each face's box and expression.

        Rows of frames without a face have no box. With a second reading, `second` is its
        expression and probability, null without a face.
        """
        _check_span(start_s, end_s)
        end_s = min(end_s, start_s + LONGEST_S)
        low, high = np.searchsorted(self.time_s, [start_s, np.nextafter(end_s, math.inf)])
        columns = ["time_s", "face_id", "status", "box_x", "box_y", "box_w", "box_h"]
        columns += ["expression", "confidence", "unsure"]
        part = self.timeline.table.select(columns).slice(int(low), int(max(0, high - low)))
        found = [
            {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
            for row in part.to_pylist()
        ]
        if self.second_smoothed is not None:
            for row, p in zip(found, self.second_smoothed[int(low) :], strict=False):
                row["second"] = None if np.isnan(p).any() else self._best(p)
        return found

    def _best(self, p: NDArray[np.float32]) -> Json:
        best = int(p.argmax())
        return {"expression": self.timeline.names[best], "confidence": round(float(p[best]), 4)}


@lru_cache(maxsize=4)
def _read(path: Path, *changed: int) -> TimelineView:
    found = read_annotated(path)
    return TimelineView(found.timeline, found.people, found.corrections)


def view_of(folder: Path) -> TimelineView:
    """Return the view of a job's timeline with its names and corrections, also of a partial one.

    The files are read again only if they change. Raises TimelineError if no frame is analyzed.
    """
    path = folder / TIMELINE
    if not path.is_file():
        return _unfinished_view(folder / JOURNAL)
    return _read(
        path, *(_modified_ns(p) for p in (path, people_path(path), corrections_path(path)))
    )


_unfinished: dict[Path, tuple[float, float, TimelineView]] = {}
"""The last view of each growing journal: time of reading, seconds it took, and the view."""


def _unfinished_view(journal: Path) -> TimelineView:
    """Return the view of a growing journal; reading takes at most a fourth of the time."""
    began = time.monotonic()
    at, took, last = _unfinished.get(journal, (0.0, math.inf, None))
    if last is None or began - at > 3 * took:
        _unfinished.clear()  # one recording is analyzed at a time
        last = TimelineView(read_unfinished(journal))
        _unfinished[journal] = (time.monotonic(), time.monotonic() - began, last)
    return last


def _modified_ns(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


def _check_span(start_s: float, end_s: float) -> None:
    if not (math.isfinite(start_s) and math.isfinite(end_s)) or start_s >= end_s:
        raise UsageError("The start must be before the end.")


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    return [round(v, 3) if math.isfinite(v) else None for v in values.tolist()]
