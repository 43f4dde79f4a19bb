"""The application: all routes, pages and static files."""

from __future__ import annotations

import importlib.resources
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from moppet.guard.notifications import Channels
from moppet.infer.expression_model import bundled_models
from moppet.infer.pipeline import Settings
from moppet.server.guard_session import add_guards
from moppet.server.job_queue import Queue
from moppet.server.label_api import add_label
from moppet.server.live_api import add_live
from moppet.server.recordings_api import add_jobs, add_uploads
from moppet.server.responses import add_errors
from moppet.server.security import OpeningCodes, SecurityMiddleware
from moppet.server.timeline_api import add_edits, add_exports, add_review
from moppet.server.workspace import LARGEST_UPLOAD, Workspace

QUIET: Final = Channels(sound="none")
"""The page itself plays the sounds."""
STATIC: Final = Path(__file__).with_name("static")
_PAGES: Final = {
    "/": "index.html",
    "/review": "review.html",
    "/label": "label.html",
    "/live": "live.html",
    "/guard": "guard.html",
}
_JOB: Final = "/api/jobs/{number}"
_FORMER: Final = {
    "/look": "/review",
    f"{_JOB}/look": f"{_JOB}/timeline",
    f"{_JOB}/again": f"{_JOB}/resume",
    f"{_JOB}/corrections/{{correction}}/back": f"{_JOB}/corrections/{{correction}}/remove",
    "/api/labels/{name}/pictures/{image}": "/api/labels/{name}/images/{image}",
}
"""Path of version 0.1.0 → the path that it redirects to."""


def build_site(
    workspace: Workspace,
    queue: Queue,
    token: str,
    port: int,
    channels: Channels = QUIET,
    codes: OpeningCodes | None = None,
    settings: Settings | None = None,
    live: Settings | None = None,
) -> Any:
    """Return the ASGI application, behind `SecurityMiddleware`. channels: for a guard's alerts.

    settings: of every analysis, but for what the page offers. live: of the camera and the guard;
    None takes the display reading if the model has it.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        queue.start()
        yield
        await run_in_threadpool(queue.stop)

    site = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    add_errors(site)
    add_uploads(site, workspace)
    add_jobs(site, workspace, queue, settings or Settings())
    add_review(site, queue)
    add_edits(site, queue)
    add_exports(site, queue)
    add_label(site, workspace)
    add_live(site, workspace.guards, channels, live)
    add_guards(site, workspace.guards, channels)

    @site.get("/api/models")
    def models() -> list[str]:
        return list(bundled_models())

    for address, name in _PAGES.items():
        site.get(address)(_page(STATIC / name))
    for former, path in _FORMER.items():
        site.add_route(former, _redirect(path), methods=["GET", "POST"])

    @site.get("/static/plotly.min.js")
    def plotly() -> FileResponse:
        """Return the script that comes with the installed plotly package."""
        found = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
        return FileResponse(str(found), headers={"cache-control": "private, max-age=86400"})

    site.add_middleware(GZipMiddleware, minimum_size=2000)
    site.mount("/static", StaticFiles(directory=STATIC))
    return SecurityMiddleware(site, token, port, LARGEST_UPLOAD, codes)


def _page(path: Path) -> Callable[[], FileResponse]:
    return lambda: FileResponse(path)


def _redirect(path: str) -> Callable[[Request], RedirectResponse]:
    def redirect(request: Request) -> RedirectResponse:
        url = request.url.replace(path=quote(path.format(**request.path_params)))
        return RedirectResponse(url, status_code=308)

    return redirect
