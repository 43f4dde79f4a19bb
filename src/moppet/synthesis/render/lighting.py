"""The light that falls on what a rasterized image shows, and what skin makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.synthesis.render import light_kernels as kernels
from moppet.synthesis.render import surface_kernels
from moppet.synthesis.render.mesh import LightSource, MeshScene
from moppet.synthesis.render.surfaces import Points, Raster, unit, zeros
from moppet.values import Floats

_SURROUNDINGS: Final = 12
"""Directions of the surroundings, and as many opposite ones."""
_LIFT: Final = 1.2
_HAIR_LIFT: Final = 0.3
_BIAS: Final = 0.3
"""Texels by which points are moved off their surface, and toward the light."""
_MANY: Final = 6
"""Directions to a light from which on each subpixel takes every other one."""
_SOFT: Final = 0.25
"""Size from which a light's shadows are so soft that coarse depth maps show them."""
_GOLDEN: Final = math.pi * (3 - math.sqrt(5))
_SKIN_SPREAD: Final = np.array([0.035, 0.016, 0.009])
"""Decimeters that red, green and blue light spreads in skin (standard deviation)."""
_SKIN_MIX: Final = np.array([0.8, 0.65, 0.55])


@dataclass(frozen=True)
class _Casters:
    """What stops light in depth maps of one size; `lifted` are the points that it may reach.

    normals: (m, 3), 0 where both sides stop light. layers: arguments of `add_layers`, or None.
    seen, depths: room for the vertices as a light meets them, and for the maps of two sides.
    """

    vertices: Floats
    triangles: NDArray[np.int32]
    normals: Floats
    layers: tuple[Any, ...] | None
    lifted: Floats
    seen: Floats
    depths: Floats


class _Shadows:
    """Makes depth maps of a scene, large enough for all points that are seen."""

    def __init__(self, raster: Raster, points: Points) -> None:
        cared = points.position[_cast_shadows(raster)].T.copy()
        low, high = cared.min(1), cared.max(1)
        self.corners = np.array(np.meshgrid(*np.stack([low, high], 1))).reshape(3, -1).T
        self.extent = max(float(np.linalg.norm(high - low)), 1e-3)
        self.raster, self.points = raster, points
        mesh, start = raster.mesh, raster.mesh.opaque
        look = mesh.part_of[start:], raster.level_of[start:]
        textures = raster.textures.pool, raster.textures.images
        means = surface_kernels.mean_alpha(mesh.triangles[start:], mesh.uv, *look, *textures)
        self.opacity = np.concatenate([np.ones(start, np.float32), means])
        self.solid = ~mesh.two_sided[mesh.part_of]
        self.solid[start:] = False
        self._casters: dict[int, _Casters] = {}

    def casters(self, size: int) -> _Casters:
        """Return what stops light in maps of this size: finer details than a texel are merged."""
        if size not in self._casters:
            texel = self.extent / size
            mesh = self.raster.mesh
            whole = mesh.vertices, mesh.triangles, self.opacity, self.solid
            vertices, triangles, normals, large = kernels.coarsened(*whole, 1.5 * texel)
            opaque = self.raster.places[:, 1:] < mesh.opaque
            lift = np.where(opaque, _LIFT, _HAIR_LIFT).astype(np.float32) * np.float32(texel)
            lifted = self.points.position + lift * self.points.smooth
            room = zeros(*vertices.shape), zeros(2, size, size)
            layers = self._layers(large) if len(large) else None
            self._casters[size] = _Casters(vertices, triangles, normals, layers, lifted, *room)
        return self._casters[size]

    def _layers(self, chosen: NDArray[np.int32]) -> tuple[Any, ...]:
        """Return what `add_layers` needs of these triangles, without frame and depths."""
        mesh, raster = self.raster.mesh, self.raster
        used, corners = np.unique(mesh.triangles[chosen], return_inverse=True)
        triangles = corners.reshape(-1, 3).astype(np.int32)
        look = mesh.part_of[chosen], raster.level_of[chosen]
        textures = raster.textures.pool, raster.textures.images, zeros(len(used), 3)
        return mesh.vertices[used], triangles, mesh.uv[used], *look, *textures

    def fill(
        self, size: int, direction: NDArray[np.float64], sides: int = 1
    ) -> tuple[Any, Any, float]:
        """Return the scene's depth maps from a direction and, with two sides, from the opposite
        one, (sides, size, size), their frame and their bias.
        """
        casters = self.casters(size)
        frame, depths = self._frame(direction, size), casters.depths[:sides]
        mesh = casters.triangles, casters.normals
        kernels.depth_map(casters.vertices, frame, *mesh, casters.seen, depths)
        if casters.layers is not None:
            kernels.add_layers(frame, depths, *casters.layers)
        return depths, frame, _BIAS * self.extent / size

    def _frame(self, direction: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        """Return (3, 4): decimeters of the world to texels and nearness to the light."""
        axes = _frame_of(direction)
        spans = self.corners @ axes.T
        low, high = spans.min(0), spans.max(0)
        scale = (size - 4) / max(float((high - low)[:2].max()), 1e-6)
        frame = np.zeros((3, 4))
        frame[:2, :3], frame[2, :3] = axes[:2] * scale, axes[2]
        frame[:2, 3] = size / 2 - scale * (low + high)[:2] / 2
        return frame


def _cast_shadows(raster: Raster) -> NDArray[np.bool_]:
    """Return which points the depth maps must cover: all but cloth, unless there is nothing else.

    What a head casts lies on the same texels as the head: cloth beyond them only lacks its own
    folds' shade, and maps of a head alone show finer details.
    """
    mesh = raster.mesh
    cloth = mesh.two_sided & (mesh.looks[:, 2] == 0)
    part = mesh.part_of[raster.places[:, 1]]
    chosen = ~cloth[part] | (raster.places[:, 1] >= mesh.opaque)
    return np.asarray(chosen if chosen.any() else ~chosen, np.bool_)


def _frame_of(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3, 3), rows of length 1 at right angles, the direction last."""
    side = (0.0, 1.0, 0.0) if abs(direction[1]) < 0.9 else (1.0, 0.0, 0.0)
    right = unit(_cross(np.array(side), direction))
    return np.stack([right, _cross(direction, right), direction])


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cross product of two vectors; numpy's own takes ten times as long."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def light_points(scene: MeshScene, raster: Raster, points: Points) -> tuple[Floats, Floats]:
    """Return what falls on each point from everywhere, and what it mirrors, (n, 3) each."""
    count = len(points.position)
    out = zeros(count, 3), zeros(count, 3)
    shadows = _Shadows(raster, points)
    detail = min(max(raster.camera.middle[1], 128), 640)
    surface = (points.normal, points.toward, points.mirror)
    looks = (raster.places, raster.mesh.part_of, raster.mesh.looks, *surface)
    opaque = raster.places[:, 1] < raster.mesh.opaque
    lit, phases = points.ambient >= 0, _phases(raster)
    brightest = max([1e-6, *(float(np.max(source.color)) for source in scene.lights)])
    for source in scene.lights:
        diffuse, visible = zeros(count), zeros(count)
        directions = light_directions(source, float(np.max(source.color)) / brightest)
        many = len(directions)
        steps = (lit * np.where(opaque, 1 + (many >= _MANY), max(many // 4, 1))).astype(np.int32)
        side = round(detail * (1.4 if many == 1 else 0.85 if source.size < _SOFT else 0.65))
        lifted = shadows.casters(side).lifted
        for turn, (direction, share) in enumerate(directions):
            depth_map = shadows.fill(side, direction)
            where = (lifted, points.normal, steps, phases, diffuse, visible)
            kernels.gather_light(*depth_map, direction, share, turn, *where)
        toward, color = unit(np.asarray(source.direction, float)), np.asarray(source.color, float)
        kernels.shade_light(toward, color, float(source.size), *looks, diffuse, visible, *out)
    sky, ground = np.asarray(scene.sky, float), np.asarray(scene.ground, float)
    steps = (lit * np.where(opaque, 2, 4)).astype(np.int32)
    sums = _surroundings(points, shadows, round(detail * 0.55), steps, phases)
    kernels.shade_ambient(sky, ground, *looks, points.color, points.ambient, sums, *out)
    return out


def _phases(raster: Raster) -> NDArray[np.int32]:
    """Return a number from 0 to 3 for every point, another one for each subpixel of a pixel."""
    rows, columns = np.divmod(raster.places[:, 0], np.int32(raster.through.shape[1]))
    return np.asarray(2 * (rows & 1) + (columns & 1), np.int32)


def _surroundings(
    points: Points,
    shadows: _Shadows,
    size: int,
    steps: NDArray[np.int32],
    phases: NDArray[np.int32],
) -> Floats:
    """Return how much of sky and ground each point sees, (n, 6); see `gather_ambient`."""
    sums = zeros(len(points.position), 6)
    where = (shadows.casters(size).lifted, points.normal, points.mirror, steps, phases, sums)
    for turn, direction in enumerate(half_sphere_directions(_SURROUNDINGS)):
        depth_maps = shadows.fill(size, direction, sides=2)
        kernels.gather_ambient(*depth_maps, direction, turn, *where)
    return sums


def light_directions(
    source: LightSource, weight: float = 1.0
) -> list[tuple[NDArray[np.float64], float]]:
    """Return directions over a light's disk, (3,) each, and their shares of its light.

    A matte surface that faces the light gets its color, whatever its size. weight: brightness
    beside the brightest light; weak lights get fewer directions.
    """
    middle = unit(np.asarray(source.direction, np.float64))
    count = min(3 + round(16 * source.size), 14)
    count = 1 if source.size < 0.02 else max(round(count * math.sqrt(weight)), 3)
    radius = math.sin(min(source.size, 1.5)) if count > 1 else 0.0
    right, up, _ = _frame_of(middle)
    out = []
    for k in range(count):
        r, turn = radius * math.sqrt((k + 0.5) / count), k * _GOLDEN
        cosine = math.sqrt(1 - r * r)
        offset = right * (r * math.cos(turn)) + up * (r * math.sin(turn))
        out.append((middle * cosine + offset, 1 / (count * cosine)))
    return out


def half_sphere_directions(count: int) -> NDArray[np.float64]:
    """Return (count, 3) directions spread evenly over the upper half of the sphere, on a golden
    spiral; with the opposite ones they are spread over the whole.
    """
    k = np.arange(count)
    height = 1 - (2 * k + 1) / (2 * count)
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(k * _GOLDEN), height, ring * np.sin(k * _GOLDEN)], 1)


def scatter(scene: MeshScene, raster: Raster, points: Points, light: Floats) -> Floats:
    """Return the light on all points after it has spread inside skin."""
    scattering = raster.mesh.looks[raster.mesh.part_of[raster.places[:, 1]], 2]
    skin = np.flatnonzero((scattering > 0) & (points.ambient >= 0))
    if not len(skin):
        return light
    width = raster.through.shape[1]
    place = raster.places[skin, 0]
    rows, columns = place // width, place % width
    top, left = rows.min(), columns.min()
    shape = (rows.max() - top + 1, columns.max() - left + 1)
    at = (rows - top, columns - left)
    spread, depth, mix = zeros(*shape, 3), zeros(*shape), zeros(*shape)
    spread[at], mix[at] = light[skin], scattering[skin]
    depth[at] = (points.position[skin] - raster.camera.eye) @ raster.camera.axes[2]
    pixels = _SKIN_SPREAD * raster.camera.focal / float(np.median(depth[at]))
    radius = min(max(round(2.2 * float(pixels[0])), 1), 32)
    kernel = np.exp(-0.5 * (np.arange(radius + 1)[:, None] / np.maximum(pixels, 0.3)) ** 2)
    for along_x in (True, False):
        spread = kernels.soften(spread, depth, mix, kernel, 0.06, along_x)
    share = scattering[skin, None] * _SKIN_MIX.astype(np.float32)
    out = light.copy()
    out[skin] += share * (spread[at] - light[skin])
    return out
