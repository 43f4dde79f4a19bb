"""Which vertices of the base mesh are eyelids and lips: loops around the eyes and the mouth.

The base mesh has regular loops of quads there: 28 vertices around an eye, 38 around the mouth.
They are found by walking over the mesh from one known edge.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse
import scipy.spatial
from numpy.typing import NDArray

from moppet.synthesis.render.head_assets import HeadAssets, Indices
from moppet.values import Floats
from moppet.vocabulary import SIDES

LID_RINGS: Final = range(-4, 12)
"""Rings of an eye: 0 to 4 are the lids' edges, from the eyeball outward; 5 to 11 the lids' skin,
and -1 to -4 lie behind, against the eyeball."""
LIP_RINGS: Final = range(-4, 8)
"""Rings of the mouth: -1 and 0 are where the lips touch, 1 to 6 the red of the lips, 7 the skin
around; -2 to -4 lie inside."""

_LEFT_LID_EDGE: Final = (3384, 3385)
_LIP_EDGE: Final = (418, 433)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rings:
    """Loops around an opening, aligned in columns.

    rings: (rings, columns) vertices; a column runs from inside to outside.
    upper: (columns,), whether a column belongs to the upper lid or lip.
    across: (columns, columns), sparse: rows give the point of the other lid or lip that a
        column meets, as a mean of two neighboring columns.
    """

    rings: Indices
    upper: NDArray[np.bool_]
    across: scipy.sparse.csr_matrix


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceTopology:
    """Eyelids, lips and neighborhoods. smoothing: (skin, skin), the mean of a vertex and those
    next to it."""

    lids: dict[str, Rings]
    lips: Rings
    smoothing: scipy.sparse.csr_matrix


@functools.lru_cache(maxsize=2)
def face_topology(assets: HeadAssets) -> FaceTopology:
    """Return the loops of the base mesh's face."""
    walker = _Walker(assets.quads)
    vertices = assets.vertices
    left = walker.rings(_LEFT_LID_EDGE, LID_RINGS, vertices)
    mirror = scipy.spatial.cKDTree(vertices[: assets.skin_count])
    right = np.asarray(mirror.query(vertices[left] * np.array([-1, 1, 1]))[1], np.int32)
    mouth = walker.rings(_LIP_EDGE, LIP_RINGS, vertices)
    return FaceTopology(
        lids={
            side: _rings(rings, -LID_RINGS[0], vertices)
            for side, rings in zip(SIDES, (left, right), strict=True)
        },
        lips=_rings(mouth, -LIP_RINGS[0], vertices),
        smoothing=_smoothing(assets),
    )


def _rings(rings: Indices, edge: int, vertices: Floats) -> Rings:
    """Return loops with the lids or lips told apart: columns between the two corners."""
    x, y = vertices[rings[edge], 0], vertices[rings[edge], 1]
    count = rings.shape[1]
    halves = [np.roll(np.arange(count), -start)[: count // 2] for start in range(count)]
    apart = [y[half].mean() - np.delete(y, half).mean() for half in halves]
    upper = np.isin(np.arange(count), halves[int(np.argmax(apart))])
    across = scipy.sparse.lil_matrix((count, count), dtype=np.float32)
    for half in (upper, ~upper):
        other = np.flatnonzero(~half)
        order = other[np.argsort(x[other])]
        for column in np.flatnonzero(half):
            k = int(np.clip(np.searchsorted(x[order], x[column]), 1, len(order) - 1))
            low, high = order[k - 1], order[k]
            t = float(np.clip((x[column] - x[low]) / max(x[high] - x[low], 1e-6), 0, 1))
            across[column, low], across[column, high] = 1 - t, t
    return Rings(rings=rings, upper=upper, across=across.tocsr())


def _smoothing(assets: HeadAssets) -> scipy.sparse.csr_matrix:
    quads, count = assets.quads, assets.skin_count
    rows = np.concatenate([quads, np.roll(quads, -1, axis=1)]).ravel()
    columns = np.concatenate([np.roll(quads, -1, axis=1), quads]).ravel()
    matrix = scipy.sparse.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, columns)), (count,) * 2
    )
    matrix.data[:] = 1.0  # an edge of two quads counts once
    matrix = matrix + scipy.sparse.identity(count, dtype=np.float32)
    total = np.asarray(matrix.sum(axis=1)).ravel().astype(np.float32)
    return scipy.sparse.csr_matrix(scipy.sparse.diags(1 / total) @ matrix)


class _Walker:
    """Walks over quads: straight on along a loop, and from loop to loop."""

    def __init__(self, quads: Indices) -> None:
        self._around: dict[int, set[int]] = {}
        self._beside: dict[int, list[set[int]]] = {}
        for quad in quads.tolist():
            for k, vertex in enumerate(quad):
                self._around.setdefault(vertex, set()).update((quad[k - 1], quad[(k + 1) % 4]))
                self._beside.setdefault(vertex, []).append(set(quad))

    def rings(self, edge: tuple[int, int], which: range, vertices: Floats) -> Indices:
        """Return the loop through an edge and the loops beside it, those inside first."""
        loop = [*edge]
        while (further := self._straight(loop[-2], loop[-1])) != loop[0]:
            loop.append(further)
        first, second = sorted(self._around[loop[0]] - {loop[1], loop[-1]})
        # the loop outside lies further in front
        loops = [self._beside_loop(loop, start) for start in (first, second)]
        inner, outer = sorted(loops, key=lambda one: float(vertices[one, 2].mean()))
        found = {0: loop, -1: inner, 1: outer}
        for k in range(1, which.stop - 1):
            found[k + 1] = self._next_loop(found[k - 1], found[k])
        for k in range(-1, which.start, -1):
            found[k - 1] = self._next_loop(found[k + 1], found[k])
        return np.array([found[k] for k in which], np.int32)

    def _straight(self, before: int, here: int) -> int:
        near = {v for quad in self._beside[here] if before in quad for v in quad}
        (further,) = self._around[here] - near
        return further

    def _beside_loop(self, loop: Sequence[int], start: int) -> list[int]:
        beside = [start]
        for here, after in itertools.pairwise(loop):
            (quad,) = (q for q in self._beside[here] if after in q and beside[-1] in q)
            (further,) = quad - {here, after, beside[-1]}
            beside.append(further)
        return beside

    def _next_loop(self, before: Sequence[int], loop: Sequence[int]) -> list[int]:
        return self._beside_loop(loop, self._straight(before[0], loop[0]))
