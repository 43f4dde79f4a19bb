"""`moppet train`: from a recipe, or on a user's own images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from moppet.commands.console import counted, estimate_text, extra, say
from moppet.commands.options import (
    DatasetOptions,
    ModelOption,
    SeedOption,
    SetOption,
    find_faces,
    flag,
    output_option,
    read_pairs,
)
from moppet.values import MoppetError, UsageError

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest
    from moppet.train.finetuning import Comparison
    from moppet.train.recipe import Recipe
    from moppet.train.trainer import Machine

_SHOWN: Final = 8
_FIGURES: Final = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
}
_OWN_ONLY: Final = ("kind", "option", "model", "epochs", "quick", "seed", "groups")
_RECIPE_ONLY: Final = ("data", "set")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `moppet train` is asked for."""

    context: typer.Context
    what: Annotated[
        Path,
        typer.Argument(help="A recipe (.toml), or labeled images such as one folder per class."),
    ]
    output: Annotated[Path, output_option("Folder for the model and its training run.")]
    data: Annotated[Path | None, typer.Option(help="Dataset for a recipe, instead of its own.")] = (
        None
    )
    set: SetOption = None
    dataset: DatasetOptions
    model: ModelOption = "default"
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.", min=1)] = None
    quick: Annotated[bool, flag("--quick", "Train for a few epochs only, as a trial.")] = False
    groups: Annotated[
        str | None, typer.Option(help='Group of each class, "class=group,..."; default: by name.')
    ] = None
    seed: SeedOption = 0
    accelerator: Annotated[str, typer.Option(help="Lightning accelerator: cpu, gpu or auto.")] = (
        "auto"
    )
    devices: Annotated[str, typer.Option(help="Number of devices for Lightning, or auto.")] = "auto"
    nodes: Annotated[int, typer.Option(help="Number of machines for Lightning.", min=1)] = 1
    strategy: Annotated[str, typer.Option(help="Lightning strategy: ddp, fsdp or auto.")] = "auto"
    tensorboard: Annotated[bool, flag("--tensorboard", "Also write a TensorBoard log.")] = False
    show_augmentation: Annotated[
        Path | None, typer.Option(help="Only write an image of augmented faces to this file.")
    ] = None

    @property
    def changes(self) -> dict[str, Any]:
        """The keys to set over those of a recipe."""
        subject = {} if self.dataset.subject is None else {"subject": self.dataset.subject}
        return read_pairs(self.set, "--set") | subject


def train(options: TrainOptions) -> None:
    """Train a model from a recipe or your own faces."""
    recipe = _read_recipe(options) if options.what.suffix == ".toml" else None
    if recipe is None:
        _check_own(options)
    with extra("train", "Training"):
        from moppet.train.trainer import Machine
        from moppet.train.training_run import run_recipe
    machine = Machine(
        *(options.accelerator, options.devices, options.nodes, options.strategy),
        options.tensorboard,
    )
    if options.show_augmentation is not None:
        _show_augmentation(options, recipe, options.show_augmentation)
    elif recipe is not None:
        folder = run_recipe(options.what, options.output, machine, options.data, options.changes)
        typer.echo(f"model folder: {folder}")
    else:
        _train_own(options, machine)


def _given(options: TrainOptions, names: tuple[str, ...]) -> str | None:
    """Return the first of these options that is on the command line."""
    for name in names:
        source = options.context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            return f"--{name}"
    return None


def _read_recipe(options: TrainOptions) -> Recipe:
    """Return the recipe; UsageError for what cannot be, before anything slow is imported."""
    from moppet.train.recipe import check_models, data_of, read_recipe

    if wrong := _given(options, _OWN_ONLY):
        raise UsageError(
            f"{wrong} is for training on your own images. With a recipe, set it in the recipe, or "
            "with --set name=value."
        )
    recipe = read_recipe(options.what, options.changes)
    check_models([recipe], options.what)
    data_of(recipe, options.what.parent, options.data)
    return recipe


def _check_own(options: TrainOptions) -> None:
    """Raise UsageError for what cannot be, before anything slow is imported or read."""
    from moppet.infer.expression_model import find_model

    if wrong := _given(options, _RECIPE_ONLY):
        raise UsageError(f"{wrong} is for a recipe (.toml): name one instead of images.")
    if options.quick and options.epochs is not None:
        raise UsageError("--quick sets the number of epochs: give --quick or --epochs, not both.")
    read_groups(options.groups)
    find_model(options.model)


def read_groups(text: str | None) -> dict[str, str]:
    """Return class → group from "class=group,class=group"."""
    groups: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        name, equals, group = (piece.strip() for piece in part.partition("="))
        if not (name and equals and group):
            raise UsageError(f'--groups takes "class=group,class=group", got {part!r}.')
        groups[name] = group
    return groups


def _train_own(options: TrainOptions, machine: Machine) -> None:
    """Fine-tune a model on a user's own images and print how good it is."""
    from moppet.train.finetuning import EPOCHS, QUICK_EPOCHS, finetune

    # With several processes, only the first one prints.
    console = Console(highlight=False, quiet=os.environ.get("LOCAL_RANK", "0") != "0")
    manifest = audit_own(console, options.dataset.read(options.what, as_given=True))
    faces = find_faces(manifest, options.output / "run")
    lost = int((~faces.found).sum())
    if lost:
        console.print(f"no face found in {lost} of {len(faces)} images: they are used whole")
    comparison = finetune(
        manifest.replace(face_found=faces.found),
        options.output,
        model=options.model,
        epochs=options.epochs or (QUICK_EPOCHS if options.quick else EPOCHS),
        seed=options.seed,
        groups=read_groups(options.groups),
        machine=machine,
        faces=faces,
        say=lambda text: say(console, text),
    )
    comparison.data.manifest.write(options.output / "manifest.parquet")
    print_comparison(console, comparison)
    say(console, f"model folder: {options.output}")


def audit_own(console: Console, manifest: Manifest) -> Manifest:
    """Return the readable, labeled images with their duplicates marked; print what was found.

    Raises MoppetError where the split that came with the images leaks.
    """
    from moppet.datasets.audit import audit_manifest

    audit = audit_manifest(manifest)
    counts = ", ".join(f"{name} {sum(n.values())}" for name, n in audit.counts("label").items())
    say(console, f"{len(manifest)} images: {counts}")
    if audit.leaks:
        raise MoppetError(
            f"the split of these images leaks: {len(audit.leaks)} times, duplicates or one person "
            "are in several parts. See `moppet data audit`, and make a new split with "
            "`moppet data split`."
        )
    if len(audit.unreadable):
        first = manifest.column("path")[audit.unreadable[0]]
        lost = f"{len(audit.unreadable)} (first: {first})"
        say(console, f"images that cannot be read and are left out: {lost}")
    copies = sum(map(len, (*audit.exact, *audit.near)))
    if copies:
        console.print(f"{copies} images have duplicates, which stay in one part of the split")
    if audit.disagreements:
        console.print(
            f"{counted(len(audit.disagreements), 'group')} of duplicates with different labels"
        )
    if all(subject is None for subject in manifest.column("subject")):
        say(
            console,
            "it is unknown who is in which image: images of one child may be in several parts of "
            "the split, so the figures may be too high (see --subject)",
        )
    labeled = audit.manifest.labels >= 0
    return audit.manifest.select(np.flatnonzero(audit.readable & labeled))


def _show_augmentation(options: TrainOptions, recipe: Recipe | None, path: Path) -> None:
    """Write an image that shows augmented faces.

    A row for each of the recipe's augmentations, or a row of random views for each face.
    """
    from moppet.datasets.faces import find_manifest_faces
    from moppet.train.augmentation_sheets import augmentation_sheet, views_sheet
    from moppet.train.module import batch_augmentation
    from moppet.train.recipe import Recipe, data_of, read_data

    if recipe is not None:
        manifest = read_data(recipe, data_of(recipe, options.what.parent, options.data))
    else:
        recipe = Recipe("own", str(options.what), seed=options.seed)
        manifest = options.dataset.read(options.what, as_given=True)
    labeled = np.flatnonzero(manifest.labels >= 0)
    rng = np.random.default_rng(recipe.seed)
    shown = rng.choice(labeled, min(_SHOWN, len(labeled)), replace=False)
    faces = find_manifest_faces(manifest.select(shown))
    if recipe.augmentations:
        augmentation_sheet(list(faces.aligned()), path, batch_augmentation(recipe))
    else:
        views_sheet(faces, recipe, path)
    typer.echo(f"written: {path}")


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the figures of the new model beside the majority class and the model before."""
    console.print(f"\non {comparison.adapted.n} faces not used for training (95 % intervals):")
    table = Table(box=None, pad_edge=False)
    for title in ("", "majority class", "before training", "after training"):
        table.add_column(title, no_wrap=True)
    columns = (comparison.majority, comparison.unadapted, comparison.adapted)
    for key, title in _FIGURES.items():
        table.add_row(
            title, *(estimate_text(each.overall[key]) if each else "–" for each in columns)
        )
    console.print(table)
    if comparison.gain:
        gains = (f"{t} {estimate_text(comparison.gain[k], '+.2f')}" for k, t in _FIGURES.items())
        say(console, "gain: " + "; ".join(gains))
    else:
        console.print("the model before training does not know all of these classes")
    recalls = comparison.adapted.per_class["recall"]
    say(
        console,
        "recall: "
        + "; ".join(f"{name} {estimate_text(e)}, n = {e.n}" for name, e in recalls.items()),
    )
