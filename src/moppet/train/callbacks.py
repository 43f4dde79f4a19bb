"""After each epoch: the set-aside rows are judged, and what a run needs to go on is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor, nn

from moppet.metrics import accuracy, balanced_accuracy
from moppet.train import losses
from moppet.train.checkpoints import (
    BEST,
    LAST,
    append_log,
    load_parts,
    read_log,
    save_checkpoint,
    save_tensors,
)
from moppet.train.data_module import RandomViews, TrainingData, evaluation_crops, network_input
from moppet.train.module import Trainee, predict_logits
from moppet.train.recipe import Recipe
from moppet.values import MoppetError


@dataclass
class Judge:
    """Measures a network on the set-aside rows."""

    data: TrainingData
    recipe: Recipe
    pictures: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.data.rows("val", labelled=True)
        if len(self.rows):
            crops = evaluation_crops(self.data, self.rows, aligned=True)
            self.pictures = network_input(crops, self.recipe)

    def measure(self, network: nn.Module) -> dict[str, float]:
        if not len(self.rows):
            return dict.fromkeys(("val_loss", "val_accuracy", "val_balanced"), math.nan)
        logits, _ = predict_logits(network, self.pictures)
        soft = self.data.targets(self.recipe)[self.rows]
        loss = losses.soft_cross_entropy(
            torch.from_numpy(logits),
            torch.from_numpy(soft),
            torch.from_numpy(self.data.manifest.weights[self.rows]),
        )
        if not torch.isfinite(loss):
            raise MoppetError("the weights are not a number; the last checkpoint is kept.")
        label, guess = self.data.label[self.rows], logits.argmax(axis=1)
        return {
            "val_loss": float(loss),
            "val_accuracy": accuracy(label, guess),
            "val_balanced": balanced_accuracy(label, guess, len(self.data.names)),
        }


class Keeper(Callback):
    """After each epoch: measure the averaged weights on the set-aside rows, log, keep."""

    def __init__(self, folder: Path, judge: Judge, *, quiet: bool, tensorboard: bool) -> None:
        self.folder, self.judge, self.quiet = folder, judge, quiet
        self.writer: Any = None
        if tensorboard:
            self.writer = _summary_writer(folder / "tensorboard")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        epoch = pl_module.epoch + 1
        stop = False
        row: dict[str, float] = {"epoch": epoch}
        for name in ("train_loss", "train_accuracy"):  # of all processes, which all must ask
            row[name] = float(trainer.callback_metrics[name])
        if trainer.is_global_zero:
            row |= self.judge.measure(pl_module.average)
            self._keep(trainer, pl_module, epoch, row)
            stop = waited_enough(read_log(self.folder), pl_module.recipe)
        trainer.should_stop = trainer.strategy.broadcast(stop)

    def _keep(self, trainer: Any, trainee: Trainee, epoch: int, row: dict[str, float]) -> None:
        best = min((r["val_loss"] for r in read_log(self.folder)), default=math.inf)
        append_log(self.folder, row)
        if not row["val_loss"] >= best:
            save_tensors(self.folder / BEST, _prefixed(trainee.average), {"epoch": str(epoch)})
        save_checkpoint(
            self.folder,
            trainee.recipe,
            self.judge.data.fingerprint,
            trainee.network,
            trainee.average,
            trainer.optimizers[0],
            epoch,
        )
        if self.writer is not None:
            for name, value in row.items():
                self.writer.add_scalar(name, value, epoch)
            self.writer.flush()
        if not self.quiet:
            print(", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)


def _prefixed(network: nn.Module) -> dict[str, Tensor]:
    return {f"average.{k}": v for k, v in network.state_dict().items()}


def _summary_writer(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        raise MoppetError(
            "--tensorboard needs tensorboardX. Install it with: pip install tensorboardX"
        ) from None
    return SummaryWriter(str(folder))


class Clock(Callback):
    """Tells the views which epoch it is, before they are drawn, and dropout what to drop."""

    def __init__(self, views: RandomViews) -> None:
        self.views = views

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:  # after the loader, which draws a number too, has begun
            seed = (pl_module.recipe.seed, pl_module.epoch, trainer.global_rank)
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.views.epoch = pl_module.epoch + 1


def waited_enough(log: list[dict[str, float]], recipe: Recipe) -> bool:
    """Return whether the loss has not fallen for as many epochs as the recipe waits."""
    if not recipe.early_stop or not log:
        return False
    best = min(log, key=lambda row: row["val_loss"])["epoch"]
    return bool(log[-1]["epoch"] - best >= recipe.early_stop)


def kept_weights(folder: Path, recipe: Recipe) -> Mapping[str, Tensor]:
    """Return the weights that the recipe keeps: of the last epoch or of the best."""
    name = BEST if recipe.keep == "best" and (folder / BEST).is_file() else LAST
    return load_parts(folder / name, "average.")[0]
