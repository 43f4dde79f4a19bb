"""Agreement with raters: exact expectations, checked by naming and leaving out every rater."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from moppet.metrics import (
    guess_agreements,
    guess_plurality_agreements,
    rater_agreements,
    rater_plurality_agreements,
    vote_distances,
    vote_divergences,
)
from moppet.values import UsageError

K = 4
ballot = st.lists(st.integers(-1, K - 1), max_size=7)  # -1: chose none of the classes


def counted(ballots):
    votes = np.array([[row.count(c) for c in range(K)] for row in ballots]).reshape(-1, K)
    return votes, np.array([row.count(-1) for row in ballots], int)


def plurality_chance(others, choice):
    """How often `choice` is named when one of the classes that lead among others is drawn."""
    counts = [others.count(c) for c in range(K)]
    leaders = [c for c in range(K) if counts[c] == max(counts) > 0]
    return 1 / len(leaders) if choice in leaders else 0.0


@given(st.lists(ballot, max_size=5), st.data())
@settings(max_examples=80, deadline=None)
def test_agreements_are_the_means_over_every_rater_left_out(ballots, data):
    votes, abstained = counted(ballots)
    guess = np.array([data.draw(st.integers(0, K - 1)) for _ in ballots], int)
    ours = [
        rater_agreements(votes, abstained),
        guess_agreements(guess, votes, abstained),
        rater_plurality_agreements(votes, abstained),
        guess_plurality_agreements(guess, votes, abstained),
    ]
    for row, one in enumerate(ballots):
        if len(one) < 2:
            assert all(math.isnan(values[row]) for values in ours)
            continue
        left_out = [(v, one[:i] + one[i + 1 :]) for i, v in enumerate(one)]
        expected = [
            np.mean([a == b and a >= 0 for a, b in permutations(one, 2)]),
            np.mean([v == guess[row] for v in one]),
            np.mean([plurality_chance(others, v) for v, others in left_out]),
            np.mean([plurality_chance(others, guess[row]) for _, others in left_out]),
        ]
        assert [values[row] for values in ours] == pytest.approx(expected)


def test_the_ceiling_worked_by_hand():
    # Votes 6, 3, 1: the others' plurality is the first class whoever is left out, so 6 of 10.
    # 2, 2: leaving one out leaves the other class ahead: nobody agrees. 5, 5, 0 likewise.
    # 1, 1, 1: each of the other two leads with chance 1/2, the own class never.
    # 2, 1: a vote for 0 leaves a tie, 1/2; the vote for 1 leaves 0 ahead: 2/3 * 1/2.
    votes = np.array([[6, 3, 1], [2, 2, 0], [5, 5, 0], [1, 1, 1], [2, 1, 0], [10, 0, 0]])
    found = rater_plurality_agreements(votes)
    np.testing.assert_allclose(found, [0.6, 0, 0, 0, 1 / 3, 1])
    # Fleiss 1971: (6*5 + 3*2) / 90, and so on.
    pairs = [36 / 90, 4 / 12, 40 / 90, 0, 2 / 6, 1]
    np.testing.assert_allclose(rater_agreements(votes), pairs)
    assert guess_plurality_agreements(np.zeros(6, int), votes)[0] == 1
    np.testing.assert_allclose(guess_agreements(np.zeros(6, int), votes)[[0, 5]], [0.6, 1])


def test_who_abstains_agrees_with_nobody():
    votes, none = np.array([[4, 0], [1, 0], [0, 0]]), np.array([4, 3, 8])
    np.testing.assert_allclose(rater_agreements(votes, none), [12 / 56, 0, 0])
    np.testing.assert_allclose(rater_plurality_agreements(votes, none), [0.5, 0, 0])
    np.testing.assert_allclose(guess_agreements(np.array([0, 0, 1]), votes, none), [0.5, 0.25, 0])
    # With one vote for the class left out, nobody is left to agree with.
    ours = guess_plurality_agreements(np.array([0, 0, 1]), votes, none)
    np.testing.assert_allclose(ours, [1, 0.75, 0])


def test_fleiss_kappa_of_the_published_table_follows_from_the_agreements():
    # The worked example that textbooks carry: ten subjects, five categories, 14 raters;
    # mean agreement 0.378, kappa 0.210.
    votes = np.array(
        [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ]
    )
    observed = rater_agreements(votes).mean()
    by_chance = ((votes.sum(axis=0) / votes.sum()) ** 2).sum()
    assert observed == pytest.approx(0.378, abs=5e-4)
    assert (observed - by_chance) / (1 - by_chance) == pytest.approx(0.210, abs=5e-4)


def test_the_divergence_is_that_of_scipy():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(K), 30)
    votes = rng.multinomial(10, np.full(K, 1 / K), 30)
    np.testing.assert_allclose(vote_divergences(p, votes), stats.entropy(votes, p, axis=1))
    single = np.eye(K, dtype=int)[rng.integers(0, K, 30)]
    log_loss = reference.log_loss(single.argmax(axis=1), p, labels=range(K))
    assert vote_divergences(p, single).mean() == pytest.approx(log_loss)


def test_votes_that_the_model_calls_impossible_cost_much_but_not_all():
    p, votes = np.array([[1.0, 0.0]], np.float32), np.array([[0, 3]])
    assert vote_divergences(p, votes)[0] == pytest.approx(23 * math.log(2))  # float32's epsilon
    assert vote_distances(p, votes)[0] == 1


@given(st.lists(st.lists(st.integers(0, 9), min_size=K, max_size=K), min_size=1, max_size=9))
@settings(max_examples=30, deadline=None)
def test_the_votes_own_shares_are_at_no_distance(rows):
    votes = np.array(rows)
    shares = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    empty = votes.sum(axis=1) == 0
    for values in (vote_divergences(shares, votes), vote_distances(shares, votes)):
        assert np.isnan(values[empty]).all()
        np.testing.assert_allclose(values[~empty], 0, atol=1e-12)
    turned = np.roll(shares, 1, axis=1)
    far = vote_distances(turned, votes)[~empty]
    assert ((far >= 0) & (far <= 1 + 1e-12)).all()
    assert (vote_divergences(turned, votes)[~empty] >= -1e-12).all()


def test_the_distance_is_the_share_of_votes_that_must_move():
    p = np.array([[0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(vote_distances(p, np.array([[7, 1, 2, 0]])), [0.4])


def test_votes_of_another_kind_are_refused():
    with pytest.raises(UsageError, match="whole numbers"):
        rater_agreements(np.array([[0.5, 0.5]]))
    with pytest.raises(UsageError, match="negative"):
        vote_distances(np.ones((1, 2)), np.array([[-1, 2]]))
    with pytest.raises(UsageError, match=r"\(1, 3\) and \(1, 2\)"):
        vote_divergences(np.ones((1, 2)), np.ones((1, 3)))
    with pytest.raises(UsageError, match="from 0 to 1 for each of 1 rows"):
        guess_agreements(np.array([2]), np.array([[1, 1]]))
    with pytest.raises(UsageError, match=r"\(1, 2\) and \(2,\)"):
        rater_agreements(np.array([[1, 1]]), np.array([0, 0]))
