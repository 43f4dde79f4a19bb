"""Uploads, jobs, the recordings themselves and their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from moppet.server.downloads import fresh_report
from moppet.server.job_queue import Queue, settings_of
from moppet.server.responses import json_of, there
from moppet.server.timeline_view import TIMELINE
from moppet.server.workspace import Workspace, check_recording
from moppet.values import MoppetError, UsageError

_RESULTS: Final = {"timeline.parquet": "application/vnd.apache.parquet", "report.html": "text/html"}
_REPORT_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The report is one file with its own style and script; it may load nothing at all."""


def add_uploads(site: FastAPI, workspace: Workspace) -> None:
    @site.put("/api/uploads/{name}")
    async def upload(name: str, request: Request) -> dict[str, Any]:
        """Take a recording as the request's body; it is kept only if it can be read as one."""
        claimed = request.headers.get("content-length")
        place = workspace.new_recording(name, None if claimed is None else int(claimed))
        part = place.with_name(place.name + ".part")
        try:
            with part.open("wb") as file:
                async for piece in request.stream():
                    await run_in_threadpool(file.write, piece)
            if not part.stat().st_size:
                raise UsageError(f"{name} is empty.")
            part.replace(place)
            try:
                await run_in_threadpool(check_recording, place)
            except MoppetError:
                place.unlink()
                raise
        except OSError as error:
            raise MoppetError(f"{name} cannot be kept: {error.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)
        return {"recording": place.name}


def add_jobs(site: FastAPI, workspace: Workspace, queue: Queue) -> None:
    @site.get("/api/jobs")
    def jobs() -> list[dict[str, Any]]:
        return queue.jobs()

    @site.post("/api/jobs", status_code=201)
    async def new_job(request: Request) -> dict[str, Any]:
        """Queue {"recording": uploaded name} or {"path": local path}, with settings or none."""
        asked = await json_of(request)
        settings = settings_of(asked.get("settings", {}))
        if isinstance(asked.get("recording"), str):
            source = workspace.recordings / asked["recording"]
            if source.name != asked["recording"] or not source.is_file():
                raise UsageError("There is no such upload.")
        elif isinstance(asked.get("path"), str):
            source = await run_in_threadpool(workspace.recording, asked["path"])
        else:
            raise UsageError("Name an upload (recording) or a local file (path).")
        return await run_in_threadpool(queue.add, source, settings)

    @site.get("/api/jobs/{number}")
    def job(number: int) -> dict[str, Any]:
        return queue.job(number).as_json()

    @site.post("/api/jobs/{number}/cancel")
    def cancel(number: int) -> dict[str, Any]:
        return queue.cancel(number)

    @site.post("/api/jobs/{number}/again")
    def again(number: int) -> dict[str, Any]:
        return queue.again(number)

    @site.delete("/api/jobs/{number}")
    def delete(number: int) -> dict[str, Any]:
        """Delete a job that is over, its results, and its recording if it was uploaded here."""
        return queue.delete(number)

    @site.get("/api/jobs/{number}/recording")
    def recording(number: int) -> FileResponse:
        """The recording, also in parts (Range), as players ask for it."""
        return FileResponse(there(Path(queue.job(number).source)))

    @site.get("/api/jobs/{number}/results/{name}")
    def result(number: int, name: str) -> Response:
        if name not in _RESULTS:
            raise HTTPException(404)
        place = there(Path(queue.job(number).folder) / name)
        if name == "report.html":
            place = fresh_report(place.with_name(TIMELINE))
            return FileResponse(
                place, media_type="text/html", headers={"content-security-policy": _REPORT_POLICY}
            )
        return FileResponse(place, media_type=_RESULTS[name], filename=name)
