"""What commands print on the terminal: progress, tables, and what to install for an extra."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from moppet.values import MoppetError

if TYPE_CHECKING:
    from moppet.metrics import Difference, Estimate

_QUIET_EVERY_S: Final = 30.0

Show = Callable[[str, int, int | None], None]
"""Shows progress: what is done, how many of it, and of how many; None if that is not known."""


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Turn a failed import of an optional library into an error that says what to install.

    name: of the extra that brings the library. what: needs it; the error begins with it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MoppetError(
            f"{what} needs {error.name}. Install it with: pip install 'moppet[{name}]'"
        ) from None


@contextmanager
def watched(unit: str = "") -> Iterator[Show]:
    """Return a function that shows progress: bars on a terminal, elsewhere a line every 30 s.

    unit: what is counted, such as "frames", to show the speed; nothing if empty.
    """
    if not sys.stderr.isatty():
        yield _Lines(unit)
        return
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()),
        *([_Speed(unit)] if unit else []),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


class BatchProgress:
    """The progress of many recordings. bars: on a terminal; None prints a line every 30 s."""

    def __init__(self, total: int, done: int, bars: Progress | None) -> None:
        self._total, self._done, self._bars = total, done, bars
        self._lines = _Lines("recordings")
        self._tasks: dict[str, TaskID] = {}
        self._all = bars.add_task("all recordings", total=total, completed=done) if bars else None

    def show(self, name: str, done: int, total: int | None) -> None:
        """Show how many frames of a recording are done, and of how many."""
        if self._bars is None:
            self._lines("analyze", self._done, self._total)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(escape(name), total=total)
        self._bars.update(self._tasks[name], completed=done, total=total)

    def finish(self, name: str) -> None:
        """Count a recording as done, and show it no longer."""
        self._done += 1
        if self._bars is None or self._all is None:
            self._lines("analyze", self._done, self._total)
            return
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
        self._bars.update(self._all, completed=self._done)

    def print(self, text: str, error: bool = False) -> None:
        """Print a text above the bars."""
        stream = sys.stderr if error else sys.stdout
        if self._bars is None or not stream.isatty():
            print(text, file=stream, flush=True)
        else:
            self._bars.console.print(escape(text), soft_wrap=True, highlight=False)


@contextmanager
def watched_batch(total: int, done: int) -> Iterator[BatchProgress]:
    """Show the progress of many recordings, of which some are done already."""
    if not sys.stderr.isatty():
        yield BatchProgress(total, done, None)
        return
    with Progress(
        *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # results may go to a file
        redirect_stderr=False,
    ) as bars:
        yield BatchProgress(total, done, bars)


class _Speed(ProgressColumn):
    """How many units a second are done."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f} {self._unit}/s")


class _Lines:
    """Progress without a terminal."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._printed = time.monotonic()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        if time.monotonic() - self._printed >= _QUIET_EVERY_S:
            self._printed = time.monotonic()
            of = "" if total is None else f" of {total}"
            text = f"moppet: {what}: {done}{of} {self._unit}"
            print(text.rstrip(), file=sys.stderr, flush=True)


def counted(number: int, noun: str) -> str:
    """Return "1 group", "2 groups"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def estimate_text(estimate: Estimate | Difference, form: str = ".2f") -> str:
    """Return a figure and its 95 % interval, "0.81 (0.70 to 0.90)"; a dash if undefined."""
    if math.isnan(estimate.value):
        return "–"
    text = f"{estimate.value:{form}}"
    if math.isnan(estimate.low):
        return text
    if estimate.low == estimate.high:  # all bootstrap samples were alike: not a certainty
        return f"{text} (no spread)"
    return f"{text} ({estimate.low:{form}} to {estimate.high:{form}})"


def say(console: Console, text: str) -> None:
    """Print a text as it is, on one line however long: a terminal wraps it, a file keeps it."""
    console.print(escape(text), soft_wrap=True, highlight=False)


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
    from moppet.pages.wording import number
    from moppet.timeline.time_axis import NO_VALUE

    value = number(figure["value"])
    if figure["value"] is not None and figure["low"] is None:
        return f"{value} [dim]{NO_VALUE}[/]"
    if figure["low"] is None or figure["low"] == figure["high"]:
        return value
    return f"{value} [dim]{number(figure['low'])}-{number(figure['high'])}[/]"
