"""An evaluation as one self-contained page for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moppet.app.evaluation.page import build_page
from moppet.values import MoppetError

__all__ = ["write_page"]


def write_page(
    evaluation: Mapping[str, Any], path: Path, *, pictures: Mapping[int, str] | None = None
) -> Path:
    """Write an evaluation as one HTML file that needs no network, and return its path.

    evaluation: the content of evaluation.json; the page says nothing that is not in it.
    pictures: row → a picture of the face as a data: URI, for the worst mistakes; None for none.
    Raises MoppetError if the file cannot be written.
    """
    try:
        path.write_text(build_page(evaluation, pictures), encoding="utf-8", newline="\n")
    except OSError as error:
        raise MoppetError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path
