"""Which two rows a made row came from, though imbalanced-learn does not say.

Every interpolating sampler makes a + s (b - a) of two rows a and b. So each row carries its own
number, written in bits in columns of its own that the search for neighbours does not look at: in
a made row a bit is 0 or 1 where both parents have it so, and s or 1 - s where they differ.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

_EXACT: Final = 1e-9


class NearestByFirst(NearestNeighbors):  # type: ignore[misc]
    """Finds neighbours by the first so many columns only."""

    def __init__(self, columns: int = 1, n_neighbors: int = 5, n_jobs: int | None = None) -> None:
        super().__init__(n_neighbors=n_neighbors, n_jobs=n_jobs)
        self.columns = columns

    def fit(self, x: Doubles, y: Any = None) -> NearestByFirst:
        """Take the rows to find."""
        super().fit(x[:, : self.columns])
        return self

    def kneighbors(
        self,
        x: Doubles | None = None,
        n_neighbors: int | None = None,
        return_distance: bool = True,
    ) -> Any:
        """Return each row's neighbours, as scikit-learn does."""
        seen = None if x is None else x[:, : self.columns]
        return super().kneighbors(seen, n_neighbors, return_distance)


def row_codes(n: int) -> Doubles:
    """Return (n, b) the numbers 0 to n - 1 in bits, the lowest first."""
    bits = max(1, (n - 1).bit_length())
    return (np.arange(n)[:, None] >> np.arange(bits) & 1).astype(np.float64)


def read_codes(codes: Doubles) -> tuple[Ints, Doubles]:
    """Return which two numbers each mixture of codes came from.

    codes: (m, b) mixtures s a + (1 - s) b of two rows of `row_codes`.
    Returns (m, 2) int64, the number with the larger share first, and (m,) that share, 0.5 to 1;
    the same number twice where nothing was mixed.
    """
    between = (codes > _EXACT) & (codes < 1 - _EXACT)
    mixed = between.any(axis=1)
    first = between.argmax(axis=1)
    share = np.where(mixed, codes[np.arange(len(codes)), first], 1.0)
    both = codes >= 1 - _EXACT
    mine = both | between & (np.abs(codes - share[:, None]) <= np.abs(codes - 1 + share[:, None]))
    other = both | between & ~mine
    weight = 1 << np.arange(codes.shape[1])
    numbers = np.stack([mine @ weight, other @ weight], axis=1).astype(np.int64)
    swapped = share < 0.5
    numbers[swapped] = numbers[swapped, ::-1]
    return numbers, np.where(swapped, 1 - share, share)
