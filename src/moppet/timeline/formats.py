"""Timeline files: Parquet, CSV with a .meta.json file, and JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from moppet.files import one_line, parse_json, replacing, write_bytes
from moppet.timeline.downsample import FrameThinner, thinning_step
from moppet.timeline.schema import (
    ALL_OPTIONAL,
    OptionalColumns,
    TableHashes,
    check_names,
    names_in,
    table_hashes,
    table_schema,
)
from moppet.values import TimelineError, UsageError

METADATA_KEY: Final = b"moppet"
VALUES: Final = "values_sha256"
"""Key of a .meta.json file: `TableHashes.values_sha256` of the CSV file that it belongs to."""
_MOST_COLUMNS: Final = 2000
_BATCH_ROWS: Final = 65_536
_NULLS: Final = ["", "NA", "NaN", "nan", "null"]


def write_table(path: Path, table: Any, metadata: Mapping[str, Any]) -> Path:
    """Write a valid table in the format given by the path's suffix; return the path.

    An existing file is replaced only after the new one is complete. Raises UsageError for an
    unknown suffix, TimelineError if the file cannot be written.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise UsageError(f"A timeline file must end in {', '.join(_WRITERS)}, got {path.name!r}.")
    writer(path, table, dict(metadata))
    return path


def read_table(path: Path) -> tuple[Any, dict[str, Any] | None]:
    """Return the unchecked table in a file and its metadata, None if it has none.

    Raises TimelineError if the file does not exist or cannot be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TimelineError(
            f"A timeline file must end in {', '.join(_READERS)}, got {path.name!r}."
        )
    try:
        regular = path.is_file()
    except ValueError:  # a name that no file can have
        regular = False
    except OSError as error:
        raise TimelineError(f"Cannot read {path}: {error.strerror}.") from None
    if not regular:
        raise TimelineError(f"A timeline is a file, but {path} is {_kind(path)}.")
    try:
        table, metadata = reader(path)
        _check_columns(table)
        return table, metadata
    except TimelineError:
        raise
    except Exception as error:  # Arrow and JSON each have many for a damaged file
        raise _failure(path, error) from error


MOST_VALUES: Final = 120_000_000
"""Rows times columns of a timeline that is read whole: over three million rows of seven classes,
30 hours of one face at 30 frames per second. Reading, exporting or comparing takes 1 GB a million
rows."""
MOST_JSON_VALUES: Final = 30_000_000
"""The same in JSON, whose values take four times as much."""


def check_values(path: Path, *, thin: bool = False) -> None:
    """Raise TimelineError if the table in a file has more values than memory should hold.

    thin: for `read_thinned_table`, which reads Parquet and CSV in parts. Files that cannot be read
    pass: reading them says why.
    """
    ending = path.suffix.lower()
    most = MOST_JSON_VALUES if ending == ".json" else MOST_VALUES
    try:
        if not path.is_file():  # a pipe may have no end
            return
        with path.open("rb") as file:
            if ending == ".json":
                values = sum(part.count(b",") for part in iter(lambda: file.read(1 << 20), b""))
            elif ending in _BATCHES and not thin:
                rows, columns, *_ = _BATCHES[ending](path, file)
                values = rows * len(columns)
            else:
                return
    except (OSError, LookupError, TypeError, ValueError):
        return
    if values > most:
        other = " and --format parquet" if ending == ".json" else ""
        raise TimelineError(
            f"{path} has some {values:,} values, rows times columns, but at most {most:,} are read "
            "at once. Analyze the recording in parts (--start, --end) or fewer of its frames "
            f"(--every {-(-values // most)}){other}."
        )


def read_thinned_table(
    path: Path,
) -> tuple[Any, dict[str, Any] | None, int, TableHashes | None]:
    """Return `read_table`, with every k-th frame of a very large Parquet or CSV file, and k.

    Last come the hashes of the whole file if it is thinned, else None. Only the rows that are kept
    are ever in memory. Raises TimelineError as `read_table` does.
    """
    open_batches = _BATCHES.get(path.suffix.lower())
    try:
        if open_batches is None or not path.is_file():
            return (*read_table(path), 1, None)
        with path.open("rb") as file:
            rows, columns, batches, metadata = open_batches(path, file)
            every = thinning_step(rows, len(columns))
            if every == 1:
                return (*read_table(path), 1, None)
            thinner, kept = FrameThinner(every), []
            names = names_in(columns) if metadata is None else metadata["names"]
            hashes = TableHashes(names, OptionalColumns.of(columns, names))
            for batch in batches:
                hashes.add(batch)
                kept.append(thinner.keep(batch))
            table = pa.Table.from_batches(kept)
            _check_columns(table)
    except TimelineError:
        raise
    except Exception as error:  # Arrow has many for a damaged file
        raise _failure(path, error) from error
    return table, metadata, every, hashes


def read_header(path: Path) -> tuple[list[str], dict[str, Any] | None]:
    """Return the names of a file's columns and its metadata, None if it has none.

    Of Parquet and CSV, no row is read. Raises TimelineError as `read_table` does.
    """
    open_batches = _BATCHES.get(path.suffix.lower())
    try:
        if open_batches is not None and path.is_file():
            with path.open("rb") as file:
                _, columns, _, metadata = open_batches(path, file)
                return list(columns), metadata
    except Exception as error:  # Arrow has many for a damaged file
        raise _failure(path, error) from error
    table, metadata = read_table(path)
    return table.column_names, metadata


_Batches = tuple[int, Sequence[str], Iterable[Any], dict[str, Any] | None]
"""Rows (at least), names of the columns, the rows in batches, and the metadata."""


def _parquet_batches(path: Path, stream: BinaryIO) -> _Batches:
    file = pq.ParquetFile(stream)
    raw = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
    metadata = None if raw is None else _load(raw, "its metadata")
    batches = file.iter_batches(batch_size=_BATCH_ROWS)
    return file.metadata.num_rows, file.schema_arrow.names, batches, metadata


def _csv_batches(path: Path, stream: BinaryIO) -> _Batches:
    metadata, convert = _csv_options(path)
    rows = sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b"")) - 1
    stream.seek(0)
    reader = pa_csv.open_csv(stream, convert_options=convert)
    return rows, reader.schema.names, reader, metadata


def _check_columns(table: Any) -> None:
    names = [str(field.name) for field in table.schema]
    _check_width(len(names))
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"it has the column {repeated[0]!r} twice")


def _kind(path: Path) -> str:
    with suppress(OSError, ValueError):
        if path.exists():
            return "a folder" if path.is_dir() else "a pipe or device"
    return "not there"


def _check_width(columns: int) -> None:
    if columns > _MOST_COLUMNS:
        raise ValueError(f"it has more than {_MOST_COLUMNS} columns")


def sidecar_path(path: Path) -> Path:
    """Return the path of a CSV file's metadata."""
    return path.with_suffix(".meta.json")


def _failure(path: Path, error: Exception) -> TimelineError:
    """Return what to raise for a file that cannot be read, or is damaged."""
    is_arrow = isinstance(error, pa.ArrowException)
    if isinstance(error, OSError) and error.strerror is not None and not is_arrow:
        return TimelineError(f"Cannot read {path}: {error.strerror}.")
    reason = one_line(error) or type(error).__name__
    return TimelineError(f"{path} is not a timeline, or is damaged: {reason}.")


def _write_parquet(path: Path, table: Any, metadata: dict[str, Any]) -> None:
    table = table.replace_schema_metadata({METADATA_KEY: _dump(metadata)})
    # Opened here: Arrow cannot open a name whose bytes are not text.
    with replacing(path, TimelineError) as part, part.open("wb") as file:
        pq.write_table(table, file, compression="zstd")


def _read_parquet(path: Path) -> tuple[Any, dict[str, Any] | None]:
    with path.open("rb") as file:
        stored = pq.ParquetFile(file)
        _check_width(stored.metadata.num_columns)
        table = stored.read()
    raw = (table.schema.metadata or {}).get(METADATA_KEY)
    return table, None if raw is None else _load(raw, "its metadata")


def _write_csv(path: Path, table: Any, metadata: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    pa_csv.write_csv(table, buffer)
    metadata = {VALUES: table_hashes(table, metadata["names"]).values_sha256, **metadata}
    # Both are written before one is replaced; a kill between is found by the hash.
    with replacing(sidecar_path(path), TimelineError) as part:
        part.write_bytes(_dump(metadata, indent=1))
        write_bytes(path, buffer.getvalue(), TimelineError)


def _read_csv(path: Path) -> tuple[Any, dict[str, Any] | None]:
    metadata, convert = _csv_options(path)
    with path.open("rb") as file:
        table = pa_csv.read_csv(file, convert_options=convert)
    return table, metadata


def _csv_options(path: Path) -> tuple[dict[str, Any] | None, Any]:
    """Return a CSV file's metadata, and how its cells are read."""
    with path.open("rb") as file:
        _check_width(file.readline(1 << 20).count(b",") + 1)
    sidecar = sidecar_path(path)
    metadata = _load(sidecar.read_bytes(), sidecar.name) if sidecar.is_file() else None
    if metadata is None:
        with path.open("rb") as file, pa_csv.open_csv(file) as reader:
            names = names_in(reader.schema.names)
    else:
        names = check_names(metadata["names"])
    convert = pa_csv.ConvertOptions(
        column_types=_types(names),
        null_values=_NULLS,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["true", "True", "TRUE", "1"],
        false_values=["false", "False", "FALSE", "0"],
    )
    return metadata, convert


def _types(names: Sequence[str]) -> dict[str, Any]:
    """Return column → type, of all that are read: valence is not, as it follows from others."""
    schema = table_schema(names, ALL_OPTIONAL)
    return {field.name: field.type for field in schema if field.name != "valence"}


def _write_json(path: Path, table: Any, metadata: dict[str, Any]) -> None:
    columns = {field.name: _short(table.column(field.name), field) for field in table.schema}
    write_bytes(path, _dump({"moppet": metadata, "columns": columns}), TimelineError)


def _read_json(path: Path) -> tuple[Any, dict[str, Any] | None]:
    content = _load(path.read_bytes(), "it")
    columns, metadata = content["columns"], content.get("moppet")
    names = names_in(columns) if metadata is None else check_names(metadata["names"])
    types = _types(names)
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values, types.get(name))
        except (pa.ArrowException, TypeError) as error:
            raise ValueError(f"its column {name!r} does not fit: {error}") from error
    return pa.table(arrays), metadata


def _short(column: Any, field: Any) -> list[Any]:
    """Return a column's values with the fewest digits that restore them exactly."""
    if field.type != pa.float32():
        return list(column.to_pylist())
    exact = column.cast(pa.float64())
    short = column.cast(pa.string()).cast(pa.float64())
    same = pc.equal(short.cast(pa.float32()), column)
    return list(pc.if_else(same, short, exact).to_pylist())


def _dump(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    separators = None if indent else (",", ":")
    text = json.dumps(
        content, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
    )
    return text.encode("utf-8")


def _load(data: bytes, where: str) -> dict[str, Any]:
    """Return a JSON object; ValueError, for a sentence about the file, if it is none."""
    try:
        content = parse_json(data, where, TimelineError)
    except TimelineError as error:
        raise ValueError(str(error)) from None
    if not isinstance(content, dict):
        raise ValueError(f"{where} is no JSON object")
    return content


_WRITERS: Final[dict[str, Callable[[Path, Any, dict[str, Any]], None]]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".json": _write_json,
}
_BATCHES: Final[dict[str, Callable[[Path, BinaryIO], _Batches]]] = {
    ".parquet": _parquet_batches,
    ".csv": _csv_batches,
}
_READERS: Final[dict[str, Callable[[Path], tuple[Any, dict[str, Any] | None]]]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".json": _read_json,
}
