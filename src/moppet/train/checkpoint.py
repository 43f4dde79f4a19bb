"""A run's files on disk: checkpoints as safetensors, the log of its epochs as CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moppet.train.recipe import Recipe, chosen_settings
from moppet.values import MoppetError, UsageError

LOG_FIELDS: Final = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "choose_loss",
    "choose_accuracy",
    "choose_balanced",
)
LAST: Final = "last.safetensors"
BEST: Final = "best.safetensors"


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the run's epochs so far, one dict each."""
    path = folder / "log.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value or "nan") for key, value in row.items()} for row in rows]


def append_log(folder: Path, row: dict[str, float]) -> None:
    """Add an epoch to the run's log."""
    path = folder / "log.csv"
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, LOG_FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def cut_log(folder: Path, epochs: int) -> None:
    """Drop the lines of epochs that no checkpoint kept."""
    rows = [row for row in read_log(folder) if row["epoch"] <= epochs]
    (folder / "log.csv").unlink(missing_ok=True)
    for row in rows:
        append_log(folder, row | {"epoch": int(row["epoch"])})


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors; a file that is there is replaced only once the new one is whole."""
    fresh = path.with_suffix(".tmp")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, fresh, metadata)
        fresh.replace(path)
    except SafetensorError as error:  # what a full disk comes as
        raise MoppetError(f"{path} cannot be written: {error}.") from None
    finally:
        fresh.unlink(missing_ok=True)


def save_checkpoint(
    folder: Path,
    recipe: Recipe,
    data: str,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
) -> None:
    """Keep everything that resuming needs in LAST: weights, average, moments.

    data: tells the rows trained on from any others.
    """
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{number}.{k}": torch.as_tensor(v) for k, v in state.items() if v is not None
        }
    metadata = {"epoch": str(epoch), "recipe": _recipe_text(recipe), "data": data}
    save_tensors(folder / LAST, tensors, metadata)


def read_epoch(folder: Path, recipe: Recipe, data: str) -> int:
    """Return the number of finished epochs in the run's folder, 0 for a new one.

    Raises UsageError if the checkpoint was made by another recipe or from other rows.
    """
    path = folder / LAST
    if not path.is_file():
        return 0
    with _opened(path) as file:
        metadata = file.metadata() or {}
    for name, ours in (("recipe", _recipe_text(recipe)), ("data", data)):
        if metadata.get(name) != ours:
            other = "of another recipe" if name == "recipe" else "on other pictures or labels"
            raise UsageError(
                f"{folder} holds a run {other}. Name another folder with -o, or remove it."
            )
    return int(metadata["epoch"])


def load_parts(path: Path, *prefixes: str) -> list[dict[str, Tensor]]:
    """Return the tensors under each prefix ("network.", "average.", "optimizer.")."""
    with _opened(path):
        tensors = load_file(path)
    return [
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        for prefix in prefixes
    ]


def optimizer_state(fresh: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the state dict of an optimizer whose moments were saved as `optimizer.` tensors."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    return {"state": state, "param_groups": fresh["param_groups"]}


def _recipe_text(recipe: Recipe) -> str:
    return json.dumps(chosen_settings(recipe), sort_keys=True)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError):
        raise MoppetError(f"the checkpoint {path} is damaged. Remove it to start anew.") from None
