"""A training run's settings: TOML in, checked, saved beside the result."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_type_hints

from moppet.config import checked_value, read_toml
from moppet.train.augmentation import Augmentation
from moppet.values import UsageError


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    data: any data set that `moppet.datasets.readers` reads, relative to the recipe's folder.
    kind: its kind, "" to tell by its layout.
    classes: keep only images of these classes; empty for all.
    leave_out_copies: search the images for copies, and learn from none of which a copy validates
        or reports.
    only_ages, without_ages: keep only these age bands; or leave these out of training and of
        the set-aside rows, with every copy of their images.
    labels: "soft", the votes as shares where raters voted, or "hard", the winner alone.
    start: what the network starts from, relative to the recipe's folder: a model folder, a
        checkpoint (.safetensors, .npz, .pth), or "" for random weights.

    teachers: finished models, as `start`, whose answers are mixed into the targets with a share of
        `teacher_share`: knowledge distillation.

    network: a name in NETWORKS; attention, batch_norm, dropout, head: its switches, where it
        has them.
    size, color: side of the network's input in pixels; "grey" (one channel) or "rgb".

    head_rate, base_rate: highest learning rates of the new head and of what it stands on.
    freeze_base: train the head alone.
    schedule: "cosine" (rates rise for `warm_up` of the steps, then fall to nothing along a
        cosine), "step" (times `step_factor` every `step_epochs`), or "constant".
    optimizer: "adamw", "adam" (weight decay added to the gradient) or "sgd" (with `momentum`).
    gradient_clip: largest norm of a step's gradient, which is scaled down to it; 0 for any.
    loss: "cross_entropy" or "focal" (with `focal_gamma`), against the votes as shares.
    class_weights: "none", "inverse" (to frequency) or "effective" (number of samples).
    sampling: "plain"; "root", classes are drawn as often as the square roots of their counts
        tell; or "balanced", every class equally often. With votes as labels both are milder than
        that, as a row is drawn for every class that it has votes of: on FER+ "balanced" draws 0.04
        of the rows for disgust and 0.07 for fear, where 0.14 would be even.
    oversample_ages: an epoch shows rows of these age bands `oversample_times` as often as others,
        each time another view of them.
    ema_decay: decay of the running average of the weights, which is what is evaluated and
        kept; 0 keeps the weights themselves.
    keep: "last" epoch's weights or those of the "best" (least loss on the set-aside rows).
    early_stop: stop after so many epochs without a better one; 0 for never.
    families: families of kornia augmentation (moppet.train.augmentation); empty for the random
        views of [augmentation].
    augment_px: side in pixels that the families work at, the result enlarged to `size`; 0 for
        `size` itself.
    augment_share: share of the images that the families change; the others stay as they are.
    limits, license: what the model cannot do, and under what it may be used, for its card.
    """

    name: str
    data: str
    limits: str = ""
    licence: str = "Apache-2.0"
    kind: str = ""
    classes: tuple[str, ...] = ()
    leave_out_copies: bool = False
    only_ages: tuple[str, ...] = ()
    without_ages: tuple[str, ...] = ()
    start: str = ""
    labels: str = "soft"
    teachers: tuple[str, ...] = ()
    teacher_share: float = 0.5
    seed: int = 0
    network: str = "mobilenet_v2"
    attention: str = "none"
    batch_norm: bool = False
    dropout: float = 0.2
    head: str = "hidden"
    size: int = 96
    colour: str = "grey"
    epochs: int = 20
    batch: int = 128
    optimizer: str = "adamw"
    momentum: float = 0.9
    schedule: str = "cosine"
    head_rate: float = 3e-3
    base_rate: float = 1e-3
    freeze_base: bool = False
    warm_up: float = 0.1
    step_epochs: int = 10
    step_factor: float = 0.1
    weight_decay: float = 0.02
    gradient_clip: float = 0.0
    loss: str = "cross_entropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    class_weights: str = "none"
    sampling: str = "plain"
    oversample_ages: tuple[str, ...] = ()
    oversample_times: int = 2
    ema_decay: float = 0.998
    keep: str = "last"
    early_stop: int = 0
    precision: str = "bf16-mixed"
    families: tuple[str, ...] = ()
    augment_px: int = 0
    augment_share: float = 1.0
    augmentation: Augmentation = field(default_factory=Augmentation)


_WORDS: Final = {
    "labels": ("soft", "hard"),
    "colour": ("grey", "rgb"),
    "head": ("hidden", "original"),
    "attention": ("none", "se", "cbam"),
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("cosine", "step", "constant"),
    "loss": ("cross_entropy", "focal"),
    "class_weights": ("none", "inverse", "effective"),
    "sampling": ("plain", "root", "balanced"),
    "keep": ("last", "best"),
    "precision": ("32-true", "bf16-mixed"),
}
_LEAST: Final = {
    "epochs": 1, "batch": 2, "size": 32, "seed": 0, "step_epochs": 1, "early_stop": 0,
    "augment_px": 0, "oversample_times": 1,
}  # fmt: skip
_LARGEST_SEED: Final = 2**32 - 1
_AUGMENTATION_MOST: Final = {"rotation_deg": 180, "scale": 2, "contrast": 2, "gamma": 2}
"""The other settings of [augmentation] are at most 1."""
_SHARES: Final = ("warm_up", "dropout", "ema_decay", "label_smoothing", "momentum", "teacher_share")
_NOT_NEGATIVE: Final = (
    "head_rate", "base_rate", "weight_decay", "focal_gamma", "step_factor", "gradient_clip",
)  # fmt: skip


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; raise UsageError on an unknown key (naming the nearest) or a wrong type."""
    table = read_toml(path, "recipe")
    return recipe_from(table, str(path))


def recipe_from(table: dict[str, Any], where: str) -> Recipe:
    """Return the recipe of a TOML table; see `read_recipe`. where: named in errors."""
    recipe: Recipe = _build(Recipe, table, where)
    check_recipe(recipe, where)
    return recipe


def recipe_dict(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as nested dicts of plain values."""
    return dataclasses.asdict(recipe)


def chosen_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that differ from their defaults.

    They tell recipes apart, and still do once later versions know more settings.
    """
    return _differing(recipe, type(recipe)("", ""))


def _differing(given: Any, plain: Any) -> dict[str, Any]:
    found = {}
    for field_ in dataclasses.fields(given):
        value, default = getattr(given, field_.name), getattr(plain, field_.name)
        if value != default:
            nested = dataclasses.is_dataclass(value)
            found[field_.name] = _differing(value, default) if nested else value
    return found


def _build(kind: type[Any], table: dict[str, Any], where: str) -> Any:
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in types:
            near = difflib.get_close_matches(key, types, 1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(types)}."
            raise UsageError(f"{where}: unknown key {key!r}.{hint}")
        values[key] = _value(types[key], value, f"{where}: {key}")
    required = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise UsageError(f"{where}: the key {missing[0]!r} is needed.")
    return kind(**values)


def _value(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise UsageError(f"{where}: expected a table, got {value!r}.")
        return _build(kind, value, where)  # type: ignore[arg-type]
    return checked_value(kind, value, where)


def check_recipe(recipe: Recipe, where: str) -> None:
    """Raise UsageError, naming the place, where a value is outside its range."""
    for name, words in _WORDS.items():
        value = getattr(recipe, name)
        if value not in words:
            known = " or ".join(f'"{word}"' for word in words)
            raise UsageError(f"{where}: {name} must be {known}, got {value!r}.")
    for name, least in _LEAST.items():
        value = getattr(recipe, name)
        if value < least:
            raise UsageError(f"{where}: {name} must be at least {least}, got {value}.")
    for name in _SHARES:
        value = getattr(recipe, name)
        if not 0 <= value < 1:
            raise UsageError(f"{where}: {name} must be at least 0 and below 1, got {value}.")
    if not 0 <= recipe.augment_share <= 1:
        raise UsageError(
            f"{where}: augment_share must be between 0 and 1, got {recipe.augment_share}."
        )
    for name in _NOT_NEGATIVE:
        value = getattr(recipe, name)
        if not 0 <= value < math.inf:
            raise UsageError(f"{where}: {name} must not be negative, got {value}.")
    if recipe.seed > _LARGEST_SEED:
        raise UsageError(f"{where}: seed must be at most {_LARGEST_SEED}, got {recipe.seed}.")
    _check_augmentation(recipe.augmentation, where)
    if len(recipe.classes) == 1 or len(set(recipe.classes)) < len(recipe.classes):
        raise UsageError(
            f"{where}: classes must be two or more different names, got {list(recipe.classes)}."
        )
    if recipe.only_ages and recipe.without_ages:
        raise UsageError(f"{where}: give only_ages or without_ages, not both.")


def _check_augmentation(settings: Augmentation, where: str) -> None:
    for name, value in dataclasses.asdict(settings).items():
        most = _AUGMENTATION_MOST.get(name, 1)
        if not 0 <= value <= most:
            raise UsageError(
                f"{where}: augmentation: {name} must be between 0 and {most}, got {value}."
            )
