"""Training by a recipe with Lightning; an interrupted run is resumed after its last epoch."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from moppet.train import losses
from moppet.train.callbacks import (
    EpochCheckpoint,
    EpochSeeder,
    MovingAverage,
    Validator,
    early_stopping,
)
from moppet.train.checkpoints import LAST, RunLog, cut_log, load_parts, read_epoch, read_log
from moppet.train.data_module import EpochSampler, RandomViews, SourceSampler, TrainingData
from moppet.train.module import TrainingModule, spreads_of
from moppet.train.networks import Network
from moppet.train.recipe import Recipe
from moppet.values import MoppetError, UsageError


@dataclass(frozen=True)
class Machine:
    """The hardware of a run, passed on to Lightning's Trainer.

    accelerator, devices, nodes, strategy: as Lightning's arguments of those names.
    tensorboard: also write the log for TensorBoard, into the run's folder.
    quiet: print nothing after each epoch; the log is written all the same.
    """

    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    strategy: str = "auto"
    tensorboard: bool = False
    quiet: bool = False


def train(
    recipe: Recipe,
    folder: Path,
    data: TrainingData,
    network: Network,
    machine: Machine | None = None,
) -> None:
    """Train the network by the recipe into the folder, resuming from its checkpoint if any.

    The folder gets LAST (of the last epoch), BEST (of the epoch with the lowest
    validation loss) and log.csv. Raises UsageError for too few rows, or for
    hardware that Lightning does not know or find.
    """
    machine = machine or Machine()
    folder.mkdir(parents=True, exist_ok=True)
    views = RandomViews(data, recipe)
    module = TrainingModule(network, recipe, _class_weights(data, recipe), spreads_of(data))
    done = read_epoch(folder, recipe, data.fingerprint)
    rank_zero_only(cut_log)(folder, done)
    averaged: dict[str, Tensor] = {}
    if done:
        weights, averaged, module.moments = load_parts(
            folder / LAST, "network.", "average.", "optimizer."
        )
        network.load_state_dict(weights)
        module.epochs_before = views.epoch = done
    stopping = early_stopping(recipe, read_log(folder)) if recipe.early_stop else None
    if done >= recipe.epochs or (stopping and stopping.wait_count >= stopping.patience):
        return
    own = EpochSampler(
        views, times=_times(data, views, recipe), chances=_draw_chances(data, views, recipe)
    )
    sampler = SourceSampler(own, recipe, recipe.batch) if sum(views.counts[1:]) else own
    average = MovingAverage(recipe.ema_decay, averaged)
    checkpoint = EpochCheckpoint(folder, Validator(data, recipe), average, quiet=machine.quiet)
    callbacks = [average, checkpoint, EpochSeeder(views), *([stopping] if stopping else [])]
    trainer = _trainer(machine, recipe, folder, recipe.epochs - done, callbacks)
    rows = len(sampler) // (trainer.num_devices * trainer.num_nodes)
    if rows < 2:
        raise UsageError(f"each process needs two or more images to train on, but has {rows}.")
    batch = min(recipe.batch, rows)
    loader = DataLoader(views, batch, sampler=sampler, drop_last=True, num_workers=0)
    if network.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        trainer.fit(module, loader)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    if not trainer.is_global_zero:
        raise SystemExit(0)  # only one process exports the model


def _trainer(
    machine: Machine, recipe: Recipe, folder: Path, epochs: int, callbacks: list[Callback]
) -> lightning.Trainer:
    """Return Lightning's trainer; UsageError for hardware that it does not know or find."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # its advertisements
    warnings.filterwarnings("ignore", module="lightning")  # about its own libraries
    devices = machine.devices
    try:
        return lightning.Trainer(
            accelerator=machine.accelerator,
            devices=int(devices) if devices.isdecimal() else devices,
            num_nodes=machine.nodes,
            strategy=machine.strategy,
            precision=recipe.precision,
            gradient_clip_val=recipe.gradient_clip or None,
            max_epochs=epochs,
            logger=_loggers(machine, folder),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            callbacks=callbacks,
            default_root_dir=folder,
        )
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UsageError(
            f"--accelerator {machine.accelerator} --devices {devices} --strategy "
            f"{machine.strategy} cannot be used here: {reason}."
        ) from None


def _loggers(machine: Machine, folder: Path) -> list[Logger]:
    loggers: list[Logger] = [RunLog(folder)]
    if machine.tensorboard:
        try:
            loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
        except ModuleNotFoundError:
            raise MoppetError(
                "--tensorboard needs tensorboardX. Install it with: pip install tensorboardX"
            ) from None
    return loggers


def _class_weights(data: TrainingData, recipe: Recipe) -> Tensor | None:
    if recipe.class_weights == "none":
        return None
    rows = data.training_rows(recipe)
    of_rows = (data.targets(recipe)[rows], data.manifest.weights[rows])
    soft, weights = map(torch.from_numpy, of_rows)
    return losses.class_weights(soft, weights, weighting=recipe.class_weights)


def _draw_chances(
    data: TrainingData, views: RandomViews, recipe: Recipe
) -> NDArray[np.float64] | None:
    if recipe.sampling == "plain":
        return None
    soft = torch.from_numpy(data.targets(recipe)[views.rows[: views.counts[0]]])
    power = {"root": 0.5, "balanced": 1.0}[recipe.sampling]
    return np.asarray(losses.sampling_weights(soft, power=power).numpy(), np.float64)


def _times(data: TrainingData, views: RandomViews, recipe: Recipe) -> NDArray[np.int64] | None:
    """Return how often an epoch shows each row, None for once."""
    if not recipe.oversample_ages:
        return None
    band = data.manifest.column("age_band")[views.rows[: views.counts[0]]].astype(str)
    often = np.isin(band, recipe.oversample_ages)
    return np.where(often, recipe.oversample_times, 1).astype(np.int64)
