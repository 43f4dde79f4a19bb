"""Datasets with ages but no expressions: UTKFace and B3FD."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.dataset import IMAGES, Columns, Dataset, choose, read_text
from moppet.datasets.readers.folder_tree import named_like, some_of, walk_files
from moppet.vocabulary import AgeRange, age_band, age_limits

# Four file names lack sex or race, one has a space before its suffix and one has no dot; all have
# an age and a date.
_UTK: Final = re.compile(r"(\d{1,3})_(?:(\d?)_)?(?:(\d)_)?(\d{14,17})\s*(?:jpg)?\..+")
_UTK_SEXES: Final = {"0": "male", "1": "female"}
_UTK_RACES: Final = {"0": "white", "1": "black", "2": "asian", "3": "indian", "4": "other"}


def _of_age(columns: Columns, age_range: AgeRange) -> Columns:
    """Return the rows with an age in the range (including the last year), with age bands."""
    first, last = age_limits(age_range)
    columns["age_band"] = [age_band(age) for age in columns["age"]]
    return choose(columns, [first <= age < last + 1 for age in columns["age"]])


def _read_utk(dataset: Dataset, root: Path, *, age_range: AgeRange = None) -> Manifest:
    age_limits(age_range)
    columns: Columns = {"path": [], "age": [], "sex": [], "ethnicity": []}
    strange = []
    for path in walk_files(root):
        match = _UTK.fullmatch(os.path.basename(path))
        if match is None or int(match.group(1)) > 116:
            strange.append(path)
            continue
        age, sex, race, _ = match.groups()
        whole = bool(sex) and race is not None
        columns["path"].append(path)
        columns["age"].append(float(age))
        columns["sex"].append(_UTK_SEXES.get(sex) if whole else None)
        columns["ethnicity"].append(_UTK_RACES.get(race) if whole else None)
    example = "1_0_2_20161219140530307.jpg (age_gender_race_date)"
    if strange:
        raise dataset.odd(
            f"holds {len(strange):,} images that are not named like {example} "
            f"({some_of(strange)}): rename them or move them away",
            root,
        )
    if not columns["path"]:
        raise dataset.expected(f"{IMAGES} named like {example}", root)
    return dataset.build(root, _of_age(columns, age_range))


UTKFACE = Dataset(
    name="utkface",
    title="UTKFace",
    layout="""
        UTKFace/
          1_0_2_20161219140530307.jpg              in any folder (part1/, part2/, part3/): age,
          1_0_2_20161219140530307.jpg.chip.jpg     0 male or 1 female, 0 to 4 for white, black,
                                                   asian, indian, others; date and time
    """,
    basis=(
        "The dataset's own page and many public loaders. The four file names that lack a part "
        "(issue 1 of aicip/UTKFace) are read with sex and race unknown, and so are the misspelled "
        "ones that public code renames. Not checked against the dataset. It has no expressions "
        "and no subjects; age_range, for example 0-2 for infants, selects rows."
    ),
    license=(
        "For non-commercial research only. The images come from the web and their copyright "
        "belongs to others (https://susanqq.github.io/UTKFace/). Whether the people shown "
        "consented is unknown."
    ),
    looks_like=lambda path: named_like(path, _UTK),
    reader=_read_utk,
)

_B3FD: Final = ("B3FD_metadata/B3FD_age.csv", "B3FD_age.csv")
_B3FD_IMAGES: Final = ("B3FD", "B3FD_images", "images")
_B3FD_SUBJECTS: Final = (
    re.compile(r"(nm\d+)_"),  # IMDb
    re.compile(r"(\d{4,})_\d{4}-\d{1,2}-\d{1,2}_\d{4}"),  # Wikipedia
    re.compile(r"\d{1,3}_(\D+)_\d{4}"),  # CACD
)


def _looks_like_b3fd(path: Path) -> bool:
    return any((path / name).is_file() for name in _B3FD)


def _read_b3fd(
    dataset: Dataset,
    root: Path,
    *,
    age_range: AgeRange = None,
    allow_missing: bool = False,
) -> Manifest:
    age_limits(age_range)
    table = dataset.file(root, *_B3FD)
    images = dataset.folder(root, *_B3FD_IMAGES)
    lines = [line.strip() for line in read_text(table).splitlines() if line.strip()]
    comma = bool(lines) and lines[0].count(",") == 1
    columns: Columns = {"path": [], "age": []}
    for number, line in enumerate(lines, 1):
        path, _, age = line.rpartition("," if comma else " ")
        if number == 1 and not age.replace(".", "", 1).isdecimal():
            continue  # the header
        if not path or not age.replace(".", "", 1).isdecimal():
            raise dataset.odd(f'needs a path and an age in line {number}, not "{line}"', table)
        columns["path"].append(path.strip().replace("\\", "/"))
        columns["age"].append(float(age))
    columns["subject"] = [_b3fd_subject(path) for path in columns["path"]]
    columns = _of_age(columns, age_range)
    there = dataset.present(images, columns["path"], table, allow_missing)
    return dataset.build(images, choose(columns, there))


def _b3fd_subject(path: str) -> str | None:
    name = os.path.basename(path)
    found = (pattern.match(name) for pattern in _B3FD_SUBJECTS)
    return next((match.group(1) for match in found if match), None)


B3FD = Dataset(
    name="b3fd",
    title="B3FD",
    layout="""
        b3fd/
          B3FD_metadata/B3FD_age.csv     or beside it: "path age" in each line, a space between
          B3FD/                          or B3FD_images/, images/: where the paths start
    """,
    basis=(
        "The dataset's own README (375,592 images, ages 0 to 100) and public code that reads the "
        "metadata. Not checked against the dataset. It has no expressions. The subject is read "
        "from the file name if this still has the form used by IMDb, Wikipedia or CACD; otherwise "
        "it is unknown. age_range, for example 0-2 for infants, selects rows."
    ),
    license=(
        "For academic research only. The images come from IMDB-WIKI and CACD, and their copyright "
        "belongs to the original owners (https://github.com/kbesenic/B3FD). Whether the people "
        "shown consented is unknown."
    ),
    looks_like=_looks_like_b3fd,
    reader=_read_b3fd,
)
