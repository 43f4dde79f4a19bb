"""Catmull-Clark subdivision with a topology that is computed once (Catmull & Clark 1978)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from moppet.values import Floats

Indices = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Subdivision:
    """A mesh of quads divided once, as one sparse product; vertices are split along uv seams.

    points: (finer vertices, vertices), sparse: positions of the finer mesh.
    split: (k,), the finer vertex of each of the k drawn vertices. uv: (k, 2).
    triangles: (m, 3) into the drawn vertices.
    """

    points: scipy.sparse.csr_matrix
    split: Indices
    uv: Floats
    triangles: Indices
    quads: Indices
    around: scipy.sparse.csr_matrix

    def drawn(self, vertices: Floats) -> tuple[Floats, Floats]:
        """Return positions and normals, (k, 3) each, for the coarse vertices' positions."""
        finer = self.points @ vertices
        corners = finer[self.quads]
        a, b = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
        normals = self.around @ cross(a, b)
        normals /= np.maximum(np.sqrt(np.einsum("nk,nk->n", normals, normals)), 1e-12)[:, None]
        return finer[self.split], normals[self.split]


def subdivide(quads: Indices, uv: Floats, quad_uv: Indices, smooth: bool = True) -> Subdivision:
    """Return the once divided mesh of quads over vertices 0 to n - 1.

    quads: (m, 4). uv: (k, 2). quad_uv: (m, 4) into uv: uv is divided linearly. smooth: round the
    surface as Catmull and Clark do; borders keep their vertices. Without it, edges stay straight.
    """
    count = int(quads.max()) + 1
    points, finer = _points(quads, count, smooth)
    uv_points, finer_uv = _points(quad_uv, len(uv), smooth=False)
    pairs, drawn = np.unique(
        finer.astype(np.int64) * uv_points.shape[0] + finer_uv, return_inverse=True
    )
    drawn = drawn.reshape(finer.shape).astype(np.int32)
    around = _matrix(finer.ravel(), np.repeat(np.arange(len(finer)), 4), 1.0, points.shape[0])
    split, of_uv = np.divmod(pairs, uv_points.shape[0])
    return Subdivision(
        points=points,
        split=split.astype(np.int32),
        uv=(uv_points @ uv)[of_uv].astype(np.float32),
        triangles=triangles_of(drawn),
        quads=finer,
        around=around,
    )


def cross(a: Floats, b: Floats) -> Floats:
    """Return the cross products, (n, 3), of two lists of vectors; faster than numpy's."""
    out = np.empty_like(a)
    out[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    out[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    out[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return out


def triangles_of(quads: Indices) -> Indices:
    """Return the triangles, (2 m, 3), of quads, (m, 4)."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def _points(quads: Indices, count: int, smooth: bool) -> tuple[scipy.sparse.csr_matrix, Indices]:
    """Return the matrix of finer points (vertices, edges, faces in this order) and finer quads."""
    sides = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    edges, edge_of = np.unique(sides, axis=0, return_inverse=True)
    edge_of = edge_of.reshape(-1, 4)
    faces = np.arange(len(quads))
    of_face = _matrix(np.repeat(faces, 4), quads.ravel(), 0.25, len(quads), count)
    of_edge = _matrix(np.repeat(np.arange(len(edges)), 2), edges.ravel(), 0.5, len(edges), count)
    of_vertex = scipy.sparse.identity(count, format="csr", dtype=np.float32)
    if smooth:
        touching = np.bincount(edge_of.ravel(), minlength=len(edges))
        inner = (touching == 2).astype(np.float32)
        beside = _matrix(edge_of.ravel(), np.repeat(faces, 4), 0.5, len(edges), len(quads))
        rounded = (beside @ of_face + of_edge) * 0.5
        border = np.zeros(count, bool)
        border[edges[touching != 2].ravel()] = True
        mean_face = _mean(_matrix(quads.ravel(), np.repeat(faces, 4), 1.0, count, len(quads)))
        middle = np.repeat(np.arange(len(edges)), 2)
        mean_edge = _mean(_matrix(edges.ravel(), middle, 1.0, count, len(edges)))
        valence = np.maximum(np.bincount(quads.ravel(), minlength=count), 3).astype(np.float32)
        free = scipy.sparse.diags((~border).astype(np.float32) / valence)
        stay = scipy.sparse.diags(np.where(border, 1, (valence - 3) / valence).astype(np.float32))
        of_vertex = free @ (mean_face @ of_face + 2 * (mean_edge @ of_edge)) + stay
        of_edge = scipy.sparse.diags(inner) @ rounded + scipy.sparse.diags(1 - inner) @ of_edge
    matrix = scipy.sparse.vstack([of_vertex, of_edge, of_face]).astype(np.float32).tocsr()
    edge, face = count + edge_of, count + len(edges) + faces
    finer = np.stack(
        [np.stack([quads[:, k], edge[:, k], face, edge[:, k - 1]], axis=1) for k in range(4)],
        axis=1,
    )
    return matrix, finer.reshape(-1, 4).astype(np.int32)


def _matrix(
    rows: NDArray[np.integer], columns: NDArray[np.integer], value: float, *shape: int
) -> scipy.sparse.csr_matrix:
    size = (shape[0], shape[1] if len(shape) > 1 else int(columns.max()) + 1)
    values = np.full(len(rows), value, np.float32)
    return scipy.sparse.csr_matrix((values, (rows, columns)), size)


def _mean(matrix: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    total = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1).astype(np.float32)
    return scipy.sparse.csr_matrix(scipy.sparse.diags(1 / total) @ matrix)
