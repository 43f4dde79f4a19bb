"""`moppet study` (alias `ablate`): many cells, each run once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moppet.commands.console import extra


def study(
    study: Annotated[Path, typer.Argument(help="A study (TOML).")],
    minutes: Annotated[
        float | None, typer.Option(help="Begin no further cell after so long.", min=0)
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Run only cells with this text in one of their names.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(help="Cells at once; with --engine ray, cores that a cell takes.", min=1),
    ] = 1,
    engine: Annotated[str, typer.Option(help="local, or ray: a Ray cluster (moppet[dist]).")] = (
        "local"
    ),
) -> None:
    """Run a study of many cells; finished ones are kept and never run again."""
    with extra("train", "Training"):
        from moppet.study.engine import run_recipe
    page = run_recipe(
        study, engine=engine, jobs=jobs, minutes=minutes, only=only, report=typer.echo
    )
    typer.echo(f"written: {page.with_suffix('')}.md and .json")


ablate = study
