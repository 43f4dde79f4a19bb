"""Heads as meshes: a person's neutral head, and the same head with facial movements and pose."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import scipy.spatial
from scipy.spatial.transform import Rotation

from moppet.synthesis.render.eyelids import closing, cornea_height, eyelids
from moppet.synthesis.render.head_assets import Fitted, HeadAssets, Indices
from moppet.synthesis.render.head_shape import average_head, between_eyes, neutral_vertices
from moppet.synthesis.render.mesh import Material, Part
from moppet.synthesis.render.mouth import jaw, lip_guard, parting, touch_lips
from moppet.synthesis.render.movements import displacements, field_amounts
from moppet.synthesis.render.scene import HeadPose, Person
from moppet.synthesis.render.subdivision import Subdivision, cross, subdivide, triangles_of
from moppet.values import Floats
from moppet.vocabulary import SIDES

_POINTS: Final[Mapping[str, tuple[float, float, float]]] = {
    "nose_tip": (0.0, 6.90, 1.68),
    "mouth_left": (0.32, 6.62, 1.38),
    "mouth_right": (-0.32, 6.62, 1.38),
    "upper_lip": (0.0, 6.68, 1.60),
    "lower_lip": (0.0, 6.53, 1.56),
    "chin": (0.0, 6.24, 1.45),
    "head_top": (0.0, 8.49, 0.30),
    "hairline": (0.0, 8.05, 1.05),
    "brow_left_inner": (0.16, 7.46, 1.49),
    "brow_left_outer": (0.48, 7.42, 1.33),
    "brow_right_inner": (-0.16, 7.46, 1.49),
    "brow_right_outer": (-0.48, 7.42, 1.33),
    "ear_left": (0.80, 7.10, 0.30),
    "ear_right": (-0.80, 7.10, 0.30),
    "left_cheek": (0.50, 6.85, 1.20),
    "right_cheek": (-0.50, 6.85, 1.20),
    "nape": (0.0, 6.50, -0.60),
    "throat": (0.0, 5.95, 0.75),
}
"""Landmark → its place on the adult base mesh; the nearest vertex of the skin stands for it."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A part without its material. Fields as in mesh.Part."""

    vertices: Floats
    normals: Floats
    uv: Floats
    triangles: Indices

    def part(self, name: str, material: Material) -> Part:
        """Return the shape as a part of this name and material."""
        return Part(
            name=name,
            vertices=self.vertices,
            normals=self.normals,
            uv=self.uv,
            triangles=self.triangles,
            material=material,
        )


_NECK_LIMITS: Final = (70.0, 40.0, 35.0)
"""Degrees of yaw, pitch and roll that the neck takes; beyond, the whole body turns."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How a head pose moves points: fully at the head, not at all below the neck.

    share: (n,), 0 to 1, of every vertex of the base mesh. pivot: (3,), in the neck.
    axis: (3,), neck's rotation vector in radians. body: (3, 3), rotation of the whole person.
    """

    share: Floats
    pivot: Floats
    axis: Floats
    body: Floats

    def apply(self, points: Floats, share: Floats) -> Floats:
        """Return points, (k, 3), after the turn. share: (k,), 0 to 1."""
        angle = float(np.linalg.norm(self.axis))
        turned = points - self.pivot
        if angle > 0:
            unit = (self.axis / angle).astype(np.float32)
            t = (share * np.float32(angle))[:, None]
            along = (turned @ unit)[:, None] * unit
            beside = cross(np.broadcast_to(unit, turned.shape), turned)
            turned = along + (turned - along) * np.cos(t) + beside * np.sin(t)
        return np.asarray(turned @ self.body.T + self.pivot, np.float32)

    def matrix(self) -> Floats:
        """Return the motion of the skull, (4, 4)."""
        corners = np.concatenate([np.zeros((1, 3)), np.eye(3)]).astype(np.float32)
        moved = self.apply(corners, np.ones(4, np.float32))
        motion = np.eye(4, dtype=np.float32)
        motion[:3, 3] = moved[0]
        motion[:3, :3] = (moved[1:] - moved[0]).T
        return motion


@dataclass(frozen=True, kw_only=True)
class PosedHead:
    """A head with its facial movements and pose, in decimeters, axes as in mesh.py.

    shapes: "skin", "eyes", "upper_teeth", "lower_teeth", "tongue", "lashes" → meshes.
    landmarks: (3,) each: left_eye, right_eye, nose_tip, mouth_left, mouth_right, chin, head_top,
        hairline, upper_lip, lower_lip, brow_<side>_inner and _outer, ear_<side>, <side>_cheek,
        nape, throat; resting_chin, where the chin would be with the jaw closed.
    base: (n, 3), the base mesh with movements but not turned. turned: (n, 3), the same turned.
    neutral: (n, 3), the base mesh at rest.
    head: (4, 4), the motion of the skull from the neutral head. jaw: (4, 4), that of the jaw.
    body: (3, 3), the rotation of the shoulders.
    """

    shapes: dict[str, Shape]
    landmarks: dict[str, Floats]
    base: Floats
    turned: Floats
    head: Floats
    jaw: Floats
    body: Floats
    neutral: Floats
    _turn: Turn = field(repr=False)

    def fit(self, fitted: Fitted) -> Shape:
        """Return a fitted mesh (hair, brows, clothing) on this head."""
        weights = (self._turn.share[fitted.indices] * fitted.weights).sum(axis=1)
        points = self._turn.apply(fitted.points(self.base, self.neutral), np.clip(weights, 0, 1))
        return shape_of(points, fitted)


class Head:
    """One person's head: made once, posed often.

    Raises UsageError where person.shape names a target that the assets lack.
    """

    def __init__(self, person: Person, assets: HeadAssets) -> None:
        self.person, self.assets = person, assets
        self.neutral = neutral_vertices(person, assets)
        touch_lips(self.neutral, assets, sealed=1.0)
        fields = _head_fields(self.neutral, person, assets)
        self._fields = fields.reshape(len(fields), -1)
        for field_number, amount in field_amounts(_AT_REST).items():
            self.neutral += np.float32(amount) * fields[field_number]
        self._skin, self._marks = _topology(assets)
        self._share, self._pivot = _neck(self.neutral, assets)
        self.eyes = {s: _eyeball(self.neutral[assets.groups[f"{s[0]}-eye"]]) for s in SIDES}
        """Side → center (3,) and radius of the eyeball, of the neutral head."""
        self._lids = {s: eyelids(self.neutral, s, self.eyes[s], assets) for s in SIDES}
        self._jaw = jaw(self.neutral, assets)
        self._guard = lip_guard(self.neutral, assets)

    def pose(
        self, movements: Mapping[str, float] | None = None, pose: HeadPose | None = None
    ) -> PosedHead:
        """Return the head with facial movements (see Scene.movements) and turned by a pose."""
        movements = movements or {}
        base = self._moved(movements)
        turn = self._turn(pose or HeadPose())
        turned = turn.apply(base, self._share)
        posed = PosedHead(
            shapes={},
            landmarks=self._landmarks(turned, turn),
            base=base,
            turned=turned,
            head=turn.matrix(),
            jaw=turn.matrix() @ self._jaw_motion(base),
            body=turn.body,
            neutral=self.neutral,
            _turn=turn,
        )
        skin = self._skin
        vertices, normals = skin.drawn(turned[: self.assets.skin_count])
        posed.shapes["skin"] = Shape(
            vertices=vertices, normals=normals, uv=skin.uv, triangles=skin.triangles
        )
        posed.shapes["eyes"] = self._eyes(movements, turn)
        for name, motion in (("upper_teeth", posed.head), ("lower_teeth", posed.jaw)):
            teeth = self.assets.fitted[name]
            rigid = teeth.points(self.neutral) @ motion[:3, :3].T + motion[:3, 3]
            posed.shapes[name] = shape_of(rigid, teeth)
        for name in ("tongue", "lashes"):
            posed.shapes[name] = posed.fit(self.assets.fitted[name])
        return posed

    def _moved(self, movements: Mapping[str, float]) -> Floats:
        """Return the base mesh, (n, 3), with all movements."""
        brows = {}
        for name, rest in _AT_REST.items():  # a lowered brow comes down from where it rests
            raised, side = movements.get(name, 0.0), name.rpartition("_")[2]
            lowered = movements.get(f"brow_lower_{side}", 0.0)
            brows[name] = raised - rest * lowered * (1 - raised)
        used = field_amounts({**movements, **brows})
        amounts = np.array(list(used.values()), np.float32)
        base = (self.neutral.ravel() + amounts @ self._fields[list(used)]).reshape(-1, 3)
        self._guard.apply(base, self.assets)
        touch_lips(base, self.assets, sealed=1 - parting(movements))
        opening = movements.get("jaw_open", 0.0) + 0.2 * movements.get("tongue_show", 0.0)
        base = self._jaw.turn(base, min(opening, 1.0), movements.get("jaw_sideways", 0.0))
        gaze = _gaze(movements)[:, 2]
        for side, lids in self._lids.items():
            lids.close(base, closing(movements, side), gaze)
        return base

    def _turn(self, pose: HeadPose) -> Turn:
        asked = (pose.yaw, pose.pitch, pose.roll)
        neck = [min(max(a, -most), most) for a, most in zip(asked, _NECK_LIMITS, strict=True)]
        whole = _rotation(*asked).as_matrix() @ _rotation(*neck).as_matrix().T
        return Turn(
            share=self._share,
            pivot=self._pivot,
            axis=_rotation(*neck).as_rotvec().astype(np.float32),
            body=whole.astype(np.float32),
        )

    def _landmarks(self, turned: Floats, turn: Turn) -> dict[str, Floats]:
        points = {name: turned[vertex] for name, vertex in self._marks.items()}
        chin = self.neutral[self._marks["chin"]]
        points["resting_chin"] = turn.apply(chin[None], np.ones(1, np.float32))[0]
        for side, (center, radius) in self.eyes.items():
            front = center + np.array([0, 0, radius], np.float32)
            points[f"{side}_eye"] = turn.apply(front[None], np.ones(1, np.float32))[0]
        return points

    def _jaw_motion(self, base: Floats) -> Floats:
        """Return the rigid motion of the lower teeth's three points, (4, 4)."""
        before = self.neutral[self.assets.groups["lower_teeth"]]
        after = base[self.assets.groups["lower_teeth"]]
        rotation, _ = Rotation.align_vectors(after - after.mean(0), before - before.mean(0))
        motion = np.eye(4, dtype=np.float32)
        motion[:3, :3] = rotation.as_matrix()
        motion[:3, 3] = after.mean(0) - motion[:3, :3] @ before.mean(0)
        return motion

    def _eyes(self, movements: Mapping[str, float], turn: Turn) -> Shape:
        """Return both eyeballs, turned by the gaze, as one mesh."""
        points, uv, triangles = _eyeball_mesh()
        gaze = _gaze(movements)
        placed = np.concatenate(
            [points @ (gaze.T * radius) + center for center, radius in self.eyes.values()]
        ).astype(np.float32)
        turned = turn.apply(placed, np.ones(len(placed), np.float32))
        both = np.concatenate([triangles, triangles + len(points)])
        return Shape(
            vertices=turned,
            normals=_normals(turned, both),
            uv=np.concatenate([uv, uv]),
            triangles=both,
        )


_AT_REST: Final[Mapping[str, float]] = {
    f"{name}_{side}": amount
    for name, amount in (("inner_brow_raise", 0.3), ("outer_brow_raise", 0.5))
    for side in SIDES
}
"""Movements that are part of every face at rest; see head_shape."""

GAZE_DEGREES: Final = (32.0, 25.0)
"""How far the eyes turn, sideways and up, at a gaze of 1."""


def _gaze(movements: Mapping[str, float]) -> Floats:
    """Return how the gaze turns the eyes, (3, 3); the third column is where they look."""
    yaw, pitch = (
        most * movements.get(name, 0.0)
        for most, name in zip(GAZE_DEGREES, ("gaze_x", "gaze_y"), strict=True)
    )
    return np.asarray(_rotation(yaw, pitch, 0.0).as_matrix(), np.float32)


def _head_fields(neutral: Floats, person: Person, assets: HeadAssets) -> Floats:
    reference = average_head(25.0, 0.5, person.ancestry, 0.5, assets)
    reference -= between_eyes(reference, assets)
    childlike = float(np.interp(person.age_years, (4, 18), (1, 0)))
    return displacements(neutral, reference, person.ancestry, childlike, assets)


@functools.lru_cache(maxsize=2)
def _topology(assets: HeadAssets) -> tuple[Subdivision, dict[str, int]]:
    skin = assets.vertices[: assets.skin_count]
    nearest = np.asarray(scipy.spatial.cKDTree(skin).query(np.array(list(_POINTS.values())))[1])
    marks = dict(zip(_POINTS, nearest.tolist(), strict=True))
    return subdivide(assets.quads, assets.uv, assets.quad_uv), marks


def _neck(neutral: Floats, assets: HeadAssets) -> tuple[Floats, Floats]:
    """Return every vertex's share in the head's motion, (n,), and the neck's pivot, (3,)."""
    neck, head = (assets.center(f"joint-{name}", neutral) for name in ("neck", "head"))
    size = float(head[1] - neck[1])
    up = (neutral[:, 1] - neck[1]) / size + 0.35 * (neutral[:, 2] - neck[2]) / size
    t = np.clip((up + 0.1) / 0.75, 0, 1)
    pivot = np.asarray((neck + head) / 2, np.float32)
    return np.asarray(t * t * (3 - 2 * t), np.float32), pivot


def _rotation(yaw: float, pitch: float, roll: float) -> Rotation:
    return Rotation.from_euler("ZYX", [-roll, yaw, -pitch], degrees=True)


# Eyeballs: a sphere with a cornea, its uv as an eye doctor's photo of it from the front.


def _eyeball(points: Floats) -> tuple[Floats, float]:
    """Return center, (3,), and radius of the sphere through a helper's points."""
    matrix = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    *center, rest = np.linalg.lstsq(matrix, (points**2).sum(axis=1), rcond=None)[0]
    return np.array(center, np.float32), float(np.sqrt(rest + np.dot(center, center)))


@functools.cache
def _eyeball_mesh(rings: int = 28, sectors: int = 40) -> tuple[Floats, Floats, Indices]:
    """Return an eyeball of radius 1 that looks to z: points (n, 3), uv (n, 2), triangles.

    uv: the gaze's axis is at the middle; the distance from it is the angle, 100 degrees at the
    edge. The back is left out.
    """
    angle = np.radians(np.linspace(0, 100, rings + 1))[1:]
    around = np.arange(sectors) * 2 * np.pi / sectors
    theta = np.concatenate([[0.0], np.repeat(angle, sectors)])
    phi = np.concatenate([[0.0], np.tile(around, rings)])
    bulge = cornea_height(theta)
    flat = np.stack([np.cos(phi), np.sin(phi)], axis=1)
    points = np.concatenate([np.sin(theta)[:, None] * flat, np.cos(theta)[:, None]], axis=1)
    uv = 0.5 + 0.5 * (theta / angle[-1])[:, None] * flat
    k = np.arange(sectors)
    after = (k + 1) % sectors
    fan = np.stack([np.zeros_like(k), 1 + k, 1 + after], axis=1)
    inner = 1 + np.arange(rings - 1)[:, None] * sectors
    a, b, c, d = inner + k, inner + sectors + k, inner + sectors + after, inner + after
    quads = np.stack([a, b, c, d], axis=2).reshape(-1, 4)
    triangles = np.concatenate([fan, triangles_of(quads)])
    return (points * bulge[:, None]).astype(np.float32), uv.astype(np.float32), triangles


# Meshes.


def shape_of(points: Floats, fitted: Fitted) -> Shape:
    """Return a mesh of triangles for the points of a fitted mesh, split along uv seams."""
    place, uv, triangles = _split(fitted)
    normals = _normals(points, triangles_of(fitted.quads))[place]
    return Shape(vertices=points[place], normals=normals, uv=uv, triangles=triangles)


@functools.lru_cache(maxsize=32)
def _split(fitted: Fitted) -> tuple[Indices, Floats, Indices]:
    """Return which point each drawn vertex is, (k,), its uv, (k, 2), and triangles, (m, 3)."""
    count = len(fitted.uv)
    keys = fitted.quads.astype(np.int64) * count + fitted.quad_uv
    pairs, drawn = np.unique(keys, return_inverse=True)
    place, of_uv = np.divmod(pairs, count)
    triangles = triangles_of(drawn.reshape(fitted.quads.shape).astype(np.int32))
    return place.astype(np.int32), fitted.uv[of_uv], triangles


def _normals(vertices: Floats, triangles: Indices) -> Floats:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    faces = cross(b - a, c - a)
    total = np.stack(
        [
            np.bincount(triangles.ravel(), np.repeat(faces[:, axis], 3), len(vertices))
            for axis in range(3)
        ],
        axis=1,
    )
    length = np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return np.asarray(total / length, np.float32)
