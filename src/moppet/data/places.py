"""Where the faces of pictures are, and the file that keeps it for the next time."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.data.arrays import read_arrays
from moppet.data.likeness import content_hash
from moppet.values import Floats, Image, MoppetError


class Places(NamedTuple):
    """Where the faces of n pictures are: landmarks in pixels of the picture, NaN for none."""

    landmarks_px: Floats
    tight: NDArray[np.bool_]
    attempt: NDArray[np.int8]
    several: NDArray[np.int64]


def put_places(places: Places, rows: NDArray[np.int64], found: Places) -> None:
    """Put what was found in the place of these rows."""
    places.landmarks_px[rows] = found.landmarks_px
    places.tight[rows] = found.tight
    places.attempt[rows] = found.attempt
    places.several[rows] = found.several


def take_places(places: Places, rows: list[int] | NDArray[np.intp]) -> Places:
    """Return the places of these rows."""
    marks, tight, attempt, several = places
    return Places(marks[rows], tight[rows], attempt[rows], several[rows])


def no_places(n: int) -> Places:
    """Return the places of n pictures in which nobody has looked."""
    landmarks = np.full((n, 5, 2), np.nan, np.float32)
    return Places(landmarks, np.zeros(n, bool), np.full(n, -1, np.int8), np.zeros(n, np.int64))


def key_of(picture: Image, box_px: Floats) -> str:
    """Return what tells whether a cache knows this picture, whatever its file is called."""
    return hashlib.sha256(content_hash(picture).encode() + box_px.tobytes()).hexdigest()


class Known(NamedTuple):
    """What a cache holds: the row of `places` of each key."""

    rows: dict[str, int]
    places: Places


def read_known(cache: Path | None) -> Known:
    """Return what a cache holds, nothing where it is not there or damaged."""
    if cache is not None and cache.is_file():
        with contextlib.suppress(MoppetError):  # a damaged cache is made anew
            arrays = read_arrays(cache, ("keys", *Places._fields))
            rows = {str(key): row for row, key in enumerate(arrays.pop("keys"))}
            return Known(rows, Places(**arrays))
    return Known({}, no_places(0))


def write_known(cache: Path, keys: NDArray[np.str_], places: Places, known: Known) -> None:
    """Keep these pictures' places, and what the cache knew of others.

    The file is replaced only once the new one is whole.
    """
    here = set(keys.tolist())
    others = {key: row for key, row in known.rows.items() if key not in here}
    every = np.arange(len(keys) + len(others))
    both = no_places(len(every))
    put_places(both, every[: len(keys)], places)
    put_places(both, every[len(keys) :], take_places(known.places, list(others.values())))
    part = cache.with_name(f".{cache.name}.{os.getpid()}.part.npz")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(part, keys=np.array([*keys, *others], "U64"), **both._asdict())
        os.replace(part, cache)
    finally:
        part.unlink(missing_ok=True)
