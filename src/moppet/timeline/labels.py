"""Derive expression, group, confidence and the unsure flag from smoothed probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.schema import FACE_FLOATS, FACE_STATUSES, RawRow, check_names
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
    return [_live_row(row, smoother, check_names(names), group_of, settings) for row in rows]


def _live_row(
    row: RawRow,
    smoother: CausalSmoother,
    names: tuple[str, ...],
    group_of: Mapping[str, str],
    settings: TimelineSettings,
) -> dict[str, Any]:
    raw: Mapping[str, Any] = row
    filled: dict[str, Any] = {key: raw.get(key) for key in ("frame", "time_s", "face_id", "status")}
    filled |= {key: _none_if_nan(raw.get(key)) for key in FACE_FLOATS}
    filled |= {f"{prefix}_{name}": None for prefix in "ps" for name in names}
    filled |= {"expression": None, "group": None, "confidence": None, "unsure": None}
    if row["status"] not in FACE_STATUSES:
        return filled
    smoothed = np.full((1, len(names)), np.nan, dtype=np.float32)
    p = raw.get("p")
    if p is not None:
        smoothed[0] = smoother.update(raw["face_id"], row["time_s"], p, filled["quality"])
        for prefix, values in (("p", p), ("s", smoothed[0])):
            pairs = zip(names, values, strict=True)
            filled |= {f"{prefix}_{name}": float(value) for name, value in pairs}
    quality = np.array([np.nan if filled["quality"] is None else filled["quality"]])
    low = np.array([row["status"] == "low_quality"])
    labels = assign_labels(smoothed, low, quality, settings, names=names, group_of=group_of)
    filled["unsure"] = bool(labels.unsure[0])
    if p is not None:
        filled["expression"] = labels.expression[0]
        filled["group"] = labels.group[0]
        filled["confidence"] = float(labels.confidence[0])
    return filled


def _none_if_nan(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
