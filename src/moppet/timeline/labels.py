"""Derive expression, group, confidence and the unsure flag from smoothed probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from moppet.timeline.schema import RawColumns, RawRow, check_names, raw_columns, table_schema
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import CausalSmoother
from moppet.values import group_probabilities


class Labels(NamedTuple):
    """The labels of n faces.

    expression, group: (n,) names, None if not classified; group is also None if the classes without
    a group have the largest sum. confidence: (n,) probability of the expression. unsure: (n,).
    """

    expression: NDArray[np.object_]
    group: NDArray[np.object_]
    confidence: NDArray[np.float32]
    unsure: NDArray[np.bool_]


def threshold(value: float) -> float:
    """Return a threshold rounded to float32, so that 0.35 in a column is not below 0.35."""
    return float(np.float32(value))


def poor_quality(
    low_quality: NDArray[np.bool_], quality: NDArray[np.float64], settings: TimelineSettings
) -> NDArray[np.bool_]:
    """Return which rows have too low a quality to start an episode.

    low_quality: (n,), whether the status is "low_quality". quality: (n,); NaN counts as good.
    """
    return low_quality | (quality < threshold(settings.low_quality_below))


def assign_labels(
    smoothed: NDArray[np.float32],
    low_quality: NDArray[np.bool_],
    quality: NDArray[np.float64],
    settings: TimelineSettings,
    *,
    names: Sequence[str],
    group_of: Mapping[str, str],
) -> Labels:
    """Return the class and the group with the largest smoothed probability, and whether unsure.

    smoothed: (n, k); a row of NaN is a face that was not classified, which is unsure.
    Ties go to the first class and the first group.
    """
    known = ~np.isnan(smoothed).any(axis=1)
    plain = np.nan_to_num(smoothed)
    winner = np.where(known, plain.argmax(axis=1), -1)
    groups, sums = group_probabilities(plain, names, group_of)
    confidence = np.where(known, smoothed[np.arange(len(smoothed)), winner], np.float32(np.nan))
    unsure = ~known | (confidence < threshold(settings.unsure_below))
    return Labels(
        np.array([*names, None], dtype=np.object_)[winner],
        np.array([*groups, None], dtype=np.object_)[np.where(known, sums.argmax(axis=1), -1)],
        confidence,
        unsure | poor_quality(low_quality, quality, settings),
    )


def labeled_table(
    columns: RawColumns,
    smoothed: NDArray[np.float32],
    settings: TimelineSettings,
    *,
    names: Sequence[str],
    group_of: Mapping[str, str],
) -> Any:
    """Return the table of a timeline from its raw columns and smoothed probabilities (n, k)."""
    low, quality = np.equal(columns["status"], "low_quality"), columns["quality"]
    labels = assign_labels(smoothed, low, quality, settings, names=names, group_of=group_of)
    arrays = [pa.array(column, from_pandas=True) for name, column in columns.items() if name != "p"]
    for p in (columns["p"], smoothed):
        arrays += [pa.array(column, from_pandas=True) for column in p.T]
    arrays += [pa.array(labels.expression, pa.string()), pa.array(labels.group, pa.string())]
    arrays.append(pa.array(labels.confidence, from_pandas=True))
    arrays.append(pa.array(labels.unsure, mask=np.isnan(columns["face_id"])))
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
