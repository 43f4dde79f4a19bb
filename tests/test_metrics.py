"""Figures of labels and guesses agree with scikit-learn and are NaN where undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from moppet.metrics import (
    accuracy,
    balanced_accuracy,
    brier_score,
    calibration_error,
    cohen_kappa,
    confusion,
    f1_scores,
    g_mean,
    macro_auc,
    macro_f1,
    macro_precision,
    precisions,
    recalls,
    reliability,
)
from moppet.values import MoppetError, UsageError

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
    precision = reference.precision_score(label, guess, **known)
    assert macro_precision(label, guess, K) == pytest.approx(float(np.nanmean(precision)))
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
        macro_precision(none, none, 3),
        g_mean(none, none, 3),
        cohen_kappa(none, none, 3),
        macro_auc(np.empty((0, 3)), none),
        brier_score(np.empty((0, 3)), none),
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


def test_the_g_mean_is_the_geometric_mean_of_the_recalls_of_the_present_classes():
    # Recalls 1/2, 3/4 and 1; the fourth class is absent. (1/2 * 3/4 * 1) ** (1/3)
    label = np.array([0, 0, 1, 1, 1, 1, 2])
    guess = np.array([0, 3, 1, 1, 1, 0, 2])
    assert g_mean(label, guess, 4) == pytest.approx(0.375 ** (1 / 3))
    assert g_mean(label, np.zeros(7, int), 4) == 0  # classes 1 and 2 are never found


@given(pairs, st.sampled_from([("none", None), ("linear",) * 2, ("quadratic",) * 2]))
@settings(max_examples=40, deadline=None)
def test_kappa_is_that_of_scikit_learn(rows, weights):
    first, second = np.array(rows).T
    ours = cohen_kappa(first, second, K, weights[0])
    if len(set(first) | set(second)) == 1:
        assert math.isnan(ours)
    else:
        theirs = reference.cohen_kappa_score(first, second, labels=range(K), weights=weights[1])
        assert ours == pytest.approx(theirs, abs=1e-12)


@given(pairs, st.permutations(range(K)))
@settings(max_examples=25, deadline=None)
def test_renaming_the_classes_only_reorders_the_figures(rows, order):
    label, guess = np.array(rows).T
    renamed = np.array(order)
    new_label, new_guess = renamed[label], renamed[guess]
    for per_class in (recalls, precisions, f1_scores):
        there = per_class(new_label, new_guess, K)[renamed]
        np.testing.assert_array_equal(there, per_class(label, guess, K))
    for figure in (balanced_accuracy, macro_precision, macro_f1, g_mean, cohen_kappa):
        there, here = figure(new_label, new_guess, K), figure(label, guess, K)
        np.testing.assert_allclose(there, here, atol=1e-12)


@given(st.lists(st.integers(0, K - 1), min_size=1, max_size=40))
@settings(max_examples=25, deadline=None)
def test_a_perfect_guess_has_1_everywhere(label):
    label = np.array(label)
    for figure in (balanced_accuracy, macro_precision, macro_f1, g_mean):
        assert figure(label, label, K) == 1
    several = len(set(label)) > 1
    kappa, area = cohen_kappa(label, label, K), macro_auc(np.eye(K)[label], label)
    for value in (kappa, area):
        assert value == 1 if several else math.isnan(value)
    assert brier_score(np.eye(K)[label], label) == 0


def test_one_class_alone_has_its_recall_for_mean_and_no_chance_corrected_figure():
    label, guess = np.full(8, 2), np.array([2, 2, 2, 0, 1, 2, 2, 2])
    assert balanced_accuracy(label, guess, 3) == 0.75
    assert g_mean(label, guess, 3) == pytest.approx(0.75)
    assert cohen_kappa(label, guess, 3) == 0  # guesses differ, agreement is that of chance
    assert math.isnan(cohen_kappa(label, label, 3))


@pytest.mark.parametrize("k", [2, 7])
def test_the_brier_score_is_that_of_scikit_learn_over_all_classes(k):
    rng = np.random.default_rng(k)
    p = rng.dirichlet(np.ones(k), 200)
    label = rng.integers(0, k, 200)
    per_class = [reference.brier_score_loss(label == c, p[:, c]) for c in range(k)]
    assert brier_score(p, label) == pytest.approx(sum(per_class))


def test_the_brier_score_of_a_sure_wrong_model_is_2():
    assert brier_score(np.eye(3)[[1, 2]], np.array([0, 0])) == 2


def test_reliability_bins_give_back_the_calibration_error():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(4, 0.6), 500)
    label = rng.integers(0, 4, 500)
    bins = reliability(p, label, bins=10)
    full = bins.rows > 0
    assert bins.rows.sum() == 500 and not full[:2].any()  # of 4 classes one has at least 1/4
    assert np.isnan(bins.accuracy[~full]).all() and np.isnan(bins.confidence[~full]).all()
    assert (bins.low[full] <= bins.confidence[full]).all()
    assert (bins.confidence[full] <= bins.high[full]).all()
    gaps = bins.rows[full] / 500 * np.abs(bins.accuracy - bins.confidence)[full]
    assert calibration_error(p, label, bins=10) == pytest.approx(gaps.sum())
    confidence = p.max(axis=1)
    inside = (confidence >= 0.4) & (confidence < 0.5)
    assert bins.accuracy[4] == pytest.approx((p.argmax(axis=1) == label)[inside].mean())


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(UsageError, match=r"guess must be a class from 0 to 2: got -1 to 1"):
        confusion(np.array([0, 1]), np.array([-1, 1]), 3)
    with pytest.raises(UsageError, match="Leave out rows without a class"):
        brier_score(np.eye(3)[:2], np.array([-1, 1]))
    with pytest.raises(UsageError, match="2 labels and 1 guesses"):
        accuracy(np.array([0, 1]), np.array([0]))
    with pytest.raises(UsageError, match=r"shape \(2, 3\) for 3 labels"):
        calibration_error(np.eye(3)[:2], np.array([0, 1, 2]))
    with pytest.raises(MoppetError, match="1 of 2 rows contain NaN"):
        brier_score(np.array([[0.5, 0.5], [math.nan, 1]]), np.array([0, 1]))
    with pytest.raises(UsageError, match="'cubic'"):
        cohen_kappa(np.array([0]), np.array([1]), 2, "cubic")
