"""Routes of a timeline: curves, people, corrections and exports."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from moppet.server.downloads import EXPORTS, ExportedFile, export_summary, export_timeline
from moppet.server.job_queue import Queue
from moppet.server.responses import existing_file, json_of
from moppet.server.timeline_view import TIMELINE, TimelineView, view_of
from moppet.timeline import Timeline, read_timeline
from moppet.timeline.annotations import add_correction, corrections_path, take_back
from moppet.timeline.people import (
    ROLES,
    People,
    forget_face,
    join_faces,
    machine_spans,
    name_face,
    name_people,
    people_of,
    people_path,
    read_people,
    split_face,
)
from moppet.values import TimelineError, UsageError

Json = dict[str, Any]
EDITS: Final = ("name", "join", "split", "forget")
_LOCK: Final = threading.Lock()
"""Two tabs may edit one recording at once, so each edit holds the lock from reading to writing."""


def people_beside(timeline: Path) -> People:
    """Return the people named in a timeline file; empty if nobody is named."""
    path = people_path(timeline)
    return read_people(path) if path.is_file() else People()


def save_people_edit(timeline: Path, edit: str, body: Json) -> People:
    """Apply one of EDITS to a timeline's people; save and return them.

    body: "face" (number in the named timeline), and "name" and "role", "into", or "at_s".
    Raises UsageError, and saves nothing, if the edit is not possible.
    """
    with _LOCK:
        machine, before = read_timeline(timeline), people_beside(timeline)
        people = _apply_edit(machine, before, edit, body)
        name_people(machine, people)
        people.write(people_path(timeline))
        return people


def save_people(timeline: Path, given: object) -> People:
    """Replace a timeline's people, for an undo; UsageError if they do not fit the timeline."""
    people = people_of(given)
    with _LOCK:
        name_people(read_timeline(timeline), people)
        people.write(people_path(timeline))
    return people


def _apply_edit(machine: Timeline, before: People, edit: str, body: Json) -> People:
    face = _face_number(body, "face")
    if edit == "name":
        name, role = body.get("name"), body.get("role") or None
        if not isinstance(name, str) or role not in (None, *ROLES):
            raise UsageError(
                f"A face needs a name, and one of the roles {', '.join(ROLES)} or none."
            )
        return name_face(machine, before, face, name, role)
    if edit == "join":
        return join_faces(machine, before, face, _face_number(body, "into"))
    if edit == "split":
        return split_face(machine, before, face, _seconds(body, "at_s"))
    return forget_face(machine, before, face)


def save_correction(timeline: Path, body: Json) -> None:
    """Save a coder's correction of a face's expression from "start_s" to "end_s".

    body: also "face" (number in the named timeline), "label" (a class of the model), "by" (coder).
    Raises UsageError, and saves nothing, if the correction is invalid.
    """
    face, label, by = _face_number(body, "face"), body.get("label"), _coder(body)
    start_s, end_s = _seconds(body, "start_s"), _seconds(body, "end_s")
    with _LOCK:
        machine = read_timeline(timeline)
        if label not in machine.names:
            raise UsageError(f"A label is one of {', '.join(machine.names)}, got {label!r}.")
        if not start_s < end_s:
            raise UsageError("A correction must start before it ends.")
        spans = machine_spans(machine, people_beside(timeline), face, start_s, end_s)
        if not spans:
            raise UsageError(f"The face is not visible from {start_s:.2f} to {end_s:.2f} s.")
        for face_id, from_s, to_s in spans:
            add_correction(
                corrections_path(timeline),
                face_id=face_id,
                start_s=from_s,
                end_s=to_s,
                label=label,
                by=" ".join(by.split()),
                at=_now(),
            )


def remove_correction(timeline: Path, number: int, by: str) -> None:
    """Undo a correction; UsageError if there is none with this number."""
    with _LOCK:
        take_back(corrections_path(timeline), number, by=by, at=_now())


def _face_number(body: Json, name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"`{name}` must be the number of a face, got {value!r}.")
    return value


def _seconds(body: Json, name: str) -> float:
    value = body.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"`{name}` must be a time in seconds, got {value!r}.")
    return float(value)


def _coder(body: Json) -> str:
    by = body.get("by")
    if not isinstance(by, str) or not by.strip():
        raise UsageError("A correction needs your name or initials (`by`).")
    return by


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

    @site.get("/api/jobs/{number}/look")
    def look(number: int) -> Json:
        return view(number).head() | {"state": queue.job(number).state}

    @site.get("/api/jobs/{number}/curves")
    def curves(number: int, face: int, start_s: float, end_s: float, points: int = 1000) -> Json:
        return view(number).curves(face, start_s, end_s, points)

    @site.get("/api/jobs/{number}/boxes")
    def boxes(number: int, start_s: float, end_s: float) -> list[Json]:
        return view(number).boxes(start_s, end_s)


def add_edits(site: FastAPI, queue: Queue) -> None:
    """Add the edits of people and corrections; each one answers with the updated header."""

    def timeline(number: int) -> Path:
        path = Path(queue.job(number).folder) / TIMELINE
        if not path.is_file():
            raise UsageError("Wait until the analysis is finished: the faces may still change.")
        return path

    async def change(number: int, request: Request, edit: Callable[[Path, Json], object]) -> Json:
        path, body = timeline(number), await json_of(request)
        await run_in_threadpool(edit, path, body)
        return await run_in_threadpool(lambda: view_of(path.parent).head())

    @site.put("/api/jobs/{number}/people")
    async def set_people(number: int, request: Request) -> Json:
        return await change(number, request, save_people)

    @site.post("/api/jobs/{number}/people/{edit}")
    async def edit_people(number: int, edit: str, request: Request) -> Json:
        if edit not in EDITS:
            raise HTTPException(404)
        return await change(number, request, lambda path, body: save_people_edit(path, edit, body))

    @site.post("/api/jobs/{number}/corrections", status_code=201)
    async def correct(number: int, request: Request) -> Json:
        return await change(number, request, save_correction)

    @site.post("/api/jobs/{number}/corrections/{correction}/back")
    async def undo_correction(number: int, correction: int, request: Request) -> Json:
        def undo(path: Path, body: Json) -> None:
            remove_correction(path, correction, _coder(body))

        return await change(number, request, undo)


def add_exports(site: FastAPI, queue: Queue) -> None:
    """Add the exports: files of one recording, and a summary of all."""

    @site.get("/api/jobs/{number}/export/{kind}")
    def export(number: int, kind: str) -> Response:
        if kind not in EXPORTS:
            raise HTTPException(404)
        return _attachment(
            export_timeline(existing_file(Path(queue.job(number).folder) / TIMELINE), kind)
        )

    @site.get("/api/summary.csv")
    def summary() -> Response:
        """Return one row for each finished recording and role, oldest first."""
        done = [queue.job(job["id"]) for job in queue.jobs() if job["state"] == "done"]
        paths = [Path(job.folder) / TIMELINE for job in reversed(done)]
        return _attachment(export_summary([path for path in paths if path.is_file()]))


def _attachment(file: ExportedFile) -> Response:
    safe = re.sub(r"[^\w. ()-]", "_", file.name, flags=re.ASCII)  # for a header
    disposition = f'attachment; filename="{safe}"'
    return Response(file.content, headers={"content-disposition": disposition})
