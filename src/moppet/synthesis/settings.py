"""Settings of a generator: read from TOML, checked, saved beside the result."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_type_hints

from moppet.config import checked_value, read_toml
from moppet.values import UsageError

_SEEDS: Final = 2**48


def seed_of(*parts: int | str) -> int:
    """Return a seed that depends on all the parts and on nothing else; it fits a JSON number."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") % _SEEDS


METHODS: Final = ("gan", "vae", "cgan", "diffusion", "inpaint")
LEARNED: Final = ("gan", "vae", "cgan")
"""Methods that learn from the data set's own faces; the others bring a finished model."""


@dataclass(frozen=True)
class Settings:
    """How images are made. Whoever has these, the images and the seed can make them again.

    method: a name in SYNTHESIZERS.
    classes, only_ages: learn from these classes and age bands only; empty for all.
    only_found: leave out images in which no face was found.
    seed: of the weights, the order of the images and what is made.

    size, color: side of the made images in pixels; "grey" or "rgb" (from TOML the defaults are
        512 and "rgb" where a diffusion model makes them).
    steps: batches that each network learns from; epochs: passes over its images instead, 0 for
        `steps`. gan and vae learn one network a class, cgan one for all.
    batch: images of a step. latent: numbers that an image is made from.
    width: channels at full size; they double with every halving, up to eight times.
    rate: learning rate of Adam; of the discriminator where there is one, whose opponent's is
        `generator_rate`.
    augment: differentiable augmentation, all or some of "colour", "translation", "cutout".
    mirror: also learn from the mirror images.
    class_weight: what a cgan pays for an image that does not show its class.
    sampling: "balanced" (a cgan sees every class equally often) or "plain".
    decay: of the running average of the weights, which is what makes the images.
    kl_weight: what a vae's latent pays for each nat (1 is Kingma 2014).
    learn_from_made: also learn from made training rows, as seed 3's GAN does from SMOTE's.
    precision: "bf16-mixed" or "32-true".
    checkpoint_steps: a stopped run goes on from the last multiple of it.

    model, detector_model, segmenter_model: folder or pinned name of Stable Diffusion, and for
        in-painting of Grounding DINO and of SAM (moppet.synthesis.pretrained).
    start: what diffusion starts from, "text" or "image" (a training face of the class).
    change: what in-painting changes of a training face, "expression" or "occlusion".
    strength: how far "image" and in-painting may leave the face, in (0, 1]. guidance: weight of
        the prompt, above 1. model_steps: of the denoising. sure: how sure Grounding DINO must be,
        [0, 1].
    ages, ethnicities, backgrounds, occlusions: what a plan spreads over (sampling_plan);
        empty for its own.
    """

    method: str
    classes: tuple[str, ...] = ()
    only_ages: tuple[str, ...] = ()
    only_found: bool = True
    seed: int = 0
    size: int = 48
    colour: str = "grey"
    steps: int = 3000
    epochs: int = 0
    batch: int = 32
    latent: int = 64
    width: int = 32
    rate: float = 4e-4
    generator_rate: float = 2e-4
    augment: tuple[str, ...] = ("colour", "translation", "cutout")
    mirror: bool = True
    class_weight: float = 0.5
    sampling: str = "balanced"
    decay: float = 0.995
    kl_weight: float = 1.0
    learn_from_made: bool = False
    precision: str = "bf16-mixed"
    checkpoint_steps: int = 100
    model: str = ""
    detector_model: str = ""
    segmenter_model: str = ""
    start: str = "text"
    change: str = "expression"
    strength: float = 0.8
    guidance: float = 7.5
    model_steps: int = 30
    sure: float = 0.25
    ages: tuple[str, ...] = ()
    ethnicities: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    occlusions: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """1 for gray, 3 for RGB."""
        return 1 if self.colour == "grey" else 3

    def steps_for(self, pictures: int) -> int:
        """Return how many batches a network that has so many images learns from."""
        if not self.epochs:
            return self.steps
        return self.epochs * math.ceil(pictures / self.batch_of(pictures))

    def batch_of(self, pictures: int) -> int:
        """Return the images of a step: at most twice as many as there are."""
        return max(2, min(self.batch, 2 * pictures))


_WORDS: Final = {
    "method": METHODS,
    "colour": ("grey", "rgb"),
    "sampling": ("balanced", "plain"),
    "precision": ("bf16-mixed", "32-true"),
    "start": ("text", "image"),
    "change": ("expression", "occlusion"),
}
_LISTED: Final = {"augment": ("colour", "translation", "cutout")}
_LEAST: Final = {
    "seed": 0, "steps": 1, "epochs": 0, "batch": 2, "latent": 1, "width": 4,
    "checkpoint_steps": 1, "model_steps": 1,
}  # fmt: skip
_ABOVE_ZERO: Final = ("rate", "generator_rate", "strength")
_NOT_NEGATIVE: Final = ("kl_weight", "class_weight", "guidance", "sure")
_PAINTED: Final[dict[str, Any]] = {"size": 512, "colour": "rgb"}
"""Defaults that differ where a diffusion model paints: what Stable Diffusion learned from."""
SIZES: Final = range(16, 257, 16)
MODEL_SIZES: Final = range(32, 1025, 8)


def read_settings(path: Path) -> Settings:
    """Read settings; raise UsageError on an unknown key (naming the nearest) or a wrong type."""
    table = read_toml(path, "settings file")
    return settings_from(table, str(path))


def settings_from(table: dict[str, Any], where: str) -> Settings:
    """Return the settings of a TOML table; see `read_settings`. where: named in errors."""
    types = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in types:
            raise UsageError(f"{where}: unknown key {key!r}.{nearest(key, types)}")
        values[key] = checked_value(types[key], value, f"{where}: {key}")
    if "method" not in values:
        raise UsageError(f"{where}: the key 'method' is needed.")
    own = _PAINTED if values["method"] not in LEARNED else {}
    settings = Settings(**(own | values))
    check_settings(settings, where)
    return settings


def settings_text(settings: Settings) -> str:
    """Return every setting as TOML."""
    lines = [f"{k} = {_toml(v)}" for k, v in dataclasses.asdict(settings).items()]
    return "\n".join(lines) + "\n"


def chosen_settings(settings: Settings) -> dict[str, Any]:
    """Return the method and the settings that differ from their defaults.

    They tell runs apart, and still do once later versions know more settings.
    """
    plain = Settings(settings.method)
    return {
        key: value
        for key, value in dataclasses.asdict(settings).items()
        if key == "method" or value != getattr(plain, key)
    }


def check_settings(settings: Settings, where: str) -> None:
    """Raise UsageError, naming the place, where a value is outside its range."""
    for name, words in _WORDS.items():
        value = getattr(settings, name)
        if value not in words:
            known = ", ".join(f'"{word}"' for word in words)
            raise UsageError(
                f"{where}: {name} must be one of {known}, got {value!r}."
                f"{nearest(str(value), words, plain=False)}"
            )
    for name, words in _LISTED.items():
        for value in getattr(settings, name):
            if value not in words:
                raise UsageError(f"{where}: {name} knows no {value!r}.{nearest(value, words)}")
    for name, least in _LEAST.items():
        value = getattr(settings, name)
        if value < least:
            raise UsageError(f"{where}: {name} must be at least {least}, got {value}.")
    for name in (*_ABOVE_ZERO, *_NOT_NEGATIVE):
        value = getattr(settings, name)
        if not 0 <= value < math.inf or (value == 0 and name in _ABOVE_ZERO):
            raise UsageError(f"{where}: {name} must be a number above 0, got {value}.")
    if not 0 <= settings.decay < 1:
        raise UsageError(f"{where}: decay must be at least 0 and below 1, got {settings.decay}.")
    if settings.method not in LEARNED and settings.guidance <= 1:
        raise UsageError(
            f"{where}: guidance must be above 1, got {settings.guidance:g}: with less the negative "
            "prompt, which is always sent, has no effect."
        )
    if settings.strength > 1:
        raise UsageError(f"{where}: strength must be at most 1, got {settings.strength}.")
    from_face = settings.method == "inpaint" or settings.start == "image"
    if (
        settings.method not in LEARNED
        and from_face
        and settings.model_steps * settings.strength < 1
    ):
        raise UsageError(
            f"{where}: strength {settings.strength:g} of {settings.model_steps} model_steps is no "
            "step at all: raise one of them."
        )
    _check_size(settings, where)


def _check_size(settings: Settings, where: str) -> None:
    sizes = SIZES if settings.method in LEARNED else MODEL_SIZES
    if settings.size not in sizes:
        raise UsageError(
            f"{where}: size must be a multiple of {sizes.step} from {sizes[0]} to {sizes[-1]}, "
            f"got {settings.size}."
        )


def nearest(name: str, known: Any, *, plain: bool = True) -> str:
    """Return " Did you mean …?" with the nearest of the known names, or all of them if `plain`."""
    near = difflib.get_close_matches(name, list(known), 1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(known)}." if plain else ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    # JSON's text is TOML's, but for a character that TOML wants escaped and JSON does not.
    return json.dumps(value).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)
