"""The card's quantitative analyses: all faces, by factor, by class, and where the two meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moppet.app.evaluation.words import count, with_interval
from moppet.app.model_card import words
from moppet.app.model_card.blocks import Block, Confusion, Figures, Heading, Text
from moppet.study.card import ALL, Measured, Rows

_OF_PARTS = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "one_rater")
NOTHING: Mapping[str, Any] = {"value": None, "low": None, "high": None}


def build_analyses(measured: list[Measured]) -> list[Block]:
    """Return the tables of every set of pictures that the model was measured on."""
    if not measured:
        return [Text("No figures are saved, so nothing can be said.", missing=True)]
    blocks: list[Block] = []
    for one in measured:
        if one.again:
            continue
        ways = [one, *(other for other in measured if other.again)] if one is measured[0] else [one]
        blocks += [Heading(_capital(one.of)), _overall(ways)]
        blocks += _parts("By part", one.parts)
        for column, parts in one.by.items():
            blocks += _parts(f"By {column}", parts)
        blocks += [Text(_gap(gap)) for gap in one.gaps]
        blocks += _classes("Each class", one)
        blocks += _crossed("Recall of each class in each part", one)
        confusion = one.parts[ALL].confusion if ALL in one.parts else None
        if confusion and len(confusion) == len(one.names):
            blocks.append(Confusion("Labels (rows) and readings (columns)", one.names, confusion))
    return blocks


def _overall(measured: list[Measured]) -> Block:
    figures = [one.parts.get(ALL, Rows(None, {}, {}, None)) for one in measured]
    names = [name for name in words.TITLES if any(name in rows.overall for rows in figures)]
    more = {name for rows in figures for name in rows.overall} - set(words.TITLES)
    table: list[list[Any]] = [
        [words.title_of(name), *(rows.overall.get(name, NOTHING) for rows in figures)]
        for name in [*names, *sorted(more)]
    ]
    ns: list[Any] = ["n", *(_count(rows.n) for rows in figures)]
    heads = [one.of if one.again else "value" for one in measured]
    return Figures("All faces", ["figure", *heads], [ns, *table])


def _parts(caption: str, parts: Mapping[str, Rows]) -> list[Block]:
    if len(parts) < 2:
        return []
    shown = [name for name in _OF_PARTS if any(name in rows.overall for rows in parts.values())]
    table: list[list[Any]] = [
        [name, _count(rows.n), *(rows.overall.get(figure, NOTHING) for figure in shown)]
        for name, rows in parts.items()
    ]
    return [Figures(caption, ["faces", "n", *(words.title_of(name) for name in shown)], table)]


def _gap(gap: Mapping[str, Any]) -> str:
    text = f"Gap ({gap['of']}): the model {with_interval(gap['model'], signed=True)}"
    p = gap["model"].get("p")
    if p is not None:
        text += f", p {'under 0.001' if p < 0.001 else f'= {p:.3f}'}"
    rater = gap.get("one_rater")
    if rater and rater["value"] is not None:
        text += f"; one human rater {with_interval(rater, signed=True)}"
    return text + "."


def _classes(caption: str, measured: Measured) -> list[Block]:
    per_class = measured.parts[ALL].per_class if ALL in measured.parts else {}
    shown = [name for name in words.CLASS_TITLES if name in per_class]
    if not shown:
        return []
    table: list[list[Any]] = []
    for name in measured.names:
        n = per_class.get("recall", {}).get(name, {}).get("n")
        figures = (per_class[figure].get(name, NOTHING) for figure in shown)
        table.append([name, _count(n), *figures])
    heads = ["class", "n", *(words.CLASS_TITLES[name] for name in shown)]
    return [Figures(caption, heads, table)]


def _crossed(caption: str, measured: Measured) -> list[Block]:
    parts = {
        name: rows.per_class["recall"]
        for name, rows in measured.parts.items()
        if name != ALL and "recall" in rows.per_class
    }
    if not parts:
        return []
    table: list[list[Any]] = [
        [name, *(recalls.get(name, NOTHING) for recalls in parts.values())]
        for name in measured.names
    ]
    return [Figures(caption, ["class", *parts], table, counted=True)]


def _count(n: int | None) -> str:
    return "–" if n is None else count(n)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
