"""A study's results as a Markdown page, from their rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from typing import Final

import numpy as np
from scipy.stats import rankdata

from moppet.files import render_text
from moppet.metrics import correct_p_values
from moppet.study.executors import Json
from moppet.study.plan import ALL, FIGURES, ClassifierPlan, DataSet, NetworkPlan, StudyPlan

ALPHA: Final = 0.05
_RARE: Final = 20
_RANKED: Final = 4
"""The order of fewer lines means nothing."""
Columns = dict[str, Callable[[Json], str]]
"""Heading → the function that returns a row's cell."""


def study_page(plan: StudyPlan, rows: list[Json], finished: int) -> str:
    """Return the page of a study's results. finished: the number of its finished cells."""
    if isinstance(plan, ClassifierPlan):
        of_data = (
            (data, [r for r in rows if r["data"] == n]) for n, data in plan.data_sets.items()
        )
        values: Json = {"data_sets": [_data_set(plan, data, own) for data, own in of_data if own]}
    else:
        assert isinstance(plan, NetworkPlan)
        values = _networks(plan, rows)
    text = render_text(
        "moppet.study", "study.md.j2", plan=plan, finished=finished, alpha=ALPHA, **values
    )
    return text.rstrip("\n") + "\n"


def _table(columns: Columns, rows: Iterable[Json]) -> tuple[list[str], list[list[str]]]:
    """Return a table's headings and the cells of its lines."""
    return list(columns), [[cell(row) for cell in columns.values()] for row in rows]


def _counts(counts: Json) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _decimal(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


# --------------------------------------------------------------------- studies of networks


def _networks(plan: NetworkPlan, rows: list[Json]) -> Json:
    there = {(row["table"], row["experiment"], row["regime"]) for row in rows}
    missing = [key for key in dict.fromkeys(c.key[:3] for c in plan.cells()) if key not in there]
    same, line = ("experiment", "regime") if plan.compare == "regimes" else ("regime", "experiment")
    groups = groupby(rows, key=lambda row: (row["table"], row[same]))
    return {
        "published": any("published" in row for row in rows),
        "missing": [", ".join(key) for key in missing],
        "networks": [{"title": ", ".join(key), **_networks_of(line, list(g))} for key, g in groups],
    }


def _networks_of(line: str, rows: list[Json]) -> Json:
    """Return what is said of lines that differ in `line`: the experiment or the regime."""
    trained = list(dict.fromkeys(_counts(row["n_train"]) for row in rows))
    best = max(rows, key=lambda row: row["accuracy"])
    known = [row for row in rows if "published" in row]

    def accuracy(row: Json) -> str:
        bold = "**" if row["accuracy"] == best["accuracy"] else ""
        return f"{bold}{row['accuracy']:.3f}{bold} ({row['ci_low']:.3f}-{row['ci_high']:.3f})"

    def figures(name: str, row: Json) -> str:
        return " / ".join(_decimal(row[key][name], 2) for key in ("precision", "recall", "f1"))

    def synthesis(row: Json) -> str:
        return f"{row['synthesis_seconds']:.0f}"

    columns: dict[str, Callable[[Json], str] | None] = {
        line: lambda row: str(row[line]),
        "trained on": (lambda row: _counts(row["n_train"])) if len(trained) > 1 else None,
        "network": lambda row: row["network"],
        "draws": lambda row: str(row["draws"]),
        "accuracy (95 %)": accuracy,
        "p": lambda row: _decimal(row["p_value"]),
        "published": (lambda row: _decimal(row.get("published"), 2)) if known else None,
        **{f"{name}: P / R / F1": partial(figures, name) for name in rows[0]["recall"]},
        "parameters": lambda row: f"{row['parameters']:,}",
        "MFLOPs": lambda row: f"{row['flops'] / 1e6:,.0f}",
        "CPU s per epoch": lambda row: _decimal(row["seconds_per_epoch"], 1),
        "CPU s for synthesis": synthesis if any(row["synthesis_seconds"] for row in rows) else None,
        "ms per face": lambda row: f"{row['ms_per_face']:.2f}",
    }
    head, lines = _table({name: cell for name, cell in columns.items() if cell}, rows)
    compared = [row for row in rows if row["p_value"] is not None]
    corrected = correct_p_values(np.array([row["p_value"] for row in compared], float))
    gains = [
        (row[line], row["accuracy"] - rows[0]["accuracy"])
        for row, p in zip(compared, corrected, strict=True)
        if p < ALPHA
    ]
    return {
        "trained": trained[0] if len(trained) == 1 else "",
        "n_test": rows[0]["n_test"],
        "head": head,
        "lines": lines,
        "best": {"name": best[line], "accuracy": _decimal(best["accuracy"])},
        "first": rows[0][line],
        "compared": len(compared),
        "significant": {
            "better": [name for name, gain in gains if gain > 0],
            "worse": [name for name, gain in gains if gain < 0],
        },
        "published": _published_accuracies(line, known) if known else None,
    }


def _published_accuracies(line: str, rows: list[Json]) -> Json:
    """Compare the published accuracies with those of this study."""
    top = max(rows, key=lambda row: row["published"])
    ranks = [rankdata([row[key] for row in rows]) for key in ("published", "accuracy")]
    enough = len(rows) >= _RANKED
    return {
        "name": top[line],
        "value": _decimal(top["published"], 2),
        "here": f"{top['accuracy']:.3f} ({top['ci_low']:.3f}-{top['ci_high']:.3f})",
        "n": len(rows),
        "above": sum(row["published"] > row["ci_high"] for row in rows),
        "below": sum(row["published"] < row["ci_low"] for row in rows),
        "rho": f"{np.corrcoef(np.array(ranks, float))[0, 1]:+.2f}" if enough else "",
    }


# ------------------------------------------------------------------ studies of classifiers


def _data_set(plan: ClassifierPlan, data: DataSet, rows: list[Json]) -> Json:
    means = [row for row in rows if row["classifier"] == ALL]
    rows = [row for row in rows if row["classifier"] != ALL]
    methods = list(plan.methods)
    rows.sort(
        key=lambda row: (
            plan.spaces.index(row["space"]),
            plan.classifiers.index(row["classifier"]),
            methods.index(row["method"]),
        )
    )
    counts = means[0]["n"]
    best = max(rows, key=lambda row: row["macro_f1"])
    bases = [b for b in plan.references if any(b in row["against"] for row in means)]
    recalls = {n: max(row["recall"][n] or 0 for row in rows) for n in counts if counts[n] < _RARE}
    return {
        "data": data,
        "n": _counts(counts),
        "means": _means(means),
        "differences": _differences(bases, means) if bases else None,
        "significant": [_significant(base, means) for base in bases],
        "published": list(_published_gains(plan, means)),
        "training_rows": _training_rows(means),
        "outcomes": [
            (row["method"], outcome, count, means[0]["folds"] * row["repeats"])
            for row in means
            for outcome, count in row["outcomes"].items()
            if count
        ],
        "best": {
            "of": len(rows),
            "name": f"{best['method']}, {best['classifier']}, {best['space']}",
            "figures": ", ".join(f"{title} {_interval(best, f)}" for f, title in FIGURES.items()),
        },
        "rare": [f"{name} {recall:.2f} of {counts[name]}" for name, recall in recalls.items()],
        "spaces": [(s, *_space(list(g))) for s, g in groupby(rows, key=lambda row: row["space"])],
    }


def _figure_columns(rows: list[Json]) -> Columns:
    best = {figure: max(row[figure] or 0 for row in rows) for figure in FIGURES}
    return {
        title: partial(_interval, figure=figure, best=best[figure])
        for figure, title in FIGURES.items()
    }


def _means(means: list[Json]) -> tuple[list[str], list[list[str]]]:
    """Return each method's mean over all classifiers and spaces (Wu 2025, Table 4)."""
    rarest = min(means[0]["n"], key=means[0]["n"].get)
    columns: Columns = {
        "method": lambda row: row["method"],
        **_figure_columns(means),
        f"F1 of {rarest}": lambda row: _decimal(row["f1"][rarest]),
        "CPU s": lambda row: f"{row['seconds']:.1f}",
    }
    return _table(columns, means)


def _space(rows: list[Json]) -> tuple[list[str], list[list[str]]]:
    """Return the table of a feature space."""
    columns: Columns = {
        "method": lambda row: row["method"],
        "classifier": lambda row: row["classifier"],
        **_figure_columns(rows),
        "p": lambda row: _p(row["p_value"]),
        **{f"F1 {n}": partial(lambda n, row: _decimal(row["f1"][n], 2), n) for n in rows[0]["f1"]},
        "CPU s": lambda row: f"{row['seconds']:.1f}",
    }
    return _table(columns, rows)


def _training_rows(means: list[Json]) -> tuple[list[str], list[list[str]]]:
    """Return how many training rows each class has before and after (Wu 2025, Table 2)."""
    lines = [
        [name, *(f"{n:.0f}" for n in counts.values())]
        for name, counts in [
            ("before", means[0]["n_before"]),
            *((row["method"], row["n_train"]) for row in means),
        ]
    ]
    changed = [line for line in lines[1:] if line[1:] != lines[0][1:]]
    return ["method", *means[0]["n"]], [lines[0], *changed]


def _differences(bases: list[str], means: list[Json]) -> tuple[list[str], list[list[str]]]:
    def difference(base: str, figure: str, row: Json) -> str:
        one = row["against"].get(base, {}).get(figure)
        if one is None or one["difference"] is None:
            return "–"
        text = f"{one['difference']:+.3f} ({_p(one['p_corrected'])})"
        return f"**{text}**" if _is_significant(one) else text

    columns: Columns = {"method": lambda row: row["method"]}
    columns |= {
        f"{title} against {base}": partial(difference, base, figure)
        for base in bases
        for figure, title in FIGURES.items()
    }
    return _table(columns, [row for row in means if row["against"]])


def _significant(base: str, means: list[Json]) -> tuple[str, int, list[tuple[str, str, str]]]:
    """Return the base, how many methods are compared, and for each figure which differ."""
    compared = {row["method"]: row["against"][base] for row in means if base in row["against"]}
    found = []
    for figure, title in FIGURES.items():
        by = {
            m: of[figure]["difference"] for m, of in compared.items() if _is_significant(of[figure])
        }
        better, worse = ("; ".join(m for m in by if s * by[m] > 0) or "none" for s in (1, -1))
        found.append((title, better, worse))
    return base, len(compared), found


def _published_gains(plan: ClassifierPlan, means: list[Json]) -> Iterable[tuple[str, list[str]]]:
    """Yield gains over the reference in a publication, and those found here."""
    by = {row["method"]: row for row in means}
    for method, gains in plan.published.items():
        if method not in by or plan.reference not in by:
            continue
        texts = []
        for figure, gain in gains.items():
            mine, base = by[method][figure], by[plan.reference][figure]
            here = f"{mine / base - 1:+.1%}" if mine is not None and base else "–"
            texts.append(f"{FIGURES[figure]} {gain:+.1%} published, {here} here")
        yield method, texts


def _is_significant(one: Json) -> bool:
    return one["p_corrected"] is not None and one["p_corrected"] < ALPHA


def _p(p: float | None) -> str:
    return "<0.001" if p is not None and p < 0.001 else _decimal(p)


def _interval(row: Json, figure: str, best: float | None = None) -> str:
    value, low, high = (row[f"{figure}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    first = f"**{value:.3f}**" if best and value == best else f"{value:.3f}"
    return first if low is None else f"{first} ({low:.3f}-{high:.3f})"
