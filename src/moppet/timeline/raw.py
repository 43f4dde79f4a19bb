"""The rows that an analysis hands over, before smoothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Required, TypedDict

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.schema import FACE_FLOATS, SUM_TOLERANCE, class_columns, numbers, texts, whole
from moppet.values import TimelineError

_NEEDED: Final = ("frame", "time_s", "status")
_KNOWN: Final = (*_NEEDED, "face_id", *FACE_FLOATS, "p")


class RawRow(TypedDict, total=False):
    """One face in one frame, or one frame without a face, before smoothing.

    A number that is missing, None or NaN is null in the table. A row of status "ok" or
    "low_quality" is a face and needs a face_id; any other row has no face and no face fields.
    p: (k,), the class probabilities in the order of the names; None if the face was not classified.
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


RawColumns = dict[str, NDArray[Any]]
"""A RawRow's fields as columns, NaN for missing; "p" is (n, k) float32."""


def table_columns(table: Any, names: Sequence[str]) -> RawColumns:
    """Return the columns that a timeline's table was made from."""
    return bare_columns(table) | {"p": class_columns(table, "p_", names)}


def bare_columns(table: Any) -> RawColumns:
    """Return all of them but "p"."""
    floats = {name: numbers(table, name).astype(np.float32) for name in FACE_FLOATS}
    return {
        "frame": whole(table, "frame"),
        "time_s": numbers(table, "time_s"),
        "face_id": numbers(table, "face_id"),
        "status": texts(table, "status"),
        **floats,
    }


def raw_columns(rows: Sequence[RawRow], names: Sequence[str]) -> RawColumns:
    """Return raw rows as columns in their order, NaN for missing; "p" is (n, k) float32.

    Raises TimelineError for an unknown or missing field and for probabilities that are none.
    """
    p = np.full((len(rows), len(names)), np.nan, dtype=np.float32)
    for i, row in enumerate(rows):
        if not row.keys() <= set(_KNOWN) or not row.keys() >= set(_NEEDED):
            raise TimelineError(
                f"A raw row needs {', '.join(_NEEDED)} and may have {', '.join(_KNOWN[3:])}, "
                f"but one has {', '.join(map(str, row))}."
            )
        values = row.get("p")
        if values is not None:
            p[i] = _probabilities(values, names, row["frame"])
    # Through float32, as the table holds them: the same answers after a round trip.
    floats = {name: np.array(_floats(rows, name), dtype=np.float32) for name in FACE_FLOATS}
    return {
        "frame": np.array([row["frame"] for row in rows], dtype=np.int64),
        "time_s": np.array([row["time_s"] for row in rows], dtype=np.float64),
        "face_id": np.array(_floats(rows, "face_id"), dtype=np.float64),
        "status": np.array([row["status"] for row in rows], dtype=np.object_),
        **floats,
        "p": p,
    }


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
