"""The fast renderer: many images a second and core, and the same bytes for the same scene.

Surfaces are found by a depth buffer with several subpixels a pixel; hair, brows and lashes are
sorted layer by layer. A light is a handful of directions over its disk, the surroundings are
some dozen directions of the sphere; for each of them a small depth map tells where its light
arrives. So soft shadows, the shade under lids and lips and in the mouth all follow from the
geometry. Light that skin receives spreads below its surface, red farther than blue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.synthesis.render.mesh import LightSource, Material, MeshScene, Part, View
from moppet.values import Floats, MoppetError

_NEAR: Final = 0.05
_SURROUNDINGS: Final = 32
_PHASES: Final = 2
_GOLDEN: Final = math.pi * (3 - math.sqrt(5))
_SKIN_SPREAD: Final = np.array([0.035, 0.016, 0.009])
"""Decimeters that red, green and blue light spreads in skin (standard deviation)."""
_SKIN_MIX: Final = np.array([0.8, 0.65, 0.55])
_SMALLEST_TEXTURE: Final = 4


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


@dataclass(frozen=True)
class _Points:
    position: Floats
    smooth: Floats
    normal: Floats
    color: Floats
    ambient: Floats


def _rasterized(scene: MeshScene, height: int, width: int, kernels: Any) -> _Raster:
    mesh = _joined(scene.parts)
    camera = camera_of(scene.view, height, width)
    clip = camera.clip(mesh.vertices)
    texels = _texels_a_subpixel(scene, mesh, clip)
    textures, level_of = _packed_textures(scene, mesh, texels)
    closeness = np.zeros((height, width))
    ids = np.full((height, width), -1, np.int32)
    kernels.rasterize(clip, mesh.triangles, 0, mesh.opaque, _NEAR, closeness, ids)
    end = len(mesh.triangles)
    surface = (mesh.uv, mesh.part_of, level_of, textures.pool, textures.images)
    latest, links, values = kernels.collect_layers(
        clip, mesh.triangles, mesh.opaque, end, _NEAR, closeness, *surface
    )
    places, weights, through = kernels.choose_points(ids, latest, links, values)
    return _Raster(mesh, camera, clip, level_of, textures, places, weights, through)


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
    scene: MeshScene, mesh: _Mesh, clip: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how many texels, by side length, each triangle's texture has a subpixel."""
    sides = np.array([math.prod(_texture_size(part.material)) for part in scene.parts])
    depth = np.maximum(clip[:, 2:], _NEAR)
    area = _areas(clip[:, :2] / depth, mesh.triangles)
    texels = _areas(mesh.uv, mesh.triangles) * sides[mesh.part_of]
    return np.asarray(np.sqrt(texels / np.maximum(area, 1e-12)))


def _areas(points: NDArray[Any], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    u, v = b - a, c - a
    return np.asarray(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2)


def _texture_size(material: Material) -> tuple[int, int]:
    maps = (material.color, material.alpha, material.normal_map, material.ambient)
    shapes = [m.shape[:2] for m in maps if m is not None and m.ndim > 1]
    return (max(s[0] for s in shapes), max(s[1] for s in shapes)) if shapes else (1, 1)


def _packed_textures(
    scene: MeshScene, mesh: _Mesh, texels: NDArray[np.float64]
) -> tuple[_Textures, Floats]:
    """Return all textures from the finest level that the image needs on, and the triangles' level.

    A level is the binary logarithm of texels a subpixel, counted from the finest one kept.
    """
    levels = np.log2(np.maximum(texels, 1e-6))
    pools, tables, start = [], [], 0
    for k, part in enumerate(scene.parts):
        own = mesh.part_of == k
        finest = max(int(np.percentile(levels[own], 10)), 0) if own.any() else 0
        levels[own] -= finest
        table = []
        for texture in _pyramid(part.material, finest):
            table.append((start, *texture.shape[:2], 0))
            pools.append(texture.ravel())
            start += texture.size
        tables.append([(*row[:3], len(table)) for row in table])
    images = np.zeros((len(tables), max([1, *map(len, tables)]), 4), np.int64)
    for k, rows in enumerate(tables):
        images[k, : len(rows)] = rows
    return _Textures(_stacked([p[:, None] for p in pools], 1, np.float32).ravel(), images), (
        levels.astype(np.float32)
    )


def _pyramid(material: Material, finest: int) -> Iterator[Floats]:
    """Yield a material's maps, (height, width, 8), each level half as large as the one before."""
    height, width = _texture_size(material)
    finest = min(finest, max(int(math.log2(max(min(height, width), 1))) - 2, 0))
    texture = _all_maps(material, max(height >> finest, 1), max(width >> finest, 1))
    yield texture
    while min(texture.shape[:2]) > _SMALLEST_TEXTURE:
        texture = _resized(texture, texture.shape[0] // 2, texture.shape[1] // 2)
        yield texture


def _all_maps(material: Material, height: int, width: int) -> Floats:
    out = np.empty((height, width, 8), np.float32)
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
    return out


def _resized(image: Floats, height: int, width: int) -> Floats:
    if image.shape[:2] == (height, width):
        return image
    smaller = height <= image.shape[0] and width <= image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    if image.ndim > 2 and image.shape[2] > 4:
        halves = [image[..., :4], image[..., 4:]]
        return np.concatenate([_resized(half, height, width) for half in halves], 2)
    image = np.ascontiguousarray(image, np.float32)
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.float32)


def _read_points(raster: _Raster, kernels: Any) -> _Points:
    count = len(raster.places)
    position, smooth, normal, color = (_zeros(count, 3) for _ in range(4))
    points = _Points(position, smooth, normal, color, _zeros(count))
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
        points.position,
        points.smooth,
        points.normal,
        points.color,
        points.ambient,
    )
    return points


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape, np.float32)


# ---------------------------------------------------------------------------------- light


@dataclass(frozen=True)
class _Shadows:
    """Makes depth maps of a scene, large enough for all points that need them."""

    raster: _Raster
    corners: NDArray[np.float64]
    seen: Floats
    kernels: Any

    def fill(self, depths: Floats, direction: NDArray[np.float64]) -> tuple[Any, float]:
        """Draw the scene as light from a direction meets it; return the map's frame and bias."""
        frame = self._frame(direction, depths.shape[0])
        raster, mesh = self.raster, self.raster.mesh
        self.kernels.depth_map(
            mesh.vertices,
            frame,
            mesh.triangles,
            mesh.opaque,
            mesh.uv,
            mesh.part_of,
            raster.level_of,
            raster.textures.pool,
            raster.textures.images,
            self.seen,
            depths,
        )
        return frame, 1.0 / float(np.linalg.norm(frame[0, :3]))

    def _frame(self, direction: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        """Return (3, 4): decimeters of the world to texels and nearness to the light."""
        side = (0.0, 1.0, 0.0) if abs(direction[1]) < 0.9 else (1.0, 0.0, 0.0)
        right = _unit(np.cross(side, direction))
        axes = np.stack([right, np.cross(direction, right), direction])
        spans = self.corners @ axes.T
        low, high = spans.min(0), spans.max(0)
        scale = (size - 4) / max(float((high - low)[:2].max()), 1e-6)
        frame = np.zeros((3, 4))
        frame[:2, :3], frame[2, :3] = axes[:2] * scale, axes[2]
        frame[:2, 3] = size / 2 - scale * (low + high)[:2] / 2
        return frame


def _lit_points(
    scene: MeshScene, raster: _Raster, points: _Points, kernels: Any
) -> tuple[Floats, Floats]:
    """Return what falls on each point from everywhere, and what it mirrors, (n, 3) each."""
    count = len(points.position)
    light, gloss = _zeros(count, 3), _zeros(count, 3)
    low, high = points.position.min(0), points.position.max(0)
    corners = np.array(np.meshgrid(*np.stack([low, high], 1))).reshape(3, -1).T.astype(float)
    shadows = _Shadows(raster, corners, _zeros(len(raster.mesh.vertices), 3), kernels)
    fine = min(max(round(raster.camera.middle[1] * 1.6), 192), 1024)
    looks = (raster.places, raster.mesh.part_of, raster.mesh.looks)
    eye = raster.camera.eye
    depths = _zeros(fine, fine)
    for source in scene.lights:
        diffuse, visible = _zeros(count), _zeros(count)
        for direction, share in light_directions(source):
            frame, bias = shadows.fill(depths, direction)
            surface = (points.position, points.smooth, points.normal, points.ambient)
            kernels.gather_light(depths, frame, bias, direction, share, *surface, diffuse, visible)
        toward, color = _unit(np.asarray(source.direction, float)), np.asarray(source.color, float)
        kernels.shade_light(
            toward,
            color,
            float(source.size),
            eye,
            *looks,
            points.position,
            points.normal,
            diffuse,
            visible,
            light,
            gloss,
        )
    sums = _surroundings(scene, raster, points, shadows, max(fine // 2, 128))
    sky, ground = np.asarray(scene.sky, float), np.asarray(scene.ground, float)
    kernels.shade_ambient(
        sky,
        ground,
        eye,
        *looks,
        points.position,
        points.normal,
        points.color,
        points.ambient,
        sums,
        light,
        gloss,
    )
    return light, gloss


def _surroundings(
    scene: MeshScene, raster: _Raster, points: _Points, shadows: _Shadows, size: int
) -> Floats:
    """Return how much of sky and ground each point sees, (n, 6); see `gather_ambient`."""
    sums = _zeros(len(points.position), 6)
    if not (np.any(scene.sky) or np.any(scene.ground)):
        return sums
    depths = _zeros(size, size)
    width = round(2 * raster.camera.middle[0])
    for k, direction in enumerate(sphere_directions(_SURROUNDINGS)):
        frame, bias = shadows.fill(depths, direction)
        shadows.kernels.gather_ambient(
            depths,
            frame,
            bias,
            direction,
            k % _PHASES,
            _PHASES,
            raster.camera.eye,
            raster.places,
            width,
            points.position,
            points.smooth,
            points.normal,
            points.ambient,
            sums,
        )
    return sums


def light_directions(source: LightSource) -> list[tuple[NDArray[np.float64], float]]:
    """Return directions over a light's disk, (3,) each, and their shares of its light.

    A matte surface that faces the light gets its color, whatever its size.
    """
    middle = _unit(np.asarray(source.direction, np.float64))
    count = 1 if source.size < 0.02 else min(4 + round(24 * source.size), 16)
    radius = math.sin(min(source.size, 1.5)) if count > 1 else 0.0
    side = (0.0, 1.0, 0.0) if abs(middle[1]) < 0.9 else (1.0, 0.0, 0.0)
    right = _unit(np.cross(side, middle))
    up = np.cross(middle, right)
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

    def average(values: Floats) -> Floats:
        tiles = values.reshape(height, samples, width, samples, *values.shape[2:])
        return np.asarray(tiles.mean((1, 3)), np.float32)

    subpixels = height * width * samples**2
    part, depth = np.full(subpixels, -1, np.int32), np.full(subpixels, np.inf, np.float32)
    strongest = np.full(subpixels, -np.inf, np.float32)
    strongest[:] = raster.through.ravel()
    order = np.argsort(raster.weights, kind="stable")
    place, triangle = raster.places[order].T
    better = raster.weights[order] >= strongest[place]
    place, triangle = place[better], triangle[better]
    part[place] = raster.mesh.part_of[triangle]
    depth[place] = raster.clip[raster.mesh.triangles[triangle]][:, :, 2].mean(1)
    middle = (slice(samples // 2, None, samples),) * 2
    return Rendering(
        image=average(image),
        part=part.reshape(raster.through.shape)[middle],
        depth=depth.reshape(raster.through.shape)[middle],
        alpha=1 - average(raster.through),
    )
