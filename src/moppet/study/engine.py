"""Runs a study: every cell once, its line kept in a ledger; then the results and their page."""

from __future__ import annotations

import itertools
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from jinja2 import UndefinedError

from moppet.datasets.duplicates import with_duplicate_groups
from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.manifest import Manifest
from moppet.files import as_damaged, parse_json, read_bytes, read_json, write_text
from moppet.study.executors import Executor, Json, choose_executor, run_here
from moppet.study.page import study_page
from moppet.study.plan import ClassifierPlan, NetworkPlan, StudyPlan
from moppet.values import MoppetError

Report = Callable[[str], None]
_RENAMED: Final = {"made_seconds": "synthesis_seconds", "went": "outcomes"}
"""Old key of the results → new key."""


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
    alike = {_identity(plan, cell): cell for cell in reversed(todo)}
    todo = list(alike.values())[::-1]
    report(f"{len(finished)} of {len(cells)} cells are finished; {len(todo)} to run")
    if todo:
        estimate = context.estimate(todo, finished)
        report(f"{estimate}. If it is stopped, rerun the same command to resume")
    for number, line in enumerate(executor(context.run, _until(minutes, todo)), 1):
        append_line(plan.ledger, line)
        report(f"{number}/{len(todo)} {context.progress(line)}")
    with as_damaged(_damaged_ledger(plan)):
        rows = context.summarize(finished_cells(plan))
    if not rows:
        raise MoppetError("too few cells are finished to summarize. Rerun the command to resume.")
    text = json.dumps(rows, indent=1, allow_nan=False)
    write_text(plan.output / f"{plan.name}.json", text + "\n")
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


def finished_cells(plan: StudyPlan) -> dict[Any, Json]:
    """Return the lines of the plan's finished cells by the cells' keys.

    A line counts for every cell of the same settings, whatever it is called, and no longer once
    the settings have changed. A broken line is left out.
    """
    lines: dict[Any, Json] = {}
    if plan.ledger.is_file():
        for text in read_bytes(plan.ledger, "ledger").splitlines():
            with suppress(MoppetError):
                line = parse_json(text, "it")
                with as_damaged("it is no line of a ledger."):
                    lines[line["recipe"], *(line[name] for name in plan.REPETITION)] = line
    found = ((cell, lines.get(_identity(plan, cell))) for cell in plan.cells())
    return {
        cell.key: {**line, **dict(zip(plan.KEY, cell.key, strict=True))}
        for cell, line in found
        if line
    }


def _damaged_ledger(plan: StudyPlan) -> str:
    return (
        f"a line of {plan.ledger} has values of another kind than this version writes. Remove the "
        "line, or the file, and rerun the command."
    )


def _identity(plan: StudyPlan, cell: Any) -> tuple[Any, ...]:
    named = dict(zip(plan.KEY, cell.key, strict=True))
    return (plan.hash_of(cell), *(named[name] for name in plan.REPETITION))


def append_line(path: Path, line: Json) -> None:
    """Add a finished cell's line to the ledger; a broken last line stays one of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    broken = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if broken else "") + json.dumps(line, separators=(",", ":")) + "\n")


def _until(minutes: float | None, cells: list[Any]) -> itertools.takewhile[Any]:
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    return itertools.takewhile(lambda _: time.monotonic() < end, cells)


def read_results(plan: StudyPlan) -> list[Json]:
    """Return the rows of the study's results; MoppetError where there are none."""
    path = plan.output / f"{plan.name}.json"
    none = MoppetError(f"there are no results of the study at {path}. Run the study first.")
    if not path.is_file():
        raise none
    rows = read_json(path, "file of results")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise none
    return [{_RENAMED.get(key, key): value for key, value in row.items()} for row in rows]


def write_page(plan: StudyPlan, rows: list[Json]) -> Path:
    """Write the study's page from its results and the number of finished cells alone."""
    finished = len(finished_cells(plan))
    odd = f"the results at {plan.output / plan.name}.json lack values or have odd ones: rerun it."
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
