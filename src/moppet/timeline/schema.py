"""The columns of a timeline, the raw rows of an analysis, and checks for both."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Final, Required, TypedDict, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Interval
from numpy.typing import NDArray

from moppet.config import check_settings
from moppet.files import one_line
from moppet.values import GROUPS, STATUSES, TimelineError, nearest_name
from moppet.vocabulary import MOVEMENT_OF, expression_of, movement_range

_BOX: Final = ("box_x", "box_y", "box_w", "box_h")
FACE_FLOATS: Final = (*_BOX, "detection_score", "yaw", "pitch", "roll", "quality")
FACE_STATUSES: Final = ("ok", "low_quality")
_NEEDED: Final = ("frame", "time_s", "status")
_OPTIONAL: Final = ("face_id", *FACE_FLOATS, "p", "d", "m")
SUM_TOLERANCE: Final = 0.02
"""Tolerance for sums of probabilities; a table rounded to three digits passes."""

_HASHED_ROWS: Final = 65_536
_MOST_CLASSES: Final = 200
_SHARE: Final = (-1e-6, 1 + 1e-6)
_LIMITS: Final[dict[str, tuple[float, float]]] = {
    "frame": (0, 2**53),
    "time_s": (-1e9, 1e9),
    "face_id": (0, 2**31 - 1),
    **dict.fromkeys(_BOX, (-1e6, 1e6)),
    **dict.fromkeys(("detection_score", "quality", "confidence"), _SHARE),
    **dict.fromkeys(("yaw", "pitch", "roll"), (-360, 360)),
}
"""The values that a column can have: a box of a billion pixels is no face."""


@dataclass(frozen=True)
class _NamedFace:
    name: str
    role: str | None = None
    faces: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Metadata:
    """What is known of a timeline's metadata. Other keys are kept as they are."""

    names: tuple[str, ...]
    groups: dict[str, str]
    settings: dict[str, Any]
    source_name: str | None = None
    source_sha256: str | None = None
    model_name: str | None = None
    model_sha256: str | None = None
    detector: str | None = None
    moppet_version: str | None = None
    analyzed_at: str | None = None
    duration_s: Annotated[float, Interval(ge=0, le=1e9)] | None = None
    width: Annotated[int, Interval(ge=0, le=10**6)] | None = None
    height: Annotated[int, Interval(ge=0, le=10**6)] | None = None
    frame_count: Annotated[int, Interval(ge=0, le=2**53)] | None = None
    complete: bool | None = None
    people: dict[str, _NamedFace] | None = None
    cuts_s: tuple[float, ...] = ()
    clock: dict[str, Any] | None = None
    files: tuple[str, ...] = ()
    prior: dict[str, float] | None = None
    display_prior: dict[str, float] | None = None
    recording_info: dict[str, str | int | float] | None = None


RECORDING_INFO: Final = "recording_info"
"""Key of the metadata: what a list of recordings has of this one, value by column."""


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise UsageError, in one sentence, if a known key of the metadata has a wrong value."""
    check_settings(_Metadata, metadata, others="ignore")


def photo_files(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the images of a set of photos, by frame; () for a film.

    The frames of such a timeline follow one another by number, but have no time.
    """
    settings = metadata.get("settings")
    is_film = isinstance(settings, Mapping) and settings.get("sequence")
    return () if is_film else tuple(metadata.get("files") or ())


FRAME_FIELDS: Final = (
    ("frame", pa.int64()),
    ("time_s", pa.float64()),
    ("face_id", pa.int32()),
    ("status", pa.string()),
    *((name, pa.float32()) for name in FACE_FLOATS),
)
"""Name and type of the columns that do not depend on the classes."""

MOVEMENT: Final = "m_"
"""What the name of a movement's column starts with; the rest is a name in MOVEMENT_OF."""


@dataclass(frozen=True, slots=True)
class OptionalColumns:
    """The columns that only some models, or settings, give.

    display: whether there is the display reading, d_<class>. movements: of the columns m_<name>,
    in their order; see `moppet.vocabulary.MOVEMENT_OF`.
    """

    display: bool = False
    movements: tuple[str, ...] = ()

    @classmethod
    def of(cls, columns: Iterable[str], names: Sequence[str]) -> OptionalColumns:
        """Return which of them are among these columns of a timeline with these classes."""
        columns = list(columns)
        movements = (column[2:] for column in columns if column.startswith(MOVEMENT))
        known = tuple(name for name in movements if name in MOVEMENT_OF)
        return cls(any(f"d_{name}" in columns for name in names), known)

    @property
    def prefixes(self) -> str:
        """The letters that the columns of classes start with, in their order."""
        return "pds" if self.display else "ps"


ALL_OPTIONAL: Final = OptionalColumns(True, tuple(MOVEMENT_OF))


def table_schema(names: Sequence[str], optional: OptionalColumns | None = None) -> Any:
    """Return the Arrow schema of a timeline with these classes. optional: None for none."""
    optional = optional or OptionalColumns()
    classes = [(f"{x}_{name}", pa.float32()) for x in optional.prefixes for name in names]
    labels = [("expression", pa.string()), ("group", pa.string()), ("confidence", pa.float32())]
    labels += [("unsure", pa.bool_()), ("valence", pa.float32())]
    movements = [(MOVEMENT + name, pa.float32()) for name in optional.movements]
    return pa.schema([*FRAME_FIELDS, *classes, *labels, *movements])


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the class names as a tuple; TimelineError if they are not valid column names."""
    if not 1 <= len(names) <= _MOST_CLASSES or len(set(names)) < len(names):
        raise TimelineError(
            f"A timeline needs 1 to {_MOST_CLASSES} different classes, got {len(names)}."
        )
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name) <= 100 or not name.isprintable():
            raise TimelineError(
                "The name of a class must consist of 1 to 100 printable characters, got "
                f"{one_line(repr(name), 60)}."
            )
    return tuple(names)


def names_in(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the classes in the names of the p_ columns, in order."""
    return tuple(column[2:] for column in columns if column.startswith("p_") and column[2:])


def conform(table: Any, names: Sequence[str], where: str = "the table") -> Any:
    """Return `table` with the columns and types of the schema, sorted by frame and face.

    Other columns are dropped and NaN becomes null. The valence follows from the other columns:
    timelines of earlier versions get it, too. Raises TimelineError if a column is missing (with
    the most similar existing name), has a wrong type or contains an invalid value.
    """
    optional = OptionalColumns.of(table.column_names, names)
    schema = table_schema(names, optional)
    read = {f.name: _column(table, f, schema.names, where) for f in schema if f.name != "valence"}
    smoothed = np.column_stack([read[f"s_{name}"].to_numpy() for name in names])
    read["valence"] = pa.array(valence(smoothed, names), pa.float32(), from_pandas=True)
    columns = [read[name] for name in schema.names]
    table = pa.table(columns, schema=schema).combine_chunks()
    for name in _NEEDED:
        if table.column(name).null_count:
            raise TimelineError(f"The column {name!r} of {where} must have a value in every row.")
    face = numbers(table, "face_id")
    order = np.lexsort((np.nan_to_num(face, nan=-1), integers(table, "frame")))
    if bool((np.diff(order) < 0).any()):
        table = table.take(pa.array(order))
    if table.num_rows:
        _check_rows(table, where, optional.movements)
        _check_probabilities(table, names, where, optional.prefixes)
    return table


def valence(smoothed: NDArray[np.floating[Any]], names: Sequence[str]) -> NDArray[np.float32]:
    """Return (n,) how pleasant a face looks, from -1 to 1; NaN where it is undefined.

    It is the probability of happiness less the largest one of a negative expression, as FaceReader
    defines it (Noldus, FaceReader methodology). smoothed: (n, k), NaN for missing. It is undefined
    for a model that lacks happiness or has no negative expression.
    """
    meant = [expression_of(name) for name in names]
    happy = [i for i, name in enumerate(meant) if name == "happiness"]
    negative = [i for i, name in enumerate(meant) if name and GROUPS[name] == "negative"]
    if len(happy) != 1 or not negative:
        return np.full(len(smoothed), np.nan, np.float32)
    p = smoothed.astype(np.float32)
    return np.asarray(p[:, happy[0]] - p[:, negative].max(axis=1), np.float32)


def _column(table: Any, field: Any, wanted: Sequence[str], where: str) -> Any:
    if field.name not in table.column_names:
        spare = [name for name in table.column_names if name not in wanted]
        near = nearest_name(field.name, spare)
        hint = f"did you mean {near!r}?" if near else "is it a timeline?"
        raise TimelineError(
            f"A timeline needs the column {field.name!r}, but {where} has none; {hint}"
        )
    column = table.column(field.name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    # pandas stores integers with missing values as floats; a cast that loses a fraction fails.
    if _kind(column.type) not in ("null", _kind(field.type)):
        raise TimelineError(
            f"The column {field.name!r} of a timeline holds {field.type}, "
            f"but in {where} it holds {column.type}."
        )
    try:
        column = column.cast(field.type)
    except pa.ArrowException as error:
        raise TimelineError(
            f"The column {field.name!r} of {where} does not fit {field.type}: {error}."
        ) from error
    if pa.types.is_floating(field.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
        if pc.any(pc.is_inf(column)).as_py():
            raise TimelineError(f"The column {field.name!r} of {where} contains infinite numbers.")
    return column


def _kind(of: pa.DataType) -> str:
    kinds = pa.types
    if kinds.is_string(of) or kinds.is_large_string(of) or kinds.is_string_view(of):
        return "text"
    return "number" if kinds.is_integer(of) or kinds.is_floating(of) else str(of)


def _check_rows(table: Any, where: str, movements: Sequence[str]) -> None:
    frame, status = integers(table, "frame"), texts(table, "status")
    ranges = {MOVEMENT + name: movement_range(name) for name in movements}
    for name, (low, high) in (_LIMITS | ranges).items():
        values = numbers(table, name)
        odd = (values < low) | (values > high)
        _refuse(odd, frame, where, f"has a {name} outside {low:g} and {high:g}")
    unknown = sorted({str(value) for value in set(status)} - set(STATUSES))
    if unknown:
        raise TimelineError(
            f"The status must be one of {', '.join(STATUSES)}, but {where} has {unknown[0]!r}."
        )
    is_face = np.isin(status, FACE_STATUSES)
    has_id = ~np.isnan(numbers(table, "face_id"))
    _refuse(is_face & ~has_id, frame, where, "has a face without a face_id")
    filled = [present(table, name) for name in table.column_names if name not in _NEEDED]
    _refuse(~is_face & np.any(filled, axis=0), frame, where, "has no face but contains face values")
    same = np.equal(frame[1:], frame[:-1])
    twice = same & ~(is_face[1:] & is_face[:-1] & (np.diff(numbers(table, "face_id")) > 0))
    _refuse(np.r_[False, twice], frame, where, "has a face, or no face, twice")
    moved = same & (np.diff(numbers(table, "time_s")) != 0)
    _refuse(np.r_[False, moved], frame, where, "has two different times")
    _refuse(is_face & ~present(table, "unsure"), frame, where, "has a face without 'unsure'")


def _check_probabilities(table: Any, names: Sequence[str], where: str, prefixes: str) -> None:
    frame = integers(table, "frame")
    missing = {}
    for prefix in (f"{letter}_" for letter in prefixes):
        values = class_columns(table, prefix, names)
        empty = np.isnan(values).all(axis=1)
        _refuse(np.isnan(values).any(axis=1) & ~empty, frame, where, f"lacks some {prefix} values")
        outside = (values < -1e-6) | (values > 1 + 1e-6)
        _refuse(outside.any(axis=1), frame, where, f"has {prefix} values outside 0 and 1")
        total = values.sum(axis=1, dtype=np.float64)
        wrong = ~empty & (np.abs(total - 1) > SUM_TOLERANCE)
        _refuse(wrong, frame, where, f"has {prefix} values that do not sum to 1")
        missing[prefix] = empty
    stray = sorted(set(texts(table, "expression")) - {None, *names})
    if stray:
        raise TimelineError(
            f"The column 'expression' of {where} has {stray[0]!r}, which is not one of its classes "
            f"({', '.join(names)})."
        )
    named = present(table, "expression")
    unlike = (missing["p_"] != missing["s_"]) | (missing["s_"] == named)
    unlike |= missing.get("d_", missing["s_"]) != missing["s_"]
    unlike |= named != present(table, "confidence")
    _refuse(unlike, frame, where, "has only some of probabilities, expression and confidence")


def _refuse(bad: Any, frame: NDArray[np.int64], where: str, what: str) -> None:
    """Raise TimelineError for the first row where `bad` is true."""
    if bad.any():
        raise TimelineError(f"Frame {int(frame[int(np.argmax(bad))])} of {where} {what}.")


def rows_of_faces(
    face: NDArray[np.float64], time_s: NDArray[np.float64]
) -> dict[int, NDArray[np.int64]]:
    """Return face_id → its rows in order of time. face: (n,), NaN for none; time_s: (n,)."""
    order = np.lexsort((time_s, face))[: int((~np.isnan(face)).sum())]
    ids, first = np.unique(face[order], return_index=True)
    parts = np.split(order, first[1:])
    return dict(zip(ids.astype(int).tolist(), parts, strict=False))  # no face: one empty part


def present(table: Any, name: str) -> NDArray[np.bool_]:
    """Return where a column is not null."""
    return np.asarray(table.column(name).is_valid().to_numpy(), dtype=np.bool_)


def integers(table: Any, name: str) -> NDArray[np.int64]:
    """Return a column of integers without nulls."""
    return np.asarray(table.column(name).to_numpy(), dtype=np.int64)


def numbers(table: Any, name: str) -> NDArray[np.float64]:
    """Return a column of numbers, NaN for null."""
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)


def texts(table: Any, name: str) -> NDArray[np.object_]:
    """Return a column of strings, None for null; equal strings are one object."""
    column = table.column(name)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    words = column.dictionary_encode()
    known = np.array([*words.dictionary.to_pylist(), None], np.object_)
    place = pc.fill_null(words.indices, len(known) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(known[place])


def codes(table: Any, name: str, words: Sequence[str]) -> NDArray[np.int64]:
    """Return the index of each row's word in words, -1 for null or another word."""
    found = pc.index_in(table.column(name), value_set=pa.array(words, pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)


def flags(table: Any, name: str) -> NDArray[np.bool_]:
    """Return a column of booleans, False for null."""
    return np.asarray(table.column(name).fill_null(False).to_numpy(), dtype=np.bool_)


class TableHashes:
    """Hashes of the faces in a table, which is given in batches of rows in their order.

    names: the classes. Columns besides those of a timeline, and how values are written, change
    nothing.
    """

    def __init__(self, names: Sequence[str], optional: OptionalColumns) -> None:
        self._columns = ["frame", "face_id", "time_s", *FACE_FLOATS, "confidence"]
        self._columns += [f"{prefix}_{name}" for prefix in optional.prefixes for name in names]
        self._columns += [MOVEMENT + name for name in optional.movements]
        self._tracks, self._values = hashlib.sha256(), hashlib.sha256()

    def add(self, table: Any) -> None:
        """Add the next rows: a table, or a record batch."""
        batches = table.to_batches(_HASHED_ROWS) if isinstance(table, pa.Table) else [table]
        for batch in batches:
            columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in self._columns]
            rows = np.nan_to_num(np.column_stack(columns).astype("<f8"), nan=-1)
            faces = rows[rows[:, 1] >= 0]
            self._tracks.update(faces[:, :2].tobytes())
            self._values.update(faces.tobytes())

    @property
    def tracks_sha256(self) -> str:
        """The hash of which face is in which frame."""
        return self._tracks.hexdigest()

    @property
    def values_sha256(self) -> str:
        """The hash of what was read of the faces, too."""
        return self._values.hexdigest()


def table_hashes(table: Any, names: Sequence[str]) -> TableHashes:
    """Return the hashes of a whole table."""
    found = TableHashes(names, OptionalColumns.of(table.column_names, names))
    found.add(table)
    return found


def class_columns(table: Any, prefix: str, names: Sequence[str]) -> NDArray[np.float32]:
    """Return the (n, k) columns p_<name>, d_<name>, s_<name> or m_<name>, NaN for null."""
    columns = [table.column(prefix + name).to_numpy() for name in names]
    if not columns:
        return np.empty((table.num_rows, 0), np.float32)
    return np.column_stack(columns).astype(np.float32, copy=False)


def plain(value: Any) -> Any:
    """Return metadata as JSON values: NaN becomes None, paths become text, tuples become lists."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    raise TimelineError(
        f"Metadata may contain text, numbers, booleans, lists and dictionaries, got {value!r}."
    )


class RawRow(TypedDict, total=False):
    """One face in one frame, or one frame without a face, before smoothing.

    Missing numbers, None and NaN are null in the table. A row with status "ok" or "low_quality" is
    a face and needs a face_id; other rows have no face fields.
    p: (k,), class probabilities in the order of the names; None if the face was not classified.
    d: (k,), those of the display reading. m: (m,), facial movements, in their order.
    """

    frame: Required[int]
    time_s: Required[float]
    status: Required[str]
    face_id: int | None
    box_x: float | None
    box_y: float | None
    box_w: float | None
    box_h: float | None
    detection_score: float | None
    yaw: float | None
    pitch: float | None
    roll: float | None
    quality: float | None
    p: Sequence[float] | NDArray[np.floating[Any]] | None
    d: Sequence[float] | NDArray[np.floating[Any]] | None
    m: Sequence[float] | NDArray[np.floating[Any]] | None


RawColumns = dict[str, NDArray[Any]]
"""A RawRow's fields as columns, NaN for missing: "p" is (n, k) float32, as is "d" if there is a
display reading. Each movement has a column of its own, "m_<name>"."""


def table_columns(table: Any, names: Sequence[str]) -> RawColumns:
    """Return the raw columns of a timeline's table."""
    optional = OptionalColumns.of(table.column_names, names)
    movements = [MOVEMENT + name for name in optional.movements]
    return {
        **bare_columns(table),
        **{x: class_columns(table, f"{x}_", names) for x in optional.prefixes if x != "s"},
        **{name: numbers(table, name).astype(np.float32) for name in movements},
    }


def bare_columns(table: Any) -> RawColumns:
    """Return the raw columns without those that a model gives."""
    floats = {name: numbers(table, name).astype(np.float32) for name in FACE_FLOATS}
    return {
        "frame": integers(table, "frame"),
        "time_s": numbers(table, "time_s"),
        "face_id": numbers(table, "face_id"),
        "status": texts(table, "status"),
        **floats,
    }


def raw_columns(
    rows: Sequence[RawRow], names: Sequence[str], optional: OptionalColumns | None = None
) -> RawColumns:
    """Return raw rows as columns, NaN for missing values; "p" is (n, k) float32.

    optional: what the columns have besides; rows may have more, which is left out. None for none.
    Raises TimelineError for an unknown or missing field, or invalid probabilities.
    """
    optional = optional or OptionalColumns()
    for row in rows:
        if not set(_NEEDED) <= row.keys() <= {*_NEEDED, *_OPTIONAL}:
            raise TimelineError(
                f"A raw row needs {', '.join(_NEEDED)} and may have {', '.join(_OPTIONAL)}, "
                f"but one has {', '.join(map(str, row))}."
            )
    # Rounded to float32 as in the table, so that results do not change after a round trip.
    floats = {name: np.array(_floats(rows, name), dtype=np.float32) for name in FACE_FLOATS}
    movements = _movements(rows, optional.movements).T
    return {
        "frame": np.array([row["frame"] for row in rows], dtype=np.int64),
        "time_s": np.array([row["time_s"] for row in rows], dtype=np.float64),
        "face_id": np.array(_floats(rows, "face_id"), dtype=np.float64),
        "status": np.array([row["status"] for row in rows], dtype=np.object_),
        **floats,
        **{key: _readings(rows, key, names) for key in optional.prefixes if key != "s"},
        **{MOVEMENT + x: column for x, column in zip(optional.movements, movements, strict=True)},
    }


def optional_of(columns: RawColumns) -> OptionalColumns:
    """Return which optional columns there are among raw columns."""
    movements = (name[2:] for name in columns if name.startswith(MOVEMENT))
    return OptionalColumns("d" in columns, tuple(movements))


def _readings(rows: Sequence[RawRow], key: str, names: Sequence[str]) -> NDArray[np.float32]:
    found = np.full((len(rows), len(names)), np.nan, dtype=np.float32)
    for i, row in enumerate(rows):
        values = cast(Mapping[str, Any], row).get(key)
        if values is not None:
            found[i] = _probabilities(values, names, row["frame"])
    return found


def _movements(rows: Sequence[RawRow], names: Sequence[str]) -> NDArray[np.float32]:
    found = np.full((len(rows), len(names)), np.nan, dtype=np.float32)
    for i, row in enumerate(rows):
        values = row.get("m") if names else None
        if values is not None:
            if len(values) != len(names):
                raise TimelineError(
                    f"Frame {row['frame']} has {len(values)} movements, "
                    f"but there are {len(names)} ({', '.join(names)})."
                )
            found[i] = values
    return found


def _floats(rows: Sequence[RawRow], name: str) -> list[Any]:
    values = [row.get(name) for row in rows]
    return [math.nan if value is None else value for value in values]


def _probabilities(values: Any, names: Sequence[str], frame: int) -> NDArray[np.float32]:
    if len(values) != len(names):
        raise TimelineError(
            f"Frame {frame} has {len(values)} probabilities, "
            f"but there are {len(names)} classes ({', '.join(names)})."
        )
    p = np.asarray(values, dtype=np.float32)
    if not (abs(float(p.sum()) - 1) <= SUM_TOLERANCE and float(p.min()) >= 0):
        raise TimelineError(
            f"The probabilities of frame {frame} must be 0 or more and sum to 1, "
            f"but are {[round(float(value), 4) for value in values]}."
        )
    return p
