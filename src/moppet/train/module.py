"""Lightning's module of a training run: the network, its loss, optimizer and learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moppet.train import losses
from moppet.train.augmentation import BatchAugmentation, augment
from moppet.train.checkpoints import optimizer_state
from moppet.train.data_module import normalize
from moppet.train.networks import Network
from moppet.train.recipe import Recipe
from moppet.values import Floats, MoppetError


class TrainingModule(lightning.LightningModule):
    """A network with its recipe's loss, optimizer and learning rates.

    epochs_before, moments: of the checkpoint from which a run resumes; 0 and empty for a new run.
    """

    class_weights: Tensor | None

    def __init__(
        self, network: Network, recipe: Recipe, class_weights: Tensor | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.register_buffer("class_weights", class_weights, persistent=False)
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

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        images, soft, weights = batch
        if self.augmentation is not None:
            seeds = (self.recipe.seed, self.epoch, batch_index)
            with torch.autocast(images.device.type, enabled=False):
                images = augment(images, self.augmentation, seeds)
        logits, _ = self.network(normalize(images))
        loss = self.loss(logits.float(), soft, weights)
        if not torch.isfinite(loss):
            raise MoppetError(
                f"the loss is not a number at epoch {self.epoch + 1}, batch {batch_index}; the "
                "last checkpoint is kept. Lower head_rate and base_rate in the recipe."
            )
        right = (logits.argmax(dim=1) == soft.argmax(dim=1)).float().mean()
        how: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": True}
        self.log("train_loss", loss, prog_bar=True, logger=False, **how)
        self.log("train_accuracy", right, logger=False, **how)
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


def _optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, weight_decay=recipe.weight_decay)


def batch_augmentation(recipe: Recipe) -> BatchAugmentation | None:
    """Return the recipe's augmentation of whole batches, None for random views alone."""
    if not recipe.batch_augmentations:
        return None
    return BatchAugmentation(
        recipe.batch_augmentations, size=recipe.augment_px, share=recipe.augment_share
    )


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
    network: nn.Module, images: NDArray[np.uint8], batch: int = 256
) -> tuple[Floats, Floats]:
    """Return logits (n, k) and embeddings (n, d) of (n, c, h, w) uint8 images, in float32."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    found = in_batches(
        lambda x: [part.float().cpu() for part in network(x.to(device))], images, batch
    )
    network.train(was_training)
    return found


def in_batches(
    run: Callable[[Tensor], Sequence[Any]], images: NDArray[np.uint8], batch: int
) -> tuple[Floats, Floats]:
    """Return the logits and embeddings that `run` gives for batches of network inputs."""
    starts = range(0, len(images), batch)
    parts = [run(normalize(torch.from_numpy(images[i : i + batch]))) for i in starts]
    logits, embeddings = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits, embeddings
