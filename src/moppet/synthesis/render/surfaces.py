"""What a rasterized image shows: the surfaces that the camera sees, point by point."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.synthesis.render import surface_kernels as kernels
from moppet.synthesis.render.mesh import Material, MeshScene, Part, View
from moppet.values import Floats

_NEAR: Final = 0.05
_SMALLEST_TEXTURE: Final = 4
_COARSEST: Final = 12
_COARSER: Final = 0.5
"""Levels by which textures are read coarser than a subpixel: a pixel averages its subpixels."""

_MATTE: Final = 0.2
"""Roughness from which highlights are larger than a pixel."""
_FLAT: Final = 3.0
"""How much deeper than wide what a pixel shows may be and yet count as one surface."""


@dataclass(frozen=True)
class Mesh:
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
class Camera:
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
class Raster:
    """What the camera sees. places: (n, 2), subpixel and triangle of each point to shade."""

    mesh: Mesh
    camera: Camera
    clip: NDArray[np.float64]
    level_of: Floats
    textures: Textures
    places: NDArray[np.int32]
    weights: Floats
    through: Floats
    foremost: NDArray[np.int32]


@dataclass(frozen=True)
class Points:
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


def rasterize(scene: MeshScene, height: int, width: int, samples: int = 1) -> Raster:
    """Return what the camera sees of a scene. height, width: in subpixels.

    samples: subpixels along each side of a pixel; of two by two that show the same, two are shaded.
    """
    mesh = _joined(scene.parts)
    camera = camera_of(scene.view, height, width)
    clip = camera.clip(mesh.vertices)
    textures, level_of = _packed_textures(scene, mesh, camera, clip)
    closeness = np.zeros((height, width))
    ids = np.full((height, width), -1, np.int32)
    kernels.rasterize(clip, mesh.triangles, 0, mesh.opaque, _NEAR, closeness, ids)
    end = len(mesh.triangles)
    surface = (mesh.uv, mesh.part_of, level_of, textures.pool, textures.images)
    latest, links, values = kernels.collect_layers(
        clip, mesh.triangles, mesh.opaque, end, _NEAR, closeness, *surface
    )
    shares = np.ones((height, width), np.uint8)
    if samples == 2:
        matte, step = mesh.looks[:, 0] >= _MATTE, _FLAT * samples / camera.focal
        shares = kernels.opaque_shares(ids, latest, closeness, mesh.part_of, matte, step)
    seen = kernels.choose_points(ids, latest, links, values, shares)
    return Raster(mesh, camera, clip, level_of, textures, *seen)


def camera_of(view: View, height: int, width: int) -> Camera:
    """Return the pinhole camera of a view."""
    eye, target = np.asarray(view.eye, np.float64), np.asarray(view.target, np.float64)
    forward = unit(target - eye)
    right = unit(np.cross(forward, view.up))
    axes = np.stack([right, np.cross(forward, right), forward])
    focal = height / 2 / math.tan(math.radians(view.fov_degrees) / 2)
    return Camera(eye, axes, focal, (width / 2, height / 2))


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def _joined(parts: tuple[Part, ...]) -> Mesh:
    materials = [part.material for part in parts]
    looks = [(m.roughness, m.specular, m.scattering) for m in materials]
    order = sorted(range(len(parts)), key=lambda k: parts[k].material.alpha is not None)
    counts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    triangles = [parts[k].triangles + np.int32(counts[k]) for k in order]
    return Mesh(
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
class Textures:
    """pool: all texels. images: (parts, levels, 4), start, height, width, number of levels."""

    pool: Floats
    images: NDArray[np.int64]


def _texture_size(material: Material) -> tuple[int, int]:
    maps = (material.color, material.alpha, material.normal_map, material.ambient)
    shapes = [m.shape[:2] for m in maps if m is not None and m.ndim > 1]
    return (max(s[0] for s in shapes), max(s[1] for s in shapes)) if shapes else (1, 1)


def _packed_textures(
    scene: MeshScene, mesh: Mesh, camera: Camera, clip: NDArray[np.float64]
) -> tuple[Textures, Floats]:
    """Return all textures from the finest level that the image needs on, and the triangles' level.

    A level is the binary logarithm of texels a subpixel, counted from the finest one kept.
    """
    levels = zeros(len(mesh.triangles))
    areas = np.zeros((len(scene.parts), _COARSEST + 1))
    sizes = np.array([math.prod(_texture_size(part.material)) for part in scene.parts], float)
    shape = (2 * camera.middle[0], 2 * camera.middle[1], _NEAR)
    kernels.texture_levels(
        clip, mesh.uv, mesh.triangles, mesh.part_of, sizes, *shape, _COARSER, levels, areas
    )
    finest = [_finest_level(of_part) for of_part in areas]
    shapes = [
        _level_shapes(part.material, level) for part, level in zip(scene.parts, finest, strict=True)
    ]
    levels -= np.array(finest, np.float32)[mesh.part_of]
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
    return Textures(pool, images), levels


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
        kernels.halve(larger, smaller)


def _finest_level(areas: NDArray[np.float64]) -> int:
    """Return the level that is fine enough for all but a tenth of the area. areas: of each."""
    whole = float(areas.sum())
    return int(np.searchsorted(np.cumsum(areas) / whole, 0.1)) if whole else _COARSEST


def _write_maps(material: Material, out: Floats) -> None:
    """Write a material's maps, in the size of out, (height, width, 8)."""
    height, width = out.shape[:2]
    color, alpha = material.color.astype(np.float32, copy=False), material.alpha
    if alpha is not None and color.ndim > 1:
        alpha = resized(alpha, *color.shape[:2])
        color = color * alpha[..., None]
    out[..., :3] = resized(color, height, width) if color.ndim > 1 else color
    out[..., 3] = 1.0 if alpha is None else resized(alpha, height, width)
    if alpha is not None and color.ndim == 1:
        out[..., :3] *= out[..., 3:4]
    flat = np.array([0, 0, 1], np.float32)
    bent = material.normal_map
    out[..., 4:7] = flat if bent is None else resized(bent, height, width)
    out[..., 7] = 1.0 if material.ambient is None else resized(material.ambient, height, width)


def resized(image: Floats, height: int, width: int) -> Floats:
    if image.shape[:2] == (height, width):
        return image
    smaller = height <= image.shape[0] and width <= image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    image = np.ascontiguousarray(image, np.float32)
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.float32)


def read_points(raster: Raster) -> Points:
    count = len(raster.places)
    position, smooth, normal, toward, mirror, color = (zeros(count, 3) for _ in range(6))
    points = Points(position, smooth, normal, toward, mirror, color, zeros(count))
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


def zeros(*shape: int) -> Floats:
    return np.zeros(shape, np.float32)
