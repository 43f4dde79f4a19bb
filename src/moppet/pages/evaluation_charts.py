"""Charts of an evaluation: the paths and places that its template draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from moppet.pages.html_tables import Row, Table, color_class, figure_cell
from moppet.pages.wording import Json, count, counted, levels, number
from moppet.vocabulary import current_key

UNITS: Final = 1000
"""Units of a path across and upwards; the browser stretches them."""
MAP_LAYERS: Final = 6
"""Points are drawn in so many turns, so that no class lies wholly on top of another."""
_LINES: Final = (
    ("train_loss", "g-neutral", "training"),
    ("val_loss", "g-positive", "validation"),
    ("train_accuracy", "g-neutral", "training"),
    ("val_accuracy", "g-positive", "validation"),
    ("val_balanced", "e-disgust", "validation, balanced"),
)


def _path(points: Iterable[tuple[float, float]]) -> str:
    """Return a line through points in the unit square, up is more; nothing without points."""
    places = [f"{UNITS * x:.1f} {UNITS * (1 - y):.1f}" for x, y in points]
    return "M" + "L".join(places) + "h0" * (len(places) == 1) if places else ""


def roc_panels(level: Json, grouped: bool) -> Iterator[Json]:
    """Yield each class or group: its ROC curve, its area and the model's decision."""
    for name in level["names"]:
        yield {
            "name": name,
            "css": color_class(name, level["names"], grouped=grouped),
            "area": level["parts"]["all"]["per_class"]["auc"][name],
            "path": _path(level["roc"][name] or ()),
            "decision": _decision(name, level),
        }


def _decision(name: str, level: Json) -> tuple[float, float] | None:
    counts, i = level["parts"]["all"]["confusion"], level["names"].index(name)
    true, predicted = sum(counts[i]), sum(row[i] for row in counts)
    others = sum(map(sum, counts)) - true
    if not true or not others:
        return None
    return (predicted - counts[i][i]) / others, counts[i][i] / true


def reliability_table(bins: Sequence[Json]) -> Table:
    """Return the accuracy in each bin of confidence that holds faces."""
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
    best, charts = training["best_epoch"], []
    for title, ending in (("Loss", True), ("Accuracy", False)):
        lines = [
            line
            for line in _LINES
            if line[0].endswith("_loss") == ending
            and any(x is not None for x in columns.get(line[0], ()))
        ]
        if lines:
            charts.append(_epochs_chart(title, columns, lines, best))
    return {"best": best, "charts": charts, "table": _epochs_table(columns)}


def _epochs_chart(
    title: str, columns: Json, lines: Sequence[tuple[str, str, str]], best: float | None
) -> Json:
    epochs = columns["epoch"]
    low, high, step = _scale([x for name, _, _ in lines for x in columns[name] if x is not None])
    first, last = epochs[0], epochs[-1]

    def points(name: str) -> Iterator[tuple[float, float]]:
        for epoch, value in zip(epochs, columns[name], strict=True):
            if value is not None and epoch is not None:
                yield (epoch - first) / max(last - first, 1), (value - low) / (high - low)

    ticks = [low + i * step for i in range(round((high - low) / step) + 1)]
    return {
        "title": title,
        "first": first,
        "last": last,
        "best": None if best is None or last <= first else (best - first) / (last - first),
        "lines": [(css, _path(points(name))) for name, css, _ in lines],
        "ticks": [(1 - (tick - low) / (high - low), f"{tick:.4g}") for tick in ticks],
        "items": [(css, text) for _, css, text in lines],
    }


def _scale(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the ends and the step of a scale of about four round steps."""
    span = max(max(values) - min(values), 1e-6)
    power = 10 ** math.floor(math.log10(span / 3))
    step = next(m * power for m in (1, 2, 5, 10) if span / (m * power) <= 5)
    start, end = math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step
    return start, end if end > start else start + step, step


def _epochs_table(columns: Mapping[str, Sequence[Any]]) -> Table:
    names = [name for name in columns if name != "epoch"]
    rows = [
        [f"{epoch:g}", *(number(columns[name][i]) for name in names)]
        for i, epoch in enumerate(columns["epoch"])
    ]
    head = ["epoch", *(name.replace("_", " ") for name in names)]
    return Table("All epochs", head, rows, css="tall")


def embedding_maps(evaluation: Json) -> Iterator[Json]:
    """Yield title, points, view box and legend of each map, none if there is no map."""
    drawn = evaluation["map"]
    for title, level, grouped in levels(evaluation) if drawn else []:
        names, values = level["names"], drawn["group" if grouped else "label"]
        of = {name: [i for i, v in enumerate(values) if v == name] for name in [*names, None]}
        css = {name: color_class(name, names, grouped=grouped) for name in names}
        items = [(css[name], f"{name} ({count(len(of[name]))})") for name in names]
        if of[None]:
            items.append(("g-none", f"in no group ({count(len(of[None]))})"))
        paths = [
            (css.get(name, "g-none"), _dots(drawn, rows[layer::MAP_LAYERS]))
            for layer in range(MAP_LAYERS)
            for name, rows in of.items()
        ]
        paths = [(css, d) for css, d in paths if d]
        yield {"title": title, "paths": paths, "items": items, "view_box": _view_box(drawn)}


def _dots(drawn: Json, rows: Sequence[int]) -> str:
    return "".join(
        f"M{UNITS * drawn['x'][i]:.0f} {UNITS * (1 - drawn['y'][i]):.0f}h0" for i in rows
    )


def _view_box(drawn: Json) -> str:
    """The part of the square that holds points, with a margin."""
    left, right = UNITS * min(drawn["x"]) - 20, UNITS * max(drawn["x"]) + 20
    top, foot = UNITS * (1 - max(drawn["y"])) - 20, UNITS * (1 - min(drawn["y"])) + 20
    return f"{left:.0f} {top:.0f} {right - left:.0f} {foot - top:.0f}"
