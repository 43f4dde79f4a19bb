"""imbalanced-learn's samplers, each reporting which rows it kept, copied or mixed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from moppet.values import MoppetError, UsageError

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

_EXACT: Final = 1e-9


class NearestByFirst(NearestNeighbors):  # type: ignore[misc]
    """Finds neighbors by the first so many columns only."""

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
        """Return each row's neighbors, as scikit-learn does."""
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


Counts = Mapping[int, int]
"""Class number → count."""


@dataclass(frozen=True)
class Neighbors:
    """How many neighbors each step looks at; fewer are taken, and said, where there are fewer.

    smote: of the same class, to go toward, in SMOTE, Borderline-SMOTE and ADASYN (which also
        asks so many of any class how hard a row is).
    border: of any class, to tell which rows lie at the border, in Borderline-SMOTE.
    enn: of any class, to vote on a row, in ENN.
    enn_keeps: a row stays where "all" of its neighbors are of its class (imbalanced-learn's own
        choice, which removes more), or where its class has the "majority": no other one is more
        frequent among them (Wilson 1972, who says nothing of ties).
    """

    smote: int = 5
    border: int = 10
    enn: int = 3
    enn_keeps: str = "all"

    def __post_init__(self) -> None:
        for name in ("smote", "border", "enn"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"{name} needs at least 1 neighbor, but {getattr(self, name)} came."
                )
        if self.enn_keeps not in ("all", "majority"):
            raise UsageError(f"ENN keeps by 'all' or 'majority', but {self.enn_keeps!r} came.")


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


def oversample_random(
    features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbours: Neighbors
) -> Oversampled:
    """Return rows drawn with replacement."""
    from imblearn.over_sampling import RandomOverSampler

    sampler = RandomOverSampler(sampling_strategy=dict(wanted), random_state=seed)
    _resample(sampler, np.zeros((len(labels), 1)), labels)
    drawn = np.asarray(sampler.sample_indices_[len(labels) :], np.int64)
    parents = np.stack([drawn, drawn], axis=1)
    return Oversampled(features[drawn], labels[drawn], parents, np.ones(len(drawn)))


def oversample_smote(
    features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbours: Neighbors
) -> Oversampled:
    """Return rows between a row and one of its neighbors of the same class."""
    from imblearn.over_sampling import SMOTE

    def sampler(near: Callable[[int], Any], k: int, strategy: dict[int, int]) -> Any:
        return SMOTE(sampling_strategy=strategy, random_state=seed, k_neighbors=near(k))

    return _interpolate(sampler, features, labels, wanted, neighbours.smote)


def oversample_borderline(
    features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbours: Neighbors
) -> Oversampled:
    """As SMOTE, only from rows at the border (Han et al.'s first kind)."""
    from imblearn.over_sampling import BorderlineSMOTE

    border = min(neighbours.border, len(labels) - 1)

    def sampler(near: Callable[[int], Any], k: int, strategy: dict[int, int]) -> Any:
        return BorderlineSMOTE(
            sampling_strategy=strategy,
            random_state=seed,
            k_neighbors=near(k),
            m_neighbors=near(border),
        )

    return _interpolate(sampler, features, labels, wanted, neighbours.smote)


def oversample_adasyn(
    features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbours: Neighbors
) -> Oversampled:
    """As SMOTE, more from rows with more neighbors of other classes; counts come out near."""
    from imblearn.over_sampling import ADASYN

    def sampler(near: Callable[[int], Any], k: int, strategy: dict[int, int]) -> Any:
        return ADASYN(sampling_strategy=strategy, random_state=seed, n_neighbors=near(k))

    return _interpolate(sampler, features, labels, wanted, neighbours.smote)


def undersample_random(
    features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbours: Neighbors
) -> Ints:
    """Keep so many rows of each class, drawn without replacement."""
    from imblearn.under_sampling import RandomUnderSampler

    sampler = RandomUnderSampler(sampling_strategy=dict(wanted), random_state=seed)
    _resample(sampler, np.zeros((len(labels), 1)), labels)
    return np.sort(np.asarray(sampler.sample_indices_, np.int64))


def clean_enn(classes: str) -> Callable[[Doubles, Ints, Counts, int, Neighbors], Ints]:
    """Return a clean that keeps rows whose neighbors are of their class.

    classes: imbalanced-learn's word for the classes that are looked at: "all", or "auto" for all
        but the smallest.
    """

    def clean(
        features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbours: Neighbors
    ) -> Ints:
        from imblearn.under_sampling import EditedNearestNeighbours

        near = min(neighbours.enn, len(labels) - 1)
        if neighbours.enn_keeps == "majority":
            return _keep_by_majority(features, labels, near, spare=classes == "auto")
        sampler = EditedNearestNeighbours(sampling_strategy=classes, n_neighbors=near)
        _resample(sampler, features, labels)
        return np.sort(np.asarray(sampler.sample_indices_, np.int64))

    return clean


def _keep_by_majority(features: Doubles, labels: Ints, near: int, spare: bool) -> Ints:
    """Return the rows of whose `near` neighbors no other class has more than their own.

    imbalanced-learn's "mode" gives a tie to the class of the smallest number, so that what is kept
    would hang on the classes' names. spare: every row of the smallest class is kept.
    """
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=near).fit(features).kneighbors(return_distance=False)
    counts = np.bincount(labels)
    votes = (labels[found][:, :, None] == np.arange(len(counts))).sum(axis=1)
    keep = votes[np.arange(len(labels)), labels] == votes.max(axis=1)
    if spare:
        smallest = np.where(counts > 0, counts, len(labels) + 1).argmin()
        keep |= labels == smallest
    return np.flatnonzero(keep)


def clean_tomek(classes: str) -> Callable[[Doubles, Ints, Counts, int, Neighbors], Ints]:
    """Return a clean that breaks Tomek links; classes as in `clean_enn`."""

    def clean(
        features: Doubles, labels: Ints, wanted: Counts, seed: int, neighbours: Neighbors
    ) -> Ints:
        from imblearn.under_sampling import TomekLinks

        sampler = TomekLinks(sampling_strategy=classes)
        _resample(sampler, features, labels)
        return np.sort(np.asarray(sampler.sample_indices_, np.int64))

    return clean


def _interpolate(
    make: Callable[[Callable[[int], Any], int, dict[int, int]], Any],
    features: Doubles,
    labels: Ints,
    wanted: Counts,
    k: int,
) -> Oversampled:
    """Run a sampler once for all classes, and apart for those too small for k neighbors.

    make: (neighbor search by its k, k, class → count) → the sampler.
    """
    pass

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
            _raise_cannot_oversample(make, near, fits, strategy, coded, labels)
            raise
        parts.append((resampled[n:], of[n:]))
    made = np.concatenate([part for part, _ in parts])
    parents, shares = read_codes(made[:, width:])
    of = np.concatenate([part for _, part in parts]).astype(np.int64)
    return Oversampled(made[:, :width], of, parents, shares)


class CannotOversample(Exception):
    """A class of which a sampler can make nothing.

    label: its number. apart: because no other class is near; else the counts round to none.
    """

    def __init__(self, label: int, apart: bool) -> None:
        super().__init__(label)
        self.label = label
        self.apart = apart


def _raise_cannot_oversample(
    make: Callable[[Callable[[int], Any], int, dict[int, int]], Any],
    near: Callable[[int], Any],
    k: int,
    strategy: dict[int, int],
    coded: Doubles,
    labels: Ints,
) -> None:
    """Raise CannotOversample for the first class that fails; imblearn's error names none."""
    for label, count in strategy.items():
        try:
            _resample(make(near, k, {label: count}), coded, labels)
        except (RuntimeError, ValueError) as error:
            raise CannotOversample(label, isinstance(error, RuntimeError)) from None


def _resample(sampler: Any, features: Doubles, labels: Ints) -> tuple[Doubles, Ints]:
    with warnings.catch_warnings():
        # "… larger than the majority class": targets may ask for it.
        warnings.simplefilter("ignore", UserWarning)
        features, labels = sampler.fit_resample(features, labels)
    return np.asarray(features, np.float64), np.asarray(labels, np.int64)


def require_imblearn() -> None:
    """Raise MoppetError that says what to install, where imbalanced-learn is not there."""
    if importlib.util.find_spec("imblearn") is None:
        raise MoppetError(
            "Balancing needs imbalanced-learn. Install it with: pip install 'moppet[train]'"
        )
