"""What a person wears: a shirt with a collar, a hood or a plain neckline."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import cv2
import numpy as np
import scipy.ndimage
import scipy.spatial
from numpy.typing import NDArray

from moppet.synthesis.render.camera import decode_srgb
from moppet.synthesis.render.head_frame import HeadFrame
from moppet.synthesis.render.head_mesh import Head, PosedHead, Shape, shape_of
from moppet.synthesis.render.mesh import Indices, Material, Part
from moppet.synthesis.render.occluders import cloth_texture, occluder_parts, region_parts, under_hat
from moppet.synthesis.render.scene import Scene
from moppet.synthesis.render.shapes import Reals, sheet, tube, vertex_normals
from moppet.synthesis.render.surroundings import bedding
from moppet.synthesis.settings import seed_of
from moppet.values import Floats

NAMES: Final = ("shirt", "collar")
"""Names of the parts."""

_LYING_DEGREES: Final = 45.0  # a head that rolls farther lies
_TURNS: Final = 48
_NEARBY: Final = 4


def clothing_parts(head: Head, posed: PosedHead) -> tuple[Part, ...]:
    """Return a person's clothes on the posed body. The same person always wears the same."""
    rest, pieces = _wardrobe(head)
    moved = posed.fit(head.assets.fitted["tights"]).vertices - rest @ posed.body.T
    return tuple(piece.on_body(posed.body, moved) for piece in pieces)


class _Piece(NamedTuple):
    """A piece of clothing on the body at rest, and what it follows.

    nearest, weights: (n, k), points of the body's cloth near each vertex, and their shares.
    """

    part: Part
    nearest: NDArray[np.intp]
    weights: Floats

    def on_body(self, rotation: Floats, moved: Floats) -> Part:
        """Return the piece turned by a rotation and moved like the body's nearest points."""
        shift = np.einsum("nk,nkd->nd", self.weights, moved[self.nearest])
        vertices = (self.part.vertices @ rotation.T + shift).astype(np.float32)
        return replace(self.part, vertices=vertices, normals=self.part.normals @ rotation.T)


@functools.lru_cache(maxsize=6)
def _wardrobe(head: Head) -> tuple[Floats, tuple[_Piece, ...]]:
    """Return the body's cloth at rest, (n, 3), and a person's clothes on it."""
    person = head.person
    rng = np.random.default_rng(seed_of("clothing", person.seed))
    color = decode_srgb(np.array(person.clothing_color, np.float32))
    cloth = Material(
        color=cloth_texture(color, rng),
        normal_map=_fold_map(rng),
        roughness=0.9,
        specular=0.1,
        two_sided=True,
    )
    rib = replace(cloth, color=color * np.float32(rng.choice([1.0, 0.7, 1.4])), normal_map=None)
    tailored = _Tailored(head)
    rest = tailored.body.vertices
    tree = scipy.spatial.cKDTree(rest)
    pieces = []
    for part in (_shirt(tailored, cloth), *_collar(tailored, rib, rng)):
        distance, nearest = tree.query(part.vertices, k=_NEARBY)
        weights = 1 / (np.asarray(distance) + 1e-3)
        weights /= weights.sum(axis=1, keepdims=True)
        pieces.append(_Piece(part, np.asarray(nearest), weights.astype(np.float32)))
    return rest, tuple(pieces)


class _Tailored:
    """The body at rest, and where its clothes end.

    body: the closed cloth of the base mesh. ring: (turns, 3), the neckline, from the front to
    the person's left and on. unit: the distance between the eyes.
    skin: of the head at rest.
    """

    def __init__(self, head: Head) -> None:
        fitted = head.assets.fitted["tights"]
        self.body: Shape = shape_of(fitted.points(head.neutral), fitted)
        self.unit = float(np.linalg.norm(head.eyes["left"][0] - head.eyes["right"][0]))
        rest = head.pose()
        neck = rest.landmarks["chin"][1] - rest.landmarks["throat"][1]
        front = rest.landmarks["throat"] - np.array([0, 0.55 * neck, 0])
        back = rest.landmarks["nape"] - np.array([0, 1.05 * neck, 0])
        front[0] = back[0] = 0.0
        ahead = (front - back) / np.linalg.norm(front - back)
        self.middle = (front + back) / 2
        self.axes = np.stack([[1, 0, 0], [0, ahead[2], -ahead[1]], ahead])
        self.skin: Shape = rest.shapes["skin"]
        self.ring = self._ring(self.skin.vertices)

    def local(self, points: Reals) -> Reals:
        """Return points in the neckline's axes: left, up, front."""
        return np.asarray((points - self.middle) @ self.axes.T)

    def world(self, points: Reals) -> Reals:
        return np.asarray(points @ self.axes + self.middle)

    def _ring(self, skin: Floats) -> Reals:
        points = self.local(skin)
        near = points[np.abs(points[:, 1]) < 0.2 * self.unit]
        turn = np.rint(np.arctan2(near[:, 0], near[:, 2]) / (2 * math.pi) * _TURNS).astype(int)
        reach = np.hypot(near[:, 0], near[:, 2])
        most = 1.5 * np.median(reach[(turn % _TURNS) < 4]) if len(reach) else self.unit
        radii = np.array(
            [
                np.percentile(mine, 30) if len(mine := reach[turn % _TURNS == k]) else most
                for k in range(_TURNS)
            ]
        )
        radii = scipy.ndimage.gaussian_filter1d(np.minimum(radii, most), 2, mode="wrap")
        angle = np.arange(_TURNS) / _TURNS * 2 * math.pi
        flat = np.stack([radii * np.sin(angle), 0 * angle, radii * np.cos(angle)], axis=-1)
        return self.world(flat)


class Dressed(NamedTuple):
    """A dressed person's parts, and patches over the regions of the face (`region_parts`); none
    where no occluder can hide them.
    """

    parts: tuple[Part, ...]
    regions: tuple[Part, ...]


def dressed(
    parts: Sequence[Part], scene: Scene, head: Head, posed: PosedHead, skin_color: Floats
) -> Dressed:
    """Return a person's own parts with clothes and the scene's occluders, or on a bed.

    parts: of the posed head; hair, whose part's name begins with "hair", is pressed under a hat.
    skin_color: (3,), linear, of a hand before the face.
    """
    clothes = clothing_parts(head, posed)
    own = list(parts)
    if abs(scene.pose.roll) >= _LYING_DEGREES:
        back = float(posed.shapes["skin"].vertices[:, 2].min())
        own.append(bedding(scene.background, posed.landmarks, back))
    if not scene.occluders:
        return Dressed((*own, *clothes), ())
    surface = np.concatenate([posed.shapes["skin"].vertices, *(p.vertices for p in clothes)])
    frame = HeadFrame(posed.landmarks, surface, posed.head[:3, :3], posed.body)
    for occluder in scene.occluders:
        if occluder.kind == "hat":
            own = [
                under_hat(part, occluder, frame) if part.name.startswith("hair") else part
                for part in own
            ]
    worn = [occluder_parts(one, frame, scene.person, skin_color) for one in scene.occluders]
    return Dressed((*own, *clothes, *itertools.chain.from_iterable(worn)), region_parts(frame))


def _shirt(tailored: _Tailored, cloth: Material) -> Part:
    """Return the body's cloth below the neckline, outside the skin."""
    body, unit = tailored.body, tailored.unit
    local = tailored.local(body.vertices + body.normals * np.float32(0.05 * unit))
    above = local[:, 1]
    kept = body.triangles[(above[body.triangles] < 0).any(axis=1)]
    edge = (above >= 0) & np.isin(np.arange(len(local)), kept)
    ring = tailored.local(tailored.ring)
    nearest = scipy.spatial.cKDTree(ring[:, [0, 2]]).query(local[edge][:, [0, 2]])[1]
    local[edge] = ring[nearest]
    points, triangles = _halved(*_halved(tailored.world(local).astype(np.float32), kept))
    points = _outside(points, tailored.skin, 0.06 * unit)
    hem, strip = _hem(triangles, tailored.local(points)[:, 1] < -0.5 * unit, len(points))
    points = np.concatenate([points, points[hem] - np.array([0, 8 * unit, 0], np.float32)])
    triangles = np.concatenate([triangles, strip])
    place = (points - tailored.middle) / (9 * unit)
    uv = np.stack([place[:, 0] + 0.5, np.clip(place[:, 1] + 1, 0, 1)], axis=-1)
    return Part(
        name="shirt",
        vertices=points,
        normals=vertex_normals(points, triangles),
        uv=uv.astype(np.float32),
        triangles=triangles,
        material=cloth,
    )


def _halved(points: Floats, triangles: Indices) -> tuple[Floats, Indices]:
    """Return a mesh with every edge cut in half, and each triangle in four."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    keys = np.sort(edges, axis=1).astype(np.int64) @ [len(points), 1]
    found, at = np.unique(keys, return_inverse=True)
    own = np.stack(np.divmod(found, len(points)), axis=1)
    ab, bc, ca = len(points) + at.reshape(3, -1)
    a, b, c = triangles.T
    corners = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    finer = np.concatenate([np.stack(three, axis=1) for three in corners])
    return np.concatenate([points, points[own].mean(axis=1)]), finer.astype(np.int32)


def _outside(points: Floats, skin: Shape, gap: float) -> Floats:
    """Return points moved out of the skin, at least by a gap."""
    tree = scipy.spatial.cKDTree(skin.vertices)
    distance, nearest = map(np.asarray, tree.query(points, distance_upper_bound=6 * gap))
    near = np.flatnonzero(np.isfinite(distance))
    skin_point, normal = skin.vertices[nearest[near]], skin.normals[nearest[near]]
    depth = np.einsum("nk,nk->n", points[near] - skin_point, normal)
    out = points.astype(np.float32)
    out[near] += np.maximum(gap - depth, 0)[:, None] * normal
    return out


def _hem(triangles: Indices, low: NDArray[np.bool_], count: int) -> tuple[Indices, Indices]:
    """Return the vertices of the lower border, and a strip of triangles from it to their copies.

    low: (count,), where a border counts. The copies have the numbers from count on.
    """
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    keys = np.sort(edges, axis=1) @ [count, 1]
    _, first, uses = np.unique(keys, return_index=True, return_counts=True)
    border = edges[first[uses == 1]]
    border = border[low[border].all(axis=1)]
    hem, copies = np.unique(border, return_inverse=True)
    a, b = border.T
    lower_a, lower_b = count + copies.reshape(-1, 2).T
    strip = np.concatenate([np.stack([a, lower_a, lower_b], 1), np.stack([a, lower_b, b], 1)])
    return hem, strip.astype(np.int32)


def _collar(tailored: _Tailored, rib: Material, rng: np.random.Generator) -> list[Part]:
    """Return a band around the neckline, a turned-down collar or a hood."""
    ring, unit = tailored.local(tailored.ring), tailored.unit
    outward = ring / np.linalg.norm(ring, axis=1, keepdims=True)
    up = np.array([0.0, 1.0, 0.0])
    kind = rng.choice(["band", "band", "collar", "hood"])
    turn = np.arange(_TURNS) / _TURNS * 2 * math.pi
    parts = [
        tube("collar", tailored.world(ring + outward * 0.07 * unit), 0.16 * unit, rib,
             closed=True, flat=0.7)
    ]  # fmt: skip
    if kind == "collar":
        profile = ((0.02, 0.05), (0.05, 0.3), (0.1, 0.36), (0.17, 0.3), (0.34, 0.02), (0.4, -0.1))
        points = np.stack([ring + unit * (a * outward + b * up) for a, b in profile])
        tips = np.exp(-((turn - 0.35) ** 2) / 0.05) + np.exp(-((turn - 5.93) ** 2) / 0.05)
        points[-1] += unit * 0.3 * tips[:, None] * (outward - up)
        order = np.roll(np.arange(_TURNS), -2)[: _TURNS - 3]
        parts.append(sheet("collar", tailored.world(points[::-1, order]), rib))
    elif kind == "hood":
        folds = 1 + 0.12 * np.sin(5 * turn + rng.uniform(0, 6))
        thick = unit * (0.1 + 0.3 * ((1 - np.cos(turn)) / 2) ** 2) * folds
        path = ring + outward * thick[:, None] + up * thick[:, None] * 0.2
        parts.append(
            tube("collar", tailored.world(path), thick, rib, closed=True, sides=14, flat=0.75)
        )
    return parts


def _fold_map(rng: np.random.Generator, size: int = 256) -> Floats:
    """Return a normal map of soft creases: (size, size, 3)."""
    along = np.arange(size, dtype=np.float32) / size
    y, x = along[:, None], along[None]
    height = np.zeros((size, size), np.float32)
    for _ in range(7):
        turn, pitch, phase = rng.uniform([0.5, 8, 0], [2.6, 22, 6])
        a, b = rng.uniform(3, 9), rng.uniform(3, 9)
        bend = np.sin(x * a + (y * b + phase).astype(np.float32))
        wave = np.sin(x * (math.cos(turn) * pitch) + y * (math.sin(turn) * pitch) + bend)
        left, top = rng.random(2)
        across, down = (np.exp(-((along - at) ** 2) / 0.06) for at in (left, top))
        height += wave * (1.4 * down[:, None]).astype(np.float32) * across.astype(np.float32)
    smooth = cv2.GaussianBlur(height, (0, 0), 2)
    across, down = np.gradient(smooth, axis=1), np.gradient(smooth, axis=0)
    normal = np.stack([-across * 9, down * 9, np.ones_like(smooth)], axis=-1)
    return np.asarray(normal / np.linalg.norm(normal, axis=-1, keepdims=True), np.float32)
