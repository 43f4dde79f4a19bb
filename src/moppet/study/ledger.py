"""The files that a study writes: the ledger of its finished cells, and the rows of its results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from annotated_types import Ge, Interval

from moppet.config import check_stored
from moppet.files import parse_json, read_bytes, read_json
from moppet.study.executors import Json
from moppet.study.plan import NetworkPlan, StudyPlan
from moppet.values import MoppetError

_RENAMED: Final = {"made_seconds": "synthesis_seconds", "went": "outcomes"}
"""Old key of the files → new key."""
_Share = Annotated[float, Interval(ge=0, le=1)]
_Number = Annotated[float, Interval(ge=-1e15, le=1e15)]
_Count = Annotated[int, Interval(ge=0, le=10**15)]
_Seconds = Annotated[float, Interval(ge=0, le=1e12)]
_Shares = dict[str, _Share | None]


@dataclass(frozen=True)
class _NetworkCell:
    """A line of a ledger: an experiment's network, trained on one draw of a regime."""

    RENAMED: ClassVar = _RENAMED

    network: str
    names: tuple[str, ...]
    rows: dict[str, dict[str, _Count]]
    parameters: _Count
    flops: _Number
    epochs: _Count
    seconds: _Seconds
    probabilities: tuple[tuple[_Share, ...], ...]
    synthesis_seconds: _Seconds | None = None


@dataclass(frozen=True)
class _Predicted:
    space: str
    classifier: str
    n_train: tuple[_Number, ...]
    seconds: _Seconds
    guess: str
    steps: str


@dataclass(frozen=True)
class _ClassifierCell:
    """A line of a ledger: the classifiers in every feature space, on one fold."""

    n_before: tuple[_Count, ...]
    found: tuple[_Predicted, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _NetworkRow:
    """A row of the results: an experiment in a regime."""

    RENAMED: ClassVar = _RENAMED

    table: str
    experiment: str
    network: str
    regime: str
    draws: _Count
    n_train: dict[str, _Count]
    n_test: _Count
    accuracy: _Share
    ci_low: _Share
    ci_high: _Share
    precision: _Shares
    recall: _Shares
    f1: _Shares
    parameters: _Count
    flops: _Number
    seconds_per_epoch: _Seconds | None
    synthesis_seconds: _Seconds
    p_value: _Share | None
    ms_per_face: _Seconds
    compared_with: str | None = None
    published: _Share | None = None


@dataclass(frozen=True)
class _Comparison:
    difference: _Number | None
    p_value: _Share | None
    p_corrected: _Share | None


@dataclass(frozen=True)
class _ClassifierRow:
    """A row of the results: a method with a classifier in a feature space, or with all."""

    RENAMED: ClassVar = _RENAMED

    method: str
    classifier: str
    space: str
    data: str
    folds: Annotated[int, Ge(1)]
    repeats: _Count
    macro_f1: _Share | None
    macro_f1_low: _Share | None
    macro_f1_high: _Share | None
    g_mean: _Share | None
    g_mean_low: _Share | None
    g_mean_high: _Share | None
    auc: _Share | None
    auc_low: _Share | None
    auc_high: _Share | None
    f1: _Shares
    recall: _Shares
    n: dict[str, _Count]
    p_value: _Share | None
    difference: _Number | None
    compared_with: str | None
    seconds: _Seconds
    against: dict[str, dict[str, _Comparison]] = field(default_factory=dict)
    n_before: dict[str, _Number] = field(default_factory=dict)
    n_train: dict[str, _Number] = field(default_factory=dict)
    outcomes: dict[str, _Count] = field(default_factory=dict)


def finished_cells(plan: StudyPlan) -> dict[Any, Json]:
    """Return the lines of the plan's finished cells by the cells' keys.

    A line counts for every cell of the same settings, whatever it is called, and no longer once
    the settings have changed. A line that was cut off is left out. Raises MoppetError for a line
    with values of another kind than a study writes.
    """
    lines: dict[Any, tuple[int, Json]] = {}
    if plan.ledger.is_file():
        for number, text in enumerate(read_bytes(plan.ledger, "ledger").splitlines(), 1):
            with suppress(MoppetError, LookupError, TypeError):
                line = parse_json(text, "it")
                lines[line["recipe"], *(line[name] for name in plan.REPETITION)] = number, line
    kind = _NetworkCell if isinstance(plan, NetworkPlan) else _ClassifierCell
    known: dict[int, Json] = {}
    cells: dict[Any, Json] = {}
    for cell in plan.cells():
        number, line = lines.get(identity(plan, cell), (0, {}))
        if line and number not in known:
            where = f"line {number} of the ledger {plan.ledger}"
            check_stored(kind, line, where, "Remove the line, and rerun the command.")
            known[number] = _current(line)
        if line:
            cells[cell.key] = known[number] | dict(zip(plan.KEY, cell.key, strict=True))
    return cells


def identity(plan: StudyPlan, cell: Any) -> tuple[Any, ...]:
    """Return what identifies a cell's line in the ledger."""
    named = dict(zip(plan.KEY, cell.key, strict=True))
    return (plan.hash_of(cell), *(named[name] for name in plan.REPETITION))


def append_line(path: Path, line: Json) -> None:
    """Add a finished cell's line to the ledger; a broken last line stays one of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    broken = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if broken else "") + json.dumps(line, separators=(",", ":")) + "\n")


def results_path(plan: StudyPlan) -> Path:
    """Return the path of the rows of a study's results."""
    return plan.output / f"{plan.name}.json"


def read_results(plan: StudyPlan) -> list[Json]:
    """Return the rows of the study's results; MoppetError where there are none, or odd ones."""
    path = results_path(plan)
    if not path.is_file():
        raise MoppetError(f"there are no results of the study at {path}. Run the study first.")
    kind = _NetworkRow if isinstance(plan, NetworkPlan) else _ClassifierRow
    rows = read_json(path, "file of results")
    if not isinstance(rows, list):
        raise MoppetError(f"the file of results {path} is damaged: it is no list. Rerun the study.")
    for number, row in enumerate(rows, 1):
        check_stored(kind, row, f"row {number} of the results {path}", "Rerun the study.")
    return [_current(row) for row in rows]


def _current(values: Mapping[str, Any]) -> Json:
    return {_RENAMED.get(key, key): value for key, value in values.items()}
