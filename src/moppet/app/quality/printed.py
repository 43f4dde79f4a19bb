"""What `moppet quality` says on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from moppet.app.evaluation.words import Json, number
from moppet.app.figure_table import figure_cell, figure_table, wide_console
from moppet.app.quality.words import FIGURES

_LEAST_WIDTH = 120


def print_quality(found: Json, written: Sequence[Path]) -> None:
    """Print the figures as tables, and where the rest is."""
    console = wide_console(_LEAST_WIDTH)
    made, rows = found["made"], found["rows"]
    title = f"{made['name']} beside {made['real_name']}"
    console.print(
        escape(f"{title}: {rows['made']:,} made faces, {rows['real']:,} real ones"), soft_wrap=True
    )
    for note in found["notes"]:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    console.print(_distances(found))
    console.print(_shares(found))
    alarms = len(found["memorised"])
    console.print(
        f"nearly a real face: {alarms:,} of {rows['made']:,}; {rows['kept']:,} kept", soft_wrap=True
    )
    for path in written:
        console.print(escape(str(path)), soft_wrap=True)


def _distances(found: Json) -> Table:
    title = "made against real (FID and KID on moppet's embedding)"
    table = figure_table(title, list(FIGURES.values()))
    parts = {"all": found["all"], **found["of_class"]}
    for name, part in parts.items():
        if part is None:
            table.add_row(escape(name), *["–"] * len(FIGURES))
            continue
        shown = [f for f in FIGURES if f != "frechet_distance" or name == "all"]
        cells = (figure_cell(part["figures"][f]) if f in shown else "" for f in FIGURES)
        table.add_row(escape(name), *cells)
        among = (
            f"[dim]{number(part['among_real'][f]['value'])}[/]" if f in shown else ""
            for f in FIGURES
        )
        table.add_row("[dim]  among real[/]", *among)
    return table


def _shares(found: Json) -> Table:
    table = figure_table("shares", ["n", "face found", "real", "read as meant", "real"])
    mine, real = found["agreement"], found["real_agreement"]
    for name in ("all", *found["classes"]):
        read = [x["overall"] if name == "all" else x["of_class"][name] for x in (mine, real)]
        seen = [
            found[key]["all"] if name == "all" else found[key]["of_class"][name]
            for key in ("detected", "real_detected")
        ]
        cells = (*seen, *read)
        n = seen[0]["n"]
        table.add_row(escape(name), f"{n:,}", *(figure_cell(one) for one in cells))
    return table
