"""The codes of all raters over time, one lane each, as one SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.coders.agreement import Comparison
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
_INK, _SOFT, _RULE, _DIFFER = "#1d2125", "#59616a", "#e2e2dc", "#b3261e"
Values = NDArray[np.int64]


def draw_lanes(comparison: Comparison) -> str:
    """Return the image: a lane for every rater, where they differ, a legend below.

    White is time without a code. Differences are marked only where all raters have one.
    """
    colors = _colors(comparison.names)
    units = comparison.units
    whole_s = units.n * units.unit_s
    row_s = _row_length(whole_s)
    values = [track.value for track in comparison.tracks]
    differ = comparison.everyone & np.any([v != values[0] for v in values], axis=0)
    parts: list[str] = []
    top = 8
    for start in np.arange(0, units.n, max(1, round(row_s / units.unit_s))).tolist():
        stop = min(units.n, start + max(1, round(row_s / units.unit_s)))
        row = _Row(units.from_s + start * units.unit_s, min(row_s, whole_s), units.unit_s)
        for track in comparison.tracks:
            parts += row.lane(track.name, track.value[start:stop], colors, top)
            top += LANE_PX + GAP_PX
        parts += row.marks(differ[start:stop], top)
        top += DIFFER_PX
        parts += row.axis((stop - start) * units.unit_s, top)
        top += AXIS_PX + ROW_GAP_PX
    shown = np.unique(np.concatenate(values))
    used = [(comparison.names[i], colors[i]) for i in shown[shown >= 0].tolist()]
    legend, bottom = _legend(used, top)
    title = "The codes of each rater over time, one lane each, and where they differ."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {bottom}" '
        f'width="{WIDTH_PX}" height="{bottom}" role="img" font-size="12" '
        'font-family="system-ui, Helvetica, Arial, sans-serif">'
        f"<title>{title}</title>"
        f'<rect width="{WIDTH_PX}" height="{bottom}" fill="#ffffff"/>'
        f"{''.join([*parts, *legend])}</svg>\n"
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


class _Row:
    """One row of the image: from start_s, length_s seconds wide."""

    def __init__(self, start_s: float, length_s: float, unit_s: float) -> None:
        self.start_s, self.unit_s = start_s, unit_s
        self.px_per_s = (WIDTH_PX - LEFT_PX - RIGHT_PX) / length_s

    def x(self, seconds: float) -> float:
        """Return the place of so many seconds after the row's start."""
        return LEFT_PX + seconds * self.px_per_s

    def lane(self, name: str, value: Values, colors: Sequence[str], top: int) -> Iterator[str]:
        """Yield a rater's name and a box for every run of one value."""
        width = self.x(len(value) * self.unit_s) - LEFT_PX
        yield _text(LEFT_PX - 10, top + LANE_PX * 0.68, name, "end", _INK)
        yield (
            f'<rect x="{LEFT_PX}" y="{top}" width="{width:.1f}" height="{LANE_PX}" '
            f'fill="none" stroke="{_RULE}"/>'
        )
        for first, last in _runs(value):
            if value[first] >= 0:
                yield self.box(first, last, top, LANE_PX, colors[value[first]])

    def box(self, first: int, last: int, top: int, height: int, color: str) -> str:
        """Return a box over the units first to last."""
        x = self.x(first * self.unit_s)
        width = max(self.x(last * self.unit_s) - x, 0.5)
        return f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{height}" fill="{color}"/>'

    def marks(self, differ: NDArray[np.bool_], top: int) -> Iterator[str]:
        """Yield a thin box wherever the raters differ."""
        yield _text(LEFT_PX - 10, top + DIFFER_PX - 1, "differ", "end", _SOFT)
        for first, last in _runs(differ):
            if differ[first]:
                yield self.box(first, last, top + 2, DIFFER_PX - 4, _DIFFER)

    def axis(self, length_s: float, top: int) -> Iterator[str]:
        """Yield the ticks."""
        end_s = self.start_s + length_s
        step = tick_step((WIDTH_PX - LEFT_PX - RIGHT_PX) / self.px_per_s)
        number = int(np.ceil(self.start_s / step - 1e-9))
        while number * step <= end_s + 1e-9:
            x = self.x(number * step - self.start_s)
            yield f'<path d="M{x:.1f} {top}v4" stroke="{_SOFT}"/>'
            yield _text(x, top + 15, format_time(number * step, step), "middle", _SOFT)
            number += 1


def _runs(value: NDArray[Any]) -> list[tuple[int, int]]:
    edges = (np.flatnonzero(np.diff(value)) + 1).tolist()
    return list(pairwise([0, *edges, len(value)]))


def _legend(names: Sequence[tuple[str, str]], top: int) -> tuple[list[str], int]:
    """Return the legend and where it ends."""
    parts, x = [], float(LEFT_PX)
    for name, color in names:
        width = 26 + 7 * len(name)
        if x + width > WIDTH_PX - RIGHT_PX:
            x, top = float(LEFT_PX), top + 20
        parts.append(f'<rect x="{x}" y="{top - 10}" width="11" height="11" fill="{color}"/>')
        parts.append(_text(x + 16, top, name, "start", _INK))
        x += width
    parts.append(_text(x, top, "white: no code", "start", _SOFT))
    return parts, top + 14


def _text(x: float, y: float, text: str, anchor: str, color: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{color}">{escape(text)}</text>'
