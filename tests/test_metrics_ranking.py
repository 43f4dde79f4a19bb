"""Areas under the curve and their comparison agree with pair counts and scikit-learn."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from moppet.metrics import auc, aucs, delong_test, macro_auc, roc_curve
from moppet.metrics.ranking import drawn_aucs
from moppet.values import UsageError

# Few distinct scores, so that there are ties.
scored = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40)
scored_twice = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), min_size=1, max_size=25
)


def kernel(x: float, y: float) -> Fraction:
    """The share of a pair that a positive's score x wins against a negative's score y."""
    return Fraction(2 * int(x > y) + int(x == y), 2)


@given(scored)
@settings(max_examples=60, deadline=None)
def test_the_area_is_the_share_of_pairs_in_order(rows):
    score = np.array([s for s, _ in rows], float)
    positive = np.array([p for _, p in rows])
    pairs = [kernel(x, y) for x in score[positive] for y in score[~positive]]
    found = auc(score, positive)
    if not pairs:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(float(sum(pairs) / len(pairs)))
        assert found == pytest.approx(reference.roc_auc_score(positive, score))
        u = stats.mannwhitneyu(score[positive], score[~positive]).statistic
        assert found == pytest.approx(u / len(pairs))


@given(scored)
@settings(max_examples=40, deadline=None)
def test_the_curve_is_that_of_scikit_learn(rows):
    score = np.array([s for s, _ in rows], float)
    positive = np.array([p for _, p in rows])
    curve = roc_curve(score, positive)
    assert np.isnan(curve.true_positive_rate).all() == (not positive.any())
    assert np.isnan(curve.false_positive_rate).all() == positive.all()
    if positive.any() and not positive.all():
        theirs = reference.roc_curve(positive, score, drop_intermediate=False)
        for ours, known in zip(curve, theirs, strict=True):
            np.testing.assert_allclose(ours, known)
        area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
        assert area == pytest.approx(auc(score, positive))


def test_the_areas_of_several_classes_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 300).astype(np.float32)
    label = rng.integers(0, 4, 300)
    theirs = [reference.roc_auc_score(label == c, p[:, c]) for c in range(4)]
    np.testing.assert_allclose(aucs(p, label), theirs)
    assert macro_auc(p, label) == pytest.approx(np.mean(theirs))


def test_an_absent_class_has_no_area_and_is_left_out_of_the_mean():
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]])
    np.testing.assert_array_equal(aucs(p, np.array([0, 1, 1])), [1, 1, math.nan])
    assert macro_auc(p, np.array([0, 1, 1])) == 1
    assert math.isnan(macro_auc(p, np.zeros(3, int)))


def test_the_areas_of_weighted_draws_are_those_of_repeated_rows():
    rng = np.random.default_rng(1)
    p = np.round(rng.dirichlet(np.ones(3), 50), 1)
    label, weight = rng.integers(0, 3, 50), rng.integers(0, 3, (6, 50)).astype(float)
    for areas, times in zip(drawn_aucs(p, label, weight), weight.astype(int), strict=True):
        rows = np.repeat(np.arange(50), times)
        np.testing.assert_allclose(areas, aucs(p[rows], label[rows]))


@given(scored)
@settings(max_examples=25, deadline=None)
def test_scores_turned_round_have_the_area_turned_round(rows):
    score = np.array([s for s, _ in rows], float)
    positive = np.array([p for _, p in rows])
    np.testing.assert_allclose(auc(-score, positive), 1 - auc(score, positive))
    np.testing.assert_allclose(auc(score, ~positive), 1 - auc(score, positive))
    np.testing.assert_allclose(auc(np.exp(score), positive), auc(score, positive))


# ------------------------------------------------------------------------------- DeLong


def slow_delong(first, second, positive):
    """DeLong et al. 1988, equations 3 to 6, pair by pair in exact fractions."""
    placed = []
    for score in (first, second):
        x, y = score[positive], score[~positive]
        table = [[kernel(a, b) for b in y] for a in x]
        m, n = len(x), len(y)
        v10 = [sum(row) / n for row in table]
        v01 = [sum(row[j] for row in table) / m for j in range(n)]
        placed.append((sum(v10) / m, v10, v01))
    m, n = len(placed[0][1]), len(placed[0][2])

    def covariance(r, s, which, count):
        (area_r, *vr), (area_s, *vs) = placed[r], placed[s]
        terms = zip(vr[which], vs[which], strict=True)
        return sum((a - area_r) * (b - area_s) for a, b in terms) / (count - 1)

    s = [[covariance(r, c, 0, m) / m + covariance(r, c, 1, n) / n for c in (0, 1)] for r in (0, 1)]
    return placed[0][0], placed[1][0], s[0][0] + s[1][1] - s[0][1] - s[1][0]


@given(scored_twice)
@settings(max_examples=60, deadline=None)
def test_the_fast_test_is_the_one_of_all_pairs(rows):
    first, second = np.array([r[:2] for r in rows], float).T
    positive = np.array([r[2] for r in rows])
    found = delong_test(first, second, positive)
    assert found.n == len(rows)
    if not 2 <= positive.sum() <= len(rows) - 2:
        assert math.isnan(found.z) and math.isnan(found.p) and math.isnan(found.low)
        return
    area_a, area_b, variance = slow_delong(first, second, positive)
    assert (found.first, found.second) == pytest.approx((float(area_a), float(area_b)))
    assert found.value == pytest.approx(float(area_a - area_b))
    if variance == 0:
        assert math.isnan(found.z) and math.isnan(found.p) and math.isnan(found.high)
        return
    z = float(area_a - area_b) / math.sqrt(variance)
    assert found.z == pytest.approx(z)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert (found.low + found.high) / 2 == pytest.approx(found.value, abs=1e-12)
    assert found.high - found.low == pytest.approx(2 * 1.959964 * math.sqrt(variance), rel=1e-5)


def test_the_example_worked_by_hand():
    # Negatives 2 and 4, positives 3, 5, 6: the first model puts all positives above, area 1.
    # The second scores the positives 1, 5, 6: placements 0, 1, 1, area 2/3; of the negatives
    # 2/3 and 2/3. Differences: 1, 0, 0 (variance 1/3, over 3 rows 1/9) and 1/3, 1/3 (0).
    # z = (1/3) / sqrt(1/9) = 1, two-sided p = 0.3173.
    positive = np.array([False, False, True, True, True])
    found = delong_test(np.array([2.0, 4, 5, 6, 7]), np.array([2.0, 4, 1, 5, 6]), positive)
    assert found[:3] == pytest.approx((1, 2 / 3, 1 / 3))
    assert found.z == pytest.approx(1) and found.p == pytest.approx(0.31731, abs=1e-5)


def test_two_models_of_equal_worth_are_called_different_about_5_times_in_100():
    rng = np.random.default_rng(2)
    positive = np.arange(80) < 35
    p = []
    for _ in range(2000):
        shared = rng.normal(positive, 1)
        a, b = shared + rng.normal(0, 1, (2, 80))
        p.append(delong_test(a, b, positive).p)
    # Three standard errors of 2000 draws; the test is a little cautious in small sets.
    assert 0.035 <= np.mean(np.array(p) < 0.05) <= 0.065
    assert 0.48 <= np.mean(p) <= 0.52


def test_scores_that_cannot_be_ranked_are_refused():
    with pytest.raises(UsageError, match="int64"):
        auc(np.array([0.1, 0.2]), np.array([0, 1]))
    with pytest.raises(UsageError, match="NaN"):
        auc(np.array([0.1, math.nan]), np.array([True, False]))
    with pytest.raises(UsageError, match=r"\(3,\)"):
        delong_test(np.zeros(2), np.zeros(3), np.array([True, False]))
