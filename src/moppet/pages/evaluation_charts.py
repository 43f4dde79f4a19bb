"""Charts of an evaluation: ROC, reliability, epochs, embedding map, confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from moppet.pages.report_tables import build_table, format_share, section, swatch
from moppet.pages.wording import Json, cell, colour, count, interval, legend, levels, number

ROC_PX = 138
BINS_PX, COUNTS_PX = 290, 84
_LINES = (
    ("train_loss", "g-neutral", "training"),
    ("val_loss", "g-positive", "set aside"),
    ("train_accuracy", "g-neutral", "training"),
    ("val_accuracy", "g-positive", "set aside"),
    ("val_balanced", "e-disgust", "set aside, balanced"),
)


def build_roc(evaluation: Json) -> str:
    """Return a small ROC curve for each class and group, the others faint behind it."""
    about = (
        "Up: share of the class's faces that are found; across: share of the other faces taken "
        "for it; both from 0 to 1. The dot is where the model's own decision lies, the faint "
        "lines are the other classes."
    )
    body = f'<p class="about">{about}</p>'
    for title, level, grouped in levels(evaluation):
        panels = "".join(_roc_panel(name, level, grouped=grouped) for name in level["names"])
        body += f'<h3>{title}</h3><div class="rocs">{panels}</div>'
    return section("roc", "Telling one class from the others", body)


def _roc_panel(name: str, level: Json, *, grouped: bool) -> str:
    whole = level["parts"]["all"]
    area = whole["per_class"]["auc"][name]
    css = colour(name, level["names"], grouped=grouped)
    lines = [
        f'<path class="ghost" d="{_roc_path(points)}"/>'
        for other, points in level["roc"].items()
        if other != name and points
    ]
    points = level["roc"][name]
    if points:
        lines.append(f'<path class="line {css}" d="{_roc_path(points)}"/>')
        lines.append(_decision(name, level, css))
    limits = interval(area)
    small = f"<small>{limits}</small>" if limits else ""
    half = ROC_PX / 2
    grid = f'<path class="mesh" d="M{half} 0v{ROC_PX}M0 {half}h{ROC_PX}M0 {ROC_PX}L{ROC_PX} 0"/>'
    label = f"ROC curve of {name}: area {number(area['value'])}"
    return (
        f'<figure><svg class="roc" viewBox="0 0 {ROC_PX} {ROC_PX}" role="img" '
        f'aria-label="{escape(label)}">{grid}{"".join(lines)}</svg><figcaption>'
        f"<strong>{swatch(css)}{escape(name)}</strong><span>AUC {number(area['value'])}</span>"
        f"{small}<small>n = {count(area['n'])}</small></figcaption></figure>"
    )


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


def build_reliability(evaluation: Json) -> str:
    """Return the diagram and the table of confidence against accuracy."""
    about = (
        "Faces by the model's confidence, in 15 equal bins: on the diagonal the model is right as "
        "often as it says, below it the model is too sure. The bars are 95 % intervals; the "
        "columns below say how many faces a bin holds."
    )
    body = f'<p class="about">{about}</p>'
    for title, level, _ in levels(evaluation):
        bins = level["reliability"]
        error = level["parts"]["all"]["overall"]["ece"]
        heading = f"<h3>{title}: calibration error {number(error['value'])}</h3>"
        body += f'{heading}<div class="pair bins">{_bins_chart(bins)}{_bins_table(bins)}</div>'
    return section("reliability", "Confidence and accuracy", body)


def _bins_chart(bins: Sequence[Json]) -> str:
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
    label = "Accuracy by confidence, with the faces in each bin; the same values stand in the table"
    return (
        f'<svg class="reliability" width="{side + 40}" height="{top + COUNTS_PX + 2}" role="img" '
        f'aria-label="{label}"><g transform="translate(30 8)">{"".join(parts)}</g></svg>'
    )


def _bins_table(bins: Sequence[Json]) -> str:
    rows = [
        [
            f"{one['low']:.2f} to {one['high']:.2f}",
            count(one["accuracy"]["n"]),
            number(one["confidence"]),
            cell(one["accuracy"]),
        ]
        for one in bins
        if one["accuracy"]["n"]
    ]
    empty = len(bins) - len(rows)
    caption = "Bins of confidence" + (f"; {empty} empty ones are left out" if empty else "")
    head = ["confidence", "n", "mean", "accuracy"]
    return build_table(caption, head, rows, css="figures close")


def build_training(evaluation: Json) -> str:
    """Return loss and accuracy by epoch, or that the model folder does not tell."""
    training = evaluation["training"]
    if training is None:
        return section(
            "training",
            "Training",
            '<p class="none">The model folder holds no training.csv, so the course of its '
            "training is not known.</p>",
        )
    columns = training["columns"]
    best = training["best_epoch"]
    about = "Training rows are seen in random views, so that their loss can be the higher one."
    if best is not None:
        about = f"The loss on the rows set aside was lowest after epoch {best:g}. {about}"
    body = f'<p class="about">{about}</p><div class="pair">'
    for title, ending in (("Loss", "_loss"), ("Accuracy", "")):
        lines = [
            line
            for line in _LINES
            if line[0] in columns
            and line[0].endswith("_loss") == (ending == "_loss")
            and any(x is not None for x in columns[line[0]])
        ]
        if lines:
            body += _epochs_chart(title, columns, lines, best)
    body += "</div>" + _epochs_table(columns)
    return section("training", "Training", body)


def _epochs_chart(
    title: str, columns: Json, lines: Sequence[tuple[str, str, str]], best: float | None
) -> str:
    epochs = columns["epoch"]
    values = [x for name, _, _ in lines for x in columns[name] if x is not None]
    low, high, step = _tidy(min(values), max(values))
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
    items = [(css, text) for _, css, text in lines]
    label = f"{title} by epoch; the same values stand in the table below"
    return (
        f'<figure class="lane epochs"><figcaption><h3>{title}</h3></figcaption>'
        f'<div class="chart"><svg class="axis scale" width="100%" height="200" '
        f'aria-hidden="true">{scale}</svg><svg class="plot" width="100%" height="200" '
        f'viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'{rules}{"".join(paths)}</svg></div><p class="ends"><span>epoch {first:g}</span>'
        f"<span>{last:g}</span></p>{legend(items)}</figure>"
    )


def _tidy(low: float, high: float) -> tuple[float, float, float]:
    """Ends and step of a scale with about four tidy steps."""
    span = max(high - low, 1e-6)
    power = 10 ** math.floor(math.log10(span / 3))
    step = next(m * power for m in (1, 2, 5, 10) if span / (m * power) <= 5)
    start, end = math.floor(low / step) * step, math.ceil(high / step) * step
    return start, end if end > start else start + step, step


def _epochs_table(columns: Json) -> str:
    names = [name for name in columns if name != "epoch"]
    rows = [
        [f"{epoch:g}", *(number(columns[name][i]) for name in names)]
        for i, epoch in enumerate(columns["epoch"])
    ]
    head = ["epoch", *(name.replace("_", " ") for name in names)]
    table = build_table("Every epoch", head, rows, css="tall")
    return f"<details><summary>Every epoch as a table</summary>{table}</details>"


LAYERS = 6
"""Points are drawn in so many turns, so that no class lies wholly on top of another."""


def build_map(evaluation: Json) -> str:
    """Return the maps, or nothing but the note at the top where there is none."""
    drawn = evaluation["map"]
    if drawn is None:
        why = "There is no map; the notes at the top of the page say why."
        return section("map", "Embedding map", f'<p class="none">{why}</p>')
    about = (
        f"{count(drawn['n'])} of the faces, near to each other where the network finds them "
        f"alike, colored by their label: {drawn['method']}. Directions, distances across the "
        "map and the sizes of islands mean nothing."
    )
    figures = []
    for title, level, grouped in levels(evaluation):
        values = drawn["group" if grouped else "label"]
        figures.append(_figure(title, drawn, values, level["names"], grouped=grouped))
    body = f'<p class="about">{escape(about)}</p><div class="pair">{"".join(figures)}</div>'
    return section("map", "Embedding map", body)


def _figure(
    title: str, drawn: Json, values: Sequence[str | None], names: Sequence[str], *, grouped: bool
) -> str:
    of = {name: [i for i, v in enumerate(values) if v == name] for name in [*names, None]}
    paths = []
    for layer in range(LAYERS):
        for name, rows in of.items():
            css = "g-none" if name is None else colour(name, names, grouped=grouped)
            d = "".join(
                f"M{1000 * drawn['x'][i]:.0f} {1000 * (1 - drawn['y'][i]):.0f}h0"
                for i in rows[layer::LAYERS]
            )
            if d:
                paths.append(f'<path class="points {css}" d="{d}"/>')
    items = [
        (colour(name, names, grouped=grouped), f"{name} ({count(len(of[name]))})") for name in names
    ]
    if of[None]:
        items.append(("g-none", f"in no group ({count(len(of[None]))})"))
    label = f"Map of the embeddings, colored by label: {', '.join(text for _, text in items)}"
    return (
        f'<figure class="lane"><figcaption><h3>{title}</h3></figcaption>'
        f'<svg class="map" width="100%" viewBox="{_view_box(drawn)}" role="img" '
        f'aria-label="{escape(label)}">{"".join(paths)}</svg>{legend(items)}</figure>'
    )


def _view_box(drawn: Json) -> str:
    """The part of the square that holds points, with a margin."""
    left, right = 1000 * min(drawn["x"]) - 20, 1000 * max(drawn["x"]) + 20
    top, foot = 1000 * (1 - max(drawn["y"])) - 20, 1000 * (1 - min(drawn["y"])) + 20
    return f"{left:.0f} {top:.0f} {right - left:.0f} {foot - top:.0f}"


STEPS = 20


def build_matrices(evaluation: Json) -> str:
    """Return the matrix of the classes, and that of the groups."""
    tables = "".join(
        f"<figure><h3>{title}</h3>{_matrix(level['names'], level['parts']['all']['confusion'])}"
        "</figure>"
        for title, level, _ in levels(evaluation)
    )
    about = (
        "One row for each label, one column for what the model read: how many faces, and their "
        "share of the row. Right readings are blue, mistakes orange; the stronger the color, the "
        "more of the row."
    )
    body = f'<p class="about">{about}</p><div class="pair matrices">{tables}</div>'
    return section("confusion", "What is taken for what", body)


def _matrix(names: list[str], counts: list[list[int]]) -> str:
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    body = []
    for i, name in enumerate(names):
        total = sum(counts[i])
        cells = "".join(_cell(n, total, i == j) for j, n in enumerate(counts[i]))
        body.append(
            f'<tr><th scope="row">{escape(name)}</th>{cells}<td class="n sum">{count(total)}</td>'
            "</tr>"
        )
    read = [sum(row[j] for row in counts) for j in range(len(names))]
    sums = "".join(f'<td class="n sum">{count(n)}</td>' for n in read)
    caption = "Rows: label. Columns: read by the model."
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f'<table class="confusion"><caption>{caption}</caption><thead><tr><td></td>{head}'
        f'<th scope="col"><span>n</span></th></tr></thead><tbody>{"".join(body)}'
        f'<tr><th scope="row">read</th>{sums}<td class="n sum">{count(sum(read))}</td></tr>'
        "</tbody></table></div>"
    )


def _cell(n: int, total: int, right: bool) -> str:
    if not total:
        return '<td class="n zero">–</td>'
    if not n:
        return '<td class="n zero">0</td>'
    depth = max(1, round(STEPS * n / total))
    kind = "hit" if right else "miss"
    return f'<td class="n {kind} d{depth}">{count(n)}<small>{format_share(n / total)}</small></td>'
