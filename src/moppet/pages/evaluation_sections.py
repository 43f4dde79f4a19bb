"""Sections of an evaluation: subgroups, comparison of two models, worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from moppet.pages.report_tables import build_table, format_share, section
from moppet.pages.wording import (
    FIGURES,
    Json,
    cell,
    count,
    count_cell,
    key,
    levels,
    number,
    p_value,
    with_interval,
)

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


_BY_PART = ("accuracy", "balanced_accuracy", "macro_f1")


def build_against(evaluation: Json) -> str:
    """Return the comparison with a second model, nothing if there was none."""
    against = evaluation["against"]
    if against is None:
        return ""
    first, second = evaluation["made"]["model"]["name"], against["model"]["name"]
    if first == second:
        first, second = f"{first} (first)", f"{second} (second)"
    body = (
        f'<p class="about">{_sentence(against, first, second)}</p>'
        + _overall(against, first, second)
        + _classes(against)
        + _areas(against, first, second)
        + _parts(against, first, second)
    )
    return section("against", f"Against {second}", body)


def _sentence(against: Json, first: str, second: str) -> str:
    mcnemar = against["mcnemar"]
    text = (
        f"On the same {count(against['n'])} faces, {escape(first)} alone is right in "
        f"{count(mcnemar['only_first'])}, {escape(second)} alone in "
        f"{count(mcnemar['only_second'])}: McNemar's exact test gives p "
        f"{_equals(mcnemar['p'])} (mid-p {_equals(mcnemar['p_mid'])})."
    )
    text += "".join(f" {escape(said)}" for said in left_out(against, first, second))
    if against["groups"] < against["n"]:
        text += (
            f" McNemar and DeLong take the faces as independent, but they are only "
            f"{count(against['groups'])} subjects or different images: believe the paired "
            "bootstrap where they differ."
        )
    return text + " The p-values are not adjusted for their number."


def left_out(against: Json, first: str, second: str) -> list[str]:
    """Return sentences that say which faces and probabilities a comparison leaves out."""
    said = []
    if against["left_out"]:
        faces = count(against["faces_left_out"])
        said.append(
            f"{second} does not know {', '.join(against['left_out'])}: the comparison leaves "
            f"these {faces} faces out, and {first}'s probabilities of these classes."
        )
    if against["second_left_out"]:
        said.append(
            f"{second}'s probabilities of {', '.join(against['second_left_out'])} are left out, "
            f"for {first} or the data does not know them."
        )
    return said


def _overall(against: Json, first: str, second: str) -> str:
    rows = []
    for name, title in FIGURES.items():
        difference = against["differences"]["all"].get(name)
        if difference is None or difference["value"] is None:
            continue
        rows.append(
            [
                escape(title),
                cell(against["first"]["overall"][name]),
                cell(against["second"]["overall"][name]),
                cell(difference, signed=True),
                p_value(difference["p"]),
            ]
        )
    head = ["figure", first, second, "difference", "p"]
    return build_table("All faces; paired bootstrap", head, rows, css="figures")


def _classes(against: Json) -> str:
    names = against["names"]
    differences = against["differences"]["all"]
    rows = [
        [
            key(name, names, grouped=False),
            count(against["first"]["per_class"]["recall"][name]["n"]),
            *(
                part
                for figure in ("recall", "f1")
                for part in (
                    cell(differences[f"{figure}/{name}"], signed=True),
                    p_value(differences[f"{figure}/{name}"]["p"]),
                )
            ),
        ]
        for name in names
    ]
    head = ["class", "n", "recall differs by", "p", "F1 differs by", "p"]
    return build_table("Each class; paired bootstrap", head, rows, css="figures")


def _areas(against: Json, first: str, second: str) -> str:
    rows = [
        [
            key(name, against["names"], grouped=False),
            f"{_area(test['first'])}",
            f"{_area(test['second'])}",
            cell(test, signed=True),
            p_value(test["p"]),
        ]
        for name, test in against["auc"].items()
    ]
    head = ["class", first, second, "difference", "p"]
    return build_table(
        "Each class against the others: area under the ROC curve; DeLong's test",
        head,
        rows,
        css="figures",
    )


def _area(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _parts(against: Json, first: str, second: str) -> str:
    parts = {k: v for k, v in against["differences"].items() if k != "all"}
    if not parts:
        return ""
    rows = [
        [
            escape(name),
            count(figures["accuracy"]["n"]),
            *(cell(figures[figure], signed=True) for figure in _BY_PART),
        ]
        for name, figures in parts.items()
    ]
    head = ["part", "n", *(FIGURES[name] for name in _BY_PART)]
    caption = f"{first} less {second}, by age; paired bootstrap"
    return build_table(caption, head, rows, css="figures")


def build_mistakes(evaluation: Json, pictures: Mapping[int, str] | None) -> str:
    """Return the mistakes, the most confident first."""
    mistakes = evaluation["mistakes"]
    if not mistakes:
        return section("mistakes", "Worst mistakes", '<p class="none">There is none.</p>')
    about = (
        f"The {count(len(mistakes))} most confident mistakes. Some are mistakes of the label: "
        "where the data has votes, see how many of the raters chose it."
    )
    if pictures is None:
        about += " <code>--show-faces</code> shows the faces too."
    sheet = "" if pictures is None else _sheet(mistakes, pictures)
    body = f'<p class="about">{about}</p>{sheet}{_mistakes_table(mistakes)}'
    return section("mistakes", "Worst mistakes", body)


def _sheet(mistakes: list[Json], pictures: Mapping[int, str]) -> str:
    figures = []
    for one in mistakes:
        uri = pictures.get(one["row"])
        if uri is None:
            continue
        text = f"{escape(one['label'])}, read as {escape(one['read_as'])}"
        figures.append(
            f'<figure><img src="{escape(uri)}" width="96" height="96" alt="Face in row '
            f'{one["row"]}: {text}"><figcaption>{text}, {format_share(one["confidence"])}<br>'
            f"row {one['row']}</figcaption></figure>"
        )
    return f'<div class="moments">{"".join(figures)}</div>'


def _mistakes_table(mistakes: list[Json]) -> str:
    voted = any(one["votes_on_label"] is not None for one in mistakes)
    aged = any(one["age_band"] is not None for one in mistakes)
    rows = []
    for one in mistakes:
        cells = [
            f'<th scope="row" data-v="{one["row"]}">{one["row"]}</th>',
            f'<td class="path">{escape(_place(one))}</td>',
            f"<td>{escape(one['label'])}</td>",
            f"<td>{escape(one['read_as'])}</td>",
            *([f"<td>{escape(one['age_band'] or '–')}</td>"] if aged else []),
            f"<td>{'yes' if one['face_found'] else 'no'}</td>",
            _share(one["confidence"]),
            _share(one["p_label"]),
            *([_share(one["votes_on_label"])] if voted else []),
        ]
        rows.append(cells)
    head = [
        *("row", "picture", "label", "read as"),
        *(["age band"] if aged else []),
        *("face found", "confidence", "probability of the label"),
        *(["votes for the label"] if voted else []),
    ]
    words = 6 if aged else 5
    return build_table("Mistakes", head, rows, css="sortable tall", words=words)


def _share(value: float | None) -> str:
    order = -1 if value is None else value
    return f'<td class=n data-v="{order:.6g}">{format_share(value)}</td>'


def _place(one: Json) -> str:
    place = str(one["path"])
    if one["array_row"] is not None:
        return f"{place} [{one['array_row']}]"
    return f"{place} at {one['time_s']:.2f} s" if one["time_s"] is not None else place
