"""The plan of a run: how many images per class, and their ages, backgrounds and occlusions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.files import csv_text
from moppet.synthesis.settings import SynthesisSettings, seed_of
from moppet.values import UsageError, name_hint
from moppet.vocabulary import expression_of

ETHNICITIES: Final = (
    "American Indian",
    "Asian",
    "Black or African American",
    "Native Hawaiian",
    "Hispanic or Latino",
    "White",
)
"""The list of Vivekananthan 2024."""
AGES: Final[Mapping[str, str]] = {
    "infant": "one-year-old {who} baby",
    "child": "seven-year-old {who} child",
    "adult": "thirty-year-old {who} adult",
}
BACKGROUNDS: Final[Mapping[str, str]] = {
    "wall": "in front of a plain wall",
    "room": "in a living room",
    "kitchen": "in a kitchen",
    "garden": "in a garden",
    "street": "on a street by day",
    "car": "in a car seat",
}
OCCLUSIONS: Final[Mapping[str, str]] = {
    "none": "",
    "hair": "hair falling over part of the face",
    "sunglasses": "wearing sunglasses",
    "scarf": "wearing a scarf up to the chin",
    "hat": "wearing a hat pulled down to the eyebrows",
    "hand": "one hand in front of part of the face",
    "pacifier": "with a pacifier in the mouth",
}
_EXPRESSION_PROMPTS: Final[Mapping[str, str]] = {
    "neutral": "a neutral face",
    "happiness": "a happy smile",
    "sadness": "a sad face",
    "surprise": "a surprised face, the eyes wide and the mouth open",
    "fear": "a frightened face",
    "disgust": "a disgusted face, the nose wrinkled",
    "anger": "an angry face, the brows drawn together",
    "contempt": "a contemptuous face, one mouth corner raised",
    "crying": "a crying face",
    "laughing": "a laughing face",
    "calm": "a calm face",
    "positive": "a happy smile",
    "negative": "an unhappy face",
}
NEGATIVE_PROMPT: Final = (
    "nude, naked, undressed, bare skin below the neck, underwear, swimwear, suggestive, sexual, "
    "violence, blood, injury, weapon, frightening scene, deformed, disfigured, extra faces, "
    "two people, cropped face, drawing, cartoon, text, watermark, blurry"
)
"""What no image may show. It is always sent and cannot be changed: these are children."""
_FACTORS: Final = ("age_band", "ethnicity", "background", "occlusion")
_SETTING: Final = {  # factor → the setting that restricts it, and all its values
    "age_band": ("ages", tuple(AGES)),
    "ethnicity": ("ethnicities", ETHNICITIES),
    "background": ("backgrounds", tuple(BACKGROUNDS)),
    "occlusion": ("occlusions", tuple(OCCLUSIONS)),
}


@dataclass(frozen=True)
class ImageRequest:
    """One image to generate.

    number: from 1, within its class. seed: of its randomness.
    What the method cannot choose is None: a trained generator gets only the class, and a method
    that starts from a face does not change the person.
    """

    label: str
    number: int
    seed: int
    age_band: str | None = None
    ethnicity: str | None = None
    background: str | None = None
    occlusion: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class SamplingPlan:
    """Every image to generate, class by class."""

    requests: tuple[ImageRequest, ...]

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in order."""
        return tuple(dict.fromkeys(request.label for request in self.requests))

    def counts(self, factor: str = "label") -> dict[str, dict[str, int]]:
        """Return class → value of a factor → number of images."""
        found: dict[str, dict[str, int]] = {}
        for request in self.requests:
            row = found.setdefault(request.label, {})
            value = str(getattr(request, factor))
            row[value] = row.get(value, 0) + 1
        return found

    @property
    def factors(self) -> tuple[str, ...]:
        """What varies besides the class; empty for trained generators."""
        return tuple(f for f in _FACTORS if any(getattr(r, f) is not None for r in self.requests))

    def rows(self) -> list[dict[str, Any]]:
        """Return the requests as plain values."""
        return [asdict(request) for request in self.requests]

    def as_csv(self) -> str:
        """Return the requests as CSV."""
        header = [field.name for field in fields(ImageRequest)]
        return csv_text(header, (list(row.values()) for row in self.rows()), end="\r\n")


def make_plan(settings: SynthesisSettings, counts: Mapping[str, int]) -> SamplingPlan:
    """Return a plan with this many images of each class.

    Within a class and over all classes, every age band, ethnicity, background and occlusion
    occurs equally often, give or take one, and so do pairs of them as far as possible.
    Raises UsageError for a class without a prompt, and for unknown values.
    """
    balanced = _BalancedDesign(_levels(settings), settings.seed)
    requests: list[ImageRequest] = []
    for label, count in counts.items():
        look = expression_prompt(label) if settings.prompted else ""
        for number, values in enumerate(balanced.draw(label, count), 1):
            seed = seed_of(settings.seed, "picture", label, number)
            prompt = prompt_of(look, **values) if settings.prompted else None
            requests.append(ImageRequest(label, number, seed, prompt=prompt, **values))
    return SamplingPlan(tuple(requests))


def expression_prompt(label: str) -> str:
    """Return the words of a prompt for a class; UsageError for an unknown expression.

    Only the expressions known here are sent to a model, never the name of a class itself.
    """
    known = expression_of(label) or label.strip().casefold()
    if known not in _EXPRESSION_PROMPTS:
        hint = name_hint(known, _EXPRESSION_PROMPTS)
        raise UsageError(
            f"there is no prompt for the class {label!r}.{hint} Rename the class, or use gan, vae "
            "or cgan, which can be trained on any class."
        )
    return _EXPRESSION_PROMPTS[known]


def prompt_of(
    look: str,
    *,
    age_band: str | None = None,
    ethnicity: str | None = None,
    background: str | None = None,
    occlusion: str | None = None,
) -> str:
    """Return the prompt: one clothed person, head and shoulders, with an expression."""
    who = AGES[age_band].format(who=ethnicity or "").replace("  ", " ") if age_band else "person"
    parts = [f"a photograph of the face of one {who} with {look}"]
    parts += [BACKGROUNDS[background]] if background else []
    parts += [OCCLUSIONS[occlusion]] if occlusion and OCCLUSIONS[occlusion] else []
    parts += ["head and shoulders, fully clothed, facing the camera, natural light"]
    return ", ".join(parts)


def _chosen_factors(settings: SynthesisSettings) -> tuple[str, ...]:
    """What the method can choose: one that starts from a face does not change the person."""
    if settings.method == "diffusion":
        return _FACTORS if settings.start == "text" else _FACTORS[2:]
    if settings.method == "inpaint" and settings.change == "occlusion":
        return ("occlusion",)
    return ()


def _levels(settings: SynthesisSettings) -> dict[str, tuple[str, ...]]:
    """The values of each factor: those of the settings, or all (for ages: children only)."""
    found = {}
    for factor, (name, values) in _SETTING.items():
        asked: tuple[str, ...] = getattr(settings, name)
        for value in asked:
            if value not in values:
                raise UsageError(f"{name}: unknown value {value!r}.{name_hint(value, values)}")
        found[factor] = asked or (values[:2] if factor == "age_band" else values)
    if settings.method == "inpaint":  # it always paints one
        found["occlusion"] = tuple(v for v in found["occlusion"] if v != "none")
        if not found["occlusion"]:
            raise UsageError("inpainting an occlusion needs one other than 'none'.")
    return {factor: found[factor] for factor in _chosen_factors(settings)}


class _BalancedDesign:
    """Draws combinations, always one of those whose values have been used least."""

    def __init__(self, levels: Mapping[str, tuple[str, ...]], seed: int) -> None:
        self.factors, self.seed = tuple(levels), seed
        every = (
            dict(zip(levels, values, strict=True)) for values in itertools.product(*levels.values())
        )
        self.combos = [
            combo
            for combo in every
            if (combo.get("age_band"), combo.get("occlusion")) != ("adult", "pacifier")
        ]
        if not self.combos:
            raise UsageError("only children have a pacifier: choose other ages or occlusions.")
        several = range(1, len(levels) + 1)
        self.stages = [self._keys(together) for together in several]
        self.overall = self._no_counts()

    def _keys(self, together: int) -> list[NDArray[np.intp]]:
        """A number per combination of values, for every set of this many factors."""
        keys = []
        for chosen in itertools.combinations(self.factors, together):
            values = ["|".join(combo[factor] for factor in chosen) for combo in self.combos]
            keys.append(np.unique(values, return_inverse=True)[1])
        return keys

    def _no_counts(self) -> list[list[NDArray[np.int64]]]:
        return [[np.zeros(key.max() + 1, np.int64) for key in keys] for keys in self.stages]

    def draw(self, label: str, count: int) -> list[dict[str, str]]:
        """Return the values of this many images of a class."""
        rng = np.random.default_rng(seed_of(self.seed, "plan", label))
        own = zip(self.stages, self._no_counts(), self.overall, strict=True)
        counted = [list(zip(seen, keys, strict=True)) for keys, *both in own for seen in both]
        drawn = []
        for _ in range(count):
            left = np.arange(len(self.combos))
            for pairs in counted:
                used = np.sum([seen[key[left]] for seen, key in pairs], axis=0)
                left = left[used == used.min()]
            chosen = int(rng.choice(left))
            drawn.append(self.combos[chosen])
            for seen, key in itertools.chain.from_iterable(counted):
                seen[key[chosen]] += 1
        return drawn


def read_targets(
    names: Sequence[str], counts: Mapping[str, int], per_class: int | None, targets: Sequence[str]
) -> dict[str, int]:
    """Return how many images to generate for each class.

    By default, as many as bring every class to the size of the largest one.
    Raises UsageError for what cannot be read, and if there is nothing to generate.
    """
    wanted = dict.fromkeys(names, per_class) if per_class is not None else {}
    for text in targets:
        name, equals, number = (part.strip() for part in text.rpartition("="))
        if not equals or not number.isdecimal() or int(number) < 1:
            raise UsageError(f"--target takes class=N, such as sadness=200, got {text!r}.")
        if name not in names:
            raise UsageError(f"--target names the class {name!r}.{name_hint(name, names)}")
        wanted[name] = int(number)
    if not wanted:
        most = max(counts.values(), default=0)
        wanted = {name: most - count for name, count in counts.items() if 0 < count < most}
    found = {name: wanted[name] for name in names if wanted.get(name)}
    if not found:
        raise UsageError(
            "every class has the same number of images, so there is nothing to even out: choose "
            "how many to generate with --per-class N or --target class=N."
        )
    return {name: int(count or 0) for name, count in found.items()}
