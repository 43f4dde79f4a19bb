"""The balancers, each a combination of imbalanced-learn's samplers, and their registry.

A balancer oversamples (adds rows), cleans (removes rows), or both in this order, as SMOTE-ENN.
"""

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

from moppet.balance.targets import Direction
from moppet.config import check_fields
from moppet.plugins import announce_registry, load_plugins
from moppet.values import MoppetError, UsageError, name_hint

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
EnnRule = Literal["all", "most", "majority"]


@dataclass(frozen=True)
class Neighbors:
    """The number of neighbors of each step; small classes use fewer, with a note.

    smote: neighbors of the same class to mix with, in SMOTE, Borderline-SMOTE and ADASYN (which
        uses as many of any class to weight the rows).
    border: neighbors of any class that decide which rows are at the border, in Borderline-SMOTE.
    enn: neighbors of any class that vote on a row, in ENN.
    enn_keeps: ENN keeps a row if "all" of its neighbors are of its class (imbalanced-learn's
        default, which removes most), if "most" are, more than half (Batista et al. 2004: two of
        three), or if its class has the "majority": no other class is more frequent among them
        (Wilson 1972; ties are kept). With two classes and an odd number of neighbors, the last
        two are the same.
    """

    smote: Annotated[int, Ge(1)] = 5
    border: Annotated[int, Ge(1)] = 10
    enn: Annotated[int, Ge(1)] = 3
    enn_keeps: EnnRule = "majority"

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
        if neighbors.enn_keeps != "all":
            return _keep_by_vote(features, labels, near, neighbors.enn_keeps, classes == "auto")
        sampler = EditedNearestNeighbours(sampling_strategy=classes, n_neighbors=near)
        return np.sort(_selected(sampler, features, labels))

    return clean


def _keep_by_vote(features: Doubles, labels: Ints, near: int, rule: EnnRule, spare: bool) -> Ints:
    """Return the rows that `near` neighbors leave in place by a rule other than "all".

    imbalanced-learn's "mode" resolves ties by class number, so the result would depend on class
    names; here a tie of the "majority" keeps the row. spare: keep the smallest class whole.
    """
    found = NearestNeighbors(n_neighbors=near).fit(features).kneighbors(return_distance=False)
    counts = np.bincount(labels)
    votes = (labels[found][:, :, None] == np.arange(len(counts))).sum(axis=1)
    own = votes[np.arange(len(labels)), labels]
    keep = 2 * own > near if rule == "most" else own == votes.max(axis=1)
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


@dataclass(frozen=True)
class Balancer:
    """A balancing method.

    summary: what it does, in a few words. source: the paper.
    targets: "up" if targets are counts to oversample to, "down" if counts to undersample to, None
        if the neighbors decide and there are no targets.
    oversample: (features, labels, wanted, seed, neighbors) → Oversampled, the new rows.
    clean: (features, labels, wanted, seed, neighbors) → (k,) the numbers of the rows to keep.
    interpolates: whether new rows are mixtures of two real ones; otherwise they repeat real rows.

    features: (n, d) float64. labels: (n,) int64 class numbers. wanted: class number → count, empty
    without targets. seed: the only source of randomness.
    """

    summary: str
    source: str
    targets: Direction | None
    oversample: Oversample | None = None
    clean: Clean | None = None
    interpolates: bool = False


_CHAWLA: Final = "Chawla et al. 2002, SMOTE: synthetic minority over-sampling technique"
_BATISTA: Final = (
    "Batista, Prati and Monard 2004, A study of the behavior of several methods for balancing "
    "machine learning training data"
)

BALANCERS: Final[dict[str, Balancer]] = {
    "random_over": Balancer(
        "repeats rows of small classes", _BATISTA, "up", oversample=oversample_random
    ),
    "random_under": Balancer(
        "leaves out rows of large classes", _BATISTA, "down", clean=undersample_random
    ),
    "smote": Balancer(
        "interpolates between a row and a neighbor of its class",
        _CHAWLA,
        "up",
        oversample=interpolate_with("SMOTE"),
        interpolates=True,
    ),
    "borderline_smote": Balancer(
        "SMOTE, only from rows at the border to other classes",
        "Han, Wang and Mao 2005, Borderline-SMOTE: a new over-sampling method in imbalanced data "
        "sets learning (the first of its two kinds)",
        "up",
        oversample=interpolate_with("BorderlineSMOTE"),
        interpolates=True,
    ),
    "adasyn": Balancer(
        "SMOTE, more from rows with more neighbors of other classes",
        "He et al. 2008, ADASYN: adaptive synthetic sampling approach for imbalanced learning",
        "up",
        oversample=interpolate_with("ADASYN"),
        interpolates=True,
    ),
    "enn": Balancer(
        "leaves out rows whose neighbors are of other classes; keeps the smallest class",
        "Wilson 1972, Asymptotic properties of nearest neighbor rules using edited data",
        None,
        clean=clean_enn("auto"),
    ),
    "tomek": Balancer(
        "leaves out rows that are mutual nearest neighbors with a row of another class; keeps the "
        "smallest class",
        "Tomek 1976, Two modifications of CNN",
        None,
        clean=clean_tomek("auto"),
    ),
    "smote_enn": Balancer(
        "SMOTE, then Edited Nearest Neighbors on all classes",
        _BATISTA,
        "up",
        oversample=interpolate_with("SMOTE"),
        clean=clean_enn("all"),
        interpolates=True,
    ),
    "smote_tomek": Balancer(
        "SMOTE, then leaves out both rows of every Tomek link",
        _BATISTA,
        "up",
        oversample=interpolate_with("SMOTE"),
        clean=clean_tomek("all"),
        interpolates=True,
    ),
}
"""Name → balancer; add your own, or install a package that does (see `load_plugins`)."""
announce_registry("moppet.balancers", BALANCERS)


def find_method(name: str) -> str:
    """Return the key of BALANCERS for a name ("SMOTE-ENN" is smote_enn).

    Raises UsageError with the nearest name if it is unknown.
    """
    load_plugins("moppet.balancers", BALANCERS, Balancer)
    wanted = name.strip().casefold().replace("-", "_").replace(" ", "_")
    if wanted in BALANCERS:
        return wanted
    raise UsageError(f"there is no balancer {name!r}.{name_hint(wanted, BALANCERS)}")


def cleans_by_neighbors(name: str) -> bool:
    """Whether a method removes rows because of their neighbors, as ENN and Tomek links do."""
    balancer = BALANCERS[find_method(name)]
    return balancer.clean is not None and balancer.targets != "down"
