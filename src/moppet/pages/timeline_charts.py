"""Paths of a timeline's charts: a ribbon of groups and one strip for each expression."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.palette import expression_class, group_class
from moppet.timeline.downsample import (
    FACE,
    UNREADABLE,
    Columns,
    Drawing,
    Integers,
    Lane,
    Numbers,
)
from moppet.timeline.time_axis import format_time, time_ticks

RIBBON_PX = 30
STRIPS_FROM_PX = 48
STRIP_PX = 40
CURVE_PX = 32
"""Heights: the ribbon, where the strips begin, one strip with its margin, its curve."""

UNITS_PER_PX = 10
WIDTH = 24_000
"""Integers-number units across, so that paths stay short; the browser stretches them."""


class Axis:
    """Seconds to units across."""

    def __init__(self, columns: Columns) -> None:
        self.start_s, self.end_s = columns.span_s
        self.span_s = self.end_s - self.start_s
        self.is_moment = len(columns.middle_s) == 1

    def units(self, seconds: Numbers) -> Integers:
        """Return rounded units of times."""
        share = (seconds - self.start_s) / self.span_s
        return np.rint(np.clip(share, 0, 1) * WIDTH).astype(np.int64)

    @cached_property
    def ticks(self) -> list[tuple[float, str]]:
        """The place in percent and the text of every tick."""
        if self.is_moment:  # a single image has no length: the chart's width means nothing
            return [(0.0, format_time(self.start_s, 0.01))]
        ticks = time_ticks(self.start_s, self.end_s)
        return [(100 * (time_s - self.start_s) / self.span_s, text) for time_s, text in ticks]


def _stretches(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last index of every stretch of true."""
    edge = np.diff(np.r_[0, mask.astype(np.int8), 0])
    return list(
        zip(np.flatnonzero(edge == 1).tolist(), np.flatnonzero(edge == -1).tolist(), strict=True)
    )


def _unbroken(columns: Columns, at: Integers) -> list[tuple[int, int]]:
    """First and one past the last position of every stretch without a gap."""
    whole = (np.diff(at) == 1) & columns.joined[at[1:]]
    cuts = np.flatnonzero(~whole) + 1
    bounds = [0, *cuts.tolist(), len(at)]
    return list(pairwise(bounds))


class LanePainter:
    """Paths of one lane in units."""

    def __init__(self, axis: Axis, columns: Columns, lane: Lane) -> None:
        self.lane = lane
        self.runs = _unbroken(columns, lane.at)
        self.left = axis.units(columns.left_s[lane.at])
        self.right = axis.units(columns.right_s[lane.at])
        self.middle = axis.units(columns.middle_s[lane.at])

    def boxes(self, mask: NDArray[np.bool_], top_px: float, height_px: float) -> str:
        """Return one path of boxes where mask holds, at least a hair wide."""
        y, h = round(top_px * UNITS_PER_PX), round(height_px * UNITS_PER_PX)
        parts = []
        for start, stop in self.runs:
            for a, b in _stretches(mask[start:stop]):
                x = self.left[start + a]
                w = max(int(self.right[start + b - 1] - x), 4)
                parts.append(f"M{x} {y}h{w}v{h}h-{w}z")
        return "".join(parts)

    def curve(self, values: Numbers, top_px: float, *, filled: bool) -> str:
        """Return the path of a curve in [0, 1]; it breaks wherever a value is missing."""
        base = round((top_px + CURVE_PX) * UNITS_PER_PX)
        height = CURVE_PX * UNITS_PER_PX
        known = np.isfinite(values)
        y = np.rint(base - np.clip(np.where(known, values, 0), 0, 1) * height).astype(np.int64)
        parts = []
        for start, stop in self.runs:
            for a, b in _stretches(known[start:stop]):
                parts.append(self._line(y, start + a, start + b, base if filled else None))
        return "".join(parts)

    def area(self, values: Numbers, base_px: float, reach_px: float, *, filled: bool = True) -> str:
        """Return a small curve of values in [-1, 1] in half pixels, filled to its 0 at base_px."""
        base, half = round(base_px * UNITS_PER_PX), UNITS_PER_PX // 2
        known = np.isfinite(values)
        up = np.clip(np.where(known, values, 0), -1, 1) * reach_px * UNITS_PER_PX
        y = (base - half * np.rint(up / half)).astype(np.int64)
        parts = []
        for start, stop in self.runs:
            for a, b in _stretches(known[start:stop]):
                if not filled or (y[start + a : start + b] != base).any():
                    parts.append(self._line(y, start + a, start + b, base if filled else None))
        return "".join(parts)

    def _line(self, y: Integers, a: int, b: int, base: int | None) -> str:
        # half a cell to either side, so that a single frame is seen and fits the ribbon
        x = np.r_[self.left[a], self.middle[a:b], self.right[b - 1]]
        tall = np.r_[y[a], y[a:b], y[b - 1]]
        level = np.r_[False, (tall[1:-1] == tall[:-2]) & (tall[1:-1] == tall[2:]), False]
        x, tall = x[~level], tall[~level]
        steps = zip(np.diff(x).tolist(), np.diff(tall).tolist(), strict=True)
        line = "l" + " ".join(f"{dx}{dy:+d}" for dx, dy in steps)
        if base is None:
            return f"M{x[0]} {tall[0]}{line}"
        return f"M{x[0]} {base}V{tall[0]}{line}V{base}"


def lane_height_px(n_names: int) -> int:
    """Height of a lane's chart."""
    return STRIPS_FROM_PX + n_names * STRIP_PX


Paths = Iterator[tuple[str, str]]
"""CSS classes and the path they are for, which is empty if there is nothing to draw."""


def _ribbon(painter: LanePainter, groups: Sequence[str]) -> Paths:
    lane = painter.lane
    for code, group in enumerate([*groups, None]):
        mine = lane.group == (code if group is not None else -1)
        css = group_class(group, groups)
        sure, unsure = mine & ~lane.unsure, mine & lane.unsure
        yield css, painter.boxes(sure, 0, RIBBON_PX)
        yield f"{css} unsure", painter.boxes(unsure, RIBBON_PX / 2, RIBBON_PX / 2)
    yield "low", painter.boxes(lane.low_quality, RIBBON_PX + 3, 5)


def _strips(painter: LanePainter, names: Sequence[str], downsampled: bool) -> Paths:
    lane = painter.lane
    for k, name in enumerate(names):
        css = expression_class(name, names)
        top = STRIPS_FROM_PX + k * STRIP_PX
        yield f"area {css}", painter.curve(lane.peak[:, k], top, filled=True)
        if downsampled:
            yield f"line {css}", painter.curve(lane.mean[:, k], top, filled=False)
        if lane.second.shape[1]:
            yield f"second {css}", painter.curve(lane.second[:, k], top, filled=False)


def lane_paths(
    axis: Axis, columns: Columns, lane: Lane, names: Sequence[str], groups: Sequence[str]
) -> Paths:
    """Yield the chart of one face, from back to front, with the lines at 0 % of every strip."""
    painter = LanePainter(axis, columns, lane)
    height = lane_height_px(len(names))
    top = STRIPS_FROM_PX - 3
    yield "paper", painter.boxes(np.ones(len(lane.at), np.bool_), 0, height)
    yield "murky", painter.boxes(lane.low_quality, top, height - top)
    yield from _ribbon(painter, groups)
    yield from _strips(painter, names, columns.downsampled)
    bases = (STRIPS_FROM_PX + k * STRIP_PX + CURVE_PX for k in range(len(names)))
    yield "rule", "".join(f"M0 {y * UNITS_PER_PX}h{WIDTH}" for y in bases)


def recording_paths(axis: Axis, columns: Columns) -> Paths:
    """Yield the strip that marks where any face is visible and what could not be read."""
    left, right = axis.units(columns.left_s), axis.units(columns.right_s)
    for css, state in (("seen", FACE), ("broken", UNREADABLE)):
        parts = []
        for a, b in _stretches(columns.state == state):
            w = max(int(right[b - 1] - left[a]), 4)
            parts.append(f"M{left[a]} 0h{w}v140h-{w}z")
        yield css, "".join(parts)


def cut_path(axis: Axis, cuts_s: Sequence[float], height_px: int) -> str:
    """Return a vertical line at each hard cut; empty without cuts."""
    times = np.asarray(cuts_s, np.float64)
    places = np.unique(axis.units(times[(times >= axis.start_s) & (times <= axis.end_s)]))
    return "".join(f"M{x} 0v{height_px * UNITS_PER_PX}" for x in places)


NOTHING: Final = 255


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(values.astype(np.uint8).tobytes()).decode("ascii")


def _pack_lane(lane: Lane, downsampled: bool) -> dict[str, Any]:
    first, n = int(lane.at[0]), int(lane.at[-1] - lane.at[0]) + 1
    place = lane.at - first

    def spread(values: NDArray[Any], default: int) -> str:
        whole = np.full((n, *values.shape[1:]), default, dtype=np.int64)
        whole[place] = values
        return _packed(whole)

    def halves(curves: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(curves)
        return np.where(known, np.rint(np.clip(np.where(known, curves, 0), 0, 1) * 200), NOTHING)

    def hundredths(values: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(values)
        return np.where(known, np.rint(100 * np.where(known, values, 0)) + 100, NOTHING)

    best = np.where(lane.expression < 0, NOTHING, lane.expression)
    packed = {
        "first": first,
        "flags": spread(1 + 2 * lane.unsure + 4 * lane.low_quality, 0),
        "best": spread(best, NOTHING),
        "mean": spread(halves(lane.mean), NOTHING),
    }
    if downsampled:
        packed["peak"] = spread(halves(lane.peak), NOTHING)
    if lane.second.shape[1]:
        packed["second"] = spread(halves(lane.second), NOTHING)
    if lane.movements.shape[1]:
        moved = np.column_stack([lane.valence, lane.movements])
        packed["moved"] = spread(hundredths(moved), NOTHING)
    return packed


def pack_values(drawing: Drawing, names: Sequence[str]) -> str:
    """Return the lanes' values as JSON that is safe inside a script element.

    steps: milliseconds from one column to the next. Each lane from its column `first` on:
    probabilities as bytes of half a percent, 255 where there is none; flags: 1 visible, 2 unsure,
    4 low quality. second: those of the other reading. moved: valence and movements in hundredths,
    from -100 as the byte 0.
    """
    columns = drawing.columns
    if columns is None:
        return "{}"
    downsampled = columns.downsampled
    ms = np.rint(columns.middle_s * 1000).astype(np.int64)
    data = {
        "span": columns.span_s,
        "steps": np.diff(ms, prepend=0).tolist(),
        "names": list(names),
        **({"second": drawing.second} if drawing.second else {}),
        **({"moved": 1 + len(drawing.movements)} if drawing.movements else {}),
        "lanes": {str(lane.face_id): _pack_lane(lane, downsampled) for lane in drawing.lanes},
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c")
