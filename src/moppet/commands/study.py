"""`moppet ablate` and `moppet study`: many cells, each run once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moppet.commands.console import extra

_Minutes = Annotated[float | None, typer.Option(help="Begin no further cell after so long.", min=0)]
_Jobs = Annotated[
    int,
    typer.Option(help="Cells at once; with --engine ray, cores that a cell takes.", min=1),
]
_Engine = Annotated[str, typer.Option(help="local, or ray: a Ray cluster (moppet[dist]).")]


def ablate(
    study: Annotated[Path, typer.Argument(help="A study of trainings (TOML).")],
    minutes: _Minutes = None,
    only: Annotated[
        str | None, typer.Option(help="Run only cells whose table, experiment or regime says this.")
    ] = None,
    jobs: _Jobs = 1,
    engine: _Engine = "local",
) -> None:
    """Run a study of many trainings; finished ones are kept and never run again."""
    with extra("train", "Training"):
        from moppet.study.ablate import run_study
        from moppet.study.executors import choose_engine
        from moppet.study.plan import read_plan
    plan = read_plan(study)
    executor = choose_engine(engine, jobs)
    run_study(plan, executor=executor, minutes=minutes, only=only, say=typer.echo)
    typer.echo(f"written: {plan.output / plan.name}.md and .json")


def study(
    study: Annotated[Path, typer.Argument(help="A study (TOML).")],
    minutes: _Minutes = None,
    only: Annotated[
        str | None, typer.Option(help="Run only cells whose data set or method says this.")
    ] = None,
    jobs: _Jobs = 1,
    engine: _Engine = "local",
) -> None:
    """Find out what balancing and made faces are worth; finished cells are never run again."""
    with extra("train", "Training"):
        from moppet.study.executors import choose_engine
        from moppet.study.hybrid.hybrid_plan import is_hybrid, read_hybrid_plan
        from moppet.study.hybrid.hybrid_run import run_hybrid
    if not is_hybrid(study):
        return ablate(study, minutes, only, jobs, engine)
    plan = read_hybrid_plan(study)
    executor = choose_engine(engine, jobs)
    run_hybrid(plan, executor=executor, minutes=minutes, only=only, say=typer.echo)
    typer.echo(f"written: {plan.output / plan.name}.md and .json")
