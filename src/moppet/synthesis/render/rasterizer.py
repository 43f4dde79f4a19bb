"""The fast renderer: many images a second and core, and the same bytes for the same scene.

Surfaces are found by a depth buffer with several subpixels a pixel; hair, brows and lashes are
sorted layer by layer. A light is a handful of directions over its disk, the surroundings are
some dozen directions of the sphere; for each of them a small depth map tells where its light
arrives. So soft shadows, the shade under lids and lips and in the mouth all follow from the
geometry. Light that skin receives spreads below its surface, red farther than blue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moppet.synthesis.render import surface_kernels as kernels
from moppet.synthesis.render.lighting import light_points, scatter
from moppet.synthesis.render.mesh import MeshScene
from moppet.synthesis.render.surfaces import Raster, rasterize, read_points, resized
from moppet.values import Floats, MoppetError


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
    return resized(_subpixels(scene, size, samples)[1], *size)


def render_layers(scene: MeshScene, size: tuple[int, int], *, samples: int = 2) -> Rendering:
    """Return the scene's image with the part, depth and alpha of every pixel; see `render`."""
    return _resolved(*_subpixels(scene, size, samples), samples)


def _subpixels(scene: MeshScene, size: tuple[int, int], samples: int) -> tuple[Raster, Floats]:
    """Return what the camera sees, and the image of all subpixels."""
    height, width = size
    if scene.background.shape != (height, width, 3):
        raise MoppetError(
            f"The background must have the image's size: ({height}, {width}, 3), "
            f"not {scene.background.shape}."
        )
    raster = rasterize(scene, height * samples, width * samples, samples)
    image = np.repeat(np.repeat(scene.background, samples, 0), samples, 1).astype(np.float32)
    image *= raster.through[..., None]
    if len(raster.places):
        points = read_points(raster)
        light, gloss = light_points(scene, raster, points)
        light = scatter(scene, raster, points, light)
        flat = image.reshape(-1, 3)
        kernels.add_points(
            raster.places, raster.weights, points.color, light, gloss, points.ambient, flat
        )
    return raster, image


def visible_share(scene: MeshScene, size: tuple[int, int], names: tuple[str, ...]) -> float:
    """Return how much of the parts of these names is seen: 0 to 1, NaN if none is in the image.

    What stands in front of them counts as far as it is opaque; they do not hide each other.
    """
    height, width = size
    alone = tuple(part for part in scene.parts if part.name in names)
    own = rasterize(replace(scene, parts=alone), height, width)
    whole = 1.0 - own.through
    if not alone or not whole.any():
        return math.nan
    everything = rasterize(scene, height, width)
    seen = np.zeros(height * width)
    chosen = np.array([part.name in names for part in scene.parts])
    mine = chosen[everything.mesh.part_of[everything.places[:, 1]]]
    np.add.at(seen, everything.places[mine, 0], everything.weights[mine])
    return float(np.minimum(seen, whole.ravel()).sum() / whole.sum())


def _resolved(raster: Raster, image: Floats, samples: int) -> Rendering:
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
        image=resized(image, height, width),
        part=part.astype(np.int32),
        depth=depth.astype(np.float32),
        alpha=1 - resized(raster.through, height, width),
    )
