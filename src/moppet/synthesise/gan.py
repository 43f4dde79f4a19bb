"""GAN and CGAN: a generator against a discriminator, without and with classes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from moppet.synthesise.augment import augment, mirror
from moppet.synthesise.learner import Learner, adam, descend
from moppet.synthesise.networks import Discriminator, ProjectionDiscriminator


class _Adversary(Learner):
    """What both have in common: two steps a batch, the pictures changed before they are judged."""

    judge: nn.Module

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        s = self.settings
        # Rates of their own (Heusel 2017): the judge may learn faster than its opponent.
        return {"judge": adam(self.judge, s.rate), "maker": adam(self.maker, s.generator_rate)}

    def judged(self, pictures: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Return (n,) float32 scores of changed pictures, higher for real ones."""
        changed = augment(pictures.float(), self.settings.augment, rng)
        with self.mixed():
            score: Tensor = self.score(changed, labels)
        return score.float()

    def score(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Return the judge's scores."""
        raise NotImplementedError

    def judge_loss(self, real: Tensor, made: Tensor) -> Tensor:
        """Return what the judge brings down, of its scores."""
        raise NotImplementedError

    def maker_loss(self, made: Tensor) -> Tensor:
        """Return what the maker brings down, of the judge's scores."""
        raise NotImplementedError

    def step(self, pictures: Tensor, labels: Tensor, rng: torch.Generator) -> dict[str, float]:
        real = mirror(pictures, rng) if self.settings.mirror else pictures
        with self.mixed():
            made = self.maker(self.latent(len(labels), rng), labels)
        on_real = self.judged(real, labels, rng)
        on_made = self.judged(made.detach(), labels, rng)
        judge = descend(self.judge_loss(on_real, on_made), self.optimizers["judge"])
        self.judge.requires_grad_(False)
        maker = descend(self.maker_loss(self.judged(made, labels, rng)), self.optimizers["maker"])
        self.judge.requires_grad_(True)
        return {"judge_loss": judge, "maker_loss": maker}


class Gan(_Adversary):
    """DCGAN (Radford 2016), one network a class; the non-saturating loss (Goodfellow 2014)."""

    one_per_class: ClassVar[bool] = True

    def build(self) -> None:
        s = self.settings
        self.judge = Discriminator(s.size, s.channels, s.width)

    def score(self, pictures: Tensor, labels: Tensor) -> Tensor:
        score: Tensor = self.judge(pictures)
        return score

    def judge_loss(self, real: Tensor, made: Tensor) -> Tensor:
        return softplus(-real).mean() + softplus(made).mean()

    def maker_loss(self, made: Tensor) -> Tensor:
        return softplus(-made).mean()


class Cgan(_Adversary):
    """Conditional GAN (Mirza 2014): one network for all classes.

    The generator's norms belong to the class; the discriminator projects the class onto its
    features and is spectrally normalised (Miyato 2018); hinge loss.
    """

    one_per_class: ClassVar[bool] = False

    def build(self) -> None:
        s = self.settings
        self.judge = ProjectionDiscriminator(s.size, s.channels, s.width, self.classes)

    def score(self, pictures: Tensor, labels: Tensor) -> Tensor:
        score: Tensor = self.judge(pictures, labels)
        return score

    def judge_loss(self, real: Tensor, made: Tensor) -> Tensor:
        return (1 - real).relu().mean() + (1 + made).relu().mean()

    def maker_loss(self, made: Tensor) -> Tensor:
        return -made.mean()
