"""`moppet export`: a timeline as files of the coders' programs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from moppet.app.output import result_folder
from moppet.timeline import read_timeline
from moppet.timeline.coders import PROGRAMS, coding_of, write_program
from moppet.values import UsageError


def export(
    timeline: Annotated[Path, typer.Argument(help="A timeline (.parquet, .csv or .json).")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the files; default: the timeline's."),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help=f"Any of {', '.join(PROGRAMS)}, with commas.")
    ] = "elan",
    probabilities: Annotated[
        float,
        typer.Option(help="Write mean probabilities every so many seconds; 0 for none.", min=0),
    ] = 1.0,
) -> None:
    """Write a timeline's episodes and probabilities for ELAN, BORIS, Datavyu or Praat."""
    wanted = list(dict.fromkeys(part.strip().lower() for part in formats.split(",")))
    unknown = [part for part in wanted if part not in PROGRAMS]
    if unknown:
        raise UsageError(f"--format takes any of {', '.join(PROGRAMS)}, got {formats!r}.")
    if 0 < probabilities < 0.01:
        raise UsageError(f"--probabilities is 0 or 0.01 seconds or more, got {probabilities}.")
    read = read_timeline(timeline)
    made_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    coding = coding_of(read, probabilities_s=probabilities, made_at=made_at)
    folder = output or timeline.parent
    stem = Path(coding.source_name or timeline.name).stem
    with result_folder(folder):
        for program in wanted:
            for path in write_program(coding, folder, stem, program):
                typer.echo(str(path))
