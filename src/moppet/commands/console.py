"""What commands share on the terminal: tables, and install hints for missing extras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from moppet.pages.wording import NO_VALUE, number
from moppet.values import MoppetError


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Turn the import of a library that only an extra brings into what to install.

    name: of the extra. what: the one that needs it, to begin the sentence with.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MoppetError(
            f"{what} needs {error.name}. Install it with: pip install 'moppet[{name}]'"
        ) from None


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
