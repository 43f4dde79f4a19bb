"""`moppet synthesize`: synthetic faces for the rarer classes, and a manifest with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from moppet.commands.dataset_source import Source
from moppet.commands.options import (
    DataArgument,
    JsonOption,
    KindOption,
    ReaderOption,
    SetOption,
    ShowFacesFile,
    SubjectOption,
    one_of,
    output_option,
    read_list,
    read_pairs,
)
from moppet.synthesis.generators import GENERATORS
from moppet.values import UsageError


def synthesize(
    data: DataArgument,
    output: Annotated[Path, output_option("A new output folder.")],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help=f"One of {', '.join(GENERATORS)}; or set in --settings.",
            autocompletion=one_of(*GENERATORS),
        ),
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(
            "--per-class", help="New images for each class; default: even out the classes.", min=1
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="New images for one class, class=count; repeatable."),
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Only print the plan and its cost.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Training steps of the generator.", min=1)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Epochs of the generator, not steps.", min=1)
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", help="Side of the images, in pixels.")
    ] = None,
    color: Annotated[
        str | None,
        typer.Option("--color", help="gray or rgb.", autocompletion=one_of("gray", "rgb")),
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="Only these classes, separated by commas.")
    ] = None,
    ages: Annotated[
        str | None,
        typer.Option("--ages", help="Learn from these age bands only, such as infant,child."),
    ] = None,
    show_faces: ShowFacesFile = None,
    model_folder: Annotated[
        Path | None,
        typer.Option("--model-folder", help="Stable Diffusion folder for diffusion and inpaint."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", help="Settings (TOML), such as settings.toml of another run."),
    ] = None,
    changes: SetOption = None,
    kind: KindOption = None,
    option: ReaderOption = None,
    subject: SubjectOption = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Random seed; the same seed gives the same result.", min=0),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device", help="auto, cpu or cuda.", autocompletion=one_of("auto", "cpu", "cuda")
        ),
    ] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Generate synthetic faces for the rarer classes."""
    from moppet.commands.synthesize_run import Job, run_synthesis

    chosen = read_pairs(changes, "--set")
    if steps is not None and epochs is not None:
        raise UsageError("give --steps or --epochs, not both.")
    given: dict[str, Any] = {
        "method": method,
        "steps": steps,
        "epochs": epochs if epochs is not None else (0 if steps is not None else None),
        "size": size,
        "color": color,
        "seed": seed,
        "classes": None if classes is None else read_list(classes),
        "only_ages": None if ages is None else read_list(ages),
        "model": None if model_folder is None else str(model_folder),
    }
    chosen |= {name: value for name, value in given.items() if value is not None}
    run_synthesis(
        Job(
            Source(data, kind, read_pairs(option, "--option"), subject),
            *(output, chosen, settings),
            per_class=per_class,
            targets=target or (),
            plan_only=plan_only,
            sheet=show_faces,
            device=device,
            as_json=as_json,
        )
    )
