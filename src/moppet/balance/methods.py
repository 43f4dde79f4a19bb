"""The balancers: which of imbalanced-learn's samplers each one runs, in which order.

A balancer may oversample (add rows), then clean (remove rows); SMOTE-ENN does both.
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
from moppet.plugins import load_plugins
from moppet.values import UsageError, nearest_name


@dataclass(frozen=True)
class Balancer:
    """One way to balance.

    title, summary: for people. source: the paper.
    targets: "up" if a target is a count to oversample to, "down" if it is one to undersample to,
        None if the neighbors decide and no target is taken.
    oversample: (features, labels, wanted, seed, neighbors) → Oversampled, the new rows.
    clean: (features, labels, wanted, seed, neighbors) → (k,) the numbers of the rows to keep.
    interpolates: whether new rows lie between two real ones; else they are copies.

    features: (n, d) float64. labels: (n,) int64 numbers of classes. wanted: class number → count,
    empty where no target is taken. seed: all chance must come from it.
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
        "leaves rows of large classes out",
        _BATISTA,
        "down",
        clean=undersample_random,
    ),
    "smote": Balancer(
        "SMOTE",
        "makes rows between a row and a neighbor of its class",
        _CHAWLA,
        "up",
        oversample=oversample_smote,
        interpolates=True,
    ),
    "borderline_smote": Balancer(
        "Borderline-SMOTE",
        "SMOTE from rows that other classes surround, but not wholly",
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
        "leaves rows out whose neighbors are of other classes, but none of the smallest class",
        "Wilson 1972, Asymptotic properties of nearest neighbor rules using edited data",
        None,
        clean=clean_enn("auto"),
    ),
    "tomek": Balancer(
        "Tomek links",
        "leaves a row out whose nearest is of another class and has it for its nearest, but none "
        "of the smallest class",
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
        "SMOTE, then both rows of every Tomek link left out",
        _BATISTA,
        "up",
        oversample=oversample_smote,
        clean=clean_tomek("all"),
        interpolates=True,
    ),
}
"""Name → balancer; put your own into it, or install a package that does (see `load_plugins`)."""


def find_method(name: str) -> str:
    """Return the key of BALANCERS that a name stands for ("SMOTE-ENN" is smote_enn).

    Raises UsageError with the nearest name if there is none.
    """
    load_plugins("moppet.balancers", BALANCERS, Balancer)
    wanted = name.strip().casefold().replace("-", "_").replace(" ", "_")
    if wanted in BALANCERS:
        return wanted
    near = nearest_name(wanted, BALANCERS)
    hint = f"did you mean {near!r}?" if near else f"it is one of {', '.join(BALANCERS)}."
    raise UsageError(f"there is no balancer {name!r}: {hint}")
