"""Tests of whether two models differ on the same rows or folds."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.values import UsageError

_ROUNDING: Final = 1e-12


class McNemar(NamedTuple):
    """Rows that only the first or only the second model has right, and two-sided p.

    p: the exact binomial test; p_mid: its mid-p version, less cautious and still seldom above
    its level (Fagerland, Lydersen & Laake 2013).
    """

    only_first: int
    only_second: int
    p: float
    p_mid: float


class FoldDifference(NamedTuple):
    """The mean difference over folds, its 95 % interval, t, two-sided p, and the folds."""

    value: float
    low: float
    high: float
    t: float
    p: float
    n: int


def mcnemar_test(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> McNemar:
    """Return whether two models err equally often, from the rows where only one is right.

    first_right, second_right: (n,). Rows are taken as independent: where subjects or copies
    repeat, use the paired bootstrap. p is 1 where both are right on the same rows, NaN without
    rows.
    """
    from scipy.special import bdtr  # not at import: a tenth of a second

    for right in (first_right, second_right):
        if right.dtype != np.bool_ or right.shape != first_right.shape:
            raise UsageError(
                "needed for each row whether the first and the second model is right: got "
                f"{first_right.dtype} values of the shape {first_right.shape} and "
                f"{second_right.dtype} values of the shape {second_right.shape}."
            )
    b = int((first_right & ~second_right).sum())
    c = int((second_right & ~first_right).sum())
    if not len(first_right):
        return McNemar(0, 0, math.nan, math.nan)
    if b + c == 0:
        return McNemar(0, 0, 1.0, 1.0)
    fewer = min(b, c)
    up_to = float(bdtr(fewer, b + c, 0.5))
    just = up_to - (float(bdtr(fewer - 1, b + c, 0.5)) if fewer else 0.0)
    if b == c:
        return McNemar(b, c, 1.0, 1.0 - just / 2)
    return McNemar(b, c, min(1.0, 2 * up_to), 2 * up_to - just)


def corrected_t_test(
    differences: NDArray[np.floating[Any]], n_train: float, n_test: float
) -> FoldDifference:
    """Return whether two models differ over repeated folds or random splits.

    differences: (j,) the first model's figure less the second's, one per fold or repetition.
    n_train, n_test: rows of a training and a test part; the mean where they vary.
    The variance grows by 1 / j + n_test / n_train in place of 1 / j, because training parts
    overlap (Nadeau & Bengio 2003); t with j - 1 degrees of freedom. All NaN if a difference is;
    interval, t and p NaN for fewer than two folds and where all differences are equal.
    """
    from scipy.special import stdtr, stdtrit  # not at import: a tenth of a second

    if not (n_train > 0 and n_test > 0):
        raise UsageError(
            f"needed the rows that train and test, both above 0: got {n_train} and {n_test}."
        )
    j, nan = len(differences), math.nan
    value = float(np.mean(differences)) if j else nan
    # Equal figures subtracted differ by rounding, which must not pass for a variance of nearly 0.
    if j < 2 or math.isnan(value) or np.ptp(differences) < _ROUNDING:
        return FoldDifference(value, nan, nan, nan, nan, j)
    error = math.sqrt((1 / j + n_test / n_train) * float(np.var(differences, ddof=1)))
    t = value / error
    half = float(stdtrit(j - 1, 0.975)) * error
    p = float(2 * stdtr(j - 1, -abs(t)))
    return FoldDifference(value, value - half, value + half, t, p, j)


def correct_p_values(p_values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return p-values that allow for how many there are (Holm 1979), in the order given.

    p_values: (n,) in [0, 1]. The chance that any of those below a level is there by luck is at
    most the level, however they depend on one another. A NaN stays NaN and is not counted.
    """
    given = np.asarray(p_values, np.float64)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    corrected = np.full(len(given), math.nan)
    steps = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
