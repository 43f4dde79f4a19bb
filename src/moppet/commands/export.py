"""`moppet export`: timelines as files of the coders' programs, or as a table of summaries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from moppet.coders.programs import PROGRAMS, write_programs
from moppet.files import result_folder, write_text
from moppet.timeline.annotations import read_layered
from moppet.timeline.summary import summary_csv
from moppet.values import UsageError

SUMMARY: Final = "summary"
_FORMATS: Final = (*PROGRAMS, SUMMARY)


def export(
    timelines: Annotated[list[Path], typer.Argument(help="Timelines (.parquet, .csv or .json).")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the files; default: the timeline's."),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help=f"Any of {', '.join(_FORMATS)}, with commas.")
    ] = "elan",
    probabilities: Annotated[
        float,
        typer.Option(help="Write mean probabilities every so many seconds; 0 for none.", min=0),
    ] = 1.0,
    people: Annotated[
        Path | None,
        typer.Option(help="Who is who; default: the .people.json beside the timeline, if any."),
    ] = None,
) -> None:
    """Write timelines for ELAN, BORIS, Datavyu or Praat, or a summary.csv of them all."""
    wanted = list(dict.fromkeys(part.strip().lower() for part in formats.split(",")))
    unknown = [part for part in wanted if part not in _FORMATS]
    if unknown:
        raise UsageError(f"--format takes any of {', '.join(_FORMATS)}, got {formats!r}.")
    if 0 < probabilities < 0.01:
        raise UsageError(f"--probabilities is 0 or 0.01 seconds or more, got {probabilities}.")
    if people is not None and len(timelines) > 1:
        raise UsageError("--people is for one timeline; those beside several are found by name.")
    read = [read_layered(path, people) for path in timelines]
    programs = [name for name in wanted if name != SUMMARY]
    for path, layered in zip(timelines, read, strict=True):
        folder = output or path.parent
        stem = Path(str(layered.timeline.metadata.get("source_name") or path.name)).stem
        with result_folder(folder):
            for written in write_programs(layered, folder, stem, programs, probabilities):
                typer.echo(str(written))
    if SUMMARY in wanted:
        folder = output or timelines[0].parent
        with result_folder(folder):
            text = summary_csv(layered.timeline.summary() for layered in read)
            typer.echo(str(write_text(folder / "summary.csv", text)))
