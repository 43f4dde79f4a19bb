"""Lightning's module of a training run: the network, its loss, optimizer and learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moppet.config import check_settings
from moppet.train import losses
from moppet.train.augmentation import BatchAugmentation, augment
from moppet.train.checkpoints import optimizer_state
from moppet.train.data_module import More, TrainingData, normalize
from moppet.train.head_targets import RENDERED
from moppet.train.movements import COLUMNS, mixing
from moppet.train.networks import Network
from moppet.train.networks.base import HeadOutputs, MovementHead
from moppet.train.recipe import Recipe
from moppet.values import Floats, MoppetError, UsageError

_LEAST_SPREAD: Final = 0.03
"""Movements that hardly ever differ are not weighted by more than this."""


class TrainingModule(lightning.LightningModule):
    """A network with its recipe's loss, optimizer and learning rates.

    spreads: from `spreads_of`, where there are other heads than the observers'.
    epochs_before, moments: of the checkpoint from which a run resumes; 0 and empty for a new run.
    """

    class_weights: Tensor | None
    spreads: Tensor | None
    mixing: Tensor

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        class_weights: Tensor | None = None,
        spreads: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.register_buffer("spreads", spreads, persistent=False)
        self.register_buffer("mixing", torch.from_numpy(mixing(COLUMNS)), persistent=False)
        self.epochs_before = 0
        self.steps_before = 0
        self.moments: dict[str, Tensor] = {}
        self.augmentation = batch_augmentation(recipe)
        if recipe.freeze_base:
            network.freeze_base()

    @property
    def epoch(self) -> int:
        """The number of finished epochs, including those before the run was resumed."""
        return self.epochs_before + int(self.current_epoch)

    @property
    def steps_done(self) -> int:
        """The number of finished optimizer steps, including those before the run was resumed."""
        return self.steps_before + int(self.global_step)

    def training_step(self, batch: tuple[Any, ...], batch_index: int) -> Tensor:
        images, soft, weights, *more = batch
        if self.augmentation is not None:
            seeds = (self.recipe.seed, self.epoch, batch_index)
            with torch.autocast(images.device.type, enabled=False):
                images = augment(images, self.augmentation, seeds)
        if more:
            found = self.network.all_heads(normalize(images))
            logits = found.logits
            loss = self.loss(logits.float(), soft, weights) + self.heads_loss(found, *more)
            own = soft.sum(dim=1) > 0
            right = (logits.argmax(dim=1) == soft.argmax(dim=1))[own].float().mean()
        else:
            logits, _ = self.network(normalize(images))
            loss = self.loss(logits.float(), soft, weights)
            right = (logits.argmax(dim=1) == soft.argmax(dim=1)).float().mean()
        if not torch.isfinite(loss):
            raise MoppetError(
                f"the loss is not a number at epoch {self.epoch + 1}, batch {batch_index}; the "
                "last checkpoint is kept. Lower head_rate and base_rate in the recipe."
            )
        how: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": True}
        self.log("train_loss", loss, prog_bar=True, logger=False, **how)
        self.log("train_accuracy", right, logger=False, **how)
        return loss

    def heads_loss(self, found: HeadOutputs, more: More) -> Tensor:
        """Return the weighted sum of the losses of the heads beside the observers'."""
        total = found.logits.new_zeros((), dtype=torch.float32)
        known = more["display"].sum(dim=1) > 0
        if found.display is not None and known.any():
            shifted = (found.display.float() + more["shift"])[known]
            loss = losses.soft_cross_entropy(shifted, more["display"][known])
            total = total + self.recipe.display_weight * loss
        if found.movements is not None:
            total = total + self.recipe.movement_weight * self._movement_loss(found, more)
        return total

    def _movement_loss(self, found: HeadOutputs, more: More) -> Tensor:
        """Return the loss of exact truth, and of Face Landmarker's answers on a scale of their own.

        The landmarker is another instrument: each column's own scale and offset to it is learned.
        """
        head = self.network.get_submodule("movements")
        assert isinstance(head, MovementHead) and self.spreads is not None
        assert found.movements is not None
        columns = found.movements @ self.mixing.T
        exact = more["exact"]
        truth = torch.where(exact[:, None], more["movements"], torch.nan)
        landmarker = torch.where(exact[:, None], torch.nan, more["movements"])
        return losses.movement_loss(columns, truth, self.spreads[1]) + losses.movement_loss(
            head.as_landmarker(columns), landmarker, self.spreads[0]
        )

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
        done = self.steps_before = per_epoch * self.epochs_before
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(recipe, done + step, per_epoch)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def spreads_of(data: TrainingData) -> Tensor | None:
    """Return (2, COLUMNS), standard deviations of the training rows' movements: of Face
    Landmarker's answers, and of exact truth. None where there are no other heads."""
    if data.heads is None:
        return None
    rows = data.part == "train"
    exact = data.heads.rows(RENDERED)
    found = np.ones((2, len(COLUMNS)), np.float32)
    for kind, of in enumerate((rows & ~exact, rows & exact)):
        for column, values in enumerate(data.heads.movements[of].T):
            known = values[np.isfinite(values)]
            found[kind, column] = max(_LEAST_SPREAD, float(known.std())) if len(known) else 1.0
    return torch.from_numpy(found)


def _optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, weight_decay=recipe.weight_decay)


def batch_augmentation(recipe: Recipe) -> BatchAugmentation | None:
    """Return the recipe's augmentation of whole batches, None for random views alone."""
    if not recipe.batch_augmentations:
        return None
    own = {"names", "size", "share"} & recipe.augment_strengths.keys()
    if own:
        raise UsageError(
            f"augment_strengths has no {min(own)!r}: it is a key of the recipe itself."
        )
    given = {
        "names": recipe.batch_augmentations,
        "size": recipe.augment_px,
        "share": recipe.augment_share,
        **recipe.augment_strengths,
    }
    return check_settings(BatchAugmentation, given, "augment_strengths")


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


def predict_logits(
    network: nn.Module, images: NDArray[np.uint8], batch: int = 256
) -> tuple[Floats, Floats]:
    """Return logits (n, k) and embeddings (n, d) of (n, c, h, w) uint8 images, in float32."""
    logits, embeddings, *_ = predict_all(network, images, batch)
    return logits, embeddings


def predict_all(network: nn.Module, images: NDArray[np.uint8], batch: int = 256) -> list[Floats]:
    """Return each output of a network for (n, c, h, w) uint8 images, in float32."""
    return _predict(network, network, images, batch)


def predict_heads(network: Network, images: NDArray[np.uint8], batch: int = 256) -> HeadArrays:
    """Return everything that a network reads in (n, c, h, w) uint8 images."""
    heads = [name for name in ("display", "movements") if getattr(network, name, None) is not None]
    found = _predict(network, lambda x: _there(network.all_heads(x)), images, batch)
    return HeadArrays(found[0], **dict(zip(heads, found[2:], strict=True)))


class HeadArrays(NamedTuple):
    """What was read in n faces; as `HeadOutputs`, without the embedding."""

    logits: Floats
    display: Floats | None = None
    movements: Floats | None = None


def _there(found: HeadOutputs) -> list[Tensor]:
    return [part for part in found if part is not None]


@torch.no_grad()
def _predict(
    network: nn.Module,
    run: Callable[[Tensor], Sequence[Tensor]],
    images: NDArray[np.uint8],
    batch: int,
) -> list[Floats]:
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    found = in_batches(lambda x: [part.float().cpu() for part in run(x.to(device))], images, batch)
    network.train(was_training)
    return found


def in_batches(
    run: Callable[[Tensor], Sequence[Any]], images: NDArray[np.uint8], batch: int
) -> list[Floats]:
    """Return each output that `run` gives for batches of network inputs."""
    starts = range(0, len(images), batch)
    parts = [run(normalize(torch.from_numpy(images[i : i + batch]))) for i in starts]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]
