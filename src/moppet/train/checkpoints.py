"""The files of a run: checkpoints as safetensors, the log of its epochs as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moppet.files import as_damaged, csv_text, replacing, write_text
from moppet.train.recipe import Recipe, chosen_settings
from moppet.values import MoppetError, UsageError
from moppet.vocabulary import current_key

LOG_FIELDS: Final = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_balanced",
)
HEAD_FIELDS: Final = ("val_display_balanced", "val_movements_r", "val_landmarker_r")
"""Columns of networks with other heads: balanced accuracy of the display reading; mean correlation
of movements with the truth of rendered faces, and with Face Landmarker on others."""
LAST: Final = "last.safetensors"
BEST: Final = "best.safetensors"
LOSS: Final = "val_loss"
"""The column that decides which epoch is the best."""


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the run's epochs so far, one dict each."""
    path = folder / "log.csv"
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{current_key(k): v for k, v in row.items()} for row in csv.DictReader(file)]
        names = (*LOG_FIELDS, *(name for name in HEAD_FIELDS if rows and name in rows[0]))
        return [{key: float(row[key] or "nan") for key in names} for row in rows]
    except (KeyError, TypeError, ValueError, csv.Error):
        raise MoppetError(f"the log {path} is damaged. Remove {folder} to start again.") from None


def append_log(folder: Path, row: dict[str, float]) -> None:
    """Add an epoch to the run's log."""
    _write_log(folder, [*read_log(folder), row])


def cut_log(folder: Path, epochs: int) -> None:
    """Remove the rows of epochs after the checkpoint's."""
    rows = read_log(folder)
    kept = [row for row in rows if row["epoch"] <= epochs]
    if len(kept) < len(rows):
        _write_log(folder, kept)


def _write_log(folder: Path, rows: list[dict[str, float]]) -> None:
    names = _fields_of(rows[0] if rows else {})
    lines = ([int(row["epoch"]), *(row[name] for name in names[1:])] for row in rows)
    write_text(folder / "log.csv", csv_text(names, lines, end="\r\n"))


def _fields_of(row: Mapping[str, float]) -> tuple[str, ...]:
    return (*LOG_FIELDS, *(name for name in HEAD_FIELDS if name in row))


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors; a file that is there is replaced only once the new one is complete."""
    with replacing(path, failures=[SafetensorError]) as part:
        save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata)


class RunLog(CSVLogger):
    """Lightning's CSV log as `folder`/log.csv, which a resumed run continues."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes the epochs to the file."""
        if self._experiment is None:
            self._experiment = _LogWriter(self.save_dir)
        return self._experiment


class _LogWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        """Lightning would remove the log of the epochs before a resumption."""

    def save(self) -> None:
        for row in self.metrics:
            append_log(Path(self.log_dir), {name: row[name] for name in _fields_of(row)})
        self.metrics = []


def save_checkpoint(
    folder: Path,
    recipe: Recipe,
    data: str,
    network: nn.Module,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    epoch: int,
) -> None:
    """Save everything that resuming needs in LAST: weights, their average, optimizer moments.

    data: fingerprint of the training data.
    """
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{number}.{k}": torch.as_tensor(v) for k, v in state.items() if v is not None
        }
    metadata = {"epoch": str(epoch), "recipe": _recipe_text(recipe), "data": data}
    save_tensors(folder / LAST, tensors, metadata)


def read_epoch(folder: Path, recipe: Recipe, data: str) -> int:
    """Return the number of finished epochs in the run's folder, 0 for a new one.

    Raises UsageError if the checkpoint is of another recipe or other data.
    """
    path = folder / LAST
    if not path.is_file():
        return 0
    with _opened(path) as file:
        metadata = file.metadata() or {}
    for name, ours in (("recipe", _recipe_text(recipe)), ("data", data)):
        theirs = metadata.get(name)
        # Earlier checkpoints hold the first 64 digits: the data without its crops.
        if theirs != ours and not (name == "data" and theirs == data[:64]):
            other = "of another recipe" if name == "recipe" else "on other images or labels"
            raise UsageError(
                f"{folder} holds a run {other}. Name another folder with -o, or remove it."
            )
    epoch = metadata.get("epoch", "")
    if not epoch.isascii() or not epoch.isdigit() or len(epoch) > 12:
        raise _damaged(path)
    return int(epoch)


def load_parts(path: Path, *prefixes: str) -> list[dict[str, Tensor]]:
    """Return the tensors under each prefix ("network.", "average.", "optimizer.")."""
    with _opened(path):
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError):
            raise _damaged(path) from None
    return [
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        for prefix in prefixes
    ]


def optimizer_state(fresh: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the state dict of an optimizer whose moments were saved as `optimizer.` tensors."""
    state: dict[int, dict[str, Tensor]] = {}
    with as_damaged(
        "the optimizer's state in the checkpoint is damaged. Remove it to start again."
    ):
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
        raise _damaged(path) from None


def _damaged(path: Path) -> MoppetError:
    return MoppetError(f"the checkpoint {path} is damaged. Remove it to start again.")
