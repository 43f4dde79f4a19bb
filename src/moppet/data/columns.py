"""The columns of a manifest: their types, and the rules that every row keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moppet.values import EXPRESSIONS, MoppetError

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
    """Return class names in a manifest's order: EXPRESSIONS' first, others alphabetical after."""
    given = set(names)
    return (*(e for e in EXPRESSIONS if e in given), *sorted(given - set(EXPRESSIONS)))


def conform(table: Any, names: Sequence[str]) -> Any:
    """Return the table with every column of SCHEMA in order, extra columns after them.

    A column that is missing is null, a missing weight 1.
    Raises MoppetError for columns of another type and for rows that break a rule.
    """
    twice = sorted({c for c in table.column_names if table.column_names.count(c) > 1})
    if twice:
        raise MoppetError(f"A manifest has each column once, but {', '.join(twice)} comes twice.")
    extra = [name for name in table.column_names if name not in SCHEMA.names]
    columns = {field.name: _cast(table, field) for field in SCHEMA}
    columns["weight"] = pc.fill_null(columns["weight"], pa.scalar(1, pa.float32()))
    columns["source"] = pc.fill_null(columns["source"], "")
    table = pa.table(columns | {name: table.column(name) for name in extra})
    _check_names(names)
    _check_rows(table, names)
    return table


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
            f"A manifest's column {field.name!r} holds {field.type}, but {column.type} came."
        ) from None


def _check_names(names: Sequence[str]) -> None:
    odd = [name for name in names if not isinstance(name, str) or not name or name != name.strip()]
    if odd or tuple(names) != order_names(names):
        raise MoppetError(
            "A manifest's classes are different words, the seven expressions first in their "
            f"fixed order and others alphabetical after; {', '.join(map(repr, names))} came."
        )


def _check_rows(table: Any, names: Sequence[str]) -> None:
    """Raise MoppetError naming the first row that breaks a rule, counted from 0."""
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
        raise MoppetError("A manifest's votes are numbers from 0, but others came.")


def _refuse(table: Any, column: str, wrong: Any, needed: str) -> None:
    row = pc.index(pc.fill_null(wrong, False), True).as_py()
    if row >= 0:
        value = table[column][row].as_py()
        raise MoppetError(
            f"A manifest's column {column!r} needs {needed}, but row {row} has {value!r}."
        )
