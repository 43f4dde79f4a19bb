"""Derive expression, group, confidence and the unsure flag from smoothed probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from moppet.timeline.schema import RawColumns, RawRow, check_names, raw_columns, table_schema
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import CausalSmoother
from moppet.values import group_probabilities


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
    shown = [column for name, column in columns.items() if name != "p"]
    shown += [*columns["p"].T, *smoothed.T]
    arrays = [pa.array(column, from_pandas=True) for column in shown]
    arrays += [pa.array(expression, pa.string()), pa.array(group, pa.string())]
    arrays.append(pa.array(confidence, from_pandas=True))
    arrays.append(pa.array(unsure, mask=np.isnan(columns["face_id"])))
    schema = table_schema(names)
    return pa.table([a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema)


def live_rows(
    rows: Sequence[RawRow],
    smoother: CausalSmoother,
    *,
    names: Sequence[str],
    group_of: Mapping[str, str],
    settings: TimelineSettings,
) -> list[dict[str, Any]]:
    """Return one frame's rows with all columns of the table, None for null, for a live stream.

    The rules are those of a timeline, but smoothing uses only the past.
    """
    columns = raw_columns(rows, check_names(names))
    smoothed = columns["p"].copy()
    for i, row in enumerate(rows):
        p, face_id = row.get("p"), row.get("face_id")
        if p is not None and face_id is not None:
            smoothed[i] = smoother.update(face_id, row["time_s"], p, row.get("quality"))
    table = labeled_table(columns, smoothed, settings, names=names, group_of=group_of)
    return cast(list[dict[str, Any]], table.to_pylist())
