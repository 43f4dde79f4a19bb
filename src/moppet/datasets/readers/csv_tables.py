"""Tables of images: a CSV of paths and labels."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from moppet.datasets.manifest import AGE_BANDS, SCHEMA, Manifest
from moppet.datasets.readers.dataset import (
    Columns,
    Dataset,
    choose,
    known_dataset,
    read_text,
    subject_finder,
)
from moppet.files import one_line
from moppet.values import MoppetError
from moppet.vocabulary import age_band, one_spelling, rename_classes, split_of

_PLAIN: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
"""A number; "01" and "nan" count as text."""
_NUMBERS: Final = tuple(f.name for f in SCHEMA if str(f.type) in ("int64", "float", "double"))
LISTED: Final = "labels.csv"


def read_table(path: Path, needed: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the header, in lower case, and the rows of a CSV with commas, semicolons or tabs.

    needed: columns that the header must have.
    Raises MoppetError for missing columns, or a row of another length than the header.
    """
    text = read_text(path)
    first = text.lstrip().splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=first.count)
    first_row, *rows = read_rows(path, text, delimiter) or [[]]
    header = [name.strip().casefold() for name in first_row]
    missing = [name for name in needed if name not in header]
    if missing:
        raise MoppetError(
            f"{path} needs the columns {', '.join(needed)} in its first line, "
            f"but has {one_line(', '.join(header), 200) or 'none'}."
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        name = one_line(repr(twice[0]), 60)
        raise MoppetError(f"{path} has the column {name} twice: rename one.")
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise MoppetError(
                f"{path}, row {number}, has {len(row)} cells, but the header has {len(header)}."
            )
    return header, rows


def read_rows(path: Path, text: str, delimiter: str = ",") -> list[list[str]]:
    """Return the rows of a CSV's text; MoppetError with the file's name if it is invalid."""
    try:
        return list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise MoppetError(
            f"{path} cannot be read as a table: {error}; is a quotation mark left open?"
        ) from None


def number(cell: str, path: Path, row: int, column: str) -> float | None:
    """Return a cell as a number, None if empty; row counts from 0 below the header."""
    if not cell.strip():
        return None
    try:
        value = float(cell)
        if math.isinf(value):
            raise ValueError
    except ValueError:
        raise MoppetError(
            f"{path}, row {row + 2}: {column} should be a number, not {one_line(repr(cell), 60)}."
        ) from None
    return None if math.isnan(value) else value


def read_ages(path: str | os.PathLike[str] | None) -> dict[str, float]:
    """Return subject → age in years from a CSV with the columns subject and age; {} for None."""
    if path is None:
        return {}
    place = Path(path)
    header, rows = read_table(place, ["subject", "age"])
    at, age_at = header.index("subject"), header.index("age")
    found = {row[at].strip(): number(row[age_at], place, i, "age") for i, row in enumerate(rows)}
    return {subject: age for subject, age in found.items() if age is not None}


def _table_of(path: Path) -> Path | None:
    place = path / LISTED if path.is_dir() else path
    there = os.path.lexists(place) and not place.is_dir()
    return place if there and place.suffix.lower() == ".csv" else None


def _read_listed(
    dataset: Dataset,
    root: Path,
    *,
    subject_pattern: str | None = None,
    as_given: bool = False,
    only_expressions: bool = False,
    allow_missing: bool = False,
) -> Manifest:
    table = _table_of(root)
    if table is None:
        raise dataset.expected(LISTED, root)
    header, rows = read_table(table, ["path", "label"])
    cells = {name: [row[i].strip() for row in rows] for i, name in enumerate(header) if name}
    if "votes" in cells:
        raise dataset.odd("has votes in one column: `moppet data agreement` reads raters", table)
    columns = {name: _typed(name, column, table) for name, column in cells.items()}
    columns["path"] = _relative(table.parent, cells["path"])
    there = dataset.present(table.parent, columns["path"], table, allow_missing)
    renamed = (one_spelling if as_given else rename_classes)(x for x in cells["label"] if x)
    columns["label"] = [renamed.get(x) for x in cells["label"]]
    if "split" in cells:
        columns["split"] = [split_of(x) or x or None for x in cells["split"]]
    if subject_pattern is not None:
        find = subject_finder(subject_pattern)
        columns["subject"] = [find(path) for path in columns["path"]]
    _add_bands(dataset, table, columns)
    return dataset.build(table.parent, choose(columns, there), only_expressions=only_expressions)


def _typed(name: str, cells: list[str], table: Path) -> list[Any]:
    """Return a column's values: manifest columns in their type, others as numbers if all are."""
    if name in _NUMBERS or name == "age":
        values = [number(cell, table, row, name) for row, cell in enumerate(cells)]
        if name in SCHEMA.names and str(SCHEMA.field(name).type) == "int64":
            return [None if value is None else int(value) for value in values]
        return values
    if name not in SCHEMA.names and any(cells) and all(_PLAIN.fullmatch(c) for c in cells if c):
        return [float(cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def _relative(root: Path, cells: list[str]) -> list[str]:
    """Return paths relative to the table's folder, with slashes; others stay absolute."""
    here = os.fspath(root.absolute()) + os.sep
    paths = []
    for cell in cells:
        path = cell[len(here) :] if cell.startswith(here) else cell
        if "\\" in path and not os.path.exists(os.path.join(root, path)):
            path = path.replace("\\", "/")
        paths.append(Path(path).as_posix())
    return paths


def _add_bands(dataset: Dataset, table: Path, columns: Columns) -> None:
    given = columns.get("age_band")
    odd = sorted({x for x in given or [] if x is not None and x not in AGE_BANDS})
    if odd:
        raise dataset.odd(
            f"has the age_band {odd[0]!r}: it is one of {', '.join(AGE_BANDS)}", table
        )
    if "age" in columns and given is None:
        columns["age_band"] = [age_band(age) for age in columns["age"]]


CSV = known_dataset("csv", lambda path: _table_of(path) is not None, _read_listed)
