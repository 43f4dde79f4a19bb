"""`moppet train`, `evaluate`, `explain` and `card`: what the laboratory does with models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moppet.commands.console import extra
from moppet.commands.options import ShowFaces


def train(
    context: typer.Context,
    what: Annotated[
        Path,
        typer.Argument(help="A recipe (.toml), or labeled images: folders named by class, …"),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the run; for images, of the model.")
    ],
    kind: Annotated[str | None, typer.Option(help="Kind of data set; default: by layout.")] = None,
    model: Annotated[str, typer.Option(help="The model to start from.")] = "default",
    epochs: Annotated[int | None, typer.Option(help="Times to see every image.", min=1)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few epochs, to try it out.")] = False,
    seed: Annotated[int, typer.Option(help="Of the split and the training.", min=0)] = 0,
    groups: Annotated[
        str | None, typer.Option(help='Groups: "class=group,…"; default: by the classes\' names.')
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="Regular expression whose (group) in a file's path names the child."),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's: cpu, gpu, auto.")] = "auto",
    devices: Annotated[str, typer.Option(help="Lightning's: how many, or auto.")] = "auto",
    nodes: Annotated[int, typer.Option(help="Lightning's: machines of the run.", min=1)] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's: ddp, fsdp, auto, …")] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log for TensorBoard, too.")
    ] = False,
    show_augmentation: Annotated[
        Path | None,
        typer.Option(help="Only write this image of the random views of some faces."),
    ] = None,
) -> None:
    """Train a model, by a recipe or on your own faces; run it again to go on when stopped."""
    with extra("train", "Training"):
        from moppet.commands.train import OwnImages, refuse_beside_recipe, show_views, train_own
        from moppet.train.trainer import Machine
        from moppet.train.training_run import run_recipe
    if what.suffix == ".toml":
        source = {name: context.get_parameter_source(name) for name in context.params}
        refuse_beside_recipe([k for k, v in source.items() if v and v.name == "COMMANDLINE"])
    machine = Machine(accelerator, devices, nodes, strategy, tensorboard)
    own = OwnImages(what, output, kind, model, epochs, quick, seed, groups, subject)
    if show_augmentation is not None:
        typer.echo(f"written: {show_views(own, show_augmentation)}")
    elif what.suffix == ".toml":
        typer.echo(f"model folder: {run_recipe(what, output, machine)}")
    else:
        train_own(own, machine)


def evaluate(
    model: Annotated[str, typer.Argument(help="A bundled model, or a model folder.")],
    data: Annotated[
        Path, typer.Argument(help="Labelled images: a data set, or a manifest (.parquet).")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder; default: evaluation_ and the model's name."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of data set, where its layout does not tell.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Rows to use, or 'all'; default: report where there is one, else all."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also figures by these columns of the data; with commas, or again."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Compare with this model on the same faces.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Keep where the faces are in this .npz, for the next time."),
    ] = None,
    show_faces: ShowFaces = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print evaluation.json, not tables.")
    ] = False,
) -> None:
    """Say how well a model reads labeled faces: tables, evaluation.json and evaluation.html."""
    from moppet.commands.evaluate import Job, evaluate_model

    evaluate_model(
        Job(
            *(model, data, output, kind, split, by or ()),
            against=against,
            cache=cache,
            pictures=show_faces,
            as_json=as_json,
        )
    )


def explain(
    model: Annotated[str, typer.Argument(help="A bundled model, or a model folder.")],
    data: Annotated[
        Path, typer.Argument(help="An image, a folder of them, a data set, or a manifest.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A new folder for what is written.")
    ] = Path("moppet_explanation"),
    kind: Annotated[
        str | None, typer.Option(help="Kind of data set, where its layout does not tell.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="grad-cam (models of moppet train) or occlusion (any model; slower)."),
    ] = "grad-cam",
    of: Annotated[
        str, typer.Option(help="Explain the predicted class, the label, or this class.")
    ] = "predicted",
    split: Annotated[
        str | None,
        typer.Option(help="Rows to use, or 'all'; default: report where there is one, else all."),
    ] = None,
    limit: Annotated[
        int, typer.Option(help="Explain so many images, drawn at random; 0 for all.", min=0)
    ] = 200,
    mean_only: Annotated[
        bool, typer.Option("--mean-only", help="Write no image that shows a face.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draw and the intervals.", min=0)] = 0,
) -> None:
    """Show what a model looks at: an overlay an image, mean maps, and shares of eyes and mouth."""
    from moppet.commands.explain import Job, explain_model

    explain_model(Job(model, data, output, kind, method, of, split, limit, mean_only, seed))


def card(
    model: Annotated[str, typer.Argument(help="A bundled model, or a model folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the card.")] = Path(
        "moppet_card"
    ),
    evaluation: Annotated[
        Path | None,
        typer.Option(help="The evaluation.json of `moppet evaluate`, or its folder."),
    ] = None,
) -> None:
    """Write a model's card in Markdown and HTML, from what is saved about it."""
    from moppet.pages.card import write_model_card

    for path in write_model_card(model, output, evaluation):
        typer.echo(str(path))
