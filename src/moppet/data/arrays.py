"""The arrays of an .npz file, or one sentence that says why there are none."""

from __future__ import annotations

from collections.abc import Sequence
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
