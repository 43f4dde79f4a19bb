"""Agreement of a model, and of a human rater, with the votes of several raters.

Every function returns (n,) values, NaN for rows with too few votes; the figure is their mean.
Human agreement is computed exactly, by leaving out each rater once.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.bootstrap import divide
from moppet.metrics.classification import Labels, Scores, Values
from moppet.values import UsageError

Votes = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]
_LEAST: Final = float(np.finfo(np.float32).eps)  # a float32 softmax can give 0


def vote_divergences(probabilities: Scores, votes: Votes) -> Values:
    """Return the Kullback-Leibler divergence of each row's votes from the model, in nats.

    0 where the probabilities equal the shares of the votes. Probabilities below 1.2e-7 (float32's
    epsilon) are raised to that, so the maximum is 15.9. NaN for a row without votes.
    """
    share = _shares(probabilities, votes)
    floored = np.maximum(probabilities.astype(np.float64), _LEAST)
    ratio = np.divide(share, floored, out=np.ones_like(share), where=share > 0)
    return np.asarray((share * np.log(ratio)).sum(axis=1))


def vote_distances(probabilities: Scores, votes: Votes) -> Values:
    """Return the total variation distance between each row's votes and the model, 0 to 1.

    Half the summed absolute differences. NaN for a row without votes.
    """
    return np.asarray(np.abs(_shares(probabilities, votes) - probabilities).sum(axis=1) / 2)


def rater_agreements(votes: Votes, abstained: Votes | None = None) -> Values:
    """Return the chance that two raters of a row, drawn at random, agree (Fleiss 1971, P_i).

    votes: (n, k) whole numbers. abstained: (n,) raters who chose none of the k classes; they agree
    with nobody. NaN for a row with fewer than two raters.
    """
    votes, abstained = _counted(votes, abstained)
    raters = votes.sum(axis=1) + abstained
    return divide((votes * (votes - 1)).sum(axis=1), raters * (raters - 1))


def guess_agreements(guess: Labels, votes: Votes, abstained: Votes | None = None) -> Values:
    """Return the chance that a guess agrees with one rater drawn at random.

    NaN for a row with fewer than two raters, as in rater_agreements.
    """
    votes, abstained = _counted(votes, abstained)
    return _per_rater(_chosen(votes, guess), votes, abstained)


def rater_plurality_agreements(votes: Votes, abstained: Votes | None = None) -> Values:
    """Return how often a rater agrees with the plurality of the others: the human ceiling.

    Each rater is left out once. If t classes are tied among the others, each counts 1 / t. A rater
    who abstained, or whose fellow raters all abstained, agrees with nobody. NaN for a row with
    fewer than two raters.
    """
    votes, abstained = _counted(votes, abstained)
    own = np.diagonal(_plurality_of_others(votes), axis1=1, axis2=2)
    return _per_rater((votes * own).sum(axis=1), votes, abstained)


def guess_plurality_agreements(
    guess: Labels, votes: Votes, abstained: Votes | None = None
) -> Values:
    """Return how often a guess agrees with the plurality of all raters but one.

    Comparable to rater_plurality_agreements, because it uses the same votes.
    """
    votes, abstained = _counted(votes, abstained)
    without_abstained = abstained * _chosen(_plurality(votes), guess)
    of_others = _plurality_of_others(votes)[np.arange(len(votes)), :, guess]
    return _per_rater((votes * of_others).sum(axis=1) + without_abstained, votes, abstained)


def _plurality_of_others(votes: NDArray[np.int64]) -> Values:
    """Return (n, k, k): the plurality without one rater, by the vote of this rater."""
    one = np.eye(votes.shape[1], dtype=np.int64)
    return _plurality(votes[:, None] - one)  # -1 where nobody gave this vote; the weight is then 0


def _plurality(votes: NDArray[np.int64]) -> Values:
    """Return the chance of each class, on the last axis, to be the voters' choice."""
    most = votes.max(axis=-1, keepdims=True, initial=0)
    leads = (votes == most) & (most > 0)
    return np.asarray(leads / np.maximum(leads.sum(axis=-1, keepdims=True), 1))


def _per_rater(agreed: Any, votes: NDArray[np.int64], abstained: NDArray[np.int64]) -> Values:
    raters = votes.sum(axis=1) + abstained
    return divide(agreed, np.where(raters > 1, raters, 0))


def _chosen(table: NDArray[Any], guess: Labels) -> NDArray[Any]:
    if len(guess) != len(table) or (
        len(guess) and not 0 <= guess.min() <= guess.max() < table.shape[1]
    ):
        raise UsageError(
            f"needed one guess from 0 to {table.shape[1] - 1} for each of {len(table)} rows of "
            f"votes: got {len(guess)} guesses."
        )
    return np.asarray(table[np.arange(len(table)), guess])


def _shares(probabilities: Scores, votes: Votes) -> Values:
    if probabilities.ndim != 2 or probabilities.shape != votes.shape:
        raise UsageError(
            "needed one number of votes per probability: got the shapes "
            f"{votes.shape} and {probabilities.shape}."
        )
    if len(votes) and not votes.min() >= 0:
        raise UsageError("votes must be 0 or more, but some are negative or NaN.")
    return divide(votes, np.broadcast_to(votes.sum(axis=1, keepdims=True), votes.shape))


def _counted(votes: Votes, abstained: Votes | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    abstained = np.zeros(len(votes), np.int64) if abstained is None else abstained
    if votes.ndim != 2 or abstained.shape != (len(votes),):
        raise UsageError(
            "needed a table of votes and one number of abstentions per row: got the shapes "
            f"{votes.shape} and {abstained.shape}."
        )
    both = np.column_stack([votes, abstained])
    if both.size and not ((both >= 0) & (both == np.floor(both))).all():
        raise UsageError("votes must be whole numbers of 0 or more, not shares.")
    counted = both.astype(np.int64)
    return counted[:, :-1], counted[:, -1]
