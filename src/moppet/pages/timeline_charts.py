"""Timeline charts as SVG: a ribbon of groups and one strip for each expression."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from moppet.pages.timeline_lanes import FACE, UNREADABLE, Columns, Drawing, Lane, Numbers, Whole
from moppet.vocabulary import GROUP_NAMES

RIBBON_PX = 30
STRIPS_FROM_PX = 48
STRIP_PX = 40
CURVE_PX = 32
"""Heights: the ribbon, where the strips begin, one strip with its margin, its curve."""

UNITS_PER_PX = 10
WIDTH = 24_000
"""Whole-number units across, so that paths stay short; the browser stretches them."""

TICK_STEPS_S = (
    *(m * 10.0**e for e in (-3, -2, -1) for m in (1, 2, 5)),
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0),
    *(3600.0 * h for h in (1, 2, 3, 6, 12, 24)),
)
EXPRESSION_SLOTS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
SPARE_SLOTS = 5


NO_VALUE = "\N{EN DASH}"


def expression_class(name: str, names: Sequence[str]) -> str:
    """CSS class of an expression's color: its own for the seven, else one of a cycle."""
    if name in EXPRESSION_SLOTS:
        return f"e-{name}"
    others = [other for other in names if other not in EXPRESSION_SLOTS]
    return f"e-{others.index(name) % SPARE_SLOTS}"


def group_class(name: str | None, groups: Sequence[str]) -> str:
    """CSS class of a group's color."""
    if name is None:
        return "g-none"
    if name in GROUP_NAMES:
        return f"g-{name}"
    others = [other for other in groups if other not in GROUP_NAMES]
    return f"g-{others.index(name) % SPARE_SLOTS}"


def format_time(seconds: float | None, step_s: float = 1.0) -> str:
    """Return seconds as 4.2 s, 1:05 or 1:02:03, as fine as step_s asks for; a dash if undefined."""
    if seconds is None or not math.isfinite(seconds):
        return NO_VALUE
    digits = 0 if step_s >= 1 else min(3, math.ceil(-math.log10(step_s) - 1e-9))
    scale = 10**digits
    total = round(abs(seconds) * scale)
    sign = "\N{MINUS SIGN}" if seconds < 0 and total else ""
    whole, part = divmod(total, scale)
    tail = f".{part:0{digits}d}" if digits else ""
    if whole < 60:
        return f"{sign}{whole}{tail} s"
    hours, minutes = divmod(whole // 60, 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{clock}:{whole % 60:02d}{tail}"


def tick_step(span_s: float, most: int = 8) -> float:
    """The smallest tidy step that gives at most `most` ticks."""
    return next((step for step in TICK_STEPS_S if span_s / step <= most), 7 * 86400.0)


class Axis:
    """Seconds to units across."""

    def __init__(self, columns: Columns) -> None:
        self.start_s, self.end_s = columns.span_s
        self.span_s = self.end_s - self.start_s
        self.is_moment = len(columns.middle_s) == 1

    def units(self, seconds: Numbers) -> Whole:
        """Return rounded units of times."""
        share = (seconds - self.start_s) / self.span_s
        return np.rint(np.clip(share, 0, 1) * WIDTH).astype(np.int64)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield the place in percent and the text of every tick."""
        if self.is_moment:  # a single image lasts no time: the chart's width means nothing
            yield 0.0, format_time(self.start_s, 0.01)
            return
        step = tick_step(self.span_s)
        first = math.ceil(self.start_s / step - 1e-9)
        last = math.floor(self.end_s / step + 1e-9)
        for i in range(first, last + 1):
            place = 100 * (i * step - self.start_s) / self.span_s
            yield place, format_time(i * step, step)


def _stretches(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last index of every stretch of true."""
    edge = np.diff(np.r_[0, mask.astype(np.int8), 0])
    return list(
        zip(np.flatnonzero(edge == 1).tolist(), np.flatnonzero(edge == -1).tolist(), strict=True)
    )


def _unbroken(columns: Columns, at: Whole) -> list[tuple[int, int]]:
    """First and one past the last position of every stretch without a gap."""
    whole = (np.diff(at) == 1) & columns.joined[at[1:]]
    cuts = np.flatnonzero(~whole) + 1
    bounds = [0, *cuts.tolist(), len(at)]
    return list(pairwise(bounds))


class _LanePainter:
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

    def _line(self, y: Whole, a: int, b: int, base: int | None) -> str:
        # half a cell to either side, so that a single frame is seen and fits the ribbon
        x = np.r_[self.left[a], self.middle[a:b], self.right[b - 1]]
        tall = np.r_[y[a], y[a:b], y[b - 1]]
        steps = zip(np.diff(x).tolist(), np.diff(tall).tolist(), strict=True)
        line = "l" + " ".join(f"{dx}{dy:+d}" for dx, dy in steps)
        if base is None:
            return f"M{x[0]} {tall[0]}{line}"
        return f"M{x[0]} {base}V{tall[0]}{line}V{base}"


def lane_height_px(n_names: int) -> int:
    """Height of a lane's chart."""
    return STRIPS_FROM_PX + n_names * STRIP_PX


def _path(css: str, d: str) -> str:
    return f'<path class="{css}" d="{d}"/>' if d else ""


def _ribbon(painter: _LanePainter, groups: Sequence[str]) -> list[str]:
    lane = painter.lane
    paths = []
    for code, group in enumerate([*groups, None]):
        mine = lane.group == (code if group is not None else -1)
        css = group_class(group, groups)
        sure, unsure = mine & ~lane.unsure, mine & lane.unsure
        paths.append(_path(css, painter.boxes(sure, 0, RIBBON_PX)))
        paths.append(_path(f"{css} unsure", painter.boxes(unsure, RIBBON_PX / 2, RIBBON_PX / 2)))
    paths.append(_path("low", painter.boxes(lane.low_quality, RIBBON_PX + 3, 5)))
    return paths


def _strips(painter: _LanePainter, names: Sequence[str], thinned: bool) -> list[str]:
    lane = painter.lane
    paths = []
    for k, name in enumerate(names):
        css = expression_class(name, names)
        top = STRIPS_FROM_PX + k * STRIP_PX
        paths.append(_path(f"area {css}", painter.curve(lane.peak[:, k], top, filled=True)))
        if thinned:
            paths.append(_path(f"line {css}", painter.curve(lane.mean[:, k], top, filled=False)))
    return paths


def _frame(height_px: int, back: str, paths: str, axis: Axis, label: str, css: str = "") -> str:
    """Return a chart: hatched ground, stretched paths, grid lines, room for the crosshair."""
    grid = "".join(f'<line x1="{p:.3f}%" x2="{p:.3f}%" y2="100%"/>' for p, _ in axis.ticks())
    return (
        f'<svg class="plot {css}" width="100%" height="{height_px}" role="img" '
        f'aria-label="{escape(label)}">{back}'
        f'<svg class="zoomed" width="100%" height="{height_px}" preserveAspectRatio="none" '
        f'viewBox="0 0 {WIDTH} {height_px * UNITS_PER_PX}">{paths}</svg>'
        f'<g class="grid">{grid}</g><line class="cross" y2="100%" visibility="hidden"/></svg>'
    )


def draw_axis(axis: Axis) -> str:
    """Return the line of times below a chart."""
    texts = []
    for place, text in axis.ticks():
        anchor = "start" if place < 3 else "end" if place > 97 else "middle"
        texts.append(f'<text x="{place:.3f}%" y="15" text-anchor="{anchor}">{text}</text>')
    return f'<svg class="axis" width="100%" height="20" aria-hidden="true">{"".join(texts)}</svg>'


def draw_lane(
    axis: Axis, drawing: Drawing, lane: Lane, names: Sequence[str], groups: Sequence[str]
) -> str:
    """Return the chart of one face."""
    assert drawing.columns is not None
    columns = drawing.columns
    painter = _LanePainter(axis, columns, lane)
    height = lane_height_px(len(names))
    everywhere = np.ones(len(lane.at), dtype=np.bool_)
    top, tall = STRIPS_FROM_PX - 3, height - STRIPS_FROM_PX + 3
    paths = [
        _path("paper", painter.boxes(everywhere, 0, height)),
        _path("murky", painter.boxes(lane.low_quality, top, tall)),
        *_ribbon(painter, groups),
        *_strips(painter, names, columns.thinned),
    ]
    back = (
        f'<rect class="hatch" width="100%" height="{RIBBON_PX}"/>'
        f'<rect class="hatch" y="{top}" width="100%" height="{tall}"/>'
    )
    thinned = "thinned" if columns.thinned else ""
    label = (
        f"{lane.title}: groups and the probability of each expression over time, from "
        f"{format_time(lane.start_s)} to {format_time(lane.end_s)}. The same values stand in "
        "the table below."
    )
    return _frame(height, back, "".join(paths) + _rules(len(names)), axis, label, thinned)


def _rules(n_names: int) -> str:
    """Return the lines at 0 % of every strip."""
    bases = (STRIPS_FROM_PX + k * STRIP_PX + CURVE_PX for k in range(n_names))
    return _path("rule", "".join(f"M0 {y * UNITS_PER_PX}h{WIDTH}" for y in bases))


def draw_recording(axis: Axis, columns: Columns) -> str:
    """Return the strip that says where any face shows and where images could not be read."""
    left, right = axis.units(columns.left_s), axis.units(columns.right_s)
    paths = []
    for css, state in (("seen", FACE), ("broken", UNREADABLE)):
        parts = []
        for a, b in _stretches(columns.state == state):
            w = max(int(right[b - 1] - left[a]), 4)
            parts.append(f"M{left[a]} 0h{w}v140h-{w}z")
        paths.append(_path(css, "".join(parts)))
    back = '<rect class="hatch" width="100%" height="14"/>'
    label = "The recording: where any face shows, and where images could not be read."
    return _frame(14, back, "".join(paths), axis, label)
