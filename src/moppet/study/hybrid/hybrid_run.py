"""Runs a hybrid study's cells, each once, and sums up what is finished."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

from moppet.files import write_text
from moppet.study.cells import Executor, cells_by_key, run_here, until, write_cell
from moppet.study.hybrid.context import HybridBench, Json, make_hybrid_bench
from moppet.study.hybrid.hybrid_page import hybrid_page
from moppet.study.hybrid.hybrid_plan import HybridCell, HybridPlan
from moppet.study.hybrid.hybrid_results import sum_up
from moppet.synthesis.training import measure_budget, plan_tasks
from moppet.synthesis.training_images import LEAST_IMAGES, TrainingImages
from moppet.values import MoppetError

Key = tuple[str, str, int, int]


def run_hybrid(
    plan: HybridPlan,
    *,
    executor: Executor = run_here,
    minutes: float | None = None,
    only: str | None = None,
    say: Callable[[str], None] = print,
) -> list[Json]:
    """Run what is not done yet, and write the study's .cells.jsonl, .json and .md.

    Arguments and result: as `moppet.study.ablate.run_study`.
    """
    bench = make_hybrid_bench(plan)
    store = plan.output / f"{plan.name}.cells.jsonl"
    cells = plan.cells()
    done = finished_cells(plan, store)
    asked = [cell for cell in cells if only is None or any(only in str(p) for p in cell.key)]
    todo = [cell for cell in asked if cell.key not in done]
    say(f"{len(done)} of {len(cells)} cells are done; {len(todo)} to run")
    if todo:
        say(budget(bench, todo, done))
    begun = itertools.takewhile(until(minutes), todo)
    for number, line in enumerate(executor(bench.make, begun), 1):
        write_cell(store, line)
        seconds = max(found["seconds"] for found in line["found"])
        say(
            f"{number}/{len(todo)} {line['data']}, {line['method']}, repeat {line['repeat']}, "
            f"fold {line['fold']}: {seconds:.0f} CPU seconds at most"
        )
    done = finished_cells(plan, store)
    rows = sum_up(bench, done)
    if not rows:
        raise MoppetError("no method is finished in all folds yet: there is nothing to sum up.")
    text = json.dumps(rows, indent=1, allow_nan=False)
    write_text(plan.output / f"{plan.name}.json", text + "\n")
    page = hybrid_page(plan, rows, len(done))
    write_text(plan.output / f"{plan.name}.md", page)
    return rows


def finished_cells(plan: HybridPlan, store: Path) -> dict[Key, Json]:
    """Return the plan's finished cells by key; a cell of other settings does not count."""
    lines = cells_by_key(store, ("data", "method", "repeat", "fold"))
    found = {cell.key: (cell, lines.get(cell.key)) for cell in plan.cells()}
    return {
        key: line
        for key, (cell, line) in found.items()
        if line and line["recipe"] == plan.hash_of(cell)
    }


def budget(bench: HybridBench, todo: list[HybridCell], done: dict[Key, Json]) -> str:
    """Return how long the cells will take: a few steps of the generator timed, times its steps.

    The classifiers are counted as in the cells that are finished, if there are any.
    """
    learning = 0.0
    makers = [cell for cell in todo if cell.method.synthesise]
    if makers and bench.plan.generator is not None:
        first = makers[0]
        rows, _ = bench.parts(first)
        label = bench.label(first.data)[rows]
        names = first.data.classes
        of = TrainingImages(bench.pictures[rows], label, names, rows)
        enough = [n for n, count in of.counts().items() if count >= LEAST_IMAGES]
        lessons = plan_tasks(bench.plan.generator, of, enough)
        learning = measure_budget(bench.plan.generator, lessons).minutes * len(makers)
    learned = f"about {learning:.0f} minutes of one process to learn to make faces"
    told = [learned] if makers else []
    quick = [
        sum(found["seconds"] for found in line["found"]) / 60
        for line in done.values()
        if line["method"] == bench.plan.methods[0].name
    ]
    if quick:
        read = sum(quick) / len(quick) * len(todo)
        told.append(f"{read:.0f} CPU minutes for the classifiers")
    else:
        told.append("the classifiers' minutes are told once some cells are finished")
    return f"{', '.join(told)}; a stopped study goes on where it stopped"
