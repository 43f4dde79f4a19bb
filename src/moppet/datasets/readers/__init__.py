"""Readers of dataset layouts: a folder or table in, a `Manifest` out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import platformdirs

from moppet.datasets.manifest import Manifest, read_manifest
from moppet.datasets.readers.affectnet import AFFECTNET
from moppet.datasets.readers.ages import B3FD, UTKFACE
from moppet.datasets.readers.children import CAFE, DARTMOUTH, NIMH_CHEFS, TROMSO
from moppet.datasets.readers.ckplus import CKPLUS
from moppet.datasets.readers.dataset import Dataset
from moppet.datasets.readers.fer2013 import FER2013, FERPLUS, FERPLUS_NPZ
from moppet.datasets.readers.folder_tree import describe
from moppet.datasets.readers.folders import BABYEXP, CITY_INFANT, FOLDER
from moppet.datasets.readers.rafdb import RAFDB
from moppet.datasets.readers.tables import CSV
from moppet.datasets.readers.videos import CHILD_EFES, EMOREACT, LIRIS_CSE
from moppet.plugins import load_plugins
from moppet.values import MoppetError, UsageError, nearest_name

__all__ = ["DATASETS", "Dataset", "announce_license", "find_dataset", "read_dataset"]


def _title(manifest: Manifest) -> str:
    """The titles of a manifest's sets, or the names of sets that are not registered."""
    sources = [source for source in manifest.table["source"].unique().to_pylist() if source]
    titles = [DATASETS[name].title if name in DATASETS else name for name in sources]
    return ", ".join(titles) or "These images"


def announce_license(what: Dataset | Manifest) -> bool:
    """Print a set's license and consent conditions on stderr, the first time that it is used.

    Returns whether it was printed. What was said is remembered in the user's cache folder by its
    words, so that changed conditions are said again; where that folder cannot be written, they
    are said each time. A manifest without conditions has nothing to say.
    """
    if isinstance(what, Dataset):
        title, license = what.title, what.license
    else:
        title, license = _title(what), what.license
    if not license:
        return False
    said = Path(platformdirs.user_cache_dir("moppet", appauthor=False)) / "licences"
    marker = said / hashlib.sha256(license.encode()).hexdigest()[:16]
    with contextlib.suppress(OSError):
        if marker.exists():
            return False
    print(f"{title}: {license}", file=sys.stderr)
    with contextlib.suppress(OSError):
        said.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{title}: {license}\n", encoding="utf-8")
    return True


_PUBLISHED: Final = (
    *(FER2013, FERPLUS, FERPLUS_NPZ, AFFECTNET, RAFDB, CKPLUS),
    *(CAFE, CHILD_EFES, NIMH_CHEFS, DARTMOUTH, LIRIS_CSE, EMOREACT),
    *(CITY_INFANT, BABYEXP, TROMSO, UTKFACE, B3FD),
)


def _if_no_other_fits(dataset: Dataset, *own: str) -> Dataset:
    """Return a layout for one's own images, which many published sets have too.

    own: names of layouts for one's own images that do not take precedence over this one.
    """

    def looks_like(path: Path) -> bool:
        others = (other for name, other in DATASETS.items() if name not in own)
        return dataset.looks_like(path) and not any(other.recognizes(path) for other in others)

    return replace(dataset, looks_like=looks_like)


DATASETS: Final[dict[str, Dataset]] = {
    dataset.name: dataset
    for dataset in (
        _if_no_other_fits(FOLDER, "folder"),
        _if_no_other_fits(CSV, "folder", "csv"),
        *_PUBLISHED,
    )
}
"""Name → data set; put your own into it, or install a package that does (see `load_plugins`).

The first two are layouts for one's own images.
"""


def find_dataset(path: str | os.PathLike[str], kind: str | None = None) -> Dataset:
    """Return the set that lies at a path: the one named, or the one whose layout it has.

    Raises UsageError for an unknown kind, MoppetError if nothing is there or no layout fits.
    """
    load_plugins("moppet.datasets", DATASETS, Dataset)
    if kind is not None:
        if kind not in DATASETS:
            near = nearest_name(kind, DATASETS)
            hint = f"did you mean {near!r}?" if near else f"it is one of {', '.join(DATASETS)}."
            raise UsageError(f"there is no kind of data set {kind!r}: {hint}")
        return DATASETS[kind]
    place = Path(path)
    if not place.exists():
        raise MoppetError(f"images were expected at {place}, but nothing is there.")
    found = [dataset for dataset in DATASETS.values() if dataset.recognizes(place)]
    if len(found) == 1:
        return found[0]
    if found:
        fits = ", ".join(dataset.name for dataset in found)
        raise MoppetError(f"{place} may be any of {fits}: name its kind.")
    raise MoppetError(
        f"{place} has no layout that is known here ({describe(place)}): put your images into a "
        "folder for each class, list them in a labels.csv (path,label), or name the kind of set: "
        f"{', '.join(DATASETS)}."
    )


def read_dataset(path: str | os.PathLike[str], kind: str | None = None, **options: Any) -> Manifest:
    """Return the manifest of the images at a path; no image is opened.

    path: a data set in its own layout, one's own folder or table, or a manifest's .parquet.
    kind: a key of DATASETS; None guesses it by the layout.
    options: those of the set (docs/reference/dataset-layouts.md).
    Raises UsageError for an unknown kind or option, MoppetError for what cannot be read.
    """
    if kind is None and Path(path).suffix.lower() == ".parquet":
        if options:
            raise UsageError(f"a manifest is read as it is: it takes no {', '.join(options)}.")
        return read_manifest(path)
    return find_dataset(path, kind).read(path, **options)
