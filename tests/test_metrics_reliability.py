"""Intraclass correlations and Krippendorff's alpha equal published worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moppet.metrics import intraclass_correlation, krippendorff_alpha
from moppet.values import UsageError

SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)
"""Shrout & Fleiss (1979), Psychological Bulletin 86, table 2: six targets, four judges."""
X = math.nan
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, X, X, X],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, X, 3],
        [X, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, X],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, X],
    ]
)
"""Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section C: four observers."""


def test_intraclass_correlations_are_those_of_shrout_and_fleiss() -> None:
    found = intraclass_correlation(SHROUT_FLEISS)
    assert round(found.icc_2_1, 2) == 0.29  # their table 4
    assert round(found.icc_3_1, 2) == 0.71
    assert found.n == 6


def test_a_constant_difference_is_consistent_but_no_agreement() -> None:
    ratings = np.array([[1.0, 3.0], [2.0, 4.0], [5.0, 7.0]])
    found = intraclass_correlation(ratings)
    assert found.icc_3_1 == pytest.approx(1) and found.icc_2_1 < 0.8
    same = intraclass_correlation(np.repeat(ratings[:, :1], 3, axis=1))
    assert same.icc_2_1 == pytest.approx(1)


def test_an_intraclass_correlation_may_be_undefined() -> None:
    assert math.isnan(intraclass_correlation(np.ones((4, 2))).icc_2_1)
    one = intraclass_correlation(np.array([[1.0, 2.0], [math.nan, 1.0]]))
    assert one.n == 1 and math.isnan(one.icc_3_1)
    with pytest.raises(UsageError, match=r"needed \(n, k\) ratings"):
        intraclass_correlation(np.ones(4))


@pytest.mark.parametrize(
    ("level", "alpha"),
    [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)],
)
def test_alpha_is_that_of_krippendorff(level: str, alpha: float) -> None:
    assert krippendorff_alpha(KRIPPENDORFF, level) == pytest.approx(alpha, abs=5e-4)


def test_alpha_of_two_observers_and_nominal_data() -> None:
    # Krippendorff (2011), section B: two observers, nominal data, alpha = 0.692.
    a = [*"aabbdcccedda"]
    b = [*"babbbccceddd"]
    codes = {name: i for i, name in enumerate("abcde")}
    ratings = np.array([[codes[x] for x in row] for row in (a, b)])
    assert krippendorff_alpha(ratings) == pytest.approx(0.692, abs=5e-4)


def test_alpha_is_undefined_without_disagreement_to_expect() -> None:
    assert math.isnan(krippendorff_alpha(np.array([[1.0, 1.0], [1.0, 1.0]])))
    assert math.isnan(krippendorff_alpha(np.array([[1.0, X], [X, 2.0]])))
    assert math.isnan(krippendorff_alpha(np.full((2, 3), X)))
    with pytest.raises(UsageError, match="level must be one of"):
        krippendorff_alpha(KRIPPENDORFF, "cardinal")  # type: ignore[arg-type]
