"""The files that the page hands out of a recording, with the layers that people laid over it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from moppet.coders import PROGRAMS
from moppet.coders.programs import write_programs
from moppet.pages.report import write_report
from moppet.timeline.annotations import corrections_path, read_layered
from moppet.timeline.people import people_path
from moppet.timeline.summary import summary_csv

_TABLES: Final = ("csv", "json", "parquet")
EXPORTS: Final = (*_TABLES, *PROGRAMS, "summary", "corrections")
_PROBABILITIES_S: Final = 1.0


class Exported(NamedTuple):
    """A file to take away."""

    name: str
    content: bytes


def exported(timeline: Path, kind: str) -> Exported:
    """Return a timeline as one of EXPORTS, several files of a program as a zip.

    Raises TimelineError if a program cannot hold the codes.
    """
    layered = read_layered(timeline)
    stem = Path(str(layered.timeline.metadata.get("source_name") or timeline.stem)).stem
    if kind == "summary":
        text = summary_csv([layered.timeline.summary()])
        return Exported(f"{stem} summary.csv", text.encode("utf-8"))
    if kind == "corrections":
        path = corrections_path(timeline)
        content = path.read_bytes() if path.is_file() else b""
        return Exported(f"{stem}.corrections.jsonl", content)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if kind in _TABLES:
            path = layered.timeline.write(folder / f"{stem}.{kind}")
            return Exported(path.name, path.read_bytes())
        files = write_programs(layered, folder, stem, [kind], _PROBABILITIES_S)
        if len(files) == 1:
            return Exported(files[0].name, files[0].read_bytes())
        return Exported(f"{stem} {kind}.zip", _zipped(files))


def summary_of(timelines: Sequence[Path]) -> Exported:
    """Return the summary table of these recordings."""
    text = summary_csv(read_layered(path).timeline.summary() for path in timelines)
    return Exported("summary.csv", text.encode("utf-8"))


def fresh_report(timeline: Path) -> Path:
    """Return the report beside a timeline, written anew if people were named since."""
    report, people = timeline.with_name("report.html"), people_path(timeline)
    named_at = people.stat().st_mtime_ns if people.is_file() else 0
    if not report.is_file() or report.stat().st_mtime_ns < named_at:
        write_report(read_layered(timeline).timeline, report)
    return report


def _zipped(files: Sequence[Path]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return content.getvalue()
