"""GAN and CGAN: a generator against a discriminator, without and with classes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from moppet.synthesis.learner import Learner, adam, descend
from moppet.synthesis.networks import Discriminator, ProjectionDiscriminator, augment, mirror


class _Adversary(Learner):
    """What both have in common: two steps a batch, the images changed before they are judged."""

    judge: nn.Module

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        s = self.settings
        # Rates of their own (Heusel 2017): the judge may learn faster than its opponent.
        return {"judge": adam(self.judge, s.rate), "maker": adam(self.maker, s.generator_rate)}

    def judged(
        self, pictures: Tensor, labels: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return (n,) float32 scores of changed images, higher for real ones, and a class loss.

        The latter is what both sides pay where an image does not show its class.
        """
        changed = augment(pictures.float(), self.settings.augment, rng)
        with self.mixed():
            score, logits = self.score(changed, labels)
        if logits is None:
            return score.float(), score.new_zeros(())
        return score.float(), cross_entropy(logits.float(), labels)

    def score(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the judge's scores, and its logits of the classes if it knows any."""
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
        on_real, class_real = self.judged(real, labels, rng)
        on_made, _ = self.judged(made.detach(), labels, rng)
        weight = self.settings.class_weight
        judge = self.judge_loss(on_real, on_made) + weight * class_real
        judge_loss = descend(judge, self.optimizers["judge"])
        self.judge.requires_grad_(False)
        on_made, class_made = self.judged(made, labels, rng)
        maker = self.maker_loss(on_made) + weight * class_made
        maker_loss = descend(maker, self.optimizers["maker"])
        self.judge.requires_grad_(True)
        return {"judge_loss": judge_loss, "maker_loss": maker_loss}


class Gan(_Adversary):
    """DCGAN (Radford 2016), one network a class; the non-saturating loss (Goodfellow 2014)."""

    one_per_class: ClassVar[bool] = True

    def build(self) -> None:
        s = self.settings
        self.judge = Discriminator(s.size, s.channels, s.width)

    def score(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.judge(pictures), None

    def judge_loss(self, real: Tensor, made: Tensor) -> Tensor:
        return softplus(-real).mean() + softplus(made).mean()

    def maker_loss(self, made: Tensor) -> Tensor:
        return softplus(-made).mean()


class Cgan(_Adversary):
    """Conditional GAN (Mirza 2014): one network for all classes.

    The generator is told the class and its norms belong to it; the discriminator projects the
    class onto its features and is spectrally normalized (Miyato 2018); hinge loss. Both also pay
    for images that do not show their class (Odena 2017): in the minutes that this may take, the
    projection alone taught faces, but hardly which of them are sad.
    """

    one_per_class: ClassVar[bool] = False

    def build(self) -> None:
        s = self.settings
        self.judge = ProjectionDiscriminator(s.size, s.channels, s.width, self.classes)

    def score(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        score, logits = self.judge(pictures, labels)
        return score, logits

    def judge_loss(self, real: Tensor, made: Tensor) -> Tensor:
        return (1 - real).relu().mean() + (1 + made).relu().mean()

    def maker_loss(self, made: Tensor) -> Tensor:
        return -made.mean()
