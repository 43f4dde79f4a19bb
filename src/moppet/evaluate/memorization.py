"""Synthetic faces that are near copies of training faces, which is a privacy leak."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.hashing import find_near_duplicates
from moppet.datasets.manifest import connect
from moppet.evaluate.sample_distances import Values, distances
from moppet.values import CountProgress, Image, no_progress

ALARM_SHARE: Final = 0.01
LEAST_REAL: Final = 20
LEAST_CLOSENESS: Final = 0.01
MOST_REAL: Final = 2000
_CHUNK: Final = 512


class Memorization(NamedTuple):
    """How close each of m synthetic faces is to a real one.

    nearest: (m,) number of the nearest real face in the embedding, -1 if there is none.
    distance: (m,) to that face. closeness: (m,) this distance, divided by the distance from the
    real face to its own nearest real neighbor: 0 for a copy, about 1 for a new face.
    limit: the 1 % quantile of the real faces' closeness; NaN for too few faces.
    too_near: (m,) closeness below limit, or below LEAST_CLOSENESS.
    copy_of: (m,) number of the real face with nearly the same image (`datasets.hashing`), or -1.
    similarity: (m,) of the two images, NaN if there is none.
    real_closeness: (q,) of real faces to other real faces. real_duplicates: number of real faces
    with nearly the same image as a face of another group; their groups are merged.
    """

    nearest: NDArray[np.intp]
    distance: Values
    closeness: Values
    limit: float
    too_near: NDArray[np.bool_]
    copy_of: NDArray[np.intp]
    similarity: Values
    real_closeness: Values
    real_duplicates: int

    @property
    def alarm(self) -> NDArray[np.bool_]:
        """(m,) whether the face nearly equals a training face."""
        return np.asarray(self.too_near | (self.copy_of >= 0))


def find_memorized(
    synthetic: NDArray[Any],
    real: NDArray[Any],
    groups: NDArray[np.integer[Any]],
    rng: np.random.Generator,
    *,
    synthetic_thumbs: Image,
    real_thumbs: Image,
    progress: CountProgress = no_progress,
) -> Memorization:
    """Return which synthetic faces are near copies of real ones.

    synthetic, real: (m, d) and (n, d) embeddings; real ones of all rows that the generator may have
    seen. groups: (n,) rows of one group (a subject, duplicates) are not compared with each other.
    synthetic_thumbs, real_thumbs: `datasets.hashing.thumbnail` of the aligned faces.
    rng: draws up to 2,000 real faces for the limit. progress: of the search for copies.

    Closeness is a face's distance to the nearest real face r, divided by r's distance to its own
    nearest real face of another group. It is also computed for each real face against the real
    faces of other groups; the limit is the 1 % quantile of these values (the lowest one if there
    are fewer than 100). If a generator draws new faces from the same distribution, synthetic and
    real faces are exchangeable, and 1 % of its faces are below the limit. If it repeats training
    faces, far more are. There is no limit with fewer than 20 real groups.
    """
    n = len(real)
    own_group = np.r_[groups, np.full(len(synthetic), groups.max(initial=-1) + 1)].astype(np.int64)
    thumbs = np.concatenate([real_thumbs, synthetic_thumbs])
    pairs = find_near_duplicates(thumbs, known=own_group, progress=progress)
    closed = connect(
        n + len(synthetic), [[*groups.tolist(), *[None] * len(synthetic)]], pairs.rows
    )[:n]
    crossing = (pairs.rows < n).sum(axis=1) == 1
    copy_of, similarity = _copies(
        pairs.rows[crossing], pairs.similarity[crossing], n, len(synthetic)
    )
    duplicates = len(np.unique(pairs.rows[~crossing]))
    if not real.shape[1]:
        real, synthetic = np.empty((0, 1)), np.zeros((len(synthetic), 1))
        closed = closed[:0]
    nearest, distance = _nearest(synthetic, real, closed)
    own = _own(real, closed, rng)
    limit = math.nan
    if len(np.unique(closed)) >= LEAST_REAL and len(own):
        limit = float(np.quantile(own, ALARM_SHARE, method="lower"))
    first, _, _ = _scales(real, closed, nearest)
    closeness = _ratio(distance, first)
    near = (closeness < limit) | (closeness < LEAST_CLOSENESS)
    return Memorization(
        nearest, distance, closeness, limit, near, copy_of, similarity, own, duplicates
    )


def _copies(
    rows: NDArray[np.int64], similarity: NDArray[Any], n: int, synthetic: int
) -> tuple[NDArray[np.intp], Values]:
    """Return the most similar real image of each synthetic one, from mixed pairs of rows."""
    copy_of, best = np.full(synthetic, -1), np.full(synthetic, math.nan)
    for (a, b), alike in zip(np.sort(rows, axis=1).tolist(), similarity.tolist(), strict=True):
        if not alike <= best[b - n]:
            copy_of[b - n], best[b - n] = a, alike
    return copy_of, best


def _nearest(
    rows: NDArray[Any],
    real: NDArray[Any],
    groups: NDArray[np.integer[Any]],
    *excluded: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.intp], Values]:
    """Return each row's nearest real row and the distance; -1, NaN if there is none.

    excluded: (len(rows),) groups that are not considered.
    """
    nearest, distance = np.full(len(rows), -1), np.full(len(rows), math.nan)
    for start in range(0, len(rows) if len(real) else 0, _CHUNK):
        part = slice(start, start + _CHUNK)
        apart = distances(rows[part], real)
        for own in excluded:
            apart[groups == own[part, None]] = math.inf
        best = apart.argmin(axis=1)
        found = np.isfinite(apart[np.arange(len(best)), best])
        # `distances` is inexact for nearly equal rows.
        exact = np.linalg.norm(rows[part].astype(np.float64) - real[best], axis=1)
        nearest[part] = np.where(found, best, -1)
        distance[part] = np.where(found, exact, math.nan)
    return nearest, distance


def _scales(
    real: NDArray[Any], groups: NDArray[np.integer[Any]], wanted: NDArray[np.intp]
) -> tuple[Values, NDArray[np.int64], Values]:
    """Return three values for each of the wanted real rows (-1: NaN): the distance to the nearest
    row of another group, that group, and the distance to the nearest row of any third group."""
    rows, place = np.unique(np.append(wanted, -1), return_inverse=True)
    rows, place = rows[1:], place[:-1] - 1  # the first is -1
    nearest, first = _nearest(real[rows], real, groups, groups[rows])
    second_group = np.where(nearest >= 0, groups[nearest] if len(groups) else -1, -1)
    third = _nearest(real[rows], real, groups, groups[rows], second_group)[1]
    return (
        np.append(first, math.nan)[place],  # place -1 is the last: NaN
        np.append(second_group, -1)[place],
        np.append(third, math.nan)[place],
    )


def _own(real: NDArray[Any], groups: NDArray[np.integer[Any]], rng: np.random.Generator) -> Values:
    """Return the closeness of a sample of real rows to the other real rows."""
    rows = np.sort(rng.permutation(len(real))[:MOST_REAL])
    nearest, distance = _nearest(real[rows], real, groups, groups[rows])
    first, group, third = _scales(real, groups, nearest)
    closeness = _ratio(distance, np.where(group == groups[rows], third, first))
    return np.asarray(closeness[~np.isnan(closeness)])


def _ratio(distance: Values, scale: Values) -> Values:
    """Return distance / scale, with 0 / 0 = 0 and x / 0 = infinity."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = distance / scale
    return np.asarray(np.where((distance == 0) & (scale == 0), 0.0, found))
