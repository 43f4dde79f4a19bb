"""Manifest: what is known of each picture of a data set, and its Parquet file."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from moppet.data import pictures
from moppet.data.columns import SCHEMA, as_column, conform, order_names, vote_lists, vote_matrix
from moppet.data.provenance import check_made_table
from moppet.values import Floats, Image, MoppetError

_KEY: Final = b"moppet"
_PLACE: Final = ("path", "array_row", "time_s")


@dataclass(frozen=True)
class Manifest:
    """What is known of each picture of a data set.

    names: the k classes: EXPRESSIONS' first in their order, others alphabetical after.
    table: pyarrow.Table, one row a picture; the columns are in docs/data.md, others are kept.
        Columns that are missing are filled with null.
    root: the folder that relative paths start from.
    licence: one or two plain sentences, the source's licence and consent conditions.
    Raises MoppetError if the table breaks a rule.
    """

    names: tuple[str, ...]
    table: Any = field(repr=False)
    root: Path
    licence: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "root", Path(self.root))
        object.__setattr__(self, "table", conform(self.table, self.names))
        check_made_table(self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) index into names, -1 where there is no label."""
        index = {name: i for i, name in enumerate(self.names)}
        return np.array([index.get(x, -1) for x in self.column("label")], np.int64)

    @property
    def soft_labels(self) -> Floats:
        """(n, k) votes as shares; the label alone where nobody voted, else zeros."""
        votes = np.nan_to_num(self.column("votes"))
        labels = self.labels
        plain = (votes.sum(axis=1) == 0) & (labels >= 0)
        votes[plain, labels[plain]] = 1
        total = votes.sum(axis=1, keepdims=True)
        return np.asarray(votes / np.where(total > 0, total, 1), np.float32)

    @property
    def weights(self) -> Floats:
        """(n,) float32, 1 unless the source knows better."""
        return np.asarray(self.column("weight"), np.float32)

    @property
    def groups(self) -> NDArray[np.int64]:
        """(n,) one number for rows that must stay together.

        Rows that share a subject (of one source), a duplicate group or a content hash are one
        group, and so are rows that are joined through others. Numbers count from 0 by first row.
        """
        subject = [
            None if s is None else (source, s)
            for source, s in zip(self.column("source"), self.column("subject"), strict=True)
        ]
        keys = [subject, self._values("duplicate_group"), self._values("content_hash")]
        return connect(len(self), keys)

    def column(self, name: str) -> NDArray[Any]:
        """Return a column as an array.

        Text is an object array with None; numbers are float with NaN for null (whole numbers
        stay int64 where none is null); votes are (n, k) float32, NaN where nobody voted.
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
        return Manifest(self.names, table, self.root, self.licence)

    def replace(self, **columns: Any) -> Manifest:
        """Return the manifest with these columns put in place of, or beside, its own.

        columns: n values each; None and NaN are null. votes: (n, k).
        """
        table = self.table
        for name, values in columns.items():
            made = as_column(name, values)
            if len(made) != len(self):
                raise MoppetError(
                    f"column {name!r} needs {len(self)} values, one a row; {len(made)} came."
                )
            at = table.column_names.index(name) if name in table.column_names else -1
            table = table.set_column(at, name, made) if at >= 0 else table.append_column(name, made)
        return Manifest(self.names, table, self.root, self.licence)

    def image(self, row: int) -> Image:
        """Return a row's whole picture: (h, w, 3) RGB or (h, w) grey, uint8, upright.

        Raises MoppetError naming the file if it cannot be read.
        """
        one = self.table.slice(range(len(self))[row], 1)
        path, array_row, time_s = (one[name][0].as_py() for name in _PLACE)
        if path is None:
            raise MoppetError(f"row {row} of this manifest names no picture.")
        return pictures.read_picture(self.root / path, array_row, time_s)

    def images(self) -> Iterator[tuple[int, Image | None]]:
        """Yield every row's number and picture, None where it cannot be read.

        A video's frames come together, in order of time, so that it is read only once; all other
        rows come in order. Prefer this to `image` where there are videos.
        """
        places = list(zip(*(self._values(name) for name in _PLACE), strict=True))
        films: dict[str, list[int]] = {}
        for row, (path, array_row, time_s) in enumerate(places):
            if path is not None and array_row is None and time_s is not None:
                films.setdefault(path, []).append(row)
                continue
            try:
                where = self.root / path if path is not None else self.root
                yield row, pictures.read_picture(where, array_row, time_s)
            except MoppetError:
                yield row, None
        for film, rows in films.items():
            rows.sort(key=lambda row: float(places[row][2]))
            times_s = np.array([places[row][2] for row in rows])
            yield from pictures.read_video_rows(self.root / film, rows, times_s)

    def write(self, path: str | PathLike[str]) -> Path:
        """Write the manifest as Parquet; return the path.

        root is kept relative to the file where the two share a folder. A file that is there is
        replaced only once the new one is whole. Raises MoppetError if it cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() != ".parquet":
            raise MoppetError(f"A manifest is written as .parquet, but {target.name!r} is not.")
        kept = {
            "kind": "manifest",
            "names": list(self.names),
            "licence": self.licence,
            "root": _relative_root(self.root, target.parent),
            "moppet_version": importlib.metadata.version("moppet"),
        }
        table = self.table.replace_schema_metadata({_KEY: json.dumps(kept).encode()})
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, part, compression="zstd")
            os.replace(part, target)
        except OSError as error:
            raise MoppetError(f"Cannot write {target}: {error.strerror or error}.") from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return target

    def _values(self, name: str) -> list[Any]:
        return list(self.table[name].to_pylist())


def build_manifest(
    columns: Mapping[str, Any],
    *,
    root: str | PathLike[str],
    licence: str = "",
    names: Sequence[str] | None = None,
) -> Manifest:
    """Return a manifest of these columns: n values each, None and NaN are null.

    names: the classes in any order, the order of the columns of `votes` (n, k) if there are any;
        None takes the labels that occur.
    """
    table = pa.table({name: as_column(name, values) for name, values in columns.items()})
    if names is None:
        if "votes" in columns:
            raise MoppetError("votes need the names of their classes, but none came.")
        names = [x for x in set(columns.get("label", ())) if isinstance(x, str)]
    ordered = order_names(names)
    if "votes" in columns:
        matrix = np.asarray(columns["votes"], np.float32).reshape(table.num_rows, -1)
        if matrix.shape[1] != len(names) or len(ordered) != len(names):
            raise MoppetError(
                f"votes need one column for each of {len(ordered)} different classes; "
                f"{matrix.shape[1]} came."
            )
        matrix = matrix[:, [list(names).index(name) for name in ordered]]
        at = table.column_names.index("votes")
        table = table.set_column(at, "votes", vote_lists(matrix))
    return Manifest(ordered, table, Path(root), licence)


def read_manifest(path: str | PathLike[str]) -> Manifest:
    """Return the manifest in a Parquet file; MoppetError, one sentence, if it is none."""
    place = Path(path)
    try:
        with place.open("rb") as file:
            table = pq.ParquetFile(file).read()
    except OSError as error:
        if not isinstance(error, pa.ArrowException) and error.strerror is not None:
            raise MoppetError(f"Cannot read {place}: {error.strerror}.") from None
        raise _not_one(place, "it is no whole Parquet file") from None
    except (pa.ArrowException, ValueError):
        raise _not_one(place, "it is no whole Parquet file") from None
    try:
        kept = json.loads((table.schema.metadata or {})[_KEY])
        if kept["kind"] != "manifest":
            raise KeyError
        names, licence, root = tuple(kept["names"]), str(kept["licence"]), str(kept["root"])
    except (KeyError, TypeError, ValueError):
        raise _not_one(place, "it carries no manifest's names, licence and root") from None
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise _not_one(place, f"it lacks {', '.join(missing)}")
    try:
        folder = Path(os.path.normpath(place.parent / root))
        return Manifest(names, table.replace_schema_metadata(None), folder, licence)
    except MoppetError as error:
        raise _not_one(place, str(error).rstrip(".")) from None


def connect(
    n: int, keys: Sequence[Sequence[Any]], pairs: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return (n,) the group of each row: rows that share a key's value, or are joined by others.

    keys: n hashable values each; None joins with nothing. pairs: (m, 2) rows to join besides.
    Groups count from 0 by their first row.
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
    """The root as seen from a folder; absolute where they share nothing but the drive."""
    far, near = root.resolve(), folder.resolve()
    try:
        shared = Path(os.path.commonpath([far, near]))
    except ValueError:
        return far.as_posix()
    apart = shared == Path(far.anchor)
    return (far if apart else Path(os.path.relpath(far, near))).as_posix()


def _not_one(path: Path, reason: str) -> MoppetError:
    return MoppetError(f"{path} is not a manifest, or is damaged: {reason}.")
