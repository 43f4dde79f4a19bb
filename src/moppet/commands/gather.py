"""`moppet gather`: the timelines of many recordings as one study."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from moppet.commands.console import counted, watched
from moppet.commands.options import JsonOption, output_option


@dataclass(frozen=True, kw_only=True)
class GatherOptions:
    """What `moppet gather` is asked for."""

    results: Annotated[
        list[Path], typer.Argument(help="Folders of results, or timelines.", metavar="RESULTS...")
    ]
    output: Annotated[Path, output_option("Folder for the study.")] = Path("moppet_study")
    recordings: Annotated[
        Path | None,
        typer.Option(help="List of recordings (.csv): path, participant, and other columns."),
    ] = None
    as_json: JsonOption = False


def gather(options: GatherOptions) -> None:
    """Gather the timelines of many recordings in one study.

    Writes frames/ (a Parquet dataset), episodes.csv, summary.csv and recordings.csv. Names and
    corrections beside the timelines count.
    """
    from moppet.cohort.gathering import gather as gather_study

    with watched("recordings") as show:
        found = gather_study(
            options.results,
            options.output,
            options.recordings,
            lambda done, total: show("gather", done, total),
        )
    if options.as_json:
        printed = {
            "folder": str(found.folder),
            "recordings": found.recordings,
            "people": found.people,
            "analyzed_s": found.analyzed_s,
            "notes": found.notes,
            "files": [str(path) for path in found.written],
        }
        typer.echo(json.dumps(printed, ensure_ascii=False))
        return
    from moppet.timeline.time_axis import format_length

    typer.echo(
        f"{counted(found.recordings, 'recording')}, {found.people:,} people or unnamed faces, "
        f"{format_length(found.analyzed_s)} analyzed"
    )
    for note in found.notes:
        typer.echo(f"Note: {note}")
    for path in found.written:
        typer.echo(f"  {path}")
