"""Datasets with ages but no expressions: UTKFace and B3FD."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.dataset import (
    Columns,
    Dataset,
    as_columns,
    choose,
    known_dataset,
    read_text,
)
from moppet.datasets.readers.file_names import Facts, by_pattern, named_columns
from moppet.datasets.readers.folder_tree import has_any, named_like
from moppet.vocabulary import AgeRange, age_band, age_limits

# Four file names lack sex or race, one has a space before its suffix and one has no dot; all have
# an age and a date.
_UTK: Final = re.compile(r"(\d{1,3})_(?:(\d?)_)?(?:(\d)_)?\d{14,17}\s*(?:jpg)?\..+")
_UTK_SEXES: Final = {"0": "male", "1": "female"}
_UTK_RACES: Final = {"0": "white", "1": "black", "2": "asian", "3": "indian", "4": "other"}
_UTK_OLDEST: Final = 116


def _utk_facts(age: str, sex: str | None, race: str | None) -> Facts | None:
    if int(age) > _UTK_OLDEST:
        return None
    if not sex or race is None:
        return {"age": float(age), "sex": None, "ethnicity": None}
    return {"age": float(age), "sex": _UTK_SEXES.get(sex), "ethnicity": _UTK_RACES.get(race)}


def _read_utk(dataset: Dataset, root: Path, *, age_range: AgeRange = None) -> Manifest:
    limits = age_limits(age_range)
    example = "1_0_2_20161219140530307.jpg (age_gender_race_date)"
    columns = named_columns(dataset, root, by_pattern(_UTK, _utk_facts), example)
    return dataset.build(root, _of_age(columns, limits))


def _of_age(columns: Columns, limits: tuple[float, float]) -> Columns:
    """Return the rows with an age in the range (including the last year), with age bands."""
    first, last = limits
    columns["age_band"] = [age_band(age) for age in columns["age"]]
    return choose(columns, [first <= age < last + 1 for age in columns["age"]])


UTKFACE = known_dataset("utkface", lambda path: named_like(path, _UTK), _read_utk)

_B3FD: Final = ("B3FD_metadata/B3FD_age.csv", "B3FD_age.csv")
_B3FD_IMAGES: Final = ("B3FD", "B3FD_images", "images")
_B3FD_SUBJECTS: Final = (
    re.compile(r"(nm\d+)_"),  # IMDb
    re.compile(r"(\d{4,})_\d{4}-\d{1,2}-\d{1,2}_\d{4}"),  # Wikipedia
    re.compile(r"\d{1,3}_(\D+)_\d{4}"),  # CACD
)


def _read_b3fd(
    dataset: Dataset,
    root: Path,
    *,
    age_range: AgeRange = None,
    allow_missing: bool = False,
) -> Manifest:
    limits = age_limits(age_range)
    table = dataset.file(root, *_B3FD)
    images = dataset.folder(root, *_B3FD_IMAGES)
    lines = [line.strip() for line in read_text(table).splitlines() if line.strip()]
    separator = "," if lines and lines[0].count(",") == 1 else " "
    pattern = re.compile(rf"(.+){separator}(\d+(?:\.\d*)?|\.\d+)")
    rows: list[tuple[str, float]] = []
    for number, line in enumerate(lines, 1):
        match = pattern.fullmatch(line)
        if match:
            rows.append((match[1].strip().replace("\\", "/"), float(match[2])))
        elif number > 1:  # the first line may be a header
            raise dataset.odd(f'needs a path and an age in line {number}, not "{line}"', table)
    columns = as_columns(("path", "age"), rows)
    columns["subject"] = [_b3fd_subject(path) for path in columns["path"]]
    columns = _of_age(columns, limits)
    there = dataset.present(images, columns["path"], table, allow_missing)
    return dataset.build(images, choose(columns, there))


def _b3fd_subject(path: str) -> str | None:
    name = os.path.basename(path)
    found = (pattern.match(name) for pattern in _B3FD_SUBJECTS)
    return next((match.group(1) for match in found if match), None)


B3FD = known_dataset("b3fd", has_any(*_B3FD), _read_b3fd)
