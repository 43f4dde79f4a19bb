"""Tables of pages: cells, figures with intervals, confusion matrices, and cards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from markupsafe import Markup

from moppet.pages.document import render_macro
from moppet.pages.wording import (
    Json,
    count,
    format_share,
    interval,
    number,
)
from moppet.palette import expression_class, group_class
from moppet.timeline.time_axis import NO_VALUE

DEPTHS: Final = 20
"""Steps of color in a confusion matrix, from faint to full."""


class Cell(NamedTuple):
    """A cell of a table.

    small: lines below the text. sort: what the table is sorted by, if not the text.
    css: classes. left: set left in a column of numbers.
    """

    text: str | Markup
    small: tuple[str, ...] = ()
    sort: str = ""
    css: str = ""
    left: bool = False


Row = Sequence[str | Cell]


@dataclass(frozen=True)
class Table:
    """A table in a box that scrolls when it is too wide; it renders itself in a template.

    rows: text or cells; the first of a row is its heading. words: how many of the first columns
    hold text, which is set left.
    """

    caption: str
    head: Sequence[str]
    rows: Iterable[Row]
    css: str = ""
    words: int = 1

    def __html__(self) -> str:
        rows = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.rows]
        return render_macro("table", self, rows)


class Card(NamedTuple):
    """A key figure: title, value, and notes below it. css: class of the title's color."""

    title: str
    value: str
    notes: tuple[str, ...] = ()
    css: str = ""


def figure_cell(figure: Json, *small: str, signed: bool = False) -> Cell:
    """Return a figure with its interval below, a dash if undefined. small: further lines."""
    value = figure["value"]
    if value is None:
        return Cell(NO_VALUE, small, sort="-9")
    limits = interval(figure, signed=signed) or NO_VALUE
    return Cell(number(value, signed=signed), (limits, *small), sort=f"{value:.6g}")


def count_cell(n: int) -> Cell:
    """Return a number of things."""
    return Cell(count(n), sort=str(n))


def share_cell(value: float | None) -> Cell:
    """Return a share, sorted by its value."""
    return Cell(format_share(value), sort=f"{-1 if value is None else value:.6g}")


def class_cell(name: str, names: Sequence[str], *, grouped: bool = False) -> Cell:
    """Return the name of a class, or of a group, beside its color."""
    return Cell(name, css=f"key {color_class(name, names, grouped=grouped)}")


def color_class(name: str, names: Sequence[str], *, grouped: bool) -> str:
    """Return the CSS class of the color of a class, or of a group."""
    return group_class(name, names) if grouped else expression_class(name, names)


def confusion_table(caption: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """Return a confusion matrix with its sums: rows by label, columns by prediction."""
    rows: list[Row] = []
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = sum(row)
        cells = [_confusion_cell(n, total, correct=i == j) for j, n in enumerate(row)]
        rows.append([name, *cells, _sum_cell(total)])
    predicted = [sum(column) for column in zip(*counts, strict=True)]
    rows.append(["predicted", *map(_sum_cell, predicted), _sum_cell(sum(predicted))])
    return Table(caption, ["", *names, "n"], rows, css="confusion")


def _confusion_cell(n: int, total: int, *, correct: bool) -> Cell:
    css = confusion_shade(n, total, correct=correct)
    return (
        Cell(count(n), (format_share(n / total),), css=css)
        if n
        else Cell("0" if total else NO_VALUE, css=css)
    )


def confusion_shade(n: int, total: int, *, correct: bool) -> str:
    """Return the CSS classes of n of a row's total: blue for correct ones, orange for mistakes."""
    if not n:
        return "zero"
    return f"{'hit' if correct else 'miss'} d{max(1, round(DEPTHS * n / total))}"


def _sum_cell(n: int) -> Cell:
    return Cell(count(n), css="sum")
