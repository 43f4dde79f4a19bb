"""Routes of uploads, jobs, recordings and results."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from moppet.infer.pipeline import Settings
from moppet.server.downloads import current_report
from moppet.server.job_queue import Queue
from moppet.server.responses import Json, body_of, existing_file, media_file, media_image
from moppet.server.timeline_view import TIMELINE, view_of
from moppet.server.workspace import Workspace, check_recording, media_type, read_photo
from moppet.values import MoppetError, UsageError

_CHECK_ROOM: Final = 2**26
"""Bytes of an upload after which the room on the disk is checked again."""
_RESULTS: Final = {"timeline.parquet": "application/vnd.apache.parquet", "report.html": "text/html"}
_REPORT_POLICY: Final = (
    "sandbox allow-scripts allow-downloads allow-modals; "
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The report is one file with its own style and script; it must not load anything else."""


@dataclass(frozen=True)
class AnalysisSettings:
    """The settings of an analysis that the page offers."""

    model: str = "default"
    every: int = 1


@dataclass(frozen=True)
class NewJob:
    """A recording to analyze: the name of an upload, or a local file or folder of photos."""

    recording: str | None = None
    path: str | None = None
    settings: AnalysisSettings = AnalysisSettings()

    def source(self, workspace: Workspace) -> Path:
        """Return the recording; UsageError if there is none."""
        if self.recording is not None:
            return workspace.upload(self.recording)
        if self.path is not None:
            return workspace.recording(self.path)
        raise UsageError("The request needs an upload (`recording`) or a local file (`path`).")


def add_uploads(site: FastAPI, workspace: Workspace) -> None:
    @site.put("/api/uploads/{name}")
    async def upload(name: str, request: Request) -> Json:
        """Store the request's body as a recording, if it is a readable video or image."""
        claimed = request.headers.get("content-length")
        path = workspace.new_recording(name, None if claimed is None else int(claimed))
        part = path.with_name(path.name + ".part")
        unchecked = 0
        try:
            with part.open("xb") as file:
                async for piece in request.stream():
                    await run_in_threadpool(file.write, piece)
                    unchecked += len(piece)
                    if unchecked > _CHECK_ROOM:  # without a length, nothing was checked before
                        unchecked = 0
                        workspace.check_room(0)
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


def add_jobs(site: FastAPI, workspace: Workspace, queue: Queue, settings: Settings) -> None:
    """Add the routes below /api/jobs. A deletion includes the results, and an upload.

    settings: of every job, but for those that the page offers.
    """
    site.get("/api/jobs")(queue.jobs)
    site.post("/api/jobs/{number}/cancel")(queue.cancel)
    site.post("/api/jobs/{number}/resume")(queue.resume)
    site.delete("/api/jobs/{number}")(queue.delete)

    @site.post("/api/jobs", status_code=201)
    def new_job(new: Annotated[NewJob, body_of(NewJob)]) -> Json:
        return queue.add(new.source(workspace), replace(settings, **asdict(new.settings)))

    @site.get("/api/jobs/{number}")
    def job(number: int) -> Json:
        return queue.about(number)

    @site.get("/api/jobs/{number}/recording")
    def recording(number: int) -> FileResponse:
        """Return the recording; players may request parts of it (Range)."""
        path = Path(queue.job(number).source)
        return media_file(path, media_type(path))

    @site.get("/api/jobs/{number}/photos/{image}")
    def photo(number: int, image: int) -> Response:
        """Return an image of a set of photos as JPEG, in the pixels of its boxes."""
        job = queue.job(number)
        files = view_of(Path(job.folder)).timeline.photos
        if not 0 <= image < len(files):
            raise HTTPException(404)
        return media_image(read_photo(Path(job.source), files[image]))

    @site.get("/api/jobs/{number}/results/{name}")
    def result(number: int, name: str) -> FileResponse:
        if name not in _RESULTS:
            raise HTTPException(404)
        path = existing_file(Path(queue.job(number).folder) / name)
        if name == "report.html":
            path = current_report(path.with_name(TIMELINE))
            headers = {"content-security-policy": _REPORT_POLICY}
            return FileResponse(path, media_type="text/html", headers=headers)
        return FileResponse(path, media_type=_RESULTS[name], filename=name)
