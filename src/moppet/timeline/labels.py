"""Derive expression, group, confidence and the unsure flag from smoothed probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from moppet.timeline.schema import (
    OptionalColumns,
    RawColumns,
    RawRow,
    check_names,
    optional_of,
    raw_columns,
    table_columns,
    table_schema,
    valence,
)
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import CausalSmoother
from moppet.values import TimelineError, group_probabilities


def threshold(value: float) -> float:
    """Return a threshold rounded to float32, so that 0.35 in a column is not below 0.35."""
    return float(np.float32(value))


def poor_quality(
    status: NDArray[np.object_], quality: NDArray[np.floating[Any]], settings: TimelineSettings
) -> NDArray[np.bool_]:
    """Return which rows have too low a quality to start an episode.

    status: (n,), "low_quality" counts as poor. quality: (n,); NaN counts as good.
    """
    is_low = np.equal(status, "low_quality")
    return np.asarray(is_low | (quality < threshold(settings.low_quality_below)), dtype=np.bool_)


def labeled_table(
    columns: RawColumns,
    smoothed: NDArray[np.float32],
    settings: TimelineSettings,
    *,
    names: Sequence[str],
    group_of: Mapping[str, str],
) -> Any:
    """Return the table of a timeline from its raw columns and smoothed probabilities (n, k).

    A row gets the class and the group with the largest smoothed probability; ties go to the first,
    and the group is null if the classes without a group have the largest sum. A row of NaN is a
    face that was not classified, which is unsure.
    """
    known = ~np.isnan(smoothed).any(axis=1)
    plain = np.nan_to_num(smoothed)
    groups, sums = group_probabilities(plain, names, group_of)
    expression = np.array([*names, None], object)[np.where(known, plain.argmax(axis=1), -1)]
    group = np.array([*groups, None], object)[np.where(known, sums.argmax(axis=1), -1)]
    confidence = np.where(known, plain.max(axis=1), np.float32(np.nan))
    unsure = ~known | (confidence < threshold(settings.unsure_below))
    unsure |= poor_quality(columns["status"], columns["quality"], settings)
    readings = {x: columns[x] for x in "pd" if x in columns} | {"s": smoothed}
    shown = {name: column for name, column in columns.items() if name not in readings}
    for letter, values in readings.items():
        shown |= {f"{letter}_{name}": values[:, i] for i, name in enumerate(names)}
    shown |= {"expression": expression, "group": group, "confidence": confidence}
    shown |= {"valence": valence(smoothed, names)}
    schema = table_schema(names, optional_of(columns))
    arrays = {
        name: pa.array(column, schema.field(name).type, from_pandas=True)
        for name, column in shown.items()
    }
    arrays["unsure"] = pa.array(unsure, mask=np.isnan(columns["face_id"]))
    return pa.table([arrays[name] for name in schema.names], schema=schema)


def deciding(columns: RawColumns, settings: TimelineSettings) -> NDArray[np.float32]:
    """Return the probabilities (n, k) that are smoothed and decide: of observers, or the display.

    Raises TimelineError if the settings ask for the display reading, and there is none.
    """
    if settings.reading != "observers" and "d" not in columns:
        raise TimelineError(
            f"The settings ask for the reading {settings.reading!r}, but there are no columns "
            "d_<class>: the model has no display reading, or it was not written."
        )
    return columns["d"] if settings.reading == "display" else columns["p"]


def causal_table(
    table: Any, names: Sequence[str], group_of: Mapping[str, str], settings: TimelineSettings
) -> Any:
    """Return a timeline's table as a live stream gives its rows: smoothed with the past only."""
    columns = table_columns(table, names)
    smoothed = deciding(columns, settings).copy()
    smoother = CausalSmoother(settings)
    for i in np.flatnonzero(~np.isnan(smoothed).any(axis=1)):
        face_id, time_s = int(columns["face_id"][i]), float(columns["time_s"][i])
        smoothed[i] = smoother.update(face_id, time_s, smoothed[i], columns["quality"][i])
    return labeled_table(columns, smoothed, settings, names=names, group_of=group_of)


def live_rows(
    rows: Sequence[RawRow],
    smoother: CausalSmoother,
    *,
    names: Sequence[str],
    group_of: Mapping[str, str],
    settings: TimelineSettings,
    optional: OptionalColumns | None = None,
) -> list[dict[str, Any]]:
    """Return one frame's rows with all columns of the table, None for null, for a live stream.

    The rules are those of a timeline, but smoothing uses only the past. optional: the columns that
    the rows have besides; None for none.
    """
    columns = raw_columns(rows, check_names(names), optional)
    smoothed = deciding(columns, settings).copy()
    for i, row in enumerate(rows):
        face_id = row.get("face_id")
        if face_id is not None and not np.isnan(smoothed[i]).any():
            found = smoother.update(face_id, row["time_s"], smoothed[i], row.get("quality"))
            smoothed[i] = found
    table = labeled_table(columns, smoothed, settings, names=names, group_of=group_of)
    return cast(list[dict[str, Any]], table.to_pylist())
