"""The page and what it asks: uploads, jobs, recordings and their results."""

from __future__ import annotations

import importlib.resources
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from moppet.app.server.gate import Gate
from moppet.app.server.queue import Queue, settings_of
from moppet.app.server.shown import Shown, shown
from moppet.app.server.workspace import LARGEST_UPLOAD, Workspace, check_recording
from moppet.infer.catalogue import bundled_models
from moppet.values import MoppetError, UsageError

STATIC: Final = Path(__file__).with_name("static")
_RESULTS: Final = {"timeline.parquet": "application/vnd.apache.parquet", "report.html": "text/html"}
_REPORT_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The report is one file with its own style and script; it may load nothing at all."""


def build_site(workspace: Workspace, queue: Queue, token: str, port: int) -> Any:
    """Return the ASGI application; see `Gate` for who may ask."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        queue.start()
        yield
        await run_in_threadpool(queue.stop)

    site = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    site.exception_handler(MoppetError)(_said)
    site.exception_handler(HTTPException)(_http_said)
    site.exception_handler(RequestValidationError)(_odd)
    site.exception_handler(ClientDisconnect)(_cut_off)
    site.exception_handler(Exception)(_broken)
    _add_uploads(site, workspace)
    _add_jobs(site, workspace, queue)
    _add_looks(site, queue)

    @site.get("/api/models")
    def models() -> list[str]:
        return list(bundled_models())

    @site.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    site.add_middleware(GZipMiddleware, minimum_size=2000)
    site.mount("/static", StaticFiles(directory=STATIC))
    return Gate(site, token, port, LARGEST_UPLOAD)


def _add_uploads(site: FastAPI, workspace: Workspace) -> None:
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


def _add_jobs(site: FastAPI, workspace: Workspace, queue: Queue) -> None:
    @site.get("/api/jobs")
    def jobs() -> list[dict[str, Any]]:
        return queue.jobs()

    @site.post("/api/jobs", status_code=201)
    async def new_job(request: Request) -> dict[str, Any]:
        """Queue {"recording": uploaded name} or {"path": local path}, with settings or none."""
        asked = await _json(request)
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

    changes: dict[str, Callable[[int], dict[str, Any]]] = {
        "cancel": queue.cancel,
        "again": queue.again,
    }

    @site.post("/api/jobs/{number}/{change}")
    def change_job(number: int, change: str) -> dict[str, Any]:
        if change not in changes:
            raise HTTPException(404)
        return changes[change](number)

    @site.get("/api/jobs/{number}/recording")
    def recording(number: int) -> FileResponse:
        """The recording, also in parts (Range), as players ask for it."""
        return FileResponse(_there(Path(queue.job(number).source)))

    @site.get("/api/jobs/{number}/results/{name}")
    def result(number: int, name: str) -> Response:
        if name not in _RESULTS:
            raise HTTPException(404)
        place = _there(Path(queue.job(number).folder) / name)
        if name == "report.html":
            return FileResponse(
                place, media_type="text/html", headers={"content-security-policy": _REPORT_POLICY}
            )
        return FileResponse(place, media_type=_RESULTS[name], filename=name)


def _add_looks(site: FastAPI, queue: Queue) -> None:
    def of(number: int) -> Shown:
        return shown(_there(Path(queue.job(number).folder) / "timeline.parquet"))

    @site.get("/api/jobs/{number}/look")
    def look(number: int) -> dict[str, Any]:
        return of(number).head()

    @site.get("/api/jobs/{number}/curves")
    def curves(
        number: int, face: int, start_s: float, end_s: float, points: int = 1000
    ) -> dict[str, Any]:
        return of(number).curves(face, start_s, end_s, points)

    @site.get("/api/jobs/{number}/boxes")
    def boxes(number: int, start_s: float, end_s: float) -> list[dict[str, Any]]:
        return of(number).boxes(start_s, end_s)

    @site.get("/look")
    def look_page() -> FileResponse:
        return FileResponse(STATIC / "look.html")

    @site.get("/static/plotly.min.js")
    def plotly() -> FileResponse:
        """The library's own file, from its wheel."""
        found = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
        return FileResponse(str(found), headers={"cache-control": "private, max-age=86400"})


def _there(path: Path) -> Path:
    if not path.is_file():
        raise HTTPException(404)
    return path


async def _json(request: Request) -> dict[str, Any]:
    try:
        asked = await request.json()
    except ValueError:
        raise UsageError("JSON was needed.") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("settings", {}), dict):
        raise UsageError("A JSON object was needed.")
    return asked


async def _said(_: Request, error: Exception) -> JSONResponse:
    """A user's mistake: its own sentence."""
    return JSONResponse({"error": str(error)}, status_code=400)


async def _http_said(_: Request, error: Exception) -> JSONResponse:
    status = getattr(error, "status_code", 404)
    return JSONResponse({"error": "There is nothing here."}, status_code=status)


async def _odd(_: Request, error: Exception) -> JSONResponse:
    """A number that is none."""
    return JSONResponse({"error": "The address holds a value that cannot be."}, status_code=400)


async def _cut_off(_: Request, error: Exception) -> JSONResponse:
    """An upload that ended early, or that `Gate` cut because it was larger than it said."""
    return JSONResponse({"error": "The upload was cut off, or is too large."}, status_code=413)


async def _broken(_: Request, error: Exception) -> JSONResponse:
    """What should not happen, without internals; the terminal has the trace."""
    return JSONResponse({"error": "Something broke; the terminal says what."}, status_code=500)
