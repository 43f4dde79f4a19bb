"""Runs a study's cells and sums them up: one row an experiment and regime, with intervals."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.duplicates import group_copies
from moppet.datasets.faces import find_manifest_faces
from moppet.datasets.readers import read_dataset
from moppet.files import write_text
from moppet.study.cells import (
    Bench,
    Executor,
    Json,
    cells_by_key,
    key_of,
    ms_per_face,
    recipe_hash,
    run_here,
    until,
    write_cell,
)
from moppet.study.page import study_page
from moppet.study.plan import Cell, Plan
from moppet.study.results import sum_up
from moppet.study.synthetic_faces import COPIES, lacks_model
from moppet.train.training_run import sample_input
from moppet.values import MoppetError

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
    missing = _with_models(plan, missing, say)
    by_hash = {(recipe_hash(c, plan.generators), c.draw): c for c in reversed(missing)}
    todo = list(by_hash.values())[::-1]
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
    summary = plan.output / f"{plan.name}.json"
    _add_speeds(plan, rows, summary)
    text = json.dumps(rows, indent=1, allow_nan=False)
    write_text(summary, text + "\n")
    page = study_page(plan, rows, len(cells))
    write_text(plan.output / f"{plan.name}.md", page)
    return rows


def _add_speeds(plan: Plan, rows: list[Json], summary: Path) -> None:
    """Add what each network takes for a face: all measured here, in one go.

    What was measured of the very same networks before is kept, so that a finished study that is
    summed up again stays as it is.
    """
    known = {_network_of(row): row.get("ms_per_face") for row in _read_rows(summary)}
    if any(known.get(_network_of(row)) is None for row in rows):
        classes = len(rows[0]["recall"])
        speeds = ms_per_face({(e.table, e.name): e.recipe for e in plan.experiments}, classes)
        known = {_network_of(row): round(speeds[_network_of(row)[:2]], 3) for row in rows}
    for row in rows:
        row["ms_per_face"] = known[_network_of(row)]


def _network_of(row: Json) -> tuple[Any, ...]:
    return tuple(row.get(k) for k in ("table", "experiment", "network", "parameters", "flops"))


def _read_rows(summary: Path) -> list[Json]:
    try:
        rows = json.loads(summary.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _with_models(plan: Plan, cells: list[Cell], say: Callable[[str], None]) -> list[Cell]:
    """Return the cells but those that need a finished model which is not here; say which."""
    lacking = {name: lacks_model(each, plan.base) for name, each in plan.generators.items()}
    kept = [cell for cell in cells if not lacking.get(cell.regime.made)]
    if len(kept) < len(cells):
        places = sorted({place for place in lacking.values() if place})
        say(f"{len(cells) - len(kept)} cells are left out: there is no model at {places[0]}")
    return kept


def _asked(cell: Cell, only: str | None) -> bool:
    return only is None or any(only in str(part) for part in cell.key)


def make_bench(plan: Plan) -> Bench:
    """Read the study's images and find their faces; kept for the next time."""
    recipes = {(e.recipe.data, e.recipe.kind) for e in plan.experiments}
    if len(recipes) != 1:
        raise MoppetError("the experiments of a study learn from one data set; give one `data`.")
    ((data, kind),) = recipes
    manifest = read_dataset((plan.base / data).resolve(), kind or None)
    plan.work.mkdir(parents=True, exist_ok=True)
    bands = {band for e in plan.experiments for band in e.recipe.only_ages}
    if bands:
        manifest = manifest.select(np.isin(manifest.column("age_band").astype(str), list(bands)))
    manifest = group_copies(manifest)  # copies stay on one side of what is drawn
    faces = find_manifest_faces(manifest, cache=plan.work / "faces.npz")
    return Bench(manifest, faces, plan.base, plan.work, plan.generators)


def finished_cells(plan: Plan, store: Path) -> dict[tuple[str, str, str, int], Json]:
    """Return the plan's finished cells by key.

    A cell counts for every experiment of the same recipe and regime, and no longer once the
    recipe has changed.
    """
    cells = cells_by_key(store, ("recipe", "draw"))
    hashes = {cell.key: recipe_hash(cell, plan.generators) for cell in plan.cells()}
    found = [(cell, cells.get((hashes[cell.key], cell.draw))) for cell in plan.cells()]
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
        rows = len(data.training_rows(recipe)) * (1 + cell.regime.ratio)
        total += seconds[key] * recipe.epochs * (rows // batch)
    makers = {cell.regime.made for cell in todo} - {"", COPIES}
    more = f", besides learning to make faces ({', '.join(sorted(makers))})" if makers else ""
    return (
        f"about {total / 60:.0f} minutes for forward and backward passes, half as much again "
        f"with augmentation{more}; a stopped study goes on where it stopped"
    )


def truth(bench: Bench, plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the test rows' labels and groups, in the order of every cell's probabilities."""
    data = bench.draw(plan.cells()[0])
    rows = data.rows("test", labelled=True)
    return data.label[rows], data.manifest.groups[rows]
