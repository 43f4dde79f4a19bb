"""Sets of pictures in the layouts that they come in → `Manifest`. No picture is opened.

A set is found by its layout or named; docs/datasets.md shows every layout, and says which could
not be checked on the real set. Classes are mapped by name: those that stand for one of the seven
expressions are called by it, others (contempt) stay classes of their own unless
`only_expressions` leaves their rows out.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from moppet.data.manifest import Manifest, read_manifest
from moppet.data.readers.affectnet import AFFECTNET
from moppet.data.readers.ages import B3FD, UTKFACE
from moppet.data.readers.children import CAFE, DARTMOUTH, NIMH_CHEFS, TROMSO
from moppet.data.readers.ckplus import CKPLUS
from moppet.data.readers.dataset import Dataset
from moppet.data.readers.fer2013 import FER2013
from moppet.data.readers.ferplus import FERPLUS, FERPLUS_NPZ
from moppet.data.readers.folders import BABYEXP, CITY_INFANT, FOLDER
from moppet.data.readers.licence import announce_licence
from moppet.data.readers.rafdb import RAFDB
from moppet.data.readers.tables import CSV
from moppet.data.readers.tree import describe
from moppet.data.readers.videos import CHILD_EFES, EMOREACT, LIRIS_CSE
from moppet.values import MoppetError, UsageError

__all__ = ["DATASETS", "Dataset", "announce_licence", "find_dataset", "read_dataset"]

_KNOWN: Final = (
    *(FER2013, FERPLUS, FERPLUS_NPZ, AFFECTNET, RAFDB, CKPLUS),
    *(CAFE, CHILD_EFES, NIMH_CHEFS, DARTMOUTH, LIRIS_CSE, EMOREACT),
    *(CITY_INFANT, BABYEXP, TROMSO, UTKFACE, B3FD),
)


def _when_nothing_else(dataset: Dataset) -> Dataset:
    """Many known sets are tables or folders too: one's own is what no other layout fits."""

    def looks_like(path: Path) -> bool:
        return dataset.looks_like(path) and not any(known.recognises(path) for known in _KNOWN)

    return replace(dataset, looks_like=looks_like)


def _unlisted(dataset: Dataset, table: Dataset) -> Dataset:
    def looks_like(path: Path) -> bool:
        return dataset.looks_like(path) and not table.recognises(path)

    return replace(dataset, looks_like=looks_like)


_TABLE: Final = _when_nothing_else(CSV)
DATASETS: Final[dict[str, Dataset]] = {
    dataset.name: dataset
    for dataset in (_unlisted(_when_nothing_else(FOLDER), _TABLE), _TABLE, *_KNOWN)
}
"""Name → set. The first two are layouts for one's own pictures."""


def find_dataset(path: str | os.PathLike[str], kind: str | None = None) -> Dataset:
    """Return the set that lies at a path: the one named, or the one whose layout it has.

    Raises UsageError for an unknown kind, MoppetError if nothing is there or no layout fits.
    """
    if kind is not None:
        if kind not in DATASETS:
            near = difflib.get_close_matches(kind.casefold(), DATASETS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(DATASETS)}."
            raise UsageError(f"there is no kind of data set {kind!r}: {hint}")
        return DATASETS[kind]
    place = Path(path)
    if not place.exists():
        raise MoppetError(f"pictures were expected at {place}, but nothing is there.")
    found = [dataset for dataset in DATASETS.values() if dataset.recognises(place)]
    if len(found) == 1:
        return found[0]
    if found:
        fits = ", ".join(dataset.name for dataset in found)
        raise MoppetError(f"{place} may be any of {fits}: name its kind.")
    raise MoppetError(
        f"{place} has no layout that is known here ({describe(place)}): put your pictures into a "
        "folder for each class, list them in a labels.csv (path,label), or name the kind of set: "
        f"{', '.join(DATASETS)}."
    )


def read_dataset(path: str | os.PathLike[str], kind: str | None = None, **options: Any) -> Manifest:
    """Return the manifest of the pictures at a path; no picture is opened.

    path: a data set in its own layout, one's own folder or table, or a manifest's .parquet.
    kind: a key of DATASETS; None guesses it by the layout.
    options: those of the set (docs/datasets.md).
    Raises UsageError for an unknown kind or option, MoppetError for what cannot be read.
    """
    if kind is None and Path(path).suffix.lower() == ".parquet":
        if options:
            raise UsageError(f"a manifest is read as it is: it takes no {', '.join(options)}.")
        return read_manifest(path)
    return find_dataset(path, kind).read(path, **options)
