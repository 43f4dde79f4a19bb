"""The registry of balancers, each a combination of imbalanced-learn's samplers.

A balancer oversamples (adds rows), cleans (removes rows), or both in this order, as SMOTE-ENN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moppet.balance.samplers import (
    Clean,
    Oversample,
    clean_enn,
    clean_tomek,
    interpolate_with,
    oversample_random,
    undersample_random,
)
from moppet.balance.targets import Direction
from moppet.plugins import announce_registry, load_plugins
from moppet.values import UsageError, name_hint


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
