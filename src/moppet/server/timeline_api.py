"""Routes of a timeline: curves, people, corrections and exports."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from fastapi import Depends, FastAPI
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from moppet.config import check_settings
from moppet.server.downloads import EXPORTS, ExportedFile, export_summary, export_timeline
from moppet.server.job_queue import Queue
from moppet.server.responses import Json, attachment, body_of, existing_file, json_of
from moppet.server.timeline_view import TIMELINE, TimelineView, view_of
from moppet.timeline import Timeline, read_timeline
from moppet.timeline.annotations import add_correction, corrections_path, undo_correction
from moppet.timeline.people import (
    People,
    forget_face,
    join_faces,
    layer_origin,
    name_face,
    name_people,
    original_faces,
    people_of,
    people_path,
    read_people,
    split_face,
)
from moppet.values import TimelineError, UsageError

_LOCK: Final = threading.Lock()
"""Two tabs may edit one recording at once, so each edit holds the lock from reading to writing."""


@dataclass(frozen=True)
class _Face:
    face: int


@dataclass(frozen=True)
class _Name(_Face):
    RENAMED_WORDS: ClassVar = {"role": {"": None}}

    name: str
    role: Literal["child", "caregiver", "other"] | None = None


@dataclass(frozen=True)
class _Join(_Face):
    into: int


@dataclass(frozen=True)
class _Split(_Face):
    at_s: float


EDITS: Final[dict[str, tuple[type[_Face], Callable[..., People]]]] = {
    "name": (_Name, name_face),
    "join": (_Join, join_faces),
    "split": (_Split, split_face),
    "forget": (_Face, forget_face),
}
"""Edit → what it needs, and what applies it. Faces have their numbers in the named timeline."""


@dataclass(frozen=True)
class Coder:
    """Who corrects: a name or initials."""

    by: str

    def problems(self) -> list[str]:
        """Return what is wrong with the name."""
        return [] if self.by.strip() else ["a correction needs your name or initials (by)."]


@dataclass(frozen=True)
class NewCorrection(Coder):
    """A coder's expression of a face, its number in the named timeline, from start_s to end_s."""

    face: int
    label: str
    start_s: float
    end_s: float


def people_beside(timeline: Path, origin: Mapping[str, Any]) -> People:
    """Return the people named beside a timeline file; empty if nobody is named.

    origin: see `layer_origin`. Raises TimelineError for names of another recording or analysis.
    """
    path = people_path(timeline)
    return read_people(path, origin) if path.is_file() else People()


def save_people(timeline: Path, change: Callable[[Timeline, People], People]) -> None:
    """Change a timeline's people; UsageError, and nothing is saved, if they would not fit it."""
    with _LOCK:
        machine = read_timeline(timeline)
        origin = layer_origin(machine)
        people = change(machine, people_beside(timeline, origin))
        name_people(machine, people)
        people.write(people_path(timeline), origin["source_sha256"], origin["tracks_sha256"])


def save_correction(timeline: Path, new: NewCorrection) -> None:
    """Save a correction; UsageError, and nothing is saved, if it is not possible."""
    with _LOCK:
        machine = read_timeline(timeline)
        if new.label not in machine.names:
            raise UsageError(f"A label is one of {', '.join(machine.names)}, got {new.label!r}.")
        if not new.start_s < new.end_s:
            raise UsageError("A correction must start before it ends.")
        origin = layer_origin(machine)
        people = people_beside(timeline, origin)
        spans = original_faces(machine, people, new.face, new.start_s, new.end_s)
        if not spans:
            raise UsageError(
                f"The face is not visible from {new.start_s:.2f} to {new.end_s:.2f} s."
            )
        for face_id, from_s, to_s in spans:
            add_correction(
                corrections_path(timeline),
                face_id=face_id,
                start_s=from_s,
                end_s=to_s,
                label=new.label,
                by=" ".join(new.by.split()),
                at=_now(),
                source_sha256=origin["source_sha256"],
                tracks_sha256=origin["tracks_sha256"],
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def add_review(site: FastAPI, queue: Queue) -> None:
    """Add the routes for drawing: header, curves and boxes, of all frames analyzed so far."""

    def view(number: int) -> TimelineView:
        folder = Path(queue.job(number).folder)
        try:
            return view_of(folder)
        except TimelineError:
            if (folder / TIMELINE).is_file():
                raise
            raise UsageError("No frame of this recording is analyzed yet.") from None

    @site.get("/api/jobs/{number}/timeline")
    def timeline(number: int) -> Json:
        return view(number).head() | {"state": queue.job(number).state}

    @site.get("/api/jobs/{number}/curves")
    def curves(number: int, face: int, start_s: float, end_s: float, points: int = 1000) -> Json:
        return view(number).curves(face, start_s, end_s, points)

    @site.get("/api/jobs/{number}/boxes")
    def boxes(number: int, start_s: float, end_s: float) -> list[Json]:
        return view(number).boxes(start_s, end_s)


def add_edits(site: FastAPI, queue: Queue) -> None:
    """Add the edits of people and corrections; each one answers with the updated header."""

    def finished(number: int) -> Path:
        path = Path(queue.job(number).folder) / TIMELINE
        if not path.is_file():
            raise UsageError("Wait until the analysis is finished: the faces may still change.")
        return path

    def head(timeline: Path) -> Json:
        return view_of(timeline.parent).head()

    @site.put("/api/jobs/{number}/people")
    def set_people(number: int, body: Annotated[Json, Depends(json_of)]) -> Json:
        """Replace all people, for an undo."""
        people = people_of(body)
        save_people(path := finished(number), lambda *_: people)
        return head(path)

    @site.post("/api/jobs/{number}/people/{edit}")
    def edit_people(number: int, edit: str, body: Annotated[Json, Depends(json_of)]) -> Json:
        if edit not in EDITS:
            raise HTTPException(404)
        kind, apply = EDITS[edit]
        path, given = finished(number), astuple(check_settings(kind, body, "request"))
        save_people(path, lambda machine, before: apply(machine, before, *given))
        return head(path)

    @site.post("/api/jobs/{number}/corrections", status_code=201)
    def correct(number: int, new: Annotated[NewCorrection, body_of(NewCorrection)]) -> Json:
        save_correction(path := finished(number), new)
        return head(path)

    @site.post("/api/jobs/{number}/corrections/{correction}/remove")
    def remove(number: int, correction: int, coder: Annotated[Coder, body_of(Coder)]) -> Json:
        path = finished(number)
        with _LOCK:
            undo_correction(corrections_path(path), correction, by=coder.by, at=_now())
        return head(path)


def add_exports(site: FastAPI, queue: Queue) -> None:
    """Add the exports: files of one recording, and a summary of all."""

    @site.get("/api/jobs/{number}/export/{kind}")
    def export(number: int, kind: str, movements: str = "") -> Response:
        """Return a file. movements: "all", or names with commas, for coding programs."""
        if kind not in EXPORTS:
            raise HTTPException(404)
        path = existing_file(Path(queue.job(number).folder) / TIMELINE)
        wanted = [name for name in movements.split(",") if name]
        return _download(export_timeline(path, kind, wanted))

    @site.get("/api/summary.csv")
    def summary() -> Response:
        """Return one row for each finished recording and role, oldest first.

        A recording whose timeline cannot be read has a row of its own, with the reason.
        """
        done = [queue.job(job["id"]) for job in queue.jobs() if job["state"] == "done"]
        return _download(
            export_summary([(job.name, Path(job.folder) / TIMELINE) for job in reversed(done)])
        )


def _download(file: ExportedFile) -> Response:
    return attachment(re.sub(r"[^\w. ()-]", "_", file.name, flags=re.ASCII), file.content)
