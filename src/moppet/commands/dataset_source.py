"""Where the labeled images of a command are, and a table of their counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest


@dataclass(frozen=True)
class Source:
    """Where a command's images are: a path, its kind, and options of the reader.

    subject: a regular expression whose (group) in a file's path is the person.
    """

    path: Path
    kind: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    subject: str | None = None

    def read(self, *, as_given: bool = False) -> Manifest:
        """Return the manifest; the first use of a dataset prints its conditions on stderr.

        as_given: keep the user's own class names where the dataset has no names of its own.
        Raises UsageError for --subject beside a manifest, and what `read_dataset` raises.
        """
        from moppet.datasets.readers import announce_license, find_dataset, read_dataset

        options = dict(self.options)
        is_manifest = self.kind is None and self.path.suffix.lower() == ".parquet"
        if is_manifest and self.subject:
            raise UsageError("--subject reads file names; a manifest has its own column for it.")
        if self.subject:
            options["subject_pattern"] = self.subject
        if as_given and not is_manifest:
            known = find_dataset(self.path, self.kind).options
            options |= {"as_given": True} if "as_given" in known else {}
        manifest = read_dataset(self.path, self.kind, **options)
        announce_license(manifest)
        return manifest

    @property
    def words(self) -> list[str]:
        """The options of a command line that name this source again."""
        pairs = [f"{name}={_as_text(value)}" for name, value in self.options.items()]
        words = [] if self.kind is None else ["--kind", self.kind]
        words += [word for pair in pairs for word in ("--option", pair)]
        return words + ([] if self.subject is None else ["--subject", self.subject])


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def count_table(what: str, counts: Mapping[str, Mapping[str, int]], column: str = "split") -> Table:
    """Return counts by value and by part of a split as a table."""
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
        table.add_row("unknown" if name == "–" else name, *cells)
    return table
