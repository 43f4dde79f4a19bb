"""A hybrid study's results as a Markdown page, from its rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import Any, Final

from moppet.study.hybrid.hybrid_plan import DataSet, HybridPlan
from moppet.study.hybrid.hybrid_results import ALL, bases_of

Json = dict[str, Any]
_TITLES = {"macro_f1": "macro-F1", "g_mean": "G-mean", "auc": "AUC"}
_RARE = 20
ALPHA: Final = 0.05


def hybrid_page(plan: HybridPlan, rows: Sequence[Json], cells: int) -> str:
    """Return the page: a summary and a table for each data set."""
    apart = "and its test rows are never opened" if "test" not in plan.parts else "all of them"
    lines = [
        f"# {plan.title}",
        "",
        f"Made by `moppet study`, not by hand, from {cells} of {len(plan.cells())} cells:",
        f"{plan.folds} folds that keep subjects and copies together, up to {plan.repeats} times.",
        "Only a fold's training rows are balanced, learned from or drawn; the images are",
        f"{', '.join(plan.parts)} of the data set, {apart}. The embedding is",
        f"that of the model `{plan.model}`.",
        "",
        "Macro-F1, G-mean and AUC: means over folds (with few rows of a class in a fold its",
        "recall is often 0, and so is the G-mean); F1 of a class: of a repeat's folds together.",
        "Intervals: 95 %, of the mean over folds; p: of the folds' macro-F1 against that of",
        f"**{plan.reference}** with the same classifier and space, two-sided, not corrected for",
        "the number of lines; both by t, allowing for overlapping training parts (Nadeau & Bengio",
        "2003). Those of a method's mean over all classifiers and spaces are corrected for the",
        "number of methods (Holm 1979). Seconds: of the processors, to make a fold's rows ready",
        "and to learn and read with the classifier.",
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
    lines += _means(plan, [row for row in rows if row["classifier"] == ALL])
    rows = [row for row in rows if row["classifier"] != ALL]
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


def _means(plan: HybridPlan, means: list[Json]) -> list[str]:
    """Seed 3's Table 4: each method over all classifiers and spaces."""
    pairs = len(plan.spaces) * len(plan.classifiers)
    names = list(means[0]["n"])
    rarest = min(names, key=lambda name: means[0]["n"][name])
    lines = [
        f"Means over the {pairs} pairs of classifier and space:",
        "",
        *_head("method", *_TITLES.values(), f"F1 of {rarest}", "CPU s"),
    ]
    best = {figure: max(row[figure] or 0 for row in means) for figure in _TITLES}
    for row in means:
        figures = [_interval(row, figure, best[figure]) for figure in _TITLES]
        rare, seconds = _said(row["f1"][rarest]), f"{row['seconds']:.1f}"
        lines.append(_line(row["method"], *figures, rare, seconds))
    lines += ["", *_against(plan, means), *_published(plan, means), *_learned(means)]
    return lines


def _learned(means: list[Json]) -> list[str]:
    """Seed 3's Table 2: how many rows of each class are learned from, before and after."""
    names = list(means[0]["n"])
    before = [f"{means[0]['n_before'][name]:.0f}" for name in names]
    lines = [
        "Rows of each class to learn from, mean over folds (and over spaces, for what balances in "
        "each):",
        "",
        *_head("method", *names),
        _line("as they came", *before),
    ]
    for row in means:
        after = [f"{row['n_train'][name]:.0f}" for name in names]
        if after != before:
            lines.append(_line(row["method"], *after))
    lines.append("")
    words = {
        "kept": "a class of which nothing would have been left was kept as it came",
        "too_small": "a class was left too small to make faces of",
    }
    folds = means[0]["folds"]
    for row in means:
        for word, said in words.items():
            if row["went"][word]:
                of = folds * row["repeats"]
                lines += [f"{row['method']}: {said} in {row['went'][word]} of {of} folds.", ""]
    return lines


def _against(plan: HybridPlan, means: list[Json]) -> list[str]:
    """What helped: a table of differences, and a sentence for each method compared with."""
    bases = [base for base in bases_of(plan) if any(base in row["against"] for row in means)]
    if not bases:
        return []
    titles = [f"{title} against {base}" for base in bases for title in _TITLES.values()]
    lines = ["Differences, with the corrected p:", "", *_head("method", *titles)]
    for row in means:
        if row["against"]:
            told = [row["against"].get(b, {}).get(f) for b in bases for f in _TITLES]
            lines.append(_line(row["method"], *map(_difference, told)))
    return [*lines, "", *chain.from_iterable(_sentence(base, means) for base in bases)]


def _sentence(base: str, means: list[Json]) -> list[str]:
    """Who differs from one method, in words that follow from the figures alone."""
    compared = [row for row in means if base in row["against"]]
    number = f"corrected p below {ALPHA}, {len(compared)} compared"
    lines = [f"**What differs from {base} beyond chance** ({number}), on average:", ""]
    for figure, title in _TITLES.items():
        of = {row["method"]: row["against"][base][figure] for row in compared}
        sure = {name: told["difference"] for name, told in of.items() if _is_sure(told)}
        better = "; ".join(name for name, by in sure.items() if by > 0) or "none"
        worse = "; ".join(name for name, by in sure.items() if by < 0) or "none"
        lines.append(f"- {title}: better: {better}. Worse: {worse}.")
    return [*lines, ""]


def _published(plan: HybridPlan, means: list[Json]) -> list[str]:
    """Gains over the reference as a publication has them, and as they come out here."""
    by = {row["method"]: row for row in means}
    lines = []
    for method, gains in plan.published.items():
        if method not in by or plan.reference not in by:
            continue
        told = []
        for figure, gain in gains.items():
            mine, base = by[method][figure], by[plan.reference][figure]
            here = f"{mine / base - 1:+.1%}" if mine is not None and base else "–"
            told.append(f"{_TITLES[figure]} {gain:+.1%} published, {here} here")
        lines += [f"{method} against {plan.reference}: {'; '.join(told)}.", ""]
    return lines


def _best(rows: list[Json]) -> list[str]:
    best = max(rows, key=lambda row: row["macro_f1"])
    figures = ", ".join(f"{title} {_interval(best, f)}" for f, title in _TITLES.items())
    name = f"{best['method']}, {best['classifier']}, {best['space']}"
    return [f"Best of {len(rows)} lines, and so a lucky one: {name}: {figures}.", ""]


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
    lines = [f"### {space}", "", *_head(*head, "CPU s")]
    best = {figure: max(row[figure] or 0 for row in rows) for figure in _TITLES}
    for row in rows:
        cells = [
            row["method"],
            row["classifier"],
            *(_interval(row, figure, best[figure]) for figure in _TITLES),
            _chance(row["p_value"]),
            *("–" if row["f1"][n] is None else f"{row['f1'][n]:.2f}" for n in names),
            f"{row['seconds']:.1f}",
        ]
        lines.append(_line(*cells))
    return [*lines, ""]


def _head(*titles: str) -> list[str]:
    return [_line(*titles), "|" + "---|" * len(titles)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _difference(told: Json | None) -> str:
    if told is None or told["difference"] is None:
        return "–"
    text = f"{told['difference']:+.3f} ({_chance(told['p_corrected'])})"
    return f"**{text}**" if _is_sure(told) else text


def _is_sure(told: Json) -> bool:
    return told["p_corrected"] is not None and told["p_corrected"] < ALPHA


def _chance(p: float | None) -> str:
    return "<0.001" if p is not None and p < 0.001 else _said(p)


def _interval(row: Json, figure: str, best: float | None = None) -> str:
    value, low, high = (row[f"{figure}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    first = f"**{value:.3f}**" if best and value == best else f"{value:.3f}"
    return first if low is None else f"{first} ({low:.3f}-{high:.3f})"


def _said(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
