"""Generators that are trained on a few hundred faces (GAN, VAE, cGAN), and their saved weights."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, cast

import torch
from annotated_types import Ge
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from moppet.config import check_settings, old_names
from moppet.files import file_sha256, parse_json, replacing
from moppet.synthesis.networks import (
    Discriminator,
    Encoder,
    Generator,
    ProjectionDiscriminator,
    augment,
    mirror,
)
from moppet.synthesis.settings import SynthesisSettings, seed_of, settings_from
from moppet.values import Image, ModelError, MoppetError, UsageError

_KEY: Final = "moppet"


def random_source(*parts: int | str) -> torch.Generator:
    """Return a random number generator on the CPU that depends only on the parts."""
    return torch.Generator().manual_seed(seed_of(*parts))


class TrainedGenerator(nn.Module):
    """Networks that are trained to generate faces.

    generator: the network that generates the images. average: the moving average of its weights,
    which is what is used in the end.
    classes: how many classes there are; 1 for a method with one network per class.
    optimizers: by name. The randomness of a step depends only on the seed and the number of the
    step, so an interrupted run resumes to exactly the same result.
    """

    one_per_class: ClassVar[bool]

    def __init__(self, settings: SynthesisSettings, classes: int) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        s = settings
        self.generator = Generator(s.size, s.channels, s.width, s.latent, classes)
        self.build()
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.optimizers = self.build_optimizers()

    def build(self) -> None:
        """Add the other networks that training needs."""

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizers by name."""
        raise NotImplementedError

    def step(self, images: Tensor, labels: Tensor, rng: torch.Generator) -> dict[str, float]:
        """Train on one batch and return its losses by name.

        images: (n, c, h, w) float in [-1, 1]. labels: (n,) int64. Both on the networks' device.
        """
        raise NotImplementedError

    def latent(self, n: int, rng: torch.Generator) -> Tensor:
        """Return (n, latent) normal numbers on the networks' device."""
        return torch.randn((n, self.settings.latent), generator=rng).to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.generator.parameters()).device

    @contextmanager
    def mixed_precision(self) -> Iterator[None]:
        """Compute in bfloat16 if the settings request it."""
        on = self.settings.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=on):
            yield

    @torch.no_grad()
    def update_average(self, done: int) -> None:
        """Update the moving average. done: finished steps, including this one.

        The decay is smaller in the first steps, so that the random start is soon forgotten.
        """
        decay = min(self.settings.ema_decay, (1 + done) / (10 + done))
        current = self.generator.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])


def adam(module: nn.Module, rate: float, *, first: float = 0.5) -> torch.optim.Optimizer:
    """Return Adam over a module's weights. first: β₁, 0.5 in Radford 2016."""
    return torch.optim.Adam(module.parameters(), rate, betas=(first, 0.999))


def optimizer_step(loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """Do one optimizer step and return the loss.

    Raises MoppetError if the loss is not a number; the last checkpoint is kept.
    """
    value = float(loss.detach())
    if not torch.isfinite(loss):
        raise MoppetError(
            "the loss is not a number. Lower rate and generator_rate, or set precision to "
            "32-true. The last checkpoint is kept."
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value


class Gan(TrainedGenerator):
    """DCGAN (Radford 2016), one network per class, non-saturating loss (Goodfellow 2014).

    Images are augmented before the discriminator scores them.
    """

    one_per_class: ClassVar[bool] = True
    discriminator: nn.Module

    def build(self) -> None:
        s = self.settings
        self.discriminator = Discriminator(s.size, s.channels, s.width)

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        s = self.settings
        # Separate learning rates (Heusel 2017): the discriminator may learn faster.
        return {
            "discriminator": adam(self.discriminator, s.rate),
            "generator": adam(self.generator, s.generator_rate),
        }

    def scores(self, images: Tensor, labels: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return (n,) float32 scores of augmented images, higher for real ones, and a class loss.

        Both networks minimize the class loss, which is high if an image does not show its class.
        """
        changed = augment(images.float(), self.settings.augment, rng)
        with self.mixed_precision():
            score, logits = self.discriminate(changed, labels)
        if logits is None:
            return score.float(), score.new_zeros(())
        return score.float(), cross_entropy(logits.float(), labels)

    def discriminate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the discriminator's scores, and its class logits if it has any."""
        return self.discriminator(images), None

    def discriminator_loss(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Return what the discriminator minimizes, from its scores."""
        return softplus(-real).mean() + softplus(synthetic).mean()

    def generator_loss(self, synthetic: Tensor) -> Tensor:
        """Return what the generator minimizes, from the discriminator's scores."""
        return softplus(-synthetic).mean()

    def step(self, images: Tensor, labels: Tensor, rng: torch.Generator) -> dict[str, float]:
        real = mirror(images, rng) if self.settings.mirror else images
        with self.mixed_precision():
            synthetic = self.generator(self.latent(len(labels), rng), labels)
        on_real, class_real = self.scores(real, labels, rng)
        on_synthetic, _ = self.scores(synthetic.detach(), labels, rng)
        weight = self.settings.class_weight
        loss = self.discriminator_loss(on_real, on_synthetic) + weight * class_real
        discriminator_loss = optimizer_step(loss, self.optimizers["discriminator"])
        self.discriminator.requires_grad_(False)
        on_synthetic, class_synthetic = self.scores(synthetic, labels, rng)
        loss = self.generator_loss(on_synthetic) + weight * class_synthetic
        generator_loss = optimizer_step(loss, self.optimizers["generator"])
        self.discriminator.requires_grad_(True)
        return {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}


class Cgan(Gan):
    """Conditional GAN (Mirza 2014): one network for all classes.

    The generator gets the class and has class-conditional normalization; the discriminator
    projects the class onto its features and is spectrally normalized (Miyato 2018); hinge loss.
    Both also minimize an auxiliary class loss (Odena 2017): in short trainings, the projection
    alone gave faces, but rarely of the right class.
    """

    one_per_class: ClassVar[bool] = False

    def build(self) -> None:
        s = self.settings
        self.discriminator = ProjectionDiscriminator(s.size, s.channels, s.width, self.classes)

    def discriminate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        score, logits = self.discriminator(images, labels)
        return score, logits

    def discriminator_loss(self, real: Tensor, synthetic: Tensor) -> Tensor:
        return (1 - real).relu().mean() + (1 + synthetic).relu().mean()

    def generator_loss(self, synthetic: Tensor) -> Tensor:
        return -synthetic.mean()


class Vae(TrainedGenerator):
    """Convolutional VAE (Kingma & Welling 2014), one network per class.

    The pixel variance is fitted to each batch (sigma-VAE, Rybkin 2021), so that no weight between
    image and latent has to be chosen.
    """

    one_per_class: ClassVar[bool] = True

    def build(self) -> None:
        s = self.settings
        self.encoder = Encoder(s.size, s.channels, s.width, s.latent)

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        both = nn.ModuleList([self.encoder, self.generator])
        return {"both": adam(both, self.settings.rate, first=0.9)}

    def step(self, images: Tensor, labels: Tensor, rng: torch.Generator) -> dict[str, float]:
        real = mirror(images, rng) if self.settings.mirror else images
        noise = self.latent(len(labels), rng)
        with self.mixed_precision():
            mean, log_variance = (part.float() for part in self.encoder(real))
            synthetic = self.generator(mean + noise * (0.5 * log_variance).exp(), labels).float()
        values = real[0].numel()
        squares = (synthetic - real).square().mean()
        # -log p(x|z) of a normal whose variance is the mean squared error, up to a constant
        image = values / 2 * squares.clamp(min=1e-6).log()
        latent = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        loss = (image + self.settings.kl_weight * latent) / values
        optimizer_step(loss, self.optimizers["both"])
        return {"error": math.sqrt(float(squares.detach())), "nats": float(latent.detach())}


def to_tensor(images: Any) -> Tensor:
    """Return (n, h, w[, 3]) uint8 images as (n, c, h, w) float in [-1, 1]."""
    x = torch.from_numpy(images)
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)
    return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_image(x: Tensor) -> Any:
    """Return one image (c, h, w) in [-1, 1] as (h, w) or (h, w, 3) uint8."""
    levels = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    return (levels[0] if len(levels) == 1 else levels.permute(1, 2, 0)).numpy().copy()


class FaceGenerator:
    """Generates faces of the classes that it was trained on.

    parts: class → the network that generates it, and the number of the class in that network.
    """

    def __init__(
        self, settings: SynthesisSettings, parts: Mapping[str, tuple[nn.Module, int]]
    ) -> None:
        self.settings = settings
        self.parts = dict(parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes that it can generate."""
        return tuple(self.parts)

    @torch.no_grad()
    def generate(self, label: str, seed: int) -> Image:
        """Return a face of the class, (size, size) gray or (size, size, 3) RGB uint8.

        It depends only on the weights, the class and the seed.
        Raises UsageError for a class that the generator was not trained on.
        """
        if label not in self.parts:
            raise UsageError(
                f"the generator was not trained on {label!r}. Known: {', '.join(self.names)}."
            )
        network, number = self.parts[label]
        device = next(network.parameters()).device
        latent = torch.randn((1, self.settings.latent), generator=random_source(seed, "latent"))
        network.eval()
        images: Tensor = network(latent.to(device), torch.tensor([number], device=device))
        return cast(Image, to_image(images[0]))

    def save(self, path: Path) -> str:
        """Write the weights and everything needed to use them; return the file's SHA-256."""
        networks = list(dict.fromkeys(network for network, _ in self.parts.values()))
        classes = {
            name: [networks.index(one), number] for name, (one, number) in self.parts.items()
        }
        tensors: dict[str, Tensor] = {
            f"{at}.{key}": value
            for at, network in enumerate(networks)
            for key, value in network.state_dict().items()
        }
        metadata = {
            "kind": "moppet generator",
            # Under the old names: the SHA-256 of the same weights stays what it was.
            "settings": json.dumps(old_names(self.settings)),
            "classes": json.dumps(classes),
        }
        save_tensors(path, tensors, metadata)
        return file_sha256(path)


@dataclass(frozen=True)
class _Parts:
    """classes: name → the numbers of its network, and of the class in that network."""

    classes: dict[str, tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)]]]


def load_generator(path: Path) -> FaceGenerator:
    """Return a generator that `FaceGenerator.save` wrote; ModelError for any other file."""
    try:
        tensors, metadata = load_tensors(path)
        stored = {key: parse_json(metadata[key].encode(), key) for key in ("settings", "classes")}
        settings = settings_from(stored["settings"], str(path))
        classes = check_settings(_Parts, {"classes": stored["classes"]}).classes
        networks = {at: _network(at, tensors, settings) for at, _ in classes.values()}
        parts = {name: (networks[at], number) for name, (at, number) in classes.items()}
    except (MoppetError, LookupError, TypeError, ValueError, AttributeError, RuntimeError):
        raise ModelError(f"{path} is not a generator of `moppet synthesize`.") from None
    return FaceGenerator(settings, parts)


def _network(at: int, tensors: dict[str, Any], settings: SynthesisSettings) -> nn.Module:
    s = settings
    count = tensors[f"{at}.norms.0.scale.weight"].shape[0]
    own = tensors_under(f"{at}.", tensors)
    with torch.device("meta"):  # without memory: the settings may ask for any size
        drawn = Generator(s.size, s.channels, s.width, s.latent, count).state_dict()
    if {k: v.shape for k, v in drawn.items()} != {k: v.shape for k, v in own.items()}:
        raise ValueError("the weights are of another generator")
    network = Generator(s.size, s.channels, s.width, s.latent, count)
    network.load_state_dict(own)
    return network.eval()


def tensors_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors; an existing file is replaced only when the new one is complete.

    The same tensors and metadata give the same bytes.
    """
    # A single metadata entry, because several are written in a different order each time.
    entry = {_KEY: json.dumps(metadata, sort_keys=True)}
    with replacing(path, failures=(SafetensorError,)) as part:
        save_file({k: v.contiguous() for k, v in tensors.items()}, part, entry)


@dataclass(frozen=True)
class _Metadata:
    of: dict[str, str]


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors and metadata; MoppetError if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY, "{}")
        metadata = check_settings(_Metadata, {"of": parse_json(text.encode(), "its metadata")}).of
        return load_file(path), metadata
    except (SafetensorError, OSError, ValueError, MoppetError):
        raise MoppetError(f"{path} is damaged. Remove it to start over.") from None
