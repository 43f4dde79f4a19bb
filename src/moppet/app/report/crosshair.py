"""The values under the crosshair, packed into the page for its script."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moppet.app.report.lanes import Drawing, Lane

NOTHING = 255


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(values.astype(np.uint8).tobytes()).decode("ascii")


def _pack_lane(lane: Lane, thinned: bool) -> dict[str, Any]:
    first, n = int(lane.at[0]), int(lane.at[-1] - lane.at[0]) + 1
    place = lane.at - first

    def spread(values: NDArray[Any], default: int) -> str:
        whole = np.full((n, *values.shape[1:]), default, dtype=np.int64)
        whole[place] = values
        return _packed(whole)

    def halves(curves: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(curves)
        return np.where(known, np.rint(np.clip(np.where(known, curves, 0), 0, 1) * 200), NOTHING)

    best = np.where(lane.expression < 0, NOTHING, lane.expression)
    packed = {
        "first": first,
        "flags": spread(1 + 2 * lane.unsure + 4 * lane.low_quality, 0),
        "best": spread(best, NOTHING),
        "mean": spread(halves(lane.mean), NOTHING),
    }
    return {**packed, "peak": spread(halves(lane.peak), NOTHING)} if thinned else packed


def pack_values(drawing: Drawing, names: Sequence[str]) -> str:
    """Return the lanes' values as JSON that is safe inside a script element.

    steps: milliseconds from one column to the next. Each lane from its column `first` on:
    probabilities as bytes of half a percent, 255 where there is none; flags 1 shows, 2 unsure,
    4 low quality.
    """
    columns = drawing.columns
    if columns is None:
        return "{}"
    thinned = columns.thinned
    ms = np.rint(columns.middle_s * 1000).astype(np.int64)
    data = {
        "span": columns.span_s,
        "steps": np.diff(ms, prepend=0).tolist(),
        "names": list(names),
        "lanes": {str(lane.face_id): _pack_lane(lane, thinned) for lane in drawing.lanes},
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c")
