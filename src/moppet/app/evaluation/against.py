"""Two models on the same faces: what differs, and whether by more than chance."""

from __future__ import annotations

from html import escape

from moppet.app.evaluation.words import FIGURES, Json, cell, count, key, p_value
from moppet.app.report.content import section
from moppet.app.report.tables import build_table

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
            f"{count(against['groups'])} subjects or different pictures: believe the paired "
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


def _equals(p: float | None) -> str:
    text = p_value(p)
    return text if text.startswith("under") else f"= {text}"


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
