"""Trains a network by a recipe with Lightning; a stopped run goes on where it stopped."""

from __future__ import annotations

import copy
import csv
import json
import logging
import math
import sys
from pathlib import Path
from typing import Any, Final

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from moppet.data.ferplus import FerPlus, read_ferplus
from moppet.metrics import accuracy, balanced_accuracy
from moppet.train.dataset import (
    RandomViews,
    evaluation_crops,
    find_landmarks,
    network_input,
    normalise,
)
from moppet.train.networks import MobileNetV2, load_folded_imagenet
from moppet.train.recipe import Recipe, recipe_dict
from moppet.values import EXPRESSIONS, Floats, MoppetError, UsageError

_LOG_FIELDS: Final = ("epoch", "train_loss", "choose_loss", "choose_accuracy", "choose_balanced")


class Trainee(lightning.LightningModule):
    """The network, its running average and its rates.

    Loss: cross-entropy against the votes as shares (soft labels), rows weighted by the votes
    left on the seven expressions.
    """

    def __init__(self, network: MobileNetV2, recipe: Recipe, steps: int) -> None:
        super().__init__()
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.recipe = recipe
        self.total_steps = steps
        self.steps_done = 0
        self.epochs_before = 0
        self.optimizer_state: dict[str, Any] | None = None

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        pictures, soft, weights = batch
        x = ((pictures.float() - 128) / 128).contiguous(memory_format=torch.channels_last)
        logits, _ = self.network(x)
        loss = soft_cross_entropy(logits.float(), soft, weights)
        if not torch.isfinite(loss):
            epoch = 1 + self.epochs_before + self.current_epoch
            raise MoppetError(
                f"the loss is not a number at epoch {epoch}, "
                f"batch {batch_index}; the last checkpoint is kept. "
                "Lower head_rate and base_rate in the recipe."
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps_done += 1
        # Young averages forget faster, so that the random start does not linger.
        decay = min(self.recipe.ema_decay, (1 + self.steps_done) / (10 + self.steps_done))
        with torch.no_grad():
            average, current = self.average.state_dict(), self.network.state_dict()
            for name, value in average.items():
                if value.dtype.is_floating_point:
                    value.lerp_(current[name], 1 - decay)
                else:
                    value.copy_(current[name])

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        head = [*self.network.head.parameters(), *self.network.classifier.parameters()]
        groups = [
            {"params": list(self.network.features.parameters()), "lr": recipe.base_rate},
            {"params": head, "lr": recipe.head_rate},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        if self.optimizer_state is not None:
            optimizer.load_state_dict(self.optimizer_state)
            for group, rate in zip(
                optimizer.param_groups, (recipe.base_rate, recipe.head_rate), strict=True
            ):
                group["lr"] = group["initial_lr"] = rate
        done = self.steps_done
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(done + step, self.total_steps, recipe.warm_up)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def soft_cross_entropy(logits: Tensor, soft: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean cross-entropy of (n, k) logits against (n, k) shares."""
    each = -(soft * logits.log_softmax(dim=1)).sum(dim=1)
    return (each * weights).sum() / weights.sum()


def rate_factor(step: int, steps: int, warm_up: float) -> float:
    """Return the share of the highest rate at a step: linear rise, then a half cosine to 0."""
    rise = max(1, round(steps * warm_up))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


@torch.no_grad()
def predict_logits(
    network: nn.Module, pictures: NDArray[np.uint8], batch: int = 256
) -> tuple[Floats, Floats]:
    """Return logits (n, k) and embeddings (n, 128) of (n, h, w) grey pictures, in float32."""
    network.eval()
    parts = []
    for start in range(0, len(pictures), batch):
        x = normalise(pictures[start : start + batch]).contiguous(memory_format=torch.channels_last)
        parts.append([part.float().numpy() for part in network(x)])
    logits, embeddings = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits, embeddings


class _Keeper(Callback):
    """After each epoch: measure the averaged weights on the set-aside tenth, log, keep."""

    def __init__(self, folder: Path, data: FerPlus, landmarks: Floats, recipe: Recipe) -> None:
        self.folder = folder
        rows = data.rows("choose", labelled=True)
        crops = evaluation_crops(data, landmarks, rows, aligned=True)
        self.pictures = network_input(crops, recipe.size)
        self.label, self.soft = data.label[rows], data.soft_labels[rows]
        self.weights = data.weights[rows]

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        trainer.train_dataloader.dataset.epoch = pl_module.steps_done // len(
            trainer.train_dataloader
        )

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        logits, _ = predict_logits(pl_module.average, self.pictures)
        loss = soft_cross_entropy(
            torch.from_numpy(logits), torch.from_numpy(self.soft), torch.from_numpy(self.weights)
        )
        if not torch.isfinite(loss):
            raise MoppetError("the weights are not a number; the last checkpoint is kept.")
        guess = logits.argmax(axis=1)
        epoch = pl_module.steps_done // len(trainer.train_dataloader)
        row = {
            "epoch": epoch,
            "train_loss": float(trainer.callback_metrics["train_loss"]),
            "choose_loss": float(loss),
            "choose_accuracy": accuracy(self.label, guess),
            "choose_balanced": balanced_accuracy(self.label, guess, len(EXPRESSIONS)),
        }
        best = min((r["choose_loss"] for r in read_log(self.folder)), default=math.inf)
        _append_log(self.folder, row)
        if row["choose_loss"] < best:
            _save(self.folder / "best.safetensors", pl_module.average.state_dict(), {})
        save_checkpoint(self.folder, pl_module, trainer.optimizers[0], epoch)
        print(", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the run's epochs so far, one dict each."""
    path = folder / "log.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _append_log(folder: Path, row: dict[str, float]) -> None:
    path = folder / "log.csv"
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, _LOG_FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def _cut_log(folder: Path, epochs: int) -> None:
    """Drop the lines of epochs that no checkpoint kept."""
    rows = [row for row in read_log(folder) if row["epoch"] <= epochs]
    (folder / "log.csv").unlink(missing_ok=True)
    for row in rows:
        _append_log(folder, row | {"epoch": int(row["epoch"])})


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    fresh = path.with_suffix(".tmp")
    save_file({k: v.contiguous() for k, v in tensors.items()}, fresh, metadata)
    fresh.replace(path)


def save_checkpoint(
    folder: Path, trainee: Trainee, optimizer: torch.optim.Optimizer, epoch: int
) -> None:
    """Keep everything that resuming needs in last.safetensors: weights, average, moments."""
    tensors = {f"network.{k}": v for k, v in trainee.network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in trainee.average.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{k}": v for k, v in state.items()}
    metadata = {"epoch": str(epoch), "recipe": json.dumps(recipe_dict(trainee.recipe))}
    _save(folder / "last.safetensors", tensors, metadata)


def resume(folder: Path, trainee: Trainee, steps_per_epoch: int) -> int:
    """Load last.safetensors if it is there; return the number of finished epochs.

    Raises UsageError if the checkpoint was made by another recipe.
    """
    from safetensors import safe_open

    path = folder / "last.safetensors"
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if json.loads(metadata["recipe"]) != recipe_dict(trainee.recipe):
        raise UsageError(
            f"{folder} holds a run of another recipe. Name another folder with -o, or remove it."
        )
    tensors = load_file(path)
    trainee.network.load_state_dict(_part(tensors, "network."))
    trainee.average.load_state_dict(_part(tensors, "average."))
    epoch = int(metadata["epoch"])
    trainee.steps_done = epoch * steps_per_epoch
    trainee.optimizer_state = _optimizer_state(trainee, _part(tensors, "optimizer."))
    return epoch


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _optimizer_state(trainee: Trainee, tensors: dict[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    kept, trainee.optimizer_state = trainee.optimizer_state, None
    fresh = trainee.configure_optimizers()["optimizer"].state_dict()
    trainee.optimizer_state = kept
    return {"state": state, "param_groups": fresh["param_groups"]}


def train(recipe: Recipe, folder: Path, data_path: Path, start_path: Path | None) -> Path:
    """Train by the recipe into the folder, going on from its checkpoint if there is one.

    Returns the path of the kept weights, last.safetensors; best.safetensors are those of the
    epoch with the least loss on the set-aside tenth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(recipe.seed, verbose=False)
    data = read_ferplus(data_path)
    landmarks, _ = find_landmarks(data, folder / "landmarks.npz")
    views = RandomViews(data, landmarks, recipe.size, recipe.augmentation, recipe.seed)
    loader = DataLoader(views, recipe.batch, shuffle=True, drop_last=True, num_workers=0)
    network = MobileNetV2(len(EXPRESSIONS), dropout=recipe.dropout)
    if start_path is not None:
        load_folded_imagenet(network, start_path)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainee = Trainee(network, recipe, recipe.epochs * len(loader))
    if not len(loader):
        raise UsageError(
            f"a batch of {recipe.batch} needs as many training rows, but there are {len(views)}."
        )
    done = resume(folder, trainee, len(loader))
    trainee.epochs_before = done
    _cut_log(folder, done)
    if done < recipe.epochs:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # its advertisements
        trainer = lightning.Trainer(
            accelerator="cpu",
            precision=recipe.precision,  # type: ignore[arg-type]
            max_epochs=recipe.epochs - done,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            callbacks=[_Keeper(folder, data, landmarks, recipe)],
            default_root_dir=folder,
        )
        try:
            trainer.fit(trainee, loader)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
    return folder / "last.safetensors"


def load_average(folder: Path, recipe: Recipe) -> MobileNetV2:
    """Return the run's averaged network, ready for evaluation."""
    network = MobileNetV2(len(EXPRESSIONS), dropout=recipe.dropout)
    tensors = _part(load_file(folder / "last.safetensors"), "average.")
    network.load_state_dict(tensors)
    return network.eval()
