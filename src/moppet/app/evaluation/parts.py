"""Results by age band, by whether a face was found, and by columns of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from moppet.app.evaluation.words import (
    FIGURES,
    Json,
    cell,
    count,
    count_cell,
    levels,
    number,
    p_value,
    with_interval,
)
from moppet.app.report.content import section
from moppet.app.report.tables import build_table

WIDTH_PX, HEIGHT_PX = 150, 16
_COLUMNS = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
_RATERS = {
    "model_plurality_agreement": "model as the raters",
    "human_plurality_agreement": "a rater as the others",
}


def build_parts(evaluation: Json) -> str:
    """Return the tables of parts, the gap in words, and the recalls of each class by part."""
    body = _gaps(evaluation)
    for title, level, grouped in levels(evaluation):
        kind = "groups" if grouped else "classes"
        tables = _table(level["parts"], f"By age, and by whether a face was found: {kind}", level)
        tables += _recalls(level)
        for column, parts in level["by"].items():
            tables += _table(parts, f"By {column}: {kind}", level)
        if grouped:
            tables = f"<details><summary>{title}, part by part</summary>{tables}</details>"
        body += tables
    return section("parts", "Part by part", body)


def _table(parts: Mapping[str, Json], caption: str, level: Json) -> str:
    whole = level["parts"]["all"]["overall"]["accuracy"]
    lowest = [part["overall"]["accuracy"]["low"] for part in parts.values()]
    known = [x for x in [*lowest, whole["low"], whole["value"]] if x is not None]
    start = math.floor(10 * min(known)) / 10 if known else 0.0
    raters = [name for name in _RATERS if name in level["parts"]["all"]["overall"]]
    rows = [
        [
            escape(name),
            count_cell(part["n"]),
            f"<td>{_whisker(part['overall']['accuracy'], whole['value'], start)}</td>",
            *(cell(part["overall"][figure]) for figure in _COLUMNS),
            *(cell(part["overall"][figure]) for figure in raters),
        ]
        for name, part in parts.items()
    ]
    scale = f"accuracy, {start:.1f} to 1"
    head = ["part", "n", scale, *(FIGURES[name] for name in _COLUMNS)]
    head += [_RATERS[name] for name in raters]
    tall = " tall" if len(rows) > 20 else ""
    return build_table(caption, head, rows, css=f"figures sortable{tall}")


def _whisker(figure: Json, whole: float | None, start: float) -> str:
    """The figure as a dot, its interval as a line; the thin line marks all faces."""

    def x(value: float) -> str:
        return f"{(value - start) / max(1 - start, 1e-9) * (WIDTH_PX - 8) + 4:.1f}"

    middle = HEIGHT_PX // 2
    parts = []
    if whole is not None:
        parts.append(f'<line class="whole" x1="{x(whole)}" x2="{x(whole)}" y2="{HEIGHT_PX}"/>')
    if figure["low"] is not None:
        ends = f'x1="{x(figure["low"])}" x2="{x(figure["high"])}"'
        parts.append(f'<line class="reach" {ends} y1="{middle}" y2="{middle}"/>')
    if figure["value"] is not None:
        parts.append(f'<circle class="dot" cx="{x(figure["value"])}" cy="{middle}" r="3.5"/>')
    size = f'width="{WIDTH_PX}" height="{HEIGHT_PX}"'
    return f'<svg class="whisker" {size} aria-hidden="true">{"".join(parts)}</svg>'


def _recalls(level: Json) -> str:
    """Recall of each class in the age bands."""
    parts: dict[str, Any] = {
        name: part for name, part in level["parts"].items() if not name.endswith("face found")
    }
    if len(parts) < 2:
        return ""
    rows = [
        [escape(name)] + [_recall(part["per_class"]["recall"][name]) for part in parts.values()]
        for name in level["names"]
    ]
    return build_table("Recall by age, with n", ["recall", *parts], rows, css="figures")


def _recall(figure: Json) -> str:
    value = cell(figure)
    return value.replace("</td>", f"<small>n = {count(figure['n'])}</small></td>")


def _gaps(evaluation: Json) -> str:
    gaps = evaluation["classes"]["gaps"]
    if not gaps:
        return (
            '<p class="about">The data does not say who is an infant or a child and who is not, '
            "so there is no gap between them to be told.</p>"
        )
    return "".join(f'<p class="about">{_gap(gap)}</p>' for gap in gaps)


def _gap(gap: Json) -> str:
    figures = gap["figures"]
    model = figures["accuracy"]
    who = "adults" if gap["others"] == "adult" else "all others whose age is known"
    text = (
        f"Infants and children ({count(gap['n_children'])} faces) against {who} "
        f"({count(gap['n_others'])}): the model's accuracy differs by "
        f"{with_interval(model, signed=True)}, p {_equals(model['p'])}."
    )
    rater, wider = figures.get("one_rater"), figures.get("accuracy_less_one_rater")
    if rater is not None and wider is not None:
        text += (
            " One human rater's agreement with the labels differs by "
            f"{with_interval(rater, signed=True)}; the model's gap less the rater's is "
            f"{with_interval(wider, signed=True)}."
        )
    balanced = figures.get("balanced_accuracy")
    if balanced is not None:
        text += f" In balanced accuracy the gap is {number(balanced['value'], signed=True)}."
    return text


def _equals(p: float | None) -> str:
    text = p_value(p)
    return text if text.startswith("under") else f"= {text}"
