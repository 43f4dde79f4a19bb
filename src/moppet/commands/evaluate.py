"""`moppet evaluate`: a model and labeled faces in, figures and a page out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from moppet.commands.console import figure_cell, figure_table, say, watched, wide_console
from moppet.commands.options import (
    DataArgument,
    DatasetOptions,
    JsonOption,
    ModelArgument,
    PriorOption,
    ReadingOption,
    ShowFaces,
    SplitOption,
    file_name,
    model_option,
    output_option,
    read_reading,
    run_facts,
)
from moppet.files import result_folder, write_text
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest

_COLUMNS: Final = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
_PER_CLASS: Final = {"recall": "recall", "precision": "precision", "f1": "F1", "auc": "AUC"}
_LEAST_WIDTH: Final = 100


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What `moppet evaluate` is asked for."""

    model: ModelArgument
    data: DataArgument
    output: Annotated[
        Path | None, output_option("Output folder; default: evaluation_ and the model's name.")
    ] = None
    dataset: DatasetOptions
    split: SplitOption = None
    by: Annotated[
        list[str] | None, typer.Option(help="Also report by these columns, separated by commas.")
    ] = None
    against: Annotated[str | None, model_option("Compare with this model on the same faces.")] = (
        None
    )
    reading: ReadingOption = "observers"
    prior: PriorOption = "natural"
    cache: Annotated[
        Path | None, typer.Option(help="File (.npz) that keeps the faces found, for the next run.")
    ] = None
    show_faces: ShowFaces = False
    as_json: JsonOption = False

    def __post_init__(self) -> None:
        read_reading(self.reading)


def evaluate(options: EvaluateOptions) -> None:
    """Measure a model on labeled faces."""
    from moppet.infer.expression_model import find_model, read_card
    from moppet.infer.priors import read_prior

    prior = read_prior(options.prior)
    if options.cache is not None and options.cache.suffix != ".npz":
        raise UsageError(f"--cache needs the name of an .npz file, got {options.cache}.")
    name = str(read_card(find_model(options.model))["name"])
    manifest = options.dataset.read(options.data)
    folder = options.output or Path(f"evaluation_{file_name(name).strip('_.')}")
    with result_folder(folder):
        found = _measure(options, manifest, prior)
    from moppet.pages.evaluate import write_page
    from moppet.pages.face_images import face_uris

    mistakes = [one["row"] for one in found["mistakes"]]
    images = face_uris(manifest, mistakes) if options.show_faces else None
    text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    written = write_text(folder / "evaluation.json", text + "\n")
    page = write_page(found, folder / "evaluation.html", images=images)
    if options.as_json:
        print(text, flush=True)
    else:
        print_evaluation(found, [written, page])


def _measure(options: EvaluateOptions, manifest: Manifest, prior: Any) -> dict[str, Any]:
    from moppet.evaluate import evaluation

    with watched() as progress:
        measured = evaluation.evaluate(
            options.model,
            manifest,
            split=options.split,
            by=_columns(options.by or (), manifest),
            against=options.against,
            reading=read_reading(options.reading),
            prior=prior,
            cache=options.cache,
            progress=progress,
        )
    found = measured.as_json()
    found["about"]["data"] |= {"name": options.data.name, "path": str(options.data)}
    found["about"] |= run_facts("evaluate", options)
    return found


def _columns(by: Sequence[str], manifest: Manifest) -> list[str]:
    """The columns asked for; several may come in one word, with commas."""
    there = manifest.table.column_names
    parts = ([word] if word in there else word.split(",") for word in by)
    return list(dict.fromkeys(part.strip() for words in parts for part in words if part.strip()))


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
    for kind, level in (found["display"] or {}).items():
        if level is not None:
            console.print(_parts_table(level["parts"], "class", f"display reading, {kind}"))
    if found["movements"] is not None and found["movements"]["n"]:
        for table in _movement_tables(found["movements"]):
            console.print(table)
    for line in _lines(found):
        say(console, line)
    for path in written:
        say(console, str(path))


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


def _movement_tables(found: dict[str, Any]) -> Iterator[Table]:
    """Yield Pearson's r with the data's own measures, and the means by label."""
    from moppet.pages.wording import number

    by = {f"{c}: {v}": r for c, values in found["by"].items() for v, r in values.items()}
    for title, columns in (
        ("movements: Pearson's r with the data's measure", found["parts"] | by),
        ("movements: mean of each label", found["means"]),
    ):
        if columns:
            table = figure_table(title, [escape(name) for name in columns])
            for name in next(iter(columns.values())):
                cells = {head: number(part[name]["value"]) for head, part in columns.items()}
                if "all" in columns:  # one column with intervals, else the table is too wide
                    cells["all"] = figure_cell(columns["all"][name])
                table.add_row(name, *cells.values())
            yield table


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
