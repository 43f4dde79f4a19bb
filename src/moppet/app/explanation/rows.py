"""Which pictures `moppet explain` takes, and which of them it explains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moppet.app.data.source import Source
from moppet.data.manifest import Manifest, build_manifest
from moppet.media.pictures import pictures_of
from moppet.study.evaluation.rows import ALL, REPORT
from moppet.values import MoppetError, UsageError


def read_pictures(path: Path, kind: str | None) -> Manifest:
    """Return a data set's manifest, or that of a picture or a plain folder of pictures."""
    plain = kind is None and path.is_dir() and not any(p.is_dir() for p in path.iterdir())
    if plain or (path.is_file() and path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")):
        try:
            pictures = pictures_of(path) or []
        except MoppetError:
            pictures = []
        if pictures:
            root = path if path.is_dir() else path.parent
            names = [picture.name for picture in pictures]
            columns = {"path": names, "source": ["pictures"] * len(names)}
            return build_manifest(columns, root=root, names=())
    return Source(path, kind).read()


def find_split(manifest: Manifest, wanted: str | None) -> str:
    """Return the split to take: the one wanted, else "report" where there is one, else "all"."""
    there = sorted({s for s in manifest.column("split") if s})
    if wanted is None:
        return REPORT if REPORT in there else ALL
    if wanted not in (*there, ALL):
        raise UsageError(
            f"the data has no split {wanted!r}; there is {', '.join(there) or 'no split at all'}, "
            f"and '{ALL}' takes every row."
        )
    return wanted


def draw_rows(
    manifest: Manifest,
    data: Path,
    *,
    split: str,
    labelled: Sequence[str] | None,
    limit: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the rows to explain, in order: at most `limit` (0: all) of those that can be.

    data: their path, for errors. labelled: only rows whose label is one of these.
    Raises MoppetError where none is left.
    """
    inside = np.ones(len(manifest), bool) if split == ALL else manifest.column("split") == split
    of = ""
    if labelled is not None:
        of = f" with a label that is a class of the model ({', '.join(labelled)})"
        inside &= np.isin(manifest.column("label").astype(str), labelled)
    rows = np.flatnonzero(inside)
    if not len(rows):
        where = data if split == ALL else f"split {split!r} of {data}"
        raise MoppetError(f"there is no picture in {where}{of}.")
    if limit and len(rows) > limit:
        rows = np.sort(rng.choice(rows, limit, replace=False))
    return rows
