"""The command's options; what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moppet.commands.options import ShowFaces


def quality(
    made: Annotated[
        Path, typer.Argument(help="Made images: a folder of `moppet synthesize`, or any other.")
    ],
    real: Annotated[
        Path | None,
        typer.Argument(
            help="The real images that they were learned from, where the made ones' manifest "
            "does not hold them: a data set."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder; default: quality_ and the made ones' name."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Its embedding is what distances are measured in.")
    ] = "default",
    judge: Annotated[
        str | None, typer.Option(help="Model that reads what was made; default: the same.")
    ] = None,
    show_faces: ShowFaces = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print quality.json, not tables.")
    ] = False,
) -> None:
    """Say whether made faces are any good, and which are nearly a real one: figures and a page."""
    from moppet.commands.quality_run import Job, judge_made

    judge_made(Job(made, real, output, model, judge, show_faces, as_json))
