"""Does an independent classifier read what was intended, and does the detector see a face?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moppet.data.readers.words import class_of
from moppet.metrics import Estimate, as_json, bootstrap_many, confusion
from moppet.metrics.draws import Weights, drawn_means
from moppet.synthesise.measures.reading import Reading


@dataclass(frozen=True)
class Agreement:
    """How often a judge reads the intended class of n faces whose class it knows.

    names: the judge's classes. overall: over all these faces; macro: mean over the classes.
    of_class: class → its faces. Real faces have the same figures: what the judge reaches at best.
    confusion: (k, k), rows by intended class, columns by what the judge read.
    unknown: class → faces of a class that the judge does not know.
    """

    names: tuple[str, ...]
    overall: Estimate
    macro: Estimate
    of_class: dict[str, Estimate]
    confusion: NDArray[np.int64]
    unknown: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return plain values, None for what is undefined."""
        return {
            "names": list(self.names),
            "overall": as_json(self.overall),
            "macro": as_json(self.macro),
            "of_class": {name: as_json(e) for name, e in self.of_class.items()},
            "confusion": self.confusion.tolist(),
            "unknown": self.unknown,
        }


def measure_agreement(
    reading: Reading,
    names: Sequence[str],
    classes: Sequence[str],
    rng: np.random.Generator,
    draws: int = 1000,
) -> Agreement:
    """Return how often a judge with these class names reads the label.

    classes: which to give figures of. The judge may read any of its classes, so that one with
    more classes agrees less often by chance.
    """
    number = {class_of(name): i for i, name in enumerate(names)}
    label = np.array([number.get(x, -1) for x in reading.label], np.int64)
    guess = reading.probabilities.argmax(axis=1) if len(reading) else np.empty(0, np.int64)
    known = np.flatnonzero(label >= 0)
    label, guess = label[known], np.asarray(guess[known], np.int64)
    right = (label == guess).astype(np.float64)
    read = {name: number[name] for name in classes if name in number}

    def figures(weight: Weights) -> Mapping[str, NDArray[np.float64]]:
        of = {name: drawn_means(right, weight * (label == i)) for name, i in read.items()}
        stacked = np.stack([*of.values()]) if of else np.full((1, len(weight)), math.nan)
        defined = ~np.isnan(stacked)
        total = np.where(defined, stacked, 0).sum(axis=0)
        macro = np.full(len(weight), math.nan)
        np.divide(total, defined.sum(axis=0), out=macro, where=defined.any(axis=0))
        return {"": drawn_means(right, weight), " ": macro, **of}

    found = bootstrap_many(figures, reading.groups[known], rng, draws)
    undefined = Estimate(math.nan, math.nan, math.nan, 0)
    without = [x for x in reading.label if x is not None and x not in number]
    return Agreement(
        tuple(names),
        found[""],
        found[" "],
        {
            name: found[name]._replace(n=int((label == read[name]).sum()))
            if name in read
            else undefined
            for name in classes
        },
        confusion(label, guess, len(names)),
        {name: without.count(name) for name in sorted(set(without))},
    )


def share(
    values: NDArray[np.bool_],
    groups: NDArray[np.int64],
    rng: np.random.Generator,
    draws: int = 1000,
) -> Estimate:
    """Return the share of rows for which a value is true, with its interval by groups."""
    numbers = values.astype(np.float64)
    return bootstrap_many(lambda w: {"": drawn_means(numbers, w)}, groups, rng, draws)[""]
