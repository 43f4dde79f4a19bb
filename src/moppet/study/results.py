"""A study's finished cells → one row an experiment and regime, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moppet.metrics import f1_scores, precisions, recalls
from moppet.metrics.bootstrap import Drawer
from moppet.study.cells import Json
from moppet.study.plan import Experiment, Plan, Regime

DRAWS: Final = 2000


def sum_up(
    plan: Plan, cells: list[Json], label: NDArray[np.int64], groups: NDArray[np.int64]
) -> list[Json]:
    """Return a row for each experiment and regime of which a cell is finished.

    label, groups: (n,) of the test rows. The interval and the p-value come from draws of both
    the test rows' groups and the regime's draws, with replacement; p compares with the first
    experiment of the table, or with the plan's first regime, on the draws that both have.
    """
    rows = []
    for experiment, regime in _in_order(plan):
        mine = _of(cells, experiment.table, experiment.name, regime.name)
        if not mine:
            continue
        row = _row(experiment.name, regime.name, mine, label, groups)
        first = next(e for e in plan.experiments if e.table == experiment.table)
        against, where = first.name, regime.name
        if plan.compare == "regimes":
            against, where = experiment.name, plan.regimes[0].name
        reference = _of(cells, experiment.table, against, where)
        row["p_value"] = None
        if (against, where) != (experiment.name, regime.name) and set(reference) & set(mine):
            row["compared_with"] = where if plan.compare == "regimes" else against
            row["p_value"] = _p_value(mine, reference, label, groups)
        if experiment.published is not None:
            row["published"] = experiment.published
        rows.append({"table": experiment.table, **row})
    return rows


def _in_order(plan: Plan) -> list[tuple[Experiment, Regime]]:
    """Every line of the tables, what is compared with one another together."""
    if plan.compare == "regimes":
        return [(e, r) for e in plan.experiments for r in plan.regimes]
    return [(e, r) for r in plan.regimes for e in plan.experiments]


def _of(cells: list[Json], table: str, experiment: str, regime: str) -> dict[int, Json]:
    return {
        cell["draw"]: cell
        for cell in cells
        if (cell["table"], cell["experiment"], cell["regime"]) == (table, experiment, regime)
    }


def _row(
    experiment: str,
    regime: str,
    cells: dict[int, Json],
    label: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> Json:
    guess = _guesses(cells)
    right = guess == label
    drawn = _drawn_means(right.astype(float), groups)
    low, high = np.quantile(drawn, [0.025, 0.975])
    any_cell = next(iter(cells.values()))
    names = any_cell["names"]
    of_class = {
        "precision": precisions, "recall": recalls, "f1": f1_scores,
    }  # fmt: skip
    figures = {
        figure: _mean_of_known([of(label, g, len(names)) for g in guess])
        for figure, of in of_class.items()
    }
    epochs = sum(cell["epochs"] for cell in cells.values())
    seconds = [cell["seconds"] for cell in cells.values()]
    made_seconds = [cell.get("made_seconds", 0.0) for cell in cells.values()]
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
            figure: {n: _or_none(v) for n, v in zip(names, values, strict=True)}
            for figure, values in figures.items()
        },
        "parameters": any_cell["parameters"],
        "flops": any_cell["flops"],
        "seconds": round(float(np.mean(seconds)), 2),
        "seconds_per_epoch": round(sum(seconds) / epochs, 3) if epochs else None,
        "made_seconds": round(float(np.mean(made_seconds)), 1),
    }


def _mean_of_known(figures: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean over the draws in which each has a value; NaN where none has."""
    known = ~np.isnan(figures)
    count = known.sum(axis=0)
    sums = np.where(known, figures, 0.0).sum(axis=0)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def _guesses(cells: dict[int, Json]) -> NDArray[np.int64]:
    """(draws, n) the classes read, in the order of the draws."""
    return np.array([np.argmax(cells[d]["probabilities"], axis=1) for d in sorted(cells)])


def _p_value(
    mine: dict[int, Json],
    reference: dict[int, Json],
    label: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> float:
    shared = sorted(set(mine) & set(reference))
    first, second = (_guesses({d: cells[d] for d in shared}) for cells in (mine, reference))
    difference = (first == label).astype(float) - (second == label)
    drawn = _drawn_means(difference, groups)
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return round(min(1.0, 2 * (1 + rarer) / (1 + len(drawn))), 4)


def _drawn_means(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of (draws, n) values in each of DRAWS bootstrap draws of both."""
    rng = np.random.default_rng(0)
    d = len(values)
    of_draw = rng.multinomial(d, np.full(d, 1 / d), DRAWS).astype(float)
    means = []
    start = 0
    for weight in Drawer(groups, rng, DRAWS).weights():
        per_row = of_draw[start : start + len(weight)] @ values / d
        means.append((per_row * weight).sum(axis=1) / weight.sum(axis=1))
        start += len(weight)
    return np.concatenate(means)
