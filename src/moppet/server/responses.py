"""Shared by all routes: read JSON bodies, find files, and answer errors with one sentence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from moppet.config import check_settings
from moppet.files import parse_json
from moppet.values import MoppetError, UsageError

T = TypeVar("T")
Json = dict[str, Any]
INTERNAL_ERROR: Final = "An internal error occurred. The terminal shows the details."


async def json_of(request: Request) -> Json:
    """Return the JSON object in a request's body; UsageError if there is none."""
    data = await request.body()
    if not data.strip():
        raise UsageError("The request needs a body in JSON.")
    body = parse_json(data, "The request", UsageError)
    if not isinstance(body, dict):
        raise UsageError(f"The request needs a JSON object, got a {type(body).__name__}.")
    return body


def body_of(kind: type[T]) -> Any:
    """Return the dependency of a route whose JSON body is this dataclass; see `check_settings`."""

    async def read(request: Request) -> T:
        return check_settings(kind, await json_of(request), "request")

    return Depends(read)


def existing_file(path: Path) -> Path:
    """Return a file's path; answer 404 if the file does not exist, or is a link to another one."""
    if path.is_symlink() or not path.is_file():
        raise HTTPException(404)
    return path


MEDIA_POLICY: Final = "sandbox; default-src 'none'"


def media_file(path: Path, media_type: str) -> FileResponse:
    """Return a recording to be shown, of which nothing can run as a page or a script."""
    return FileResponse(
        path,
        media_type=media_type,
        filename=path.name.encode("utf-8", "replace").decode(),
        content_disposition_type="inline",
        headers={"content-security-policy": MEDIA_POLICY, "x-content-type-options": "nosniff"},
    )


def media_image(jpeg: bytes) -> Response:
    """Return an image to be shown; see `media_file`."""
    return Response(
        jpeg, media_type="image/jpeg", headers={"content-security-policy": MEDIA_POLICY}
    )


def attachment(name: str, content: bytes | str, media_type: str | None = None) -> Response:
    """Return a file to be saved under a name."""
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)


def add_errors(site: FastAPI) -> None:
    """Answer every failure with {"error": sentence}, never with internals."""
    for kind, (status, sentence) in _ANSWERS.items():
        site.exception_handler(kind)(_answer(status, sentence))


_ANSWERS: Final[dict[type[Exception], tuple[int, str | None]]] = {
    MoppetError: (400, None),
    HTTPException: (404, "There is no such page or file."),
    RequestValidationError: (400, "The address contains an invalid value."),
    # an upload that ended early, or that was larger than its header claimed
    ClientDisconnect: (413, "The upload was cut off, or is too large."),
    Exception: (500, INTERNAL_ERROR),
}
"""Error → status, if the error has none, and the sentence, if not the error's own."""


def _answer(
    status: int, sentence: str | None
) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(_: Request, error: Exception) -> JSONResponse:
        text = (sentence or str(error)).encode("utf-8", "replace").decode()
        return JSONResponse({"error": text}, status_code=getattr(error, "status_code", status))

    return answer
