"""The classifiers of the study, by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from moppet.study.f1_adaboost import F1AdaBoostClassifier
from moppet.values import Floats

TREES: Final = 50
_FEATURES: Final = "sqrt"
"""What a split of a boosted tree looks at, as in random forests: all would take thirty times as
long, and both boosters are treated alike."""


def _cart(classes: int, seed: int) -> Any:
    return DecisionTreeClassifier(random_state=seed)


def _samme(classes: int, seed: int) -> Any:
    depth = 1 + math.ceil(math.log2(classes))  # F1AdaBoostClassifier's own choice
    tree = DecisionTreeClassifier(max_depth=depth, max_features=_FEATURES)
    return AdaBoostClassifier(tree, n_estimators=TREES, random_state=seed)


def _f1_adaboost(classes: int, seed: int) -> Any:
    return F1AdaBoostClassifier(TREES, max_features=_FEATURES, random_state=seed)


def _logistic(classes: int, seed: int) -> Any:
    return LogisticRegression(max_iter=5000)


CLASSIFIERS: Final[dict[str, Callable[[int, int], Any]]] = {
    "cart": _cart,
    "samme": _samme,
    "f1_adaboost": _f1_adaboost,
    "logistic": _logistic,
}
"""Name → function from the number of classes and a seed to a scikit-learn estimator: a full-grown
CART, SAMME and F1-AdaBoost over CARTs of the same depth, logistic regression of features that the
training rows scale. What is not said is scikit-learn's default; none was chosen by its result."""


def read_with(
    classifier: str,
    x: Floats,
    label: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    unseen: Floats,
    classes: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return (m, classes) probabilities of unseen rows, learned from (n, d) x with (n,) labels.

    A class that no training row has gets 0.
    """
    if classifier == "logistic":
        scaler = StandardScaler().fit(x)
        x, unseen = scaler.transform(x), scaler.transform(unseen)
    model = CLASSIFIERS[classifier](classes, seed).fit(x, label, sample_weight=weight)
    found = np.zeros((len(unseen), classes))
    found[:, model.classes_] = model.predict_proba(unseen)
    return found
