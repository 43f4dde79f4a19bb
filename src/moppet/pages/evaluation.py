"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from moppet.files import write_text
from moppet.pages.evaluation_charts import (
    build_map,
    build_matrices,
    build_reliability,
    build_roc,
    build_training,
)
from moppet.pages.evaluation_sections import build_against, build_mistakes, build_parts
from moppet.pages.report_tables import build_table, section
from moppet.pages.wording import (
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

__all__ = ["write_page"]


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
        f"{count(rows['evaluated'])} labeled faces",
        which + _left_out(rows),
        f"{len(evaluation['classes']['names'])} classes",
    ]
    if made.get("made_at"):
        facts.append(f"evaluated {made['made_at'][:10]}")
    about = " · ".join(f'<span class="fact">{escape(fact)}</span>' for fact in facts)
    notes = "".join(f'<p class="warn">{escape(note)}</p>' for note in evaluation["notes"])
    return (
        '<header><p class="kicker">moppet · how a model reads labeled faces</p>'
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
        f"<span>of {count(rows['evaluated'])} images; accuracy with each missed face counted "
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
            "pictures; the intervals count copies and one subject's images together."
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


def build_made(evaluation: Json) -> str:
    """Return the command, and from what everything was made."""
    items = "".join(
        f"<div><dt>{escape(title)}</dt><dd>{escape(text)}</dd></div>"
        for title, text in _facts(evaluation)
        if text
    )
    command = evaluation["made"].get("command")
    again = (
        f'<p>To make this again:</p><pre tabindex="0"><code>{escape(command)}</code></pre>'
        if command
        else ""
    )
    return section("made", "How it was made", f'{again}<dl class="facts">{items}</dl>')


def _facts(evaluation: Json) -> Iterator[tuple[str, str]]:
    made, rows = evaluation["made"], evaluation["rows"]
    model, data = made["model"], made["data"]
    yield "Model", model["name"]
    yield "Model's SHA-256", model["sha256"]
    yield "Model's classes", ", ".join(model["labels"])
    groups = evaluation["group_of"]
    yield "Groups", ", ".join(f"{name}: {group}" for name, group in groups.items())
    yield "Temperature of its probabilities", f"{model['temperature']:g}"
    yield "Model's license", model["licence"] or ""
    yield "Learned from", model["training_data"] or ""
    yield "Limits, by its card", model["limits"] or ""
    if evaluation["against"] is not None:
        yield "Second model", evaluation["against"]["model"]["name"]
        yield "Second model's SHA-256", evaluation["against"]["model"]["sha256"]
    yield "Data", data_name(evaluation)
    yield "Sources", ", ".join(data["sources"])
    yield "Data's classes", ", ".join(data["classes"])
    yield "Data's license and consent", data["licence"] or "not stated"
    yield "Rows", _rows(rows, made["split"])
    yield "Intervals", made["intervals"]
    yield "Evaluated", made.get("made_at") or ""
    yield "Versions", ", ".join(f"{name} {version}" for name, version in made["versions"].items())


def _rows(rows: Json, split: str) -> str:
    which = "every row" if split == "all" else f"split {split}"
    text = f"{count(rows['in_data'])} in the data, {count(rows['in_split'])} of them used ({which})"
    if rows["without_label"]:
        text += f", {count(rows['without_label'])} without a label"
    unknown = sum(rows["of_unknown_class"].values())
    if unknown:
        text += f", {count(unknown)} of classes that the model does not know"
    if rows.get("unreadable"):
        text += f", {count(rows['unreadable'])} whose image cannot be read"
    if rows["copies"] is not None:
        faces, pictures = count(rows["copies"]["faces"]), count(rows["copies"]["pictures"])
        text += f", {faces} found to be copies, of {pictures} images"
    found, default = rows["faces_found"], rows["faces_found_at_default_thresholds"]
    return (
        f"{text}; {count(rows['evaluated'])} evaluated, a face found in {count(found)}, in "
        f"{count(default)} at the detector's default thresholds"
    )


_NOTES = (
    (
        "Pictures",
        "are cut as a video's frames are: the face is found, turned upright and cropped. Where no "
        "face is found the whole image stands for it; “no face found” shows those alone.",
    ),
    (
        "Intervals",
        "hold 95 % of the figures of bootstrap draws; one subject's images and the copies of a "
        "picture are drawn together. They say how the figure would vary with other faces of this "
        "kind, not what another kind of faces would give.",
    ),
    (
        "A dash",
        "stands where a figure is not defined (the recall of a class without faces, say); it is "
        "never 0. It stands for interval and p where the figure rests on one subject or image.",
    ),
    (
        "Means over classes",
        "leave out a class whose figure is not defined: a part without any “fear” is judged on "
        "the other classes.",
    ),
    (
        "Small numbers",
        "are shown like large ones: look at n and at the interval before you compare. Where few "
        "faces are all read alike the draws know no other outcome: accuracy, recall and precision "
        "then have exact binomial limits, and “no spread” stands for the interval of any other "
        "figure, which is no certainty. The calibration error of few faces comes "
        "out too high, and that of the draws higher still, so that it can lie below its interval.",
    ),
    (
        "Every number",
        "of this page stands in evaluation.json beside it.",
    ),
)


def build_notes(evaluation: Json) -> str:
    """Return what the words and figures mean."""
    notes = list(_NOTES)
    if evaluation["groups"] is not None:
        notes.insert(
            1,
            (
                "Groups",
                "are those of the model's card; a group's probability is the sum of its classes'.",
            ),
        )
    body = "".join(
        f"<p><strong>{term}</strong> {text.replace(' %', '&nbsp;%')}</p>" for term, text in notes
    )
    return section("notes", "Notes on the figures", f'<div class="notes">{body}</div>')


def build_page(evaluation: Mapping[str, Any], pictures: Mapping[int, str] | None = None) -> str:
    """Return the whole document; it fetches nothing, and its policy forbids it to."""
    style = _asset("report.css") + "\n" + _asset("evaluation.css")
    script = _asset("report.js")
    sections = (
        build_figures(evaluation),
        build_against(evaluation),
        build_parts(evaluation),
        build_matrices(evaluation),
        build_roc(evaluation),
        build_reliability(evaluation),
        build_map(evaluation),
        build_training(evaluation),
        build_mistakes(evaluation, pictures),
        build_made(evaluation),
        build_notes(evaluation),
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        f"img-src {'data:' if pictures else chr(39) + 'none' + chr(39)}; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(title_of(evaluation))} · moppet evaluation</title>"
        f"<style>{style}</style></head>\n"
        f"<body>{build_header(evaluation)}\n<main>{''.join(sections)}</main>\n"
        f'<script type="application/json" id="data">{{}}</script>\n'
        f"<script>{script}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return files("moppet.pages").joinpath("static", name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def write_page(
    evaluation: Mapping[str, Any], path: Path, *, pictures: Mapping[int, str] | None = None
) -> Path:
    """Write an evaluation as one HTML file that needs no network, and return its path.

    evaluation: the content of evaluation.json; the page says nothing that is not in it.
    images: row → an image of the face as a data: URI, for the worst mistakes; None for none.
    Raises MoppetError if the file cannot be written.
    """
    return write_text(path, build_page(evaluation, pictures))
