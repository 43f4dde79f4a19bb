"""Brows and lashes: small cards of strands, bound to the skin so that they move with it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from moppet.synthesis.render.head_assets import Fitted, HeadAssets, Indices
from moppet.synthesis.render.head_mesh import Head, PosedHead
from moppet.synthesis.render.mesh import Part
from moppet.synthesis.render.scene import Person
from moppet.synthesis.render.shapes import Reals
from moppet.synthesis.render.skin_atlas import soften
from moppet.synthesis.render.strands import hair_material, picture
from moppet.synthesis.render.wrinkles import EYES_DISTANCE, EYES_HEIGHT
from moppet.values import UsageError, name_hint


@dataclass(frozen=True)
class BrowStyle:
    """width, density: relative to a usual brow."""

    width: float = 1.0
    density: float = 1.0


BROW_STYLES: Final[dict[str, BrowStyle]] = {
    "natural": BrowStyle(),
    "thin": BrowStyle(0.65, 0.85),
    "thick": BrowStyle(1.3, 1.15),
}
"""Names for Person.brows, beside an asset folder's "brow001" and so on; "" is none."""
_CENTERLINE: Final = ((0.15, 0.18), (0.30, 0.205), (0.50, 0.225), (0.70, 0.205), (0.88, 0.115))
"""Of the left brow, in distances between the pupils, from the middle between the eyes."""
_THICKNESS: Final = (0.06, 0.075, 0.07, 0.05, 0.03)
_CARDS: Final = 34
_STEPS: Final = 4
_UPPER_ROOTS, _LOWER_ROOTS = 0.9355, 0.9775
"""hm08's v at the roots of the lash helpers, in the middle of the lid."""


def brow_strength(person: Person) -> float:
    """Return how strong the brows are, 0 to about 1.2: faint in infants, fuller in men."""
    if not person.brows:
        return 0.0
    density = BROW_STYLES.get(person.brows, BROW_STYLES["natural"]).density
    grown = float(
        np.interp(person.age_years, (0, 1, 4, 12, 20, 70), (0.22, 0.34, 0.55, 0.75, 0.95, 0.75))
    )
    return density * grown * (1 + 0.15 * person.sex * (person.age_years > 14))


def brow_parts(head: Head, posed: PosedHead) -> list[Part]:
    """Return the brows of a posed head, as one part, or none.

    Raises UsageError where person.brows is no style, or one of an asset folder that is not there.
    """
    person, assets = head.person, head.assets
    if not person.brows:
        return []
    texture = person.brows.replace("brow", "brow_")
    if person.brows in assets.fitted and texture in assets.textures:
        light, alpha = picture(assets.textures[texture])
        shape = posed.fit(assets.fitted[person.brows])
    elif person.brows in BROW_STYLES:
        light, alpha = _brow_texture()
        style = BROW_STYLES[person.brows]
        grown = float(np.interp(person.age_years, (6, 18), (0, 1)))
        width = style.width * (0.75 + 0.15 * grown + 0.25 * grown * person.sex)
        shape = posed.fit(_fitted_brows(assets, round(width, 1), round(0.03 * (1 - grown), 2)))
    else:
        known = [*BROW_STYLES, *(n.replace("_", "") for n in assets.textures if "brow_" in n)]
        raise UsageError(f"{person.brows!r} is no style of brows.{name_hint(person.brows, known)}")
    strength = brow_strength(person)
    color = _brow_color(person)
    material = hair_material(color, person.seed, light, alpha * np.float32(min(strength, 1)))
    return [shape.part("brows", material)]


def lash_parts(head: Head, posed: PosedHead) -> list[Part]:
    """Return the lashes of a posed head; they follow the lids."""
    shape = posed.shapes["lashes"]
    if "lashes" in head.assets.textures:
        light, alpha = picture(head.assets.textures["lashes"])
    else:
        light, alpha = _lash_texture()
        shape = replace(shape, uv=_lash_uv(shape.uv))
    full = float(np.interp(head.person.age_years, (0, 1, 5), (0.45, 0.7, 0.95)))
    dark = tuple(0.5 * c for c in _brow_color(head.person))
    material = hair_material((dark[0], dark[1], dark[2]), 0, light, alpha * np.float32(full))
    return [shape.part("lashes", material)]


def _brow_color(person: Person) -> tuple[float, float, float]:
    """Return the hair's color, darker where it is fair: brows are mostly darker than hair."""
    red, green, blue = person.hair_color
    share = 0.88 - 0.25 * (red + green + blue) / 3
    return red * share, green * share, blue * share


_FITTED: Final[dict[tuple[str, float, float], Fitted]] = {}


def _fitted_brows(assets: HeadAssets, width: float, lift: float) -> Fitted:
    key = (assets.key, width, lift)
    if key not in _FITTED:
        _FITTED[key] = _bind_brows(assets, width, lift)
    return _FITTED[key]


def _bind_brows(assets: HeadAssets, width: float, lift: float) -> Fitted:
    """Return both brows' cards as a mesh that follows the skin's vertices."""
    rng = np.random.default_rng(7)
    # More cards at the inner end, where the brow is thick.
    t = np.sort(rng.beta(1.0, 1.5, _CARDS))
    places = np.linspace(0, 1, len(_CENTERLINE))
    middle = np.stack([np.interp(t, places, np.array(_CENTERLINE)[:, k]) for k in (0, 1)], axis=1)
    thick = np.interp(t, places, _THICKNESS) * width
    middle[:, 1] += lift + thick * rng.uniform(-0.5, 0.35, _CARDS)
    # Hairs point up at the inner end, outward in the middle, downward at the tail.
    angle = np.radians(
        np.interp(t, (0, 0.15, 0.5, 1), (75, 48, 18, -28)) + rng.normal(0, 7, _CARDS)
    )
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    length = (0.12 + 0.07 * (t > 0.15) - 0.05 * t) * rng.uniform(0.85, 1.15, _CARDS)
    half = np.maximum(thick * 0.6, 0.025)
    points: list[tuple[float, float, float]] = []
    quads, uv = [], []
    for mirror in (1, -1):
        for k in range(_CARDS):
            across = np.array([-along[k][1], along[k][0]]) * half[k]
            first = len(points)
            column = (k % 4) / 4
            for step in range(_STEPS):
                s = step / (_STEPS - 1)
                spine = middle[k] + along[k] * length[k] * (s - 0.35)
                for side in (-1, 1):
                    x, y = spine + side * across * (1 - 0.3 * s)
                    points.append((mirror * x, y, 0.008 + 0.022 * s))
                    uv.append((column + 0.01 + 0.23 * (side > 0), 0.99 - 0.98 * s))
            for step in range(_STEPS - 1):
                a = first + 2 * step
                quad = (a, a + 1, a + 3, a + 2)
                quads.append(quad if mirror < 0 else quad[::-1])
    return _bound(np.array(points), np.array(quads, np.int32), np.array(uv, np.float32), assets)


def _bound(points: Reals, quads: Indices, uv: Reals, assets: HeadAssets) -> Fitted:
    """Return a mesh of points (x, y, height above the skin) bound to the face below them."""
    vertices = assets.vertices[: assets.skin_count]
    place = (vertices - [0, EYES_HEIGHT, 0]) / EYES_DISTANCE
    triangles = np.concatenate([assets.quads[:, [0, 1, 2]], assets.quads[:, [0, 2, 3]]])
    middle = place[triangles].mean(axis=1)
    triangles = triangles[
        (np.abs(middle[:, 0]) < 1.4) & (np.abs(middle[:, 1] - 0.2) < 0.6) & (middle[:, 2] > 0.9)
    ]
    corners = place[triangles]
    a, b, c = (corners[:, k, :2] for k in range(3))
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    p = points[:, None, :2]
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    wb = (
        (p[..., 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (p[..., 1] - a[:, 1])
    ) / area
    wc = (
        (b[:, 0] - a[:, 0]) * (p[..., 1] - a[:, 1]) - (p[..., 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    ) / area
    weights = np.stack([1 - wb - wc, wb, wc], axis=2)
    # The foremost triangle that holds the point.
    outside = np.maximum(-weights.min(axis=2), 0) * 50 - 0.2 * corners[..., 2].mean(axis=1)[None]
    chosen = np.where(normal[:, 2] > 0.1, outside, 1e3).argmin(axis=1)
    weight = weights[np.arange(len(points)), chosen]
    return Fitted(
        indices=triangles[chosen].astype(np.int32),
        weights=weight.astype(np.float32),
        offsets=(normal[chosen] * points[:, 2:] * EYES_DISTANCE).astype(np.float32),
        scales=np.zeros((3, 3), np.float32),
        quads=quads,
        uv=uv,
        quad_uv=quads,
    )


def _lash_uv(uv: Reals) -> Reals:
    """Return places in the lashes' texture: upper lashes in its upper half, tips upward.

    The helpers lie across the lid's edge; what lies before their roots is bare.
    """
    across = np.abs(uv[:, 0] - 0.70825) / 0.0502
    lower = uv[:, 1] > 0.957
    bow = ((across - 0.45) / 0.5) ** 2
    upper_along = (uv[:, 1] - (_UPPER_ROOTS - 0.007 * bow)) / 0.0115
    lower_along = (_LOWER_ROOTS + 0.005 * bow - uv[:, 1]) / 0.0115
    v = 0.5 + np.where(lower, -0.49 * lower_along, 0.49 * upper_along)
    bare = np.where(lower, lower_along, upper_along) < 0
    v = np.where(bare, 0.5, np.clip(v, 0.01, 0.99))
    return np.stack([across * 0.98 + 0.01, v], axis=1).astype(np.float32)


@functools.cache
def _lash_texture() -> tuple[Reals, Reals]:
    """Return lightness and alpha of upper and lower lashes, roots in the middle."""
    size = 256
    rng = np.random.default_rng(5)
    alpha = np.zeros((size, size), np.float32)
    for up, count, reach in ((-1, 120, 0.46), (1, 60, 0.24)):
        for x in rng.uniform(0.02, 0.98, count):
            long = reach * rng.uniform(0.65, 1.0) * (0.6 + 0.4 * np.sin(np.pi * min(1.0, x + 0.15)))
            lean = 0.06 * (x - 0.35) + rng.normal(0, 0.012)
            t = np.linspace(0, 1, 12)
            points = np.stack([x + lean * t**1.6, 0.5 + up * long * t], axis=1) * size * 8
            for k in range(11):
                thick = (3 if t[k] < 0.35 else 2 if t[k] < 0.75 else 1) - (up > 0)
                ends = [(int(points[j, 0]), int(points[j, 1])) for j in (k, k + 1)]
                value = 1 - 0.5 * float(t[k])
                cv2.line(alpha, ends[0], ends[1], value, max(thick, 1), cv2.LINE_8, 3)
    # Where they grow so close together that they are one dark line.
    edge = np.linspace(0.1, 0.8, 16, dtype=np.float32)
    alpha[112:128] += edge[:, None]
    return np.ones_like(alpha), np.clip(soften(alpha, 0.7), 0, 1)


@functools.cache
def _brow_texture() -> tuple[Reals, Reals]:
    """Return lightness and alpha of four tufts of short hairs side by side, roots at the top."""
    size, rng = 256, np.random.default_rng(6)
    alpha = np.zeros((size, size), np.float32)
    light = np.ones_like(alpha)
    for tuft in range(4):
        for _ in range(15):
            x = 32 + rng.normal(0, 11)
            start, end = rng.uniform(0, 0.35), rng.uniform(0.6, 1.0)
            bend = rng.normal(0, 5)
            t = np.linspace(0, 1, 12)
            points = np.stack(
                [tuft * 64 + np.clip(x + bend * t**2, 3, 60), (start + (end - start) * t) * size], 1
            )
            for k in range(11):
                ends = [tuple(int(v * 8) for v in points[j]) for j in (k, k + 1)]
                value = float(0.95 - 0.6 * t[k] ** 2)
                cv2.line(
                    alpha, ends[0], ends[1], value, 2 if 0.1 < t[k] < 0.6 else 1, cv2.LINE_8, 3
                )
    return light, soften(alpha, 0.8)
