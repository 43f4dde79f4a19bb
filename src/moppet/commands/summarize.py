"""`moppet summarize`: a study's groups as a table, figures and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moppet.commands.console import estimate_text, extra, watched
from moppet.commands.options import (
    JsonOption,
    SeedOption,
    choice,
    command_line,
    flag,
    output_option,
    read_list,
)

if TYPE_CHECKING:
    from rich.table import Table

    from moppet.cohort.events import Courses
    from moppet.cohort.statistics import GroupStatistics, Question
    from moppet.cohort.study_folder import StudyFolder

KINDS = ("expression", "group", "movement", "blink", "valence")
MEASURES = ("share", "per_min", "mean_s", "mean")
StudyArgument = Annotated[Path, typer.Argument(help="A study that moppet gather made.")]


@dataclass(frozen=True, kw_only=True)
class SummarizeOptions:
    """What `moppet summarize` is asked for."""

    study: StudyArgument
    output: Annotated[
        Path | None, output_option("Folder for the results; default: summary/ in the study.")
    ] = None
    by: Annotated[
        str, typer.Option(help="Columns to compare by, with commas; the first one's levels.")
    ] = "role"
    what: Annotated[str, choice(f"What to summarize: {', '.join(KINDS)}.", *KINDS)] = "expression"
    label: Annotated[
        str | None, typer.Option(help="Labels of this kind, with commas; default: all seen.")
    ] = None
    measure: Annotated[
        str | None,
        choice(f"Measure: {', '.join(MEASURES)}; default: share, mean for valence.", *MEASURES),
    ] = None
    machine: Annotated[bool, flag("--machine", "The model's labels, without corrections.")] = False
    events: Annotated[
        list[Path] | None,
        typer.Option(help="Events: a CSV (recording, time_s, event) or coders' files; repeatable."),
    ] = None
    event: Annotated[str | None, typer.Option(help="Events to use, with commas; default: all.")] = (
        None
    )
    before: Annotated[float, typer.Option(help="Seconds before each event.", min=0)] = 5.0
    after: Annotated[float, typer.Option(help="Seconds after each event.", min=0)] = 10.0
    bin_s: Annotated[float, typer.Option("--bin", help="Seconds of a bin around events.")] = 0.5
    no_figures: Annotated[bool, flag("--no-figures", "Write tables only.")] = False
    seed: SeedOption = 0
    as_json: JsonOption = False


def summarize(options: SummarizeOptions) -> None:
    """Compare the groups of a study: table, figures and page.

    Prints means with intervals over participants and comparisons with Holm's correction. Writes
    groups.csv, comparisons.csv, summary.json, index.html, and figures as SVG and PDF.
    """
    if not options.no_figures:
        with extra("cohort", "Drawing figures (or leave them out with --no-figures)"):
            import matplotlib  # noqa: F401

    from moppet.cohort.events import read_courses, read_events
    from moppet.cohort.statistics import Question, summarize_study
    from moppet.cohort.study_folder import read_study

    study = read_study(options.study)
    measure = options.measure or ("mean" if options.what == "valence" else "share")
    question = Question(
        by=tuple(read_list(options.by)),
        kind=options.what,
        labels=tuple(read_list(options.label)),
        measure=measure,
        machine=options.machine,
        seed=options.seed,
    )
    found = summarize_study(study, question)
    wanted = read_list(options.event)
    events = read_events(options.events, study, wanted) if options.events else []
    around = None
    if events or not options.no_figures:
        with watched("recordings") as show:
            show("frames", 0, len(study.recordings))
            window = (options.before, options.after, options.bin_s)
            around = read_courses(study, question, found.labels, events, *window)
    written = _write(options, study, found, around)
    if options.as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False, allow_nan=False))
        return
    _print(found, written)


def _write(
    options: SummarizeOptions,
    study: StudyFolder,
    found: GroupStatistics,
    around: Courses | None,
) -> list[Path]:
    from moppet.cohort.events import course_rows
    from moppet.files import result_folder, write_bytes, write_csv, write_text
    from moppet.pages.cohort import build_page, group_facts, group_parts, plain_rows

    folder = options.output or options.study / "summary"
    result = found.as_json()
    tables: dict[str, Sequence[dict[str, Any]]] = {"groups": result["cells"]}
    if result["comparisons"]:
        tables["comparisons"] = [{**c, **_flat(c.pop("difference"))} for c in result["comparisons"]]
    courses = around.courses if around is not None else ()
    if courses:
        tables["courses"] = [dict(row) for row in course_rows(courses, options.by.split(","))]
    with result_folder(folder):
        written = [
            write_csv(
                folder / f"{name}.csv", list(rows[0]), (plain_rows(list(r.values())) for r in rows)
            )
            for name, rows in tables.items()
        ]
        text = json.dumps(found.as_json(), ensure_ascii=False, allow_nan=False, indent=1)
        written.append(write_text(folder / "summary.json", text + "\n"))
        images: dict[str, bytes] = {}
        if not options.no_figures:
            from moppet.pages.cohort_figures import figure_bytes

            for name, figure in _figures(found, around):
                images[name] = figure_bytes(figure, "svg")
                for kind in ("svg", "pdf"):
                    data = images[name] if kind == "svg" else figure_bytes(figure, kind)
                    written.append(write_bytes(folder / f"{name}.{kind}", data))
        page = build_page(
            *("study", f"Groups of {options.study.resolve().name}"),
            group_facts(found, len(study.recordings)),
            [*found.notes, *study.about.get("notes", ())],
            group_parts(found, courses, images),
            command_line("summarize", options),
            "summary.json",
        )
        written.append(write_text(folder / "index.html", page))
    return written


def _flat(figure: dict[str, Any]) -> dict[str, Any]:
    return {
        f"difference_{name}" if name != "value" else "difference": x for name, x in figure.items()
    }


def _figures(found: GroupStatistics, around: Courses | None) -> list[tuple[str, Any]]:
    from moppet.cohort.statistics import MEASURES as NAMES
    from moppet.pages.cohort_figures import draw_courses, draw_distributions, draw_strips

    drawn = [("distributions", draw_distributions(found))]
    if around is not None and around.courses:
        is_share = found.question.kind in ("expression", "group")
        name = NAMES["share"][0] if is_share else ""
        drawn.append(("courses", draw_courses(around.courses, name)))
    if around is not None and around.strips:
        drawn.append(("strips", draw_strips(around, found.question.by)))
    return drawn


def _print(found: GroupStatistics, written: Sequence[Path]) -> None:
    from moppet.commands.console import counted, say, wide_console
    from moppet.pages.wording import p_value

    console = wide_console(100)
    console.print(_cell_table(found))
    if found.comparisons:
        table = _table("Comparisons", [found.question.by[0], *found.question.by[1:]])
        for head in ("n", "difference (95 % interval)", "d", "p", "p (Holm)"):
            table.add_column(head, justify="right")
        for one in found.comparisons:
            p, holm = (None if x != x else x for x in (one.p, one.p_holm))
            table.add_row(
                *(one.label, f"{one.first} – {one.second}", *one.within),
                f"{' + '.join(map(str, one.n))}{' paired' if one.paired else ''}",
                estimate_text(one.difference, "+.3f"),
                "–" if one.effect != one.effect else f"{one.effect:+.2f}",
                *(p_value(p), p_value(holm)),
            )
        console.print()
        console.print(table)
    say(console, f"\n{counted(len(found.participants), 'participant')}")
    for note in found.notes:
        say(console, f"Note: {note}")
    for path in written:
        say(console, f"  {path}")


def _cell_table(found: GroupStatistics) -> Table:
    from moppet.cohort.statistics import MEASURES as NAMES

    table = _table(
        f"{NAMES[found.question.measure][0]} of {_what(found.question)}", found.question.by
    )
    for head in ("participants", "recordings", "mean (95 % interval)", "median"):
        table.add_column(head, justify="right")
    for cell in found.cells:
        numbers = (str(cell.estimate.n), str(cell.recordings))
        text = estimate_text(cell.estimate, ".3f")
        table.add_row(cell.label, *cell.levels, *numbers, text, f"{cell.median:.3f}")
    return table


def _what(question: Question) -> str:
    whose = "model" if question.machine else "corrected"
    return (
        f"{question.kind}s ({whose})" if question.kind in ("expression", "group") else question.kind
    )


def _table(title: str, words: Sequence[str]) -> Table:
    from rich.table import Table as RichTable

    table = RichTable(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0)
    )
    for word in ("", *words):
        table.add_column(word)
    return table
