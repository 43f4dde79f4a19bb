"""The generators of synthetic faces by name: GENERATORS, to which others can be added."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from moppet.plugins import announce_registry, load_plugins
from moppet.values import Image, UsageError, name_hint

if TYPE_CHECKING:
    from moppet.synthesis.sampling_plan import ImageRequest
    from moppet.synthesis.settings import SynthesisSettings
    from moppet.synthesis.training_images import StartingFaces


@dataclass(frozen=True)
class SyntheticImage:
    """A synthetic image and what it was generated from.

    image: (h, w) gray or (h, w, 3) RGB, uint8.
    sources: content hashes of the images that it was generated from; empty where no particular
        image was used.
    age_band: of the person in those images, if known.
    """

    image: Image
    sources: tuple[str, ...] = ()
    age_band: str | None = None


class ImageGenerator(Protocol):
    """A generator that is ready to use.

    model: identifies the weights or the program; stored with every image.
    """

    model: str

    def __init__(
        self, settings: SynthesisSettings, sources: StartingFaces, device: str = "cpu"
    ) -> None:
        """sources: the real training faces. device: "cpu" or "cuda"."""

    def __call__(self, request: ImageRequest) -> SyntheticImage | None:
        """Return an image of the size and color in the settings.

        It depends only on the settings and the request. None means that a safety checker
        rejected the image.
        """
        ...


@dataclass(frozen=True)
class GeneratorMethod:
    """A way to generate faces.

    title: a short description.
    load: returns the class. Heavy libraries such as torch are imported only when it is called.
    trained: whether the class is a `TrainedGenerator`, which is first trained on the real faces;
        otherwise it is an `ImageGenerator`.
    prompted: whether each request contains a text prompt.
    """

    title: str
    load: Callable[[], Any]
    trained: bool = False
    prompted: bool = False


def _class(module: str, name: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(f"moppet.synthesis.{module}"), name)


GENERATORS: Final[dict[str, GeneratorMethod]] = {
    "gan": GeneratorMethod("DCGAN", _class("trained_generators", "Gan"), trained=True),
    "vae": GeneratorMethod("convolutional VAE", _class("trained_generators", "Vae"), trained=True),
    "cgan": GeneratorMethod("conditional GAN", _class("trained_generators", "Cgan"), trained=True),
    "diffusion": GeneratorMethod(
        "Stable Diffusion, from text or from a training face",
        _class("diffusion", "Diffusion"),
        prompted=True,
    ),
    "inpaint": GeneratorMethod(
        "Grounding DINO, SAM and Stable Diffusion repaint part of a training face",
        _class("diffusion", "Inpainting"),
        prompted=True,
    ),
}
"""Name → method; others add to it in Python or with entry points of the group moppet.generators."""
announce_registry("moppet.generators", GENERATORS)


def find_generator(name: str) -> GeneratorMethod:
    """Return a method by name, also of a plugin; UsageError if there is none."""
    load_plugins("moppet.generators", GENERATORS, GeneratorMethod)
    if name not in GENERATORS:
        raise UsageError(f"there is no method {name!r}.{name_hint(name, GENERATORS)}")
    return GENERATORS[name]
