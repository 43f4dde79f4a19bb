"""Settings of a generator: read from TOML, checked, and saved with the images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import Ge, Gt, Interval

from moppet.config import check_settings, old_names, read_toml
from moppet.plugins import NameIn
from moppet.synthesis.generators import GENERATORS, find_generator
from moppet.values import UsageError

SIZES: Final = range(16, 257, 16)
MODEL_SIZES: Final = range(32, 1025, 8)
_PROMPTED: Final[Mapping[str, Any]] = {"size": 512, "color": "rgb"}
"""Defaults of the diffusion models: the images that Stable Diffusion was trained on."""
_SEEDS: Final = 2**48


def seed_of(*parts: int | str) -> int:
    """Return a seed that depends only on the parts; it fits a JSON number."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") % _SEEDS


@dataclass(frozen=True)
class SynthesisSettings:
    """How images are generated; the same settings, images and seed give the same result.

    method: a name in GENERATORS.
    classes, only_ages: train on these classes and age bands only; empty for all.
    only_found: leave out images in which no face is found.
    seed: of the weights, the order of the images and the generated images.

    size, color: width and height of the images in pixels, and "gray" or "rgb". In TOML, the
        defaults of diffusion and inpaint are 512 and "rgb".
    steps: batches that each network is trained on. epochs: passes over the images instead; 0 uses
        `steps`. gan and vae train one network per class, cgan one for all classes.
    batch: batch size. latent: dimension of the latent vector.
    width: channels at full resolution; they double with each halving, up to eight times.
    rate: learning rate of Adam; with a GAN, of the discriminator. generator_rate: of a GAN's
        generator.
    augment: differentiable augmentation: any of "color", "translation", "cutout".
    mirror: also train on mirrored images.
    class_weight: weight of cgan's auxiliary class loss.
    sampling: "balanced" (cgan draws every class equally often) or "plain" (as in the data).
    ema_decay: of the moving average of the weights, which generates the images.
    kl_weight: weight of vae's Kullback-Leibler term (1 in Kingma 2014).
    learn_from_synthetic: also train on synthetic training rows.
    precision: "bf16-mixed" or "32-true".
    checkpoint_steps: steps between checkpoints.

    model, detector_model, segmenter_model: folder or pinned name of Stable Diffusion and, for
        inpainting, of Grounding DINO and SAM (moppet.synthesis.pretrained).
    start: what diffusion starts from: "text", or "image" (a training face of the class).
    change: what inpainting changes in a training face: "expression" or "occlusion".
    strength: how far an image may differ from the face that it starts from.
    guidance: weight of the prompt. model_steps: denoising steps.
    detector_threshold: confidence that Grounding DINO needs.
    ages, ethnicities, backgrounds, occlusions: values that the plan uses
        (moppet.synthesis.sampling_plan); empty for its defaults.
    """

    RENAMED: ClassVar = {
        "colour": "color",
        "decay": "ema_decay",
        "learn_from_made": "learn_from_synthetic",
        "sure": "detector_threshold",
    }
    RENAMED_WORDS: ClassVar = {
        "color": {"grey": "gray"},
        "augment": {"colour": "color"},
        "occlusions": {"dummy": "pacifier"},
    }

    method: Annotated[str, NameIn("moppet.generators", "method")]
    classes: tuple[str, ...] = ()
    only_ages: tuple[str, ...] = ()
    only_found: bool = True
    seed: Annotated[int, Ge(0)] = 0
    size: int = 48
    color: Literal["gray", "rgb"] = "gray"
    steps: Annotated[int, Ge(1)] = 3000
    epochs: Annotated[int, Ge(0)] = 0
    batch: Annotated[int, Ge(2)] = 32
    latent: Annotated[int, Ge(1)] = 64
    width: Annotated[int, Ge(4)] = 32
    rate: Annotated[float, Gt(0)] = 4e-4
    generator_rate: Annotated[float, Gt(0)] = 2e-4
    augment: tuple[Literal["color", "translation", "cutout"], ...] = (
        "color",
        "translation",
        "cutout",
    )
    mirror: bool = True
    class_weight: Annotated[float, Ge(0)] = 0.5
    sampling: Literal["balanced", "plain"] = "balanced"
    ema_decay: Annotated[float, Interval(ge=0, lt=1)] = 0.995
    kl_weight: Annotated[float, Ge(0)] = 1.0
    learn_from_synthetic: bool = False
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"
    checkpoint_steps: Annotated[int, Ge(1)] = 100
    model: str = ""
    detector_model: str = ""
    segmenter_model: str = ""
    start: Literal["text", "image"] = "text"
    change: Literal["expression", "occlusion"] = "expression"
    strength: Annotated[float, Interval(gt=0, le=1)] = 0.8
    guidance: Annotated[float, Ge(0)] = 7.5
    model_steps: Annotated[int, Ge(1)] = 30
    detector_threshold: Annotated[float, Interval(ge=0, le=1)] = 0.25
    ages: tuple[str, ...] = ()
    ethnicities: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    occlusions: tuple[str, ...] = ()

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the keys taken together."""
        try:
            find_generator(self.method)
        except UsageError as error:
            yield str(error)
            return
        sizes = SIZES if self.trained else MODEL_SIZES
        if self.size not in sizes:
            yield (
                f"size must be a multiple of {sizes.step} from {sizes[0]} to {sizes[-1]}, got "
                f"{self.size}."
            )
        if self.prompted and self.guidance <= 1:
            yield (
                f"guidance must be above 1, got {self.guidance:g}: otherwise the negative prompt, "
                "which is always sent, has no effect."
            )
        if self.starts_from_faces and self.model_steps * self.strength < 1:
            yield (
                f"strength {self.strength:g} of {self.model_steps} model_steps is less than one "
                "step. Increase one of them."
            )

    @property
    def trained(self) -> bool:
        """Whether the generator is trained on the dataset's own faces."""
        return find_generator(self.method).trained

    @property
    def prompted(self) -> bool:
        """Whether each image has a text prompt."""
        return find_generator(self.method).prompted

    @property
    def starts_from_faces(self) -> bool:
        """Whether a diffusion model starts every image from a training face."""
        return self.prompted and (self.method == "inpaint" or self.start == "image")

    @property
    def channels(self) -> int:
        """1 for gray, 3 for RGB."""
        return 1 if self.color == "gray" else 3

    def steps_for(self, images: int) -> int:
        """Return how many batches a network with this many images is trained on."""
        if not self.epochs:
            return self.steps
        return self.epochs * math.ceil(images / self.batch_of(images))

    def batch_of(self, images: int) -> int:
        """Return the batch size: at most twice the number of images."""
        return max(2, min(self.batch, 2 * images))


def read_settings(path: Path) -> SynthesisSettings:
    """Read settings; raise UsageError that lists every wrong key."""
    return settings_from(read_toml(path, "settings file"), str(path))


def settings_from(table: Mapping[str, Any], source: str) -> SynthesisSettings:
    """Return the settings of a TOML table; see `read_settings`. source: named in errors."""
    method = GENERATORS.get(str(table.get("method")))
    if method is not None and method.prompted:
        old = {new: old for old, new in SynthesisSettings.RENAMED.items()}
        own = {k: v for k, v in _PROMPTED.items() if not {k, old.get(k, k)} & table.keys()}
        table = own | dict(table)
    return check_settings(SynthesisSettings, table, source)


def override_settings(
    settings: SynthesisSettings | None, changes: Mapping[str, Any], source: str
) -> SynthesisSettings:
    """Return settings with changes, given under their present or old names, checked."""
    table = {} if settings is None else dataclasses.asdict(settings)
    table |= {SynthesisSettings.RENAMED.get(key, key): value for key, value in changes.items()}
    return settings_from(table, source)


def settings_text(settings: SynthesisSettings) -> str:
    """Return every setting as TOML."""
    return _text(dataclasses.asdict(settings))


def settings_key(settings: SynthesisSettings) -> str:
    """Return a text that distinguishes these settings from others, the same in every version."""
    return _text(old_names(settings))


def changed_settings(settings: SynthesisSettings) -> dict[str, Any]:
    """Return the method and the settings that differ from their defaults, under their old names.

    They identify a training run, also for later versions that have more settings.
    """
    plain = old_names(SynthesisSettings(settings.method))
    return {k: v for k, v in old_names(settings).items() if k == "method" or v != plain[k]}


def _text(values: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    # JSON strings are TOML strings, except that TOML wants one more character escaped.
    return json.dumps(value).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)
