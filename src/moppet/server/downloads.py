"""Files that the page exports: timelines, tables and reports, with names and corrections."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from moppet.coders import PROGRAMS
from moppet.coders.programs import write_programs
from moppet.files import one_line
from moppet.pages.report import write_report
from moppet.timeline.annotations import AnnotatedTimeline, corrections_path, read_annotated
from moppet.timeline.people import people_path
from moppet.timeline.summary import csv_cell, summary_csv
from moppet.values import MoppetError

_TABLES: Final = ("csv", "json", "parquet")
EXPORTS: Final = (*_TABLES, *PROGRAMS, "summary", "corrections")
_PROBABILITIES_S: Final = 1.0


class ExportedFile(NamedTuple):
    """A file to download."""

    name: str
    content: bytes


def export_timeline(timeline: Path, kind: str, movements: Sequence[str] = ()) -> ExportedFile:
    """Return a timeline in one of the formats in EXPORTS; several files come as one zip.

    movements: those that files of coding programs have besides.
    Raises TimelineError if the format cannot hold the codes, UsageError for an unknown movement.
    """
    annotated = read_annotated(timeline)
    stem = Path(str(annotated.timeline.metadata.get("source_name") or timeline.stem)).stem
    if kind == "summary":
        text = summary_csv([_summary(annotated)])
        return ExportedFile(f"{stem} summary.csv", text.encode("utf-8"))
    if kind == "corrections":
        path = corrections_path(timeline)
        content = path.read_bytes() if path.is_file() else b""
        return ExportedFile(f"{stem}.corrections.jsonl", content)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if kind in _TABLES:
            path = annotated.timeline.write(folder / f"{stem}.{kind}")
            return ExportedFile(path.name, path.read_bytes())
        files = write_programs(annotated, folder, stem, [kind], _PROBABILITIES_S, movements)
        if len(files) == 1:
            return ExportedFile(files[0].name, files[0].read_bytes())
        return ExportedFile(f"{stem} {kind}.zip", _zip(files))


def export_summary(recordings: Sequence[tuple[str, Path]]) -> ExportedFile:
    """Return one summary table of several recordings, given by their names and timelines.

    One that cannot be read has a row with its name, and why in a last column "left out".
    """
    summaries, left_out = [], []
    for name, path in recordings:
        try:
            summaries.append(_summary(read_annotated(path)))
        except MoppetError as error:
            left_out.append((name, one_line(error)))
    text = summary_csv(summaries) if summaries else "recording\n"
    if left_out:
        header, *rows = csv.reader(io.StringIO(text))
        blank = [""] * (len(header) - 1)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow([*header, "left out"])
        writer.writerows([*row, ""] for row in rows)
        writer.writerows([csv_cell(name), *blank, reason] for name, reason in left_out)
        text = table.getvalue()
    return ExportedFile("summary.csv", text.encode("utf-8"))


def _summary(annotated: AnnotatedTimeline) -> dict[str, Any]:
    """Return the summary, with the timeline's path as it is within the workspace."""
    path = annotated.path
    inside = {} if path is None else {"timeline": f"{path.parent.name}/{path.name}"}
    return annotated.summary() | inside


def current_report(timeline: Path) -> Path:
    """Return the report next to a timeline; rewrite it if names or corrections changed since."""
    report = timeline.with_name("report.html")
    layers = (people_path(timeline), corrections_path(timeline))
    changed_at = max((path.stat().st_mtime_ns for path in layers if path.is_file()), default=0)
    if not report.is_file() or report.stat().st_mtime_ns < changed_at:
        write_report(read_annotated(timeline, thin=True), report)
    return report


def _zip(files: Sequence[Path]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return content.getvalue()
