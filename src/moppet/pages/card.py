"""A model card in Markdown and HTML (Mitchell et al. 2019)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from moppet.evaluate.saved_results import ALL, Figures, ResultSet, SavedResults, read_results
from moppet.files import write_text
from moppet.pages.document import escape_markdown, render_document, render_template
from moppet.pages.html_tables import Card, confusion_shade
from moppet.pages.wording import (
    FIGURES,
    MEANINGS,
    Json,
    capitalize,
    count,
    counted,
    format_share,
    interval,
    number,
    with_interval,
)
from moppet.timeline.time_axis import NO_VALUE
from moppet.vocabulary import MOVEMENT_OF, MOVEMENTS, current_key

FEW: Final = 30
"""Fewer faces than this are too few for a reliable figure."""

TITLES: Final = {
    **FIGURES,
    "ece_before_scaling": "calibration error before temperature scaling",
    "commonest": "always answering the most common class",
}
EXPLAINED: Final = {
    **MEANINGS,
    "ece_before_scaling": "the same at temperature 1",
    "commonest": "accuracy without looking at any face",
}
PER_CLASS: Final = {
    "recall": "share of the faces of a class that are predicted as it",
    "precision": "share of the faces predicted as a class that belong to it",
    "f1": "harmonic mean of recall and precision",
    "auc": "area under the ROC curve, the class against the others",
}
CLASS_TITLES: Final = {"recall": "recall", "precision": "precision", "f1": "F1", "auc": "AUC"}
NOTHING: Final[Json] = {"value": None, "low": None, "high": None}
_OF_PARTS: Final = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "one_rater")
_CARDS: Final = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
_SHOWN: Final = {
    *("name", "file", "sha256", "labels", "groups", "temperature", "training_data", "limits"),
    *("preprocessing", "rows", "scores", "display_temperature", "movements", "movement_validity"),
    *("prior", "display_prior", "distress"),
}
_COLUMNS: Final = {
    "train_loss": "loss, training",
    "train_accuracy": "accuracy, training",
    "val_loss": "loss, validation",
    "val_accuracy": "accuracy, validation",
    "val_balanced": "balanced accuracy, validation",
}
_EXPECTED: Final = {
    "network": "the kind of network",
    "license": "the license",
    "author": "the author",
    "date": "the date",
    "version": "its version",
    "contact": "a contact",
}
_VALIDITY: Final = {
    "rendered": "rendered faces, r",
    "rendered_lowest": "rendered faces, lowest r",
    "real": "real faces, r",
}
_DISPLAY_FACES: Final = {
    "data": "test rows",
    "rendered": "rendered faces",
    "unlabeled": "other faces",
}
_SPLITS: Final = {"train": "Training", "val": "Validation", "test": "Test"}


def write_model_card(model: str, output: Path, evaluation: Path | None = None) -> list[Path]:
    """Write model_card.md and model_card.html into a folder, and return their paths.

    model: a bundled model's name, or a model folder. evaluation: an evaluation.json of it, or
    the folder that holds it.
    """
    results = read_results(model, evaluation)
    markdown = as_markdown(results)
    texts = {"model_card.md": markdown, "model_card.html": build_page(results, markdown)}
    return [write_text(output / name, text) for name, text in texts.items()]


def as_markdown(results: SavedResults) -> str:
    """Return the card as one Markdown document."""
    card = _renamed(results.card)
    measured, history = results.measured, results.training
    text = render_template(
        "model_card.md",
        card=card,
        bytes=results.bytes,
        version=version("moppet"),
        stated=[(capitalize(key), str(card[key])) for key in _EXPECTED if key in card],
        absent=[words for key, words in _EXPECTED.items() if key not in card],
        further=list(_further(card)),
        factors=list(_factors(measured)),
        metrics=_metrics(measured),
        saved=results.figures,
        evaluation=results.evaluation,
        evaluated=_renamed(results.evaluation["about"]["data"]) if results.evaluation else {},
        splits=[
            (_SPLITS.get(name, name), counted(n, "labeled face") if isinstance(n, int) else str(n))
            for name, n in _renamed(card.get("rows", {})).items()
        ],
        history=None if history is None else _history(history),
        analyses=[_analyses(one, measured) for one in measured if not one.again],
        movements=_movements(card),
        few=list(_few(measured)),
        least=FEW,
        display=_display(results.figures),
        left_out=list(_left_out(results.figures)),
        measured=measured,
        missing=results.missing,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values under today's keys: cards of earlier versions have others."""
    return {
        "license" if key == "licence" else current_key(key): value for key, value in values.items()
    }


def _further(card: Json) -> Iterator[tuple[str, str]]:
    """Yield the facts of card.toml that have no place of their own."""
    for key, value in card.items():
        if key not in _SHOWN | _EXPECTED.keys() and isinstance(value, str | int | float):
            plain = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
            yield capitalize(key.replace("_", " ")), plain


def _factors(measured: Sequence[ResultSet]) -> Iterator[tuple[str, Mapping[str, Figures]]]:
    for one in measured:
        ages = {name: rows for name, rows in one.parts.items() if name != ALL}
        if not one.again and ages:
            yield f"subgroup of {one.of}", ages
        if not one.again:
            yield from ((f"{column}, in {one.of}", parts) for column, parts in one.by.items())


def _metrics(measured: Sequence[ResultSet]) -> str:
    parts = [rows for one in measured for rows in one.parts.values()]
    overall = {name for rows in parts for name in rows.overall}
    per_class = {name for rows in parts for name in rows.per_class}
    rows = [[title, EXPLAINED[name]] for name, title in TITLES.items() if name in overall]
    rows += [[title_of(name), NO_VALUE] for name in sorted(overall - TITLES.keys())]
    rows += [[CLASS_TITLES[name], text] for name, text in PER_CLASS.items() if name in per_class]
    return _table(["figure", "meaning"], rows, words=2) if rows else ""


def title_of(figure: str) -> str:
    """Return the name of a figure, also of one that is not known here."""
    return TITLES.get(figure, figure.replace("_", " "))


def _history(training: Json) -> str:
    columns, best = training["columns"], training["best_epoch"]
    epochs = columns["epoch"]
    marked = {"first": 0, "last": len(epochs) - 1}
    if best is not None:
        marked["lowest validation loss"] = epochs.index(best)
    shown = [
        name for name in columns if name != "epoch" and any(v is not None for v in columns[name])
    ]
    rows = [
        [which, f"{epochs[i]:g}", *(number(columns[name][i]) for name in shown)]
        for which, i in marked.items()
    ]
    return _table(["", "epoch", *(_COLUMNS.get(n, n.replace("_", " ")) for n in shown)], rows)


def _analyses(one: ResultSet, measured: Sequence[ResultSet]) -> Json:
    """Return the tables of one set of images, the first with the other ways of aligning them."""
    ways = [one, *(other for other in measured if other.again)] if one is measured[0] else [one]
    tables = [("All faces", _overall(ways))]
    parts = {"By subgroup": one.parts, **{f"By {name}": parts for name, parts in one.by.items()}}
    tables += [(caption, _parts(rows)) for caption, rows in parts.items() if len(rows) > 1]
    whole = one.parts.get(ALL, Figures(None, {}, {}, None))
    if any(name in whole.per_class for name in CLASS_TITLES):
        tables.append(("Each class", _classes(one.names, whole)))
    recalls = {
        name: rows.per_class["recall"]
        for name, rows in one.parts.items()
        if name != ALL and "recall" in rows.per_class
    }
    if recalls:
        tables.append(("Recall of each class in each subgroup", _recalls(one.names, recalls)))
    if whole.confusion and len(whole.confusion) == len(one.names):
        counts = zip(one.names, whole.confusion, strict=True)
        matrix = _table(["label", *one.names], [[name, *map(count, row)] for name, row in counts])
        tables.append(("Labels (rows) and predictions (columns)", matrix))
    return {"title": capitalize(one.of), "tables": tables, "gaps": one.gaps}


def _overall(ways: Sequence[ResultSet]) -> str:
    figures = [one.parts.get(ALL, Figures(None, {}, {}, None)) for one in ways]
    found = {name for rows in figures for name in rows.overall}
    names = [name for name in TITLES if name in found] + sorted(found - set(TITLES))
    rows = [
        [title_of(name), *(with_interval(one.overall.get(name, NOTHING)) for one in figures)]
        for name in names
    ]
    heads = [one.of if one.again else "value" for one in ways]
    return _table(["figure", *heads], [["n", *(count(one.n) for one in figures)], *rows])


def _parts(parts: Mapping[str, Figures]) -> str:
    shown = [name for name in _OF_PARTS if any(name in rows.overall for rows in parts.values())]
    rows = [
        [name, count(one.n), *(with_interval(one.overall.get(figure, NOTHING)) for figure in shown)]
        for name, one in parts.items()
    ]
    return _table(["faces", "n", *map(title_of, shown)], rows)


def _classes(names: Sequence[str], whole: Figures) -> str:
    shown = [name for name in CLASS_TITLES if name in whole.per_class]
    recalls = whole.per_class.get("recall", {})
    rows = [
        [
            name,
            count(recalls.get(name, {}).get("n")),
            *(with_interval(whole.per_class[figure].get(name, NOTHING)) for figure in shown),
        ]
        for name in names
    ]
    return _table(["class", "n", *(CLASS_TITLES[name] for name in shown)], rows)


def _recalls(names: Sequence[str], recalls: Mapping[str, Mapping[str, Json]]) -> str:
    def text(figure: Json) -> str:
        n = figure.get("n")
        return with_interval(figure) + (f", n = {count(n)}" if n else "")

    rows = [[name, *(text(of.get(name, NOTHING)) for of in recalls.values())] for name in names]
    return _table(["class", *recalls], rows)


def _movements(card: Json) -> str:
    """Return the movements with their action units and measured validity; "" for none."""
    validity = card.get("movement_validity", {})
    rows = [
        [
            name,
            MOVEMENTS[MOVEMENT_OF[name]],
            *(number(validity.get(name, {}).get(key)) for key in _VALIDITY),
        ]
        for name in card.get("movements", ())
    ]
    head = ["movement", "action unit", *_VALIDITY.values()]
    return _table(head, rows, words=2) if rows else ""


def _left_out(figures: Json | None) -> Iterator[tuple[str, str]]:
    """Yield the movements that the network does not have, and why."""
    for name, one in (figures or {}).get("movements", {}).items():
        if not one["exported"] and one.get("left_out"):
            yield name, one["left_out"]


def _display(figures: Json | None) -> str:
    """Return the figures of the display reading; "" if none are saved."""
    parts = {
        f"{title}, {part}" if part != ALL else title: found
        for kind, title in _DISPLAY_FACES.items()
        for part, found in (figures or {}).get("display", {}).get(kind, {}).items()
    }
    rows = [
        [
            title,
            count(found.get("n")),
            *(with_interval(found["overall"].get(figure, NOTHING)) for figure in _CARDS),
        ]
        for title, found in parts.items()
    ]
    return _table(["faces", "n", *map(title_of, _CARDS)], rows) if rows else ""


def _few(measured: Sequence[ResultSet]) -> Iterator[tuple[str, str]]:
    """Yield the classes and subgroups with few faces, and what was measured."""
    for one in measured:
        recalls = one.parts[ALL].per_class.get("recall", {}) if ALL in one.parts else {}
        sizes = [*((name, rows.n) for name, rows in one.parts.items())]
        sizes += [(name, recall.get("n")) for name, recall in recalls.items()]
        few = [f"{name} ({count(n)})" for name, n in sizes if n is not None and n < FEW]
        if few and not one.again:
            yield ", ".join(few), one.of


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a Markdown table; the first `words` columns are set left."""
    ruler = ["---" if i < words else "---:" for i in range(len(head))]
    lines = [map(escape_markdown, head), ruler, *(map(escape_markdown, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def build_page(results: SavedResults, markdown: str) -> str:
    """Return the card's HTML page: key figures, then what the Markdown holds."""
    name = str(results.card["name"])
    intro, *sections = re.split(r"^## (.+)$", markdown, flags=re.MULTILINE)
    first = results.measured[0] if results.measured else None
    whole = first.parts.get(ALL) if first else None
    about = "" if first is None or whole is None else first.of
    if whole is not None and whole.n is not None:
        about = f"{counted(whole.n, 'face')}: {about}"
    return render_document(
        "card",
        f"{name} · moppet model card",
        css=("evaluation.css", "card.css"),
        name=name,
        classes=", ".join(str(label) for label in results.card["labels"]),
        intro=intro.strip().splitlines()[-1],
        about=about,
        cards=[] if whole is None else _cards(whole.overall),
        sections=[
            (title.lower().replace(" ", "-"), title, markdown_html(text))
            for title, text in zip(sections[::2], sections[1::2], strict=True)
        ],
    )


def _cards(overall: Mapping[str, Json]) -> list[Card]:
    return [
        Card(title_of(key), number(overall[key]["value"]), (interval(overall[key]),))
        for key in _CARDS
        if key in overall
    ]


def markdown_html(text: str) -> Markup:
    """Return Markdown as HTML: no HTML of its own, tables in boxes that scroll."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for i, token in enumerate(tokens):
        if token.attrs.pop("style", "") == "text-align:right":  # the page's policy allows no style
            token.attrs.setdefault("class", "n")
        if token.type == "table_open":
            matrix = tokens[i + 4].content == "label"
            token.attrSet("class", "confusion" if matrix else "figures")
            if matrix:
                _shade(tokens[i:])
    html = parser.renderer.render(tokens, parser.options, {})
    box = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table'
    return Markup(html.replace("<table", box).replace("</table>", "</table></div>"))


def _shade(tokens: Sequence[Token]) -> None:
    """Color the cells of a confusion matrix by their share of the row, and add that share."""
    end = next(i for i, token in enumerate(tokens) if token.type == "table_close")
    rows: list[list[tuple[Token, Token]]] = []
    for i, token in enumerate(tokens[:end]):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "td_open":
            rows[-1].append((token, tokens[i + 1]))
    for i, (_, *cells) in enumerate(rows[1:]):
        counts = [int(re.sub(r"\D", "", text.content)) for _, text in cells]
        for j, ((cell, text), n) in enumerate(zip(cells, counts, strict=True)):
            cell.attrSet("class", "n " + confusion_shade(n, sum(counts), correct=i == j))
            if n:
                text.children = [*(text.children or []), Token("html_inline", "", 0)]
                text.children[-1].content = f"<small>{format_share(n / sum(counts))}</small>"
