"""The methods by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moppet.synthesise.gan import Cgan, Gan
from moppet.synthesise.learner import Learner
from moppet.synthesise.vae import Vae


@dataclass(frozen=True)
class Synthesiser:
    """A way to make faces.

    title: in words. learner: the class that learns from the data set's faces; None for a method
    that brings a finished model.
    """

    name: str
    title: str
    learner: type[Learner] | None = None


SYNTHESISERS: Final[dict[str, Synthesiser]] = {
    each.name: each
    for each in (
        Synthesiser("gan", "DCGAN, a network a class", Gan),
        Synthesiser("vae", "convolutional VAE, a network a class", Vae),
        Synthesiser("cgan", "conditional GAN, one network for all classes", Cgan),
        Synthesiser("diffusion", "Stable Diffusion, from text or from a training face"),
        Synthesiser("inpaint", "Grounding DINO, SAM and Stable Diffusion change part of a face"),
    )
}
"""Name → method."""
