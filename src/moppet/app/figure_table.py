"""Tables of figures on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from moppet.app.evaluation.words import number
from moppet.app.report.charts import NO_VALUE


def wide_console(least: int) -> Console:
    """Return a console that is never narrower than `least` characters in a pipe or a file."""
    console = Console(highlight=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, width=max(console.width, least))


def figure_table(title: str, heads: Sequence[str]) -> Table:
    """Return an empty table: a column of names, then one of figures for each head."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0)
    )
    table.add_column("")
    for head in heads:
        table.add_column(head, justify="right")
    return table


def figure_cell(figure: Mapping[str, Any]) -> str:
    """Return a figure and, fainter, its interval: a dash if undefined, none without width."""
    value = number(figure["value"])
    if figure["value"] is not None and figure["low"] is None:
        return f"{value} [dim]{NO_VALUE}[/]"
    if figure["low"] is None or figure["low"] == figure["high"]:
        return value
    return f"{value} [dim]{number(figure['low'])}-{number(figure['high'])}[/]"
