"""What a card's sections are made of, before it is known whether for Markdown or HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Estimate = Mapping[str, Any]
"""value, low, high and n; None for what is undefined."""


@dataclass(frozen=True)
class Text:
    """A paragraph. missing: says that something was not saved or not measured."""

    text: str
    missing: bool = False


@dataclass(frozen=True)
class Heading:
    """What the blocks after it are about."""

    text: str


@dataclass(frozen=True)
class Facts:
    """What something is called, and what it is."""

    items: list[tuple[str, str]]


@dataclass(frozen=True)
class Items:
    """Sentences of one kind."""

    items: list[str]


@dataclass(frozen=True)
class Figures:
    """A table. A cell is text or an estimate; the first of a row heads it.

    words: how many columns hold text that is set left. counted: estimates show their own n.
    """

    caption: str
    head: list[str]
    rows: list[list[str | Estimate]]
    words: int = 1
    counted: bool = False


@dataclass(frozen=True)
class Confusion:
    """Counts, rows by label, columns by reading."""

    caption: str
    names: tuple[str, ...]
    counts: list[list[int]]


Block = Text | Heading | Facts | Items | Figures | Confusion


@dataclass(frozen=True)
class Section:
    """A section of the card. name: for links."""

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)
