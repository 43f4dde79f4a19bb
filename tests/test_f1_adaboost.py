"""F1AdaBoostClassifier: its formulas by hand, its limits, SAMME as its special case."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import AdaBoostClassifier
from sklearn.metrics import f1_score
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator

from moppet.study.f1_adaboost import F1AdaBoostClassifier, _updated_weights


def lopsided(classes: int = 4, n: int = 240, seed: int = 0):
    """Rows of overlapping classes, each half as common as the one before."""
    shares = 0.5 ** np.arange(classes)
    return make_classification(
        n,
        10,
        n_informative=6,
        n_classes=classes,
        weights=list(shares / shares.sum()),
        flip_y=0.05,
        random_state=seed,
    )


def test_it_is_a_whole_scikit_learn_estimator():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(F1AdaBoostClassifier(n_estimators=3), on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert failed == {}
    assert sum(r["status"] == "passed" for r in results) > 40


@pytest.mark.parametrize(("classes", "depth", "rate"), [(2, 1, 1.0), (4, 2, 0.5), (4, 3, 1.0)])
def test_weighed_by_accuracy_and_without_rarity_it_is_samme(classes, depth, rate):
    rows, label = lopsided(classes)
    theirs = AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=depth),
        n_estimators=15,
        learning_rate=rate,
        random_state=3,
    ).fit(rows[:160], label[:160])
    ours = F1AdaBoostClassifier(
        15, max_depth=depth, learning_rate=rate, weigh_by="accuracy", rarity=0, random_state=3
    ).fit(rows[:160], label[:160])
    n = len(theirs.estimators_)
    assert len(ours.estimators_) == n > 5
    for tree, other in zip(ours.estimators_, theirs.estimators_, strict=True):
        np.testing.assert_array_equal(tree.tree_.feature, other.tree_.feature)
        np.testing.assert_array_equal(tree.tree_.threshold, other.tree_.threshold)
    np.testing.assert_allclose(ours.estimator_weights_, theirs.estimator_weights_[:n])
    np.testing.assert_allclose(1 - ours.estimator_scores_, theirs.estimator_errors_[:n])
    np.testing.assert_array_equal(ours.predict(rows[160:]), theirs.predict(rows[160:]))
    np.testing.assert_allclose(ours.predict_proba(rows[160:]), theirs.predict_proba(rows[160:]))
    np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_)


def test_two_rounds_follow_the_formulas_of_the_docstring():
    rows, label = lopsided(3, 90)
    model = F1AdaBoostClassifier(2, max_depth=2, rarity=0.7, learning_rate=0.8, random_state=0)
    model.fit(rows, label)
    counts = np.bincount(label)
    cost = 1 + 0.7 * (1 - counts / counts.max())
    np.testing.assert_allclose(model.class_costs_, cost)
    weight = np.full(90, 1 / 90)
    for tree, vote, score in zip(
        model.estimators_, model.estimator_weights_, model.estimator_scores_, strict=True
    ):
        guess = tree.predict(rows)
        f1 = f1_score(label, guess, average="macro", sample_weight=weight)
        assert score == pytest.approx(f1)
        alpha = 0.8 * (math.log(f1 / (1 - f1)) + math.log(2))
        assert vote == pytest.approx(alpha)
        weight = weight * np.exp(alpha * cost[label] * (guess != label))
        weight /= weight.sum()
    votes = np.zeros((90, 3))
    for tree, vote in zip(model.estimators_, model.estimator_weights_, strict=True):
        votes[np.arange(90), tree.predict(rows)] += vote
    np.testing.assert_array_equal(model.predict(rows), votes.argmax(axis=1))


def test_a_rare_class_mistake_gains_more_weight_than_a_common_one():
    label = np.repeat([0, 1, 2], [30, 20, 5])
    model = F1AdaBoostClassifier(1, random_state=0, rarity=0.5).fit(np.arange(55)[:, None], label)
    np.testing.assert_allclose(model.class_costs_, [1, 1 + 0.5 / 3, 1 + 0.5 * 5 / 6])


def test_even_classes_leave_rarity_without_effect():
    rows, label = make_classification(
        120, 8, n_informative=5, n_classes=3, flip_y=0, random_state=1
    )
    label = np.sort(label)
    even = np.r_[:30, 40:70, 80:110]
    label[even] = np.repeat([0, 1, 2], 30)
    fits = [
        F1AdaBoostClassifier(6, max_depth=2, rarity=r, random_state=0).fit(rows[even], label[even])
        for r in (0.0, 2.0)
    ]
    np.testing.assert_allclose(fits[0].estimator_weights_, fits[1].estimator_weights_)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.6, 0.3, 0.08, 0.02)])
def test_no_blind_guess_beats_a_macro_f1_of_one_in_k(shares):
    # The expected counts of a guess that ignores the row are the products of the shares.
    pi, rng = np.array(shares), np.random.default_rng(0)
    guesses = [pi, *rng.dirichlet(np.ones(len(pi)), 2000), *np.eye(len(pi))]
    macro = [np.mean(2 * pi * q / (pi + q)) for q in guesses]
    assert macro[0] == pytest.approx(1 / len(pi))
    assert max(macro) <= 1 / len(pi) + 1e-12


def test_a_perfect_tree_ends_the_boosting_with_a_finite_vote():
    label = np.repeat([0, 1], 10)
    model = F1AdaBoostClassifier(50, max_depth=1).fit(np.arange(20.0)[:, None], label)
    assert model.estimator_scores_.tolist() == [1.0]
    assert model.estimator_weights_[0] == pytest.approx(math.log((1 - 1e-6) / 1e-6))
    np.testing.assert_array_equal(model.predict(np.arange(20.0)[:, None]), label)


def test_a_tree_that_names_only_the_majority_is_grown_again_with_even_classes():
    # Both leaves hold mostly class 0, so the tree reads nothing else: macro-F1 0.474, under 1/2.
    rows = np.repeat([0.0, 0.0, 1.0, 1.0], [100, 4, 80, 16])[:, None]
    label = np.repeat([0, 1, 0, 1], [100, 4, 80, 16])
    model = F1AdaBoostClassifier(1, random_state=0).fit(rows, label)
    assert model.predict([[0.0], [1.0]]).tolist() == [0, 1]
    right_0, right_1 = 100 / 180, 16 / 20
    of_0 = 2 * right_0 / (1 + right_0 + 1 - right_1)
    of_1 = 2 * right_1 / (1 + right_1 + 1 - right_0)
    assert model.estimator_scores_[0] == pytest.approx((of_0 + of_1) / 2)


def test_rows_without_anything_to_learn_keep_one_tree_and_say_so():
    label = np.repeat([0, 1, 2], [5, 3, 2])
    with pytest.warns(UserWarning, match="no better than chance"):
        model = F1AdaBoostClassifier(10, random_state=0).fit(np.zeros((10, 2)), label)
    assert len(model.estimators_) == 1
    assert len(set(model.predict(np.zeros((4, 2))))) == 1
    np.testing.assert_allclose(model.predict_proba(np.zeros((4, 2))).sum(axis=1), 1)


def test_one_class_is_read_everywhere():
    model = F1AdaBoostClassifier().fit(np.arange(4.0)[:, None], ["fear"] * 4)
    assert model.predict([[9.0]]).tolist() == ["fear"]
    assert model.predict_proba([[9.0]]).tolist() == [[1.0]]


def test_the_last_stage_is_the_whole_model():
    rows, label = lopsided()
    model = F1AdaBoostClassifier(6, random_state=0).fit(rows, label)
    stages = list(model.staged_predict(rows))
    assert len(stages) == len(model.estimators_)
    np.testing.assert_array_equal(stages[-1], model.predict(rows))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n_estimators": 0}, r"'n_estimators' parameter .* int in the range \[1"),
        ({"learning_rate": 0}, r"'learning_rate' .* float in the range \(0"),
        ({"rarity": -1}, r"'rarity' .* float in the range \[0"),
        ({"rarity": math.nan}, "'rarity' .* Got nan"),
        ({"weigh_by": "f2"}, "'weigh_by' .* Got 'f2'"),
    ],
)
def test_arguments_that_cannot_be_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        F1AdaBoostClassifier(**wrong).fit([[0.0], [1.0]], [0, 1])


def test_rows_that_weigh_nothing_are_refused():
    with pytest.raises(ValueError, match="non-zero"):
        F1AdaBoostClassifier().fit([[0.0], [1.0]], [0, 1], sample_weight=[0, 0])


@pytest.mark.parametrize("more", [{"rarity": 1000.0}, {"learning_rate": 1000.0}])
def test_no_setting_makes_the_weights_overflow(more):
    rows, label = lopsided()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = F1AdaBoostClassifier(10, random_state=0, **more).fit(rows, label)
    assert np.isfinite(model.estimator_weights_).all()
    np.testing.assert_allclose(model.predict_proba(rows).sum(axis=1), 1)


def test_a_vote_that_overflows_moves_all_weight_to_the_mistakes_and_none_to_nothing():
    weight = _updated_weights(np.full(4, 0.25), np.array([0.0, 5000.0, 0.0, 5000.0]))
    np.testing.assert_allclose(weight, [np.finfo(float).eps, 0.5, np.finfo(float).eps, 0.5])
    small = np.array([0.0, 1.3, 0.0, 0.2])
    plain = 0.25 * np.exp(small)
    np.testing.assert_allclose(_updated_weights(np.full(4, 0.25), small), plain / plain.sum())


@pytest.mark.parametrize("weigh_by", ["f1", "accuracy"])
@pytest.mark.parametrize(("classes", "each"), [(2, 10), (3, 1), (3, 7), (3, 10), (6, 5), (7, 10)])
def test_chance_is_chance_also_where_even_weights_are_no_exact_fractions(weigh_by, classes, each):
    label = np.repeat(np.arange(classes), each)
    with pytest.warns(UserWarning, match="no better than chance"):
        model = F1AdaBoostClassifier(10, weigh_by=weigh_by, rarity=0, random_state=0).fit(
            np.zeros((len(label), 2)), label
        )
    assert model.estimator_weights_.tolist() == [1.0]


def test_only_the_proportions_of_sample_weights_count_from_the_smallest_to_the_largest():
    rows, label = lopsided()
    weight = np.random.default_rng(0).integers(1, 5, len(label)).astype(float)
    fits = []
    for scale in (1.0, 2.0**-900, 2.0**1000):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = F1AdaBoostClassifier(5, random_state=0)
            fits.append(model.fit(rows, label, sample_weight=weight * scale))
    for other in fits[1:]:
        np.testing.assert_array_equal(other.estimator_weights_, fits[0].estimator_weights_)
        np.testing.assert_array_equal(other.class_costs_, fits[0].class_costs_)


def test_a_row_that_weighs_next_to_nothing_is_no_row_of_weight_zero():
    rows, label = lopsided()
    weight = np.where(np.arange(len(label)) < 3, 1e-300, 1e30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = F1AdaBoostClassifier(5, random_state=0).fit(rows, label, sample_weight=weight)
    assert len(model.estimators_) == 5


def test_integer_weights_are_so_many_equal_rows():
    rows, label = lopsided(3, 120)
    times = np.random.default_rng(1).integers(0, 4, 120)
    one = F1AdaBoostClassifier(6, max_depth=2, random_state=0)
    one.fit(rows, label, sample_weight=times)
    many = F1AdaBoostClassifier(6, max_depth=2, random_state=0)
    many.fit(np.repeat(rows, times, axis=0), np.repeat(label, times))
    np.testing.assert_allclose(one.estimator_weights_, many.estimator_weights_)
    np.testing.assert_array_equal(one.predict(rows), many.predict(rows))
