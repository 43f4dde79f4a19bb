"""Fine-tuning a model on one's own labeled faces, compared with the model before and a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.config import check_settings
from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.manifest import Manifest
from moppet.infer.expression_model import ExpressionModel, load_model
from moppet.metrics import Difference, Summary, drawn_figures, paired_bootstrap_many, summarize
from moppet.train.data_module import TrainingData, evaluation_crops, select_training_data
from moppet.train.recipe import Recipe
from moppet.train.trainer import Machine
from moppet.train.training_run import run_training, with_split
from moppet.values import Floats, MoppetError, UsageError
from moppet.vocabulary import expression_of, groups_of

EPOCHS: Final = 20
QUICK_EPOCHS: Final = 4
_LEAST_ROWS: Final = 2


@dataclass(frozen=True)
class Comparison:
    """A fine-tuned model and two baselines: the model before, and the majority class.

    adapted, unadapted, majority: every figure on the test rows; unadapted is None where the
        starting model lacks one of the classes.
    gain: adapted minus unadapted, paired on the same rows.
    """

    model_folder: Path
    data: TrainingData
    adapted: Summary
    majority: Summary
    unadapted: Summary | None
    gain: dict[str, Difference]


def finetune_recipe(
    name: str, data: str, *, model: str, epochs: int, seed: int, rows: int
) -> Recipe:
    """Return the recipe for fine-tuning on a few hundred to some thousand faces.

    rows: number of training rows; a batch is at most an eighth of them.
    """
    started = load_model(model)
    wants = started.preprocessing
    recipe = dict(
        name=name,
        data=data,
        start=model,
        network=str(started.card.get("network", "mobilenet_v2")),
        size=wants.size,
        color=wants.color,
        seed=seed,
        epochs=epochs,
        batch=int(np.clip(rows // 8, 2, 64)),
        head_rate=1e-3,
        base_rate=2e-4,
        ema_decay=0.98,
        sampling="balanced",
        keep="best",
        precision="32-true",
        license="not specified",
        limits="Fitted to the faces of one data set; the figures may not hold for others.",
    )
    return check_settings(Recipe, recipe, "moppet train")


def check_classes(manifest: Manifest) -> None:
    """Raise MoppetError unless there are at least two classes with enough images each."""
    labels = manifest.labels
    counts = {name: int((labels == i).sum()) for i, name in enumerate(manifest.names)}
    present = {name: n for name, n in counts.items() if n}
    if len(present) < 2:
        raise MoppetError(
            f"training needs two or more classes, but only {', '.join(present) or 'none'} has "
            "images. Put the images of each class into a folder named after it."
        )
    few = {name: n for name, n in counts.items() if n <= _LEAST_ROWS}
    if few:
        said = ", ".join(f"{name} ({n})" for name, n in few.items())
        raise MoppetError(
            f"a class needs at least {_LEAST_ROWS + 1} images, one each for training, "
            f"validation and test; too few: {said}. Add some, or leave the class out."
        )


def check_groups(names: tuple[str, ...], asked: Mapping[str, str]) -> dict[str, str]:
    """Return class → group: as asked for, or that of the expression that the class is named after.

    Raises UsageError for an unknown class.
    """
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise UsageError(f"--groups names the class {unknown[0]!r}; there are: {', '.join(names)}.")
    return groups_of(names) | dict(asked)


def finetune(
    manifest: Manifest,
    folder: Path,
    *,
    model: str = "default",
    epochs: int = EPOCHS,
    seed: int = 0,
    groups: Mapping[str, str] | None = None,
    machine: Machine | None = None,
    faces: Faces | None = None,
    say: Callable[[str], None] = print,
) -> Comparison:
    """Fit a model to a manifest's faces and measure it on the test faces.

    folder: becomes the model folder; `folder`/run holds what resuming needs.
    """
    check_classes(manifest)
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    if faces is None:
        faces = find_manifest_faces(manifest, cache=run / "faces.npz")
    manifest = with_split(manifest, seed)
    counts = manifest.column("split")
    recipe = finetune_recipe(
        folder.resolve().name,
        str(manifest.root),
        model=model,
        epochs=epochs,
        seed=seed,
        rows=int((counts == "train").sum()),
    )
    data = select_training_data(manifest, faces, recipe)
    say(_parts(data))
    asked = check_groups(data.names, groups or {})
    for path in run_training(recipe, run, data, model, machine, asked).iterdir():
        path.replace(folder / path.name)
    return compare(folder, data, model)


def _parts(data: TrainingData) -> str:
    lines = []
    for part, verb in (("train", "train on"), ("val", "validate on"), ("test", "test on")):
        label = data.label[data.rows(part, labeled=True)]
        counts = ", ".join(f"{name} {(label == i).sum()}" for i, name in enumerate(data.names))
        lines.append(f"{verb}: {len(label)} ({counts})")
    return "\n".join(lines)


def compare(folder: Path, data: TrainingData, model: str) -> Comparison:
    """Return the figures of the model in the folder, the starting model and the majority class."""
    rows = data.rows("test", labeled=True)
    crops = evaluation_crops(data, rows, aligned=True)
    adapted = load_model(folder, threads=2).predict(crops).probabilities
    before = _restricted(load_model(model, threads=2), data.names, crops)
    common = np.bincount(data.label[data.rows("train", labeled=True)], minlength=len(data.names))
    majority = np.zeros_like(adapted)
    majority[:, common.argmax()] = 1
    gain: dict[str, Difference] = {}
    if before is not None:
        gain = paired_bootstrap_many(
            drawn_figures(adapted, data.label[rows], data.names),
            drawn_figures(before, data.label[rows], data.names),
            data.manifest.groups[rows],
            np.random.default_rng(0),
        )
    return Comparison(
        folder,
        data,
        adapted=_summary(adapted, data, rows),
        majority=_summary(majority, data, rows),
        unadapted=None if before is None else _summary(before, data, rows),
        gain=gain,
    )


def _summary(probabilities: Floats, data: TrainingData, rows: NDArray[np.intp]) -> Summary:
    return summarize(
        probabilities,
        data.label[rows],
        data.manifest.groups[rows],
        data.names,
        np.random.default_rng(0),
    )


def _restricted(model: ExpressionModel, names: tuple[str, ...], crops: Any) -> Floats | None:
    """Return the model's probabilities over these classes alone; None if it lacks one of them."""
    known = {name: i for i, name in enumerate(model.names)}
    known |= {e: i for i, name in enumerate(model.names) if (e := expression_of(name))}
    columns = [known.get(name, known.get(expression_of(name) or "")) for name in names]
    if None in columns or len(set(columns)) < len(columns):
        return None
    chosen = model.predict(crops).probabilities[:, [int(c or 0) for c in columns]]
    total = chosen.sum(axis=1, keepdims=True)
    return np.asarray(chosen / np.maximum(total, 1e-12), np.float32)
