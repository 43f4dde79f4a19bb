"""A hybrid study's finished cells → a row a method, classifier, space and data set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.bootstrap import mean_defined
from moppet.metrics.classification import confusion, f1_of, g_mean, macro_f1, recalls_of
from moppet.metrics.ranking import macro_auc
from moppet.metrics.significance import FoldDifference, correct_p_values, corrected_t_test
from moppet.study.hybrid.context import HybridBench, Json, Table, unpacked
from moppet.study.hybrid.hybrid_plan import FIGURES, DataSet, HybridPlan

ALL: Final = "all"
"""What stands for classifier and space in a method's mean over all of them."""
_WENT: Final = {"kept": "they are kept, as asked", "too_small": "is too small to make faces of"}
"""What a cell's notes say where a class would have vanished, or left too few to learn from."""
Values = NDArray[np.float64]
Reading = tuple[NDArray[np.int64], Values]
"""(n,) who was read and (n, k) probabilities, of all rows of a data set in order."""
Readings = dict[int, list[Reading]]
"""By repeat, of one pair of space and classifier or of several."""


def sum_up(bench: HybridBench, cells: Mapping[Any, Json]) -> list[Json]:
    """Return the rows of what is finished.

    A repeat counts once all its folds are there, so that every row is read once in it. FIGURES
    are means over the folds of all repeats, each model's readings ranked and counted by
    themselves; `f1` and `recall` of a class, of which a fold may have few rows, are of a repeat's
    folds together. Intervals are those of the mean over folds, p compares their macro-F1 with
    that of the reference method, both by t with a variance that allows for overlapping training
    parts (Nadeau & Bengio 2003); none where all folds are equal.

    A method's last row, of ALL classifiers and spaces, is the mean over them; its `against` has
    for the reference and for the first method, by figure, `difference`, `p_value`, and
    `p_corrected` for the number of methods that are compared (Holm 1979).
    """
    rows: list[Json] = []
    bases = bases_of(bench.plan)
    for data in bench.plan.data_sets:
        whole = _whole_repeats(bench, data, cells)
        readings = {
            method: {pair: _readings(bench, data, lines, [pair]) for pair in _pairs(bench)}
            for method, lines in whole.items()
        }
        for method, lines in whole.items():
            readings[method][ALL, ALL] = _readings(bench, data, lines, _pairs(bench))
        own = [
            _row(bench, data, method, pair, readings, lines)
            for method, lines in whole.items()
            for pair in readings[method]
        ]
        for base in bases:
            _correct([row["against"][base] for row in own if base in row.get("against", {})])
        rows += own
    return rows


def _row(
    bench: HybridBench,
    data: DataSet,
    method: str,
    pair: tuple[str, str],
    readings: Mapping[str, Mapping[tuple[str, str], Readings]],
    lines: Sequence[Json],
) -> Json:
    read = readings[method][pair]
    told = {
        base: _compare(bench, data, read, readings[base][pair])
        for base in bases_of(bench.plan)
        if base != method and set(read) & set(readings.get(base, {}).get(pair, {}))
    }
    of_reference = told.get(bench.plan.reference, {}).get("macro_f1", {})
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
        "folds": bench.plan.folds,
        "repeats": len(read),
        **_figures(bench, data, read),
        "p_value": of_reference.get("p_value"),
        "difference": of_reference.get("difference"),
        "compared_with": bench.plan.reference if of_reference else None,
        "seconds": round(float(np.mean(seconds)), 2),
        **({"against": told, **_learned(data, lines)} if pair == (ALL, ALL) else {}),
    }


def _learned(data: DataSet, lines: Sequence[Json]) -> Json:
    """Return the rows of each class before and after, the mean over folds and spaces, and in how
    many folds what went not as asked."""
    before = np.mean([line["n_before"] for line in lines], axis=0).round(1).tolist()
    after = np.mean([found["n_train"] for line in lines for found in line["found"]], axis=0)
    kept = Counter(
        word
        for line in lines
        for word, said in _WENT.items()
        if any(said in note for note in line["notes"])
    )
    return {
        "n_before": _named(data, before),
        "n_train": _named(data, after.round(1).tolist()),
        "went": {word: kept[word] for word in _WENT},
    }


def bases_of(plan: HybridPlan) -> list[str]:
    """Return the methods that the others' means are compared with: the reference and the first."""
    return list(dict.fromkeys([plan.reference, plan.methods[0].name]))


def _correct(compared: Sequence[dict[str, Json]]) -> None:
    """Add to each method's comparisons with one base p corrected for their number."""
    for figure in FIGURES:
        given = np.array([of[figure]["p_value"] for of in compared], float)  # None becomes NaN
        for of, p in zip(compared, correct_p_values(given), strict=True):
            of[figure]["p_corrected"] = _number(float(p))


def _pairs(bench: HybridBench) -> list[tuple[str, str]]:
    return [(s, c) for s in bench.plan.spaces for c in bench.plan.classifiers]


def _whole_repeats(
    bench: HybridBench, data: DataSet, cells: Mapping[Any, Json]
) -> dict[str, list[Json]]:
    """Return each method's lines of repeats of which every fold is finished, in order."""
    found: dict[str, list[Json]] = {}
    for method in bench.plan.methods:
        for repeat in range(bench.plan.repeats):
            keys = [(data.name, method.name, repeat, fold) for fold in range(bench.plan.folds)]
            if all(key in cells for key in keys):
                found.setdefault(method.name, []).extend(cells[key] for key in keys)
    return found


def _readings(
    bench: HybridBench, data: DataSet, lines: Sequence[Json], pairs: Sequence[tuple[str, str]]
) -> Readings:
    """Return what was read in some spaces by some classifiers, by repeat and in order of pairs."""
    table, k = bench.tables[data.name], len(data.classes)
    n = len(table.rows)
    readings: Readings = {}
    for line in lines:
        repeat = line["repeat"]
        at = table.fold[repeat] == line["fold"]
        of_pair = {(found["space"], found["classifier"]): found for found in line["found"]}
        whole = readings.setdefault(
            repeat, [(np.empty(n, np.int64), np.empty((n, k))) for _ in pairs]
        )
        for pair, (guess, probabilities) in zip(pairs, whole, strict=True):
            guess[at], probabilities[at] = unpacked(of_pair[pair], k)
    return readings


def _figures(bench: HybridBench, data: DataSet, readings: Readings) -> Json:
    table, k = bench.tables[data.name], len(data.classes)
    found: Json = {}
    for figure, values in _by_fold(table, readings).items():
        mean = _over_folds(bench, table, values)
        found |= {
            figure: _number(mean.value),
            f"{figure}_low": _number(max(mean.low, 0.0)),
            f"{figure}_high": _number(min(mean.high, 1.0)),
        }
    read = [guess for of_repeat in readings.values() for guess, _ in of_repeat]
    counts = np.stack([confusion(table.label, guess, k) for guess in read])
    for figure, values in (("f1", f1_of(counts)), ("recall", recalls_of(counts))):
        found[figure] = _named(data, [_number(v) for v in mean_defined(values.T)])
    found["n"] = _named(data, np.bincount(table.label, minlength=k).tolist())
    return found


def _over_folds(bench: HybridBench, table: Table, values: Values) -> FoldDifference:
    """Return the mean of a figure, or of a difference, over folds, its interval and its p.

    A scarce draw is a part of what is learned, not of how folds overlap: the training part that
    the variance counts is the fold's whole one.
    """
    n_test = len(table.rows) / bench.plan.folds
    return corrected_t_test(values, len(table.rows) - n_test, n_test)


def _named(data: DataSet, values: Sequence[Any]) -> Json:
    return dict(zip(data.classes, values, strict=True))


def _by_fold(table: Table, readings: Readings) -> dict[str, Values]:
    """Return each figure of every fold of every repeat, (j,), the mean over its readings."""
    found: dict[str, list[float]] = {figure: [] for figure in FIGURES}
    for repeat in sorted(readings):
        for number in np.unique(table.fold[repeat]):
            at = table.fold[repeat] == number
            label = table.label[at]
            read = [(guess[at], chances[at]) for guess, chances in readings[repeat]]
            k = read[0][1].shape[1]
            found["macro_f1"].append(
                float(np.mean([macro_f1(label, guess, k) for guess, _ in read]))
            )
            found["g_mean"].append(float(np.mean([g_mean(label, guess, k) for guess, _ in read])))
            found["auc"].append(float(np.mean([macro_auc(chances, label) for _, chances in read])))
    return {figure: np.array(values) for figure, values in found.items()}


def _compare(
    bench: HybridBench, data: DataSet, readings: Readings, base: Readings
) -> dict[str, Json]:
    """Return each figure's mean difference over the folds of the repeats that both have, and p."""
    table, shared = bench.tables[data.name], set(readings) & set(base)
    mine, theirs = (
        _by_fold(table, {repeat: each[repeat] for repeat in shared}) for each in (readings, base)
    )
    found = {}
    for figure in FIGURES:
        test = _over_folds(bench, table, mine[figure] - theirs[figure])
        p = 1.0 if math.isnan(test.p) and not math.isnan(test.value) else test.p
        found[figure] = {"difference": _number(test.value), "p_value": _number(p)}
    return found


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)
