"""The timeline's part of the API: curves, people, corrections, downloads."""

from __future__ import annotations

import math
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from moppet.server.downloads import EXPORTS, Exported, exported, summary_of
from moppet.server.job_queue import Queue
from moppet.server.responses import json_of, there
from moppet.server.timeline_view import TIMELINE, Shown, shown
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
"""Two tabs may change one recording at once: each change reads, edits and writes in one go."""


def people_beside(timeline: Path) -> People:
    """Return who is who in a timeline file; nobody if nobody said."""
    path = people_path(timeline)
    return read_people(path) if path.is_file() else People()


def save_people_edit(timeline: Path, edit: str, asked: Json) -> People:
    """Make one of EDITS to a timeline's people, save and return them.

    asked: "face", a face of the named timeline, and "name" and "role", "into", or "at_s".
    Raises UsageError, and saves nothing, where it cannot be.
    """
    with _LOCK:
        machine, before = read_timeline(timeline), people_beside(timeline)
        people = _edited(machine, before, edit, asked)
        name_people(machine, people)
        people.write(people_path(timeline))
        return people


def save_people(timeline: Path, given: object) -> People:
    """Replace a timeline's people, as an undo does; UsageError where they cannot be."""
    people = people_of(given)
    with _LOCK:
        name_people(read_timeline(timeline), people)
        people.write(people_path(timeline))
    return people


def _edited(machine: Timeline, before: People, edit: str, asked: Json) -> People:
    face = _whole(asked, "face")
    if edit == "name":
        name, role = asked.get("name"), asked.get("role") or None
        if not isinstance(name, str) or role not in (None, *ROLES):
            raise UsageError(f"A face is given a name, and a role of {', '.join(ROLES)} or none.")
        return name_face(machine, before, face, name, role)
    if edit == "join":
        return join_faces(machine, before, face, _whole(asked, "into"))
    if edit == "split":
        return split_face(machine, before, face, _seconds(asked, "at_s"))
    return forget_face(machine, before, face)


def save_correction(timeline: Path, asked: Json) -> None:
    """Keep what a coder says a face truly shows from "start_s" to "end_s".

    asked: "face" of the named timeline, "label" of the model's classes, "by".
    Raises UsageError where it cannot be; nothing is kept then.
    """
    face, label, by = _whole(asked, "face"), asked.get("label"), asked.get("by")
    start_s, end_s = _seconds(asked, "start_s"), _seconds(asked, "end_s")
    if not isinstance(by, str) or not by.strip():
        raise UsageError("Say who corrects: a name or initials.")
    with _LOCK:
        machine = read_timeline(timeline)
        if label not in machine.names:
            raise UsageError(f"A face is set to one of {', '.join(machine.names)}, got {label!r}.")
        if not start_s < end_s:
            raise UsageError("A correction needs a start before its end.")
        spans = machine_spans(machine, people_beside(timeline), face, start_s, end_s)
        if not spans:
            raise UsageError(f"The face is not seen from {start_s:.2f} to {end_s:.2f} s.")
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
    """Take a correction back; UsageError if it does not hold."""
    with _LOCK:
        take_back(corrections_path(timeline), number, by=by, at=_now())


def _whole(asked: Json, name: str) -> int:
    value = asked.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"`{name}` is the number of a face.")
    return value


def _seconds(asked: Json, name: str) -> float:
    value = asked.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"`{name}` is a time in seconds.")
    return float(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def add_looks(site: FastAPI, queue: Queue) -> None:
    """Add what draws a recording: its head, curves and boxes, of what is read of it so far."""

    def of(number: int) -> Shown:
        folder = Path(queue.job(number).folder)
        try:
            return shown(folder)
        except TimelineError:
            if (folder / TIMELINE).is_file():
                raise
            raise UsageError("Nothing of this recording is read yet.") from None

    @site.get("/api/jobs/{number}/look")
    def look(number: int) -> Json:
        return of(number).head() | {"state": queue.job(number).state}

    @site.get("/api/jobs/{number}/curves")
    def curves(number: int, face: int, start_s: float, end_s: float, points: int = 1000) -> Json:
        return of(number).curves(face, start_s, end_s, points)

    @site.get("/api/jobs/{number}/boxes")
    def boxes(number: int, start_s: float, end_s: float) -> list[Json]:
        return of(number).boxes(start_s, end_s)


def add_layers(site: FastAPI, queue: Queue) -> None:
    """Add who is who and what is set right; each change answers with the head afterwards."""

    def timeline(number: int) -> Path:
        path = Path(queue.job(number).folder) / TIMELINE
        if not path.is_file():
            raise UsageError("Wait until the recording is read: its faces may still change.")
        return path

    def head(path: Path) -> Json:
        return shown(path.parent).head()

    @site.put("/api/jobs/{number}/people")
    async def set_people(number: int, request: Request) -> Json:
        path, asked = timeline(number), await json_of(request)
        await run_in_threadpool(save_people, path, asked)
        return await run_in_threadpool(head, path)

    @site.post("/api/jobs/{number}/people/{edit}")
    async def edit_people(number: int, edit: str, request: Request) -> Json:
        if edit not in EDITS:
            raise HTTPException(404)
        path, asked = timeline(number), await json_of(request)
        await run_in_threadpool(save_people_edit, path, edit, asked)
        return await run_in_threadpool(head, path)

    @site.post("/api/jobs/{number}/corrections", status_code=201)
    async def correct(number: int, request: Request) -> Json:
        path, asked = timeline(number), await json_of(request)
        await run_in_threadpool(save_correction, path, asked)
        return await run_in_threadpool(head, path)

    @site.post("/api/jobs/{number}/corrections/{correction}/back")
    async def take_back(number: int, correction: int, request: Request) -> Json:
        path, asked = timeline(number), await json_of(request)
        by = asked.get("by")
        if not isinstance(by, str) or not by.strip():
            raise UsageError("Say who takes it back: a name or initials.")
        await run_in_threadpool(remove_correction, path, correction, by)
        return await run_in_threadpool(head, path)


def add_exports(site: FastAPI, queue: Queue) -> None:
    """Add the files to take away: of one recording, and a summary of all."""

    @site.get("/api/jobs/{number}/export/{kind}")
    def export(number: int, kind: str) -> Response:
        if kind not in EXPORTS:
            raise HTTPException(404)
        return _attached(exported(there(Path(queue.job(number).folder) / TIMELINE), kind))

    @site.get("/api/summary.csv")
    def summary() -> Response:
        """A row for each finished recording and role, the oldest first."""
        done = [queue.job(job["id"]) for job in queue.jobs() if job["state"] == "done"]
        paths = [Path(job.folder) / TIMELINE for job in reversed(done)]
        return _attached(summary_of([path for path in paths if path.is_file()]))


def _attached(file: Exported) -> Response:
    safe = re.sub(r"[^\w. ()-]", "_", file.name, flags=re.ASCII)  # it stands in a header
    disposition = f'attachment; filename="{safe}"'
    return Response(file.content, headers={"content-disposition": disposition})
