"""The shape of a person's head at rest: age, sex, ancestry, weight, and features of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from moppet.synthesis.render.head_assets import AGES, ANCESTRIES, SEXES, WEIGHTS, HeadAssets
from moppet.synthesis.render.scene import Person
from moppet.synthesis.settings import seed_of
from moppet.values import Floats, UsageError, name_hint

AGE_KNOTS: Final = (1.0, 10.0, 25.0, 90.0)
"""Years of MakeHuman's baby, child, young and old; between them shapes change linearly. Below
one year the change from child to baby goes on, and a newborn's features come on top."""

_SMALLER_AT_BIRTH: Final = 0.8
"""Size of a newborn's head as a share of that at one year (head circumference: WHO 2007)."""

_OPEN: Final[Mapping[str, float]] = {
    **{"eyebrows-trans-up": 0.9, "eyebrows-trans-forward": -0.6, "eyebrows-angle-up": -0.15},
    **{"eye-height2": 0.45},
}
"""Shapes of everybody: MakeHuman's brows and upper lids lie lower than those of a calm face. With
them, and Head's raised brows, Face Landmarker sees no more frowning in a face at rest than in real
ones (browDown of 0.65 without them, against 0.1)."""

_NEWBORN: Final[Mapping[str, float]] = {
    **{"cheek-volume": 0.35, "cheek-inner": 0.3, "chin-height": -0.5, "chin-prominent": -0.5},
    **{"nose-scale-vert": -0.3, "nose-scale-horiz": 0.2, "forehead-scale-vert": 0.1},
    **{"eye-bag": 0.35, "eye-height2": -0.12, "neck-double": 0.4, "nose-point-up": 0.3},
}
"""Shapes that are added in full at birth, and no more at one year."""

_YOUNG: Final[Mapping[str, float]] = {
    **{"eye-scale": 0.9, "eye-height2": 0.3, "mouth-angles-up": 0.5},
    **{"mouth-lowerlip-volume": -0.35, "mouth-upperlip-volume": -0.25},
    **{"mouth-upperlip-height": -0.15, "mouth-lowerlip-height": -0.15},
}
"""Shapes that are added up to one year, and no more at seven: MakeHuman's baby has small eyes, and
lips that look sad at rest."""

_HEAVY: Final[Mapping[str, float]] = {
    **{"head-fat": 0.5, "cheek-volume": 0.6, "cheek-inner": 0.3, "neck-double": 0.5},
    **{"cheek-bones": -0.3, "measure-neck-circ": 0.3},
}
"""Shapes at weight 1, and with the other sign at 0: MakeHuman's weights leave faces as they are."""

_VARIED: Final[Mapping[str, float]] = {
    **{"head-fat": 0.2, "head-angle-out": 0.15, "head-scale-depth": 0.2},
    **{"head-scale-horiz": 0.25, "head-scale-vert": 0.22, "head-back-scale-depth": 0.2},
    **{"forehead-nubian": 0.3, "forehead-scale-vert": 0.35, "forehead-temple": 0.4},
    **{"forehead-trans-forward": 0.3, "eyebrows-angle-up": 0.4, "eyebrows-trans-up": 0.4},
    **{"eyebrows-trans-forward": 0.3, "eye-scale": 0.3, "eye-height2": 0.25},
    **{"eye-corner1-up": 0.35, "eye-corner2-up": 0.4, "eye-eyefold-angle-up": 0.35},
    **{"eye-eyefold-up": 0.3, "eye-eyefold-convex": 0.35, "eye-trans-out": 0.3},
    **{"nose-scale-horiz": 0.3, "nose-scale-vert": 0.3, "nose-scale-depth": 0.3},
    **{"nose-width1": 0.3, "nose-width2": 0.35, "nose-width3": 0.35, "nose-volume": 0.3},
    **{"nose-curve-convex": 0.35, "nose-greek": 0.25, "nose-point-up": 0.4},
    **{"nose-point-width": 0.35, "nose-base-up": 0.3, "nose-flaring": 0.3},
    **{"nose-nostrils-width": 0.3, "nose-septumangle": 0.3, "nose-trans-up": 0.15},
    **{"mouth-scale-horiz": 0.3, "mouth-scale-vert": 0.25, "mouth-trans-up": 0.2},
    **{"mouth-upperlip-height": 0.35, "mouth-lowerlip-height": 0.35, "mouth-cupidsbow": 0.4},
    **{"mouth-upperlip-volume": 0.3, "mouth-lowerlip-volume": 0.3, "mouth-angles-up": 0.15},
    **{"mouth-cupidsbow-width": 0.4, "mouth-philtrum-volume": 0.3},
    **{"chin-bones": 0.25, "chin-height": 0.3, "chin-jaw-drop": 0.2, "chin-prominent": 0.3},
    **{"chin-width": 0.3, "chin-prognathism": 0.12, "cheek-bones": 0.3, "cheek-inner": 0.25},
    **{"cheek-volume": 0.35, "cheek-trans-up": 0.15, "ear-scale": 0.3, "ear-lobe": 0.4},
    **{"ear-flap": 0.3, "ear-wing": 0.4, "ear-rot-forward": 0.25, "ear-trans-up": 0.2},
}
"""Shape → standard deviation among people; at most two of them from the average."""

_OUTLINES: Final = ("head-oval", "head-round", "head-square", "head-rectangular", "head-triangular")
_OF_ADULTS: Final[Mapping[str, float]] = {
    **{"nose-hump": 0.4, "chin-cleft": 0.25, "mouth-laugh-lines-out": -0.25},
}
_TEETH_LOWER: Final = 0.028  # decimeters: MakeHuman's end where the lips meet, not below
_UNEVEN: Final = 0.06  # standard deviation between a left and a right target


def neutral_vertices(person: Person, assets: HeadAssets) -> Floats:
    """Return a person's base mesh without expression, (n, 3), its origin between the eyes.

    Where person.shape is empty, features are drawn from person.seed.
    Raises UsageError where person.shape names a shape that the assets lack, or a value beyond
    -1 to 1.
    """
    vertices = average_head(person.age_years, person.sex, person.ancestry, person.weight, assets)
    length = float(np.ptp(vertices[: assets.skin_count, 2]))
    size = min(length / float(np.ptp(assets.vertices[: assets.skin_count, 2])), 1.0)
    for name, value in _shape(person, assets):
        if name not in assets.shapes:
            raise UsageError(f"{name!r} is no shape of a head.{name_hint(name, assets.shapes)}")
        if not -1 <= value <= 1:
            raise UsageError(f"The shape {name} must lie between -1 and 1, not {value!r}.")
        for target in assets.shapes[name][int(value > 0)]:
            vertices += np.float32(abs(value) * size) * assets.delta(target)
    teeth = [assets.groups["upper_teeth"], assets.groups["lower_teeth"]]
    teeth += [np.unique(assets.fitted[name].indices) for name in ("upper_teeth", "lower_teeth")]
    vertices[np.unique(np.concatenate(teeth)), 1] -= _TEETH_LOWER * size
    vertices -= between_eyes(vertices, assets)
    return vertices * np.float32(np.interp(person.age_years, (0, 1), (_SMALLER_AT_BIRTH, 1)))


def average_head(
    years: float,
    sex: float,
    ancestry: tuple[float, float, float],
    weight: float,
    assets: HeadAssets,
) -> Floats:
    """Return the base mesh, (n, 3), of the average of such people; arguments as of Person."""
    heavy = {"minweight": max(0.0, 1 - 2 * weight), "maxweight": max(0.0, 2 * weight - 1)}
    heavy["averageweight"] = 1 - sum(heavy.values())
    total = assets.vertices.copy()
    for age, of_age in _age_weights(years).items():
        for one, of_sex in zip(SEXES, (1 - sex, sex), strict=True):
            names = {f"macro/{a}-{one}-{age}": s for a, s in zip(ANCESTRIES, ancestry, strict=True)}
            names |= {f"weight/{one}-{age}-{load}": heavy[load] for load in WEIGHTS}
            for name, share in names.items():
                if share:
                    total += np.float32(share * of_age * of_sex) * assets.delta(name)
    return total


def between_eyes(vertices: Floats, assets: HeadAssets) -> Floats:
    """Return the point between the eyeballs' centers, (3,)."""
    middle = (assets.center("l-eye", vertices) + assets.center("r-eye", vertices)) / 2
    return np.asarray(middle, np.float32)


def _age_weights(years: float) -> dict[str, float]:
    years = min(years, AGE_KNOTS[-1])
    low = min(max(int(np.searchsorted(AGE_KNOTS, years)) - 1, 0), len(AGES) - 2)
    t = (years - AGE_KNOTS[low]) / (AGE_KNOTS[low + 1] - AGE_KNOTS[low])
    return {AGES[low]: 1 - t, AGES[low + 1]: t}


def _shape(person: Person, assets: HeadAssets) -> Iterator[tuple[str, float]]:
    """Give names of shapes and their values, -1 to 1."""
    yield from _OPEN.items()
    young = 1 - min(max(person.age_years, 0.0), 1.0)
    for name, value in _NEWBORN.items():
        if young > 0:
            yield name, young * value
    small = float(np.interp(person.age_years, (1, 7), (1, 0)))
    yield from ((name, small * value) for name, value in _YOUNG.items() if small)
    heavy = (2 * person.weight - 1) * float(np.interp(person.age_years, (0, 6), (0.5, 1)))
    for name, value in _HEAVY.items():
        yield name, heavy * value
    if person.shape:
        yield from person.shape.items()
        return
    rng = np.random.default_rng(seed_of("head shape", person.seed))
    grown = float(np.interp(person.age_years, (8, 18), (0, 1)))
    for name, deviation in _VARIED.items():
        yield name, deviation * (0.62 + 0.18 * grown) * _normal(rng)
        if f"l-{name}" in assets.shapes:
            yield f"l-{name}", _UNEVEN * _normal(rng)
    for name, deviation in _OF_ADULTS.items():
        yield name, deviation * grown * abs(_normal(rng))
    first, second = rng.choice(_OUTLINES, 2, replace=False)
    yield str(first), 0.35 * float(rng.random())
    yield str(second), 0.2 * float(rng.random())


def _normal(rng: np.random.Generator) -> float:
    return min(max(float(rng.normal()), -2.0), 2.0)
