"""Tests between two models give the published examples' figures and keep their level."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from moppet.metrics import McNemar, correct_p_values, corrected_t_test, mcnemar_test
from moppet.values import UsageError


def outcomes(both, first, second, neither):
    """Return whether each model is right, from the four cells of the table."""
    a = np.repeat([True, True, False, False], [both, first, second, neither])
    b = np.repeat([True, False, True, False], [both, first, second, neither])
    return a, b


def test_mcnemar_gives_the_published_example():
    # Fagerland, Lydersen & Laake 2013, table 1 (21 children before and after a transplant):
    # exact conditional p 0.0703, mid-p 0.0391.
    found = mcnemar_test(*outcomes(1, 1, 7, 12))
    assert (found.only_first, found.only_second) == (1, 7)
    assert found.p == pytest.approx(0.0703, abs=5e-5)
    assert found.p_mid == pytest.approx(0.0391, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_the_sign_test_of_scipy(b, c):
    found = mcnemar_test(*outcomes(3, b, c, 2))
    if b + c:
        assert found.p == pytest.approx(stats.binomtest(b, b + c).pvalue)
        # Half the weight of the tables as likely as the observed one, in both tails.
        pmf = stats.binom.pmf(np.arange(b + c + 1), b + c, 0.5)
        distance = np.abs(np.arange(b + c + 1) - (b + c) / 2)
        seen = abs(b - c) / 2
        mid = pmf[distance > seen].sum() + pmf[distance == seen].sum() / 2
        assert found.p_mid == pytest.approx(mid)
        assert found.p_mid < found.p
    else:
        assert found == McNemar(0, 0, 1.0, 1.0)
    assert mcnemar_test(*outcomes(0, c, b, 9))[2:] == found[2:]


def test_mcnemar_of_many_rows_is_the_chi_square_test():
    # With continuity correction beside the exact p, without beside the mid-p.
    found = mcnemar_test(*outcomes(4000, 540, 460, 900))
    assert found.p == pytest.approx(stats.chi2.sf((80 - 1) ** 2 / 1000, 1), rel=0.01)
    assert found.p_mid == pytest.approx(stats.chi2.sf(80**2 / 1000, 1), rel=0.01)


def test_mcnemar_without_rows_is_nan_and_of_other_values_an_error():
    none = np.array([], bool)
    found = mcnemar_test(none, none)
    assert found[:2] == (0, 0) and math.isnan(found.p) and math.isnan(found.p_mid)
    with pytest.raises(UsageError, match="int64"):
        mcnemar_test(np.array([1]), np.array([True]))
    with pytest.raises(UsageError, match=r"\(2,\)"):
        mcnemar_test(np.array([True]), np.array([True, False]))


def with_mean_and_spread(j, mean, spread):
    values = np.random.default_rng(0).normal(size=j)
    return mean + spread * (values - values.mean()) / values.std(ddof=1)


def test_the_corrected_test_gives_the_published_example():
    # scikit-learn's "Statistical comparison of models using grid search": ten times ten folds of
    # 100 rows. Uncorrected t 2.611 (one-sided p 0.005), corrected t 0.750 (p 0.227).
    differences = with_mean_and_spread(100, 2.611 / 10, 1)
    found = corrected_t_test(differences, n_train=90, n_test=10)
    assert found.t == pytest.approx(0.750, abs=5e-4)
    assert found.p / 2 == pytest.approx(0.227, abs=5e-4)


def test_a_test_part_of_no_size_leaves_the_usual_t_test():
    differences = np.array([0.02, -0.01, 0.03, 0.01, 0.04])
    found = corrected_t_test(differences, n_train=1, n_test=1e-12)
    usual = stats.ttest_1samp(differences, 0)
    low, high = usual.confidence_interval(0.95)
    assert found == pytest.approx((0.018, low, high, usual.statistic, usual.pvalue, 5))


def test_the_correction_widens_by_the_share_that_tests():
    differences = np.random.default_rng(1).normal(0.1, 1, 10)
    found = corrected_t_test(differences, n_train=80, n_test=20)
    plain = stats.ttest_1samp(differences, 0)
    assert plain.statistic / found.t == pytest.approx(math.sqrt((1 / 10 + 1 / 4) / (1 / 10)))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.t), 9))
    assert found.low < found.value < found.high
    # The interval's edge is where p crosses 0.05.
    assert corrected_t_test(differences - found.low, 80, 20).p == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("differences", "value"),
    [
        ([], math.nan),
        ([0.1], 0.1),
        ([0.1, math.nan], math.nan),
        ([0.2, 0.2, 0.2], 0.2),
        ([0.9 - 0.8, 0.8 - 0.7], 0.1),
    ],
)
def test_what_no_t_test_can_tell_is_nan(differences, value):
    found = corrected_t_test(np.array(differences), 90, 10)
    assert found.value == pytest.approx(value, nan_ok=True)
    assert np.isnan(found[1:5]).all() and found.n == len(differences)


def test_the_rows_that_train_and_test_are_needed():
    with pytest.raises(UsageError, match="got 0 and 10"):
        corrected_t_test(np.array([0.1, 0.2]), 0, 10)


def test_p_values_are_corrected_as_by_holm():
    # The steps by hand: 5 x .01; 4 x .02 = .08; 3 x .03 = .09; 2 x .04 = .08, not below .09; .09.
    found = correct_p_values(np.array([0.05, 0.01, 0.03, 0.02, 0.04]))
    np.testing.assert_allclose(found, [0.09, 0.05, 0.09, 0.08, 0.09])
    some = correct_p_values(np.array([0.6, np.nan, 0.7]))
    np.testing.assert_array_equal(some, [1.0, np.nan, 1.0])
    assert correct_p_values(np.empty(0)).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_no_corrected_p_value_is_below_its_own_or_above_bonferronis(values):
    p = np.array(values)
    found = correct_p_values(p)
    assert (found >= p).all() and (found <= np.minimum(p * len(p), 1)).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
