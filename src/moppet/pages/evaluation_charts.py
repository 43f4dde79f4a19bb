"""Charts of an evaluation: ROC, reliability, epochs, embedding map, intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup, escape

from moppet.pages.tables import Row, Table, color_class, figure_cell
from moppet.pages.wording import Json, count, counted, levels, number
from moppet.vocabulary import current_key

ROC_PX, BINS_PX, COUNTS_PX = 138, 290, 84
WHISKER_PX, WHISKER_HEIGHT_PX = 150, 16
MAP_LAYERS: Final = 6
"""Points are drawn in so many turns, so that no class lies wholly on top of another."""
_LINES: Final = (
    ("train_loss", "g-neutral", "training"),
    ("val_loss", "g-positive", "validation"),
    ("train_accuracy", "g-neutral", "training"),
    ("val_accuracy", "g-positive", "validation"),
    ("val_balanced", "e-disgust", "validation, balanced"),
)


def roc_panels(level: Json, grouped: bool) -> list[Json]:
    """Return a small ROC curve for each class or group, the others faint behind it."""
    return [_roc_panel(name, level, grouped=grouped) for name in level["names"]]


def _roc_panel(name: str, level: Json, *, grouped: bool) -> Json:
    area = level["parts"]["all"]["per_class"]["auc"][name]
    css = color_class(name, level["names"], grouped=grouped)
    lines = [
        f'<path class="ghost" d="{_roc_path(points)}"/>'
        for other, points in level["roc"].items()
        if other != name and points
    ]
    points = level["roc"][name]
    if points:
        lines.append(f'<path class="line {css}" d="{_roc_path(points)}"/>')
        lines.append(_decision(name, level, css))
    half = ROC_PX / 2
    grid = f'<path class="mesh" d="M{half} 0v{ROC_PX}M0 {half}h{ROC_PX}M0 {ROC_PX}L{ROC_PX} 0"/>'
    label = f"ROC curve of {name}: area {number(area['value'])}"
    chart = Markup(
        f'<svg class="roc" viewBox="0 0 {ROC_PX} {ROC_PX}" role="img" '
        f'aria-label="{escape(label)}">{grid}{"".join(lines)}</svg>'
    )
    return {"name": name, "css": css, "area": area, "chart": chart}


def _roc_path(points: Sequence[Sequence[float]]) -> str:
    places = [f"{x * ROC_PX:.1f} {(1 - y) * ROC_PX:.1f}" for x, y in points]
    return "M" + "L".join(places)


def _decision(name: str, level: Json, css: str) -> str:
    counts, i = level["parts"]["all"]["confusion"], level["names"].index(name)
    true, read = sum(counts[i]), sum(row[i] for row in counts)
    others = sum(map(sum, counts)) - true
    if not true or not others:
        return ""
    x, y = (read - counts[i][i]) / others, counts[i][i] / true
    return f'<circle class="{css}" cx="{x * ROC_PX:.1f}" cy="{(1 - y) * ROC_PX:.1f}" r="4.5"/>'


def reliability(level: Json) -> tuple[float | None, Markup, Table]:
    """Return the calibration error, and the chart and table of accuracy by confidence."""
    bins = level["reliability"]
    error: float | None = level["parts"]["all"]["overall"]["ece"]["value"]
    return error, _bins_chart(bins), _bins_table(bins)


def _bins_chart(bins: Sequence[Json]) -> Markup:
    side, wide = BINS_PX, BINS_PX / len(bins)
    parts = [f'<path class="mesh" d="M0 {side}L{side} 0"/>']
    for tick in (0, 0.5, 1):
        y = (1 - tick) * side
        parts.append(f'<line class="mesh" x2="{side}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="-8" y="{y + 4}" text-anchor="end">{tick:g}</text>')
        parts.append(
            f'<text x="{tick * side}" y="{side + 18}" text-anchor="middle">{tick:g}</text>'
        )
    most = max((b["accuracy"]["n"] for b in bins), default=0)
    top = side + 30
    for i, one in enumerate(bins):
        n, found = one["accuracy"]["n"], one["accuracy"]
        if not n:
            continue
        x = one["confidence"] * side
        if found["low"] is not None:
            ends = f'y1="{(1 - found["low"]) * side:.1f}" y2="{(1 - found["high"]) * side:.1f}"'
            parts.append(f'<line class="reach" x1="{x:.1f}" x2="{x:.1f}" {ends}/>')
        y = (1 - found["value"]) * side
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        tall = (COUNTS_PX - 34) * n / most
        left, foot = i * wide, top + COUNTS_PX
        parts.append(
            f'<rect class="column" x="{left + 1:.1f}" y="{foot - tall:.1f}" '
            f'width="{wide - 2:.1f}" height="{tall:.1f}"/>'
        )
        at = f"{left + wide / 2 + 3.5:.1f} {foot - tall - 4:.1f}"
        parts.append(f'<text class="tiny" transform="translate({at}) rotate(-90)">{n}</text>')
    label = "Accuracy by confidence, with the faces in each bin; the same values are in the table"
    return Markup(
        f'<svg class="reliability" width="{side + 40}" height="{top + COUNTS_PX + 2}" role="img" '
        f'aria-label="{label}"><g transform="translate(30 8)">{"".join(parts)}</g></svg>'
    )


def _bins_table(bins: Sequence[Json]) -> Table:
    rows: list[Row] = [
        [
            f"{one['low']:.2f} to {one['high']:.2f}",
            count(one["accuracy"]["n"]),
            number(one["confidence"]),
            figure_cell(one["accuracy"]),
        ]
        for one in bins
        if one["accuracy"]["n"]
    ]
    empty = len(bins) - len(rows)
    caption = "Bins of confidence" + (f"; {counted(empty, 'empty bin')} left out" if empty else "")
    head = ["confidence", "n", "mean", "accuracy"]
    return Table(caption, head, rows, css="figures close")


def training_history(training: Json | None) -> Json | None:
    """Return the charts and the table of loss and accuracy by epoch; None if they are unknown."""
    if training is None:
        return None
    columns = {current_key(name): values for name, values in training["columns"].items()}
    best = training["best_epoch"]
    charts = []
    for title, ending in (("Loss", True), ("Accuracy", False)):
        lines = [
            line
            for line in _LINES
            if line[0].endswith("_loss") == ending
            and any(x is not None for x in columns.get(line[0], ()))
        ]
        if lines:
            ends = columns["epoch"][0], columns["epoch"][-1]
            items = [(css, text) for _, css, text in lines]
            charts.append((title, _epochs_chart(title, columns, lines, best), *ends, items))
    return {"best": best, "charts": charts, "table": _epochs_table(columns)}


def _epochs_chart(
    title: str, columns: Json, lines: Sequence[tuple[str, str, str]], best: float | None
) -> Markup:
    epochs = columns["epoch"]
    values = [x for name, _, _ in lines for x in columns[name] if x is not None]
    low, high, step = _scale(min(values), max(values))
    first, last = epochs[0], epochs[-1]
    paths = []
    if best is not None and last > first:
        x = f"{1000 * (best - first) / (last - first):.1f}"
        paths.append(f'<path class="best" d="M{x} 0V1000"/>')
    for name, css, _ in lines:
        points = [
            (1000 * (e - first) / max(last - first, 1), 1000 * (high - v) / (high - low))
            for e, v in zip(epochs, columns[name], strict=True)
            if v is not None and e is not None
        ]
        d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        paths.append(f'<path class="line {css}" d="{d}{"h0" if len(points) == 1 else ""}"/>')
    ticks = [low + i * step for i in range(round((high - low) / step) + 1)]
    rules = "".join(
        f'<path class="mesh" d="M0 {1000 * (high - t) / (high - low):.1f}h1000"/>' for t in ticks
    )
    scale = "".join(
        f'<text x="100%" y="{100 * (high - t) / (high - low):.2f}%" dy="4" text-anchor="end">'
        f"{t:.4g}</text>"
        for t in ticks
    )
    label = f"{title} by epoch; the same values are in the table below"
    return Markup(
        f'<div class="chart"><svg class="axis scale" width="100%" height="200" '
        f'aria-hidden="true">{scale}</svg><svg class="plot" width="100%" height="200" '
        f'viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"{rules}{''.join(paths)}</svg></div>"
    )


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """Return the ends and the step of a scale of about four round steps."""
    span = max(high - low, 1e-6)
    power = 10 ** math.floor(math.log10(span / 3))
    step = next(m * power for m in (1, 2, 5, 10) if span / (m * power) <= 5)
    start, end = math.floor(low / step) * step, math.ceil(high / step) * step
    return start, end if end > start else start + step, step


def _epochs_table(columns: Mapping[str, Sequence[Any]]) -> Table:
    names = [name for name in columns if name != "epoch"]
    rows = [
        [f"{epoch:g}", *(number(columns[name][i]) for name in names)]
        for i, epoch in enumerate(columns["epoch"])
    ]
    head = ["epoch", *(name.replace("_", " ") for name in names)]
    return Table("All epochs", head, rows, css="tall")


def embedding_maps(evaluation: Json) -> list[tuple[str, Markup, list[tuple[str, str]]]]:
    """Return title, chart and legend of each map, none if there is no map."""
    drawn = evaluation["map"]
    if drawn is None:
        return []
    return [
        (title, *_embedding_map(drawn, drawn["group" if grouped else "label"], level, grouped))
        for title, level, grouped in levels(evaluation)
    ]


def _embedding_map(
    drawn: Json, values: Sequence[str | None], level: Json, grouped: bool
) -> tuple[Markup, list[tuple[str, str]]]:
    names = level["names"]
    of = {name: [i for i, v in enumerate(values) if v == name] for name in [*names, None]}
    css_of = {name: color_class(name, names, grouped=grouped) for name in names}
    css_of[None] = "g-none"
    paths = []
    for layer in range(MAP_LAYERS):
        for name, rows in of.items():
            d = "".join(
                f"M{1000 * drawn['x'][i]:.0f} {1000 * (1 - drawn['y'][i]):.0f}h0"
                for i in rows[layer::MAP_LAYERS]
            )
            if d:
                paths.append(f'<path class="points {css_of[name]}" d="{d}"/>')
    items = [(css_of[name], f"{name} ({count(len(of[name]))})") for name in names]
    if of[None]:
        items.append(("g-none", f"in no group ({count(len(of[None]))})"))
    label = f"Map of the embeddings, colored by label: {', '.join(text for _, text in items)}"
    chart = Markup(
        f'<svg class="map" width="100%" viewBox="{_view_box(drawn)}" role="img" '
        f'aria-label="{escape(label)}">{"".join(paths)}</svg>'
    )
    return chart, items


def _view_box(drawn: Json) -> str:
    """The part of the square that holds points, with a margin."""
    left, right = 1000 * min(drawn["x"]) - 20, 1000 * max(drawn["x"]) + 20
    top, foot = 1000 * (1 - max(drawn["y"])) - 20, 1000 * (1 - min(drawn["y"])) + 20
    return f"{left:.0f} {top:.0f} {right - left:.0f} {foot - top:.0f}"


def draw_whisker(figure: Json, whole: float | None, start: float) -> Markup:
    """Return a figure as a dot and its interval as a line, on an axis from start to 1.

    whole: the figure of all faces, marked by a thin line.
    """

    def x(value: float) -> str:
        return f"{(value - start) / max(1 - start, 1e-9) * (WHISKER_PX - 8) + 4:.1f}"

    middle = WHISKER_HEIGHT_PX // 2
    parts = []
    if whole is not None:
        ends = f'x1="{x(whole)}" x2="{x(whole)}" y2="{WHISKER_HEIGHT_PX}"'
        parts.append(f'<line class="whole" {ends}/>')
    if figure["low"] is not None:
        ends = f'x1="{x(figure["low"])}" x2="{x(figure["high"])}"'
        parts.append(f'<line class="reach" {ends} y1="{middle}" y2="{middle}"/>')
    if figure["value"] is not None:
        parts.append(f'<circle class="dot" cx="{x(figure["value"])}" cy="{middle}" r="3.5"/>')
    size = f'width="{WHISKER_PX}" height="{WHISKER_HEIGHT_PX}"'
    return Markup(f'<svg class="whisker" {size} aria-hidden="true">{"".join(parts)}</svg>')
