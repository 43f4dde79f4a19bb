"""`moppet train`: from a recipe, or on a user's own images."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from moppet.commands.console import counted, extra
from moppet.commands.dataset_source import Source
from moppet.commands.options import (
    KindOption,
    ModelOption,
    ReaderOption,
    SeedOption,
    SetOption,
    SubjectOption,
    output_option,
    read_pairs,
)
from moppet.values import MoppetError, UsageError

if TYPE_CHECKING:
    from moppet.datasets.faces import Faces
    from moppet.datasets.manifest import Manifest
    from moppet.train.finetuning import Comparison
    from moppet.train.trainer import Machine


SHOWN: Final = 8
_FIGURES: Final = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
}


def read_groups(text: str | None) -> dict[str, str]:
    """Return class → group from "class=group,class=group"."""
    groups: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        name, equals, group = (piece.strip() for piece in part.partition("="))
        if not (name and equals and group):
            raise UsageError(f'--groups takes "class=group,class=group", got {part!r}.')
        groups[name] = group
    return groups


@dataclass(frozen=True)
class OwnImages:
    """What `moppet train` was asked to do with a user's own images."""

    data: Source
    output: Path
    model: str = "default"
    epochs: int | None = None
    quick: bool = False
    seed: int = 0
    groups: str | None = None


_OWN_ONLY: Final = (*("kind", "option", "subject", "model", "epochs", "quick", "seed", "groups"),)
_RECIPE_ONLY: Final = ("data", "settings")


def refuse_beside_recipe(given: Sequence[str]) -> None:
    """Raise UsageError if an option was given that belongs into a recipe. given: parameters."""
    wrong = [name for name in _OWN_ONLY if name in given]
    if wrong:
        raise UsageError(
            f"--{wrong[0]} is for training on your own images. With a recipe, set it in the "
            "recipe, or with --set name=value."
        )


def refuse_without_recipe(given: Sequence[str]) -> None:
    """Raise UsageError if an option was given that only a recipe takes. given: parameters."""
    wrong = [name for name in _RECIPE_ONLY if name in given]
    if wrong:
        option = {"settings": "set"}.get(wrong[0], wrong[0])
        raise UsageError(f"--{option} is for a recipe (.toml): name one instead of images.")


def check_own(asked: OwnImages) -> None:
    """Raise UsageError for what cannot be, before anything slow is imported or read."""
    from moppet.infer.expression_model import find_model

    if asked.quick and asked.epochs is not None:
        raise UsageError("--quick sets the number of epochs: give --quick or --epochs, not both.")
    read_groups(asked.groups)
    find_model(asked.model)


def train_own(asked: OwnImages, machine: Machine) -> None:
    """Fine-tune a model on a user's own images and print how good it is."""
    from moppet.train.finetuning import EPOCHS, QUICK_EPOCHS, finetune

    # With several processes, only the first one prints.
    console = Console(highlight=False, quiet=os.environ.get("LOCAL_RANK", "0") != "0")
    groups = read_groups(asked.groups)
    manifest = audit_own(console, asked.data.read(as_given=True))
    faces = find_own_faces(manifest, asked.output)
    lost = int((~faces.found).sum())
    if lost:
        console.print(f"no face found in {lost} of {len(faces)} images: they are used whole")
    manifest = manifest.replace(face_found=faces.found)
    asked.output.mkdir(parents=True, exist_ok=True)
    comparison = finetune(
        manifest,
        asked.output,
        model=asked.model,
        epochs=asked.epochs or (QUICK_EPOCHS if asked.quick else EPOCHS),
        seed=asked.seed,
        groups=groups,
        machine=machine,
        faces=faces,
        say=lambda text: console.print(text, soft_wrap=True),
    )
    comparison.data.manifest.write(asked.output / "manifest.parquet")
    print_comparison(console, comparison)
    console.print(f"model folder: {asked.output}", soft_wrap=True)


def audit_own(console: Console, manifest: Manifest) -> Manifest:
    """Return the readable, labeled images with their duplicates marked; print what was found.

    Raises MoppetError where the split that came with the images leaks.
    """
    from moppet.datasets.audit import audit_manifest

    audit = audit_manifest(manifest)
    counts = ", ".join(f"{name} {sum(n.values())}" for name, n in audit.counts("label").items())
    console.print(f"{len(manifest)} images: {counts}", soft_wrap=True)
    if audit.leaks:
        raise MoppetError(
            f"the split of these images leaks: {len(audit.leaks)} times, duplicates or one person "
            "are in several parts. See `moppet data audit`, and make a new split with "
            "`moppet data split`."
        )
    if len(audit.unreadable):
        first = manifest.column("path")[audit.unreadable[0]]
        console.print(f"left out because unreadable: {len(audit.unreadable)} (first: {first})")
    copies = sum(map(len, (*audit.exact, *audit.near)))
    if copies:
        console.print(f"{copies} images have duplicates, which stay in one part of the split")
    if audit.disagreements:
        console.print(
            f"{counted(len(audit.disagreements), 'group')} of duplicates with different labels"
        )
    if all(subject is None for subject in manifest.column("subject")):
        console.print(
            "it is unknown who is in which image: images of one child may be in several parts of "
            "the split, so the figures may be too high (see --subject)",
            soft_wrap=True,
        )
    labelled = audit.manifest.labels >= 0
    return audit.manifest.select(np.flatnonzero(audit.readable & labelled))


def show_views(
    asked: OwnImages, output: Path, data: Path | None, changes: Mapping[str, Any]
) -> Path:
    """Write an image that shows augmented faces, and return its path.

    A row for each of the recipe's augmentations, or a row of random views for each face.
    """
    from moppet.datasets.faces import find_manifest_faces
    from moppet.datasets.readers import read_dataset
    from moppet.train.augmentation_sheets import augmentation_sheet, views_sheet
    from moppet.train.module import batch_augmentation
    from moppet.train.recipe import Recipe, data_of, read_recipe

    path = asked.data.path
    if path.suffix == ".toml":
        recipe = read_recipe(path, changes)
        manifest = read_dataset(data_of(recipe, path.parent, data), recipe.kind or None)
    else:
        recipe = Recipe("own", str(path), seed=asked.seed)
        manifest = asked.data.read(as_given=True)
    labelled = np.flatnonzero(manifest.labels >= 0)
    rng = np.random.default_rng(recipe.seed)
    shown = rng.choice(labelled, min(SHOWN, len(labelled)), replace=False)
    faces = find_manifest_faces(manifest.select(shown))
    if recipe.augmentations:
        augmentation_sheet(list(faces.aligned()), output, batch_augmentation(recipe))
    else:
        views_sheet(faces, recipe, output)
    return output


def find_own_faces(manifest: Manifest, output: Path) -> Faces:
    """Return the images' faces, with a progress bar."""
    from moppet.datasets.faces import find_manifest_faces

    run = output / "run"
    run.mkdir(parents=True, exist_ok=True)
    with Progress(transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("faces", total=len(manifest))
        return find_manifest_faces(
            manifest,
            cache=run / "faces.npz",
            progress=lambda done, total: bar.update(task, completed=done),
        )


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the figures of the new model beside the majority class and the model before."""
    console.print(f"\non {comparison.adapted.n} faces not used for training (95 % intervals):")
    table = Table(box=None, pad_edge=False)
    for title in ("", "majority class", "before training", "after training"):
        table.add_column(title, no_wrap=True)
    columns = (comparison.majority, comparison.unadapted, comparison.adapted)
    for key, title in _FIGURES.items():
        table.add_row(title, *(_cell(each.overall[key]) if each else "–" for each in columns))
    console.print(table)
    if comparison.gain:
        gains = (f"{t} {_cell(comparison.gain[k], '+')}" for k, t in _FIGURES.items())
        console.print("gain: " + "; ".join(gains), soft_wrap=True)
    else:
        console.print("the model before training does not know all of these classes")
    recalls = comparison.adapted.per_class["recall"]
    console.print(
        "recall: " + "; ".join(f"{name} {_cell(e)}, n = {e.n}" for name, e in recalls.items()),
        highlight=False,
        soft_wrap=True,
    )


def _cell(estimate: Any, sign: str = "") -> str:
    if math.isnan(estimate.value):
        return "–"
    text = f"{estimate.value:{sign}.2f}"
    if math.isnan(estimate.low):
        return text
    if estimate.low == estimate.high:  # all bootstrap samples were alike: not a certainty
        return f"{text} (no spread)"
    return f"{text} ({estimate.low:{sign}.2f} to {estimate.high:{sign}.2f})"


def train(
    context: typer.Context,
    what: Annotated[
        Path,
        typer.Argument(help="A recipe (.toml), or labeled images such as one folder per class."),
    ],
    output: Annotated[Path, output_option("Folder for the model and its training run.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Dataset for a recipe, instead of its own.")
    ] = None,
    settings: SetOption = None,
    kind: KindOption = None,
    option: ReaderOption = None,
    subject: SubjectOption = None,
    model: ModelOption = "default",
    epochs: Annotated[int | None, typer.Option("--epochs", help="Number of epochs.", min=1)] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train for a few epochs only, as a trial.")
    ] = False,
    groups: Annotated[
        str | None,
        typer.Option("--groups", help='"class=group,..."; default: by the names of the classes.'),
    ] = None,
    seed: SeedOption = 0,
    accelerator: Annotated[
        str, typer.Option("--accelerator", help="Lightning accelerator: cpu, gpu or auto.")
    ] = "auto",
    devices: Annotated[
        str, typer.Option("--devices", help="Number of devices for Lightning, or auto.")
    ] = "auto",
    nodes: Annotated[
        int, typer.Option("--nodes", help="Number of machines for Lightning.", min=1)
    ] = 1,
    strategy: Annotated[
        str, typer.Option("--strategy", help="Lightning strategy: ddp, fsdp or auto.")
    ] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write a TensorBoard log.")
    ] = False,
    show_augmentation: Annotated[
        Path | None,
        typer.Option(
            "--show-augmentation", help="Only write an image of augmented faces to this file."
        ),
    ] = None,
) -> None:
    """Train a model from a recipe or your own faces."""
    own = OwnImages(
        Source(what, kind, read_pairs(option, "--option"), subject),
        *(output, model, epochs, quick, seed, groups),
    )
    changes = read_pairs(settings, "--set")
    given = [
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    ]
    if what.suffix == ".toml":
        refuse_beside_recipe(given)
    else:
        refuse_without_recipe(given)
        check_own(own)
    with extra("train", "Training"):
        from moppet.train.trainer import Machine
        from moppet.train.training_run import run_recipe
    machine = Machine(accelerator, devices, nodes, strategy, tensorboard)
    if show_augmentation is not None:
        typer.echo(f"written: {show_views(own, show_augmentation, data, changes)}")
    elif what.suffix == ".toml":
        typer.echo(f"model folder: {run_recipe(what, output, machine, data, changes)}")
    else:
        train_own(own, machine)
