"""Which rows of a manifest show the same image, exactly or nearly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.hashing import (
    THUMB_PX,
    NearDuplicates,
    content_hash,
    find_near_duplicates,
    perceptual_hash,
    thumbnail,
)
from moppet.datasets.manifest import Manifest, connect

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of it are, and of how many."""


@dataclass(frozen=True)
class Copies:
    """A manifest whose images were looked at, and which of them are copies.

    manifest: with `content_hash`, `perceptual_hash`, `duplicate_group` (null where an image has
        no copy) and the extra column `readable`.
    readable: (n,) whether the row's image could be read.
    near: pairs of rows with different pixels that join near duplicates, as the search found them.
    """

    manifest: Manifest
    readable: NDArray[np.bool_]
    near: NearDuplicates


def find_copies(manifest: Manifest, *, progress: Progress | None = None) -> Copies:
    """Look at every image and return which are copies of one another.

    Copies that the manifest knows of already (`duplicate_group`) stay together. Frames of one
    video are not compared with each other: they resemble one another by nature.
    """
    contents, thumbs = _look(manifest, progress)
    readable = np.array([c is not None for c in contents], bool)
    _, firsts = np.unique([c or "" for c in contents], return_index=True)
    firsts = np.sort(firsts[readable[firsts]])
    near = find_near_duplicates(
        thumbs[firsts],
        known=_films(manifest)[firsts],
        progress=None if progress is None else lambda d, t: progress("comparing", d, t),
    )
    near = near._replace(rows=firsts[near.rows])
    looked = manifest.replace(
        content_hash=contents,
        perceptual_hash=[
            perceptual_hash(t) if ok else None for t, ok in zip(thumbs, readable, strict=True)
        ],
        duplicate_group=_join(manifest, contents, near),
        readable=readable,
    )
    return Copies(looked, readable, near)


def group_copies(manifest: Manifest, *, progress: Progress | None = None) -> Manifest:
    """Return the manifest with its copies known, so that its `groups` hold them together.

    A manifest that tells its copies is returned as it is; else its images are looked at.
    """
    return manifest if tells_copies(manifest) else find_copies(manifest, progress=progress).manifest


def tells_copies(manifest: Manifest) -> bool:
    """Return whether a manifest has duplicate groups, or its images were searched for copies."""
    known = ("duplicate_group", "perceptual_hash")
    return any(manifest.table[name].null_count < len(manifest) for name in known)


def leave_out_copies(manifest: Manifest, *, progress: Progress | None = None) -> Manifest:
    """Return the manifest with no copies across train, val and test.

    A row loses its split if an exact or near copy of its image is in a split that training must
    not have seen. Test rows stay; validation rows lose their split to them, training rows to both.
    """
    looked = find_copies(manifest, progress=progress).manifest
    groups = looked.groups
    split = looked.column("split").copy()
    for part, yields in (("test", ("val", "train")), ("val", ("train",))):
        there = np.isin(groups, groups[split == part])
        split[there & np.isin(split.astype(str), yields)] = None
    return looked.replace(split=split)


def _look(manifest: Manifest, progress: Progress | None) -> tuple[list[str | None], Any]:
    contents: list[str | None] = [None] * len(manifest)
    thumbs = np.zeros((len(manifest), THUMB_PX, THUMB_PX), np.uint8)
    for done, (row, image) in enumerate(manifest.images(), 1):
        if image is not None:
            contents[row] = content_hash(image)
            thumbs[row] = thumbnail(image)
        if progress is not None:
            progress("reading", done, len(manifest))
    return contents, thumbs


def _films(manifest: Manifest) -> NDArray[np.int64]:
    """(n,) one number for the frames of one video, another for every other row."""
    filmed = ~np.isnan(manifest.column("time_s").astype(float))
    paths = manifest.column("path")
    return connect(len(manifest), [[p if f else None for p, f in zip(paths, filmed, strict=True)]])


def _join(manifest: Manifest, contents: list[str | None], near: NearDuplicates) -> list[int | None]:
    """The number of each row's copies, counted from 0; None for an image without a copy."""
    n = len(manifest)
    links: list[list[Any]] = [contents, manifest.table["duplicate_group"].to_pylist()]
    joined = connect(n, links, near.rows)
    shared = np.bincount(joined, minlength=1) > 1
    number = np.cumsum(shared) - 1
    return [int(number[g]) if shared[g] else None for g in joined.tolist()]
