"""Provenance of synthetic rows: their generator, seed and sources, and checks for leaks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from moppet.values import UsageError

if TYPE_CHECKING:
    from moppet.datasets.manifest import Manifest


GENERATOR: Final = "generator"
SYNTHETIC_SEED: Final = "synthetic_seed"
SYNTHETIC_FROM: Final = "synthetic_from"
SYNTHETIC_PROMPT: Final = "synthetic_prompt"
RENDERED: Final = "render"
"""The generator of `moppet synthesize render`: it draws invented people and learns from no image.
Its rows leak nothing: they may be in any split, and sets of them alone are split and evaluated."""
TRUTH: Final = "truth.parquet"
"""The file beside rendered images that holds the truth of each, by its path."""
REMOVED_BY: Final = "removed_by"
"""Column: the balancer that removed the row from the training rows; null for other rows."""
_MARKS: Final = (("plan.csv", "settings.toml"), ("balance.json",))
"""Files that identify an output folder of `moppet synthesize` or `moppet balance`."""
_DETAILS: Final = ("seed", "from", "prompt", "model", "ethnicity", "background", "occlusion")
_FORMER_COLUMNS: Final = {"made_by": GENERATOR} | {f"made_{x}": f"synthetic_{x}" for x in _DETAILS}
"""Column names of earlier versions → current ones. Both are read."""
SYNTHETIC_SCHEMA: Final = pa.schema(
    [
        (GENERATOR, pa.string()),
        (SYNTHETIC_SEED, pa.int64()),
        (SYNTHETIC_FROM, pa.list_(pa.string())),
        (SYNTHETIC_PROMPT, pa.string()),
    ]
)
"""generator: name of the balancer or generator, null for a real image.
synthetic_seed: seed of the random numbers.
synthetic_from: `content_hash` of the source images; null if there is no specific one (a generator
    trained on all images).
synthetic_prompt: the text prompt, or null."""


def current_columns(table: Any) -> Any:
    """Return a manifest's table with current names for the columns of earlier versions."""
    return table.rename_columns([_FORMER_COLUMNS.get(name, name) for name in table.column_names])


def synthetic_columns(
    n: int,
    *,
    generator: str | Sequence[str],
    synthetic_seed: int | Sequence[int] | None = None,
    synthetic_from: Sequence[Sequence[str] | None] | None = None,
    synthetic_prompt: str | Sequence[str | None] | None = None,
) -> dict[str, Any]:
    """Return the columns that describe n synthetic rows, for `build_manifest` or `replace`.

    A single text or number applies to all rows; see SYNTHETIC_SCHEMA for the meanings.
    """

    def column(name: str, value: Any) -> Any:
        values = [value] * n if value is None or isinstance(value, str | int) else list(value)
        if len(values) != n:
            raise UsageError(f"{name} needs {n} values, one for each row, not {len(values)}.")
        return pa.array(values, SYNTHETIC_SCHEMA.field(name).type)

    if n and (not generator or not all(generator)):
        raise UsageError("synthetic rows need the name of their generator.")
    return {
        GENERATOR: column(GENERATOR, generator),
        SYNTHETIC_SEED: column(SYNTHETIC_SEED, synthetic_seed),
        SYNTHETIC_FROM: column(SYNTHETIC_FROM, synthetic_from),
        SYNTHETIC_PROMPT: column(SYNTHETIC_PROMPT, synthetic_prompt),
    }


def real_rows(manifest: Manifest) -> NDArray[np.bool_]:
    """Return (n,) whether each row is a real image; True without a `generator` column."""
    return _real(manifest.table)


def rendered_rows(manifest: Manifest) -> NDArray[np.bool_]:
    """Return (n,) whether each row is RENDERED."""
    return _rendered(manifest.table)


def rendered_truth(manifest: Manifest, columns: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Return some columns of the truth beside rendered images, (n,) by row; NaN for other images.

    Columns that it lacks are left out; all of them if there is no such file.
    """
    path = manifest.root / TRUTH
    there = set(pq.read_schema(path).names) if path.is_file() else set()
    if "path" not in there:
        return {}
    names = [name for name in columns if name in there]
    table = pq.read_table(path, columns=["path", *names])
    row_of = {name: row for row, name in enumerate(table["path"].to_pylist())}
    rows = np.array([row_of.get(name, -1) for name in manifest.column("path")], np.int64)
    return {
        name: np.append(table[name].to_numpy().astype(np.float64), np.nan)[rows] for name in names
    }


def check_synthetic(table: Any) -> None:
    """Check the synthetic rows of a manifest's table. Called for every new Manifest.

    Raises UsageError if one that is not RENDERED is in another split than train, and for a column
    `generator` that is not from `synthetic_columns` but the user's own.
    """
    real = _real(table)
    if real.all():
        return
    if SYNTHETIC_SEED not in table.column_names:
        raise UsageError(
            f"the column {GENERATOR!r} marks synthetic images and comes with the column "
            f"{SYNTHETIC_SEED!r}, which is missing. Rename {GENERATOR!r} if it is your own column; "
            f"if its rows are synthetic images, add {SYNTHETIC_SEED!r}, which may be empty."
        )
    split = table["split"].to_numpy()
    outside = np.array([s not in (None, "train") for s in split], bool)
    wrong = np.flatnonzero(~real & ~_rendered(table) & outside)
    if len(wrong):
        row = int(wrong[0])
        raise UsageError(
            f"synthetic images are only used for training, but {len(wrong)} are in another split: "
            f"row {row}, generated by {table[GENERATOR][row].as_py()!r}, has the split "
            f"{split[row]!r}."
        )


def refuse_synthetic(manifest: Manifest, what: str = "split") -> None:
    """Raise UsageError if any row is synthetic but not RENDERED. what: verb of the action."""
    synthetic = int((~real_rows(manifest) & ~rendered_rows(manifest)).sum())
    if synthetic:
        raise UsageError(
            f"{synthetic} of these {len(manifest)} rows are synthetic, and their source images "
            f"could fall on the other side: {what} the real images first, then balance or "
            "synthesize their training rows."
        )


def refuse_cleaned(manifest: Manifest) -> None:
    """Raise UsageError if a balancer removed rows: a split of the rest would be too easy."""
    if REMOVED_BY in manifest.table.column_names:
        removed = len(manifest) - manifest.table[REMOVED_BY].null_count
        if removed:
            raise UsageError(
                f"{removed} of these {len(manifest)} rows were removed by balancing, and a new "
                "split would use them again: split the images into train, val and test first, "
                "then balance the training rows."
            )


def check_sources(folder: Path, manifest: Manifest) -> None:
    """Raise UsageError if files written to a folder would mix with the manifest's images.

    The folder must not contain images, be inside a folder of images, or be next to several folders
    of images, where it would be read as one more class.
    """
    root, out = manifest.root.resolve(), folder.resolve()
    images = [Path(os.path.normpath(root / path)) for path in manifest.column("path") if path]
    homes = sorted({path.parent for path in images})
    for path in images:
        if path.is_relative_to(out):
            raise UsageError(
                f"{folder} holds source images, such as {path}, and they would be "
                "replaced: name a new folder with -o."
            )
    beside = [home for home in homes if home.parent == out.parent]
    inside = [home for home in homes if out.is_relative_to(home)]
    if inside or len(beside) > 1:
        raise UsageError(
            f"{folder} is among the images of {(inside or [out.parent])[0]}, and would be read as "
            "one of their classes: name a folder elsewhere with -o."
        )


def refuse_synthetic_folder(folder: Path) -> None:
    """Raise UsageError for an output folder of `moppet synthesize` or `moppet balance`.

    Its images, also those in subfolders, would be read as real ones.
    """
    for home in (folder, folder.parent, folder.parent.parent):
        if any(all((home / name).is_file() for name in marks) for marks in _MARKS):
            raise UsageError(
                f"{folder} holds synthetic images, which would count as real ones if read as a "
                f"folder: read {home / 'manifest.parquet'} instead, which describes each of them."
            )


def join_synthetic(manifest: Manifest, synthetic: Manifest) -> Manifest:
    """Return the manifest with synthetic rows appended, all in split "train".

    synthetic: a manifest with the columns of `synthetic_columns`. If the roots differ, the root of
        the result is their common folder.
    Raises UsageError for real rows or unknown classes in `synthetic`.
    """
    if real_rows(synthetic).any():
        raise UsageError("each synthetic row needs a generator, but some have none.")
    strange = [name for name in synthetic.names if name not in manifest.names]
    if strange:
        raise UsageError(
            f"synthetic rows have the classes {', '.join(strange)}, but these images have only "
            f"{', '.join(manifest.names)}."
        )
    if synthetic.names != manifest.names and synthetic.table["votes"].null_count < len(synthetic):
        raise UsageError("votes on synthetic rows need the classes of the manifest that they join.")
    root = _shared_root(manifest.root.resolve(), synthetic.root.resolve())
    tables = [_rooted(manifest, root), _rooted(synthetic, root)]
    at = tables[1].column_names.index("split")
    trains = pa.array(["train"] * len(synthetic), pa.string())
    tables[1] = tables[1].set_column(at, "split", trains)
    for i, table in enumerate(tables):
        for field in SYNTHETIC_SCHEMA:
            if field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(len(table), field.type))
        tables[i] = table
    return replace(manifest, table=pa.concat_tables(tables, promote_options="default"), root=root)


def _real(table: Any) -> NDArray[np.bool_]:
    if GENERATOR not in table.column_names:
        return np.ones(table.num_rows, bool)
    return np.asarray(pc.is_null(table[GENERATOR]).to_numpy(), bool)


def _rendered(table: Any) -> NDArray[np.bool_]:
    if GENERATOR not in table.column_names:
        return np.zeros(table.num_rows, bool)
    same = pc.fill_null(pc.equal(table[GENERATOR].cast(pa.string()), RENDERED), False)
    return np.asarray(same.to_numpy(), bool)


def _shared_root(one: Path, other: Path) -> Path:
    """Return the common folder; the first one if they are on different drives."""
    try:
        return Path(os.path.commonpath([one, other]))
    except ValueError:
        return one


def _rooted(manifest: Manifest, root: Path) -> Any:
    """Return the manifest's table with its paths relative to a folder above its root."""
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
