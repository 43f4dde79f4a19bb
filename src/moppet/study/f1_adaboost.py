"""AdaBoost over CART whose trees are weighed by F1 instead of error: `F1AdaBoostClassifier`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from moppet.metrics.bootstrap import mean_defined
from moppet.metrics.classification import confusions, f1_of

Values = NDArray[np.float64]
WEIGH_BY: Final = ("f1", "accuracy")
_LEAST_LOSS: Final = 1e-6
_LEAST_WEIGHT: Final = float(np.finfo(np.float64).eps)
_LEAST_EDGE: Final = 1e-9
"""Log odds above chance below this are rounding: 1/3 of even weights is rarely 1/3 exactly."""
_MOST_GROWTH: Final = 600.0
"""The logarithm of the largest weight that is exponentiated; exp overflows at 709."""


class F1AdaBoostClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """AdaBoost over CART for few, lopsided rows: trees weighed by F1, rare rows weighed up faster.

    After Wu (2025), who puts F1 in the place of the error and says no more; the formulas are ours
    and docs/reference/f1-adaboost.md gives the reasons. K classes, n rows with weights w that sum
    to 1, at first
    even or in proportion to sample_weight. In round t a tree h is grown on the weighted rows, and

        F = macro-F1 of h on the weighted rows      F1_k = 2 right_k / (true_k + guessed_k)
        vote = learning_rate · (log(F / (1 - F)) + log(K - 1))
        w_i ← w_i · exp(vote · c_k), each row i of class k that h gets wrong; then sum 1 again
        c_k = 1 + rarity · (1 - n_k / n_max)        n_k: the class's share of sample_weight

    The class with the largest sum of votes of the trees that name it is read.

    - **Chance.** A guess that does not look at the row reaches a macro-F1 of at most 1/K, whatever
      the classes' shares p (the sum of 2 p q / (p + q) over the classes is largest where the
      guesses' shares q are p). A vote is above 0 just where F is above 1/K. A tree at or below
      that, F = 0 among them, is thrown away and boosting stops, as in SAMME. If it is the first
      one, it is grown once more with all classes weighing the same; if that is no better, it is
      kept, alone, with a warning.
    - **F = 1.** No row is wrong, so no weight would change: boosting stops, and the tree counts as
      if F were 1 - 10⁻⁶, for its vote would be infinite.
    - **SAMME.** With weigh_by="accuracy" and rarity=0 this is SAMME (Zhu et al. 2009), tree by
      tree that of scikit-learn's AdaBoostClassifier, but for a perfect tree, whose vote is 1
      there, and a first tree at chance, which is an error there.

    n_estimators: trees at most. max_depth: of each tree; None takes the smallest depth whose
    leaves can name every class twice, a stump being unable to name three. max_features: features
    that a split looks at, as in scikit-learn's trees. rarity: 0.25 puts a rare class's mistake up
    by a quarter more in log weight each round; from 1 on it soon holds all weight. Without effect
    where all classes are as common. random_state: of ties between splits, and of max_features.

    After fit: `estimators_`, their votes `estimator_weights_` and F `estimator_scores_`,
    `classes_`, `class_costs_` (c), `feature_importances_`.
    """

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
        """Grow the trees. X: (n, d) finite numbers; y: (n,) classes; rows of weight 0 do not count.

        Raises ValueError for arguments and rows that cannot be.
        """
        self._check_arguments()
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

    def _check_arguments(self) -> None:
        whole = isinstance(self.n_estimators, Integral) and self.n_estimators >= 1
        if not whole:
            raise ValueError(f"n_estimators is a whole number from 1, got {self.n_estimators!r}.")
        for name, lowest in (("learning_rate", math.ulp(0.0)), ("rarity", 0.0)):
            value = getattr(self, name)
            if not isinstance(value, Real) or not lowest <= float(value) < math.inf:
                least = "above 0" if lowest else "from 0"
                raise ValueError(f"{name} is a number {least}, got {value!r}.")
        if self.weigh_by not in WEIGH_BY:
            raise ValueError(f"weigh_by is one of {', '.join(WEIGH_BY)}, got {self.weigh_by!r}.")

    def _boost(self, X: NDArray[np.float32], label: NDArray[np.intp], weight: Values) -> None:
        rng = check_random_state(self.random_state)
        self.estimators_: list[Any] = []
        votes: list[float] = []
        scores: list[float] = []
        evened = False
        while len(votes) < self.n_estimators:
            tree = self._new_tree(rng).fit(X, label, sample_weight=weight)
            guess = tree.predict(X)
            wrong = guess != label
            loss = self._loss(label, guess, weight)
            vote = self._vote(loss)
            blind = vote <= 0 and bool(wrong.any())
            if blind and votes:
                break
            if blind and not evened:
                evened = True
                weight = weight / np.bincount(label, weight)[label] / self.n_classes_
                continue
            if blind:
                warnings.warn(
                    f"the first tree is no better than chance ({self.weigh_by} {1 - loss:.3f} over "
                    f"{self.n_classes_} classes): it is kept, alone.",
                    stacklevel=3,
                )
            self.estimators_.append(tree)
            votes.append(1.0 if blind else vote)
            scores.append(1 - loss)
            if blind or not wrong.any():
                break
            weight = _grown(weight, vote * self.class_costs_[label] * wrong)
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
        """Return 1 - F; with weigh_by="accuracy" the weight of the wrong rows."""
        if self.weigh_by == "accuracy":
            return float(np.average(guess != label, weights=weight))
        counts = confusions(label, guess, self.n_classes_, weight[None])[0]
        return 1 - float(mean_defined(f1_of(counts)))

    def _vote(self, loss: float) -> float:
        """Return a tree's vote, 0 at chance; 1 for a single class, of which every tree is right."""
        if self.n_classes_ == 1:
            return 1.0
        if loss >= 1:
            return -math.inf
        loss = max(loss, _LEAST_LOSS)
        edge = math.log((1 - loss) / loss) + math.log(self.n_classes_ - 1)
        return self.learning_rate * edge if abs(edge) > _LEAST_EDGE else 0.0

    @property
    def feature_importances_(self) -> Values:
        """(d,) the trees' impurity-based importances, weighed as the trees are."""
        check_is_fitted(self)
        of_trees = np.array([tree.feature_importances_ for tree in self.estimators_])
        return np.asarray(np.average(of_trees, axis=0, weights=self.estimator_weights_))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (n,) the classes read."""
        best = self._votes(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def decision_function(self, X: Any) -> Values:
        """Return (n, K) shares of the votes; of two classes (n,) the second's less the first's."""
        votes = self._votes(X)
        return votes[:, 1] - votes[:, 0] if self.n_classes_ == 2 else votes

    def predict_proba(self, X: Any) -> Values:
        """Return (n, K) probabilities, not calibrated: the softmax of Zhu et al. 2009, eq. 15."""
        votes, classes = self._votes(X), self.n_classes_
        if classes == 1:
            return votes
        return np.asarray(softmax((classes * votes - 1) / (classes - 1) ** 2, axis=1))

    def staged_predict(self, X: Any) -> Iterator[NDArray[Any]]:
        """Yield the classes read by 1, 2, … trees: to choose n_estimators on rows set aside."""
        for votes in self._staged_votes(X):
            yield self.classes_[votes.argmax(axis=1)]

    def _votes(self, X: Any) -> Values:
        last = np.empty(0)
        for last in self._staged_votes(X):  # noqa: B007 - one stage at a time is held
            pass
        return last

    def _staged_votes(self, X: Any) -> Iterator[Values]:
        """Yield (n, K) each class's share of the votes of 1, 2, … trees."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        rows = np.arange(len(X))
        votes = np.zeros((len(X), self.n_classes_))
        for tree, vote in zip(self.estimators_, self.estimator_weights_, strict=True):
            votes[rows, tree.predict(X)] += vote
            yield votes / votes.sum(axis=1, keepdims=True)


def _grown(weight: Values, growth: Values) -> Values:
    """Return weights times exp(growth), of sum 1 again; none falls to 0.

    growth: (n,) from 0. However large it is, nothing overflows: all is divided by the largest.
    """
    log_weight = np.log(weight) + np.minimum(growth, np.finfo(np.float64).max / 2)
    log_weight -= max(0.0, float(log_weight.max()) - _MOST_GROWTH)
    weight = np.exp(log_weight)
    return np.asarray(np.maximum(weight / weight.sum(), _LEAST_WEIGHT))
