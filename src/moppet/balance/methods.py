"""The registry of balancers, each a combination of imbalanced-learn's samplers.

A balancer oversamples (adds rows), cleans (removes rows), or both in this order, as SMOTE-ENN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moppet.balance.samplers import (
    Counts,
    Doubles,
    Ints,
    Neighbors,
    Oversampled,
    clean_enn,
    clean_tomek,
    oversample_adasyn,
    oversample_borderline,
    oversample_random,
    oversample_smote,
    undersample_random,
)
from moppet.balance.targets import Direction
from moppet.plugins import announce_registry, load_plugins
from moppet.values import UsageError, nearest_name


@dataclass(frozen=True)
class Balancer:
    """A balancing method.

    title, summary: for display. source: the paper.
    targets: "up" if targets are counts to oversample to, "down" if counts to undersample to, None
        if the neighbors decide and there are no targets.
    oversample: (features, labels, wanted, seed, neighbors) → Oversampled, the new rows.
    clean: (features, labels, wanted, seed, neighbors) → (k,) the numbers of the rows to keep.
    interpolates: whether new rows are mixtures of two real ones; otherwise they repeat real rows.

    features: (n, d) float64. labels: (n,) int64 class numbers. wanted: class number → count, empty
    without targets. seed: the only source of randomness.
    """

    title: str
    summary: str
    source: str
    targets: Direction | None
    oversample: Callable[[Doubles, Ints, Counts, int, Neighbors], Oversampled] | None = None
    clean: Callable[[Doubles, Ints, Counts, int, Neighbors], Ints] | None = None
    interpolates: bool = False


_CHAWLA: Final = "Chawla et al. 2002, SMOTE: synthetic minority over-sampling technique"
_BATISTA: Final = (
    "Batista, Prati and Monard 2004, A study of the behavior of several methods for balancing "
    "machine learning training data"
)

BALANCERS: Final[dict[str, Balancer]] = {
    "random_over": Balancer(
        "random over-sampling",
        "repeats rows of small classes",
        _BATISTA,
        "up",
        oversample=oversample_random,
    ),
    "random_under": Balancer(
        "random under-sampling",
        "leaves out rows of large classes",
        _BATISTA,
        "down",
        clean=undersample_random,
    ),
    "smote": Balancer(
        "SMOTE",
        "interpolates between a row and a neighbor of its class",
        _CHAWLA,
        "up",
        oversample=oversample_smote,
        interpolates=True,
    ),
    "borderline_smote": Balancer(
        "Borderline-SMOTE",
        "SMOTE, only from rows at the border to other classes",
        "Han, Wang and Mao 2005, Borderline-SMOTE: a new over-sampling method in imbalanced data "
        "sets learning (the first of its two kinds)",
        "up",
        oversample=oversample_borderline,
        interpolates=True,
    ),
    "adasyn": Balancer(
        "ADASYN",
        "SMOTE, more from rows with more neighbors of other classes",
        "He et al. 2008, ADASYN: adaptive synthetic sampling approach for imbalanced learning",
        "up",
        oversample=oversample_adasyn,
        interpolates=True,
    ),
    "enn": Balancer(
        "Edited Nearest Neighbors",
        "leaves out rows whose neighbors are of other classes; keeps the smallest class",
        "Wilson 1972, Asymptotic properties of nearest neighbor rules using edited data",
        None,
        clean=clean_enn("auto"),
    ),
    "tomek": Balancer(
        "Tomek links",
        "leaves out rows that are mutual nearest neighbors with a row of another class; keeps the "
        "smallest class",
        "Tomek 1976, Two modifications of CNN",
        None,
        clean=clean_tomek("auto"),
    ),
    "smote_enn": Balancer(
        "SMOTE-ENN",
        "SMOTE, then Edited Nearest Neighbors on all classes",
        _BATISTA,
        "up",
        oversample=oversample_smote,
        clean=clean_enn("all"),
        interpolates=True,
    ),
    "smote_tomek": Balancer(
        "SMOTE-Tomek",
        "SMOTE, then leaves out both rows of every Tomek link",
        _BATISTA,
        "up",
        oversample=oversample_smote,
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
    near = nearest_name(wanted, BALANCERS)
    hint = f"did you mean {near!r}?" if near else f"it is one of {', '.join(BALANCERS)}."
    raise UsageError(f"there is no balancer {name!r}: {hint}")
