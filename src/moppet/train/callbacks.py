"""What happens after each step and epoch: averaging, validation, log, checkpoints, seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, WeightAveraging
from numpy.typing import NDArray
from torch import Tensor

from moppet.metrics import accuracy, balanced_accuracy
from moppet.train import losses
from moppet.train.checkpoints import (
    BEST,
    HEAD_FIELDS,
    LAST,
    LOSS,
    load_parts,
    read_log,
    save_checkpoint,
    save_tensors,
)
from moppet.train.data_module import RandomViews, TrainingData, evaluation_crops, network_input
from moppet.train.head_targets import RENDERED, SOURCES
from moppet.train.module import TrainingModule, predict_heads, predict_logits
from moppet.train.movements import COLUMNS, correlation, mixing
from moppet.train.networks import Network
from moppet.train.recipe import Recipe
from moppet.values import Floats, MoppetError

_VALIDATED = 1500
"""Rows of each source on which the other heads are measured after an epoch."""


class MovingAverage(WeightAveraging):
    """Lightning's weight averaging as an exponential moving average of all weights.

    After step s the decay is min(decay, (1 + s) / (10 + s)): a young average forgets faster, so
    that the random start has no lasting influence. Integers, such as BatchNorm's counters, are
    copied. At the end of training the network has the averaged weights.
    resumed: the averaged weights of the checkpoint from which a run resumes.
    """

    def __init__(self, decay: float, resumed: Mapping[str, Tensor] | None = None) -> None:
        def update(average: list[Tensor], current: list[Tensor], step: Tensor) -> None:
            if average[0].is_floating_point():
                s = int(step)
                torch._foreach_lerp_(average, current, 1 - min(decay, (1 + s) / (10 + s)))
            else:
                torch._foreach_copy_(average, current)

        super().__init__(multi_avg_fn=torch.no_grad()(update))
        self.resumed = resumed

    @property
    def network(self) -> Network:
        """The network with the averaged weights."""
        assert self._average_model is not None
        module: Any = self._average_model.module
        return cast(Network, module.network)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        # The exported layout, whose sums may differ in the last bit from those of channels_last.
        self.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if self.resumed:
            self.network.load_state_dict(self.resumed)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        assert self._average_model is not None
        self._average_model.to(pl_module.device)
        # PyTorch would replace the average by the weights of the first step if this were 0.
        self._average_model.n_averaged.fill_(1 + pl_module.steps_done)


@dataclass
class Validator:
    """Measures a network on the validation rows."""

    data: TrainingData
    recipe: Recipe
    images: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.data.rows("val", labeled=True)
        if len(self.rows):
            crops = evaluation_crops(self.data, self.rows, aligned=True)
            self.images = network_input(crops, self.recipe)
        self.others = HeadValidator(self.data, self.recipe) if self.recipe.heads else None

    def measure(self, network: Network) -> dict[str, float]:
        """Return loss, accuracy and balanced accuracy; NaN without validation rows.

        Of other heads also `HEAD_FIELDS`.
        """
        more = self.others.measure(network) if self.others else {}
        if not len(self.rows):
            return dict.fromkeys(("val_loss", "val_accuracy", "val_balanced"), math.nan) | more
        logits, _ = predict_logits(network, self.images)
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
            **more,
        }


class HeadValidator:
    """Measures the other heads on some validation rows of every source."""

    def __init__(self, data: TrainingData, recipe: Recipe) -> None:
        assert data.heads is not None
        val = data.part == "val"
        rng = np.random.default_rng(recipe.seed)
        rows = [np.flatnonzero(val & data.heads.rows(source)) for source in range(len(SOURCES))]
        self.rows = np.concatenate([rng.permutation(of)[:_VALIDATED] for of in rows])
        self.heads, self.classes = data.heads, len(data.names)
        if len(self.rows):
            crops = evaluation_crops(data, self.rows, aligned=True)
            self.images = network_input(crops, recipe)

    def measure(self, network: Network) -> dict[str, float]:
        """Return `HEAD_FIELDS`; NaN for what the rows or the network lack."""
        found = predict_heads(network, self.images) if len(self.rows) else None
        display = movements = landmarker = math.nan
        known = self.heads.display[self.rows]
        if found is not None and found.display is not None and (known >= 0).any():
            guess = found.display[known >= 0].argmax(axis=1)
            display = balanced_accuracy(known[known >= 0], guess, self.classes)
        if found is not None and found.movements is not None:
            columns = found.movements @ mixing(COLUMNS).T
            rendered = self.heads.rows(RENDERED)[self.rows]
            movements = self._mean_r(columns, rendered)
            landmarker = self._mean_r(columns, ~rendered)
        return dict(zip(HEAD_FIELDS, (display, movements, landmarker), strict=True))

    def _mean_r(self, columns: Floats, of: NDArray[np.bool_]) -> float:
        true = self.heads.movements[self.rows]
        found = [correlation(columns[of, i], true[of, i]) for i in range(len(COLUMNS))]
        known = [r for r in found if not math.isnan(r)]
        return sum(known) / len(known) if known else math.nan


class EpochCheckpoint(Callback):
    """After each epoch: validates the averaged weights, logs, and saves what resuming needs."""

    def __init__(
        self, folder: Path, validator: Validator, average: MovingAverage, *, quiet: bool
    ) -> None:
        self.folder, self.validator, self.average, self.quiet = folder, validator, average, quiet

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        epoch = pl_module.epoch + 1
        row: dict[str, float] = {"epoch": epoch}
        for name in ("train_loss", "train_accuracy"):  # reading them is a joint step of all ranks
            row[name] = float(trainer.callback_metrics[name])
        if trainer.is_global_zero:
            row |= self.validator.measure(self.average.network)
            self._save(trainer, pl_module, epoch, row)
        row = trainer.strategy.broadcast(row)
        pl_module.log(LOSS, row[LOSS], logger=False, batch_size=1)  # for EarlyStopping

    def _save(
        self, trainer: Any, module: TrainingModule, epoch: int, row: dict[str, float]
    ) -> None:
        best = min((r[LOSS] for r in read_log(self.folder)), default=math.inf)
        for logger in trainer.loggers:
            logger.log_metrics(row, epoch)
            logger.save()
        average = self.average.network.state_dict()
        if not row[LOSS] >= best:
            tensors = {f"average.{name}": value for name, value in average.items()}
            save_tensors(self.folder / BEST, tensors, {"epoch": str(epoch)})
        save_checkpoint(
            self.folder,
            module.recipe,
            self.validator.data.fingerprint,
            module.network,
            average,
            trainer.optimizers[0],
            epoch,
        )
        if not self.quiet:
            print(", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)


class EpochSeeder(Callback):
    """Gives the views the number of the epoch, and dropout a seed of its own for each epoch."""

    def __init__(self, views: RandomViews) -> None:
        self.views = views

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:  # only now: starting the loader draws a number too
            seed = (pl_module.recipe.seed, pl_module.epoch, trainer.global_rank)
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.views.epoch = pl_module.epoch + 1


def early_stopping(recipe: Recipe, log: Sequence[Mapping[str, float]]) -> EarlyStopping:
    """Return Lightning's early stopping in the state that it had after the logged epochs."""
    stopping = EarlyStopping(
        LOSS, patience=recipe.early_stop, check_finite=False, check_on_train_epoch_end=True
    )
    if log:
        best = min(log, key=lambda row: row[LOSS])
        stopping.best_score = torch.tensor(best[LOSS])
        stopping.wait_count = int(log[-1]["epoch"] - best["epoch"])
    return stopping


def kept_weights(folder: Path, recipe: Recipe) -> Mapping[str, Tensor]:
    """Return the weights that the recipe keeps: those of the last or of the best epoch."""
    name = BEST if recipe.keep == "best" and (folder / BEST).is_file() else LAST
    return load_parts(folder / name, "average.")[0]
