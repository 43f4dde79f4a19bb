"""The codes of all raters over time, one lane each, as one SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.coders.agreement import Comparison
from moppet.pages.document import render_template
from moppet.palette import EXPRESSION_COLORS, GROUP_COLORS, SPARE_COLORS
from moppet.timeline.time_axis import format_time, tick_step

WIDTH_PX, LEFT_PX, RIGHT_PX = 1000, 84, 28
LANE_PX, GAP_PX, DIFFER_PX, AXIS_PX, ROW_GAP_PX = 24, 4, 10, 18, 22
MOST_ROWS: Final = 12
ROW_STEPS_S: Final = (60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
"""A row of the image is the shortest of these that needs at most MOST_ROWS rows."""
_COLORS: Final = {
    **GROUP_COLORS,
    **EXPRESSION_COLORS,
    "rest": "#c9c9c2",
    "no face": "#4a4f55",
}


def draw_lanes(comparison: Comparison) -> str:
    """Return the image: a lane for every rater, where they differ, a legend below.

    White is time without a code. Differences are marked only where all raters have one.
    """
    units, values = comparison.units, [track.value for track in comparison.tracks]
    colors = dict(zip(comparison.names, _colors(comparison.names), strict=True))
    differ = comparison.everyone & np.any([v != values[0] for v in values], axis=0)
    whole_s = units.n * units.unit_s
    row_s = _row_length(whole_s)
    n = max(1, round(row_s / units.unit_s))
    px_per_unit = (WIDTH_PX - LEFT_PX - RIGHT_PX) / min(row_s, whole_s) * units.unit_s
    rows, top = [], 8
    for start in range(0, units.n, n):
        part = slice(start, min(start + n, units.n))
        row = _Row(start, part.stop, px_per_unit)
        lanes = []
        for track in comparison.tracks:
            lanes.append((track.name, top, list(row.boxes(track.value[part]))))
            top += LANE_PX + GAP_PX
        ticks = list(row.ticks(units.from_s, units.unit_s))
        rows.append((lanes, row.width, top, list(row.boxes(differ[part], from_value=1)), ticks))
        top += DIFFER_PX + AXIS_PX + ROW_GAP_PX
    shown = np.unique(np.concatenate(values))
    used = [comparison.names[i] for i in shown[shown >= 0].tolist()]
    legend, bottom = _legend(used, top)
    names = comparison.names
    return render_template(
        "agreement.svg", rows=rows, legend=legend, bottom=bottom, names=names, color_of=colors
    )


def _row_length(whole_s: float) -> float:
    """Return how much time a row of the image holds."""
    needed_s = whole_s / MOST_ROWS
    return next((step for step in ROW_STEPS_S if step >= needed_s), needed_s)


def _colors(names: Sequence[str]) -> list[str]:
    """Return the color of every name: its own, or one of a cycle."""
    others = [name for name in names if name not in _COLORS]
    spare = {name: SPARE_COLORS[number % len(SPARE_COLORS)] for number, name in enumerate(others)}
    return [_COLORS.get(name) or spare[name] for name in names]


Box = tuple[float, float, int]


class _Row:
    """One row of the image: the units from start to stop, and places across in pixels."""

    def __init__(self, start: int, stop: int, px_per_unit: float) -> None:
        self.start, self.stop, self.px_per_unit = start, stop, px_per_unit
        self.width = (stop - start) * px_per_unit

    def boxes(
        self, values: NDArray[Any], from_value: int = 0
    ) -> Iterator[tuple[float, float, int]]:
        """Yield place, width and value of every run of one value, of at least from_value."""
        edges = (np.flatnonzero(np.diff(values)) + 1).tolist()
        for first, last in pairwise([0, *edges, len(values)]):
            if values[first] >= from_value:
                width = max((last - first) * self.px_per_unit, 0.5)
                yield LEFT_PX + first * self.px_per_unit, width, int(values[first])

    def ticks(self, from_s: float, unit_s: float) -> Iterator[tuple[float, str]]:
        """Yield place and text of every tick."""
        start_s, end_s = from_s + self.start * unit_s, from_s + self.stop * unit_s
        step = tick_step((WIDTH_PX - LEFT_PX - RIGHT_PX) / self.px_per_unit * unit_s)
        for number in range(math.ceil(start_s / step - 1e-9), math.floor(end_s / step + 1e-9) + 1):
            x = LEFT_PX + (number * step - start_s) / unit_s * self.px_per_unit
            yield x, format_time(number * step, step)


def _legend(names: Sequence[str], top: int) -> tuple[list[tuple[float, int, str]], int]:
    """Return place and name of each color, an empty name last, and where the legend ends."""
    places, x = [], LEFT_PX
    for name in names:
        width = 26 + 7 * len(name)
        if x + width > WIDTH_PX - RIGHT_PX:
            x, top = LEFT_PX, top + 20
        places.append((x, top, name))
        x += width
    return [*places, (x, top, "")], top + 14
