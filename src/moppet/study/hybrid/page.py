"""A hybrid study's results as a Markdown page, from its rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from moppet.study.hybrid.plan import DataSet, HybridPlan

Json = dict[str, Any]
_TITLES = {"macro_f1": "macro-F1", "g_mean": "G-mean", "auc": "AUC"}
_RARE = 20


def hybrid_page(plan: HybridPlan, rows: Sequence[Json], cells: int) -> str:
    """Return the page: a summary and a table for each data set."""
    lines = [
        f"# {plan.title}",
        "",
        f"Made by `moppet study`, not by hand, from {cells} of {len(plan.cells())} cells:",
        f"{plan.folds} folds that keep subjects and copies together, up to {plan.repeats} times.",
        "Only a fold's training rows are balanced, learned from or drawn; the pictures are",
        f"{', '.join(plan.parts)} of the data set, and its report rows are never opened. The",
        f"embedding is that of the model `{plan.model}`. Intervals: 95 %, bootstrap over groups of",
        f"rows. p: macro-F1 of the folds against **{plan.reference}** with the same classifier and",
        "space (Nadeau & Bengio 2003), two-sided, not corrected for the number of lines. Seconds:",
        "of the processors, to make a fold's rows ready and to learn and read with the classifier.",
        "",
    ]
    for data in plan.data_sets:
        own = [row for row in rows if row["data"] == data.name]
        if own:
            lines += _data_set(plan, data, own)
    return "\n".join(lines)


def _data_set(plan: HybridPlan, data: DataSet, rows: list[Json]) -> list[str]:
    counts = ", ".join(f"{name} {n}" for name, n in rows[0]["n"].items())
    drawn = ""
    if data.share < 1:
        drawn = (
            f" Of each fold's training rows {data.share:.0%} of a class are learned from, "
            f"never fewer than {data.least}; all rows of the other fold are read."
        )
    lines = [f"## {data.name}", "", f"Rows: {counts}.{drawn}", ""]
    lines += _means(plan, rows)
    lines += _best(rows)
    lines += _rare(rows)
    for space, part in groupby(rows_by(rows, plan), key=lambda row: row["space"]):
        lines += _table(space, list(part))
    return lines


def rows_by(rows: Sequence[Json], plan: HybridPlan) -> list[Json]:
    """Return the rows ordered by space, classifier and method, each as the plan has them."""
    methods = [method.name for method in plan.methods]
    return sorted(
        rows,
        key=lambda row: (
            plan.spaces.index(row["space"]),
            plan.classifiers.index(row["classifier"]),
            methods.index(row["method"]),
        ),
    )


def _means(plan: HybridPlan, rows: list[Json]) -> list[str]:
    """Seed 3's Table 4: each method over all classifiers and spaces."""
    pairs = len(plan.spaces) * len(plan.classifiers)
    names = list(rows[0]["n"])
    rarest = min(names, key=lambda name: rows[0]["n"][name])
    lines = [
        f"Means over the {pairs} pairs of classifier and space:",
        "",
        "| method | macro-F1 | G-mean | AUC | F1 of " + rarest + " | better, worse than "
        f"{plan.reference} (p < 0.05) | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in plan.methods:
        own = [row for row in rows if row["method"] == method.name]
        if not own:
            continue
        figures = [_mean([row[f] for row in own]) for f in _TITLES]
        sure = [r for r in own if r["p_value"] is not None and r["p_value"] < 0.05]
        better = sum(row["difference"] > 0 for row in sure)
        said = "–" if method.name == plan.reference else f"{better}, {len(sure) - better}"
        cells = [
            method.name,
            *figures,
            _mean([row["f1"][rarest] for row in own]),
            f"{said} of {pairs}" if said != "–" else said,
            f"{np.mean([row['seconds'] for row in own]):.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", *_sentence(plan, rows), *_published(plan, rows), ""]


def _published(plan: HybridPlan, rows: list[Json]) -> list[str]:
    """Gains over the reference as a publication has them, and as they come out here."""
    lines = []
    for method, gains in plan.published.items():
        told = []
        for figure, gain in gains.items():
            mine, base = (
                _mean_value([row[figure] for row in rows if row["method"] == name])
                for name in (method, plan.reference)
            )
            here = f"{mine / base - 1:+.1%}" if base > 0 and not np.isnan(mine) else "–"
            told.append(f"{_TITLES[figure]} {gain:+.1%} published, {here} here")
        if any(row["method"] == method for row in rows):
            lines += ["", f"{method} against {plan.reference}: {'; '.join(told)}."]
    return lines


def _sentence(plan: HybridPlan, rows: list[Json]) -> list[str]:
    """What helped, in words that follow from the figures alone."""
    by = {m.name: [r for r in rows if r["method"] == m.name] for m in plan.methods}
    means = {name: np.mean([r["macro_f1"] for r in own]) for name, own in by.items() if own}
    base = means.get(plan.reference)
    others = {name: value for name, value in means.items() if name != plan.reference}
    if base is None or not others:
        return []
    best = max(others, key=lambda name: others[name])
    gain = others[best] - base
    sure = [r for r in by[best] if r["p_value"] is not None and r["p_value"] < 0.05]
    better = sum(row["difference"] > 0 for row in sure)
    if gain <= 0:
        return [
            f"**Nothing helped on average:** {plan.reference} has a mean macro-F1 of {base:.3f}, "
            f"the best of the others, {best}, {others[best]:.3f}."
        ]
    return [
        f"**On average {best} comes out best:** macro-F1 {others[best]:.3f} against {base:.3f} of "
        f"{plan.reference} ({gain:+.3f}); with {better} of {len(by[best])} pairs the gain is "
        "beyond chance (p < 0.05)."
    ]


def _best(rows: list[Json]) -> list[str]:
    best = max(rows, key=lambda row: row["macro_f1"])
    return [
        f"Best line: {best['method']}, {best['classifier']}, {best['space']}: macro-F1 "
        f"{_interval(best, 'macro_f1')}, G-mean {_interval(best, 'g_mean')}, AUC "
        f"{_interval(best, 'auc')}.",
        "",
    ]


def _rare(rows: list[Json]) -> list[str]:
    """Classes of a handful of rows: their recall, and no more."""
    rare = [name for name, n in rows[0]["n"].items() if n < _RARE]
    if not rare:
        return []
    lines = [
        "Too few to judge, and told apart: the best recall that any line reaches: "
        + "; ".join(
            f"{name} {max(row['recall'][name] or 0 for row in rows):.2f} of {rows[0]['n'][name]}"
            for name in rare
        )
        + ".",
        "",
    ]
    return lines


def _table(space: str, rows: list[Json]) -> list[str]:
    names = list(rows[0]["f1"])
    head = ["method", "classifier", *_TITLES.values(), "p", *(f"F1 {name}" for name in names)]
    lines = [f"### {space}", "", "| " + " | ".join([*head, "CPU s"]) + " |"]
    lines.append("|" + "---|" * (len(head) + 1))
    best = max(row["macro_f1"] for row in rows)
    for row in rows:
        first = _interval(row, "macro_f1")
        cells = [
            row["method"],
            row["classifier"],
            f"**{first}**" if row["macro_f1"] == best else first,
            *(_interval(row, figure) for figure in list(_TITLES)[1:]),
            "–" if row["p_value"] is None else f"{row['p_value']:.3f}",
            *("–" if row["f1"][n] is None else f"{row['f1'][n]:.2f}" for n in names),
            f"{row['seconds']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _interval(row: Json, figure: str) -> str:
    value, low, high = (row[f"{figure}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    return f"{value:.3f} ({low:.3f}-{high:.3f})"


def _mean(values: Sequence[float | None]) -> str:
    value = _mean_value(values)
    return "–" if np.isnan(value) else f"{value:.3f}"


def _mean_value(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
