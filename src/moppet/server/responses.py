"""Shared by all routes: read JSON bodies, find files, and answer errors with one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from moppet.values import MoppetError, UsageError

INTERNAL_ERROR: Final = "An internal error occurred. The terminal shows the details."


async def json_of(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body; UsageError if there is none."""
    try:
        body = await request.json()
    except ValueError:
        raise UsageError("The request needs a body in JSON.") from None
    if not isinstance(body, dict):
        raise UsageError(f"The request needs a JSON object, got a {type(body).__name__}.")
    return body


def existing_file(path: Path) -> Path:
    """Return a file's path; answer 404 if the file does not exist."""
    if not path.is_file():
        raise HTTPException(404)
    return path


def add_errors(site: FastAPI) -> None:
    """Answer every failure with {"error": sentence}, never with internals."""
    site.exception_handler(MoppetError)(_usage_error)
    site.exception_handler(HTTPException)(_http_error)
    site.exception_handler(RequestValidationError)(_invalid_value)
    site.exception_handler(ClientDisconnect)(_upload_cut_off)
    site.exception_handler(Exception)(_internal_error)


async def _usage_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    status = getattr(error, "status_code", 404)
    return JSONResponse({"error": "There is no such page or file."}, status_code=status)


async def _invalid_value(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "The address contains an invalid value."}, status_code=400)


async def _upload_cut_off(_: Request, error: Exception) -> JSONResponse:
    """Answer an upload that ended early, or that was larger than its header claimed."""
    return JSONResponse({"error": "The upload was cut off, or is too large."}, status_code=413)


async def _internal_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": INTERNAL_ERROR}, status_code=500)
