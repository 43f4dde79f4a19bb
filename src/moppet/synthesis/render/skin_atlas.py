"""Where on the skin's image each point of the head lies: an atlas that magnifies the face.

MakeHuman's hm08 layout gives the face a twentieth of the image. The atlas turns that layout upright
and stretches it, so that 512 pixels hold as much of the face as 2,000 did.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import scipy.spatial
from numpy.typing import NDArray

from moppet.values import Floats

_ACROSS: Final = (
    (0.0, 0.14, 0.33, 0.375, 0.59, 0.635, 0.825, 1.0),
    (0.0, 0.06, 0.16, 0.22, 0.78, 0.84, 0.94, 1.0),
)
"""hm08's v → the atlas's u: from the person's right ear to the left one."""
_DOWN: Final = ((0.0, 0.64, 0.735, 0.96, 1.0), (0.0, 0.04, 0.16, 0.92, 1.0))
"""hm08's u → 1 minus the atlas's v: from the crown of the head to the chin."""


def atlas_uv(uv: Floats) -> Floats:
    """Return the place in the atlas of points of the hm08 layout; both (n, 2), 0 to 1."""
    across = np.interp(uv[:, 1], *_ACROSS)
    down = np.interp(uv[:, 0], *_DOWN)
    return np.stack([across, 1 - down], axis=1).astype(np.float32)


def to_atlas(image: Floats, size: int) -> Floats:
    """Return an image of the hm08 layout (height, width[, 3]) as one of the atlas, size² pixels."""
    height, width = image.shape[:2]
    place = (np.arange(size) + 0.5) / size
    u = np.interp(place, _DOWN[1], _DOWN[0]) * width - 0.5
    v = (1 - np.interp(place, _ACROSS[1], _ACROSS[0])) * height - 0.5
    x, y = np.broadcast_to(u[:, None], (size, size)), np.broadcast_to(v[None], (size, size))
    return np.asarray(
        cv2.remap(
            np.asarray(image, np.float32),
            np.ascontiguousarray(x, np.float32),
            np.ascontiguousarray(y, np.float32),
            cv2.INTER_AREA if size < height / 4 else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )


def soften(image: NDArray[Any], spread: float) -> Floats:
    """Return an image blurred by a Gaussian of a standard deviation in pixels."""
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), spread), np.float32)


@dataclass(frozen=True)
class Atlas:
    """The reference head, drawn into the atlas.

    position: (size, size, 3), the point of the head at each pixel, in decimeters.
    normal: (size, size, 3), the surface's direction. open: (size, size), 0 to 1, how much of the
        surrounding light comes in: little in nostrils and ears, none inside of the mouth.
    pixel_length: (size, size, 2), how far apart neighboring pixels lie on the head, to the right
        and downward. covered: (size, size), where the head lies.
    """

    position: Floats
    normal: Floats
    open: Floats
    pixel_length: Floats
    covered: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return len(self.position)

    def front(self, x: Floats, y: Floats) -> Floats:
        """Return the points of the face, (n, 3), that a viewer in front sees at x and y, (n,)."""
        tree, points = self._face
        places = np.stack([x, y], axis=1)
        distance, near = tree.query(places, k=24)
        depth = points[near, 2]
        distance = np.asarray(distance)
        weight = np.exp(-0.5 * (distance / (distance.mean(axis=1, keepdims=True) + 1e-4)) ** 2)
        weight = weight * (depth > depth.max(axis=1, keepdims=True) - 0.08)
        z = (weight * depth).sum(axis=1) / weight.sum(axis=1)
        return np.column_stack([places, z]).astype(np.float32)

    @functools.cached_property
    def _face(self) -> tuple[scipy.spatial.cKDTree, Floats]:
        points = self.position[self.covered & (self.position[..., 2] > 0.25)]
        return scipy.spatial.cKDTree(points[:, :2]), points


def draw_atlas(
    vertices: Floats,
    uv: Floats,
    faces: NDArray[np.int32],
    uv_faces: NDArray[np.int32],
    size: int,
) -> Atlas:
    """Draw a head of quads into the atlas.

    vertices: (n, 3). uv: (k, 2), hm08. faces, uv_faces: (m, 4), into vertices and uv.
    """
    places = atlas_uv(uv) * [size, -size] + [-0.5, size - 0.5]
    normal, area = _normals(vertices, faces)
    values = np.column_stack([vertices, normal, _openness(vertices, normal, area)])
    drawn = np.zeros((size, size, 7), np.float32)
    covered = np.zeros((size, size), bool)
    for corners in ((0, 1, 2), (0, 2, 3)):
        for triangle, place in zip(faces[:, corners], places[uv_faces[:, corners]], strict=True):
            _draw_triangle(drawn, covered, values[triangle], place)
    drawn = _fill(drawn, covered)
    position = np.ascontiguousarray(drawn[..., :3])
    openness = soften(drawn[..., 6], size / 400)
    return Atlas(position, drawn[..., 3:6], openness, _pixel_length(position, covered), covered)


def _normals(vertices: Floats, faces: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """Return each vertex's normal, (n, 3), and share of the area, (n,)."""
    a, b, c, d = (vertices[faces[:, k]] for k in range(4))
    cross = np.cross(c - a, d - b) / 2
    normal = np.zeros_like(vertices)
    area = np.zeros(len(vertices), np.float32)
    for k in range(4):
        np.add.at(normal, faces[:, k], cross)
        np.add.at(area, faces[:, k], np.linalg.norm(cross, axis=1) / 4)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9), area


def _openness(vertices: Floats, normal: Floats, area: Floats) -> Floats:
    """Return how much light reaches each vertex, by the disks of all others (Bunnell 2005)."""
    open_ = np.ones(len(vertices), np.float32)
    used = np.flatnonzero(area > 0)
    for part in np.array_split(used, max(1, len(used) // 256)):
        apart = vertices[used][None] - vertices[part][:, None]
        squared = (apart**2).sum(axis=2) + 1e-4
        apart /= np.sqrt(squared)[..., None]
        seen = np.clip((apart * normal[part][:, None]).sum(axis=2), 0, 1)
        facing = np.clip(-(apart * normal[used][None]).sum(axis=2), 0, 1)
        shade = area[used] * seen * facing / (np.pi * squared + area[used])
        open_[part] = np.exp(-1.4 * shade.sum(axis=1))
    return open_


def _draw_triangle(
    image: Floats, covered: NDArray[np.bool_], values: Floats, place: NDArray[np.float64]
) -> None:
    x0, y0 = np.maximum(np.floor(place.min(axis=0)), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(place.max(axis=0)), len(image) - 1).astype(int)
    (ax, ay), (bx, by), (cx, cy) = place
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if area == 0 or x1 < x0 or y1 < y0:
        return
    x, y = np.arange(x0, x1 + 1)[None], np.arange(y0, y1 + 1)[:, None]
    b = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
    c = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
    inside = (b >= -1e-6) & (c >= -1e-6) & (b + c <= 1 + 1e-6)
    if inside.any():
        b, c = b[inside][:, None], c[inside][:, None]
        image[y0 : y1 + 1, x0 : x1 + 1][inside] = (
            (1 - b - c) * values[0] + b * values[1] + c * values[2]
        )
        covered[y0 : y1 + 1, x0 : x1 + 1] |= inside


def _fill(image: Floats, covered: NDArray[np.bool_]) -> Floats:
    """Give each pixel outside of the head the value of the nearest one inside."""
    _, labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros((labels.max() + 1, image.shape[2]), np.float32)
    values[labels[covered]] = image[covered]
    return np.asarray(values[labels], np.float32)


def _pixel_length(position: Floats, covered: NDArray[np.bool_]) -> Floats:
    lengths = [np.linalg.norm(np.gradient(position, axis=axis), axis=2) for axis in (1, 0)]
    # Across a seam of the layout, neighbors lie far apart: those take the usual length.
    usual = [float(np.median(length[covered])) for length in lengths]
    length = np.stack(
        [np.where(a > 8 * u, u, a) for a, u in zip(lengths, usual, strict=True)], axis=2
    )
    return np.maximum(cv2.blur(length.astype(np.float32), (5, 5)), 1e-4)
