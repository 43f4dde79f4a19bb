"""`moppet synthesize`: more faces of the classes that have too few, and a manifest with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from moppet.commands.options import ShowFacesFile, read_pairs
from moppet.synthesis.generators import GENERATORS
from moppet.values import UsageError


def synthesize(
    data: Annotated[
        Path, typer.Argument(help="Labelled images: a data set, or a manifest (.parquet).")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder for what is made.")],
    method: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(GENERATORS)}; or in --settings.")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(help="Make so many of each class; default: even them out.", min=1)
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Make so many of one class: class=N; may come again.")
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Only say what would be made, and what it costs.")
    ] = False,
    steps: Annotated[int | None, typer.Option(help="Batches to learn from.", min=1)] = None,
    epochs: Annotated[int | None, typer.Option(help="Or: times to see every image.", min=1)] = None,
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    color: Annotated[str | None, typer.Option(help="gray or rgb.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same.", min=0)] = None,
    classes: Annotated[str | None, typer.Option(help="Only these classes, with commas.")] = None,
    ages: Annotated[
        str | None, typer.Option(help="Learn from these age bands only: infant,child.")
    ] = None,
    show_faces: ShowFacesFile = None,
    model_folder: Annotated[
        Path | None, typer.Option(help="diffusion, inpaint: the folder of Stable Diffusion.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Settings (TOML), such as an earlier run's settings.toml.")
    ] = None,
    choose: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting: name=value; may come again.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Kind of data set; default: by layout.")] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="Regular expression whose (group) in a file's path names the child."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make more faces of each class, from training rows alone; run it again to go on if stopped."""
    from moppet.commands.synthesize_run import Job, run_synthesis

    chosen = read_pairs(choose, "--set")
    if steps is not None and epochs is not None:
        raise UsageError("give --steps or --epochs, not both.")
    given: dict[str, Any] = {
        "method": method,
        "steps": steps,
        "epochs": epochs if epochs is not None else (0 if steps is not None else None),
        "size": size,
        "color": color,
        "seed": seed,
        "classes": _list(classes),
        "only_ages": _list(ages),
        "model": None if model_folder is None else str(model_folder),
    }
    chosen |= {name: value for name, value in given.items() if value is not None}
    run_synthesis(
        Job(
            *(data, output, chosen, settings, kind, subject),
            per_class=per_class,
            targets=target or (),
            plan_only=plan_only,
            sheet=show_faces,
            device=device,
            as_json=as_json,
        )
    )


def _list(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
