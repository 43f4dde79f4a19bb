"""The command `moppet compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from moppet.app.comparison.asked import ask_meanings, can_ask
from moppet.app.comparison.printed import print_result
from moppet.app.comparison.run import COUNTABLE, Coder, Job
from moppet.app.comparison.run import compare as compare_files
from moppet.values import UsageError

_FILES = "ELAN .eaf, BORIS .boris/.tsv/.csv, Datavyu .opf, Praat .TextGrid"


def compare(
    machine: Annotated[Path, typer.Argument(help="A timeline (.parquet, .csv or .json).")],
    human: Annotated[Path, typer.Argument(help=f"A person's codes: {_FILES}.")],
    human2: Annotated[
        Path | None, typer.Argument(help="A second person's codes; may be the same file.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "moppet_comparison"
    ),
    face: Annotated[
        str | None, typer.Option(help="The coded person's faces in the timeline, e.g. 0 or 0,2.")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(help="The tier, column or subject of the codes, by its name.")
    ] = None,
    tier2: Annotated[
        str | None, typer.Option(help="That of the second person; default: as the first.")
    ] = None,
    observation: Annotated[
        str | None, typer.Option(help="The observation in BORIS files that hold several.")
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help='What codes mean: "cry=negative,smile=happiness,away=skip"; repeatable.'
        ),
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="expression or group; default: by what the codes mean.")
    ] = None,
    offset: Annotated[
        float, typer.Option(help="Seconds to add to the codes' times to get the recording's.")
    ] = 0.0,
    offset2: Annotated[
        float | None, typer.Option(help="That of the second person; default: as the first.")
    ] = None,
    unit: Annotated[float, typer.Option(help="Length of a time unit in seconds.")] = 0.1,
    tolerance: Annotated[
        float, typer.Option(help="Seconds by which two may differ and yet agree.")
    ] = 0.5,
    uncoded: Annotated[
        str,
        typer.Option(help="Time without a code: skip, rest (anything not coded), or a name."),
    ] = "skip",
    count: Annotated[
        str | None,
        typer.Option(help=f"Count, not leave out, with commas: {', '.join(COUNTABLE)}."),
    ] = None,
    start: Annotated[float | None, typer.Option("--from", help="Compare from this second.")] = None,
    end: Annotated[float | None, typer.Option("--to", help="Compare up to this second.")] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.", min=0)] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print agreement.json, not tables.")
    ] = False,
) -> None:
    """Say how far a timeline agrees with people's codes, and where it does not."""
    coders = [Coder(human, tier, observation, offset)]
    if human2 is not None:
        if human2 == human and tier2 in (None, tier):
            raise UsageError("Both people's codes are in one file; name their --tier and --tier2.")
        shift = offset if offset2 is None else offset2
        coders.append(Coder(human2, tier if tier2 is None else tier2, observation, shift))
    job = Job(
        timeline=machine,
        coders=coders,
        output=output,
        face=face,
        words=words or (),
        level=level,
        unit_s=unit,
        tolerance_s=tolerance,
        uncoded=uncoded,
        count=tuple(part.strip() for part in (count or "").split(",") if part.strip()),
        from_s=start,
        to_s=end,
        seed=seed,
    )
    asking = ask_meanings if can_ask() and not as_json else None
    result = compare_files(job, asking)
    if as_json:
        typer.echo(json.dumps(result.as_json(), ensure_ascii=False, allow_nan=False))
    else:
        print_result(result, Console(soft_wrap=True, highlight=False, markup=False))
