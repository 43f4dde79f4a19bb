"""The balancers: which of imbalanced-learn's samplers each one runs, in which order.

A balancer may first grow classes (make rows) and then sift (take rows away); SMOTE-ENN does both.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moppet.balance.samplers import (
    Counts,
    Doubles,
    Grown,
    Ints,
    Neighbors,
    grow_adasyn,
    grow_borderline,
    grow_copies,
    grow_smote,
    sift_enn,
    sift_random,
    sift_tomek,
)
from moppet.balance.targets import Direction
from moppet.values import UsageError


@dataclass(frozen=True)
class Balancer:
    """One way to balance.

    title, summary: for people. source: the paper.
    targets: whether a target is a count to grow to ("up"), to shrink to ("down"), or none is
        taken, because the neighbors decide.
    grow: (features, labels, wanted, seed, neighbors) → Grown.
    sift: (features, labels, wanted, seed, neighbors) → the rows to keep; wanted is empty where
        no target is taken.
    makes_mixtures: whether made rows lie between two real ones; else they are copies.
    """

    title: str
    summary: str
    source: str
    targets: Direction | None
    grow: Callable[[Doubles, Ints, Counts, int, Neighbors], Grown] | None = None
    sift: Callable[[Doubles, Ints, Counts, int, Neighbors], Ints] | None = None
    makes_mixtures: bool = False


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
        grow=grow_copies,
    ),
    "random_under": Balancer(
        "random under-sampling",
        "leaves rows of large classes out",
        _BATISTA,
        "down",
        sift=sift_random,
    ),
    "smote": Balancer(
        "SMOTE",
        "makes rows between a row and a neighbor of its class",
        _CHAWLA,
        "up",
        grow=grow_smote,
        makes_mixtures=True,
    ),
    "borderline_smote": Balancer(
        "Borderline-SMOTE",
        "SMOTE from rows that other classes surround, but not wholly",
        "Han, Wang and Mao 2005, Borderline-SMOTE: a new over-sampling method in imbalanced data "
        "sets learning (the first of its two kinds)",
        "up",
        grow=grow_borderline,
        makes_mixtures=True,
    ),
    "adasyn": Balancer(
        "ADASYN",
        "SMOTE, more from rows with more neighbors of other classes",
        "He et al. 2008, ADASYN: adaptive synthetic sampling approach for imbalanced learning",
        "up",
        grow=grow_adasyn,
        makes_mixtures=True,
    ),
    "enn": Balancer(
        "Edited Nearest Neighbors",
        "leaves rows out whose neighbors are of other classes, but none of the smallest class",
        "Wilson 1972, Asymptotic properties of nearest neighbor rules using edited data",
        None,
        sift=sift_enn("auto"),
    ),
    "tomek": Balancer(
        "Tomek links",
        "leaves a row out whose nearest is of another class and has it for its nearest, but none "
        "of the smallest class",
        "Tomek 1976, Two modifications of CNN",
        None,
        sift=sift_tomek("auto"),
    ),
    "smote_enn": Balancer(
        "SMOTE-ENN",
        "SMOTE, then Edited Nearest Neighbors on all classes",
        _BATISTA,
        "up",
        grow=grow_smote,
        sift=sift_enn("all"),
        makes_mixtures=True,
    ),
    "smote_tomek": Balancer(
        "SMOTE-Tomek",
        "SMOTE, then both rows of every Tomek link left out",
        _BATISTA,
        "up",
        grow=grow_smote,
        sift=sift_tomek("all"),
        makes_mixtures=True,
    ),
}
"""Name → balancer, all through imbalanced-learn."""


def find_method(name: str) -> str:
    """Return the key of BALANCERS that a name stands for ("SMOTE-ENN" is smote_enn).

    Raises UsageError with the nearest name if there is none.
    """
    wanted = name.strip().casefold().replace("-", "_").replace(" ", "_")
    if wanted in BALANCERS:
        return wanted
    near = difflib.get_close_matches(wanted, BALANCERS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(BALANCERS)}."
    raise UsageError(f"there is no balancer {name!r}: {hint}")
