"""Files: arrays from .npz, folders and files for results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moppet.values import MoppetError


def read_arrays(
    path: Path, names: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, NDArray[Any]]:
    """Return the arrays of these names in an .npz file; optional: names that it may lack.

    Raises MoppetError if the file is missing, damaged or no .npz, lacks a name, or holds pickled
    objects in place of numbers and text: those are never loaded.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            lacking = [name for name in names if name not in archive.files]
            if not lacking:
                wanted = [*names, *(name for name in optional if name in archive.files)]
                return {name: archive[name] for name in wanted}
    except Exception as error:  # numpy, zipfile and zlib each have their own for a damaged file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else None
        raise MoppetError(
            f"{path} cannot be read: {reason or 'it is no whole .npz file of plain arrays'}."
        ) from None
    raise MoppetError(f"{path} lacks the arrays {', '.join(lacking)}.")


@contextmanager
def result_folder(folder: Path) -> Iterator[None]:
    """Make the folder before the work; take it away again if that fails."""
    fresh = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MoppetError(f"{folder} cannot be made: {error.strerror}.") from None
    try:
        yield
    except BaseException:
        if fresh and not any(folder.iterdir()):
            folder.rmdir()
        raise


def write_text(path: Path, text: str) -> Path:
    """Write a result and return where; MoppetError, in one sentence, where that fails."""
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise MoppetError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path
