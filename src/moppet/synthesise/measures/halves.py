"""Intervals of figures that no bootstrap fits: neighbours do not bear repeated rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics import Estimate

Rows = NDArray[np.intp]
Figures = Callable[[Rows, Rows], Mapping[str, float]]
"""Row numbers of the made and of the real sample → figures by name."""
LIMITS: Final = {
    "js_divergence": (0.0, 1.0),
    "frechet_distance": (0.0, math.inf),
    "precision": (0.0, 1.0),
    "recall": (0.0, 1.0),
    "density": (0.0, math.inf),
    "coverage": (0.0, 1.0),
}
_LEAST_GROUPS: Final = 8


def estimate_by_halves(
    figures: Figures,
    made_groups: NDArray[np.integer[Any]],
    real_groups: NDArray[np.integer[Any]],
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Estimate]:
    """Return figures of two samples with 95 % intervals by random half samples.

    made_groups: (m,), real_groups: (n,): rows of one group (a subject, copies) go together.
    Half of the groups of both samples are drawn without repeats, `draws` times. A figure of
    halves scatters around their mean as that of the whole does around its own, for n/2 of n rows
    leave 2/n - 1/n = 1/n (McCarthy 1969; Politis & Romano 1994): that scatter's 2.5 and 97.5 %
    points, put around the figure of the whole, are the interval. How the figure itself shifts with
    fewer rows drops out. n: made rows. No interval with fewer than 8 groups in either sample.
    """
    m, n = len(made_groups), len(real_groups)
    whole = figures(np.arange(m), np.arange(n))
    made, real = _Halves(made_groups), _Halves(real_groups)
    if min(made.groups, real.groups) < _LEAST_GROUPS or draws < 2:
        return {
            name: Estimate(limited(name, value), math.nan, math.nan, m)
            for name, value in whole.items()
        }
    drawn = [figures(made.draw(rng), real.draw(rng)) for _ in range(draws)]
    return {
        name: Estimate(
            limited(name, value), *_interval(name, value, np.array([d[name] for d in drawn])), m
        )
        for name, value in whole.items()
    }


class _Halves:
    def __init__(self, groups: NDArray[np.integer[Any]]) -> None:
        _, self._of_row = np.unique(groups, return_inverse=True)
        self.groups = int(self._of_row.max(initial=-1)) + 1

    def draw(self, rng: np.random.Generator) -> Rows:
        """Rows of half of the groups; of an odd number one more in every other draw."""
        half = (self.groups + int(rng.integers(2))) // 2
        chosen = np.zeros(self.groups, bool)
        chosen[rng.choice(self.groups, half, replace=False)] = True
        return np.flatnonzero(chosen[self._of_row])


def _interval(name: str, value: float, drawn: NDArray[np.float64]) -> tuple[float, float]:
    defined = drawn[~np.isnan(drawn)]
    if math.isnan(value) or len(defined) < len(drawn) / 2:
        return math.nan, math.nan
    low, high = value + np.quantile(defined - defined.mean(), [0.025, 0.975])
    return limited(name, float(low)), limited(name, float(high))


def limited(name: str, value: float) -> float:
    """Return a figure's value within what the figure can be; NaN stays."""
    least, most = LIMITS.get(name, (-math.inf, math.inf))
    return float(np.clip(value, least, most))
