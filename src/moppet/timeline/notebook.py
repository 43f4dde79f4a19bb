"""The HTML of a timeline in a notebook: one line of text and a small chart, without scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.palette import EXPRESSION_COLORS, SPARE_COLORS
from moppet.timeline.downsample import FaceCurves, Overview, Piece, build_overview
from moppet.timeline.durations import Interval
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.summary import name_and_role
from moppet.timeline.time_axis import format_length, format_time, time_ticks

REST: Final = "#a9a9a2"
MAX_COLORS: Final = 12
MAX_NAME: Final = 80

WIDTH_PX, LEFT_PX, RIGHT_PX, TOP_PX = 960, 66, 28, 4
LANE_NAME = 9
"""Length of the name beside a lane; the full name is its tooltip."""
MIN_WIDTH_PX: Final = 640
LANE_PX, DOUBT_PX, STEP_PX, STATUS_PX = 44, 4, 62, 20
FINE: Final = 10
"""Curves are drawn in whole tenths of a pixel, which keeps them short."""


def timeline_html(
    table: Any, names: Sequence[str], settings: TimelineSettings, metadata: Mapping[str, Any]
) -> str:
    """Return a timeline as well-formed XHTML: a title, a chart and its legend; at most 200 kB.

    Each face (up to six) has a lane with its smoothed probabilities stacked to 1, and a bar below
    it where it is unsure. One more lane marks frames without a face and unreadable frames.
    Background and text color are those of the notebook.
    """
    found = build_overview(table, names, settings)
    n_faces = found.n_faces if found else 0
    title = _title(table.num_rows, n_faces, found, metadata)
    head = f'<div style="overflow-wrap:anywhere;margin:0 0 .4em">{escape(title)}</div>'
    if found is None:
        return f"<div>{head}</div>"
    shown, colors = _shown(names, found.faces)
    hidden = n_faces - len(found.faces)
    more = f"and {_count(hidden, 'more face', 'more faces')}" if hidden else ""
    return (
        f'<div>{head}<div style="overflow-x:auto">{_chart(found, shown, colors, title, metadata)}'
        f"</div>{_legend(found, names, shown, colors, more)}</div>"
    )


def _title(n_rows: int, n_faces: int, found: Overview | None, metadata: Mapping[str, Any]) -> str:
    duration_s = metadata.get("duration_s")
    length = found.end_s - found.start_s if found and found.timed else None
    if isinstance(duration_s, int | float) and math.isfinite(duration_s):
        length = float(duration_s)
    name, model = metadata.get("source_name"), metadata.get("model_name")
    parts = [
        _clip(name) if name else "Timeline",
        format_length(length) if length else "",
        f"model {_clip(model)}" if model else "",
        _count(n_rows, "row", "rows"),
        _count(n_faces, "face", "faces"),
        "interrupted" if metadata.get("complete") is False else "",
    ]
    return " · ".join(part for part in parts if part)


def _count(n: int, one: str, several: str) -> str:
    return f"{n:,} {one if n == 1 else several}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _clip(value: Any) -> str:
    """Return a text of limited length without characters that XML forbids."""
    text = str(value)[: MAX_NAME + 1]
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"


def _shown(names: Sequence[str], lanes: Sequence[FaceCurves]) -> tuple[list[int], list[str]]:
    """Return the indices of the classes that get their own curve, and all colors.

    With more than MAX_COLORS classes, only the largest do; the last color is that of the others.
    """
    chosen = list(range(len(names)))
    if len(names) > MAX_COLORS:
        pieces = [piece.values for lane in lanes for piece in lane.pieces]
        weight = np.sum([p.sum(axis=0) for p in pieces] or [np.zeros(len(names))], axis=0)
        chosen = sorted(np.argsort(-weight, kind="stable")[: MAX_COLORS - 1].tolist())
    free = [*SPARE_COLORS, *(c for name, c in EXPRESSION_COLORS.items() if name not in names)]
    own = [name for i, name in enumerate(names) if i in chosen and name not in EXPRESSION_COLORS]
    spare = {name: free[i % len(free)] for i, name in enumerate(own)}
    colors = [EXPRESSION_COLORS.get(names[i]) or spare[names[i]] for i in chosen]
    return chosen, [*colors, *([REST] if len(chosen) < len(names) else [])]


def _chart(
    found: Overview,
    shown: list[int],
    colors: list[str],
    title: str,
    metadata: Mapping[str, Any],
) -> str:
    axis = _Axis(found.start_s, found.end_s, found.timed)
    parts = []
    top = TOP_PX
    for lane in found.faces:
        name, _ = name_and_role(metadata, lane.face_id)
        parts.append(_lane(lane, name, axis, shown, colors, top))
        top += STEP_PX
    if found.no_face or found.unreadable:
        parts.append(_status(found, axis, top))
        top += STATUS_PX
    bottom = top - 4
    height = bottom + (22 if axis.timed else 0)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height}" '
        f'role="img" aria-label="{escape(title)}" fill="currentColor" font-size="12" '
        f'font-family="system-ui,sans-serif" style="display:block;width:100%;'
        f'min-width:{MIN_WIDTH_PX}px;max-width:{WIDTH_PX}px;height:auto">'
        f"{''.join(parts)}{axis.ticks(bottom)}</svg>"
    )


def _lane(
    lane: FaceCurves, name: str, axis: _Axis, shown: list[int], colors: list[str], top: int
) -> str:
    """Return the lane of one face: stacked areas, each drawn over the higher one."""
    name = name[:1].upper() + name[1:]
    short = name if len(name) <= LANE_NAME else f"{name[: LANE_NAME - 1]}…"
    label = f"{name}: {_count(lane.n_rows, 'row', 'rows')}"
    if axis.timed:
        label += f", {format_time(lane.start_s)} to {format_time(lane.end_s)}"
    stacks = [_stack(piece, shown, len(colors)) for piece in lane.pieces]
    areas = []
    for i in reversed(range(len(colors))):
        if i and all(bool((stack[:, i] == stack[:, i - 1]).all()) for stack in stacks):
            continue  # it has no height; its color would show at the edge of the next area
        path = "".join(
            _area(axis.fine(piece.time_s), stack[:, i])
            for piece, stack in zip(lane.pieces, stacks, strict=True)
        )
        if path:
            areas.append(f'<path d="{path}" fill="{colors[i]}"/>')
    return (
        f'<g><title>{escape(label)}</title><text x="{LEFT_PX - 8}" y="{top + LANE_PX / 2 + 4:g}" '
        f'text-anchor="end">{escape(short)}</text>'
        f'<rect x="{LEFT_PX}" y="{top}" width="{axis.width}" height="{LANE_PX}" '
        f'fill-opacity=".06"/>'
        f'<g transform="translate(0 {top}) scale({1 / FINE:g})">{"".join(areas)}</g>'
        f"{_bars(lane.unsure, axis, top + LANE_PX + 2, DOUBT_PX, '.55')}</g>"
    )


def _stack(piece: Piece, shown: list[int], n_colors: int) -> NDArray[np.int64]:
    """Return (m, n_colors) the distance of each area from the lane's top, in fine units."""
    sums = np.cumsum(piece.values[:, shown], axis=1)
    if n_colors > len(shown):
        sums = np.column_stack((sums, piece.values.sum(axis=1)))
    height = LANE_PX * FINE
    return np.rint(height * (1 - np.clip(sums, 0, 1))).astype(np.int64)


def _area(x: NDArray[np.int64], y: NDArray[np.int64]) -> str:
    """Return the path of the area below a curve; empty if the area is empty."""
    floor = LANE_PX * FINE
    if bool((y == floor).all()):
        return ""
    x = x.copy()
    x[-1] = max(x[-1], x[0] + FINE)  # a piece with a single frame is one pixel wide
    level = np.zeros(len(y), dtype=bool)
    level[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
    x, y = x[~level], y[~level]
    steps = zip(np.diff(x).tolist(), np.diff(y).tolist(), strict=True)
    line = " ".join(f"{dx} {dy}" if dy >= 0 else f"{dx}{dy}" for dx, dy in steps)
    return f"M{x[0]} {floor}V{y[0]}l{line}V{floor}Z"


def _status(found: Overview, axis: _Axis, top: int) -> str:
    return (
        f"<g><title>Frames without a face, and unreadable ones</title>"
        f'<text x="{LEFT_PX - 8}" y="{top + 10}" text-anchor="end">no face</text>'
        f"{_bars(found.no_face, axis, top + 2, 8, '.3')}"
        f"{_bars(found.unreadable, axis, top + 2, 8, '.85')}</g>"
    )


def _bars(stretches: Sequence[Interval], axis: _Axis, top: int, height: int, opacity: str) -> str:
    """Return one path with a bar for each interval, at least one pixel wide."""
    if not stretches:
        return ""
    left = axis.fine(np.array([one.start_s for one in stretches])) / FINE
    right = axis.fine(np.array([one.end_s for one in stretches])) / FINE
    wide = np.maximum(right - left, 1)
    boxes = zip(left.tolist(), wide.tolist(), strict=True)
    path = "".join(f"M{x:g} {top}h{width:g}v{height}h-{width:g}z" for x, width in boxes)
    return f'<path d="{path}" fill-opacity="{opacity}"/>'


class _Axis:
    """Converts seconds to horizontal fine units. timed: whether the recording has a duration."""

    width = WIDTH_PX - LEFT_PX - RIGHT_PX

    def __init__(self, start_s: float, end_s: float, timed: bool) -> None:
        self.start_s, self.span_s, self.timed = start_s, end_s - start_s, timed

    def fine(self, time_s: NDArray[np.float64]) -> NDArray[np.int64]:
        share = np.clip((time_s - self.start_s) / self.span_s, 0, 1)
        return np.rint(FINE * (LEFT_PX + self.width * share)).astype(np.int64)

    def ticks(self, bottom: int) -> str:
        """Return the grid lines and their times; empty if not timed."""
        if not self.timed:
            return ""
        parts = []
        for time_s, text in time_ticks(self.start_s, self.start_s + self.span_s):
            x = LEFT_PX + self.width * (time_s - self.start_s) / self.span_s
            parts.append(
                f'<path d="M{x:.1f} {TOP_PX}V{bottom + 4}" stroke="currentColor" '
                f'stroke-opacity=".18"/>'
                f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{text}</text>'
            )
        return "".join(parts)


def _legend(
    found: Overview, names: Sequence[str], shown: list[int], colors: list[str], more: str
) -> str:
    words = [_clip(names[i]) for i in shown]
    if len(colors) > len(shown):
        words.append(_count(len(names) - len(shown), "other", "others"))
    keys = [
        f'<span style="display:inline-block;width:.8em;height:.8em;margin-right:.35em;'
        f'border-radius:2px;vertical-align:-.05em;background:{color}"></span>{escape(word)}'
        for word, color in zip(words, colors, strict=True)
    ]
    if not found.faces:
        keys = []
    marks = (
        ("unsure", ".55", any(lane.unsure for lane in found.faces)),
        ("no face", ".3", bool(found.no_face)),
        ("unreadable", ".85", bool(found.unreadable)),
    )
    keys += [
        f'<span style="display:inline-block;width:.8em;height:.35em;margin-right:.35em;'
        f'vertical-align:.2em;background:currentColor;opacity:{opacity}"></span>{word}'
        for word, opacity, used in marks
        if used
    ]
    items = [f'<span style="margin-right:1.1em;display:inline-block">{key}</span>' for key in keys]
    if more:
        items.append(f"<span>{more}</span>")
    return f'<div style="font-size:.85em;margin-top:.3em">{" ".join(items)}</div>'
