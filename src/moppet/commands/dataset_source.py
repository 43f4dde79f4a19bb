"""What the data commands share: where images are, and a table of counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest


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
