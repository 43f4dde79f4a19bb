"""Significance tests for two models on the same rows or folds."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.values import UsageError

_ROUNDING: Final = 1e-12


class McNemar(NamedTuple):
    """Numbers of rows that only the first or only the second model classifies correctly, and p.

    p: the exact binomial test, two-sided; p_mid: its mid-p version, less conservative but rarely
    above its nominal level (Fagerland, Lydersen & Laake 2013).
    """

    only_first: int
    only_second: int
    p: float
    p_mid: float


class FoldDifference(NamedTuple):
    """Mean difference over folds, its 95 % interval, t, two-sided p, and the number of folds."""

    value: float
    low: float
    high: float
    t: float
    p: float
    n: int


def mcnemar_test(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> McNemar:
    """Test whether two models have equal error rates, from the rows where only one is right.

    first_right, second_right: (n,). Assumes independent rows: if subjects or duplicate images
    repeat, use the paired bootstrap. p is 1 if both are right on the same rows, NaN without rows.
    """
    from scipy.special import bdtr  # not at import: a tenth of a second

    for right in (first_right, second_right):
        if right.dtype != np.bool_ or right.shape != first_right.shape:
            raise UsageError(
                "needed two (n,) arrays of whether the models are right in each row: got "
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
    """Test whether two models differ over repeated folds or random splits.

    differences: (j,) first model's figure minus the second's, one for each fold or repetition.
    n_train, n_test: rows of a training and a test part; their means if they vary.
    Corrected resampled t-test (Nadeau & Bengio 2003): the variance factor is 1 / j + n_test /
    n_train in place of 1 / j, because training parts overlap; t has j - 1 degrees of freedom.
    All NaN if a difference is NaN; interval, t and p are NaN for fewer than two folds or if all
    differences are equal.
    """
    from scipy.special import stdtr, stdtrit  # not at import: a tenth of a second

    if not (n_train > 0 and n_test > 0):
        raise UsageError(f"n_train and n_test must be above 0: got {n_train} and {n_test}.")
    j, nan = len(differences), math.nan
    value = float(np.mean(differences)) if j else nan
    # Differences of equal figures vary by rounding only, which is no variance.
    if j < 2 or math.isnan(value) or np.ptp(differences) < _ROUNDING:
        return FoldDifference(value, nan, nan, nan, nan, j)
    error = math.sqrt((1 / j + n_test / n_train) * float(np.var(differences, ddof=1)))
    t = value / error
    half = float(stdtrit(j - 1, 0.975)) * error
    p = float(2 * stdtr(j - 1, -abs(t)))
    return FoldDifference(value, value - half, value + half, t, p, j)


def correct_p_values(p_values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return p-values corrected for multiple tests (Holm 1979), in the order given.

    p_values: (n,) in [0, 1]. Controls the family-wise error rate under any dependence. A NaN
    stays NaN and is not counted.
    """
    given = np.asarray(p_values, np.float64)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    corrected = np.full(len(given), math.nan)
    steps = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
