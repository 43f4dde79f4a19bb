"""Finds exact duplicates and near duplicates among the images of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
from moppet.values import Progress, no_progress


@dataclass(frozen=True)
class DuplicateSearch:
    """A manifest with its duplicate images.

    manifest: with `content_hash`, `perceptual_hash`, `duplicate_group` (null for an image without
        duplicates) and the extra column `readable`.
    readable: (n,) whether the row's image could be read.
    near: pairs of near duplicates with different pixels.
    """

    manifest: Manifest
    readable: NDArray[np.bool_]
    near: NearDuplicates


def find_duplicates(manifest: Manifest, *, progress: Progress = no_progress) -> DuplicateSearch:
    """Read every image and return the duplicates.

    Existing duplicate groups of the manifest are kept. Frames of one video are not compared with
    each other, because they are always similar.
    """
    contents, thumbs = _read_thumbnails(manifest, progress)
    readable = np.array([c is not None for c in contents], bool)
    _, firsts = np.unique([c or "" for c in contents], return_index=True)
    firsts = np.sort(firsts[readable[firsts]])
    near = find_near_duplicates(
        thumbs[firsts],
        known=_video_groups(manifest)[firsts],
        progress=partial(progress, "comparing"),
    )
    near = near._replace(rows=firsts[near.rows])
    hashed = manifest.replace(
        content_hash=contents,
        perceptual_hash=[
            perceptual_hash(t) if ok else None for t, ok in zip(thumbs, readable, strict=True)
        ],
        duplicate_group=_duplicate_groups(manifest, contents, near),
        readable=readable,
    )
    return DuplicateSearch(hashed, readable, near)


def with_duplicate_groups(manifest: Manifest, *, progress: Progress = no_progress) -> Manifest:
    """Return the manifest with duplicate groups, so that `groups` keeps duplicates together.

    Images are read only if the manifest was not searched for duplicates before.
    """
    return (
        manifest
        if has_duplicate_groups(manifest)
        else find_duplicates(manifest, progress=progress).manifest
    )


def has_duplicate_groups(manifest: Manifest) -> bool:
    """Return whether a manifest has duplicate groups, or was searched for duplicates."""
    known = ("duplicate_group", "perceptual_hash")
    return any(manifest.table[name].null_count < len(manifest) for name in known)


def drop_leaking_duplicates(manifest: Manifest, *, progress: Progress = no_progress) -> Manifest:
    """Return the manifest without duplicates across train, val and test.

    Validation rows lose their split if a duplicate or near duplicate is a test row; training rows
    lose it if one is a validation or test row. Test rows stay.
    """
    searched = find_duplicates(manifest, progress=progress).manifest
    groups = searched.groups
    split = searched.column("split").copy()
    for part, yields in (("test", ("val", "train")), ("val", ("train",))):
        duplicated = np.isin(groups, groups[split == part])
        split[duplicated & np.isin(split.astype(str), yields)] = None
    return searched.replace(split=split)


def _read_thumbnails(manifest: Manifest, progress: Progress) -> tuple[list[str | None], Any]:
    contents: list[str | None] = [None] * len(manifest)
    thumbs = np.zeros((len(manifest), THUMB_PX, THUMB_PX), np.uint8)
    for done, (row, image) in enumerate(manifest.images(), 1):
        if image is not None:
            contents[row] = content_hash(image)
            thumbs[row] = thumbnail(image)
        progress("reading", done, len(manifest))
    return contents, thumbs


def _video_groups(manifest: Manifest) -> NDArray[np.int64]:
    """Return (n,) the same number for all frames of one video, a unique one for other rows."""
    filmed = ~np.isnan(manifest.column("time_s").astype(float))
    paths = manifest.column("path")
    return connect(len(manifest), [[p if f else None for p, f in zip(paths, filmed, strict=True)]])


def _duplicate_groups(
    manifest: Manifest, contents: list[str | None], near: NearDuplicates
) -> list[int | None]:
    """Return each row's duplicate group, numbered from 0; None for an image without duplicates."""
    n = len(manifest)
    links: list[list[Any]] = [contents, manifest.table["duplicate_group"].to_pylist()]
    joined = connect(n, links, near.rows)
    shared = np.bincount(joined, minlength=1) > 1
    number = np.cumsum(shared) - 1
    return [int(number[g]) if shared[g] else None for g in joined.tolist()]
