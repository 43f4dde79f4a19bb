"""Synthetic rows: which rows of a manifest are not photographs, and where they came from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest


MADE_BY: Final = "made_by"
MADE_SEED: Final = "made_seed"
MADE_FROM: Final = "made_from"
MADE_PROMPT: Final = "made_prompt"
REMOVED_BY: Final = "removed_by"
"""Column: the balancer that took the row out of the training rows; null for every other row."""
_MARKS: Final = (("plan.csv", "settings.toml"), ("balance.json",))
"""Files that a folder of `moppet synthesize` and one of `moppet balance` has."""
MADE_SCHEMA: Final = pa.schema(
    [
        (MADE_BY, pa.string()),
        (MADE_SEED, pa.int64()),
        (MADE_FROM, pa.list_(pa.string())),
        (MADE_PROMPT, pa.string()),
    ]
)
"""made_by: the balancer's or generator's name, null for a real image.
made_seed: the number that its chance was drawn from.
made_from: `content_hash` of the images that it was made from; null where it is from no
    image in particular (a generator that learned from all).
made_prompt: the text that it was made from, null for none."""


def made_columns(
    n: int,
    *,
    made_by: str | Sequence[str],
    made_seed: int | Sequence[int] | None = None,
    made_from: Sequence[Sequence[str] | None] | None = None,
    made_prompt: str | Sequence[str | None] | None = None,
) -> dict[str, Any]:
    """Return the columns that say how n rows were made, for `build_manifest` or `replace`.

    One text or number stands for all rows; see MADE_SCHEMA for their meaning.
    """

    def column(name: str, value: Any) -> Any:
        values = [value] * n if value is None or isinstance(value, str | int) else list(value)
        if len(values) != n:
            raise UsageError(f"{name} needs {n} values, one a row; {len(values)} came.")
        return pa.array(values, MADE_SCHEMA.field(name).type)

    if n and (not made_by or not all(made_by)):
        raise UsageError("made rows need the name of what made them.")
    return {
        MADE_BY: column(MADE_BY, made_by),
        MADE_SEED: column(MADE_SEED, made_seed),
        MADE_FROM: column(MADE_FROM, made_from),
        MADE_PROMPT: column(MADE_PROMPT, made_prompt),
    }


def real_rows(manifest: Manifest) -> NDArray[np.bool_]:
    """Return (n,) whether each row is a real image; all are where the manifest says nothing."""
    return _real(manifest.table)


def check_made(manifest: Manifest) -> None:
    """Raise UsageError if a made row stands anywhere but in the training rows."""
    check_made_table(manifest.table)


def check_made_table(table: Any) -> None:
    """As `check_made`, of a manifest's table. Every Manifest calls it when it is built."""
    if MADE_BY not in table.column_names:
        return
    split = table["split"].to_numpy()
    wrong = np.flatnonzero(
        ~_real(table) & np.array([s not in (None, "train") for s in split], bool)
    )
    if len(wrong):
        row = int(wrong[0])
        raise UsageError(
            f"made images are only ever trained on, but {len(wrong)} stand elsewhere: row {row}, "
            f"made by {table[MADE_BY][row].as_py()!r}, has the split {split[row]!r}."
        )


def refuse_made(manifest: Manifest, what: str = "split") -> None:
    """Raise UsageError if there is a made row at all. what: verb of what cannot be done."""
    made = int((~real_rows(manifest)).sum())
    if made:
        raise UsageError(
            f"{made} of these {len(manifest)} rows are made, and what they were made from could "
            f"fall on the other side: {what} the real images first, then balance or synthesize "
            "their training rows."
        )


def refuse_cleaned(manifest: Manifest) -> None:
    """Raise UsageError if a balancer took rows out: a split of what it left is too easy to read."""
    if REMOVED_BY in manifest.table.column_names:
        taken = len(manifest) - manifest.table[REMOVED_BY].null_count
        if taken:
            raise UsageError(
                f"{taken} of these {len(manifest)} rows were taken out by balancing, and a split "
                "would bring them back, or validate and test on what is left: split the images "
                "into train, val and test first, then balance the training rows."
            )


def check_sources(folder: Path, manifest: Manifest) -> None:
    """Raise UsageError where what is written to a folder would mix with the manifest's images.

    The folder may not hold them, lie in a folder of theirs, nor stand beside several, such as
    those of classes, among which it would be read as one more.
    """
    root, out = manifest.root.resolve(), folder.resolve()
    there = [Path(os.path.normpath(root / path)) for path in manifest.column("path") if path]
    homes = sorted({path.parent for path in there})
    for path in there:
        if path.is_relative_to(out):
            raise UsageError(
                f"{folder} holds images that are made from, such as {path}, and they would be "
                "replaced: name a new folder with -o."
            )
    beside = [home for home in homes if home.parent == out.parent]
    inside = [home for home in homes if out.is_relative_to(home)]
    if inside or len(beside) > 1:
        raise UsageError(
            f"{folder} lies among the images of {(inside or [out.parent])[0]}, and would be read "
            "as one of their classes: name a folder elsewhere with -o."
        )


def refuse_made_folder(folder: Path) -> None:
    """Raise UsageError for a folder of made images, read as if somebody had taken them.

    So are those of `moppet synthesize` and `moppet balance`, and what lies in them.
    """
    for home in (folder, folder.parent, folder.parent.parent):
        if any(all((home / name).is_file() for name in marks) for marks in _MARKS):
            raise UsageError(
                f"{folder} holds made images, which read as a folder would pass for real ones: "
                f"name {home / 'manifest.parquet'}, which says of each how it was made."
            )


def join_made(manifest: Manifest, made: Manifest) -> Manifest:
    """Return the manifest with made rows after its own, all of them in split "train".

    made: a manifest with the columns of `made_columns`, every row made. Its images may lie
        below another root: the root of both is then the folder that both share.
    Raises UsageError for a real row among them, for a class that the manifest does not have, and
    for made rows in a validation or test split.
    """
    if real_rows(made).any():
        raise UsageError("rows to join as made need made_by in each of them, but some have none.")
    check_made(made)
    strange = [name for name in made.names if name not in manifest.names]
    if strange:
        raise UsageError(
            f"made rows have the classes {', '.join(strange)}, but these images have only "
            f"{', '.join(manifest.names)}."
        )
    if made.names != manifest.names and made.table["votes"].null_count < len(made):
        raise UsageError("votes on made rows need the classes of the manifest that they join.")
    root = _shared_root(manifest.root.resolve(), made.root.resolve())
    tables = [_rooted(manifest, root), _rooted(made, root)]
    at = tables[1].column_names.index("split")
    trains = pa.array(["train"] * len(made), pa.string())
    tables[1] = tables[1].set_column(at, "split", trains)
    for i, table in enumerate(tables):
        for field in MADE_SCHEMA:
            if field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(len(table), field.type))
        tables[i] = table
    return replace(manifest, table=pa.concat_tables(tables, promote_options="default"), root=root)


def _real(table: Any) -> NDArray[np.bool_]:
    if MADE_BY not in table.column_names:
        return np.ones(table.num_rows, bool)
    return np.asarray(pc.is_null(table[MADE_BY]).to_numpy(), bool)


def _shared_root(one: Path, other: Path) -> Path:
    """The folder that both share; the first where they stand on different drives."""
    try:
        return Path(os.path.commonpath([one, other]))
    except ValueError:
        return one


def _rooted(manifest: Manifest, root: Path) -> Any:
    """The manifest's table with its paths as seen from a folder above its root."""
    here = manifest.root.resolve()
    if here == root:
        return manifest.table
    below = here.is_relative_to(root)
    prefix = (here.relative_to(root) if below else here).as_posix()
    paths = [
        path if path is None or os.path.isabs(path) else f"{prefix}/{path}"
        for path in manifest.table["path"].to_pylist()
    ]
    at = manifest.table.column_names.index("path")
    return manifest.table.set_column(at, "path", pa.array(paths, pa.string()))
