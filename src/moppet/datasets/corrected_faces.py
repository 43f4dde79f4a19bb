"""Corrections of a timeline as labeled training images."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.coders.codings import Code
from moppet.coders.timeline_coding import corrected_lanes
from moppet.datasets.row_images import read_video_frames
from moppet.files import write_bytes, write_csv
from moppet.timeline.annotations import AnnotatedTimeline
from moppet.timeline.schema import numbers
from moppet.values import UsageError

MARGIN: Final = 0.5
"""Margin around the box, in its longer side: the face is detected and aligned before training."""
FOLDER: Final = "faces"


@dataclass(frozen=True, slots=True)
class Labeled:
    """A face to crop: its time and box, its label, the coder (`by`) and the person (`subject`)."""

    time_s: float
    box_px: tuple[float, float, float, float]
    label: str
    by: str
    subject: str


def labeled_faces(annotated: AnnotatedTimeline, every_s: float) -> list[Labeled]:
    """Return faces of each corrected segment, one every `every_s` seconds and at least one.

    Only frames with the detected face are used; a segment without any gives none. If two coders
    corrected the same face, each has their own rows. Sorted by time.
    """
    timeline = annotated.timeline
    table = timeline.table
    face, time_s = numbers(table, "face_id"), numbers(table, "time_s")
    boxes = np.stack([numbers(table, f"box_{side}") for side in "xywh"], axis=1)
    id_of = {timeline.face_name(int(i)): int(i) for i in np.unique(face[~np.isnan(face)])}
    found = []
    for lane in corrected_lanes(annotated.corrections, annotated.people):
        rows = np.flatnonzero((face == id_of.get(lane.person, -1)) & ~np.isnan(boxes).any(axis=1))
        subject = f"{timeline.metadata.get('source_name') or 'recording'}: {lane.person}"
        if lane.person in {person.name for person in annotated.people.persons}:
            subject = lane.person
        coder = lane.name.removeprefix("corrected by ")
        for code in lane.codes:
            for row in _sampled(rows, time_s, code, every_s):
                x, y, w, h = boxes[row].tolist()
                found.append(Labeled(time_s[row], (x, y, w, h), code.label, coder, subject))
    return sorted(found, key=lambda one: (one.time_s, one.subject, one.by))


def write_labeled(
    faces: Sequence[Labeled], recording: Path, folder: Path
) -> tuple[list[Path], int]:
    """Write the faces as PNG below folder/faces and a CSV (path,label,subject) for each coder.

    Returns the CSV files and the number of images. An existing CSV keeps its rows, so several
    recordings can be collected in one folder. Raises MediaError if the recording cannot be read,
    MoppetError if the folder is not writable.
    """
    if not faces:
        raise UsageError("This timeline has no corrections: correct it in `moppet serve` first.")
    rows: dict[str, dict[str, tuple[str, str]]] = {}
    for one, image in _cut(faces, recording):
        name = (
            f"{FOLDER}/{_file_name(recording.stem)}_{_file_name(one.subject)}_{one.time_s:.3f}.png"
        )
        done, png = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
        assert done, "OpenCV always has PNG"
        write_bytes(folder / name, png.tobytes())
        rows.setdefault(one.by, {})[name] = (one.label, one.subject)
    files = [_write_csv(folder / f"{_file_name(by)}.csv", mine) for by, mine in rows.items()]
    return files, len({name for mine in rows.values() for name in mine})


def _sampled(
    rows: NDArray[np.int64], time_s: NDArray[np.float64], code: Code, every_s: float
) -> list[int]:
    """Return the row nearest to the middle of each slot of a segment, each row once."""
    inside = rows[(time_s[rows] >= code.start_s) & (time_s[rows] < code.end_s)]
    if not len(inside):
        return []
    slots = max(1, round((code.end_s - code.start_s) / every_s))
    middles = code.start_s + (np.arange(slots) + 0.5) * (code.end_s - code.start_s) / slots
    nearest = np.abs(time_s[inside][None] - middles[:, None]).argmin(axis=1)
    return [int(row) for row in inside[np.unique(nearest)]]


def _cut(faces: Sequence[Labeled], recording: Path) -> Iterator[tuple[Labeled, NDArray[Any]]]:
    times = np.array([one.time_s for one in faces])
    for one, image in zip(faces, read_video_frames(recording, times), strict=True):
        if image is not None:
            yield one, _square(image, one.box_px)


def _square(image: NDArray[Any], box_px: Sequence[float]) -> NDArray[Any]:
    """Return the square around a box with its margin, black outside of the image.

    It is at most twice as large as the image.
    """
    x, y, w, h = box_px
    side = max(2, round(max(w, h) * (1 + 2 * MARGIN)))
    side = min(side, 2 * max(image.shape[:2]))
    left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
    square = np.zeros((side, side, 3), np.uint8)
    seen = image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    y0, x0 = max(0, -top), max(0, -left)
    square[y0 : y0 + seen.shape[0], x0 : x0 + seen.shape[1]] = seen
    return square


def _write_csv(path: Path, rows: dict[str, tuple[str, str]]) -> Path:
    before: dict[str, tuple[str, str]] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            before = {r["path"]: (r["label"], r["subject"]) for r in csv.DictReader(file)}
    every = ([name, *facts] for name, facts in (before | rows).items())
    return write_csv(path, ["path", "label", "subject"], every)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)[:60]
