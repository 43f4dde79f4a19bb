"""Trains a network by a recipe with Lightning; a stopped run goes on where it stopped."""

from __future__ import annotations

import copy
import logging
import math
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from moppet.metrics import accuracy, balanced_accuracy
from moppet.train import losses
from moppet.train.checkpoint import (
    BEST,
    LAST,
    append_log,
    cut_log,
    load_parts,
    optimizer_state,
    read_epoch,
    read_log,
    save_checkpoint,
    save_tensors,
)
from moppet.train.dataset import (
    EpochSampler,
    RandomViews,
    TrainingData,
    evaluation_crops,
    network_input,
    normalise,
)
from moppet.train.families import Families
from moppet.train.networks import Network
from moppet.train.recipe import Recipe
from moppet.values import Floats, MoppetError, UsageError


@dataclass(frozen=True)
class Machine:
    """Where a run computes; passed on to Lightning's Trainer.

    accelerator, devices, nodes, strategy: as Lightning's arguments of those names.
    tensorboard: also write the log for TensorBoard, into the run's folder.
    quiet: print no line for each epoch; the log has them all the same.
    """

    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    strategy: str = "auto"
    tensorboard: bool = False
    quiet: bool = False


class Trainee(lightning.LightningModule):
    """The network, its running average, its loss and its rates."""

    class_weights: Tensor | None

    def __init__(
        self, network: Network, recipe: Recipe, class_weights: Tensor | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.recipe = recipe
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.epochs_before = 0
        self.steps_done = 0
        self.moments: dict[str, Tensor] = {}
        self.augment = families_of(recipe)
        if recipe.freeze_base:
            network.freeze_base()

    @property
    def epoch(self) -> int:
        """The number of epochs finished, also before this resumption."""
        return self.epochs_before + int(self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        pictures, soft, weights = batch
        if self.augment is not None:
            with torch.autocast(pictures.device.type, enabled=False):
                pictures = self.augment(pictures, (self.recipe.seed, self.epoch, batch_index))
        logits, _ = self.network(normalise(pictures))
        loss = self.loss(logits.float(), soft, weights)
        if not torch.isfinite(loss):
            raise MoppetError(
                f"the loss is not a number at epoch {self.epoch + 1}, batch {batch_index}; the "
                "last checkpoint is kept. Lower head_rate and base_rate in the recipe."
            )
        right = (logits.argmax(dim=1) == soft.argmax(dim=1)).float().mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        self.log("train_accuracy", right, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def loss(self, logits: Tensor, soft: Tensor, weights: Tensor) -> Tensor:
        """Return the recipe's loss of (n, k) logits against (n, k) shares, rows weighted."""
        recipe = self.recipe
        return losses.focal_loss(
            logits,
            soft,
            weights,
            gamma=recipe.focal_gamma if recipe.loss == "focal" else 0.0,
            class_weights=self.class_weights,
            smoothing=recipe.label_smoothing,
        )

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
        groups = [
            {"params": self.network.base_parameters(), "lr": recipe.base_rate},
            {"params": self.network.head_parameters(), "lr": recipe.head_rate},
        ]
        optimizer = _optimizer(groups, recipe)
        if self.moments:
            optimizer.load_state_dict(optimizer_state(optimizer.state_dict(), self.moments))
            for group, rate in zip(
                optimizer.param_groups, (recipe.base_rate, recipe.head_rate), strict=True
            ):
                group["lr"] = group["initial_lr"] = rate
        left = int(self.trainer.estimated_stepping_batches)
        per_epoch = left // max(1, recipe.epochs - self.epochs_before)
        done = self.steps_done = per_epoch * self.epochs_before
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(recipe, done + step, per_epoch)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, weight_decay=recipe.weight_decay)


def families_of(recipe: Recipe) -> Families | None:
    """Return the recipe's families of augmentation, None for random views."""
    if not recipe.families:
        return None
    return Families(recipe.families, size=recipe.augment_px, share=recipe.augment_share)


def rate_factor(recipe: Recipe, step: int, per_epoch: int) -> float:
    """Return the share of the highest rate at a step of the recipe's schedule.

    per_epoch: steps of an epoch.
    """
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "step":
        return float(recipe.step_factor ** (step // max(1, per_epoch) // recipe.step_epochs))
    steps = per_epoch * recipe.epochs
    rise = max(1, round(steps * recipe.warm_up))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


@torch.no_grad()
def predict_logits(
    network: nn.Module, pictures: NDArray[np.uint8], batch: int = 256
) -> tuple[Floats, Floats]:
    """Return logits (n, k) and embeddings (n, d) of (n, c, h, w) uint8 pictures, in float32."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(pictures), batch):
        x = normalise(torch.from_numpy(pictures[start : start + batch]).to(device))
        parts.append([part.float().cpu().numpy() for part in network(x)])
    network.train(was_training)
    logits, embeddings = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits, embeddings


@dataclass
class _Judge:
    """Measures a network on the set-aside rows."""

    data: TrainingData
    recipe: Recipe
    pictures: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.data.rows("choose", labelled=True)
        if len(self.rows):
            crops = evaluation_crops(self.data, self.rows, aligned=True)
            self.pictures = network_input(crops, self.recipe)

    def measure(self, network: nn.Module) -> dict[str, float]:
        if not len(self.rows):
            return dict.fromkeys(("choose_loss", "choose_accuracy", "choose_balanced"), math.nan)
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
            "choose_loss": float(loss),
            "choose_accuracy": accuracy(label, guess),
            "choose_balanced": balanced_accuracy(label, guess, len(self.data.names)),
        }


class _Keeper(Callback):
    """After each epoch: measure the averaged weights on the set-aside rows, log, keep."""

    def __init__(self, folder: Path, judge: _Judge, machine: Machine) -> None:
        self.folder, self.judge, self.quiet = folder, judge, machine.quiet
        self.writer: Any = None
        if machine.tensorboard:
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
            stop = _waited_enough(read_log(self.folder), pl_module.recipe)
        trainer.should_stop = trainer.strategy.broadcast(stop)

    def _keep(self, trainer: Any, trainee: Trainee, epoch: int, row: dict[str, float]) -> None:
        best = min((r["choose_loss"] for r in read_log(self.folder)), default=math.inf)
        append_log(self.folder, row)
        if not row["choose_loss"] >= best:
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


class _Clock(Callback):
    """Tells the views which epoch it is, before they are drawn."""

    def __init__(self, views: RandomViews) -> None:
        self.views = views

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.views.epoch = pl_module.epoch + 1


def train(
    recipe: Recipe,
    folder: Path,
    data: TrainingData,
    network: Network,
    machine: Machine | None = None,
) -> None:
    """Train the network by the recipe into the folder, going on from its checkpoint if any.

    The folder gets LAST (of the last epoch), BEST (of the epoch with the least loss on the
    set-aside rows) and log.csv. Raises UsageError where there are too few rows for a batch.
    """
    machine = machine or Machine()
    folder.mkdir(parents=True, exist_ok=True)
    views = RandomViews(data, recipe)
    if len(views) < 2:
        raise UsageError(f"training needs at least two pictures, but there are {len(views)}.")
    batch = min(recipe.batch, len(views))
    trainee = Trainee(network, recipe, _class_weights(data, recipe))
    done = read_epoch(folder, recipe, data.fingerprint)
    cut_log(folder, done)
    if done:
        parts = load_parts(folder / LAST, "network.", "average.", "optimizer.")
        network.load_state_dict(parts[0])
        trainee.average.load_state_dict(parts[1])
        trainee.moments, trainee.epochs_before = parts[2], done
    if done >= recipe.epochs or _waited_enough(read_log(folder), recipe):
        return
    views.epoch = done
    sampler = EpochSampler(
        views, times=_times(data, views, recipe), chances=_draw_chances(data, views, recipe)
    )
    loader = DataLoader(views, batch, sampler=sampler, drop_last=True, num_workers=0)
    if network.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # its advertisements
    warnings.filterwarnings("ignore", module="lightning")  # about its own libraries
    trainer = lightning.Trainer(
        accelerator=machine.accelerator,
        devices=int(machine.devices) if machine.devices.isdigit() else machine.devices,
        num_nodes=machine.nodes,
        strategy=machine.strategy,
        precision=recipe.precision,  # type: ignore[arg-type]
        gradient_clip_val=recipe.gradient_clip or None,
        max_epochs=recipe.epochs - done,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        callbacks=[_Keeper(folder, _Judge(data, recipe), machine), _Clock(views)],
        default_root_dir=folder,
    )
    try:
        trainer.fit(trainee, loader)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    if not trainer.is_global_zero:
        raise SystemExit(0)  # one process writes the model; the others have done their part


def _waited_enough(log: list[dict[str, float]], recipe: Recipe) -> bool:
    if not recipe.early_stop or not log:
        return False
    best = min(log, key=lambda row: row["choose_loss"])["epoch"]
    return bool(log[-1]["epoch"] - best >= recipe.early_stop)


def _class_weights(data: TrainingData, recipe: Recipe) -> Tensor | None:
    if recipe.class_weights == "none":
        return None
    rows = data.training_rows(recipe)
    soft, weights = data.targets(recipe)[rows], data.manifest.weights[rows]
    return losses.class_weights(
        torch.from_numpy(soft),
        torch.from_numpy(weights),
        weighting=recipe.class_weights,  # type: ignore[arg-type]
    )


def _draw_chances(
    data: TrainingData, views: RandomViews, recipe: Recipe
) -> NDArray[np.float64] | None:
    if recipe.sampling == "plain":
        return None
    soft = torch.from_numpy(data.targets(recipe)[views.rows])
    return np.asarray(losses.sampling_weights(soft).numpy(), np.float64)


def _times(data: TrainingData, views: RandomViews, recipe: Recipe) -> NDArray[np.int64] | None:
    """Return how often an epoch shows each row, None for once."""
    if not recipe.oversample_ages:
        return None
    band = data.manifest.column("age_band")[views.rows].astype(str)
    often = np.isin(band, recipe.oversample_ages)
    return np.where(often, recipe.oversample_times, 1).astype(np.int64)


def kept_weights(folder: Path, recipe: Recipe) -> Mapping[str, Tensor]:
    """Return the weights that the recipe keeps: of the last epoch or of the best."""
    name = BEST if recipe.keep == "best" and (folder / BEST).is_file() else LAST
    return load_parts(folder / name, "average.")[0]
