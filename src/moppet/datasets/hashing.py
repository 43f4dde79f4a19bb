"""Content hashes and perceptual hashes of images, and the search for near duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.values import CountProgress, Floats, Image, no_progress

MAX_HAMMING: Final = 12
MIN_CORRELATION: Final = 0.65
MIN_SIMILARITY: Final = 0.92
SCALES: Final = {1.0: (0.93, 1.0, 1.08), 0.92: (0.86, 0.93, 1.0), 0.85: (0.8, 0.86, 0.93)}
"""Hashed central part of the second image → sizes of the first image to search for it."""
THUMB_PX: Final = 48
_HASH_PX: Final = 32
_MIDDLE_PX: Final = 22
_LEAST_CONTRAST: Final = 3.0
"""Standard deviation in gray levels; flatter thumbnails cannot be compared."""
_BLOCK: Final = 256
_CHUNK: Final = 4096


class NearDuplicates(NamedTuple):
    """Pairs that connect near duplicates to groups; not every pair of a group is listed.

    rows: (m, 2) row numbers. mirrored: (m,) whether the images are mirrored.
    similarity: (m,) their correlation (`_similarity`).
    """

    rows: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    similarity: Floats


def content_hash(image: Image) -> str:
    """Return the SHA-256 of an image's size and pixels; equal for gray and gray stored as RGB."""
    if image.ndim == 3 and (image == image[:, :, :1]).all():
        image = image[:, :, 0]
    shape = "x".join(map(str, image.shape))
    return hashlib.sha256(shape.encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def thumbnail(image: Image) -> Image:
    """Return an image as (THUMB_PX, THUMB_PX) gray, resized to a square."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    return _shrink(np.asarray(gray, np.uint8), THUMB_PX)


def perceptual_hash(thumb: Image) -> str:
    """Return a thumbnail's hash as 16 hex digits, the lowest vertical frequencies first."""
    return np.packbits(hash_bits(thumb[None])[0]).tobytes().hex()


def hash_bits(thumbs: Image, *, zoom: float = 1.0, mirrored: bool = False) -> NDArray[np.bool_]:
    """Return (n, 64) bits of the perceptual hash of thumbnails (n, THUMB_PX, THUMB_PX).

    zoom: the central part of the image to hash. mirrored: hash the mirror image.
    """
    basis = _dct_basis()
    low = np.empty((len(thumbs), 8, 8), np.float32)
    for start in range(0, len(thumbs), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        low[chunk] = basis @ _small(thumbs[chunk], zoom) @ basis.T
    if mirrored:
        low *= np.where(np.arange(8) % 2, -1, 1)
    flat = low.reshape(len(thumbs), 64)
    return np.asarray(flat > np.median(flat[:, 1:], axis=1, keepdims=True))


def find_near_duplicates(
    thumbs: Image,
    *,
    known: NDArray[np.integer[Any]] | None = None,
    progress: CountProgress = no_progress,
) -> NearDuplicates:
    """Return pairs of near duplicates among thumbnails (n, THUMB_PX, THUMB_PX).

    known: (n,) rows with equal numbers are not compared.
    Time is O(n²): about half a minute for 30,000 images on one core.
    """
    found: list[tuple[int, int, bool, float]] = []
    parent = list(range(len(thumbs)))
    for done, pairs in _candidates(thumbs, known):
        views: dict[tuple[int, float], list[Floats]] = {}
        for first, second, mirrored, zoom in pairs:
            a, b = _root(parent, first), _root(parent, second)
            if a == b:
                continue
            if (first, zoom) not in views:
                views[first, zoom] = _views(thumbs[first], zoom)
            other = thumbs[second][:, :: -1 if mirrored else 1]
            similarity = _similarity(views[first, zoom], other)
            if similarity >= MIN_SIMILARITY:
                parent[b] = a
                found.append((first, second, mirrored, similarity))
        progress(done, len(thumbs))
    return NearDuplicates(
        np.array([pair[:2] for pair in found], np.int64).reshape(-1, 2),
        np.array([pair[2] for pair in found], bool),
        np.array([pair[3] for pair in found], np.float32),
    )


class _View(NamedTuple):
    """Thumbnails at one zoom, mirrored or not, prepared for comparison.

    signs: (n, 64) hash bits as ±1. small: (n, _HASH_PX, _HASH_PX). mean, spread: (n,) of small.
    """

    mirrored: bool
    zoom: float
    signs: Floats
    small: Image
    mean: Floats
    spread: Floats


_Pair = tuple[int, int, bool, float]


def _candidates(
    thumbs: Image, known: NDArray[np.integer[Any]] | None
) -> Iterator[tuple[int, list[_Pair]]]:
    """Yield the number of rows done and the candidate pairs by hash and correlation, best first."""
    rows = np.flatnonzero(thumbs.std(axis=(1, 2)) >= _LEAST_CONTRAST)
    group = rows if known is None else np.asarray(known)[rows]
    plain = [_view(thumbs[rows], zoom) for zoom in SCALES]
    views = [*plain, *(_mirror(thumbs[rows], view) for view in plain)]
    for start in range(0, len(rows), _BLOCK):
        best: dict[tuple[int, int, bool], tuple[int, float]] = {}
        for view in views:
            i, j, differ = _similar(plain[0], view, start, group)
            for a, b, d in zip(rows[i].tolist(), rows[j].tolist(), differ.tolist(), strict=True):
                key = (a, b, view.mirrored)
                best[key] = min((d, view.zoom), best.get(key, (64, view.zoom)))
        order = sorted(best, key=lambda key: (best[key], key))
        done = rows[min(start + _BLOCK, len(rows)) - 1] + 1
        yield int(done), [(*key, best[key][1]) for key in order]
    yield len(thumbs), []


def _view(thumbs: Image, zoom: float) -> _View:
    small = _small(thumbs, zoom)
    mean = small.mean(axis=(1, 2), dtype=np.float32)
    spread = np.array([image.std() for image in small], np.float32)
    return _View(False, zoom, _signs(thumbs, zoom, False), small, mean, spread)


def _mirror(thumbs: Image, view: _View) -> _View:
    signs = _signs(thumbs, view.zoom, True)
    return view._replace(mirrored=True, signs=signs, small=view.small[:, :, ::-1])


def _signs(thumbs: Image, zoom: float, mirrored: bool) -> Floats:
    bits = hash_bits(thumbs, zoom=zoom, mirrored=mirrored)
    return np.where(bits, np.float32(1), np.float32(-1))


def _similar(
    whole: _View, other: _View, start: int, group: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the similar pairs of a block of rows with all rows, and their differing bits."""
    # Whole images are compared once; a part is compared with each whole in both directions.
    after = start if other.zoom == 1 else 0
    product = whole.signs[start : start + _BLOCK] @ other.signs[after:].T
    i, j = np.nonzero(product >= 64 - 2 * MAX_HAMMING)
    bits = ((64 - product[i, j]) / 2).astype(np.intp)
    i, j = i + start, j + after
    keep = (group[i] != group[j]) & ((j > i) | (other.zoom != 1))
    i, j, bits = i[keep], j[keep], bits[keep]
    keep = _correlate(whole, other, i, j) >= MIN_CORRELATION
    return i[keep], j[keep], bits[keep]


def _correlate(first: _View, second: _View, i: NDArray[np.intp], j: NDArray[np.intp]) -> Floats:
    """Return Pearson's correlation of the small images of each pair."""
    found = np.empty(len(i), np.float32)
    for start in range(0, len(i), _CHUNK):
        a, b = i[start : start + _CHUNK], j[start : start + _CHUNK]
        x, y = first.small[a].astype(np.float32), second.small[b].astype(np.float32)
        both = np.einsum("nij,nij->n", x, y) / _HASH_PX**2
        spread = np.maximum(first.spread[a] * second.spread[b], 1e-6)
        found[start : start + _CHUNK] = (both - first.mean[a] * second.mean[b]) / spread
    return found


def _similarity(views: list[Floats], other: Image) -> float:
    """Return the best correlation of the middle of one image with any position in the other."""
    edge = (_HASH_PX - _MIDDLE_PX) // 2
    part = slice(edge, edge + _MIDDLE_PX)
    middle = _detail(other, _HASH_PX)[part, part]
    return max(float(cv2.matchTemplate(view, middle, cv2.TM_CCOEFF_NORMED).max()) for view in views)


def _views(thumb: Image, zoom: float) -> list[Floats]:
    return [_detail(thumb, round(_HASH_PX * scale)) for scale in SCALES[zoom]]


def _detail(thumb: Image, side: int) -> Floats:
    """Return a resized thumbnail without its finest and coarsest detail."""
    small = _shrink(np.ascontiguousarray(thumb), side).astype(np.float32)
    fine = cv2.GaussianBlur(small, (0, 0), 0.8)
    return np.asarray(fine - cv2.GaussianBlur(small, (0, 0), 4), np.float32)


def _small(thumbs: Image, zoom: float) -> Image:
    side = round(THUMB_PX * zoom)
    edge = (THUMB_PX - side) // 2
    part = slice(edge, edge + side)
    small = np.empty((len(thumbs), _HASH_PX, _HASH_PX), np.uint8)
    for i, thumb in enumerate(thumbs):
        small[i] = _shrink(thumb[part, part], _HASH_PX)
    return small


def _shrink(gray: Image, side: int) -> Image:
    flags = cv2.INTER_AREA if min(gray.shape) >= side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, (side, side), interpolation=flags), np.uint8)


@lru_cache(maxsize=1)
def _dct_basis() -> Floats:
    """Return the eight lowest frequencies of OpenCV's DCT, (8, _HASH_PX)."""
    unit = np.eye(_HASH_PX, dtype=np.float32)
    columns = [cv2.dct(np.ascontiguousarray(unit[:, i : i + 1])) for i in range(_HASH_PX)]
    return np.asarray(np.concatenate(columns, axis=1)[:8], np.float32)


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row
