"""`moppet dyads`: synchrony, lead and lag, matching and contingency of two people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moppet.commands.console import estimate_text, extra, watched
from moppet.commands.options import (
    JsonOption,
    SeedOption,
    command_line,
    flag,
    output_option,
    read_list,
)
from moppet.commands.summarize import StudyArgument
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.cohort.dyads import DyadResults
    from moppet.cohort.study_folder import StudyFolder


@dataclass(frozen=True, kw_only=True)
class DyadsOptions:
    """What `moppet dyads` is asked for."""

    study: StudyArgument
    output: Annotated[
        Path | None, output_option("Folder for the results; default: dyads/ in the study.")
    ] = None
    roles: Annotated[str, typer.Option(help="The two roles, with a comma.")] = "child,caregiver"
    label: Annotated[str, typer.Option(help="Expressions, movements, or valence, with commas.")] = (
        "valence,happiness"
    )
    window: Annotated[float, typer.Option(help="Seconds of a window of correlation.")] = 10.0
    max_lag: Annotated[float, typer.Option(help="Largest lag, in seconds.")] = 3.0
    step: Annotated[float, typer.Option(help="Seconds between two samples.")] = 0.2
    respond: Annotated[float, typer.Option(help="Seconds in which an onset is answered.")] = 3.0
    within: Annotated[
        str | None, typer.Option(help="Columns that shuffled partners share, with commas.")
    ] = None
    surrogates: Annotated[int, typer.Option(help="Surrogates of each kind and dyad.", min=1)] = 100
    machine: Annotated[bool, flag("--machine", "The model's labels, without corrections.")] = False
    no_figures: Annotated[bool, flag("--no-figures", "Write tables only.")] = False
    seed: SeedOption = 0
    as_json: JsonOption = False


def dyads(options: DyadsOptions) -> None:
    """Measure how two people of each recording go together.

    Windowed cross-correlation, lead and lag, matching and contingency, each against surrogates.
    Writes dyads.csv, lags.csv, dyads.json, index.html, and figures as SVG and PDF.
    """
    if not options.no_figures:
        with extra("cohort", "Drawing figures (or leave them out with --no-figures)"):
            import matplotlib  # noqa: F401

    from moppet.cohort.dyads import DyadQuestion, measure_dyads
    from moppet.cohort.study_folder import read_study

    roles = read_list(options.roles)
    if len(roles) != 2:
        raise UsageError(
            f"--roles takes two roles, such as child,caregiver, got {options.roles!r}."
        )
    question = DyadQuestion(
        roles=(roles[0], roles[1]),
        labels=tuple(read_list(options.label)),
        window_s=options.window,
        max_lag_s=options.max_lag,
        step_s=options.step,
        respond_s=options.respond,
        within=tuple(read_list(options.within)),
        surrogates=options.surrogates,
        machine=options.machine,
        seed=options.seed,
    )
    study = read_study(options.study)
    with watched("dyads") as show:
        found = measure_dyads(study, question, lambda done, total: show("dyads", done, total))
    written = _write(options, study, found)
    if options.as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False, allow_nan=False))
        return
    _print(found, written)


def _write(options: DyadsOptions, study: StudyFolder, found: DyadResults) -> list[Path]:
    from moppet.files import result_folder, write_bytes, write_csv, write_text
    from moppet.pages.cohort import build_page, dyad_parts, plain_rows
    from moppet.pages.wording import counted

    folder = options.output or options.study / "dyads"
    rows = found.rows()
    lags = [
        [curve.label, f"{lag:.6g}", *e[:3], *(v[i] for v in curve.by_surrogate.values())]
        for curve in found.curves
        for i, (lag, e) in enumerate(zip(curve.lag_s, curve.estimates, strict=True))
    ]
    kinds = list(found.curves[0].by_surrogate) if found.curves else []
    with result_folder(folder):
        cells = (plain_rows([*row.values()]) for row in rows)
        heads = ["label", "lag_s", "r", "low", "high", *kinds]
        written = [
            write_csv(folder / "dyads.csv", list(rows[0]), cells),
            write_csv(folder / "lags.csv", heads, map(plain_rows, lags)),
            write_text(
                folder / "dyads.json",
                json.dumps(found.as_json(), ensure_ascii=False, allow_nan=False, indent=1) + "\n",
            ),
        ]
        images: dict[str, bytes] = {}
        if not options.no_figures:
            from moppet.pages.cohort_figures import draw_lags, draw_measures, figure_bytes

            for name, figure in (("lags", draw_lags(found)), ("measures", draw_measures(found))):
                images[name] = figure_bytes(figure, "svg")
                written.append(write_bytes(folder / f"{name}.svg", images[name]))
                written.append(write_bytes(folder / f"{name}.pdf", figure_bytes(figure, "pdf")))
        page = build_page(
            *("study", f"Dyads of {options.study.resolve().name}"),
            [
                counted(len(found.dyads), "dyad"),
                counted(len({dyad.participant for dyad in found.dyads}), "participant"),
                " and ".join(found.question.roles),
            ],
            [*found.notes, *study.about.get("notes", ())],
            dyad_parts(found, images),
            command_line("dyads", options),
            "dyads.json",
        )
        written.append(write_text(folder / "index.html", page))
    return written


def _print(found: DyadResults, written: Sequence[Path]) -> None:
    from moppet.commands.console import counted, figure_table, say, wide_console
    from moppet.pages.wording import p_value

    console = wide_console(110)
    heads = ("measure", "surrogates", "participants", "observed", "by chance")
    table = figure_table(" and ".join(found.question.roles), [*heads, "difference (95 %)", "p"])
    for one in found.groups:
        table.add_row(
            *(one.label, one.measure, one.surrogates, str(one.n)),
            *(f"{one.observed:.3f}", f"{one.expected:.3f}"),
            estimate_text(one.difference, "+.3f"),
            p_value(None if one.p != one.p else one.p),
        )
    console.print(table)
    for curve in found.curves:
        known = sorted(x for x in curve.peak_lag_s.tolist() if x == x)
        if known:
            middle = known[len(known) // 2]
            say(console, f"{curve.label}: largest correlation at {middle:+.1f} s (median of dyads)")
    say(console, f"\n{counted(len(found.dyads), 'dyad')}")
    for note in found.notes:
        say(console, f"Note: {note}")
    for path in written:
        say(console, f"  {path}")
