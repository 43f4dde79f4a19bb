"""The fast renderer: many images a second and core, and the same bytes for the same scene.

Surfaces are found by a depth buffer with several subpixels a pixel; hair, brows and lashes are
sorted layer by layer. A light is a handful of directions over its disk, the surroundings are
some dozen directions of the sphere; for each of them a small depth map tells where its light
arrives. So soft shadows, the shade under lids and lips and in the mouth all follow from the
geometry. Light that skin receives spreads below its surface, red farther than blue.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.synthesis.render.mesh import LightSource, Material, MeshScene, Part, View
from moppet.values import Floats, MoppetError

_NEAR: Final = 0.05
_SURROUNDINGS: Final = 24
_LIFT: Final = 1.2
_HAIR_LIFT: Final = 0.3
_BIAS: Final = 0.3
"""Texels by which points are moved off their surface, and toward the light."""
_GOLDEN: Final = math.pi * (3 - math.sqrt(5))
_SKIN_SPREAD: Final = np.array([0.035, 0.016, 0.009])
"""Decimeters that red, green and blue light spreads in skin (standard deviation)."""
_SKIN_MIX: Final = np.array([0.8, 0.65, 0.55])
_SMALLEST_TEXTURE: Final = 4
_COARSEST: Final = 12
_COARSER: Final = 0.5
"""Levels by which textures are read coarser than a subpixel: a pixel averages its subpixels."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """An image and what each of its pixels shows.

    image: (height, width, 3), linear, float32. part: (height, width), index of the part that
    covers most of the pixel, -1 for the background. depth: (height, width), decimeters from the
    camera, infinite where nothing is. alpha: (height, width), 0 where the background shows to 1.
    """

    image: Floats
    part: NDArray[np.int32]
    depth: Floats
    alpha: Floats


def render(scene: MeshScene, size: tuple[int, int], *, samples: int = 2) -> Floats:
    """Return the scene's image: (height, width, 3), linear, float32.

    size: height, width. samples: subpixels along each side of a pixel.
    Raises MoppetError without numba, or if the background has another size.
    """
    return render_layers(scene, size, samples=samples).image


def render_layers(scene: MeshScene, size: tuple[int, int], *, samples: int = 2) -> Rendering:
    """Return the scene's image with the part, depth and alpha of every pixel; see `render`."""
    height, width = size
    if scene.background.shape != (height, width, 3):
        raise MoppetError(
            f"The background must have the image's size: ({height}, {width}, 3), "
            f"not {scene.background.shape}."
        )
    kernels = _kernels()
    raster = _rasterized(scene, height * samples, width * samples, kernels)
    image = np.repeat(np.repeat(scene.background, samples, 0), samples, 1).astype(np.float32)
    image *= raster.through[..., None]
    if len(raster.places):
        points = _read_points(raster, kernels)
        light, gloss = _lit_points(scene, raster, points, kernels)
        light = _scattered(scene, raster, points, light, kernels)
        flat = image.reshape(-1, 3)
        kernels.add_points(
            raster.places, raster.weights, points.color, light, gloss, points.ambient, flat
        )
    return _resolved(raster, image, samples)


def visible_share(scene: MeshScene, size: tuple[int, int], names: tuple[str, ...]) -> float:
    """Return how much of the parts of these names is seen: 0 to 1, NaN if none is in the image.

    What stands in front of them counts as far as it is opaque; they do not hide each other.
    """
    kernels = _kernels()
    height, width = size
    alone = tuple(part for part in scene.parts if part.name in names)
    own = _rasterized(replace(scene, parts=alone), height, width, kernels)
    whole = 1.0 - own.through
    if not alone or not whole.any():
        return math.nan
    everything = _rasterized(scene, height, width, kernels)
    seen = np.zeros(height * width)
    chosen = np.array([part.name in names for part in scene.parts])
    mine = chosen[everything.mesh.part_of[everything.places[:, 1]]]
    np.add.at(seen, everything.places[mine, 0], everything.weights[mine])
    return float(np.minimum(seen, whole.ravel()).sum() / whole.sum())


def _kernels() -> Any:
    try:
        from moppet.synthesis.render import raster_kernels
    except ImportError as error:
        raise MoppetError(
            f"Rendering needs {error.name}. Install it with: pip install 'moppet[render]'"
        ) from error
    return raster_kernels


# ------------------------------------------------------------------------------- geometry


@dataclass(frozen=True)
class _Mesh:
    """All parts as one; triangles of opaque parts come first, `opaque` of them.

    looks: (parts, 3), roughness, specular and scattering.
    """

    vertices: Floats
    normals: Floats
    uv: Floats
    triangles: NDArray[np.int32]
    part_of: NDArray[np.int32]
    opaque: int
    two_sided: NDArray[np.bool_]
    looks: Floats


@dataclass(frozen=True)
class _Camera:
    """axes: (3, 3), rows right, down and forward. focal: in subpixels. middle: (x, y)."""

    eye: NDArray[np.float64]
    axes: NDArray[np.float64]
    focal: float
    middle: tuple[float, float]

    def clip(self, vertices: Floats) -> NDArray[np.float64]:
        """Return (n, 3): x and y in subpixels, both times the depth, and the depth."""
        seen = (vertices - self.eye) @ self.axes.T
        seen[:, 0] = seen[:, 0] * self.focal + seen[:, 2] * self.middle[0]
        seen[:, 1] = seen[:, 1] * self.focal + seen[:, 2] * self.middle[1]
        return np.asarray(seen)


@dataclass(frozen=True)
class _Raster:
    """What the camera sees. places: (n, 2), subpixel and triangle of each point to shade."""

    mesh: _Mesh
    camera: _Camera
    clip: NDArray[np.float64]
    level_of: Floats
    textures: _Textures
    places: NDArray[np.int32]
    weights: Floats
    through: Floats
    foremost: NDArray[np.int32]


@dataclass(frozen=True)
class _Points:
    """smooth, normal: without and with the normal map. toward: to the eye. mirror: to what a
    mirror would show. ambient: below 0 on the back of a one-sided surface.
    """

    position: Floats
    smooth: Floats
    normal: Floats
    toward: Floats
    mirror: Floats
    color: Floats
    ambient: Floats


def _rasterized(scene: MeshScene, height: int, width: int, kernels: Any) -> _Raster:
    mesh = _joined(scene.parts)
    camera = camera_of(scene.view, height, width)
    clip = camera.clip(mesh.vertices)
    texels, area = _texels_a_subpixel(scene, mesh, camera, clip)
    textures, level_of = _packed_textures(scene, mesh, texels, area)
    closeness = np.zeros((height, width))
    ids = np.full((height, width), -1, np.int32)
    kernels.rasterize(clip, mesh.triangles, 0, mesh.opaque, _NEAR, closeness, ids)
    end = len(mesh.triangles)
    surface = (mesh.uv, mesh.part_of, level_of, textures.pool, textures.images)
    latest, links, values = kernels.collect_layers(
        clip, mesh.triangles, mesh.opaque, end, _NEAR, closeness, *surface
    )
    seen = kernels.choose_points(ids, latest, links, values)
    return _Raster(mesh, camera, clip, level_of, textures, *seen)


def camera_of(view: View, height: int, width: int) -> _Camera:
    """Return the pinhole camera of a view."""
    eye, target = np.asarray(view.eye, np.float64), np.asarray(view.target, np.float64)
    forward = _unit(target - eye)
    right = _unit(np.cross(forward, view.up))
    axes = np.stack([right, np.cross(forward, right), forward])
    focal = height / 2 / math.tan(math.radians(view.fov_degrees) / 2)
    return _Camera(eye, axes, focal, (width / 2, height / 2))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def _joined(parts: tuple[Part, ...]) -> _Mesh:
    materials = [part.material for part in parts]
    looks = [(m.roughness, m.specular, m.scattering) for m in materials]
    order = sorted(range(len(parts)), key=lambda k: parts[k].material.alpha is not None)
    counts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    triangles = [parts[k].triangles + np.int32(counts[k]) for k in order]
    return _Mesh(
        _stacked([part.vertices for part in parts], 3, np.float32),
        _stacked([part.normals for part in parts], 3, np.float32),
        _stacked([part.uv for part in parts], 2, np.float32),
        _stacked(triangles, 3, np.int32),
        np.repeat(np.array(order, np.int32), [len(parts[k].triangles) for k in order]),
        sum(len(part.triangles) for part in parts if part.material.alpha is None),
        np.array([material.two_sided for material in materials], np.bool_),
        np.array(looks, np.float32).reshape(-1, 3),
    )


def _stacked(arrays: list[NDArray[Any]], width: int, kind: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros((0, width), kind), *arrays]).astype(kind, copy=False)


# ------------------------------------------------------------------------------- textures


@dataclass(frozen=True)
class _Textures:
    """pool: all texels. images: (parts, levels, 4), start, height, width, number of levels."""

    pool: Floats
    images: NDArray[np.int64]


def _texels_a_subpixel(
    scene: MeshScene, mesh: _Mesh, camera: _Camera, clip: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how many texels, by side length, each triangle's texture has a subpixel, and its
    area in subpixels, 0 outside the image.
    """
    sides = np.array([math.prod(_texture_size(part.material)) for part in scene.parts])
    seen = clip[:, :2] / np.maximum(clip[:, 2:], _NEAR)
    area = _areas(seen, mesh.triangles)
    texels = _areas(mesh.uv, mesh.triangles) * sides[mesh.part_of]
    inside = ((seen > 0) & (seen < 2 * np.array(camera.middle)) & (clip[:, 2:] > _NEAR)).min(1)
    area_inside = area * inside[mesh.triangles[:, 0]]
    return np.sqrt(texels / np.maximum(area, 1e-12)), area_inside


def _areas(points: NDArray[Any], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    u, v = b - a, c - a
    return np.asarray(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2)


def _texture_size(material: Material) -> tuple[int, int]:
    maps = (material.color, material.alpha, material.normal_map, material.ambient)
    shapes = [m.shape[:2] for m in maps if m is not None and m.ndim > 1]
    return (max(s[0] for s in shapes), max(s[1] for s in shapes)) if shapes else (1, 1)


def _packed_textures(
    scene: MeshScene, mesh: _Mesh, texels: NDArray[np.float64], area: NDArray[np.float64]
) -> tuple[_Textures, Floats]:
    """Return all textures from the finest level that the image needs on, and the triangles' level.

    A level is the binary logarithm of texels a subpixel, counted from the finest one kept.
    """
    levels = np.log2(np.maximum(texels, 1e-6)) + _COARSER
    shapes: list[list[tuple[int, int]]] = []
    for k, part in enumerate(scene.parts):
        own = mesh.part_of == k
        finest = _finest_level(levels[own], area[own])
        shapes.append(_level_shapes(part.material, finest))
        levels[own] -= finest
    images = np.zeros((len(shapes), max([1, *map(len, shapes)]), 4), np.int64)
    start = 0
    for k, sides in enumerate(shapes):
        images[k, :, 3] = len(sides)
        for level, (height, width) in enumerate(sides):
            images[k, level, :3] = start, height, width
            start += height * width * 8
    pool = _room(start)
    for part, table in zip(scene.parts, images, strict=True):
        _fill(pool, part.material, table)
    return _Textures(pool, images), levels.astype(np.float32)


class _Reused(threading.local):
    """Memory for textures, kept between images: to get it anew takes longer than to fill it."""

    pool = np.zeros(0, np.float32)


_REUSED: Final = _Reused()


def _room(count: int) -> Floats:
    if _REUSED.pool.size < count:
        _REUSED.pool = np.zeros(count + count // 4, np.float32)
    return _REUSED.pool[:count]


def _level_shapes(material: Material, finest: int) -> list[tuple[int, int]]:
    height, width = _texture_size(material)
    finest = min(finest, max(int(math.log2(min(height, width))) - 2, 0))
    shapes = [(height >> finest, width >> finest)]
    while min(shapes[-1]) > _SMALLEST_TEXTURE:
        shapes.append((shapes[-1][0] // 2, shapes[-1][1] // 2))
    return shapes


def _fill(pool: Floats, material: Material, table: NDArray[np.int64]) -> None:
    """Write a material's maps and their smaller versions to their places in the pool."""
    levels = [
        pool[start : start + height * width * 8].reshape(height, width, 8)
        for start, height, width, _ in table[: table[0, 3]]
    ]
    _write_maps(material, levels[0])
    for larger, smaller in pairwise(levels):
        _kernels().halve(larger, smaller)


def _finest_level(levels: NDArray[np.float64], area: NDArray[np.float64]) -> int:
    """Return the level that is fine enough for all but a tenth of the area."""
    if not area.any():
        return _COARSEST
    steps = np.clip(levels, 0, _COARSEST).astype(np.int64)
    shares = np.cumsum(np.bincount(steps, weights=area, minlength=_COARSEST + 1)) / area.sum()
    return int(np.searchsorted(shares, 0.1))


def _write_maps(material: Material, out: Floats) -> None:
    """Write a material's maps, in the size of out, (height, width, 8)."""
    height, width = out.shape[:2]
    color, alpha = material.color.astype(np.float32, copy=False), material.alpha
    if alpha is not None and color.ndim > 1:
        alpha = _resized(alpha, *color.shape[:2])
        color = color * alpha[..., None]
    out[..., :3] = _resized(color, height, width) if color.ndim > 1 else color
    out[..., 3] = 1.0 if alpha is None else _resized(alpha, height, width)
    if alpha is not None and color.ndim == 1:
        out[..., :3] *= out[..., 3:4]
    flat = np.array([0, 0, 1], np.float32)
    bent = material.normal_map
    out[..., 4:7] = flat if bent is None else _resized(bent, height, width)
    out[..., 7] = 1.0 if material.ambient is None else _resized(material.ambient, height, width)


def _resized(image: Floats, height: int, width: int) -> Floats:
    if image.shape[:2] == (height, width):
        return image
    smaller = height <= image.shape[0] and width <= image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    image = np.ascontiguousarray(image, np.float32)
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.float32)


def _read_points(raster: _Raster, kernels: Any) -> _Points:
    count = len(raster.places)
    position, smooth, normal, toward, mirror, color = (_zeros(count, 3) for _ in range(6))
    points = _Points(position, smooth, normal, toward, mirror, color, _zeros(count))
    mesh, camera = raster.mesh, raster.camera
    kernels.read_points(
        raster.places,
        raster.clip,
        round(2 * camera.middle[0]),
        mesh.vertices,
        mesh.normals,
        mesh.uv,
        mesh.triangles,
        mesh.part_of,
        raster.level_of,
        mesh.two_sided,
        raster.textures.pool,
        raster.textures.images,
        camera.eye,
        points.position,
        points.smooth,
        points.normal,
        points.toward,
        points.mirror,
        points.color,
        points.ambient,
    )
    return points


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape, np.float32)


# ---------------------------------------------------------------------------------- light


@dataclass(frozen=True)
class _Casters:
    """What stops light in depth maps of one size; `lifted` are the points that it may reach.

    normals: (m, 3), 0 where both sides stop light. layers: arguments of `add_layers`, or None.
    seen, depths: room for the vertices as a light meets them, and for its map.
    """

    vertices: Floats
    triangles: NDArray[np.int32]
    normals: Floats
    layers: tuple[NDArray[Any], ...] | None
    lifted: Floats
    seen: Floats
    depths: Floats


class _Shadows:
    """Makes depth maps of a scene, large enough for all points that are seen."""

    def __init__(self, raster: _Raster, points: _Points, kernels: Any) -> None:
        cared = points.position[_cast_shadows(raster)]
        low, high = cared.min(0), cared.max(0)
        self.corners = np.array(np.meshgrid(*np.stack([low, high], 1))).reshape(3, -1).T
        self.extent = max(float(np.linalg.norm(high - low)), 1e-3)
        self.raster, self.points, self.kernels = raster, points, kernels
        mesh, start = raster.mesh, raster.mesh.opaque
        look = mesh.part_of[start:], raster.level_of[start:]
        textures = raster.textures.pool, raster.textures.images
        means = kernels.mean_alpha(mesh.triangles[start:], mesh.uv, *look, *textures)
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
            vertices, triangles, normals, large = self.kernels.coarsened(*whole, 1.5 * texel)
            opaque = self.raster.places[:, 1:] < mesh.opaque
            lift = np.where(opaque, _LIFT, _HAIR_LIFT).astype(np.float32) * np.float32(texel)
            lifted = self.points.position + lift * self.points.smooth
            room = _zeros(*vertices.shape), _zeros(size, size)
            layers = self._layers(large) if len(large) else None
            self._casters[size] = _Casters(vertices, triangles, normals, layers, lifted, *room)
        return self._casters[size]

    def _layers(self, chosen: NDArray[np.int32]) -> tuple[NDArray[Any], ...]:
        """Return what `add_layers` needs of these triangles, without frame and depths."""
        mesh, raster = self.raster.mesh, self.raster
        used, corners = np.unique(mesh.triangles[chosen], return_inverse=True)
        triangles = corners.reshape(-1, 3).astype(np.int32)
        look = mesh.part_of[chosen], raster.level_of[chosen]
        textures = raster.textures.pool, raster.textures.images, _zeros(len(used), 3)
        return mesh.vertices[used], triangles, mesh.uv[used], *look, *textures

    def fill(self, size: int, direction: NDArray[np.float64]) -> tuple[Any, Any, float]:
        """Return the scene's depth map from a direction, its frame and its bias."""
        casters = self.casters(size)
        frame = self._frame(direction, size)
        mesh = casters.triangles, casters.normals
        self.kernels.depth_map(casters.vertices, frame, *mesh, casters.seen, casters.depths)
        if casters.layers is not None:
            vertices, *rest = casters.layers
            self.kernels.add_layers(vertices, frame, *rest, casters.depths)
        return casters.depths, frame, _BIAS * self.extent / size

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


def _cast_shadows(raster: _Raster) -> NDArray[np.bool_]:
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
    right = _unit(_cross(np.array(side), direction))
    return np.stack([right, _cross(direction, right), direction])


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cross product of two vectors; numpy's own takes ten times as long."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _lit_points(
    scene: MeshScene, raster: _Raster, points: _Points, kernels: Any
) -> tuple[Floats, Floats]:
    """Return what falls on each point from everywhere, and what it mirrors, (n, 3) each."""
    count = len(points.position)
    out = _zeros(count, 3), _zeros(count, 3)
    shadows = _Shadows(raster, points, kernels)
    detail = min(max(raster.camera.middle[1], 128), 640)
    surface = (points.normal, points.toward, points.mirror)
    looks = (raster.places, raster.mesh.part_of, raster.mesh.looks, *surface)
    opaque = raster.places[:, 1] < raster.mesh.opaque
    lit = points.ambient >= 0
    brightest = max([1e-6, *(float(np.max(source.color)) for source in scene.lights)])
    for source in scene.lights:
        diffuse, visible = _zeros(count), _zeros(count)
        directions = light_directions(source, float(np.max(source.color)) / brightest)
        steps = (lit * np.where(opaque, 1, max(len(directions) // 4, 1))).astype(np.int32)
        side = round(detail * (1.4 if len(directions) == 1 else 0.85))
        lifted = shadows.casters(side).lifted
        for turn, (direction, share) in enumerate(directions):
            depth_map = shadows.fill(side, direction)
            where = (lifted, points.normal, steps, diffuse, visible)
            kernels.gather_light(*depth_map, direction, share, turn, *where)
        toward, color = _unit(np.asarray(source.direction, float)), np.asarray(source.color, float)
        kernels.shade_light(toward, color, float(source.size), *looks, diffuse, visible, *out)
    sky, ground = np.asarray(scene.sky, float), np.asarray(scene.ground, float)
    steps = (lit * np.where(opaque, 2, 4)).astype(np.int32)
    sums = _surroundings(points, shadows, round(detail * 0.65), steps)
    kernels.shade_ambient(sky, ground, *looks, points.color, points.ambient, sums, *out)
    return out


def _surroundings(
    points: _Points, shadows: _Shadows, size: int, steps: NDArray[np.int32]
) -> Floats:
    """Return how much of sky and ground each point sees, (n, 6); see `gather_ambient`."""
    sums = _zeros(len(points.position), 6)
    where = (shadows.casters(size).lifted, points.normal, points.mirror, steps, sums)
    for turn, direction in enumerate(sphere_directions(_SURROUNDINGS)):
        depth_map = shadows.fill(size, direction)
        shadows.kernels.gather_ambient(*depth_map, direction, turn, *where)
    return sums


def light_directions(
    source: LightSource, weight: float = 1.0
) -> list[tuple[NDArray[np.float64], float]]:
    """Return directions over a light's disk, (3,) each, and their shares of its light.

    A matte surface that faces the light gets its color, whatever its size. weight: brightness
    beside the brightest light; weak lights get fewer directions.
    """
    middle = _unit(np.asarray(source.direction, np.float64))
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


def sphere_directions(count: int) -> NDArray[np.float64]:
    """Return (count, 3) directions spread evenly over the sphere, on a golden spiral."""
    k = np.arange(count)
    height = 1 - (2 * k + 1) / count
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(k * _GOLDEN), height, ring * np.sin(k * _GOLDEN)], 1)


def _scattered(
    scene: MeshScene, raster: _Raster, points: _Points, light: Floats, kernels: Any
) -> Floats:
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
    spread, depth, mix = _zeros(*shape, 3), _zeros(*shape), _zeros(*shape)
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


def _resolved(raster: _Raster, image: Floats, samples: int) -> Rendering:
    """Return the rendering with subpixels averaged."""
    height, width = (side // samples for side in raster.through.shape)
    triangle = raster.foremost[samples // 2 :: samples, samples // 2 :: samples]
    nothing, mesh = triangle < 0, raster.mesh
    part, depth = np.full((height, width), -1, np.int32), np.full((height, width), np.inf)
    if not nothing.all():
        part = np.where(nothing, -1, mesh.part_of[triangle])
        corners = raster.clip[mesh.triangles[triangle], 2]
        depth = np.where(nothing, np.inf, corners.mean(-1))
    return Rendering(
        image=_resized(image, height, width),
        part=part.astype(np.int32),
        depth=depth.astype(np.float32),
        alpha=1 - _resized(raster.through, height, width),
    )
