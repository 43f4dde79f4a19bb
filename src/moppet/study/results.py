"""Rows of a study's results from its finished cells, with intervals and p-values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics import f1_scores, precisions, recalls
from moppet.metrics.bootstrap import draw_weights, mean_defined
from moppet.metrics.classification import confusion, f1_of, g_mean, macro_f1, recalls_of
from moppet.metrics.ranking import macro_auc
from moppet.metrics.significance import FoldDifference, correct_p_values, corrected_t_test
from moppet.study.classifier_cells import ClassifierContext, FoldedRows, unpack
from moppet.study.executors import Json
from moppet.study.plan import ALL, FIGURES, ClassifierPlan, DataSet, Experiment, NetworkPlan, Regime

Values = NDArray[np.float64]
Labels = NDArray[np.int64]
Pair = tuple[str, str]
"""A feature space and a classifier."""
Prediction = tuple[Labels, Values]
"""(n,) predicted classes and (n, k) probabilities, of all rows of a data set in order."""
Predictions = dict[int, list[Prediction]]
"""By repeat, of one pair of space and classifier or of several."""

DRAWS: Final = 2000
OUTCOMES: Final = {
    "kept": ("are kept", "keep_wiped keeps"),
    "too_small": ("is too small to make faces of", "is too small for synthetic faces"),
}
"""Outcome → the texts by which a cell's notes tell it, of this version and of earlier ones."""


# --------------------------------------------------------------------- studies of networks


def summarize_networks(
    plan: NetworkPlan, cells: list[Json], label: Labels, groups: Labels
) -> list[Json]:
    """Return a row for each experiment and regime with a finished cell.

    label, groups: (n,) of the test rows. The interval and the p-value come from a bootstrap over
    both the test rows' groups and the regime's draws; p compares with the first experiment of the
    table, or with the plan's first regime, on the draws that both have.
    """
    rows = []
    by_line: dict[tuple[str, str, str], dict[int, Json]] = {}
    for cell in cells:
        line = by_line.setdefault((cell["table"], cell["experiment"], cell["regime"]), {})
        line[cell["draw"]] = cell
    for experiment, regime in _in_order(plan):
        mine = by_line.get((experiment.table, experiment.name, regime.name))
        if not mine:
            continue
        row = _network_row(experiment.name, regime.name, mine, label, groups)
        first = next(e for e in plan.experiments if e.table == experiment.table)
        against, where = first.name, regime.name
        if plan.compare == "regimes":
            against, where = experiment.name, next(iter(plan.regimes))
        reference = by_line.get((experiment.table, against, where), {})
        row["p_value"] = None
        if (against, where) != (experiment.name, regime.name) and set(reference) & set(mine):
            row["compared_with"] = where if plan.compare == "regimes" else against
            row["p_value"] = _p_value(mine, reference, label, groups)
        if experiment.published is not None:
            row["published"] = experiment.published
        rows.append({"table": experiment.table, **row})
    return rows


def _in_order(plan: NetworkPlan) -> list[tuple[Experiment, Regime]]:
    """Return the lines of all tables; those that are compared with each other stand together."""
    if plan.compare == "regimes":
        return [(e, r) for e in plan.experiments for r in plan.regimes.values()]
    return [(e, r) for r in plan.regimes.values() for e in plan.experiments]


def _network_row(
    experiment: str, regime: str, cells: dict[int, Json], label: Labels, groups: Labels
) -> Json:
    guess = _guesses(cells)
    right = guess == label
    low, high = np.quantile(_drawn_means(right.astype(float), groups), [0.025, 0.975])
    any_cell = next(iter(cells.values()))
    names = any_cell["names"]
    figures = {
        figure: mean_defined(np.transpose([of(label, g, len(names)) for g in guess]))
        for figure, of in (("precision", precisions), ("recall", recalls), ("f1", f1_scores))
    }
    epochs = sum(cell["epochs"] for cell in cells.values())
    seconds = [cell["seconds"] for cell in cells.values()]
    synthesis = [float(cell.get("synthesis_seconds") or 0) for cell in cells.values()]
    return {
        "experiment": experiment,
        "network": any_cell["network"],
        "regime": regime,
        "draws": len(cells),
        "n_train": any_cell["rows"]["train"],
        "n_test": len(label),
        "accuracy": float(right.mean()),
        "accuracy_by_draw": right.mean(axis=1).round(4).tolist(),
        "ci_low": float(low),
        "ci_high": float(high),
        **{
            figure: {n: _number(v) for n, v in zip(names, values, strict=True)}
            for figure, values in figures.items()
        },
        "parameters": any_cell["parameters"],
        "flops": any_cell["flops"],
        "seconds": round(float(np.mean(seconds)), 2),
        "seconds_per_epoch": round(sum(seconds) / epochs, 3) if epochs else None,
        "synthesis_seconds": round(float(np.mean(synthesis)), 1),
    }


def _guesses(cells: dict[int, Json]) -> Labels:
    """Return (draws, n) the predicted classes, in the order of the draws."""
    return np.array([np.argmax(cells[d]["probabilities"], axis=1) for d in sorted(cells)])


def _p_value(
    mine: dict[int, Json], reference: dict[int, Json], label: Labels, groups: Labels
) -> float:
    shared = sorted(set(mine) & set(reference))
    first, second = (_guesses({d: cells[d] for d in shared}) for cells in (mine, reference))
    difference = (first == label).astype(float) - (second == label)
    drawn = _drawn_means(difference, groups)
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return round(min(1.0, 2 * (1 + rarer) / (1 + len(drawn))), 4)


def _drawn_means(values: Values, groups: Labels) -> Values:
    """Return the mean of (draws, n) values in each of DRAWS bootstrap draws of both."""
    rng = np.random.default_rng(0)
    d = len(values)
    of_draw = rng.multinomial(d, np.full(d, 1 / d), DRAWS).astype(float)
    means = []
    start = 0
    for weight in draw_weights(groups, rng, DRAWS):
        per_row = of_draw[start : start + len(weight)] @ values / d
        means.append((per_row * weight).sum(axis=1) / weight.sum(axis=1))
        start += len(weight)
    return np.concatenate(means)


# ------------------------------------------------------------------ studies of classifiers


def summarize_classifiers(context: ClassifierContext, cells: Mapping[Any, Json]) -> list[Json]:
    """Return a row for each data set, method, classifier and feature space.

    A repeat counts once all its folds are finished, so that every row is predicted once in it.
    FIGURES are means over the folds of all repeats; `f1` and `recall` of a class, of which a fold
    may have few rows, are those of a repeat's folds together. Intervals are those of the mean over
    folds, and p compares their macro-F1 with that of the reference method, both by t with a
    variance that allows for overlapping training rows (Nadeau & Bengio 2003); none where all folds
    are equal.

    A method's last row, of ALL classifiers and spaces, is the mean over them. Its `against` has
    for the reference and for the first method, by figure, `difference`, `p_value`, and
    `p_corrected` for the number of methods that are compared (Holm 1979).
    """
    plan = context.plan
    pairs: list[Pair] = [(s, c) for s in plan.spaces for c in plan.classifiers]
    rows: list[Json] = []
    for data in plan.data_sets.values():
        whole = _whole_repeats(plan, data, cells)
        predictions = {
            method: {pair: _predictions(context, data, lines, [pair]) for pair in pairs}
            for method, lines in whole.items()
        }
        for method, lines in whole.items():
            predictions[method][ALL, ALL] = _predictions(context, data, lines, pairs)
        own = [
            _classifier_row(context, data, method, pair, predictions, lines)
            for method, lines in whole.items()
            for pair in predictions[method]
        ]
        for base in plan.references:
            _correct([row["against"][base] for row in own if base in row.get("against", {})])
        rows += own
    return rows


def _classifier_row(
    context: ClassifierContext,
    data: DataSet,
    method: str,
    pair: Pair,
    predictions: Mapping[str, Mapping[Pair, Predictions]],
    lines: Sequence[Json],
) -> Json:
    plan, mine = context.plan, predictions[method][pair]
    against = {
        base: _compare(context, data, mine, predictions[base][pair])
        for base in plan.references
        if base != method and set(mine) & set(predictions.get(base, {}).get(pair, {}))
    }
    of_reference = against.get(plan.reference, {}).get("macro_f1", {})
    seconds = [
        found["seconds"]
        for line in lines
        for found in line["found"]
        if pair in ((found["space"], found["classifier"]), (ALL, ALL))
    ]
    return {
        "method": method,
        "classifier": pair[1],
        "space": pair[0],
        "data": data.name,
        "folds": plan.folds,
        "repeats": len(mine),
        **_figures(context, data, mine),
        "p_value": of_reference.get("p_value"),
        "difference": of_reference.get("difference"),
        "compared_with": plan.reference if of_reference else None,
        "seconds": round(float(np.mean(seconds)), 2),
        **({"against": against, **_training_rows(data, lines)} if pair == (ALL, ALL) else {}),
    }


def _training_rows(data: DataSet, lines: Sequence[Json]) -> Json:
    """Return each class's rows before and after (means), and in how many folds what happened."""
    before = np.mean([line["n_before"] for line in lines], axis=0).round(1).tolist()
    after = np.mean([found["n_train"] for line in lines for found in line["found"]], axis=0)
    count = Counter(
        outcome
        for line in lines
        for outcome, texts in OUTCOMES.items()
        if any(text in note for note in line["notes"] for text in texts)
    )
    return {
        "n_before": _named(data, before),
        "n_train": _named(data, after.round(1).tolist()),
        "outcomes": {outcome: count[outcome] for outcome in OUTCOMES},
    }


def _correct(compared: Sequence[dict[str, Json]]) -> None:
    """Add to each method's comparisons with one base p corrected for their number."""
    for figure in FIGURES:
        given = np.array([of[figure]["p_value"] for of in compared], float)  # None becomes NaN
        for of, p in zip(compared, correct_p_values(given), strict=True):
            of[figure]["p_corrected"] = _number(float(p))


def _whole_repeats(
    plan: ClassifierPlan, data: DataSet, cells: Mapping[Any, Json]
) -> dict[str, list[Json]]:
    """Return each method's lines of repeats of which every fold is finished, in order."""
    found: dict[str, list[Json]] = {}
    for method in plan.methods:
        for repeat in range(plan.repeats):
            keys = [(data.name, method, repeat, fold) for fold in range(plan.folds)]
            if all(key in cells for key in keys):
                found.setdefault(method, []).extend(cells[key] for key in keys)
    return found


def _predictions(
    context: ClassifierContext, data: DataSet, lines: Sequence[Json], pairs: Sequence[Pair]
) -> Predictions:
    """Return the predictions of some pairs by repeat, in the order of the pairs."""
    folded, k = context.folded[data.name], len(data.classes)
    n = len(folded.rows)
    predictions: Predictions = {}
    for line in lines:
        repeat = line["repeat"]
        at = folded.fold[repeat] == line["fold"]
        of_pair = {(found["space"], found["classifier"]): found for found in line["found"]}
        whole = predictions.setdefault(
            repeat, [(np.empty(n, np.int64), np.empty((n, k))) for _ in pairs]
        )
        for pair, (guess, probabilities) in zip(pairs, whole, strict=True):
            guess[at], probabilities[at] = unpack(of_pair[pair], k)
    return predictions


def _figures(context: ClassifierContext, data: DataSet, predictions: Predictions) -> Json:
    folded, k = context.folded[data.name], len(data.classes)
    found: Json = {}
    for figure, values in _by_fold(folded, predictions).items():
        mean = _over_folds(context, folded, values)
        found |= {
            figure: _number(mean.value),
            f"{figure}_low": _number(max(mean.low, 0.0)),
            f"{figure}_high": _number(min(mean.high, 1.0)),
        }
    guesses = [guess for of_repeat in predictions.values() for guess, _ in of_repeat]
    counts = np.stack([confusion(folded.label, guess, k) for guess in guesses])
    for figure, values in (("f1", f1_of(counts)), ("recall", recalls_of(counts))):
        found[figure] = _named(data, [_number(v) for v in mean_defined(values.T)])
    found["n"] = _named(data, np.bincount(folded.label, minlength=k).tolist())
    return found


def _over_folds(context: ClassifierContext, folded: FoldedRows, values: Values) -> FoldDifference:
    """Return the mean of a figure, or of a difference, over folds, its interval and its p.

    Drawing a share of the training rows does not change how folds overlap, so the variance counts
    the fold's whole training part.
    """
    n_test = len(folded.rows) / context.plan.folds
    return corrected_t_test(values, len(folded.rows) - n_test, n_test)


def _by_fold(folded: FoldedRows, predictions: Predictions) -> dict[str, Values]:
    """Return each figure of every fold of every repeat, (j,), the mean over the pairs."""
    found: dict[str, list[float]] = {figure: [] for figure in FIGURES}
    for repeat in sorted(predictions):
        for number in np.unique(folded.fold[repeat]):
            at = folded.fold[repeat] == number
            label = folded.label[at]
            of_pairs = [(guess[at], chances[at]) for guess, chances in predictions[repeat]]
            k = of_pairs[0][1].shape[1]
            for figure, values in (
                ("macro_f1", [macro_f1(label, guess, k) for guess, _ in of_pairs]),
                ("g_mean", [g_mean(label, guess, k) for guess, _ in of_pairs]),
                ("auc", [macro_auc(chances, label) for _, chances in of_pairs]),
            ):
                found[figure].append(float(np.mean(values)))
    return {figure: np.array(values) for figure, values in found.items()}


def _compare(
    context: ClassifierContext, data: DataSet, predictions: Predictions, base: Predictions
) -> dict[str, Json]:
    """Return each figure's mean difference over the folds of the repeats that both have, and p."""
    folded, shared = context.folded[data.name], set(predictions) & set(base)
    mine, theirs = (
        _by_fold(folded, {repeat: each[repeat] for repeat in shared})
        for each in (predictions, base)
    )
    found = {}
    for figure in FIGURES:
        test = _over_folds(context, folded, mine[figure] - theirs[figure])
        p = 1.0 if math.isnan(test.p) and not math.isnan(test.value) else test.p
        found[figure] = {"difference": _number(test.value), "p_value": _number(p)}
    return found


def _named(data: DataSet, values: Sequence[Any]) -> Json:
    return dict(zip(data.classes, values, strict=True))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)
