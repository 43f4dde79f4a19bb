"""A method that learns to make faces: its networks, what a step does, its running average."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from moppet.synthesis.networks import Generator
from moppet.synthesis.settings import Settings, seed_of
from moppet.values import MoppetError


def chance(*parts: int | str) -> torch.Generator:
    """Return the source of chance of these parts, on the CPU."""
    return torch.Generator().manual_seed(seed_of(*parts))


class Learner(nn.Module):
    """Networks that learn from a few hundred faces to make more.

    maker: makes the images. average: its running average, which is what is used.
    classes: how many it tells apart; 1 for a method that learns one network a class.
    optimizers: by name. A step's chance depends on the seed and the step's number alone, so that
    a run that was stopped goes on exactly as if it had not been.
    """

    one_per_class: ClassVar[bool]

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        s = settings
        self.maker = Generator(s.size, s.channels, s.width, s.latent, classes)
        self.build()
        self.average = copy.deepcopy(self.maker).requires_grad_(False).eval()
        self.optimizers = self.build_optimizers()

    def build(self) -> None:
        """Add the networks that teach the maker."""
        raise NotImplementedError

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizers by name."""
        raise NotImplementedError

    def step(self, pictures: Tensor, labels: Tensor, rng: torch.Generator) -> dict[str, float]:
        """Learn from one batch and return its losses by name.

        images: (n, c, h, w) float in [-1, 1]. labels: (n,) int64. Both on the learner's device.
        """
        raise NotImplementedError

    def latent(self, n: int, rng: torch.Generator) -> Tensor:
        """Return (n, latent) normal numbers on the learner's device."""
        return torch.randn((n, self.settings.latent), generator=rng).to(self.device)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.maker.parameters()).device

    @contextmanager
    def mixed(self) -> Iterator[None]:
        """Compute in bfloat16 where the settings say so."""
        on = self.settings.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=on):
            yield

    @torch.no_grad()
    def follow(self, done: int) -> None:
        """Move the running average toward the maker. done: steps finished, this one included.

        A young average forgets faster, so that the random start does not linger.
        """
        decay = min(self.settings.decay, (1 + done) / (10 + done))
        current = self.maker.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])


def adam(module: nn.Module, rate: float, *, first: float = 0.5) -> torch.optim.Optimizer:
    """Return Adam over a module's weights. first: its β₁, 0.5 in Radford 2016."""
    return torch.optim.Adam(module.parameters(), rate, betas=(first, 0.999))


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """Do one step down the loss and return it.

    Raises MoppetError if it is not a number; the last checkpoint is kept.
    """
    value = float(loss.detach())
    if not torch.isfinite(loss):
        raise MoppetError(
            "the loss is not a number; what was learned until the last checkpoint is kept. "
            "Lower rate and generator_rate, or set precision to 32-true."
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value


def in_range(pictures: Any) -> Tensor:
    """Return (n, h, w[, 3]) uint8 images as (n, c, h, w) float in [-1, 1]."""
    x = torch.from_numpy(pictures)
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)
    return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def as_image(x: Tensor) -> Any:
    """Return one image (c, h, w) in [-1, 1] as (h, w) or (h, w, 3) uint8."""
    levels = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    return (levels[0] if len(levels) == 1 else levels.permute(1, 2, 0)).numpy().copy()
