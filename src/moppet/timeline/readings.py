"""The two readings of a face: smooth the probabilities of either over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moppet.timeline.schema import RawColumns, bare_columns, class_columns, rows_of_faces
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import smooth_face


def smooth_columns(
    columns: RawColumns, p: NDArray[np.float32], settings: TimelineSettings
) -> NDArray[np.float32]:
    """Return probabilities (n, k), smoothed over time for each face.

    columns: the raw columns of the rows. p: (n, k), NaN in rows without probabilities.
    """
    smoothed = p.copy()
    time_s = columns["time_s"]
    classified = np.where(np.isnan(p).any(axis=1), np.nan, columns["face_id"])
    for rows in rows_of_faces(classified, time_s).values():
        quality = columns["quality"][rows].astype(np.float64)
        smoothed[rows] = smooth_face(time_s[rows], p[rows], quality, settings)
    return smoothed


def second_reading(table: Any, names: Sequence[str], settings: TimelineSettings) -> str | None:
    """Return the reading that is in a timeline beside the one that decides; None if none is."""
    if any(f"d_{name}" not in table.column_names for name in names):
        return None
    return "observers" if settings.reading == "display" else "display"


def second_probabilities(
    table: Any, names: Sequence[str], settings: TimelineSettings
) -> NDArray[np.float32]:
    """Return (n, k) the probabilities of `second_reading`, smoothed as the columns s_<class> are.

    The shape is (n, 0) for a timeline with one reading. table: of a film, in any order.
    """
    reading = second_reading(table, names, settings)
    if reading is None:
        return np.empty((table.num_rows, 0), np.float32)
    raw = class_columns(table, "d_" if reading == "display" else "p_", names)
    return smooth_columns(bare_columns(table), raw, settings)
