"""A model card as one HTML page with the report's look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from moppet.app.evaluation.words import cell, count, interval, number
from moppet.app.frame import build_document
from moppet.app.model_card.blocks import (
    Block,
    Confusion,
    Estimate,
    Facts,
    Figures,
    Heading,
    Items,
    Section,
)
from moppet.app.model_card.words import ABOUT, title_of
from moppet.app.report.content import section as landmark
from moppet.app.report.tables import build_table, format_share
from moppet.study.card import ALL, SavedResults

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
        landmark(one.name, one.title, "".join(_block(block) for block in one.blocks))
        for one in sections
    )
    css = files("moppet.app.evaluation").joinpath("evaluation.css").read_text(encoding="utf-8")
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


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h3>{escape(text)}</h3>"
        case Facts(items):
            facts = "".join(
                f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in items
            )
            return f'<dl class="facts">{facts}</dl>'
        case Items(items):
            return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"
        case Figures():
            return _table(block)
        case Confusion():
            return _matrix(block)
        case _:
            css = ' class="none"' if block.missing else ""
            return f"<p{css}>{_text(block.text)}</p>"


def _table(block: Figures) -> str:
    rows = [[_cell(one, block.counted) for one in row] for row in block.rows]
    css = "figures told" if block.words == len(block.head) else "figures"
    return build_table(block.caption, block.head, rows, css=css, words=block.words)


def _cell(one: str | Estimate, counted: bool) -> str:
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


def _text(text: str) -> str:
    """Return text as HTML; what stands in backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text)).replace(" %", "&nbsp;%")
