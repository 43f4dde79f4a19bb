"""Invented people, drawn at random for an age and a skin tone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from moppet.synthesis.render.hair import STYLES, folder_styles, style_names
from moppet.synthesis.render.head_assets import HeadAssets
from moppet.synthesis.render.scene import Person
from moppet.synthesis.settings import seed_of

Rgb = tuple[float, float, float]

_HAIR: Final[dict[str, Rgb]] = {
    "black": (0.07, 0.06, 0.06),
    "dark brown": (0.15, 0.10, 0.07),
    "brown": (0.28, 0.18, 0.11),
    "light brown": (0.42, 0.29, 0.18),
    "blond": (0.66, 0.52, 0.33),
    "red": (0.48, 0.22, 0.10),
    "gray": (0.58, 0.57, 0.56),
}
_EYES: Final[dict[str, Rgb]] = {
    "dark brown": (0.16, 0.09, 0.05),
    "brown": (0.30, 0.18, 0.10),
    "hazel": (0.38, 0.30, 0.16),
    "green": (0.35, 0.42, 0.28),
    "blue": (0.34, 0.46, 0.58),
    "gray": (0.45, 0.49, 0.52),
}
_LIGHT_HAIR: Final = {
    "dark brown": 2.0,
    "brown": 3.0,
    "light brown": 2.0,
    "blond": 2.5,
    "red": 0.6,
}
_MIDDLE_HAIR: Final = {"black": 4.0, "dark brown": 4.0, "brown": 1.5}
_DARK_HAIR: Final = {"black": 6.0, "dark brown": 2.0}
_LIGHT_EYES: Final = {"brown": 2.0, "hazel": 1.5, "green": 1.0, "blue": 3.0, "gray": 1.0}
_DARK_EYES: Final = {"dark brown": 5.0, "brown": 3.0, "hazel": 0.4}
_HALF_TONE: Final = 0.45
"""Skin is drawn within this distance of its tone, so that neighbors stay apart."""


@dataclass(frozen=True)
class Looks:
    """What an asset folder has for Person.hair, brows and skin."""

    hair: tuple[str, ...] = ()
    brows: tuple[str, ...] = ()
    skins: tuple[str, ...] = ()


def folder_looks(assets: HeadAssets) -> Looks:
    """Return the names of a folder's hair, brows and skins that can be drawn."""
    brows = (name for name in assets.fitted if name.startswith("brow"))
    return Looks(
        tuple(folder_styles(assets)),
        tuple(sorted(n for n in brows if n.replace("brow", "brow_") in assets.textures)),
        tuple(sorted(name for name in assets.textures if name.startswith("skin_"))),
    )


def draw_person(
    ages: tuple[float, float], tone: float, rng: np.random.Generator, looks: Looks | None = None
) -> Person:
    """Return a person with an age within the limits and a skin close to the Monk tone (1 to 10).

    Skin, ancestry, hair and eye color go together as they mostly do, with exceptions: dark skin has
    African ancestry more often, light skin European ancestry, and every mixture occurs.
    looks: of an asset folder; half of the people get its hair, brows or skin.
    """
    age = float(rng.uniform(*ages))
    skin = float(np.clip(tone + rng.uniform(-_HALF_TONE, _HALF_TONE), 1, 10))
    dark = (skin - 1) / 9
    ancestry = rng.dirichlet(
        (0.12 + 4 * dark**2, 0.3 + 4 * dark * (1 - dark), 0.25 + 3 * (1 - dark))
    )
    sex = round(float(rng.beta(0.5, 0.5)), 2)
    colors = _LIGHT_HAIR if skin < 3.5 else _MIDDLE_HAIR if skin < 7 else _DARK_HAIR
    hair = _draw(colors, _HAIR, rng)
    if age > 35 and rng.random() < (age - 35) / 40:
        hair = _HAIR["gray"]
    person = Person(
        seed=int(rng.integers(2**31)),
        age_years=round(age, 2),
        sex=sex,
        ancestry=_shares(ancestry),
        weight=round(float(rng.beta(4, 4)), 2),
        skin_tone=round(skin, 2),
        hair=_draw_style(age, sex, float(ancestry[0]), rng),
        hair_color=_vary(hair, 0.03, rng),
        eye_color=_vary(_draw(_LIGHT_EYES if skin < 3.5 else _DARK_EYES, _EYES, rng), 0.03, rng),
        clothing_color=muted_color(rng),
    )
    return _with_looks(person, looks) if looks else person


def _with_looks(person: Person, looks: Looks) -> Person:
    """Return the same person, perhaps with a folder's hair, brows and skin.

    Its hair suits from three years on, its brows and its adults' skins from 14.
    """
    rng = np.random.default_rng(seed_of("looks", person.seed))
    grown, straight = person.age_years >= 14, person.ancestry[0] < 0.5
    hair = _half_of(looks.hair, rng) if person.age_years >= 3 and straight else ""
    brows = _half_of(looks.brows, rng) if grown else ""
    skin = _half_of(_skins_at(person.age_years, looks), rng)
    return replace(person, hair=hair or person.hair, brows=brows or person.brows, skin=skin)


def _half_of(names: tuple[str, ...], rng: np.random.Generator) -> str:
    """Return one of the names, or "" as often."""
    return str(rng.choice(names)) if names and rng.random() < 0.5 else ""


def _skins_at(age_years: float, looks: Looks) -> tuple[str, ...]:
    """Return the skins for an age: names end in MakeHuman's letters, a or b an adult, c a child."""
    kinds = "c" if age_years < 14 else "ab"
    return tuple(name for name in looks.skins if name.removeprefix("skin_")[:1] in kinds)


def _draw_style(age_years: float, sex: float, african: float, rng: np.random.Generator) -> str:
    """Return a hair style: of those usual at the age, by sex, and curled by ancestry."""
    names = style_names(age_years)
    shares = np.array([STYLES[name].female for name in names])
    shares = shares * (1 - sex) + (1 - shares) * sex + 0.02
    curled = np.array([STYLES[name].curl > 0 or STYLES[name].clumps > 0 for name in names])
    baby = np.array([STYLES[name].fine for name in names])
    shares *= np.where(curled, 0.08 + african, np.where(baby, 1.0, 1.08 - african))
    return str(rng.choice(names, p=shares / shares.sum()))


def _draw(weights: dict[str, float], colors: dict[str, Rgb], rng: np.random.Generator) -> Rgb:
    shares = np.array(list(weights.values()))
    return colors[str(rng.choice(list(weights), p=shares / shares.sum()))]


def muted_color(rng: np.random.Generator) -> Rgb:
    """Return a color of cloth or paint, sRGB: any hue, seldom bright and pure at once."""
    lightness = rng.uniform(0.15, 0.85)
    color = lightness + rng.uniform(-1, 1, 3) * rng.uniform(0.02, 0.22)
    return _vary((float(color[0]), float(color[1]), float(color[2])), 0.0, rng)


def _vary(color: Rgb, amount: float, rng: np.random.Generator) -> Rgb:
    red, green, blue = np.clip(color + rng.uniform(-amount, amount, 3), 0.02, 0.95)
    return round(float(red), 3), round(float(green), 3), round(float(blue), 3)


def _shares(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float, float]:
    first, second = (round(float(value), 3) for value in values[:2])
    return first, second, round(1 - first - second, 3)
