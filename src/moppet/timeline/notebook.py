"""The HTML of a timeline in a notebook: one line of text and a small chart, without scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.palette import EXPRESSION_COLORS, SPARE_COLORS
from moppet.timeline.downsample import CurvePart, FaceCurves, Overview, build_overview
from moppet.timeline.durations import Interval
from moppet.timeline.schema import photo_files
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.summary import name_and_role
from moppet.timeline.time_axis import format_length, format_time, time_ticks

if TYPE_CHECKING:
    import jinja2

OTHERS_COLOR: Final = "#a9a9a2"
MAX_COLORS: Final = 12
MAX_NAME: Final = 80

WIDTH_PX, LEFT_PX, RIGHT_PX, TOP_PX = 960, 66, 28, 4
ACROSS_PX: Final = WIDTH_PX - LEFT_PX - RIGHT_PX
LANE_PX, STEP_PX, STATUS_PX = 44, 62, 20
MAX_LANE_NAME: Final = 9
"""Length of the name beside a lane; the full name is its tooltip."""
FINE: Final = 10
"""Curves are drawn in whole tenths of a pixel, which keeps them short."""


@cache
def _template() -> jinja2.Template:
    import jinja2  # slow, and a timeline is seldom shown in a notebook

    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "autoescape": True}
    text = files("moppet.timeline").joinpath("notebook.html.j2").read_text(encoding="utf-8")
    return jinja2.Environment(undefined=jinja2.StrictUndefined, **options).from_string(text)


def timeline_html(
    table: Any, names: Sequence[str], settings: TimelineSettings, metadata: Mapping[str, Any]
) -> str:
    """Return a timeline as well-formed XHTML: a title, a chart and its legend; at most 200 kB.

    Each face (up to six) has a lane with its smoothed probabilities stacked to 1, and a bar below
    it where it is unsure. One more lane marks frames without a face and unreadable frames.
    Background and text color are those of the notebook. Photos, which have no time, have no chart.
    """
    files = photo_files(metadata)
    found = None if files else build_overview(table, names, settings)
    if files:
        faces = table.num_rows - table.column("face_id").null_count
        kinds = (len(files), "image", "images"), (faces, "face", "faces")
        name = _clip(metadata.get("source_name") or "Photos")
        title = " · ".join([name, *(_count(*one) for one in kinds)])
    else:
        title = _title(table.num_rows, found, metadata)
    chart = None if found is None else _chart(found, names, metadata)
    px = {"width": WIDTH_PX, "left": LEFT_PX, "top": TOP_PX, "across": ACROSS_PX, "lane": LANE_PX}
    return _template().render(title=title, chart=chart, px={**px, "fine": FINE})


def _chart(found: Overview, names: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the chart's template."""
    axis = _Axis(found)
    shown, colors = _shown(names, found.faces)
    tops = [TOP_PX + STEP_PX * i for i in range(len(found.faces) + 1)]
    lanes = [
        _lane(face, name_and_role(metadata, face.face_id)[0], axis, shown, colors, top)
        for face, top in zip(found.faces, tops, strict=False)
    ]
    has_status = bool(found.no_face or found.unreadable)
    bottom = tops[-1] + STATUS_PX * has_status - 4
    words = [_clip(names[i]) for i in shown]
    if len(colors) > len(shown):
        words.append(_count(len(names) - len(shown), "other", "others"))
    marks = (
        (".55", "unsure", any(face.unsure for face in found.faces)),
        (".3", "no face", found.no_face),
        (".85", "unreadable", found.unreadable),
    )
    hidden = found.n_faces - len(found.faces)
    return {
        "height": bottom + (22 if found.timed else 0),
        "bottom": bottom,
        "lanes": lanes,
        "status_top": tops[-1],
        "no_face": axis.bars(found.no_face, tops[-1] + 2, 8),
        "unreadable": axis.bars(found.unreadable, tops[-1] + 2, 8),
        "ticks": axis.ticks(),
        "colors": list(zip(colors, words, strict=True)) if found.faces else [],
        "marks": [(opacity, word) for opacity, word, used in marks if used],
        "more": f"and {_count(hidden, 'more face', 'more faces')}" if hidden else "",
    }


def _title(n_rows: int, found: Overview | None, metadata: Mapping[str, Any]) -> str:
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
        _count(found.n_faces if found else 0, "face", "faces"),
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
        parts = [part.values for lane in lanes for part in lane.parts]
        weight = np.sum([p.sum(axis=0) for p in parts] or [np.zeros(len(names))], axis=0)
        chosen = sorted(np.argsort(-weight, kind="stable")[: MAX_COLORS - 1].tolist())
    free = [*SPARE_COLORS, *(c for name, c in EXPRESSION_COLORS.items() if name not in names)]
    own = [name for i, name in enumerate(names) if i in chosen and name not in EXPRESSION_COLORS]
    spare = {name: free[i % len(free)] for i, name in enumerate(own)}
    colors = [EXPRESSION_COLORS.get(names[i]) or spare[names[i]] for i in chosen]
    return chosen, [*colors, *([OTHERS_COLOR] if len(chosen) < len(names) else [])]


def _lane(
    lane: FaceCurves, name: str, axis: _Axis, shown: list[int], colors: list[str], top: int
) -> dict[str, Any]:
    """Return the lane of one face: stacked areas, each drawn over the higher one."""
    name = name[:1].upper() + name[1:]
    title = f"{name}: {_count(lane.n_rows, 'row', 'rows')}"
    if axis.timed:
        title += f", {format_time(lane.start_s)} to {format_time(lane.end_s)}"
    stacks = [_stack(part, shown, len(colors)) for part in lane.parts]
    areas = []
    for i in reversed(range(len(colors))):
        if i and all(bool((stack[:, i] == stack[:, i - 1]).all()) for stack in stacks):
            continue  # it has no height; its color would show at the edge of the next area
        path = "".join(
            _area(axis.fine(part.time_s), stack[:, i])
            for part, stack in zip(lane.parts, stacks, strict=True)
        )
        if path:
            areas.append((path, colors[i]))
    return {
        "top": top,
        "title": title,
        "name": name if len(name) <= MAX_LANE_NAME else f"{name[: MAX_LANE_NAME - 1]}…",
        "areas": areas,
        "unsure": axis.bars(lane.unsure, top + LANE_PX + 2, 4),
    }


def _stack(part: CurvePart, shown: list[int], n_colors: int) -> NDArray[np.int64]:
    """Return (m, n_colors) the distance of each area from the lane's top, in fine units."""
    sums = np.cumsum(part.values[:, shown], axis=1)
    if n_colors > len(shown):
        sums = np.column_stack((sums, part.values.sum(axis=1)))
    height = LANE_PX * FINE
    return np.rint(height * (1 - np.clip(sums, 0, 1))).astype(np.int64)


def _area(x: NDArray[np.int64], y: NDArray[np.int64]) -> str:
    """Return the path of the area below a curve; empty if the area is empty."""
    floor = LANE_PX * FINE
    if bool((y == floor).all()):
        return ""
    x = x.copy()
    x[-1] = max(x[-1], x[0] + FINE)  # a part with a single frame is one pixel wide
    level = np.zeros(len(y), dtype=bool)
    level[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
    x, y = x[~level], y[~level]
    steps = zip(np.diff(x).tolist(), np.diff(y).tolist(), strict=True)
    line = " ".join(f"{dx} {dy}" if dy >= 0 else f"{dx}{dy}" for dx, dy in steps)
    return f"M{x[0]} {floor}V{y[0]}l{line}V{floor}Z"


class _Axis:
    """Converts seconds to horizontal fine units. timed: whether the recording has a duration."""

    def __init__(self, found: Overview) -> None:
        self.start_s, self.end_s, self.timed = found.start_s, found.end_s, found.timed

    def fine(self, time_s: NDArray[np.float64]) -> NDArray[np.int64]:
        share = np.clip((time_s - self.start_s) / (self.end_s - self.start_s), 0, 1)
        return np.rint(FINE * (LEFT_PX + ACROSS_PX * share)).astype(np.int64)

    def bars(self, intervals: Sequence[Interval], top: int, height: int) -> str:
        """Return one path with a bar for each interval, at least one pixel wide."""
        left, right = self.fine(np.array(intervals).reshape(-1, 2)).T / FINE
        boxes = zip(left.tolist(), np.maximum(right - left, 1).tolist(), strict=True)
        return "".join(f"M{x:g} {top}h{width:g}v{height}h-{width:g}z" for x, width in boxes)

    def ticks(self) -> list[tuple[str, str]]:
        """Return the position in pixels and the text of each tick; none if not timed."""
        scale = ACROSS_PX / (self.end_s - self.start_s)
        ticks = time_ticks(self.start_s, self.end_s) if self.timed else ()
        return [
            (f"{LEFT_PX + scale * (time_s - self.start_s):.1f}", text) for time_s, text in ticks
        ]
