"""Readers of dataset layouts: each reads a folder or table into a `Manifest`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from moppet.datasets.manifest import Manifest, read_manifest
from moppet.datasets.readers.affectnet import AFFECTNET
from moppet.datasets.readers.ages import B3FD, UTKFACE
from moppet.datasets.readers.ckplus import CKPLUS
from moppet.datasets.readers.csv_tables import CSV
from moppet.datasets.readers.dataset import Dataset
from moppet.datasets.readers.fer2013 import FER2013, FERPLUS, FERPLUS_NPZ
from moppet.datasets.readers.file_names import CAFE, DARTMOUTH, NIMH_CHEFS, TROMSO
from moppet.datasets.readers.folder_tree import describe
from moppet.datasets.readers.folders import BABYEXP, CITY_INFANT, FOLDER
from moppet.datasets.readers.rafdb import RAFDB
from moppet.datasets.readers.videos import CHILD_EFES, EMOREACT, LIRIS_CSE
from moppet.datasets.readers.web_faces import WEB_FACES
from moppet.files import print_once
from moppet.plugins import load_plugins
from moppet.values import MoppetError, UsageError, nearest_name

__all__ = ["DATASETS", "Dataset", "announce_license", "find_dataset", "read_dataset"]


def _title(manifest: Manifest) -> str:
    """Return the titles of a manifest's datasets, or the names of unregistered ones."""
    sources = [source for source in manifest.table["source"].unique().to_pylist() if source]
    titles = [DATASETS[name].title if name in DATASETS else name for name in sources]
    return ", ".join(titles) or "These images"


def announce_license(what: Dataset | Manifest) -> bool:
    """Print a dataset's license and consent conditions on stderr when it is first used.

    Returns whether it was printed. Changed conditions are printed again; see `print_once`. Nothing
    is printed for a manifest without conditions.
    """
    title = what.title if isinstance(what, Dataset) else _title(what)
    return bool(what.license) and print_once(f"{title}: {what.license}", what.license)


_PUBLISHED: Final = (
    *(FER2013, FERPLUS, FERPLUS_NPZ, AFFECTNET, RAFDB, CKPLUS),
    *(CAFE, CHILD_EFES, NIMH_CHEFS, DARTMOUTH, LIRIS_CSE, EMOREACT),
    *(CITY_INFANT, BABYEXP, TROMSO, UTKFACE, B3FD, WEB_FACES),
)


def _if_no_other_fits(dataset: Dataset, *own: str) -> Dataset:
    """Return a dataset that is recognized only if no published dataset has the layout.

    own: names of the layouts for your own images that do not take precedence over this one.
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
"""Name → dataset; add your own, or install a package that does (see `load_plugins`).

The first two are layouts for your own images.
"""


def find_dataset(path: str | os.PathLike[str], kind: str | None = None) -> Dataset:
    """Return the dataset at a path: the one named by `kind`, or the one with its layout.

    Raises UsageError for an unknown kind, MoppetError if the path does not exist or no layout fits.
    """
    load_plugins("moppet.datasets", DATASETS, Dataset)
    if kind is not None:
        if kind not in DATASETS:
            near = nearest_name(kind, DATASETS)
            hint = f"did you mean {near!r}?" if near else f"it is one of {', '.join(DATASETS)}."
            raise UsageError(f"there is no kind of dataset {kind!r}: {hint}")
        return DATASETS[kind]
    place = Path(path)
    if not place.exists():
        raise MoppetError(f"images were expected at {place}, which does not exist.")
    found = [dataset for dataset in DATASETS.values() if dataset.recognizes(place)]
    if len(found) == 1:
        return found[0]
    if found:
        fits = ", ".join(dataset.name for dataset in found)
        raise MoppetError(f"{place} may be any of {fits}: give its kind.")
    raise MoppetError(
        f"{place} has no known layout ({describe(place)}): put your images into one folder per "
        "class, list them in a labels.csv (path,label), or give the kind of dataset: "
        f"{', '.join(DATASETS)}."
    )


def read_dataset(path: str | os.PathLike[str], kind: str | None = None, **options: Any) -> Manifest:
    """Return the manifest of the images at a path; no image is opened.

    path: a dataset in its own layout, your own folder or table, or a manifest's .parquet.
    kind: a key of DATASETS; None recognizes the layout.
    options: those of the dataset (docs/reference/dataset-layouts.md).
    Raises UsageError for an unknown kind or option, MoppetError for unreadable files.
    """
    if kind is None and Path(path).suffix.lower() == ".parquet":
        if options:
            raise UsageError(f"a manifest has no option {', '.join(options)}.")
        return read_manifest(path)
    return find_dataset(path, kind).read(path, **options)
