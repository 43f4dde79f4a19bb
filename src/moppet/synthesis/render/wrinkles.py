"""Wrinkles that come and go with the facial movements: which lines, where, how deep.

Without them anger cannot be read: what is seen of AU4 is less the brow than the furrow between the
brows. The lines follow the appearance changes of the FACS manual (Ekman, Friesen & Hager 2002).
They are drawn once into the skin's atlas and mixed for each image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.spatial
from numpy.typing import NDArray

from moppet.synthesis.render.skin_atlas import Atlas, soften
from moppet.values import Floats
from moppet.vocabulary import SIDED_MOVEMENTS

EYES_DISTANCE: Final = 0.616
"""Between the pupils of the reference head, in decimeters: the unit of the lines below."""
EYES_HEIGHT: Final = 7.284
_OLD_FROM, _OLD_AT = 32.0, 80.0
_SOFT_TO, _SHARP_FROM = 8.0, 24.0
_FINE = 1.05  # millimeters


@dataclass(frozen=True)
class Line:
    """A wrinkle of the person's left half, mirrored for the right one.

    points: (x, y) in distances between the pupils, from the middle between the eyes: x to the
        person's left, y up. width: half width of the groove in millimeters. depth: 1 is a sharp
        furrow. lean: -1 to 1: the fold rises on the line's left (1) or right (-1) hand only, as
        one walks along its points. open_start: it does not fade out at its first point.
    """

    points: tuple[tuple[float, float], ...]
    width: float = 1.2
    depth: float = 1.0
    lean: float = 0.0
    open_start: bool = False


def _row(y: float, x0: float, x1: float, depth: float) -> Line:
    """Return a part of one wavy line across the forehead."""
    xs = [x0 + t * (x1 - x0) for t in (0.0, 0.33, 0.67, 1.0)]
    points = tuple((x, y + 0.05 * math.sin(math.pi * x / 0.95) ** 2 - 0.04 * x * x) for x in xs)
    return Line(points, 1.2, depth, open_start=x0 == 0)


def _around_lips(depth: float) -> tuple[Line, ...]:
    upper = [Line(((x, -0.79), (x * 0.93, -0.90)), 0.8, depth) for x in (0.13, 0.2, 0.28)]
    lower = [Line(((x, -1.30), (x * 1.05, -1.38)), 0.8, depth) for x in (0.12, 0.22)]
    return (*upper, *lower)


_MENTOLABIAL: Final = ((0.0, -1.37), (0.13, -1.375), (0.25, -1.385))

LINES: Final[Mapping[str, tuple[Line, ...]]] = {
    "inner_brow_raise": (
        _row(0.44, 0.0, 0.40, 0.7),
        _row(0.57, 0.0, 0.46, 0.9),
        _row(0.72, 0.0, 0.46, 0.8),
        _row(0.88, 0.0, 0.40, 0.5),
    ),
    "outer_brow_raise": (
        _row(0.45, 0.34, 0.94, 0.7),
        _row(0.575, 0.26, 0.92, 0.9),
        _row(0.72, 0.24, 0.86, 0.7),
        _row(0.88, 0.20, 0.74, 0.4),
    ),
    "brow_lower": (
        Line(((0.13, 0.08), (0.10, 0.18), (0.11, 0.30), (0.14, 0.41)), 1.6, 1.2, -0.3),
        Line(((0.035, 0.17), (0.03, 0.26), (0.045, 0.34)), 1.0, 0.6),
        Line(((0.0, 0.03), (0.08, 0.025), (0.15, -0.01)), 1.2, 0.7, open_start=True),
        Line(((0.0, 0.10), (0.06, 0.10), (0.1, 0.09)), 1.0, 0.4, open_start=True),
        Line(((0.17, 0.36), (0.30, 0.37), (0.46, 0.33)), 2.6, 0.4, 0.3),
    ),
    "cheek_raise": (
        Line(((0.83, 0.06), (0.95, 0.13), (1.04, 0.21)), 0.9, 0.7),
        Line(((0.85, 0.0), (0.98, 0.02), (1.09, 0.05)), 1.1, 0.7),
        Line(((0.84, -0.06), (0.97, -0.11), (1.07, -0.16)), 1.1, 0.6),
        Line(((0.80, -0.12), (0.91, -0.22), (0.99, -0.32)), 0.9, 0.5),
        Line(((0.31, -0.13), (0.44, -0.23), (0.62, -0.26), (0.80, -0.19)), 1.8, 0.8, -0.5),
    ),
    "lid_tighten": (
        Line(((0.33, -0.10), (0.46, -0.17), (0.62, -0.18), (0.76, -0.11)), 1.2, 1.0, 0.3),
        Line(((0.83, -0.01), (0.91, 0.0), (0.98, 0.02)), 0.9, 0.4),
        Line(((0.82, -0.06), (0.90, -0.09), (0.96, -0.12)), 0.9, 0.4),
    ),
    "nose_wrinkle": (
        Line(((0.0, -0.04), (0.09, -0.05), (0.17, -0.09)), 1.1, 0.9, open_start=True),
        Line(((0.0, -0.13), (0.08, -0.14), (0.15, -0.19)), 1.0, 0.6, open_start=True),
        Line(((0.11, -0.03), (0.19, -0.16), (0.22, -0.3)), 1.1, 0.9),
        Line(((0.19, -0.02), (0.28, -0.14), (0.33, -0.27)), 1.1, 0.7),
        Line(((0.23, -0.38), (0.30, -0.52), (0.37, -0.66)), 2.2, 1.1, 0.5),
    ),
    "upper_lip_raise": (
        Line(((0.25, -0.44), (0.33, -0.58), (0.42, -0.74), (0.47, -0.86)), 2.2, 1.2, 0.5),
    ),
    "nasolabial_deepen": (
        Line(((0.28, -0.50), (0.37, -0.66), (0.45, -0.83), (0.49, -0.98)), 2.0, 1.2, 0.5),
    ),
    "lip_corner_pull": (
        Line(((0.28, -0.49), (0.40, -0.65), (0.52, -0.83), (0.59, -1.04)), 2.6, 1.15, 0.6),
    ),
    "dimple": (Line(((0.50, -0.99), (0.53, -1.07), (0.51, -1.15)), 2.0, 1.2),),
    "lip_corner_depress": (Line(((0.42, -1.11), (0.48, -1.22), (0.50, -1.36)), 1.8, 1.0, 0.3),),
    "lower_lip_depress": (Line(((0.30, -1.32), (0.38, -1.42), (0.38, -1.54)), 1.8, 0.5),),
    "chin_raise": (Line(_MENTOLABIAL, 2.2, 1.0, -0.4, open_start=True),),
    "lip_stretch": (
        Line(((0.52, -0.95), (0.58, -1.1), (0.55, -1.26)), 1.6, 0.8),
        Line(((0.62, -0.98), (0.67, -1.1), (0.64, -1.24)), 1.4, 0.4),
    ),
    "lip_pucker": _around_lips(0.4),
    "lip_tighten": (*_around_lips(0.25), Line(_MENTOLABIAL, 1.8, 0.6, -0.3, open_start=True)),
    "lip_press": (
        Line(((0.45, -1.03), (0.485, -1.08), (0.47, -1.13)), 1.8, 0.7, 0.3),
        Line(_MENTOLABIAL, 1.8, 0.8, -0.3, open_start=True),
    ),
}
_AGED: Final[Mapping[str, float]] = {
    "inner_brow_raise": 0.3,
    "outer_brow_raise": 0.28,
    "brow_lower": 0.3,
    "cheek_raise": 0.5,
    "lid_tighten": 0.4,
    "nasolabial_deepen": 0.55,
    "lip_corner_depress": 0.45,
    "lip_pucker": 0.5,
}
"""How far the lines stay in a face of 80 years at rest."""


@dataclass(frozen=True)
class Patch:
    """One channel's lines: slope (h, w, 2) to the right and downward, groove (h, w)."""

    top: int
    left: int
    slope: Floats
    groove: Floats


class Wrinkles:
    """All lines, drawn into an atlas of one size: soft for children, sharp for adults."""

    def __init__(self, size: int, patches: Mapping[str, Patch]) -> None:
        self.size = size
        self.patches = patches

    @classmethod
    def draw(cls, atlas: Atlas) -> Wrinkles:
        """Draw every line: some seconds' work, whose arrays are worth keeping."""
        return cls(
            atlas.size,
            {
                f"{channel} {kind}": _draw(atlas, lines, side, movement, kind == "sharp")
                for movement, lines in LINES.items()
                for side, channel in _channels(movement)
                for kind in ("soft", "sharp")
            },
        )

    @classmethod
    def from_arrays(cls, size: int, arrays: Mapping[str, NDArray[Any]]) -> Wrinkles:
        """Restore what `arrays` returned."""
        names = [name.removeprefix("slope ") for name in arrays if name.startswith("slope ")]
        return cls(
            size,
            {
                name: Patch(
                    int(arrays[f"corner {name}"][0]),
                    int(arrays[f"corner {name}"][1]),
                    arrays[f"slope {name}"].astype(np.float32),
                    arrays[f"groove {name}"].astype(np.float32),
                )
                for name in names
            },
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the lines as arrays to save."""
        found: dict[str, NDArray[Any]] = {}
        for name, patch in self.patches.items():
            found[f"corner {name}"] = np.array([patch.top, patch.left])
            found[f"slope {name}"] = patch.slope.astype(np.float16)
            found[f"groove {name}"] = patch.groove.astype(np.float16)
        return found

    def mix(self, movements: Mapping[str, float], age_years: float) -> tuple[Floats, Floats]:
        """Return the slopes, (size, size, 2), and the grooves, (size, size), of one moment.

        movements: channel → intensity. Slopes are of the surface's height to the right and
        downward; grooves are 0 outside of any line and about 1 in a deep one.
        """
        slope = np.zeros((self.size, self.size, 2), np.float32)
        groove = np.zeros((self.size, self.size), np.float32)
        sharp = float(np.clip((age_years - _SOFT_TO) / (_SHARP_FROM - _SOFT_TO), 0, 1))
        for channel, strength in wrinkle_strengths(movements, age_years).items():
            for kind, share in (("soft", 1 - sharp), ("sharp", sharp)):
                weight = strength * share
                if weight > 0.01:
                    patch = self.patches[f"{channel} {kind}"]
                    down, right = patch.groove.shape
                    window = np.s_[patch.top : patch.top + down, patch.left : patch.left + right]
                    slope[window] += weight * patch.slope
                    groove[window] += weight * patch.groove
        return slope, groove


_YOUNG_BROWS: Final = ((0, 4, 14), (0.55, 0.65, 1.0))
"""Years, and how deep the forehead's lines are, relative to other lines: young skin is full."""


def wrinkle_strengths(movements: Mapping[str, float], age_years: float) -> dict[str, float]:
    """Return how deep each channel's lines are: those of the movements, and those of old age."""
    aged = float(np.clip((age_years - _OLD_FROM) / (_OLD_AT - _OLD_FROM), 0, 1.2))
    depth = float(np.interp(age_years, (0, 2, 10, 25, 40, 70), (0.5, 0.46, 0.5, 0.8, 1.0, 1.15)))
    found = {}
    for movement in LINES:
        rest = aged * _AGED.get(movement, 0.0)
        full = (
            float(np.interp(age_years, *_YOUNG_BROWS)) if movement.endswith("brow_raise") else 1.0
        )
        for _, channel in _channels(movement):
            # A line shows before its movement is full, and hardly at a trace of it.
            moved = float(np.clip(movements.get(channel, 0.0), 0, 1)) ** 1.15
            found[channel] = rest + full * depth * moved * (1 - 0.4 * rest)
    return found


def _channels(movement: str) -> tuple[tuple[int, str], ...]:
    if movement in SIDED_MOVEMENTS:
        return ((1, f"{movement}_left"), (-1, f"{movement}_right"))
    return ((0, movement),)


def _draw(atlas: Atlas, lines: tuple[Line, ...], side: int, movement: str, sharp: bool) -> Patch:
    height = np.zeros((atlas.size, atlas.size), np.float32)
    groove = np.zeros_like(height)
    for line in lines:
        if not sharp and line.width < _FINE:
            continue  # young skin has no such fine lines
        for mirror in (1, -1) if side == 0 else (side,):
            _draw_line(atlas, line, mirror, sharp, height, groove)
    if movement == "chin_raise":
        height += _chin_bumps(atlas, sharp)
    slope = np.stack(np.gradient(height)[::-1], axis=2) / atlas.pixel_length
    used = np.argwhere((np.abs(slope).max(axis=2) > 1e-3) | (groove > 1e-3))
    if not len(used):
        used = np.zeros((1, 2), np.int64)
    (top, left), (bottom, right) = used.min(axis=0), used.max(axis=0) + 1
    window = np.s_[top:bottom, left:right]
    return Patch(int(top), int(left), slope[window].astype(np.float32), groove[window].copy())


def _draw_line(
    atlas: Atlas, line: Line, mirror: int, sharp: bool, height: Floats, groove: Floats
) -> None:
    path = _smooth_path(line.points)
    path[:, 0] *= mirror
    points = atlas.front(
        (path[:, 0] * EYES_DISTANCE).astype(np.float32),
        (path[:, 1] * EYES_DISTANCE + EYES_HEIGHT).astype(np.float32),
    )
    width = line.width / 100 * (1.0 if sharp else 1.7)
    reach = 6 * width
    low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
    near = ((atlas.position > low) & (atlas.position < high)).all(axis=2) & atlas.covered
    pixels = atlas.position[near]
    distance, closest = scipy.spatial.cKDTree(points).query(pixels)
    ahead = np.gradient(points, axis=0)
    spacing = np.linalg.norm(ahead, axis=1)
    ahead = (ahead / spacing[:, None])[closest]
    apart = pixels - points[closest]
    along = (apart * ahead).sum(axis=1)
    inside = (closest > 0) & (closest < len(points) - 1)
    away = np.sqrt(np.maximum(distance**2 - np.where(inside, along**2, 0), 0))
    t = np.clip((closest + along / spacing[closest]) / (len(points) - 1), 0, 1)
    fade = np.sin(np.pi * (0.5 + 0.5 * t if line.open_start else t)) ** 0.9
    if line.open_start:  # the two halves of a line across the face fade into each other
        fade = fade * (0.5 + 0.5 * np.tanh(mirror * pixels[:, 0] / (0.7 * width)))
    hand = mirror * np.tanh((ahead[:, 0] * apart[:, 1] - ahead[:, 1] * apart[:, 0]) / width)
    bulge = np.exp(-0.5 * ((away - 2.8 * width) / (1.6 * width)) ** 2)
    valley = np.exp(-0.5 * (away / width) ** 2)
    shape = (0.3 if sharp else 0.12) * bulge * (1 + line.lean * hand) - valley
    height[near] += (line.depth * width * fade * shape).astype(np.float32)
    groove[near] = np.maximum(groove[near], (line.depth * fade * valley).astype(np.float32))


def _smooth_path(points: tuple[tuple[float, float], ...], count: int = 48) -> Floats:
    """Return points along a smooth curve through the given ones, (count, 2)."""
    given = np.array(points)
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(given, axis=0), axis=1))]
    powers = np.polynomial.polynomial.polyvander(lengths / lengths[-1], min(len(given) - 1, 3))
    factors = np.linalg.lstsq(powers, given, rcond=None)[0]
    along = np.polynomial.polynomial.polyvander(np.linspace(0, 1, count), len(factors) - 1)
    return np.asarray(along @ factors, np.float32)


def _chin_bumps(atlas: Atlas, sharp: bool) -> Floats:
    """Return the dimpled skin of a raised chin: a height, (size, size), in decimeters."""
    center = atlas.front(
        np.zeros(1, np.float32), np.array([EYES_HEIGHT - 1.6 * EYES_DISTANCE], np.float32)
    )[0]
    away = np.linalg.norm(atlas.position - center, axis=2)
    noise = np.random.default_rng(4).standard_normal((atlas.size, atlas.size)).astype(np.float32)
    spread = atlas.size / 512 * (3.2 if sharp else 4.5)
    bumps = soften(noise, spread) * spread * 3.5
    return np.asarray(0.005 * bumps * np.exp(-0.5 * (away / 0.13) ** 2), np.float32)
