"""`moppet train`: by a recipe, or from somebody's own images."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from moppet.datasets.manifest import Manifest
from moppet.values import MoppetError, UsageError

if TYPE_CHECKING:
    from moppet.datasets.faces import Faces
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
    """What `moppet train` was asked to do with somebody's own images."""

    data: Path
    output: Path
    kind: str | None = None
    model: str = "default"
    epochs: int | None = None
    quick: bool = False
    seed: int = 0
    groups: str | None = None
    subject: str | None = None


OWN_OPTIONS: Final = ("kind", "model", "epochs", "quick", "seed", "groups", "subject")


def refuse_beside_recipe(given: Sequence[str]) -> None:
    """Raise UsageError where an option was given that a recipe says itself; given: their names."""
    meant = [name for name in OWN_OPTIONS if name in given]
    if meant:
        raise UsageError(
            f"--{meant[0]} is for your own images; a recipe says it itself: write it there."
        )


def train_own(asked: OwnImages, machine: Machine) -> None:
    """Fit a model to somebody's own images and say how good it is."""
    from moppet.datasets.readers import announce_license
    from moppet.train.finetuning import finetune

    if asked.quick and asked.epochs is not None:
        raise UsageError("--quick is a number of epochs by itself: give it or --epochs, not both.")
    # Of several processes of one run, the first speaks.
    console = Console(highlight=False, quiet=os.environ.get("LOCAL_RANK", "0") != "0")
    groups = read_groups(asked.groups)
    manifest = read_own(asked.data, asked.kind, asked.subject)
    announce_license(manifest)
    manifest = audit_own(console, manifest)
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
        epochs=asked.epochs,
        quick=asked.quick,
        seed=asked.seed,
        groups=groups,
        machine=machine,
        faces=faces,
        say=lambda text: console.print(text, soft_wrap=True),
    )
    comparison.data.manifest.write(asked.output / "manifest.parquet")
    print_comparison(console, comparison)
    console.print(f"model folder: {asked.output}", soft_wrap=True)


def read_own(data: Path, kind: str | None, subject: str | None) -> Manifest:
    """Return the manifest of a user's images, their classes named as the user names them."""
    from moppet.datasets.manifest import read_manifest
    from moppet.datasets.readers import find_dataset

    if kind is None and data.suffix.lower() == ".parquet":
        if subject:
            raise UsageError("--subject reads file names; a manifest has its own column for it.")
        return read_manifest(data)
    dataset = find_dataset(data, kind)
    options: dict[str, Any] = {}
    if "as_given" in dataset.options:
        options["as_given"] = True
    if subject:
        options["subject_pattern"] = subject
    return dataset.read(data, **options)


def audit_own(console: Console, manifest: Manifest) -> Manifest:
    """Return the readable, labeled images with their copies known; say what was found.

    Raises MoppetError where the split that came with the images leaks.
    """
    from moppet.datasets.audit import audit_manifest

    audit = audit_manifest(manifest)
    counts = ", ".join(f"{name} {sum(n.values())}" for name, n in audit.counts("label").items())
    console.print(f"{len(manifest)} images: {counts}", soft_wrap=True)
    if audit.leaks:
        raise MoppetError(
            f"the split that came with these images leaks: {len(audit.leaks)} times, copies "
            "or one child stand on several sides. See `moppet data audit`, and split anew with "
            "`moppet data split`."
        )
    if len(audit.unreadable):
        first = manifest.column("path")[audit.unreadable[0]]
        console.print(f"left out, unreadable: {len(audit.unreadable)} (first: {first})")
    copies = sum(map(len, (*audit.exact, *audit.near)))
    if copies:
        console.print(f"{copies} images have copies, which stay on one side of the split")
    if audit.disagreements:
        console.print(f"{len(audit.disagreements)} groups of copies carry different labels")
    if all(subject is None for subject in manifest.column("subject")):
        console.print(
            "it is not known who is in which image: images of one child may stand on both "
            "sides of the split, and the figures be too high (see --subject)",
            soft_wrap=True,
        )
    labelled = audit.manifest.labels >= 0
    return audit.manifest.select(np.flatnonzero(audit.readable & labelled))


def show_views(asked: OwnImages, path: Path) -> Path:
    """Write an image of what augmentation makes of some of the faces, and return its path.

    By family of the recipe's augmentation; for random views, a row of them beside each face.
    """
    from moppet.datasets.faces import find_manifest_faces
    from moppet.datasets.readers import read_dataset
    from moppet.train.augmentation_sheets import augmentation_sheet, views_sheet
    from moppet.train.module import families_of
    from moppet.train.recipe import Recipe, data_of, read_recipe

    if asked.data.suffix == ".toml":
        recipe = read_recipe(asked.data)
        place = data_of(recipe, asked.data.parent)
        manifest = read_dataset(place, recipe.kind or None)
    else:
        recipe = Recipe("own", str(asked.data), seed=asked.seed)
        manifest = read_own(asked.data, asked.kind, asked.subject)
    labelled = np.flatnonzero(manifest.labels >= 0)
    rng = np.random.default_rng(recipe.seed)
    shown = rng.choice(labelled, min(SHOWN, len(labelled)), replace=False)
    faces = find_manifest_faces(manifest.select(shown))
    if recipe.families:
        augmentation_sheet(list(faces.aligned()), path, families_of(recipe))
    else:
        views_sheet(faces, recipe, path)
    return path


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
    """Print the figures of the new model beside those of two that learned nothing new."""
    console.print(f"\non {comparison.adapted.n} faces that the model did not see (95 % intervals):")
    table = Table(box=None, pad_edge=False)
    for title in ("", "majority guess", "before fitting", "fitted"):
        table.add_column(title, no_wrap=True)
    columns = (comparison.majority, comparison.unadapted, comparison.adapted)
    for key, title in _FIGURES.items():
        table.add_row(title, *(_cell(each.overall[key]) if each else "–" for each in columns))
    console.print(table)
    if comparison.gain:
        gains = (f"{t} {_cell(comparison.gain[k], '+')}" for k, t in _FIGURES.items())
        console.print("gained by fitting: " + "; ".join(gains), soft_wrap=True)
    else:
        console.print("the model it started from does not know all of these classes")
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
    if estimate.low == estimate.high:  # all draws were alike, which is no certainty
        return f"{text} (no spread)"
    return f"{text} ({estimate.low:{sign}.2f} to {estimate.high:{sign}.2f})"
