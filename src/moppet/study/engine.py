"""Runs a study: every cell once, its line kept in a ledger; then the results and their page."""

from __future__ import annotations

import itertools
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError

from moppet.datasets.duplicates import with_duplicate_groups
from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.manifest import Manifest
from moppet.files import as_damaged, write_text
from moppet.study.executors import Executor, Json, choose_executor, run_here
from moppet.study.ledger import (
    append_line,
    finished_cells,
    identity,
    read_results,
    results_path,
)
from moppet.study.page import study_page
from moppet.study.plan import ClassifierPlan, NetworkPlan, StudyPlan
from moppet.values import MoppetError

Report = Callable[[str], None]


def run_plan(
    plan: StudyPlan,
    *,
    engine: str = "local",
    jobs: int = 1,
    minutes: float | None = None,
    only: str | None = None,
    page_only: bool = False,
    report: Report = print,
) -> Path:
    """Run a study, and return its page.

    engine, jobs: see `choose_executor`. minutes, only: see `run_study`.
    page_only: run nothing and read no image; write the page from the results that are there.
    """
    executor = choose_executor(engine, jobs)
    if page_only:
        return write_page(plan, read_results(plan))
    run_study(plan, executor=executor, minutes=minutes, only=only, report=report)
    return plan.output / f"{plan.name}.md"


def run_study(
    plan: StudyPlan,
    *,
    executor: Executor = run_here,
    minutes: float | None = None,
    only: str | None = None,
    report: Report = print,
) -> list[Json]:
    """Run the cells that are not finished, and write the study's ledger, results and page.

    minutes: start no cell after this time. only: run only cells with this text in one of their
    names. Everything that is finished is summarized, whatever runs now.
    Returns the rows of the results.
    """
    context = open_context(plan)
    cells, finished = plan.cells(), finished_cells(plan)
    todo = [cell for cell in cells if cell.key not in finished]
    todo = [c for c in todo if only is None or any(only in str(part) for part in c.key)]
    todo = context.runnable(todo, report)
    alike = {identity(plan, cell): cell for cell in reversed(todo)}
    todo = list(alike.values())[::-1]
    report(f"{len(finished)} of {len(cells)} cells are finished; {len(todo)} to run")
    if todo:
        estimate = context.estimate(todo, finished)
        report(f"{estimate}. If it is stopped, rerun the same command to resume")
    for number, line in enumerate(executor(context.run, _until(minutes, todo)), 1):
        append_line(plan.ledger, line)
        report(f"{number}/{len(todo)} {context.progress(line)}")
    odd = f"lines of {plan.ledger} do not fit each other: move it away, and rerun the command."
    with as_damaged(odd):
        rows = context.summarize(finished_cells(plan))
    if not rows:
        raise MoppetError("too few cells are finished to summarize. Rerun the command to resume.")
    text = json.dumps(rows, indent=1, allow_nan=False)
    write_text(results_path(plan), text + "\n")
    write_page(plan, rows)
    return rows


def open_context(plan: StudyPlan) -> StudyContext:
    """Read the images of a study; their faces are cached for the next time."""
    if isinstance(plan, ClassifierPlan):
        from moppet.study.classifier_cells import ClassifierContext

        return ClassifierContext.open(plan)
    from moppet.study.network_cells import NetworkContext

    assert isinstance(plan, NetworkPlan)
    return NetworkContext.open(plan)


def _until(minutes: float | None, cells: list[Any]) -> itertools.takewhile[Any]:
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    return itertools.takewhile(lambda _: time.monotonic() < end, cells)


def write_page(plan: StudyPlan, rows: list[Json]) -> Path:
    """Write the study's page from its results and the number of finished cells alone."""
    finished = len(finished_cells(plan))
    odd = f"the results {results_path(plan)} are not those of this study's plan: rerun it."
    with as_damaged(odd, failures=[UndefinedError]):
        page = study_page(plan, rows, finished)
    return write_text(plan.output / f"{plan.name}.md", page)


class StudyContext(ABC):
    """Runs the cells of one kind of study. It is sent whole to other processes.

    A subclass reads its images once, when it is made from a plan.
    """

    plan: Any

    @abstractmethod
    def run(self, cell: Any) -> Json:
        """Run a cell, and return its line of the ledger."""

    @abstractmethod
    def estimate(self, todo: Sequence[Any], finished: Mapping[Any, Json]) -> str:
        """Return in words how long the cells will take."""

    @abstractmethod
    def progress(self, line: Json) -> str:
        """Return a finished cell's line in words."""

    @abstractmethod
    def summarize(self, finished: Mapping[Any, Json]) -> list[Json]:
        """Return the rows of the study's results; none where too few cells are finished."""

    def runnable(self, cells: list[Any], report: Callable[[str], None]) -> list[Any]:
        """Return the cells that can run here, and report why others cannot."""
        del report
        return cells

    def folder_of(self, cell: Any) -> Path:
        """Return the folder of a cell's unfinished run."""
        parts, work = (*cell.key, self.plan.hash_of(cell)), Path(self.plan.work)
        return work / "-".join(str(part).replace(" ", "_") for part in parts)

    def line(self, cell: Any) -> Json:
        """Return what every line of the ledger begins with: the cell's key and its hash."""
        key = dict(zip(self.plan.KEY, cell.key, strict=True))
        return {**key, "recipe": self.plan.hash_of(cell)}


def find_study_faces(manifest: Manifest, work: Path) -> tuple[Manifest, Faces]:
    """Return the manifest with duplicates grouped, and its faces, which `work` caches."""
    work.mkdir(parents=True, exist_ok=True)
    manifest = with_duplicate_groups(manifest)  # duplicates stay on one side of every split
    return manifest, find_manifest_faces(manifest, cache=work / "faces.npz")
