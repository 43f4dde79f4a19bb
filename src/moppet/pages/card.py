"""A model card in Markdown and HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from moppet.evaluate.saved_results import ALL, SavedResults, read_results
from moppet.files import write_text
from moppet.pages.card_sections import (
    ABOUT,
    Block,
    Confusion,
    Estimate,
    Facts,
    Figures,
    Heading,
    Items,
    Section,
    build_sections,
    title_of,
)
from moppet.pages.frame import build_document
from moppet.pages.report_tables import build_table, format_share
from moppet.pages.report_tables import section as landmark
from moppet.pages.wording import THIN, cell, count, interval, number, with_interval


def as_markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the card as one Markdown document."""
    lines = [f"# Model card: {_text(title)}", "", _text(ABOUT), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines)


def _block(block: Block) -> list[str]:
    match block:
        case Heading(text):
            return [f"### {_text(text)}"]
        case Facts(items):
            return [f"- **{_text(name)}**: {_text(text)}" for name, text in items]
        case Items(items):
            return [f"- {_text(item)}" for item in items]
        case Figures():
            return _table(block)
        case Confusion(caption, names, counts):
            head = ["label", *names]
            rows = [[name, *map(count, row)] for name, row in zip(names, counts, strict=True)]
            return [f"{_text(caption)}:", "", *_rows(head, rows, words=1)]
        case _:
            text = _text(block.text)
            return [f"*{text}*" if block.missing else text]


def _table(block: Figures) -> list[str]:
    rows = [[_cell(cell, block.counted) for cell in row] for row in block.rows]
    return [f"{_text(block.caption)}:", "", *_rows(block.head, rows, block.words)]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> list[str]:
    ruler = ["---" if i < words else "---:" for i in range(len(head))]
    lines = [[_text(cell) for cell in head], ruler, *([_text(c) for c in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(cell: str | Estimate, counted: bool) -> str:
    if isinstance(cell, str):
        return cell
    n = cell.get("n") if counted else None
    return with_interval(cell) + (f", n = {count(n)}" if n else "")


def _text(text: str) -> str:
    """Return text that Markdown and the HTML in it take as it is; code in backticks stays code."""
    plain = text.replace(THIN, ",").replace("\n", " ")
    parts = re.split(r"(`[^`]*`)", plain)
    return "".join(
        part.replace("|", "\\|")
        if number % 2
        else re.sub(r"([\\`*\[\]<>|#]|(?<!\w)_|_(?!\w))", r"\\\1", part)
        for number, part in enumerate(parts)
    )


_CSS = """
main p,main ul{max-width:46rem}
main ul{list-style:disc;padding-left:1.2rem}
main li{margin-bottom:.4rem}
section>*+*{margin-top:1rem}
.facts dd{white-space:pre-line}
.told td:last-child{min-width:22rem}
"""
_CARDS = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
_STEPS = 20


def build_page(results: SavedResults, sections: Sequence[Section]) -> str:
    """Return the whole page; it fetches nothing and runs nothing."""
    name = str(results.card["name"])
    classes = ", ".join(str(label) for label in results.card["labels"])
    header = (
        '<header><p class="kicker">moppet · model card</p>'
        f"<h1>{escape(name)}</h1><p>{escape(classes)}</p>"
        f'<p class="limits">{ABOUT}</p></header>'
    )
    body = "".join(
        landmark(one.name, one.title, "".join(_block_html(block) for block in one.blocks))
        for one in sections
    )
    css = files("moppet.pages").joinpath("static", "evaluation.css").read_text(encoding="utf-8")
    document = f"{header}<main>{_headline(results)}{body}</main>"
    return build_document(f"{name} · moppet model card", document, css=css.strip() + _CSS)


def _headline(results: SavedResults) -> str:
    if not results.measured or ALL not in results.measured[0].parts:
        return '<p class="warn">No figures of this model are saved.</p>'
    first = results.measured[0]
    overall = first.parts[ALL].overall
    cards = "".join(
        f"<div><dt>{title_of(key)}</dt><dd><strong>{number(overall[key]['value'])}</strong>"
        f"<span>{interval(overall[key])}</span></dd></div>"
        for key in _CARDS
        if key in overall
    )
    n = first.parts[ALL].n
    about = f"{count(n)} faces: {first.of}." if n is not None else f"{first.of}."
    body = f'<p class="about">{escape(about)}</p><dl class="cards">{cards}</dl>'
    return landmark("figures", "Key figures", body)


def _block_html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h3>{escape(text)}</h3>"
        case Facts(items):
            facts = "".join(
                f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in items
            )
            return f'<dl class="facts">{facts}</dl>'
        case Items(items):
            return f"<ul>{''.join(f'<li>{_text_html(item)}</li>' for item in items)}</ul>"
        case Figures():
            return _table_html(block)
        case Confusion():
            return _matrix(block)
        case _:
            css = ' class="none"' if block.missing else ""
            return f"<p{css}>{_text_html(block.text)}</p>"


def _table_html(block: Figures) -> str:
    rows = [[_cell_html(one, block.counted) for one in row] for row in block.rows]
    css = "figures told" if block.words == len(block.head) else "figures"
    return build_table(block.caption, block.head, rows, css=css, words=block.words)


def _cell_html(one: str | Estimate, counted: bool) -> str:
    if isinstance(one, str):
        return escape(one)
    n = one.get("n") if counted else None
    more = f"<small>n = {count(n)}</small>" if n else ""
    return cell(one).removesuffix("</td>") + f"{more}</td>"


def _matrix(block: Confusion) -> str:
    rows = []
    for i, (name, counts) in enumerate(zip(block.names, block.counts, strict=True)):
        total = sum(counts)
        rows.append(
            [
                f'<th scope="row">{escape(name)}</th>',
                *(_share(n, total, right=i == j) for j, n in enumerate(counts)),
            ]
        )
    return build_table(block.caption, ["", *block.names], rows, css="confusion")


def _share(n: int, total: int, *, right: bool) -> str:
    if not n:
        return f'<td class="n zero">{"0" if total else "–"}</td>'
    depth = max(1, round(_STEPS * n / total))
    kind = "hit" if right else "miss"
    return f'<td class="n {kind} d{depth}">{count(n)}<small>{format_share(n / total)}</small></td>'


def _text_html(text: str) -> str:
    """Return text as HTML; what stands in backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text)).replace(" %", "&nbsp;%")


def write_model_card(model: str, output: Path, evaluation: Path | None = None) -> list[Path]:
    """Write model_card.md and model_card.html into a folder, and return their paths.

    model: a bundled model's name, or a model folder. evaluation: an evaluation.json of it, or
    the folder that holds it.
    """
    results = read_results(model, evaluation)
    sections = build_sections(results)
    texts = {
        "model_card.md": as_markdown(str(results.card["name"]), sections),
        "model_card.html": build_page(results, sections),
    }
    return [write_text(output / name, text) for name, text in texts.items()]
