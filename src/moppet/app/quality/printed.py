"""What `moppet quality` says on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moppet.app.evaluation.words import Json, number
from moppet.app.quality.words import FIGURES

_LEAST_WIDTH = 120


def print_quality(found: Json, written: Sequence[Path]) -> None:
    """Print the figures as tables, and where the rest is."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _LEAST_WIDTH))
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
    table = _table("made against real (FID and KID on moppet's embedding)", list(FIGURES.values()))
    parts = {"all": found["all"], **found["of_class"]}
    for name, part in parts.items():
        if part is None:
            table.add_row(escape(name), *["–"] * len(FIGURES))
            continue
        shown = [f for f in FIGURES if f != "frechet_distance" or name == "all"]
        cells = (_cell(part["figures"][f]) if f in shown else "" for f in FIGURES)
        table.add_row(escape(name), *cells)
        among = (
            f"[dim]{number(part['among_real'][f]['value'])}[/]" if f in shown else ""
            for f in FIGURES
        )
        table.add_row("[dim]  among real[/]", *among)
    return table


def _shares(found: Json) -> Table:
    table = _table("shares", ["n", "face found", "real", "read as meant", "real"])
    mine, real = found["agreement"], found["real_agreement"]
    for name in ("all", *found["classes"]):
        read = [x["overall"] if name == "all" else x["of_class"][name] for x in (mine, real)]
        seen = [
            found[key]["all"] if name == "all" else found[key]["of_class"][name]
            for key in ("detected", "real_detected")
        ]
        cells = (*seen, *read)
        n = seen[0]["n"]
        table.add_row(escape(name), f"{n:,}", *(_cell(one) for one in cells))
    return table


def _table(title: str, heads: Sequence[str]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0)
    )
    table.add_column("")
    for head in heads:
        table.add_column(head, justify="right")
    return table


def _cell(figure: Json) -> str:
    value = number(figure["value"])
    if figure["low"] is None or figure["low"] == figure["high"]:
        return value
    return f"{value} [dim]{number(figure['low'])}-{number(figure['high'])}[/]"
