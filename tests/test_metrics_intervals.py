"""Intervals hold what they promise; many figures and differences share one set of draws."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.metrics import (
    Difference,
    Estimate,
    accuracy,
    balanced_accuracy,
    bootstrap,
    bootstrap_many,
    from_rows,
    paired_bootstrap_many,
    within,
)
from moppet.metrics.bootstrap import draw_weights, drawn_means, drawn_sums
from moppet.values import UsageError


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


def test_one_group_gives_no_interval_and_no_p():
    right = np.array([1.0, 1, 0, 1, 0])
    one = np.zeros(5, np.int64)
    of = lambda w: {"accuracy": drawn_means(right, w)}  # noqa: E731
    none = lambda w: {"accuracy": np.zeros(len(w))}  # noqa: E731
    alone = bootstrap(lambda rows: float(right[rows].mean()), one, _rng())
    many = bootstrap_many(of, one, _rng())["accuracy"]
    np.testing.assert_equal((alone, many), 2 * (Estimate(0.6, math.nan, math.nan, 5),))
    found = paired_bootstrap_many(of, none, one, _rng())["accuracy"]
    np.testing.assert_equal(found, Difference(0.6, math.nan, math.nan, math.nan, 5))
    two = bootstrap_many(of, np.array([0, 0, 0, 1, 1]), _rng())["accuracy"]
    assert two.low == 0.5 and two.high == pytest.approx(2 / 3)


def test_a_part_of_one_group_gives_no_interval_and_no_p():
    right = np.random.default_rng(4).uniform(size=60) < 0.6
    groups, part = np.arange(60) // 3, np.arange(60) < 3
    of = lambda w: {"accuracy": drawn_means(right.astype(float), w)}  # noqa: E731
    none = lambda w: {"accuracy": drawn_means(np.zeros(60), w)}  # noqa: E731
    inside = bootstrap_many(within(of, part), groups, _rng())["accuracy"]
    assert not math.isnan(inside.value) and np.isnan(inside[1:3]).all()
    for first, second in ((of, none), (none, of)):
        paired = paired_bootstrap_many(within(first, part), within(second, part), groups, _rng())
        assert np.isnan(paired["accuracy"][1:4]).all()
    gap = paired_bootstrap_many(within(of, part), within(of, ~part), groups, _rng())["accuracy"]
    assert not math.isnan(gap.value) and np.isnan(gap[1:4]).all()
    more = np.arange(60) < 6
    assert not np.isnan(bootstrap_many(within(of, more), groups, _rng())["accuracy"]).any()


# ------------------------------------------------------------------------------- many figures


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=25), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_weights_draw_as_many_groups_as_there_are_whole(groups, seed):
    groups = np.array(groups)
    first_rows = np.unique(groups, return_index=True)[1]
    weights = np.concatenate(list(draw_weights(groups, np.random.default_rng(seed), 7)))
    assert weights.shape == (7, len(groups))
    assert (weights[:, first_rows].sum(axis=1) == len(first_rows)).all()
    for group in set(groups.tolist()):
        rows = np.flatnonzero(groups == group)
        assert (weights[:, rows] == weights[:, rows[:1]]).all()


def test_blocks_of_draws_are_the_draws(monkeypatch):
    whole = np.concatenate(list(draw_weights(np.arange(10), _rng(), 25)))
    monkeypatch.setattr(sys.modules["moppet.metrics.bootstrap"], "_BLOCK", 40)
    blocks = list(draw_weights(np.arange(10), _rng(), 25))
    assert [len(b) for b in blocks] == [4, 4, 4, 4, 4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_many_figures_have_the_intervals_that_each_has_alone():
    rng = np.random.default_rng(5)
    values, groups = rng.normal(size=80), rng.integers(0, 50, 80)
    mean = lambda rows: float(values[rows].mean())  # noqa: E731
    highest = lambda rows: float(values[rows].max())  # noqa: E731
    together = bootstrap_many(
        from_rows({"mean": mean, "highest": highest}), groups, _rng(), draws=200
    )
    by_weight = bootstrap_many(lambda w: {"mean": drawn_means(values, w)}, groups, _rng(), 200)
    alone = bootstrap(mean, groups, _rng(), draws=200)
    np.testing.assert_allclose(together["mean"], alone)
    np.testing.assert_allclose(by_weight["mean"], alone)
    assert together["highest"] == bootstrap(highest, groups, _rng(), draws=200)


def test_drawn_sums_are_those_of_bincount():
    rng = np.random.default_rng(6)
    weight, which = rng.integers(0, 4, (5, 40)).astype(float), rng.integers(0, 6, 40)
    expected = [np.bincount(which, row, 9) for row in weight]
    np.testing.assert_array_equal(drawn_sums(weight, which, 9), expected)
    assert not drawn_sums(np.ones((2, 0)), np.empty(0, int), 3).any()


def test_drawn_means_leave_out_what_is_undefined():
    values = np.array([1.0, math.nan, 4.0])
    weight = np.array([[1, 1, 1], [2, 5, 1], [0, 3, 0]], float)
    np.testing.assert_allclose(drawn_means(values, weight), [2.5, 2, math.nan])


# ------------------------------------------------------------------------------- differences


def test_a_model_does_not_differ_from_itself():
    right = np.random.default_rng(7).uniform(size=50) < 0.7
    figure = lambda rows: float(right[rows].mean())  # noqa: E731
    found = paired_bootstrap(figure, figure, np.arange(50), _rng(), draws=100)
    assert found == Difference(0.0, 0.0, 0.0, 1.0, 50)


def test_the_least_p_is_2_over_draws_and_1():
    found = paired_bootstrap(lambda r: 1.0, lambda r: 0.0, np.arange(9), _rng(), draws=99)
    assert found == Difference(1.0, 1.0, 1.0, 0.02, 9)


def test_swapping_the_models_only_turns_the_sign():
    a, b = np.random.default_rng(8).normal(0.2, 1, (2, 60))
    mean = lambda values: lambda rows: float(values[rows].mean())  # noqa: E731
    one = paired_bootstrap(mean(a), mean(b), np.arange(60), _rng(), draws=300)
    other = paired_bootstrap(mean(b), mean(a), np.arange(60), _rng(), draws=300)
    assert other == pytest.approx((-one.value, -one.high, -one.low, one.p, 60))
    assert (one.p < 0.05) == (one.low > 0 or one.high < 0)


def test_a_paired_difference_of_means_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(9)
    shared = rng.normal(size=400)
    a, b = shared + rng.normal(0.05, 0.3, 400), shared + rng.normal(0, 0.3, 400)
    figures = [lambda w, v=v: {"mean": drawn_means(v, w)} for v in (a, b)]
    found = paired_bootstrap_many(*figures, np.arange(400), rng, draws=4000)["mean"]
    half = 1.96 * (a - b).std(ddof=1) / 20
    assert found.value == pytest.approx((a - b).mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.08)
    z = abs(found.value) / (half / 1.96)
    assert found.p == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.02)


def test_equal_models_are_called_different_about_5_times_in_100():
    rng = np.random.default_rng(10)
    called = 0
    for _ in range(300):
        differences = rng.normal(size=50)
        figures = lambda w, d=differences: {"mean": drawn_means(d, w)}  # noqa: E731
        none = lambda w: {"mean": np.zeros(len(w))}  # noqa: E731
        called += paired_bootstrap_many(figures, none, np.arange(50), rng, 199)["mean"].p < 0.05
    assert 5 <= called <= 30


def test_copies_of_a_row_make_no_difference_surer():
    rng = np.random.default_rng(11)
    once = rng.normal(0.25, 1, 60)
    copied, subject = np.tile(once, 6), np.tile(np.arange(60), 6)
    zero = lambda rows: 0.0  # noqa: E731
    single = paired_bootstrap(lambda r: float(once[r].mean()), zero, np.arange(60), _rng())
    grouped = paired_bootstrap(lambda r: float(copied[r].mean()), zero, subject, _rng())
    assert grouped[:4] == pytest.approx(single[:4]) and grouped.n == 360


def test_the_gap_of_two_parts_is_that_of_the_figures_of_each():
    rng = np.random.default_rng(12)
    label, guess = rng.integers(0, 3, (2, 90))
    part = rng.uniform(size=90) < 0.4
    balanced = lambda w: from_rows(  # noqa: E731
        {"b": lambda r: balanced_accuracy(label[r], guess[r], 3)}
    )(w)
    gap = paired_bootstrap_many(
        within(balanced, part), within(balanced, ~part), np.arange(90), rng, 60
    )["b"]
    inside, outside = (balanced_accuracy(label[p], guess[p], 3) for p in (part, ~part))
    assert gap.value == pytest.approx(inside - outside) and gap.low < gap.value < gap.high
    with pytest.raises(UsageError, match="true or false"):
        within(balanced, np.flatnonzero(part))


def test_a_difference_that_is_mostly_undefined_has_no_p():
    present = lambda rows: 1.0 if 0 in rows and 1 in rows and 2 in rows else math.nan  # noqa: E731
    found = paired_bootstrap(present, lambda r: 0.0, np.arange(12), _rng(), draws=100)
    assert found.value == 1 and np.isnan(found[1:4]).all()
    none = paired_bootstrap_many(
        from_rows({"accuracy": lambda r: accuracy(r, r)}),
        from_rows({"accuracy": lambda r: accuracy(r, r)}),
        np.arange(0),
        _rng(),
    )
    assert np.isnan(none["accuracy"][:4]).all() and none["accuracy"].n == 0
    empty = bootstrap_many(from_rows({"accuracy": lambda r: accuracy(r, r)}), np.arange(0), _rng())
    np.testing.assert_equal(empty["accuracy"], Estimate(math.nan, math.nan, math.nan, 0))


def _rng() -> np.random.Generator:
    return np.random.default_rng(11)


def paired_bootstrap(first, second, groups, rng, draws=1000):
    """The difference of two figures of rows."""
    one, other = (from_rows({"figure": figure}) for figure in (first, second))
    return paired_bootstrap_many(one, other, groups, rng, draws)["figure"]
