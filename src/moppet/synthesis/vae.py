"""VAE: faces pressed into a few normal numbers and made again from such numbers."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from moppet.synthesis.learner import Learner, adam, descend
from moppet.synthesis.networks import Encoder, mirror


class Vae(Learner):
    """Convolutional VAE (Kingma & Welling 2014), one network a class.

    The variance of the pixels is what fits the batch best (sigma-VAE, Rybkin 2021), so that image
    and latent need no weight between them.
    """

    one_per_class: ClassVar[bool] = True

    def build(self) -> None:
        s = self.settings
        self.encoder = Encoder(s.size, s.channels, s.width, s.latent)

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        both = nn.ModuleList([self.encoder, self.maker])
        return {"both": adam(both, self.settings.rate, first=0.9)}

    def step(self, pictures: Tensor, labels: Tensor, rng: torch.Generator) -> dict[str, float]:
        real = mirror(pictures, rng) if self.settings.mirror else pictures
        noise = self.latent(len(labels), rng)
        with self.mixed():
            mean, log_variance = (part.float() for part in self.encoder(real))
            made = self.maker(mean + noise * (0.5 * log_variance).exp(), labels).float()
        values = real[0].numel()
        squares = (made - real).square().mean()
        # -log p(x|z) of a normal whose variance is the mean square error, up to a constant
        image = values / 2 * squares.clamp(min=1e-6).log()
        latent = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        loss = (image + self.settings.kl_weight * latent) / values
        descend(loss, self.optimizers["both"])
        return {"error": math.sqrt(float(squares.detach())), "nats": float(latent.detach())}
