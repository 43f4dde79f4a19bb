"""Manifests: a table with one row for each image of a dataset, stored as Parquet."""

from __future__ import annotations

import importlib.metadata
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from moppet.config import check_settings
from moppet.datasets import row_images
from moppet.datasets.provenance import check_synthetic, current_columns
from moppet.files import parse_json, replacing
from moppet.values import EXPRESSIONS, Floats, Image, MoppetError
from moppet.vocabulary import FORMER_SPLITS

AGE_BANDS: Final = ("infant", "child", "adult", "uncertain")
BOX: Final = ("box_x", "box_y", "box_w", "box_h")
VOTES: Final = pa.list_(pa.float32())
SCHEMA: Final = pa.schema(
    [
        ("path", pa.string()),
        ("array_row", pa.int64()),
        ("time_s", pa.float64()),
        *((name, pa.float32()) for name in BOX),
        ("label", pa.string()),
        ("votes", VOTES),
        ("weight", pa.float32()),
        ("subject", pa.string()),
        ("age_band", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("content_hash", pa.string()),
        ("perceptual_hash", pa.string()),
        ("duplicate_group", pa.int64()),
    ]
)


def order_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in a manifest's order: EXPRESSIONS first, then others alphabetically."""
    given = set(names)
    return (*(e for e in EXPRESSIONS if e in given), *sorted(given - set(EXPRESSIONS)))


def conform(table: Any, names: Sequence[str]) -> Any:
    """Return the table with all columns of SCHEMA in order, then the extra columns.

    Missing columns are null, missing weights 1.
    Raises MoppetError for columns of another type and for rows that break a rule.
    """
    table = current_columns(table)
    twice = sorted({c for c in table.column_names if table.column_names.count(c) > 1})
    if twice:
        raise MoppetError(f"Column names must be unique, but {', '.join(twice)} occurs twice.")
    extra = [name for name in table.column_names if name not in SCHEMA.names]
    columns = {field.name: _cast(table, field) for field in SCHEMA}
    columns["weight"] = pc.fill_null(columns["weight"], pa.scalar(1, pa.float32()))
    columns["source"] = pc.fill_null(columns["source"], "")
    columns["split"] = _current_splits(columns["split"])
    table = pa.table(columns | {name: table.column(name) for name in extra})
    _check_names(names)
    _check_rows(table, names)
    return table


def _current_splits(column: Any) -> Any:
    """Return the column with the split names of earlier versions replaced by today's."""
    for former, name in FORMER_SPLITS.items():
        column = pc.if_else(pc.fill_null(pc.equal(column, former), False), name, column)
    return column


def vote_matrix(column: Any, classes: int) -> NDArray[np.float32]:
    """Return a votes column as (n, classes) float32, NaN in rows without votes."""
    matrix = np.full((len(column), classes), np.nan, np.float32)
    voted = pc.is_valid(column).to_numpy(zero_copy_only=False)
    flat = pc.list_flatten(column).to_numpy(zero_copy_only=False)
    matrix[voted] = flat.reshape(-1, classes) if classes else np.zeros((voted.sum(), 0))
    return matrix


def vote_lists(matrix: NDArray[Any]) -> Any:
    """Return (n, k) votes as a list column; a row with a NaN has none."""
    matrix = np.asarray(matrix, np.float32)
    voted = ~np.isnan(matrix).any(axis=1)
    ends = np.concatenate([[0], np.cumsum(voted * matrix.shape[1])]).astype(np.int32)
    lists = pa.ListArray.from_arrays(
        pa.array(ends), pa.array(matrix[voted].ravel()), mask=pa.array(~voted)
    )
    return lists.cast(VOTES)


def plurality(votes: NDArray[Any]) -> NDArray[np.int64]:
    """Return (n,) the class with the most votes (n, k); -1 for ties and rows without votes."""
    most = np.nan_to_num(votes).max(axis=1, keepdims=True, initial=0)
    leads = (votes == most) & (most > 0)
    return np.where(leads.sum(axis=1) == 1, leads.argmax(axis=1), -1)


def as_column(name: str, values: Any) -> Any:
    """Return values as the Arrow column of this name; None and NaN are null."""
    if name == "votes" and getattr(values, "ndim", 1) == 2:
        return vote_lists(values)
    kind = SCHEMA.field(name).type if name in SCHEMA.names else None
    try:
        if isinstance(values, pa.Array | pa.ChunkedArray):
            return values
        if kind is not None and kind != VOTES and isinstance(values, np.ndarray):
            return pa.array(values, from_pandas=True).cast(kind)
        return pa.array(values, type=kind, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        raise MoppetError(f"column {name!r} needs values of type {kind or 'one kind'}.") from None


def _cast(table: Any, field: Any) -> Any:
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    column = table.column(field.name)
    try:
        return column.cast(field.type)
    except (pa.ArrowException, ValueError, TypeError):
        raise MoppetError(
            f"A manifest's column {field.name!r} needs {field.type}, but has {column.type}."
        ) from None


def _check_names(names: Sequence[str]) -> None:
    odd = [name for name in names if not isinstance(name, str) or not name or name != name.strip()]
    if odd or tuple(names) != order_names(names):
        raise MoppetError(
            "A manifest's classes are unique words, the seven expressions first in their fixed "
            f"order, then others alphabetically, not {', '.join(map(repr, names))}."
        )


def _check_rows(table: Any, names: Sequence[str]) -> None:
    """Raise MoppetError for the first row that breaks a rule, counted from 0."""
    for column, known in (("label", names), ("age_band", AGE_BANDS)):
        value = table[column]
        strange = pc.and_(
            pc.is_valid(value), pc.invert(pc.is_in(value, pa.array(known, pa.string())))
        )
        _refuse(table, column, strange, f"one of {', '.join(known) or 'no classes at all'}")
    for column in ("array_row", "duplicate_group"):
        _refuse(table, column, pc.less(table[column], 0), "a number from 0")
    for column in ("weight", *BOX, "time_s"):
        _refuse(table, column, pc.invert(pc.is_finite(table[column])), "a finite number")
    _refuse(table, "weight", pc.less(table["weight"], 0), "a number from 0")
    for column in BOX[2:]:
        _refuse(table, column, pc.less_equal(table[column], 0), "a size above 0")
    _check_votes(table, len(names))


def _check_votes(table: Any, classes: int) -> None:
    wrong = pc.not_equal(pc.list_value_length(table["votes"]), classes)
    _refuse(table, "votes", wrong, f"one number for each of {classes} classes")
    flat = pc.list_flatten(table["votes"])
    bad = pc.fill_null(pc.or_(pc.less(flat, 0), pc.invert(pc.is_finite(flat))), True)
    if pc.any(bad).as_py():
        raise MoppetError("A manifest's votes must be numbers of 0 or more.")


def _refuse(table: Any, column: str, wrong: Any, needed: str) -> None:
    row = pc.index(pc.fill_null(wrong, False), True).as_py()
    if row >= 0:
        value = table[column][row].as_py()
        raise MoppetError(
            f"A manifest's column {column!r} needs {needed}, but row {row} has {value!r}."
        )


_KEY: Final = b"moppet"
_PLACE: Final = ("path", "array_row", "time_s")


@dataclass(frozen=True)
class Manifest:
    """A table of the images of a dataset.

    names: the k classes: EXPRESSIONS first in their order, then others alphabetically.
    table: pyarrow.Table, one row for each image, with the columns of docs/guides/datasets.md and
        any others. Missing columns are filled with null.
    root: the folder of relative paths.
    license: the source's license and consent conditions, in one or two sentences.
    Raises MoppetError if the table breaks a rule.
    """

    names: tuple[str, ...]
    table: Any = field(repr=False)
    root: Path
    license: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "root", Path(self.root))
        object.__setattr__(self, "table", conform(self.table, self.names))
        check_synthetic(self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) index into names, -1 without a label."""
        index = {name: i for i, name in enumerate(self.names)}
        return np.array([index.get(x, -1) for x in self.column("label")], np.int64)

    @property
    def soft_labels(self) -> Floats:
        """(n, k) votes as shares; without votes, 1 for the label; without both, zeros."""
        votes = np.nan_to_num(self.column("votes"))
        labels = self.labels
        plain = (votes.sum(axis=1) == 0) & (labels >= 0)
        votes[plain, labels[plain]] = 1
        total = votes.sum(axis=1, keepdims=True)
        return np.asarray(votes / np.where(total > 0, total, 1), np.float32)

    @property
    def weights(self) -> Floats:
        """(n,) float32; 1 unless the source has weights."""
        return np.asarray(self.column("weight"), np.float32)

    @property
    def groups(self) -> NDArray[np.int64]:
        """(n,) the group of each row; rows of one group must stay on one side of a split.

        Rows with the same subject (of one source), duplicate group or content hash are in one
        group, directly or through other rows. Groups are numbered from 0 by their first row.
        """
        subject = [
            None if s is None else (source, s)
            for source, s in zip(self.column("source"), self.column("subject"), strict=True)
        ]
        keys = [subject, self._values("duplicate_group"), self._values("content_hash")]
        return connect(len(self), keys)

    def column(self, name: str) -> NDArray[Any]:
        """Return a column as an array.

        Text is an object array with None; numbers are float with NaN for null (whole numbers are
        int64 without nulls); votes are (n, k) float32, NaN without votes.
        """
        if name not in self.table.column_names:
            raise MoppetError(
                f"this manifest has no column {name!r}; its columns are "
                f"{', '.join(self.table.column_names)}."
            )
        column = self.table[name]
        if name == "votes":
            return vote_matrix(column, len(self.names))
        if pa.types.is_dictionary(column.type):  # to_numpy would give nulls another row's value
            column = column.cast(column.type.value_type)
        return np.asarray(column.to_numpy())

    def select(self, rows: NDArray[Any] | Sequence[int]) -> Manifest:
        """Return the manifest of these rows: row numbers in the order given, or a mask (n,)."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise MoppetError(f"a mask of {len(self)} rows was needed, not {chosen.shape}.")
            chosen = np.flatnonzero(chosen)
        table = self.table.take(pa.array(chosen.astype(np.int64)))
        return Manifest(self.names, table, self.root, self.license)

    def replace(self, **columns: Any) -> Manifest:
        """Return the manifest with these columns replaced or added.

        columns: n values each; None and NaN are null. votes: (n, k).
        """
        table = self.table
        for name, values in columns.items():
            new = as_column(name, values)
            if len(new) != len(self):
                raise MoppetError(
                    f"column {name!r} needs {len(self)} values, one for each row, not {len(new)}."
                )
            at = table.column_names.index(name) if name in table.column_names else -1
            table = table.set_column(at, name, new) if at >= 0 else table.append_column(name, new)
        return Manifest(self.names, table, self.root, self.license)

    def image(self, row: int) -> Image:
        """Return a row's whole image: (h, w, 3) RGB or (h, w) gray, uint8, upright.

        Raises MoppetError if it cannot be read.
        """
        one = self.table.slice(range(len(self))[row], 1)
        path, array_row, time_s = (one[name][0].as_py() for name in _PLACE)
        if path is None:
            raise MoppetError(f"row {row} of this manifest has no path.")
        return row_images.read_image(self.root / path, array_row, time_s)

    def images(self) -> Iterator[tuple[int, Image | None]]:
        """Yield every row's number and image, None if it is unreadable.

        Each video is read once and its frames come last, sorted by time; other rows keep their
        order. For videos this is much faster than `image`.
        """
        places = list(zip(*(self._values(name) for name in _PLACE), strict=True))
        videos: dict[str, list[int]] = {}
        for row, (path, array_row, time_s) in enumerate(places):
            if path is not None and array_row is None and time_s is not None:
                videos.setdefault(path, []).append(row)
                continue
            try:
                where = self.root / path if path is not None else self.root
                yield row, row_images.read_image(where, array_row, time_s)
            except MoppetError:
                yield row, None
        for video, rows in videos.items():
            rows.sort(key=lambda row: float(places[row][2]))
            times_s = np.array([places[row][2] for row in rows])
            yield from row_images.read_video_rows(self.root / video, rows, times_s)

    def write(self, path: str | PathLike[str]) -> Path:
        """Write the manifest as Parquet, replacing the file only when complete; return the path.

        root is stored relative to the file if possible. Raises MoppetError if it cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() != ".parquet":
            raise MoppetError(f"A manifest's file name ends in .parquet, not {target.name!r}.")
        kept = {
            "kind": "manifest",
            "names": list(self.names),
            "license": self.license,
            "root": _relative_root(self.root, target.parent),
            "moppet_version": importlib.metadata.version("moppet"),
        }
        table = self.table.replace_schema_metadata({_KEY: json.dumps(kept).encode()})
        with replacing(target) as part:
            pq.write_table(table, part, compression="zstd")
        return target

    def _values(self, name: str) -> list[Any]:
        return list(self.table[name].to_pylist())


def build_manifest(
    columns: Mapping[str, Any],
    *,
    root: str | PathLike[str],
    license: str = "",
    names: Sequence[str] | None = None,
) -> Manifest:
    """Return a manifest of these columns: n values each, None and NaN are null.

    names: the classes, in the order of the columns of `votes` (n, k); None uses the labels.
    """
    table = pa.table({name: as_column(name, values) for name, values in columns.items()})
    if names is None:
        if "votes" in columns:
            raise MoppetError("votes need the names of their classes.")
        names = [x for x in set(columns.get("label", ())) if isinstance(x, str)]
    ordered = order_names(names)
    if "votes" in columns:
        matrix = np.asarray(columns["votes"], np.float32).reshape(table.num_rows, -1)
        if matrix.shape[1] != len(names) or len(ordered) != len(names):
            raise MoppetError(
                f"votes need one column for each of {len(ordered)} classes, not {matrix.shape[1]}."
            )
        matrix = matrix[:, [list(names).index(name) for name in ordered]]
        at = table.column_names.index("votes")
        table = table.set_column(at, "votes", vote_lists(matrix))
    return Manifest(ordered, table, Path(root), license)


def with_unlabeled(manifest: Manifest, others: Sequence[Manifest]) -> Manifest:
    """Return the manifest with the rows of others after its own, without their labels and votes.

    Their paths become absolute, and their duplicate groups are left out. All licenses are kept.
    """
    tables = [manifest.table]
    for other in others:
        paths = [str(other.root.resolve() / str(path)) for path in other.column("path")]
        none = [None] * len(other)
        nothing = {name: none for name in ("label", "votes", "duplicate_group")}
        tables.append(other.replace(path=paths, **nothing).table)
    table = pa.concat_tables(tables, promote_options="permissive")
    licenses = [one.license for one in (manifest, *others) if one.license]
    return Manifest(manifest.names, table, manifest.root, " ".join(dict.fromkeys(licenses)))


@dataclass(frozen=True)
class _Kept:
    """What a manifest's Parquet file holds beside its rows."""

    RENAMED: ClassVar = {"licence": "license"}  # of version 0.1

    kind: Literal["manifest"]
    names: tuple[str, ...]
    root: str
    license: str

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with these values."""
        if "\0" in self.root:
            yield "root is not a folder's name."


def read_manifest(path: str | PathLike[str]) -> Manifest:
    """Return the manifest in a Parquet file; MoppetError if it is not one."""
    place = Path(path)
    try:
        kind = place.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise MoppetError(f"Cannot read {place}: it is not a file.")
        with place.open("rb") as file:
            table = pq.ParquetFile(file).read()
    except OSError as error:
        if not isinstance(error, pa.ArrowException) and error.strerror is not None:
            raise MoppetError(f"Cannot read {place}: {error.strerror}.") from None
        raise _unreadable(place, "it is not a complete Parquet file") from None
    except (pa.ArrowException, ValueError, MemoryError):
        raise _unreadable(place, "it is not a complete Parquet file") from None
    try:
        content = (table.schema.metadata or {}).get(_KEY, b"null")
        kept = check_settings(_Kept, parse_json(content, "its metadata"), others="ignore")
    except MoppetError:
        raise _unreadable(place, "its metadata has no names, license and root") from None
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise _unreadable(place, f"it lacks {', '.join(missing)}")
    try:
        folder = Path(os.path.normpath(place.parent / kept.root))
        return Manifest(kept.names, table.replace_schema_metadata(None), folder, kept.license)
    except MoppetError as error:
        raise _unreadable(place, str(error).rstrip(".")) from None


def connect(
    n: int, keys: Sequence[Sequence[Any]], pairs: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return (n,) the group of each row: rows with an equal key are connected, also indirectly.

    keys: n hashable values each; None connects nothing. pairs: (m, 2) further rows to connect.
    Groups are numbered from 0 by their first row.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[tuple[int, Any], int] = {}
    links = [
        (row, first.setdefault((number, value), row))
        for number, values in enumerate(keys)
        for row, value in enumerate(values)
        if value is not None
    ]
    ends = np.array(links, np.int64).reshape(-1, 2)
    if pairs is not None:
        ends = np.concatenate([ends, pairs])
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(n, n))
    found = connected_components(graph, directed=False)[1]
    _, where, group = np.unique(found, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(where))[group], np.int64)


def _relative_root(root: Path, folder: Path) -> str:
    """Return the root relative to a folder; absolute if they share only the drive."""
    far, near = root.resolve(), folder.resolve()
    try:
        shared = Path(os.path.commonpath([far, near]))
    except ValueError:
        return far.as_posix()
    apart = shared == Path(far.anchor)
    return (far if apart else Path(os.path.relpath(far, near))).as_posix()


def _unreadable(path: Path, reason: str) -> MoppetError:
    return MoppetError(f"{path} is not a manifest, or is damaged: {reason}.")
