"""A hybrid study's finished cells → a row a method, classifier, space and data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.comparison import correct_p_values, corrected_t_test
from moppet.metrics.counts import confusions, f1_of, g_mean_of, recalls_of
from moppet.metrics.draws import Drawer, mean_defined
from moppet.metrics.ranking import drawn_aucs
from moppet.study.hybrid.bench import HybridBench, Json, unpacked
from moppet.study.hybrid.plan import DataSet

DRAWS: Final = 1000
FIGURES: Final = ("macro_f1", "g_mean", "auc")
ALL: Final = "all"
"""What stands for classifier and space in a method's mean over all of them."""
Values = NDArray[np.float64]
Reading = tuple[NDArray[np.int64], Values]
"""(n,) who was read and (n, k) probabilities, of all rows of a data set in order."""
Readings = dict[int, list[Reading]]
"""By repeat, of one pair of space and classifier or of several."""


def sum_up(bench: HybridBench, cells: Mapping[Any, Json]) -> list[Json]:
    """Return the rows of what is finished.

    A repeat counts once all its folds are there, so that every row is read once in it. Figures
    are means over repeats; intervals draw groups of rows 1,000 times; p compares the folds'
    macro-F1 with that of the reference method (Nadeau & Bengio 2003). A method's last row, of
    ALL classifiers and spaces, is the mean over them, with one p for the method and
    `p_corrected` for the number of methods of the data set (Holm 1979).
    """
    rows: list[Json] = []
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
        rows += _corrected(own)
    return rows


def _row(
    bench: HybridBench,
    data: DataSet,
    method: str,
    pair: tuple[str, str],
    readings: Mapping[str, Mapping[tuple[str, str], Readings]],
    lines: Sequence[Json],
) -> Json:
    read, reference = readings[method][pair], None
    if method != bench.plan.reference:
        reference = readings.get(bench.plan.reference, {}).get(pair)
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
        **_p_value(bench, data, read, reference, lines),
        "seconds": round(float(np.mean(seconds)), 2),
    }


def _corrected(rows: list[Json]) -> list[Json]:
    """Return a data set's rows, those of ALL with p corrected for the number of methods."""
    compared = [row for row in rows if row["classifier"] == ALL and row["p_value"] is not None]
    given = np.array([row["p_value"] for row in compared], float)
    for row, p in zip(compared, correct_p_values(given), strict=True):
        row["p_corrected"] = _number(float(p))
    return rows


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
    table = bench.tables[data.name]
    label = table.label
    whole = _drawn(readings, label, np.ones((1, len(label))))
    drawer = Drawer(table.groups, np.random.default_rng(0), DRAWS)
    blocks = [_drawn(readings, label, weight) for weight in drawer.weights()]
    found: Json = {}
    for figure in FIGURES:
        drawn = np.concatenate([block[figure] for block in blocks])
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        found |= {
            figure: _number(whole[figure][0]),
            f"{figure}_low": _number(low),
            f"{figure}_high": _number(high),
        }
    for figure in ("f1", "recall"):
        values = whole[figure][0]
        found[figure] = {n: _number(v) for n, v in zip(data.classes, values, strict=True)}
    counts = np.bincount(label, minlength=len(data.classes))
    found["n"] = {n: int(c) for n, c in zip(data.classes, counts, strict=True)}
    return found


def _drawn(readings: Readings, label: NDArray[np.int64], weight: Values) -> dict[str, Values]:
    """Return each figure's mean over all readings in every draw; f1 and recall (m, k)."""
    found: dict[str, list[Values]] = {}
    for guess, probabilities in chain.from_iterable(readings.values()):
        counts = confusions(label, guess, probabilities.shape[1], weight)
        f1 = f1_of(counts)
        of = {
            "macro_f1": mean_defined(f1),
            "g_mean": g_mean_of(counts),
            "auc": mean_defined(drawn_aucs(probabilities, label, weight)),
            "f1": f1,
            "recall": recalls_of(counts),
        }
        for figure, values in of.items():
            found.setdefault(figure, []).append(values)
    return {figure: np.mean(values, axis=0) for figure, values in found.items()}


def _p_value(
    bench: HybridBench,
    data: DataSet,
    readings: Readings,
    reference: Readings | None,
    lines: Sequence[Json],
) -> Json:
    shared = sorted(set(readings) & set(reference or {}))
    if reference is None or not shared:
        return {"p_value": None, "compared_with": None, "difference": None}
    mine, theirs = (_by_fold(bench, data, r, shared) for r in (readings, reference))
    n_test = float(np.mean([line["n_test"] for line in lines]))
    n_train = float(np.mean([sum(line["n_before"]) for line in lines]))
    found = corrected_t_test(mine - theirs, n_train, n_test)
    p = 1.0 if math.isnan(found.p) else found.p
    return {
        "p_value": _number(p),
        "compared_with": bench.plan.reference,
        "difference": _number(found.value),
    }


def _by_fold(
    bench: HybridBench, data: DataSet, readings: Readings, repeats: Sequence[int]
) -> Values:
    """Return macro-F1 of every repeat's folds, the mean over the readings of a fold."""
    table = bench.tables[data.name]
    label, found = table.label, []
    for repeat in repeats:
        fold = table.fold[repeat]
        for number in range(bench.plan.folds):
            at = fold == number
            even = np.ones((1, int(at.sum())))
            counts = [
                confusions(label[at], guess[at], len(data.classes), even)
                for guess, _ in readings[repeat]
            ]
            found.append(float(np.mean([mean_defined(f1_of(one))[0] for one in counts])))
    return np.array(found)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)
