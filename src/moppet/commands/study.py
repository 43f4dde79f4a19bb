"""`moppet study` (alias `ablate`): many trainings or classifiers, each run once."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from moppet.commands.console import extra
from moppet.commands.options import (
    JobsOption,
    SetOption,
    SubjectOption,
    choice,
    flag,
    output_option,
    read_pairs,
)
from moppet.values import MoppetError, UsageError


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What `moppet study` is asked for."""

    recipe: Annotated[Path | None, typer.Argument(help="A study recipe (.toml).")] = None
    init: Annotated[
        Path | None, typer.Option(help="Write a starter recipe for this folder of labeled images.")
    ] = None
    compare: Annotated[
        str, choice("With --init: compare classifiers or networks.", "classifiers", "networks")
    ] = "classifiers"
    output: Annotated[
        Path | None,
        output_option("Folder of the results; with --init, the recipe to write (study.toml)."),
    ] = None
    data: Annotated[
        Path | None, typer.Option(help="Dataset for the study, instead of the recipe's.")
    ] = None
    subject: SubjectOption = None
    set: SetOption = None
    minutes: Annotated[
        float | None, typer.Option(help="Start no new cell after this many minutes.", min=0)
    ] = None
    only: Annotated[
        str | None, typer.Option(help="Run only cells with this text in their names.")
    ] = None
    jobs: JobsOption = 1
    engine: Annotated[
        str,
        choice("Where cells run: local, or ray for a Ray cluster (moppet[dist]).", "local", "ray"),
    ] = "local"
    page_only: Annotated[
        bool, flag("--page-only", "Only rewrite the page from finished results.")
    ] = False


def study(options: StudyOptions) -> None:
    """Run a study: many training runs, compared with each other.

    Each run is a cell of the study's table. Finished cells are kept: rerun the same command to
    resume.
    """
    if options.init is not None:
        if options.recipe is not None:
            raise UsageError("--init writes a new recipe: leave out the recipe to run.")
        path = options.output or Path("study.toml")
        write_starter_recipe(options.init, path, options.compare, options.subject or "")
        typer.echo(f"written: {path}. Edit it, then run: moppet study {path}")
        return
    if options.recipe is None:
        raise UsageError("name a recipe (.toml), or write one with --init FOLDER.")
    from moppet.study.plan import check_plan_models, read_plan

    plan = read_plan(
        options.recipe,
        data=options.data,
        output=options.output,
        subject=options.subject,
        changes=read_pairs(options.set, "--set"),
    )
    if not options.page_only:
        check_plan_models(plan, options.recipe)
    with extra("train", "Training"):
        from moppet.study.engine import run_plan
    page = run_plan(
        plan,
        engine=options.engine,
        jobs=options.jobs,
        minutes=options.minutes,
        only=options.only,
        page_only=options.page_only,
        report=typer.echo,
    )
    typer.echo(f"written: {page.with_suffix('')}.md and .json")


_LEAST_IMAGES: Final = 6
_MOST_CLASSES: Final = 10
_STUDY_KINDS: Final = ("classifiers", "networks")


def write_starter_recipe(
    data: Path, recipe: Path, kind: str = "classifiers", subject: str = ""
) -> Path:
    """Write a recipe for a data set with every key explained, and return its path.

    kind: "classifiers" (minutes, from about six images per class) or "networks".
    subject: regular expression whose (group) in a file's path is the person; "" for none.
    Classes with fewer than six images are left out.
    Raises UsageError where the recipe exists or the kind is unknown, and MoppetError where fewer
    than two classes have enough images.
    """
    from moppet.datasets.readers import read_dataset
    from moppet.files import render_text, write_text

    if kind not in _STUDY_KINDS:
        raise UsageError(f"a study is of {' or '.join(_STUDY_KINDS)}, got {kind!r}.")
    if recipe.exists():
        raise UsageError(f"{recipe} exists already. Choose another name, or delete it.")
    options = {"subject_pattern": subject} if subject else {}
    manifest = read_dataset(data, **options)
    counts = Counter(str(name) for name in manifest.column("label") if name)
    classes = [name for name, n in counts.most_common(_MOST_CLASSES) if n >= _LEAST_IMAGES]
    if len(classes) < 2:
        found = ", ".join(f"{name} {n}" for name, n in counts.items()) or "no labeled image"
        raise MoppetError(
            f"a study needs two classes with at least {_LEAST_IMAGES} images each; {data} has "
            f"{found}."
        )
    place = os.path.relpath(data.resolve(), recipe.resolve().parent)
    text = render_text(
        "moppet.study",
        f"starter_{kind}.toml.j2",
        recipe=recipe.name,
        name=recipe.stem.replace(" ", "-"),
        title=json.dumps(f"{data.resolve().name}: a first study", ensure_ascii=False),
        data=json.dumps(place, ensure_ascii=False),
        subject=json.dumps(subject, ensure_ascii=False),
        folds=min(5, counts[classes[-1]] // 2),
        classes=json.dumps(classes, ensure_ascii=False),
    )
    return write_text(recipe, text)
