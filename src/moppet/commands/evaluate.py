"""`moppet evaluate`: a model and labeled faces in, figures and a page out."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from moppet.commands.console import figure_cell, figure_table, wide_console
from moppet.commands.dataset_source import Source
from moppet.commands.options import (
    DataArgument,
    JsonOption,
    KindOption,
    ModelArgument,
    ReaderOption,
    ShowFaces,
    SplitOption,
    SubjectOption,
    complete_model,
    output_option,
    read_pairs,
)

if TYPE_CHECKING:
    from moppet.datasets.duplicates import Progress as Report
    from moppet.datasets.manifest import Manifest
from moppet.files import result_folder, write_text
from moppet.values import UsageError

_COLUMNS: Final = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
_PER_CLASS: Final = {"recall": "recall", "precision": "precision", "f1": "F1", "auc": "AUC"}
_QUIET_EVERY_S: Final = 30.0
_LEAST_WIDTH: Final = 100


@dataclass(frozen=True)
class Job:
    """What `moppet evaluate` was asked for. See its help for the options."""

    model: str
    data: Source
    output: Path | None = None
    split: str | None = None
    by: Sequence[str] = ()
    against: str | None = None
    cache: Path | None = None
    show_faces: bool = False
    as_json: bool = False

    @property
    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["moppet", "evaluate", self.model, str(self.data.path)]
        options = [("-o", self.output), ("--split", self.split)]
        options += [("--by", column) for column in self.by]
        options += [("--against", self.against), ("--cache", self.cache)]
        words += [
            word for name, value in options if value is not None for word in (name, str(value))
        ]
        words += self.data.words
        return shlex.join([*words, *(["--show-faces"] if self.show_faces else [])])


def evaluate_model(job: Job) -> Path:
    """Write evaluation.json and evaluation.html, print the figures, return their folder."""
    from moppet.evaluate.evaluation import evaluate
    from moppet.infer.expression_model import find_model, read_card
    from moppet.pages.evaluate import write_page
    from moppet.pages.face_images import face_uris

    if job.cache is not None and job.cache.suffix != ".npz":
        raise UsageError(f"--cache needs the name of an .npz file, got {job.cache}.")
    name = str(read_card(find_model(job.model))["name"])
    manifest = job.data.read()
    safe_name = re.sub(r"[^\w.-]+", "_", name).strip("_.")
    folder = job.output or Path(f"evaluation_{safe_name}")
    with result_folder(folder), _shown(job) as progress:
        evaluation = evaluate(
            job.model,
            manifest,
            split=job.split,
            by=_columns(job.by, manifest),
            against=job.against,
            cache=job.cache,
            progress=progress,
        )
    found = evaluation.as_json()
    found["about"]["data"] |= {"name": job.data.path.name, "path": str(job.data.path)}
    found["about"] |= {
        "command": job.command,
        "created_at": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    sheet = (
        face_uris(manifest, [one["row"] for one in found["mistakes"]]) if job.show_faces else None
    )
    text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    written = write_text(folder / "evaluation.json", text + "\n")
    page = write_page(found, folder / "evaluation.html", images=sheet)
    if job.as_json:
        print(text, flush=True)
    else:
        print_evaluation(found, [written, page])
    return folder


def _columns(by: Sequence[str], manifest: Manifest) -> list[str]:
    """The columns asked for; several may come in one word, with commas."""
    there = manifest.table.column_names
    parts = ([word] if word in there else word.split(",") for word in by)
    return list(dict.fromkeys(part.strip() for words in parts for part in words if part.strip()))


@contextmanager
def _shown(job: Job) -> Iterator[Report | None]:
    """A progress bar on a terminal, a line now and then in a pipe, nothing beside JSON."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("faces", total=None)

            def show(what: str, done: int, total: int) -> None:
                title = "figures" if (what, done) == ("faces", total) else what
                bar.update(task, completed=done, total=total, description=title)

            yield show
    elif job.as_json:
        yield None
    else:
        last = time.monotonic()

        def say(what: str, done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() >= last + _QUIET_EVERY_S or (what, done) == ("faces", total):
                last = time.monotonic()
                print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

        yield say


def print_evaluation(found: dict[str, Any], written: Sequence[Path]) -> None:
    """Print the figures of an evaluation as tables, and where the rest is."""
    console = wide_console(_LEAST_WIDTH)
    about, rows = found["about"], found["rows"]
    which = "every row" if about["split"] == "all" else f"split {about['split']}"
    title = f"{about['model']['name']} on {about['data']['name']}"
    console.print(
        escape(f"{title}: {rows['evaluated']:,} labeled faces ({which}), a face found in ")
        + f"{rows['faces_found']:,}{_copies(rows['duplicates'])}"
    )
    for note in found["notes"]:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    for level, kind in ((found["classes"], "class"), (found["groups"], "group")):
        if level is not None:
            console.print(_parts_table(level["parts"], kind))
            console.print(_classes_table(level, kind))
    for column, parts in found["classes"]["by"].items():
        console.print(_parts_table(parts, "class", f"by {column}"))
    for line in _lines(found):
        console.print(escape(line), soft_wrap=True)
    for path in written:
        console.print(escape(str(path)), soft_wrap=True)


def _copies(found: dict[str, int] | None) -> str:
    if found is None:
        return ""
    return f"; {found['faces']:,} found to be duplicates of {found['images']:,} images"


def _parts_table(parts: dict[str, Any], kind: str, title: str | None = None) -> Table:
    from moppet.pages.wording import FIGURES

    heads = ["n", *(FIGURES[name] for name in _COLUMNS)]
    table = figure_table(title or ("all classes" if kind == "class" else "groups"), heads)
    for name, part in parts.items():
        figures = [figure_cell(part["overall"][column]) for column in _COLUMNS]
        table.add_row(escape(name), f"{part['n']:,}", *figures)
    return table


def _classes_table(level: dict[str, Any], kind: str) -> Table:
    per_class = level["parts"]["all"]["per_class"]
    table = figure_table(f"each {kind}", ["n", *_PER_CLASS.values()])
    for name in level["names"]:
        figures = [figure_cell(per_class[figure][name]) for figure in _PER_CLASS]
        table.add_row(escape(name), f"{per_class['recall'][name]['n']:,}", *figures)
    return table


def _lines(found: dict[str, Any]) -> Iterator[str]:
    from moppet.pages.evaluate import left_out
    from moppet.pages.wording import FIGURES, p_value, with_interval

    level = found["classes"]
    yield f"accuracy with each missed face counted as wrong: {with_interval(level['missed_wrong'])}"
    for gap in level["gaps"]:
        figures = gap["figures"]
        text = f"accuracy, {gap['of']}: {with_interval(figures['accuracy'], signed=True)}"
        if "one_rater" in figures:
            text += f"; one human rater: {with_interval(figures['one_rater'], signed=True)}"
        yield text
    against = found["against"]
    if against is None:
        return
    difference = against["differences"]["all"]
    mcnemar = against["mcnemar"]
    first, second = found["about"]["model"]["name"], against["model"]["name"]
    yield from left_out(against, first, second)
    yield f"less {second}, on the same {against['n']:,} faces:"
    for name in _COLUMNS:
        one = difference[name]
        yield f"  {FIGURES[name]} {with_interval(one, signed=True)}, p {p_value(one['p'])}"
    yield (
        f"  right alone: {mcnemar['only_first']} against {mcnemar['only_second']}, McNemar's p "
        f"{p_value(mcnemar['p'])}"
    )


def evaluate(
    model: ModelArgument,
    data: DataArgument,
    output: Annotated[
        Path | None, output_option("Output folder; default: evaluation_ and the model's name.")
    ] = None,
    kind: KindOption = None,
    option: ReaderOption = None,
    subject: SubjectOption = None,
    split: SplitOption = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Also report by these columns, separated by commas."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Compare with this model on the same faces.",
            autocompletion=complete_model,
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Keep the positions of faces in this .npz file.")
    ] = None,
    show_faces: ShowFaces = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a model on labeled faces."""
    source = Source(data, kind, read_pairs(option, "--option"), subject)
    evaluate_model(Job(model, source, output, split, by or (), against, cache, show_faces, as_json))
