"""The journal of an analysis: rows written to disk during the run, readable after a crash."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from moppet.files import as_damaged, parse_json
from moppet.timeline.formats import METADATA_KEY
from moppet.timeline.schema import (
    FRAME_FIELDS,
    MOVEMENT,
    OptionalColumns,
    RawColumns,
    RawRow,
    bare_columns,
    check_names,
    plain,
    present,
    raw_columns,
)
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.table import Timeline, timeline_of
from moppet.values import TimelineError, UsageError
from moppet.vocabulary import MOVEMENT_OF

_STATE: Final = "state"  # a column of JSON, in the last row of a batch


class _Content(NamedTuple):
    header: dict[str, Any]
    names: tuple[str, ...]
    optional: OptionalColumns
    about: dict[str, Any]
    batches: list[Any]
    complete_bytes: int
    stateful: bool


class Journal:
    """An Arrow IPC stream that grows by complete batches and can be read at any time.

    path: an existing file is replaced, or continued with resume=True.
    header: JSON values that must be equal to resume (source, model, settings).
    about: further metadata of the timeline, and the "groups" of the names.
    optional: what the rows have besides: the display reading, movements; None for neither.
    resume: an incomplete last batch is removed. TimelineError if names or header differ.
    Use it as a context manager.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        names: Sequence[str],
        header: Mapping[str, Any] | None = None,
        *,
        about: Mapping[str, Any] | None = None,
        optional: OptionalColumns | None = None,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self._names, self._optional = check_names(names), optional or OptionalColumns()
        content = {
            "names": list(self._names),
            "header": plain(header or {}),
            **_optional_keys(self._optional),
        }
        metadata = content | {"about": plain(about or {})}
        raw = json.dumps(metadata, ensure_ascii=False).encode("utf-8")
        keep, stateful = _matching(self.path, content) if resume else (0, True)
        self._schema = _schema(self._names, self._optional, raw, stateful)
        # A new journal appears complete with its header, so a kill leaves none that is unreadable.
        part = self.path if resume else self.path.with_name(f"{self.path.name}.part")
        try:
            self._file = part.open("r+b" if resume else "wb")
        except OSError as error:
            raise TimelineError(f"Cannot write {self.path}: {error.strerror}.") from error
        self._file.seek(keep)
        self._file.truncate()
        if not resume:
            self._put(self._schema.serialize())
            part.replace(self.path)

    def append(self, rows: Sequence[RawRow], state: Mapping[str, Any] | None = None) -> None:
        """Write these rows as one batch: after a crash, either all of them are stored or none.

        Keep the rows of a frame in one batch. A batch takes some kilobytes, so append a few
        hundred rows at a time. Raises TimelineError for an invalid row.
        state: JSON values that reading resumes from after these rows, for `read_state`.
        """
        if rows:
            columns = raw_columns(rows, self._names, self._optional)
            self._put(_batch(columns, self._optional, self._schema, state).serialize())

    def _put(self, message: Any) -> None:
        try:
            self._file.write(message)
            self._file.flush()
        except OSError as error:
            raise TimelineError(f"Cannot write {self.path}: {error.strerror}.") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: str | PathLike[str]) -> list[RawRow]:
    """Return the rows of all complete batches in order; an incomplete last batch is ignored.

    Null fields are None. Raises TimelineError if the file is not a journal.
    """
    content = _read(Path(path))
    kept = [_STATE] * content.stateful
    return [row for batch in content.batches for row in batch.drop_columns(kept).to_pylist()]


def read_state(path: str | PathLike[str]) -> dict[str, Any] | None:
    """Return the state stored with the last complete batch; None if there is none.

    Journals of moppet 0.1 store no state. Raises TimelineError if the file is not a journal.
    """
    content = _read(Path(path))
    if not content.stateful or not content.batches:
        return None
    text = content.batches[-1].column(_STATE)[-1].as_py()
    if text is None:
        return None
    odd = f"{path} is damaged: the state that it stores cannot be read."
    with as_damaged(odd, TimelineError):
        return dict(parse_json(text.encode(), odd, TimelineError))


def read_journal_header(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the header of a journal; TimelineError if the file is not a journal."""
    return _read(Path(path)).header


def read_unfinished(path: str | PathLike[str]) -> Timeline:
    """Return the timeline of a journal's rows so far, with `complete` False in its metadata.

    Raises TimelineError if the file is not a journal of `moppet analyze`, or has no rows yet.
    """
    content = _read(Path(path))
    if not content.batches:
        raise TimelineError(f"{path} contains no frames yet.")
    table = pa.Table.from_batches(content.batches).combine_chunks()
    try:
        settings = TimelineSettings.from_dict(content.header["settings"]["timeline"])
        groups = dict(content.about.get("groups", {}))
    except (KeyError, TypeError, UsageError) as error:
        raise TimelineError(f"{path} is not the journal of an analysis ({error}).") from None
    lists = {
        field.name: _from_lists(table, field.name)
        for field in table.schema
        if pa.types.is_fixed_size_list(field.type)
    }
    movements = lists.pop("m", np.empty((table.num_rows, 0))).T
    named = zip(content.optional.movements, movements, strict=True)
    return timeline_of(
        bare_columns(table) | lists | {MOVEMENT + name: column for name, column in named},
        names=content.names,
        group_of=groups,
        settings=settings,
        metadata={
            **{k: v for k, v in content.about.items() if k != "groups"},
            "settings": content.header["settings"],
            "complete": False,
        },
    )


def _from_lists(table: Any, name: str) -> NDArray[np.float32]:
    """Return a column of lists as (n, k), NaN for null."""
    column = table.column(name).combine_chunks()
    width = column.type.list_size
    found = np.full((table.num_rows, width), np.nan, dtype=np.float32)
    flat = np.asarray(column.flatten(), dtype=np.float32)  # without nulls
    found[present(table, name)] = flat.reshape(-1, width)
    return found


def _optional_keys(optional: OptionalColumns) -> dict[str, Any]:
    """Return what a journal's metadata says of its optional columns: nothing if it has none."""
    display = {"display": True} if optional.display else {}
    return display | ({"movements": list(optional.movements)} if optional.movements else {})


def _schema(
    names: Sequence[str], optional: OptionalColumns, metadata: bytes, stateful: bool
) -> Any:
    widths = {"p": len(names), "d": len(names) * optional.display, "m": len(optional.movements)}
    lists = [(key, pa.list_(pa.float32(), width)) for key, width in widths.items() if width]
    fields = [*FRAME_FIELDS, *lists]
    fields += [(_STATE, pa.string())] * stateful
    return pa.schema(fields, metadata={METADATA_KEY: metadata})


def _batch(
    columns: RawColumns, optional: OptionalColumns, schema: Any, state: Mapping[str, Any] | None
) -> Any:
    movements = [columns[MOVEMENT + name] for name in optional.movements]
    lists = columns | ({"m": np.column_stack(movements)} if movements else {})
    arrays, count = [], len(columns["frame"])
    for field in schema:
        if field.name == _STATE:
            last = None if state is None else json.dumps(state)
            arrays.append(pa.array([None] * (count - 1) + [last], pa.string()))
        elif pa.types.is_fixed_size_list(field.type):
            arrays.append(_as_lists(lists[field.name]))
        else:
            arrays.append(pa.array(columns[field.name], field.type, from_pandas=True))
    return pa.record_batch(arrays, schema=schema)


def _as_lists(values: NDArray[np.float32]) -> Any:
    """Return (n, k) as a column of lists; null for a row of NaN."""
    missing = pa.array(np.isnan(values).all(axis=1))
    flat = pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=missing)


_ODD: Final = (pa.ArrowException, EOFError, OSError, ValueError, KeyError, TypeError)


def _read(path: Path) -> _Content:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TimelineError(f"Cannot read the journal {path}: {error.strerror}.") from error
    source = pa.BufferReader(data)
    try:
        schema = pa.ipc.read_schema(pa.ipc.read_message(source))
        content = parse_json(schema.metadata[METADATA_KEY], "its metadata", TimelineError)
        names, header = check_names(content["names"]), dict(content["header"])
        about = dict(content.get("about", {}))
        movements = tuple(content.get("movements", ()))
        optional = OptionalColumns(content.get("display") is True, movements)
        if not {*movements} <= {*MOVEMENT_OF}:
            raise ValueError(movements)
    except (*_ODD, TimelineError) as error:
        raise TimelineError(f"{path} is not a journal of moppet, or is damaged.") from error
    stateful = _STATE in schema.names
    if not schema.equals(_schema(names, optional, b"", stateful)):
        raise TimelineError(f"{path} is a journal of another version of moppet.")
    batches: list[Any] = []
    complete_bytes = source.tell()
    while True:
        try:
            batch = pa.ipc.read_record_batch(pa.ipc.read_message(source), schema)
            batch.validate(full=True)
        except (pa.ArrowException, EOFError, OSError):
            return _Content(header, names, optional, about, batches, complete_bytes, stateful)
        batches.append(batch)
        complete_bytes = source.tell()


def _matching(path: Path, wanted: Mapping[str, Any]) -> tuple[int, bool]:
    """Return the length of the complete batches in bytes, and whether they store a state."""
    content = _read(path)
    there = {"names": list(content.names), "header": content.header}
    there |= _optional_keys(content.optional)
    if there == wanted:
        return content.complete_bytes, content.stateful
    keys = {*content.header, *wanted["header"]}
    odd = sorted(k for k in keys if content.header.get(k) != wanted["header"].get(k))
    odd = odd or [key for key in wanted if there.get(key) != wanted[key]] or ["movements"]
    raise TimelineError(
        f"{path} cannot be resumed: it was started with another {', '.join(odd)}. "
        "Use the same settings and source, or start a new analysis."
    )
