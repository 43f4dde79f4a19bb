"""Jaw and lips: the jaw turns about its joint, and lips touch without crossing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.spatial
from numpy.typing import NDArray

from moppet.synthesis.render.face_topology import LIP_RINGS, face_topology
from moppet.synthesis.render.head_assets import HeadAssets, Indices
from moppet.values import Floats

JAW_DEGREES: Final = (21.0, 7.0)
"""How far the jaw turns when it is wide open, and to a side. 21 degrees part an adult's teeth by
about 40 mm, near the widest that people open (Mezitis, Rallis & Zachariades 1989)."""

_JOINT: Final = (0.0, 6.95, 0.45)  # of the jaw, on the adult base mesh
_UNIT_TURN: Final = 0.26  # radians that MakeHuman's unit mouth-open turns the lower teeth
_EDGE: Final = -LIP_RINGS[0]
_TOUCHING: Final = slice(_EDGE - 1, _EDGE + 1)
_OVERLAP: Final = 0.012  # of the mouth's width: lips that touch are pressed together a little
_LIP_THICKNESS: Final = 0.3  # half widths of the arch of the teeth
_PARTING: Final[Mapping[str, float]] = {
    **{"lips_part": 4, "jaw_open": 10, "tongue_show": 4, "lip_funnel": 3},
    **{"upper_lip_raise": 1.5, "lower_lip_depress": 3, "nose_wrinkle": 0.5},
}
_FALLOFF: Final = np.array([0.3, 0.7, 1, 1, 1, 0.9, 0.75, 0.55, 0.36, 0.2, 0.1, 0.03], np.float32)
"""How far each of LIP_RINGS goes along when lips are brought together or kept apart."""
_THINNER: Final = np.array([0, 0, 0, 0, 0, 0.62, 0.66, 0.62, 0.52, 0.36, 0.2, 0.08], np.float32)
"""How far each of LIP_RINGS moves to where the lips touch when they are pressed together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Jaw:
    """A jaw that turns about its joint. share: (n,), 0 to 1, of each vertex. joint: (3,)."""

    share: Floats
    joint: Floats

    def turn(self, base: Floats, opening: float, sideways: float) -> Floats:
        """Return the base mesh, (n, 3), with the jaw open (0 to 1) and to a side (-1 to 1)."""
        if opening == 0 and sideways == 0:
            return base
        moving = np.flatnonzero(self.share > 0)
        points = base[moving] - self.joint
        down, side = np.radians(JAW_DEGREES) * (opening, sideways)
        for turn, (first, second) in ((down, (1, 2)), (side, (0, 2))):
            t = (self.share[moving] * turn).astype(np.float32)
            a, b = points[:, first].copy(), points[:, second].copy()
            sign = -1 if first == 1 else 1
            points[:, first] = a * np.cos(t) + (b * np.sin(t)) * sign
            points[:, second] = b * np.cos(t) - (a * np.sin(t)) * sign
        out = base.copy()
        out[moving] = points + self.joint
        return out


def jaw(neutral: Floats, assets: HeadAssets) -> Jaw:
    """Return the jaw of a head, (n, 3)."""
    scale = np.ptp(neutral[: assets.skin_count, 2]) / np.ptp(
        assets.vertices[: assets.skin_count, 2]
    )
    ears = np.abs(assets.vertices - np.array([0.72, 7.0, 0.4])).sum(axis=1).argmin()
    offset = (np.array(_JOINT) - assets.vertices[ears]) * scale
    joint = neutral[ears] + offset
    joint[0] = 0
    return Jaw(share=_jaw_share(assets), joint=np.asarray(joint, np.float32))


@functools.lru_cache(maxsize=2)
def _jaw_share(assets: HeadAssets) -> Floats:
    """Return how far each vertex goes along with the jaw, as MakeHuman's unit moves it."""
    unit = assets.delta("unit/caucasian/mouth-open")
    arm = assets.vertices - np.array(_JOINT, np.float32)
    rigid = np.stack([np.zeros(len(arm)), -arm[:, 2], arm[:, 1]], axis=1) * _UNIT_TURN
    share = (unit * rigid).sum(axis=1) / np.maximum((rigid**2).sum(axis=1), 1e-3)
    share = np.clip(share, 0, 1)
    count = assets.skin_count
    smoothing = face_topology(assets).smoothing
    smooth = share[:count].astype(np.float32)
    for _ in range(3):
        smooth = smoothing @ smooth
    lips = face_topology(assets).lips.rings
    smooth[lips] = share[lips]
    x, y, z = assets.vertices[:count].T
    under = np.clip((0.75 - z) / -0.45, 0, 1) * np.clip((0.5 - abs(x)) / 0.2, 0, 1)
    under *= np.clip((6.45 - y) / 0.1, 0, 1) * (smooth > 0)
    smooth = np.maximum(smooth, under)  # lest the teeth come out under the chin
    share[:count] = smooth
    tongue = np.unique(assets.fitted["tongue"].indices)
    z = assets.vertices[tongue, 2]
    share[tongue] = 0.5 + 0.45 * (z - z.min()) / np.ptp(z)
    share[np.unique(assets.fitted["lower_teeth"].indices)] = 1
    share[assets.groups["lower_teeth"]] = 1
    return np.asarray(share, np.float32)


def touch_lips(base: Floats, assets: HeadAssets, sealed: float) -> None:
    """Push crossing lips of a base mesh, (n, 3), apart, in place, and close open ones.

    sealed: 0 leaves open lips open to 1 closes them.
    """
    lips = face_topology(assets).lips
    allowed = _OVERLAP * float(np.ptp(base[lips.rings[_EDGE], 0]))
    for _ in range(2):
        heights = base[lips.rings[_TOUCHING], 1]
        apart = heights - (lips.across @ heights.T).T  # positive above the other lip
        apart = np.where(lips.upper, apart, -apart) + allowed
        least, most = apart.min(axis=0), apart.max(axis=0)
        push = np.where(least < 0, -least, -sealed * np.maximum(most, 0)) / 2
        base[lips.rings, 1] += _FALLOFF[:, None] * np.where(lips.upper, push, -push)


def parting(movements: Mapping[str, float]) -> float:
    """Return how far movements part the lips: 0 keeps them closed, 1 lets them open."""
    total = 0.0
    for name, share in _PARTING.items():
        total += share * max(
            movements.get(key, 0.0) for key in (name, f"{name}_left", f"{name}_right")
        )
    return min(total, 1.0)


def thinner_lips(neutral: Floats, assets: HeadAssets) -> Floats:
    """Return the field, (n, 3), that presses the red of the lips together."""
    lips = face_topology(assets).lips.rings
    field = np.zeros_like(neutral)
    touching = neutral[lips[_EDGE]]
    field[lips] = _THINNER[:, None, None] * (touching - neutral[lips])
    field[lips, 2] *= 0.3
    return field


@dataclass(frozen=True, kw_only=True, eq=False)
class LipGuard:
    """Keeps lips in front of teeth and gums, and their inside behind their outside.

    On small heads they would sink into each other.
    vertices: (n,), of the skin around the mouth. clearance: (n,), least distance in front of the
    arch of the teeth. arch: its half width, the z of its front and of its middle.
    inside: (m,), vertices behind the lips. cover: (m, 4), the skin before them. thickness: (m,).
    """

    vertices: Indices
    clearance: Floats
    arch: tuple[float, float, float]
    inside: Indices
    cover: Indices
    thickness: Floats

    def apply(self, base: Floats, assets: HeadAssets) -> None:
        """Push the skin of a base mesh with a closed jaw, (n, 3), forward, in place."""
        push = np.zeros(assets.skin_count, np.float32)
        points = base[self.vertices]
        push[self.vertices] = np.maximum(self.clearance - _in_front(points, self.arch), 0)
        rings = face_topology(assets).lips.rings
        push[rings[:_EDGE]] = push[rings[_EDGE]]  # the lips' inside follows their edge
        base[: assets.skin_count, 2] += push
        behind = base[self.cover, 2].min(axis=1) - self.thickness
        base[self.inside, 2] = np.minimum(base[self.inside, 2], behind)


def lip_guard(neutral: Floats, assets: HeadAssets) -> LipGuard:
    """Return the guard of a head, (n, 3), as far in front of the teeth as its lips are at rest."""
    front, left, _ = sorted(neutral[assets.groups["upper_teeth"]], key=lambda point: abs(point[0]))
    half = float(abs(left[0])) * 1.04
    across = np.sqrt(1 - 1 / 1.04**2)
    middle = float((left[2] - across * front[2]) / (1 - across))
    arch = (half, float(front[2]), middle)
    x, y, z = assets.vertices[: assets.skin_count].T
    around = (abs(x) < 0.45) & (y > 6.3) & (y < 6.9) & (z > 1.2)
    lips = face_topology(assets).lips.rings
    around[lips[:_EDGE]] = False
    vertices = np.flatnonzero(around & _outside_mouth(assets)).astype(np.int32)
    most = _LIP_THICKNESS * half
    inside = (abs(x) < 0.4) & (y > 6.2) & (y < 6.95) & (z > 1.15) & ~_outside_mouth(assets)
    inside[lips[1:_EDGE]] = False
    within = np.flatnonzero(inside).astype(np.int32)
    tree = scipy.spatial.cKDTree(neutral[vertices, :2])
    cover = vertices[np.asarray(tree.query(neutral[within, :2], k=4)[1])]
    return LipGuard(
        inside=within,
        cover=cover,
        thickness=np.full(len(within), 0.5 * most, np.float32),
        vertices=vertices,
        clearance=np.minimum(_in_front(neutral[vertices], arch), most).astype(np.float32),
        arch=arch,
    )


def _in_front(points: Floats, arch: tuple[float, float, float]) -> Floats:
    """Return how far points, (n, 3), lie in front of the arch of the teeth; inf beside it."""
    half, front, middle = arch
    inside = 1 - (points[:, 0] / half) ** 2
    depth = middle + (front - middle) * np.sqrt(np.maximum(inside, 0))
    return np.where(inside > 0, points[:, 2] - depth, np.inf)


@functools.lru_cache(maxsize=2)
def _outside_mouth(assets: HeadAssets) -> NDArray[np.bool_]:
    """Return which vertices of the skin are not inside the mouth, (skin_count,)."""
    topology = face_topology(assets)
    keep = np.ones(assets.skin_count, np.float32)
    keep[topology.lips.rings[_EDGE]] = 0
    kept = scipy.sparse.diags(keep)
    _, part = scipy.sparse.csgraph.connected_components(kept @ topology.smoothing @ kept)
    outside = part == part[assets.vertices[: assets.skin_count, 1].argmax()]
    outside[topology.lips.rings[_EDGE]] = True
    return np.asarray(outside, np.bool_)
