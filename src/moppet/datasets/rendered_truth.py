"""The true facial movements of rendered images, from the table beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from moppet.values import MoppetError
from moppet.vocabulary import MOVEMENT_OF

TRUTH: Final = "truth.parquet"
"""File with every parameter and movement of a folder of rendered images, beside its manifest."""
_PREFIX: Final = "m_"


def movement_truth(folder: Path, paths: Iterable[Any]) -> dict[str, NDArray[np.float64]]:
    """Return movement → (n,) true intensities of these images, NaN for images it does not know.

    folder: with TRUTH; without it, or without movements in it, nothing is returned.
    paths: of the images, relative to the folder.
    Raises MoppetError if the file cannot be read.
    """
    path = folder / TRUTH
    if not path.is_file():
        return {}
    try:
        there = set(pq.read_schema(path).names)
        if "path" not in there:
            return {}
        wanted = [name for name in map(_PREFIX.__add__, MOVEMENT_OF) if name in there]
        table = pq.read_table(path, columns=["path", *wanted])
    except (OSError, ValueError):
        raise MoppetError(f"{path} cannot be read: it is not a complete Parquet file.") from None
    row_of = {name: row for row, name in enumerate(table["path"].to_pylist())}
    rows = np.array([row_of.get(name, -1) for name in paths], np.int64)
    found = {}
    for column in wanted:
        values = np.append(table[column].to_numpy().astype(np.float64), np.nan)
        found[column.removeprefix(_PREFIX)] = values[rows]
    return found
