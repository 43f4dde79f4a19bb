"""Eyelids: they slide over the eyeball, and a closed lid meets the other one exactly.

The units that MakeHuman and ARKit faces have for lids move vertices along straight lines through
the eyeball, and fit one adult only. Here each lid turns about the eyeball's center, by a share of
the angle between the lids, which is measured on the head itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.spatial

from moppet.synthesis.render.face_topology import LID_RINGS, Rings, face_topology
from moppet.synthesis.render.head_assets import HeadAssets, Indices
from moppet.values import Floats

_WEIGHTS: Final = np.array(
    [0.2, 0.5, 0.8, 1, 1, 1, 1, 1, 1, 0.94, 0.83, 0.68, 0.5, 0.31, 0.15, 0.05], np.float32
)
"""How far each of LID_RINGS goes along with the lid's edge."""
_VISIBLE: Final = 2 - LID_RINGS[0]  # rings from here on lie outside the eyeball
_EDGE: Final = 4 - LID_RINGS[0]
_THICKNESS: Final = 0.035  # of a lid's edge over the eyeball, in radii
CORNEA: Final = (0.07, 34.0)
"""How far the cornea rises over the eyeball, in radii, and the angle at which it begins."""

_UPPER: Final[Mapping[str, float]] = {"upper_lid_raise": -0.42, "lid_tighten": 0.18}
_LOWER: Final[Mapping[str, float]] = {
    **{"lid_tighten": 0.4, "cheek_raise": 0.36, "upper_lid_raise": -0.03},
    **{"lip_corner_pull": 0.05, "nose_wrinkle": 0.12},
}
_BLINK: Final = 0.88  # share of the way that the upper lid goes to meet the lower


def closing(movements: Mapping[str, float], side: str) -> tuple[float, float]:
    """Return how far the upper and the lower lid close: 0 at rest; 1 in sum, the lids meet.

    Negative numbers open the eye wider. The upper lid follows the gaze up and down.
    """

    def total(shares: Mapping[str, float]) -> float:
        return sum(share * movements.get(f"{name}_{side}", 0.0) for name, share in shares.items())

    up = movements.get("gaze_y", 0.0)
    upper = total(_UPPER) - (0.42 * up if up > 0 else 0.5 * up)
    lower = total(_LOWER) + (0.08 * up if up > 0 else 0.3 * up)
    lower = min(lower, 0.55)
    upper = min(upper, 0.92 - lower)
    blink = movements.get(f"blink_{side}", 0.0)
    return upper * (1 - blink) + _BLINK * blink, lower * (1 - blink) + (1 - _BLINK) * blink


def cornea_height(angle: Floats) -> Floats:
    """Return the eyeball's radius, in radii of its back, at an angle (radians) from the gaze."""
    height, edge = CORNEA
    rise = np.clip(1 - (angle / np.radians(edge)) ** 2, 0, 1) ** 1.2
    return np.asarray(1 + height * rise, np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Eyelids:
    """The lids of one eye.

    vertices: (n,), of the base mesh: the lids' rings and the lashes. angles: (n, 2), how far each
    turns about the x axis, in radians, when the upper and the lower lid close. solid: (n,), what
    must stay outside the eyeball. center: (3,). radius: of the eyeball.
    """

    vertices: Indices
    angles: Floats
    solid: Floats
    center: Floats
    radius: float

    def close(self, base: Floats, closing: tuple[float, float], gaze: Floats) -> None:
        """Turn the lids of a base mesh, (n, 3), in place. gaze: (3,), where the eye looks."""
        points = base[self.vertices] - self.center
        angle = self.angles @ np.array(closing, np.float32)
        sin, cos = np.sin(angle), np.cos(angle)
        y, z = points[:, 1].copy(), points[:, 2].copy()
        points[:, 1], points[:, 2] = y * cos + z * sin, z * cos - y * sin
        distance = np.sqrt(np.einsum("nk,nk->n", points, points))
        toward = np.arccos(np.clip((points @ gaze) / distance, -1, 1))
        least = self.radius * (cornea_height(toward) + _THICKNESS) * self.solid
        points *= np.maximum(least / distance, 1)[:, None]
        base[self.vertices] = points + self.center


def eyelids(neutral: Floats, side: str, eye: tuple[Floats, float], assets: HeadAssets) -> Eyelids:
    """Return the lids of one eye of a head. neutral: (n, 3). eye: center, (3,), and radius."""
    center, radius = eye
    rings = face_topology(assets).lids[side]
    angles = _closing_angles(neutral - center, rings)
    solid = np.zeros(rings.rings.shape, np.float32)
    solid[_VISIBLE:] = 1
    lashes, share = _lashes(rings, assets)
    along = np.einsum("nk,nkd->nd", share[1], angles[_EDGE][share[0]])
    return Eyelids(
        vertices=np.concatenate([rings.rings.ravel(), lashes]),
        angles=np.concatenate([angles.reshape(-1, 2), along]).astype(np.float32),
        solid=np.concatenate([solid.ravel(), np.ones(len(lashes))]).astype(np.float32),
        center=center,
        radius=radius,
    )


def _closing_angles(points: Floats, rings: Rings) -> Floats:
    """Return the turn, (rings, columns, 2), that brings each point to the other lid's."""
    turns = np.zeros((*rings.rings.shape, 2), np.float32)
    gaps = []
    for ring in rings.rings:
        here = points[ring]
        there = rings.across @ here
        gaps.append(np.arctan2(there[:, 1], there[:, 2]) - np.arctan2(here[:, 1], here[:, 2]))
    first = -LID_RINGS[0]
    for k, weight in enumerate(_WEIGHTS):
        gap = gaps[min(max(k, first), _EDGE)] * weight
        turns[k, rings.upper, 0] = gap[rings.upper]
        turns[k, ~rings.upper, 1] = gap[~rings.upper]
    return turns


def _lashes(rings: Rings, assets: HeadAssets) -> tuple[Indices, tuple[Indices, Floats]]:
    """Return the lashes' vertices, and per vertex two columns of the lid's edge with weights."""
    used = np.unique(assets.fitted["lashes"].indices)
    edge = assets.vertices[rings.rings[_EDGE]]
    near = used[assets.vertices[used, 0] * edge[:, 0].mean() > 0]
    distance, column = scipy.spatial.cKDTree(edge).query(assets.vertices[near], k=2)
    weight = 1 / np.maximum(distance, 1e-4)
    weight = weight / weight.sum(axis=1, keepdims=True)
    columns, weights = np.asarray(column, np.int32), np.asarray(weight, np.float32)
    return np.asarray(near, np.int32), (columns, weights)
