"""The labeled images of a command: how they are read, their faces, and a table of their counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from moppet.commands.console import watched
from moppet.commands.options import SubjectOption, read_pairs
from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.datasets.faces import Faces
    from moppet.datasets.manifest import Manifest


@dataclass(frozen=True)
class DatasetOptions:
    """How a command reads its images."""

    kind: Annotated[
        str | None, typer.Option(help="Kind of dataset; default: detected from its layout.")
    ] = None
    option: Annotated[
        list[str] | None,
        typer.Option(help="Option of the dataset's reader, name=value; repeatable."),
    ] = None
    subject: SubjectOption = None

    def __post_init__(self) -> None:
        read_pairs(self.option, "--option")

    def read(self, path: Path, *, as_given: bool = False) -> Manifest:
        """Return the manifest; the first use of a dataset prints its conditions on stderr.

        as_given: keep the user's own class names where the dataset has no names of its own.
        Raises UsageError for --subject beside a manifest, and what `read_dataset` raises.
        """
        from moppet.datasets.readers import announce_license, find_dataset, read_dataset

        options = read_pairs(self.option, "--option")
        is_manifest = self.kind is None and path.suffix.lower() == ".parquet"
        if is_manifest and self.subject:
            raise UsageError("--subject reads file names; a manifest has its own column for it.")
        if self.subject:
            options["subject_pattern"] = self.subject
        if as_given and not is_manifest and "as_given" in find_dataset(path, self.kind).options:
            options["as_given"] = True
        manifest = read_dataset(path, self.kind, **options)
        announce_license(manifest)
        return manifest


def find_faces(manifest: Manifest, folder: Path) -> Faces:
    """Return the images' faces, which the folder keeps for the next run; show the progress."""
    from moppet.datasets.faces import find_manifest_faces

    folder.mkdir(parents=True, exist_ok=True)
    with watched() as show:
        return find_manifest_faces(
            manifest, cache=folder / "faces.npz", progress=partial(show, "faces")
        )


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
