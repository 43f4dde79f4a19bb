"""Simple surfaces as parts: sheets, tubes and balls, with normals and texture coordinates."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moppet.synthesis.render.mesh import Indices, Material, Part
from moppet.values import Floats

Reals = NDArray[np.floating[Any]]


def sheet(name: str, points: Reals, material: Material, *, closed: bool = False) -> Part:
    """Return a grid of points as a surface.

    points: (rows, columns, 3). Seen from outside, rows run downward and columns to the right.
    closed: the last column joins the first.
    """
    if closed:
        points = np.concatenate([points, points[:, :1]], axis=1)
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate(
        [np.stack(corners, axis=-1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))]
    )
    v, u = np.meshgrid(np.linspace(1, 0, rows), np.linspace(0, 1, columns), indexing="ij")
    flat = points.reshape(-1, 3).astype(np.float32)
    sums = _normal_sums(flat, triangles).reshape(rows, columns, 3)
    if closed:
        sums[:, 0] += sums[:, -1]
        sums[:, -1] = sums[:, 0]
    return Part(
        name=name,
        vertices=flat,
        normals=_unit(sums.reshape(-1, 3)),
        uv=np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32),
        triangles=triangles,
        material=material,
    )


def tube(
    name: str,
    path: Reals,
    radius: float | Reals,
    material: Material,
    *,
    closed: bool = False,
    sides: int = 10,
    flat: float = 1.0,
) -> Part:
    """Return a tube around a path, (n, 3). radius: one, or (n,). closed: the path is a ring.

    flat: thickness along the path's second direction as a share of the radius (a band below 1).
    """
    ahead = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    if not closed:
        ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
    forward = _unit(ahead)
    guide = np.array([0.02, 0.05, 1.0], np.float32)
    across = _unit(np.cross(forward, guide))
    second = np.cross(across, forward)
    turn = np.linspace(0, 2 * math.pi, sides, endpoint=False)
    ring = (
        np.cos(turn)[:, None, None] * across[None] + flat * np.sin(turn)[:, None, None] * second
    ) * np.broadcast_to(np.asarray(radius, np.float32), len(path))[None, :, None]
    points = (path[None] + ring).transpose(1, 0, 2)
    if closed:
        points = np.concatenate([points, points[:1]])
    return sheet(name, points, material, closed=True)


def ball(name: str, center: Reals, radii: Reals, material: Material, *, sides: int = 20) -> Part:
    """Return an ellipsoid. center, radii: (3,)."""
    down = np.linspace(0, math.pi, sides // 2 + 1)
    turn = np.linspace(0, 2 * math.pi, sides, endpoint=False)
    points = np.stack(
        [
            np.sin(down)[:, None] * np.sin(turn),
            np.cos(down)[:, None] * np.ones_like(turn),
            np.sin(down)[:, None] * np.cos(turn),
        ],
        axis=-1,
    )
    part = sheet(name, center + points * radii, material, closed=True)
    normals = _unit((part.vertices - center) / np.asarray(radii) ** 2)
    return replace(part, normals=normals)


def vertex_normals(vertices: Reals, triangles: Indices) -> Floats:
    """Return normals of length 1, (n, 3): means of the triangles' around, weighted by area."""
    return _unit(_normal_sums(vertices, triangles))


def _normal_sums(vertices: Reals, triangles: Indices) -> Floats:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    sums = np.zeros((len(vertices), 3))
    for axis in range(3):
        for corner in range(3):
            sums[:, axis] += np.bincount(
                triangles[:, corner], weights=normal[:, axis], minlength=len(vertices)
            )
    return sums.astype(np.float32)


def _unit(vectors: Reals) -> Floats:
    """Return vectors of length 1; those without a length point to the camera."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    known = vectors / np.maximum(lengths, 1e-12)
    return np.where(lengths > 1e-12, known, [0, 0, 1]).astype(np.float32)
