"""What the data commands share: where images are, progress, a table of counts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.progress import Progress, TaskID
from rich.table import Table

from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest


_QUIET_EVERY_S: Final = 30.0


@dataclass(frozen=True)
class Source:
    """Where a command's images are: a path, its kind, and the options of its reader."""

    path: Path
    kind: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> Manifest:
        """Return the manifest; the first use of a set prints its conditions on stderr."""
        from moppet.datasets.readers import announce_license, read_dataset

        manifest = read_dataset(self.path, self.kind, **self.options)
        announce_license(manifest)
        return manifest


def read_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Return a reader's options from "name=value"; true and false, and numbers, are meant so."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--option takes name=value, got {pair!r}.")
        try:
            options[name.strip()] = json.loads(value)
        except ValueError:
            options[name.strip()] = value
    return options


@contextmanager
def watched() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that shows progress: bars on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _Quiet()
        return
    from rich.console import Console

    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield show


class _Quiet:
    """Progress where nobody watches: a line for what has lasted long."""

    def __init__(self) -> None:
        self.said = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self.said >= _QUIET_EVERY_S:
            self.said = time.monotonic()
            print(f"moppet: {what} {done} of {total}", file=sys.stderr)


def counted(number: int, noun: str) -> str:
    """Return "1 group", "2 groups"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def count_table(what: str, counts: Mapping[str, Mapping[str, int]], column: str = "split") -> Table:
    """Return counts, by value and by side of a split, as a table."""
    title = f"images by {what} and {column}"
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column(what)
    sides = list(next(iter(counts.values()), {}))
    for side in sides:
        named = f"{column} {side}" if column != "split" else side
        table.add_column(f"no {column}" if side == "–" else named, justify="right")
    if len(sides) > 1:
        table.add_column("all", justify="right")
    for name, row in counts.items():
        cells = [str(row[side]) for side in sides] + [str(sum(row.values()))] * (len(sides) > 1)
        table.add_row("not known" if name == "–" else name, *cells)
    return table
