"""A hybrid study's finished cells → a row a method, classifier, space and data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics.comparison import corrected_t_test
from moppet.metrics.counts import confusions, f1_of, g_mean_of, recalls_of
from moppet.metrics.draws import Drawer, mean_defined
from moppet.metrics.ranking import drawn_aucs
from moppet.study.hybrid.bench import HybridBench, Json, unpacked
from moppet.study.hybrid.plan import DataSet

DRAWS: Final = 1000
FIGURES: Final = ("macro_f1", "g_mean", "auc")
Values = NDArray[np.float64]
Reading = tuple[NDArray[np.int64], Values]
"""(n,) who was read and (n, k) probabilities, of all rows of a data set in order."""


def sum_up(bench: HybridBench, cells: Mapping[Any, Json]) -> list[Json]:
    """Return the rows of what is finished.

    A repeat counts once all its folds are there, so that every row is read once in it. Figures
    are means over repeats; intervals draw groups of rows 1,000 times; p compares the folds'
    macro-F1 with that of the reference method (Nadeau & Bengio 2003).
    """
    rows: list[Json] = []
    for data in bench.plan.data_sets:
        whole = _whole_repeats(bench, data, cells)
        readings = {
            method: {pair: _readings(bench, data, lines, pair) for pair in _pairs(bench)}
            for method, lines in whole.items()
        }
        reference = readings.get(bench.plan.reference, {})
        for method, of_pair in readings.items():
            for (space, classifier), read in of_pair.items():
                compared = None
                if method != bench.plan.reference:
                    compared = reference.get((space, classifier))
                seconds = [
                    found["seconds"]
                    for line in whole[method]
                    for found in line["found"]
                    if (found["space"], found["classifier"]) == (space, classifier)
                ]
                rows.append(
                    {
                        "method": method,
                        "classifier": classifier,
                        "space": space,
                        "data": data.name,
                        "folds": bench.plan.folds,
                        "repeats": len(read),
                        **_figures(bench, data, read),
                        **_p_value(bench, data, read, compared, whole[method]),
                        "seconds": round(float(np.mean(seconds)), 2),
                    }
                )
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
    bench: HybridBench, data: DataSet, lines: Sequence[Json], pair: tuple[str, str]
) -> dict[int, Reading]:
    """Return what one classifier read in one space, by repeat."""
    table, k = bench.tables[data.name], len(data.classes)
    n = len(table.rows)
    readings: dict[int, Reading] = {}
    for line in lines:
        repeat = line["repeat"]
        empty = (np.empty(n, np.int64), np.empty((n, k)))
        guess, probabilities = readings.setdefault(repeat, empty)
        at = table.fold[repeat] == line["fold"]
        found = next(f for f in line["found"] if (f["space"], f["classifier"]) == pair)
        guess[at], probabilities[at] = unpacked(found, k)
    return readings


def _figures(bench: HybridBench, data: DataSet, readings: Mapping[int, Reading]) -> Json:
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


def _drawn(
    readings: Mapping[int, Reading], label: NDArray[np.int64], weight: Values
) -> dict[str, Values]:
    """Return each figure's mean over the repeats in every draw; f1 and recall (m, k)."""
    found: dict[str, list[Values]] = {}
    for guess, probabilities in readings.values():
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
    readings: Mapping[int, Reading],
    reference: Mapping[int, Reading] | None,
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
    bench: HybridBench, data: DataSet, readings: Mapping[int, Reading], repeats: Sequence[int]
) -> Values:
    """Return macro-F1 of every repeat's folds."""
    table = bench.tables[data.name]
    label, found = table.label, []
    for repeat in repeats:
        guess, fold = readings[repeat][0], table.fold[repeat]
        for number in range(bench.plan.folds):
            at = fold == number
            counts = confusions(
                label[at], guess[at], len(data.classes), np.ones((1, int(at.sum())))
            )
            found.append(float(mean_defined(f1_of(counts))[0]))
    return np.array(found)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)
