"""imbalanced-learn's samplers, extended to return which rows were kept, repeated or mixed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from moppet.config import check_fields
from moppet.values import MoppetError

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

_EXACT: Final = 1e-9


class NearestByFirst(NearestNeighbors):  # type: ignore[misc]
    """Nearest neighbors by the first `columns` columns only."""

    def __init__(self, columns: int = 1, n_neighbors: int = 5, n_jobs: int | None = None) -> None:
        super().__init__(n_neighbors=n_neighbors, n_jobs=n_jobs)
        self.columns = columns

    def fit(self, x: Doubles, y: Any = None) -> NearestByFirst:
        """Store the rows to search in."""
        super().fit(x[:, : self.columns])
        return self

    def kneighbors(self, x: Doubles | None = None, *arguments: Any, **settings: Any) -> Any:
        """Return each row's neighbors, as scikit-learn does."""
        seen = None if x is None else x[:, : self.columns]
        return super().kneighbors(seen, *arguments, **settings)


def row_codes(n: int) -> Doubles:
    """Return (n, b) the numbers 0 to n - 1 as bits, the lowest first."""
    bits = max(1, (n - 1).bit_length())
    return (np.arange(n)[:, None] >> np.arange(bits) & 1).astype(np.float64)


def read_codes(codes: Doubles) -> tuple[Ints, Doubles]:
    """Return the two row numbers of which each mixture of codes consists.

    codes: (m, b) mixtures s a + (1 - s) b of two rows of `row_codes`.
    Returns (m, 2) int64, the number with the larger share first, and (m,) that share, 0.5 to 1;
    the same number twice for a single row.
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


Counts = Mapping[int, int]
"""Class number → count."""


@dataclass(frozen=True)
class Neighbors:
    """The number of neighbors of each step; small classes use fewer, with a note.

    smote: neighbors of the same class to mix with, in SMOTE, Borderline-SMOTE and ADASYN (which
        uses as many of any class to weight the rows).
    border: neighbors of any class that decide which rows are at the border, in Borderline-SMOTE.
    enn: neighbors of any class that vote on a row, in ENN.
    enn_keeps: keep a row if "all" of its neighbors are of its class (imbalanced-learn's default,
        which removes more), or if its class has the "majority": no other class is more frequent
        among them (Wilson 1972; ties are kept).
    """

    smote: Annotated[int, Ge(1)] = 5
    border: Annotated[int, Ge(1)] = 10
    enn: Annotated[int, Ge(1)] = 3
    enn_keeps: Literal["all", "majority"] = "all"

    def __post_init__(self) -> None:
        check_fields(self)


class Oversampled(NamedTuple):
    """m new rows: features (m, d), labels (m,), parents (m, 2), the first parent's share (m,)."""

    features: Doubles
    labels: Ints
    parents: Ints
    shares: Doubles

    def select(self, rows: NDArray[np.bool_]) -> Oversampled:
        """Return the new rows of this mask (m,)."""
        return Oversampled(
            self.features[rows], self.labels[rows], self.parents[rows], self.shares[rows]
        )


Oversample = Callable[[Doubles, Ints, Counts, int, Neighbors], Oversampled]
Clean = Callable[[Doubles, Ints, Counts, int, Neighbors], Ints]


def oversample_random(
    features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbors: Neighbors
) -> Oversampled:
    """Return rows drawn with replacement."""
    from imblearn.over_sampling import RandomOverSampler

    sampler = RandomOverSampler(sampling_strategy=dict(wanted), random_state=seed)
    drawn = _selected(sampler, np.zeros((len(labels), 1)), labels)[len(labels) :]
    parents = np.stack([drawn, drawn], axis=1)
    return Oversampled(features[drawn], labels[drawn], parents, np.ones(len(drawn)))


def interpolate_with(name: str) -> Oversample:
    """Return a function that returns rows between a row and one of its neighbors of its class.

    name: of imbalanced-learn's class. "SMOTE" starts from any row, "BorderlineSMOTE" only from
        rows at the border to other classes (Han et al., borderline-1), "ADASYN" more often from
        those with neighbors of other classes, so that its counts approximate the targets.
    """

    def oversample(
        features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbors: Neighbors
    ) -> Oversampled:
        from imblearn import over_sampling

        key = "n_neighbors" if name == "ADASYN" else "k_neighbors"

        def sampler(near: Callable[[int], Any], k: int, strategy: dict[int, int]) -> Any:
            more = {key: near(k)}
            if name == "BorderlineSMOTE":
                more["m_neighbors"] = near(min(neighbors.border, len(labels) - 1))
            kind = getattr(over_sampling, name)
            return kind(sampling_strategy=strategy, random_state=seed, **more)

        return _interpolate(sampler, features, labels, wanted, neighbors.smote)

    return oversample


def undersample_random(
    features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbors: Neighbors
) -> Ints:
    """Return the rows to keep, drawn without replacement."""
    from imblearn.under_sampling import RandomUnderSampler

    sampler = RandomUnderSampler(sampling_strategy=dict(wanted), random_state=seed)
    return np.sort(_selected(sampler, np.zeros((len(labels), 1)), labels))


def clean_enn(classes: str) -> Clean:
    """Return a cleaning function that keeps rows whose neighbors are of the same class.

    classes: the classes to clean: "all", or "auto" for all but the smallest.
    """

    def clean(
        features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbors: Neighbors
    ) -> Ints:
        from imblearn.under_sampling import EditedNearestNeighbours

        near = min(neighbors.enn, len(labels) - 1)
        if neighbors.enn_keeps == "majority":
            return _keep_by_majority(features, labels, near, spare=classes == "auto")
        sampler = EditedNearestNeighbours(sampling_strategy=classes, n_neighbors=near)
        return np.sort(_selected(sampler, features, labels))

    return clean


def _keep_by_majority(features: Doubles, labels: Ints, near: int, spare: bool) -> Ints:
    """Return the rows whose class is the most frequent among `near` neighbors; ties are kept.

    imbalanced-learn's "mode" resolves ties by class number, so the result would depend on class
    names. spare: keep every row of the smallest class.
    """
    found = NearestNeighbors(n_neighbors=near).fit(features).kneighbors(return_distance=False)
    counts = np.bincount(labels)
    votes = (labels[found][:, :, None] == np.arange(len(counts))).sum(axis=1)
    keep = votes[np.arange(len(labels)), labels] == votes.max(axis=1)
    if spare:
        smallest = np.where(counts > 0, counts, len(labels) + 1).argmin()
        keep |= labels == smallest
    return np.flatnonzero(keep)


def clean_tomek(classes: str) -> Clean:
    """Return a cleaning function that removes Tomek links; classes as in `clean_enn`."""

    def clean(
        features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbors: Neighbors
    ) -> Ints:
        from imblearn.under_sampling import TomekLinks

        sampler = TomekLinks(sampling_strategy=classes)
        return np.sort(_selected(sampler, features, labels))

    return clean


def _interpolate(
    make: Callable[[Callable[[int], Any], int, dict[int, int]], Any],
    features: Doubles,
    labels: Ints,
    wanted: Counts,
    k: int,
) -> Oversampled:
    """Run a sampler once for all classes, and separately for those too small for k neighbors.

    make: (function of k that returns a neighbor search, k, class → count) → the sampler.
    """
    n, width = features.shape
    coded = np.hstack([features, row_codes(n)])

    def near(k: int) -> Any:
        return NearestByFirst(width, n_neighbors=k + 1)

    counts = np.bincount(labels)
    parts: list[tuple[Doubles, Ints]] = []
    for fits in sorted({min(k, int(counts[c]) - 1) for c in wanted}, reverse=True):
        strategy = {c: w for c, w in wanted.items() if min(k, int(counts[c]) - 1) == fits}
        try:
            resampled, of = _resample(make(near, fits, strategy), coded, labels)
        except (RuntimeError, ValueError):
            for label, count in strategy.items():  # imbalanced-learn's error names no class
                try:
                    _resample(make(near, fits, {label: count}), coded, labels)
                except (RuntimeError, ValueError) as error:
                    raise CannotOversample(label, isinstance(error, RuntimeError)) from None
            raise
        parts.append((resampled[n:], of[n:]))
    new = np.concatenate([part for part, _ in parts])
    parents, shares = read_codes(new[:, width:])
    of = np.concatenate([part for _, part in parts]).astype(np.int64)
    return Oversampled(new[:, :width], of, parents, shares)


class CannotOversample(Exception):
    """A sampler can add no rows of a class.

    label: its number. apart: True if no other class is near, else the counts round to 0.
    """

    def __init__(self, label: int, apart: bool) -> None:
        super().__init__(label)
        self.label = label
        self.apart = apart


def _resample(sampler: Any, features: Doubles, labels: Ints) -> tuple[Doubles, Ints]:
    with warnings.catch_warnings():
        # "… larger than the majority class": targets may request this.
        warnings.simplefilter("ignore", UserWarning)
        features, labels = sampler.fit_resample(features, labels)
    return np.asarray(features, np.float64), np.asarray(labels, np.int64)


def _selected(sampler: Any, features: Doubles, labels: Ints) -> Ints:
    """Return the numbers of the rows that a sampler selects."""
    _resample(sampler, features, labels)
    return np.asarray(sampler.sample_indices_, np.int64)


def require_imblearn() -> None:
    """Raise MoppetError if imbalanced-learn is not installed."""
    if importlib.util.find_spec("imblearn") is None:
        raise MoppetError(
            "Balancing needs imbalanced-learn. Install it with: pip install 'moppet[train]'"
        )
