"""Routes of uploads, jobs, recordings and results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from moppet.server.downloads import current_report
from moppet.server.job_queue import Queue, settings_of
from moppet.server.responses import existing_file, json_of
from moppet.server.timeline_view import TIMELINE
from moppet.server.workspace import Workspace, check_recording
from moppet.values import MoppetError, UsageError

_RESULTS: Final = {"timeline.parquet": "application/vnd.apache.parquet", "report.html": "text/html"}
_REPORT_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The report is one file with its own style and script; it must not load anything else."""


def add_uploads(site: FastAPI, workspace: Workspace) -> None:
    @site.put("/api/uploads/{name}")
    async def upload(name: str, request: Request) -> dict[str, Any]:
        """Store the request's body as a recording, if it is a readable video or image."""
        claimed = request.headers.get("content-length")
        path = workspace.new_recording(name, None if claimed is None else int(claimed))
        part = path.with_name(path.name + ".part")
        try:
            with part.open("wb") as file:
                async for piece in request.stream():
                    await run_in_threadpool(file.write, piece)
            if not part.stat().st_size:
                raise UsageError(f"{name} is empty.")
            part.replace(path)
            try:
                await run_in_threadpool(check_recording, path)
            except MoppetError:
                path.unlink()
                raise
        except OSError as error:
            raise MoppetError(f"{name} cannot be stored: {error.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)
        return {"recording": path.name}


def add_jobs(site: FastAPI, workspace: Workspace, queue: Queue) -> None:
    @site.get("/api/jobs")
    def jobs() -> list[dict[str, Any]]:
        return queue.jobs()

    @site.post("/api/jobs", status_code=201)
    async def new_job(request: Request) -> dict[str, Any]:
        """Queue {"recording": uploaded name} or {"path": local path}; optional: "settings"."""
        body = await json_of(request)
        settings = settings_of(body.get("settings", {}))
        if isinstance(body.get("recording"), str):
            source = workspace.recordings / body["recording"]
            if source.name != body["recording"] or not source.is_file():
                raise UsageError("There is no such upload.")
        elif isinstance(body.get("path"), str):
            source = await run_in_threadpool(workspace.recording, body["path"])
        else:
            raise UsageError("The request needs an upload (`recording`) or a local file (`path`).")
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
        """Delete a finished job, its results, and its recording if it was uploaded."""
        return queue.delete(number)

    @site.get("/api/jobs/{number}/recording")
    def recording(number: int) -> FileResponse:
        """Return the recording; players may request parts of it (Range)."""
        return FileResponse(existing_file(Path(queue.job(number).source)))

    @site.get("/api/jobs/{number}/results/{name}")
    def result(number: int, name: str) -> Response:
        if name not in _RESULTS:
            raise HTTPException(404)
        path = existing_file(Path(queue.job(number).folder) / name)
        if name == "report.html":
            path = current_report(path.with_name(TIMELINE))
            return FileResponse(
                path, media_type="text/html", headers={"content-security-policy": _REPORT_POLICY}
            )
        return FileResponse(path, media_type=_RESULTS[name], filename=name)
