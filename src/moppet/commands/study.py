"""`moppet study` (alias `ablate`): many cells, each run once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moppet.commands.console import extra
from moppet.commands.options import JobsOption, one_of, output_option
from moppet.values import UsageError


def study(
    recipe: Annotated[
        Path | None, typer.Argument(help="Study recipe (TOML).", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data to use in place of the recipe's.")
    ] = None,
    output: Annotated[Path | None, output_option("Folder for results, or file for --init.")] = None,
    init: Annotated[
        Path | None, typer.Option("--init", help="Write a starter recipe for these images.")
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            help="With --init: classifiers or networks.",
            autocompletion=one_of("classifiers", "networks"),
        ),
    ] = "classifiers",
    minutes: Annotated[
        float | None, typer.Option(help="Start no new cell after this time.", min=0)
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Run only cells with this text in their names.")
    ] = None,
    page_only: Annotated[
        bool, typer.Option("--page-only", help="Run nothing; write the page again.")
    ] = False,
    jobs: JobsOption = 1,
    engine: Annotated[
        str,
        typer.Option(help="local, or ray for a cluster.", autocompletion=one_of("local", "ray")),
    ] = "local",
) -> None:
    """Compare methods in many runs; finished ones are kept."""
    if init is not None:
        from moppet.study.starter_recipe import write_starter_recipe

        path = write_starter_recipe(init, output or Path("study.toml"), kind)
        typer.echo(f"written: {path}. Run it with: moppet study {path}")
        return
    if recipe is None:
        raise UsageError("give a study recipe, or --init FOLDER to write one for your images.")
    with extra("train", "Training"):
        from moppet.study.engine import run_recipe
    page = run_recipe(
        recipe,
        data=data,
        output=output,
        engine=engine,
        jobs=jobs,
        minutes=minutes,
        only=only,
        page_only=page_only,
        report=typer.echo,
    )
    typer.echo(f"written: {page.with_suffix('')}.md and .json")
