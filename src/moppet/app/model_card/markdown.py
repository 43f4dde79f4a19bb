"""A model card as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from moppet.app.evaluation.words import THIN, count, with_interval
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
from moppet.app.model_card.words import ABOUT


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
