"""AdaBoost with CART trees that are weighted by F1 instead of error: `F1AdaBoostClassifier`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from moppet.metrics.bootstrap import mean_defined
from moppet.metrics.classification import confusions, f1_of

Values = NDArray[np.float64]
_LEAST_LOSS: Final = 1e-6
_LEAST_WEIGHT: Final = float(np.finfo(np.float64).eps)
_LEAST_EDGE: Final = 1e-9
"""Log odds above chance below this are rounding errors (1/3 is not exact)."""
_MOST_GROWTH: Final = 600.0
"""Largest logarithm of a weight; exp overflows at 709."""


class F1AdaBoostClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """AdaBoost for small imbalanced data: trees weighted by F1, with a boost for rare classes.

    Based on Wu (2025), who replaces the error by F1 without further details; the formulas are this
    project's, and docs/reference/f1-adaboost.md explains them. There are K classes, and n rows with
    weights w that sum to 1, initially uniform or proportional to sample_weight. In each round a
    tree h is fitted to the weighted rows, and

        F = macro-F1 of h on the weighted rows      F1_k = 2 right_k / (true_k + predicted_k)
        vote = learning_rate · (log(F / (1 - F)) + log(K - 1))
        w_i ← w_i · exp(vote · c_k), for each wrong row i of class k; then normalized
        c_k = 1 + rarity · (1 - n_k / n_max)        n_k: the class's share of sample_weight

    The prediction is the class with the largest sum of votes.

    - **Chance.** A random guess reaches a macro-F1 of at most 1/K, whatever the classes' shares p
      (the sum of 2 p q / (p + q) over the classes is largest if the guesses' shares q equal p).
      A vote is positive if and only if F is above 1/K. Any other tree is discarded and boosting
      stops, as in SAMME. If it is the first tree, it is fitted again with equal class weights; if
      that does not help, it is kept as the only tree, with a warning.
    - **F = 1.** No row is wrong, so no weight would change: boosting stops. The vote would be
      infinite, so it is computed for F = 1 - 10⁻⁶.
    - **SAMME.** With weigh_by="accuracy" and rarity=0 this is SAMME (Zhu et al. 2009), with the
      same trees as scikit-learn's AdaBoostClassifier, except for a perfect tree (vote 1 there) and
      a first tree at chance level (an error there).

    n_estimators: maximum number of trees. max_depth: of each tree; None uses the smallest depth
    with at least two leaves per class, because a stump cannot separate three. max_features: as in
    scikit-learn's trees. rarity: 0.25 raises the log weight of a wrong row of a very rare class by
    25 % more per round; from 1, rare classes soon get all the weight. No effect for equally common
    classes. random_state: for ties between splits, and for max_features.

    After fit: `estimators_`, their votes `estimator_weights_` and F `estimator_scores_`,
    `classes_`, `class_costs_` (c), `feature_importances_`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "rarity": [Interval(Real, 0, None, closed="left")],
        "weigh_by": [StrOptions({"f1", "accuracy"})],
    }

    def __init__(
        self,
        n_estimators: int = 50,
        *,
        max_depth: int | None = None,
        max_features: int | float | str | None = None,
        learning_rate: float = 1.0,
        weigh_by: str = "f1",
        rarity: float = 0.25,
        random_state: Any = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.max_features = max_features
        self.learning_rate = learning_rate
        self.weigh_by = weigh_by
        self.rarity = rarity
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> F1AdaBoostClassifier:
        """Fit the trees. X: (n, d) finite numbers; y: (n,) classes; rows of weight 0 are ignored.

        Raises ValueError for invalid arguments or rows.
        """
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        weight = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=True
        )
        if not weight.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        counted = weight > 0
        X, weight = X[counted], weight[counted] / weight.max()  # a sum could overflow
        weight = np.maximum(weight / weight.sum(), _LEAST_WEIGHT)
        self.classes_, label = np.unique(y[counted], return_inverse=True)
        self.n_classes_ = len(self.classes_)
        share = np.bincount(label, weight)
        self.class_costs_ = 1 + self.rarity * (1 - share / share.max())
        self._boost(X, label, weight)
        return self

    def _boost(self, X: NDArray[np.float32], label: NDArray[np.intp], weight: Values) -> None:
        rng = check_random_state(self.random_state)
        self.estimators_: list[Any] = []
        votes: list[float] = []
        scores: list[float] = []
        reweighted = False
        while len(votes) < self.n_estimators:
            tree = self._new_tree(rng).fit(X, label, sample_weight=weight)
            guess = tree.predict(X)
            wrong = guess != label
            loss = self._loss(label, guess, weight)
            vote = self._vote(loss)
            at_chance = vote <= 0 and bool(wrong.any())
            if at_chance and votes:
                break
            if at_chance and not reweighted:
                reweighted = True
                weight = weight / np.bincount(label, weight)[label] / self.n_classes_
                continue
            if at_chance:
                warnings.warn(
                    f"the first tree is no better than chance ({self.weigh_by} {1 - loss:.3f} over "
                    f"{self.n_classes_} classes): it is kept as the only tree.",
                    stacklevel=3,
                )
            self.estimators_.append(tree)
            votes.append(1.0 if at_chance else vote)
            scores.append(1 - loss)
            if at_chance or not wrong.any():
                break
            weight = _updated_weights(weight, vote * self.class_costs_[label] * wrong)
        self.estimator_weights_ = np.array(votes)
        self.estimator_scores_ = np.array(scores)

    def _new_tree(self, rng: np.random.RandomState) -> Any:
        enough = 1 + math.ceil(math.log2(self.n_classes_))
        return DecisionTreeClassifier(
            max_depth=enough if self.max_depth is None else self.max_depth,
            max_features=self.max_features,
            random_state=rng.randint(np.iinfo(np.int32).max),
        )

    def _loss(self, label: NDArray[np.intp], guess: NDArray[np.intp], weight: Values) -> float:
        """Return 1 - F, or the weight of the wrong rows with weigh_by="accuracy"."""
        if self.weigh_by == "accuracy":
            return float(np.average(guess != label, weights=weight))
        counts = confusions(label, guess, self.n_classes_, weight[None])[0]
        return 1 - float(mean_defined(f1_of(counts)))

    def _vote(self, loss: float) -> float:
        """Return a tree's vote: 0 at chance level, 1 if there is only one class."""
        if self.n_classes_ == 1:
            return 1.0
        if loss >= 1:
            return -math.inf
        loss = max(loss, _LEAST_LOSS)
        edge = math.log((1 - loss) / loss) + math.log(self.n_classes_ - 1)
        return self.learning_rate * edge if abs(edge) > _LEAST_EDGE else 0.0

    @property
    def feature_importances_(self) -> Values:
        """(d,) impurity-based importances, averaged with the weights of the trees."""
        check_is_fitted(self)
        of_trees = np.array([tree.feature_importances_ for tree in self.estimators_])
        return np.asarray(np.average(of_trees, axis=0, weights=self.estimator_weights_))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (n,) predicted classes."""
        best = self._votes(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def decision_function(self, X: Any) -> Values:
        """Return (n, K) shares of the votes; for two classes (n,), the second minus the first."""
        votes = self._votes(X)
        return votes[:, 1] - votes[:, 0] if self.n_classes_ == 2 else votes

    def predict_proba(self, X: Any) -> Values:
        """Return (n, K) uncalibrated probabilities: the softmax of Zhu et al. 2009, eq. 15."""
        votes, classes = self._votes(X), self.n_classes_
        if classes == 1:
            return votes
        return np.asarray(softmax((classes * votes - 1) / (classes - 1) ** 2, axis=1))

    def staged_predict(self, X: Any) -> Iterator[NDArray[Any]]:
        """Yield the classes predicted by 1, 2, … trees, to choose n_estimators on held-out rows."""
        for votes in self._staged_votes(X):
            yield self.classes_[votes.argmax(axis=1)]

    def _votes(self, X: Any) -> Values:
        last = np.empty(0)
        for last in self._staged_votes(X):  # noqa: B007 - keeps one stage in memory
            pass
        return last

    def _staged_votes(self, X: Any) -> Iterator[Values]:
        """Yield (n, K), each class's share of the votes of 1, 2, … trees."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        rows = np.arange(len(X))
        votes = np.zeros((len(X), self.n_classes_))
        for tree, vote in zip(self.estimators_, self.estimator_weights_, strict=True):
            votes[rows, tree.predict(X)] += vote
            yield votes / votes.sum(axis=1, keepdims=True)


def _updated_weights(weight: Values, growth: Values) -> Values:
    """Return weights times exp(growth), normalized to a sum of 1; no weight becomes 0.

    growth: (n,) from 0. Large values do not overflow, because the largest exponent is limited.
    """
    log_weight = np.log(weight) + np.minimum(growth, np.finfo(np.float64).max / 2)
    log_weight -= max(0.0, float(log_weight.max()) - _MOST_GROWTH)
    weight = np.exp(log_weight)
    return np.asarray(np.maximum(weight / weight.sum(), _LEAST_WEIGHT))
