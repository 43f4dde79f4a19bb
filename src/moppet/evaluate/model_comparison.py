"""Comparison of two models on the same faces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moppet.evaluate.predictions import Predictions, share_classes
from moppet.evaluate.subgroups import Mask, Resampling, Subgroup, measure_subgroup
from moppet.metrics import (
    AucDifference,
    Difference,
    McNemar,
    delong_test,
    mcnemar_test,
    paired_bootstrap_many,
    within,
)
from moppet.values import MoppetError


@dataclass(frozen=True)
class ModelComparison:
    """How a first and a second model differ on the same faces and classes.

    names: the classes that both models and the data share; left_out: those of the first that
        the second lacks. groups: subjects or images, copies counted once.
    differences: subgroup → metric → first minus second, by a paired bootstrap over groups.
    auc: class → DeLong's test; with two classes only the second, as both are the same.
    Both tests treat faces as independent; with a single group, their results are NaN.
    """

    names: tuple[str, ...]
    left_out: tuple[str, ...]
    n: int
    groups: int
    first: Subgroup
    second: Subgroup
    differences: dict[str, dict[str, Difference]]
    mcnemar: McNemar
    auc: dict[str, AucDifference]


def compare_predictions(
    first: Predictions,
    second: Predictions,
    parts: Mapping[str, Mask],
    resampling: Resampling,
) -> ModelComparison:
    """Return how two models differ on the faces and classes that both share.

    first, second: of the same faces, their shared classes under the same names.
    parts: masks over all faces, compared in addition to all of them together.
    Raises MoppetError if the models share fewer than two classes of the data.
    """
    names = shared_classes(first.names, second.names)
    left_out = tuple(name for name in first.names if name not in names)
    first, second = share_classes(first, names), share_classes(second, names)
    tested = names if len(names) > 2 else names[-1:]
    return ModelComparison(
        names,
        left_out,
        len(first),
        len(np.unique(first.groups)),
        measure_subgroup(first, resampling),
        measure_subgroup(second, resampling),
        _differences(first, second, parts, resampling),
        _mcnemar(first, second),
        {name: _delong(first, second, names.index(name)) for name in tested},
    )


def shared_classes(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that both have, in the first's order.

    Raises MoppetError if there are fewer than two.
    """
    names = tuple(name for name in first if name in second)
    if len(names) < 2:
        raise MoppetError(
            "comparing needs at least two classes that both models and the data share, but they "
            f"share {', '.join(names) or 'none'}. The first model has {', '.join(first)}; the "
            f"second has {', '.join(second)}."
        )
    return names


def _differences(
    first: Predictions, second: Predictions, parts: Mapping[str, Mask], resampling: Resampling
) -> dict[str, dict[str, Difference]]:
    """All faces, then each subgroup, without the metrics of the raters alone."""
    of_first, of_second = first.drawn_figures(), second.drawn_figures()
    masks = {"all": np.ones(len(first), bool)}
    masks |= {name: part[first.rows] for name, part in parts.items() if part[first.rows].any()}
    return {
        name: {
            figure: d._replace(n=int(mask.sum()))
            for figure, d in paired_bootstrap_many(
                within(of_first, mask),
                within(of_second, mask),
                *(first.groups, resampling.rng, resampling.draws),
            ).items()
            if not figure.startswith("human")
        }
        for name, mask in masks.items()
    }


def _mcnemar(first: Predictions, second: Predictions) -> McNemar:
    found = mcnemar_test(first.correct, second.correct)
    return found if _several(first.groups) else found._replace(p=math.nan, p_mid=math.nan)


def _delong(first: Predictions, second: Predictions, number: int) -> AucDifference:
    positive = first.label == number
    found = delong_test(first.probabilities[:, number], second.probabilities[:, number], positive)
    if _several(first.groups[positive]) and _several(first.groups[~positive]):
        return found
    return found._replace(low=math.nan, high=math.nan, z=math.nan, p=math.nan)


def _several(groups: NDArray[np.int64]) -> bool:
    return len(np.unique(groups)) > 1
