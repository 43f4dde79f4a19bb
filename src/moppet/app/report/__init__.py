"""A timeline as one self-contained page for people: `moppet report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moppet.app.report.content import Thumbnail
from moppet.app.report.page import build_page
from moppet.app.report.thumbnails import read_thumbnails
from moppet.timeline import Timeline
from moppet.values import MoppetError

__all__ = ["Thumbnail", "read_thumbnails", "write_report"]


def write_report(
    timeline: Timeline, path: str | Path, *, thumbnails: Sequence[Thumbnail] | None = None
) -> Path:
    """Write the timeline as one HTML file that needs no network, and return its path.

    Only the drawing of a long timeline is thinned, never its figures. thumbnails: from
    `read_thumbnails`; without them the page holds no picture of a face.
    Raises MoppetError if the file cannot be written.
    """
    path = Path(path)
    page = build_page(timeline, list(thumbnails or []))
    try:
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise MoppetError(
            f"The report cannot be written to {path}: {error.strerror or error}. "
            "Name a file in a folder that exists and that you may write to."
        ) from error
    return path
