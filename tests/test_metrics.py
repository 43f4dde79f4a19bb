"""Metrics agree with scikit-learn, are NaN where undefined, and carry honest intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from moppet.metrics import (
    Estimate,
    accuracy,
    balanced_accuracy,
    bootstrap,
    calibration_error,
    confusion,
    f1_scores,
    macro_f1,
    precisions,
    recalls,
)

K = 7
pairs = st.lists(st.tuples(st.integers(0, K - 1), st.integers(0, K - 1)), min_size=1, max_size=60)


@given(pairs)
@settings(max_examples=25, deadline=None)
def test_every_figure_is_that_of_scikit_learn(rows):
    label, guess = np.array(rows).T
    known = {"labels": range(K), "average": None, "zero_division": np.nan}
    np.testing.assert_array_equal(
        confusion(label, guess, K), reference.confusion_matrix(label, guess, labels=range(K))
    )
    np.testing.assert_allclose(
        recalls(label, guess, K), reference.recall_score(label, guess, **known)
    )
    np.testing.assert_allclose(
        precisions(label, guess, K), reference.precision_score(label, guess, **known)
    )
    ours, theirs = f1_scores(label, guess, K), reference.f1_score(label, guess, **known)
    np.testing.assert_allclose(ours, theirs)
    assert macro_f1(label, guess, K) == pytest.approx(float(np.nanmean(theirs)))
    recall = reference.recall_score(label, guess, **known)
    assert balanced_accuracy(label, guess, K) == pytest.approx(float(np.nanmean(recall)))
    assert accuracy(label, guess) == pytest.approx(reference.accuracy_score(label, guess))


def test_balanced_accuracy_is_that_of_scikit_learn_where_every_class_is_present():
    rng = np.random.default_rng(0)
    label, guess = np.tile(np.arange(K), 40), rng.integers(0, K, 40 * K)
    ours = balanced_accuracy(label, guess, K)
    assert ours == pytest.approx(reference.balanced_accuracy_score(label, guess))


def test_what_is_undefined_is_nan_and_never_0():
    label, guess = np.array([0, 0, 1]), np.array([0, 2, 1])
    np.testing.assert_array_equal(recalls(label, guess, 4), [0.5, 1, math.nan, math.nan])
    np.testing.assert_array_equal(precisions(label, guess, 4), [1, 1, 0, math.nan])
    np.testing.assert_allclose(f1_scores(label, guess, 4), [2 / 3, 1, 0, math.nan])
    none = np.array([], int)
    for value in (
        accuracy(none, none),
        balanced_accuracy(none, none, 3),
        macro_f1(none, none, 3),
        calibration_error(np.empty((0, 3)), none),
    ):
        assert math.isnan(value)


def test_the_calibration_error_is_that_worked_by_hand():
    # Ten bins. Confidence 0.95 twice, once right: |1/2 - 0.95| = 0.45, weight 2/5.
    # Confidence 0.75 once, right: 0.25, weight 1/5. 0.55 twice, both wrong: 0.55, weight 2/5.
    confidence = np.array([0.95, 0.95, 0.75, 0.55, 0.55])
    p = np.column_stack([confidence, 1 - confidence])
    label = np.array([0, 1, 0, 1, 1])
    expected = 0.4 * 0.45 + 0.2 * 0.25 + 0.4 * 0.55
    assert calibration_error(p, label, bins=10) == pytest.approx(expected)


def test_a_sure_and_right_model_has_no_calibration_error_and_a_sure_wrong_one_has_all():
    p = np.eye(3)[[0, 1, 2, 1]]
    assert calibration_error(p, np.array([0, 1, 2, 1])) == 0
    assert calibration_error(p, np.array([1, 2, 0, 0])) == 1


def test_a_calibrated_model_has_almost_no_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 40_000)
    label = (rng.uniform(size=len(confidence)) > confidence).astype(int)
    assert calibration_error(np.column_stack([confidence, 1 - confidence]), label) < 0.015


# ------------------------------------------------------------------------------- intervals


def test_the_interval_is_that_of_the_normal_approximation_for_a_mean():
    rng = np.random.default_rng(1)
    right = rng.uniform(size=900) < 0.8
    estimate = bootstrap(lambda rows: float(right[rows].mean()), np.arange(900), rng)
    half = 1.96 * math.sqrt(right.mean() * (1 - right.mean()) / 900)
    assert estimate.value == right.mean() and estimate.n == 900
    assert estimate.low == pytest.approx(right.mean() - half, abs=0.25 * half)
    assert estimate.high == pytest.approx(right.mean() + half, abs=0.25 * half)


def test_the_interval_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(150):
        values = rng.normal(3, 1, 60)
        mean = lambda rows, v=values: float(v[rows].mean())  # noqa: E731
        _, low, high, _ = bootstrap(mean, np.arange(60), rng, draws=120)
        held += low <= 3 <= high
    assert 0.88 <= held / 150 <= 0.99


def test_copies_of_a_row_do_not_narrow_the_interval_of_its_group():
    rng = np.random.default_rng(3)
    once = rng.uniform(size=100) < 0.7
    copied = np.tile(once, 9)
    as_rows = bootstrap(lambda r: float(copied[r].mean()), np.arange(900), rng)
    as_groups = bootstrap(lambda r: float(copied[r].mean()), np.tile(np.arange(100), 9), rng)
    single = bootstrap(lambda r: float(once[r].mean()), np.arange(100), rng)
    width = {k: e.high - e.low for k, e in (("r", as_rows), ("g", as_groups), ("s", single))}
    assert width["g"] == pytest.approx(width["s"], rel=0.2)
    assert width["g"] == pytest.approx(3 * width["r"], rel=0.25)
    assert as_groups.n == 900


def test_rows_of_one_group_are_drawn_together():
    groups = np.array([5, 2, 5, 9, 2, 5])
    seen = []

    def figure(rows):
        seen.append(np.bincount(rows, minlength=6))
        return 0.0

    bootstrap(figure, groups, np.random.default_rng(0), draws=50)
    for counts in seen:
        assert counts[0] == counts[2] == counts[5] and counts[1] == counts[4]
    assert len({tuple(counts) for counts in seen}) > 5


def test_single_groups_may_have_any_numbers():
    values = np.array([1.0, 2.0, 4.0])
    estimate = bootstrap(lambda r: float(values[r].sum()), np.array([7, -1, 3]), _rng())
    assert estimate.value == 7 and 3 <= estimate.low < estimate.high <= 12


def test_an_interval_of_one_seed_is_repeatable():
    values = np.arange(30.0)
    first, second = (
        bootstrap(lambda r: float(values[r].mean()), np.arange(30), _rng()) for _ in range(2)
    )
    assert first == second


def test_an_interval_that_is_mostly_undefined_is_nan():
    def figure(rows):
        return 1.0 if 0 in rows and len(set(rows)) < 3 else math.nan

    estimate = bootstrap(figure, np.arange(12), _rng(), draws=60)
    assert math.isnan(estimate.low) and math.isnan(estimate.high) and estimate.n == 12
    nothing = bootstrap(lambda rows: math.nan, np.arange(0), _rng())
    np.testing.assert_equal(nothing, Estimate(math.nan, math.nan, math.nan, 0))


def _rng() -> np.random.Generator:
    return np.random.default_rng(11)
