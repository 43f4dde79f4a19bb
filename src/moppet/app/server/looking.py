"""What the look page asks of one recording's timeline, and what people lay over it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from moppet.app.server import layers
from moppet.app.server.answers import json_of, there
from moppet.app.server.exports import EXPORTS, Exported, exported, summary_of
from moppet.app.server.queue import Queue
from moppet.app.server.shown import TIMELINE, Shown, shown
from moppet.values import TimelineError, UsageError

Json = dict[str, Any]


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
        await run_in_threadpool(layers.set_people, path, asked)
        return await run_in_threadpool(head, path)

    @site.post("/api/jobs/{number}/people/{edit}")
    async def edit_people(number: int, edit: str, request: Request) -> Json:
        if edit not in layers.EDITS:
            raise HTTPException(404)
        path, asked = timeline(number), await json_of(request)
        await run_in_threadpool(layers.edit_people, path, edit, asked)
        return await run_in_threadpool(head, path)

    @site.post("/api/jobs/{number}/corrections", status_code=201)
    async def correct(number: int, request: Request) -> Json:
        path, asked = timeline(number), await json_of(request)
        await run_in_threadpool(layers.correct, path, asked)
        return await run_in_threadpool(head, path)

    @site.post("/api/jobs/{number}/corrections/{correction}/back")
    async def take_back(number: int, correction: int, request: Request) -> Json:
        path, asked = timeline(number), await json_of(request)
        by = asked.get("by")
        if not isinstance(by, str) or not by.strip():
            raise UsageError("Say who takes it back: a name or initials.")
        await run_in_threadpool(layers.take_back_correction, path, correction, by)
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
