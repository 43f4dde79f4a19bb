"""Runs a study's cells and sums them up: one row an experiment and regime, with intervals."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moppet.data.faces import find_manifest_faces
from moppet.data.readers import read_dataset
from moppet.metrics import f1_scores, precisions, recalls
from moppet.metrics.draws import Drawer
from moppet.study.cells import (
    Bench,
    Executor,
    Json,
    cells_by_key,
    key_of,
    recipe_hash,
    run_here,
    until,
    write_cell,
)
from moppet.study.page import study_page
from moppet.study.plan import Cell, Plan
from moppet.train.run import sample_input
from moppet.values import MoppetError

DRAWS: Final = 2000
_TRIAL_STEPS: Final = 2


def run_study(
    plan: Plan,
    *,
    executor: Executor = run_here,
    minutes: float | None = None,
    only: str | None = None,
    say: Callable[[str], None] = print,
) -> list[Json]:
    """Run what is not done yet, and write the study's .cells.jsonl, .json and .md.

    executor: runs the cells; finished ones are kept, and skipped the next time.
    minutes: no cell is begun after so long. only: run only cells one of whose names holds this.
    Everything that is finished is summed up, whatever is run now.
    Returns the rows of the .json.
    """
    bench = make_bench(plan)
    store = plan.output / f"{plan.name}.cells.jsonl"
    done = finished_cells(plan, store)
    missing = [cell for cell in plan.cells() if cell.key not in done and _asked(cell, only)]
    todo = list({(recipe_hash(cell), cell.draw): cell for cell in reversed(missing)}.values())
    todo.reverse()
    say(f"{len(done)} of {len(plan.cells())} cells are done; {len(todo)} to run")
    if todo:
        say(budget(bench, todo))
    label, groups = truth(bench, plan)
    begun = itertools.takewhile(until(minutes), todo)
    for number, line in enumerate(executor(bench.make, begun), 1):
        write_cell(store, line)
        name = f"{line['table']}, {line['experiment']}, {line['regime']}, draw {line['draw']}"
        accuracy = np.mean(np.argmax(line["probabilities"], axis=1) == label)
        say(f"{number}/{len(todo)} {name}: {accuracy:.3f}, {line['seconds']:.0f} CPU seconds")
    cells = finished_cells(plan, store)
    if not cells:
        raise MoppetError("no cell of the study is finished yet: there is nothing to sum up.")
    rows = sum_up(plan, list(cells.values()), label, groups)
    text = json.dumps(rows, indent=1, allow_nan=False)
    (plan.output / f"{plan.name}.json").write_text(text + "\n", encoding="utf-8")
    page = study_page(plan, rows, len(cells))
    (plan.output / f"{plan.name}.md").write_text(page, encoding="utf-8")
    return rows


def _asked(cell: Cell, only: str | None) -> bool:
    return only is None or any(only in str(part) for part in cell.key)


def make_bench(plan: Plan) -> Bench:
    """Read the study's pictures and find their faces; kept for the next time."""
    recipes = {(e.recipe.data, e.recipe.kind) for e in plan.experiments}
    if len(recipes) != 1:
        raise MoppetError("the experiments of a study learn from one data set; give one `data`.")
    ((data, kind),) = recipes
    manifest = read_dataset((plan.base / data).resolve(), kind or None)
    plan.work.mkdir(parents=True, exist_ok=True)
    bands = {band for e in plan.experiments for band in e.recipe.only_ages}
    if bands:
        manifest = manifest.select(np.isin(manifest.column("age_band").astype(str), list(bands)))
    faces = find_manifest_faces(manifest, cache=plan.work / "faces.npz")
    return Bench(manifest, faces, plan.base, plan.work)


def finished_cells(plan: Plan, store: Path) -> dict[tuple[str, str, str, int], Json]:
    """Return the plan's finished cells by key.

    A cell counts for every experiment of the same recipe and regime, and no longer once the
    recipe has changed.
    """
    cells = cells_by_key(store, ("recipe", "draw"))
    found = [(cell, cells.get((recipe_hash(cell), cell.draw))) for cell in plan.cells()]
    return {cell.key: {**line, **key_of(cell)} for cell, line in found if line}


def budget(bench: Bench, todo: list[Cell]) -> str:
    """Return how long the cells will take: a few steps of each recipe timed, times its steps."""
    seconds: dict[tuple[str, str], float] = {}
    total = 0.0
    for cell in todo:
        recipe = cell.experiment.recipe
        data = bench.draw(cell)
        batch = min(recipe.batch, len(data.training_rows(recipe)))
        key = (cell.experiment.table, cell.experiment.name)
        if key not in seconds:
            network = bench.network(cell, data)
            x = sample_input(data, recipe)[:batch]
            started = time.perf_counter()
            for _ in range(_TRIAL_STEPS):
                network(x)[0].sum().backward()
            seconds[key] = (time.perf_counter() - started) / _TRIAL_STEPS
        total += seconds[key] * recipe.epochs * (len(data.training_rows(recipe)) // batch)
    return (
        f"about {total / 60:.0f} minutes for forward and backward passes, half as much again "
        "with augmentation; a stopped study goes on where it stopped"
    )


def sum_up(
    plan: Plan, cells: list[Json], label: NDArray[np.int64], groups: NDArray[np.int64]
) -> list[Json]:
    """Return a row for each experiment and regime of which a cell is finished.

    label, groups: (n,) of the report rows. The interval and the p-value come from draws of both
    the report rows' groups and the regime's draws, with replacement; p compares with the first
    experiment of the table, on the draws that both have.
    """
    rows = []
    for regime in plan.regimes:
        for experiment in plan.experiments:
            first = next(e for e in plan.experiments if e.table == experiment.table)
            mine = _of(cells, experiment.table, experiment.name, regime.name)
            if not mine:
                continue
            row = _row(experiment.name, regime.name, mine, label, groups)
            reference = _of(cells, first.table, first.name, regime.name)
            row["p_value"] = None
            if experiment is not first and set(reference) & set(mine):
                row["compared_with"] = first.name
                row["p_value"] = _p_value(mine, reference, label, groups)
            rows.append({"table": experiment.table, **row})
    return rows


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
        figure: np.nanmean([of(label, g, len(names)) for g in guess], axis=0)
        for figure, of in of_class.items()
    }
    epochs = sum(cell["epochs"] for cell in cells.values())
    seconds = [cell["seconds"] for cell in cells.values()]
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
        "ms_per_face": round(float(np.mean([c["ms_per_face"] for c in cells.values()])), 3),
    }


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


def truth(bench: Bench, plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the report rows' labels and groups, in the order of every cell's probabilities."""
    data = bench.draw(plan.cells()[0])
    rows = data.rows("report", labelled=True)
    return data.label[rows], data.manifest.groups[rows]
