"""The top of the page: what was evaluated, what a reader must know, and the key figures."""

from __future__ import annotations

from html import escape
from typing import Any

from moppet.app.evaluation.words import (
    FIGURES,
    MEANINGS,
    Json,
    cell,
    count,
    interval,
    key,
    levels,
    number,
    with_interval,
)
from moppet.app.report.content import section
from moppet.app.report.tables import build_table

LIMITS = (
    "These figures say how often the model reads the label that people gave to a face. They hold "
    "for faces like these; an expression is not a feeling, and a label is not the truth of one."
)
_CARDS = ("accuracy", "balanced_accuracy", "macro_f1", "ece")


def title_of(evaluation: Json) -> str:
    """Return the model's name and the data's."""
    made = evaluation["made"]
    return f"{made['model']['name']} on {data_name(evaluation)}"


def data_name(evaluation: Json) -> str:
    """Return what the data is called: its file or folder, else its sources."""
    data = evaluation["made"]["data"]
    return str(data.get("name") or ", ".join(data["sources"]) or "unnamed data")


def build_header(evaluation: Json) -> str:
    """Return the title, the rows in a line, the limits, and the notes."""
    made, rows = evaluation["made"], evaluation["rows"]
    which = "every row" if made["split"] == "all" else f"split {made['split']}"
    facts = [
        f"{count(rows['evaluated'])} labelled faces",
        which + _left_out(rows),
        f"{len(evaluation['classes']['names'])} classes",
    ]
    if made.get("made_at"):
        facts.append(f"evaluated {made['made_at'][:10]}")
    about = " · ".join(f'<span class="fact">{escape(fact)}</span>' for fact in facts)
    notes = "".join(f'<p class="warn">{escape(note)}</p>' for note in evaluation["notes"])
    return (
        '<header><p class="kicker">moppet · how a model reads labelled faces</p>'
        f"<h1>{escape(title_of(evaluation))}</h1><p>{about}</p>"
        f'<p class="limits">{LIMITS}</p>{notes}</header>'
    )


def _left_out(rows: Json) -> str:
    n = rows["without_label"]
    return f" ({count(n)} more have no label)" if n else ""


def build_figures(evaluation: Json) -> str:
    """Return the headline cards, all figures as a table, and those of each class."""
    whole = evaluation["classes"]["parts"]["all"]
    cards = [_card(FIGURES[name], whole["overall"][name]) for name in _CARDS]
    cards += [*_group_card(evaluation), *_rater_card(whole), *_gap_card(evaluation)]
    cards.append(_found_card(evaluation))
    tables = [_overall_table(evaluation)]
    tables += [_class_table(level, grouped) for _, level, grouped in levels(evaluation)]
    body = f'<dl class="cards">{"".join(cards)}</dl>{_baseline(whole)}{"".join(tables)}'
    return section("figures", "Key figures", body)


def _card(title: str, figure: Json, *, signed: bool = False, note: str | None = None) -> str:
    limits = interval(figure, signed=signed)
    said = f"n = {count(figure['n'])}" if note is None else note
    return (
        f"<div><dt>{escape(title)}</dt><dd><strong>{number(figure['value'], signed=signed)}"
        f"</strong><span>{limits}</span><span>{escape(said)}</span></dd></div>"
    )


def _group_card(evaluation: Json) -> list[str]:
    if evaluation["groups"] is None:
        return []
    groups = evaluation["groups"]
    title = f"accuracy, {len(groups['names'])} groups"
    return [_card(title, groups["parts"]["all"]["overall"]["accuracy"])]


def _rater_card(whole: Json) -> list[str]:
    ceiling = whole["overall"].get("human_plurality_agreement")
    if ceiling is None or ceiling["value"] is None:
        return []
    model = number(whole["overall"]["model_plurality_agreement"]["value"])
    return [_card("a rater and the others' choice", ceiling, note=f"the model: {model}")]


def _gap_card(evaluation: Json) -> list[str]:
    gaps = evaluation["classes"]["gaps"]
    if not gaps:
        return []
    figures = gaps[0]["figures"]
    rater = figures.get("one_rater")
    note = f"n = {count(gaps[0]['n_children'])} and {count(gaps[0]['n_others'])}"
    if rater is not None:
        note += f"; one rater: {number(rater['value'], signed=True)}"
    title = f"accuracy, children less {gaps[0]['others']}s"
    if gaps[0]["others"] != "adult":
        title = f"accuracy, children less {gaps[0]['others']}"
    return [_card(title, figures["accuracy"], signed=True, note=note)]


def _found_card(evaluation: Json) -> str:
    rows = evaluation["rows"]
    missed = number(evaluation["classes"]["missed_wrong"]["value"])
    return (
        f"<div><dt>faces found</dt><dd><strong>{count(rows['faces_found'])}</strong>"
        f"<span>of {count(rows['evaluated'])} pictures; accuracy with each missed face counted "
        f"as wrong: {missed}</span></dd></div>"
    )


def _baseline(whole: Json) -> str:
    common = whole["commonest"]
    if common["name"] is None:
        return ""
    copies = ""
    if whole["groups"] < whole["n"]:
        copies = (
            f" The {count(whole['n'])} faces are {count(whole['groups'])} subjects or different "
            "pictures; the intervals count copies and one subject's pictures together."
        )
    return (
        f'<p class="about below">Always answering “{escape(common["name"])}” would be right in '
        f"{with_interval(common)} of the faces.{copies}</p>"
    )


def _overall_table(evaluation: Json) -> str:
    shown = levels(evaluation)
    rows = []
    for name in FIGURES:
        found = [_figure(level["parts"]["all"], name) for _, level, _ in shown]
        if found[0] is None:
            continue
        cells = [cell(f) if f is not None else "–" for f in found]
        rows.append([escape(FIGURES[name]), *cells, f"<td>{escape(MEANINGS[name])}</td>"])
    head = ["figure", *(title.lower() for title, _, _ in shown), "what it is"]
    return build_table("All faces, with 95 % intervals", head, rows, css="figures told")


def _figure(part: Json, name: str) -> Any:
    found = part["one_rater"] if name == "one_rater" else part["overall"].get(name)
    return None if found is None or found["value"] is None else found


def _class_table(level: Json, grouped: bool) -> str:
    names, per_class = level["names"], level["parts"]["all"]["per_class"]
    rows = [
        [
            key(name, names, grouped=grouped),
            count(per_class["recall"][name]["n"]),
            *(cell(per_class[figure][name]) for figure in ("recall", "precision", "f1", "auc")),
        ]
        for name in names
    ]
    kind = "group" if grouped else "class"
    head = [kind, "n", "recall", "precision", "F1", "AUC"]
    return build_table(f"Each {kind}, with 95 % intervals", head, rows, css="figures")
