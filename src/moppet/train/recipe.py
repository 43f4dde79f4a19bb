"""A training run's settings: TOML in, checked, saved beside the result."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from moppet.train.augment import Augmentation
from moppet.values import UsageError


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    data: FER+ joined to FER2013 (.npz), relative to the recipe's folder.
    start: ImageNet weights (.npz) the features start from, relative to the recipe's folder; ""
        for none.
    size: side of the network's input in pixels.
    head_rate, base_rate: highest learning rates of the new head and of the pretrained features,
        reached after `warm_up` of the steps and then lowered to nothing along a cosine.
    ema_decay: decay of the running average of the weights, which is what is evaluated and kept.
    """

    name: str
    data: str
    start: str = ""
    seed: int = 0
    size: int = 96
    epochs: int = 20
    batch: int = 128
    head_rate: float = 3e-3
    base_rate: float = 1.5e-3
    warm_up: float = 0.1
    weight_decay: float = 0.02
    dropout: float = 0.2
    ema_decay: float = 0.998
    precision: str = "bf16-mixed"
    augmentation: Augmentation = field(default_factory=Augmentation)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; raise UsageError on an unknown key (naming the nearest) or a wrong type."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the recipe {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the recipe {path} is not valid TOML: {error}.") from None
    recipe: Recipe = _build(Recipe, table, str(path))
    _check(recipe, path)
    return recipe


def recipe_dict(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as nested dicts of plain values."""
    return dataclasses.asdict(recipe)


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


def _value(kind: type[Any], value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise UsageError(f"{where}: expected a table, got {value!r}.")
        return _build(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise UsageError(f"{where}: expected {kind.__name__}, got {value!r}.")
    return value


def _check(recipe: Recipe, path: Path) -> None:
    for name, value, least in (
        ("epochs", recipe.epochs, 1),
        ("batch", recipe.batch, 2),
        ("size", recipe.size, 32),
        ("seed", recipe.seed, 0),
    ):
        if value < least:
            raise UsageError(f"{path}: {name} must be at least {least}, got {value}.")
    for name in ("warm_up", "dropout", "ema_decay"):
        if not 0 <= getattr(recipe, name) < 1:
            raise UsageError(
                f"{path}: {name} must be at least 0 and below 1, got {getattr(recipe, name)}."
            )
    for name in ("head_rate", "base_rate"):
        if not 0 <= getattr(recipe, name) < math.inf:
            raise UsageError(f"{path}: {name} must not be negative, got {getattr(recipe, name)}.")
    if recipe.precision not in ("32-true", "bf16-mixed"):
        raise UsageError(
            f'{path}: precision must be "32-true" or "bf16-mixed", got {recipe.precision!r}.'
        )
