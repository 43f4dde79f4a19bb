"""What every part of the page's server asks and says: JSON in, one sentence where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from moppet.values import MoppetError, UsageError


async def json_of(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request brings; UsageError if it brings none."""
    try:
        asked = await request.json()
    except ValueError:
        raise UsageError("JSON was needed.") from None
    if not isinstance(asked, dict):
        raise UsageError("A JSON object was needed.")
    return asked


def there(path: Path) -> Path:
    """Return a file that is there, or answer 404."""
    if not path.is_file():
        raise HTTPException(404)
    return path


def add_errors(site: FastAPI) -> None:
    """Answer every failure with {"error": sentence}, and never with internals."""
    site.exception_handler(MoppetError)(_said)
    site.exception_handler(HTTPException)(_http_said)
    site.exception_handler(RequestValidationError)(_odd)
    site.exception_handler(ClientDisconnect)(_cut_off)
    site.exception_handler(Exception)(_broken)


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
