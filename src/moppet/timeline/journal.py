"""The journal of an analysis: rows written to disk during the run, readable after a crash."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from moppet.files import as_damaged, parse_json
from moppet.timeline.formats import METADATA_KEY
from moppet.timeline.schema import (
    FRAME_FIELDS,
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

_STATE: Final = "state"  # a column of JSON, in the last row of a batch


class _Content(NamedTuple):
    header: dict[str, Any]
    names: tuple[str, ...]
    about: dict[str, Any]
    batches: list[Any]
    complete_bytes: int
    stateful: bool


class Journal:
    """An Arrow IPC stream that grows by complete batches and can be read at any time.

    path: an existing file is replaced, or continued with resume=True.
    header: JSON values that must be equal to resume (source, model, settings).
    about: further metadata of the timeline, and the "groups" of the names.
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
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self._names = check_names(names)
        content = {"names": list(self._names), "header": plain(header or {})}
        metadata = content | {"about": plain(about or {})}
        raw = json.dumps(metadata, ensure_ascii=False).encode("utf-8")
        keep, stateful = _matching(self.path, content) if resume else (0, True)
        self._schema = _schema(self._names, raw, stateful)
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
            self._put(_batch(rows, self._names, self._schema, state).serialize())

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
    p = np.full((table.num_rows, len(content.names)), np.nan, dtype=np.float32)
    column = table.column("p").combine_chunks()
    flat = np.asarray(column.flatten(), dtype=np.float32)  # without nulls
    p[present(table, "p")] = flat.reshape(-1, len(content.names))
    return timeline_of(
        bare_columns(table) | {"p": p},
        names=content.names,
        group_of=groups,
        settings=settings,
        metadata={
            **{k: v for k, v in content.about.items() if k != "groups"},
            "settings": content.header["settings"],
            "complete": False,
        },
    )


def _schema(names: Sequence[str], metadata: bytes, stateful: bool) -> Any:
    fields = [*FRAME_FIELDS, ("p", pa.list_(pa.float32(), len(names)))]
    fields += [(_STATE, pa.string())] * stateful
    return pa.schema(fields, metadata={METADATA_KEY: metadata})


def _batch(
    rows: Sequence[RawRow], names: Sequence[str], schema: Any, state: Mapping[str, Any] | None
) -> Any:
    columns = raw_columns(rows, names)
    p = columns.pop("p")
    arrays = [
        pa.array(columns[name], schema.field(name).type, from_pandas=True) for name in columns
    ]
    flat = pa.array(p.reshape(-1))
    missing = pa.array(np.isnan(p).any(axis=1))
    arrays.append(pa.FixedSizeListArray.from_arrays(flat, len(names), mask=missing))
    if _STATE in schema.names:
        last = None if state is None else json.dumps(state)
        arrays.append(pa.array([None] * (len(rows) - 1) + [last], pa.string()))
    return pa.record_batch(arrays, schema=schema)


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
    except (*_ODD, TimelineError) as error:
        raise TimelineError(f"{path} is not a journal of moppet, or is damaged.") from error
    stateful = _STATE in schema.names
    if not schema.equals(_schema(names, b"", stateful)):
        raise TimelineError(f"{path} is a journal of another version of moppet.")
    batches: list[Any] = []
    complete_bytes = source.tell()
    while True:
        try:
            batch = pa.ipc.read_record_batch(pa.ipc.read_message(source), schema)
            batch.validate(full=True)
        except (pa.ArrowException, EOFError, OSError):
            return _Content(header, names, about, batches, complete_bytes, stateful)
        batches.append(batch)
        complete_bytes = source.tell()


def _matching(path: Path, wanted: Mapping[str, Any]) -> tuple[int, bool]:
    """Return the length of the complete batches in bytes, and whether they store a state."""
    content = _read(path)
    there = {"names": list(content.names), "header": content.header}
    if there == wanted:
        return content.complete_bytes, content.stateful
    keys = {*content.header, *wanted["header"]}
    odd = sorted(k for k in keys if content.header.get(k) != wanted["header"].get(k)) or ["names"]
    raise TimelineError(
        f"{path} cannot be resumed: it was started with another {', '.join(odd)}. "
        "Use the same settings and source, or start a new analysis."
    )
