"""A study's results as a Markdown page, from their rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import Any, Final

import numpy as np
from scipy.stats import rankdata

from moppet.metrics import correct_p_values
from moppet.study.plan import FIGURES, ClassifierPlan, DataSet, NetworkPlan, StudyPlan

Json = dict[str, Any]

ALPHA: Final = 0.05
_ALL: Final = "all"
_RARE: Final = 20
_RANKED: Final = 4
"""The order of fewer lines means nothing."""


def study_page(plan: StudyPlan, rows: list[Json], finished: int) -> str:
    """Return the page of a study's results. finished: the number of its finished cells."""
    origin = [
        f"# {plan.title}",
        "",
        f"Written by `moppet study` from {finished} of {len(plan.cells())} cells; do not edit it.",
        "",
    ]
    if isinstance(plan, ClassifierPlan):
        return "\n".join([*origin, *_classifier_page(plan, rows)])
    assert isinstance(plan, NetworkPlan)
    return "\n".join([*origin, *_network_page(plan, rows)])


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table and an empty line."""
    text = ["| " + " | ".join(cells) + " |" for cells in (head, *lines)]
    return [text[0], "|" + "---|" * len(head), *text[1:], ""]


def _counts(counts: Json) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _decimal(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


# --------------------------------------------------------------------- studies of networks


def _network_page(plan: NetworkPlan, rows: list[Json]) -> list[str]:
    published = any("published" in row for row in rows)
    lines = [
        "All networks are evaluated on the same test rows, which were used neither for training",
        "nor for any choice. Accuracy is the mean over the draws of a regime. The 95 % interval",
        "is a bootstrap over both the groups of the test rows and the draws. p compares with the",
        "first line of the table (paired, two-sided). The p in the tables is not corrected for the",
        "number of lines; the sentences below them use a correction (Holm 1979).",
        *(["Published: the accuracy in the publication, on other data."] * published),
        "",
        *_missing_lines(plan, rows),
        *([plan.notes.strip(), ""] if plan.notes.strip() else []),
    ]
    same, line = ("experiment", "regime") if plan.compare == "regimes" else ("regime", "experiment")
    for (table, title), part in groupby(rows, key=lambda row: (row["table"], row[same])):
        lines += _network_table(f"{table}, {title}", line, list(part))
    return lines


def _missing_lines(plan: NetworkPlan, rows: list[Json]) -> list[str]:
    there = {(row["table"], row["experiment"], row["regime"]) for row in rows}
    missing = [key for key in dict.fromkeys(c.key[:3] for c in plan.cells()) if key not in there]
    text = "; ".join(", ".join(key) for key in missing)
    return [f"Not run, and therefore in no table: {text}.", ""] if missing else []


def _network_table(title: str, line: str, rows: list[Json]) -> list[str]:
    """Return a table whose lines differ in `line`: the experiment or the regime."""
    names = list(rows[0]["recall"])
    trained = [_counts(row["n_train"]) for row in rows]
    alike = len(set(trained)) == 1
    published = any("published" in row for row in rows)
    synthesis = any(row["synthesis_seconds"] for row in rows)
    head = [line, *["trained on"] * (not alike), "network", "draws", "accuracy (95 %)", "p"]
    head += ["published"] * published
    head += [f"{name}: P / R / F1" for name in names]
    head += ["parameters", "MFLOPs", "CPU s per epoch"]
    head += ["CPU s for synthesis"] * synthesis + ["ms per face"]
    best = max(row["accuracy"] for row in rows)
    body = []
    for row, rows_used in zip(rows, trained, strict=True):
        bold = "**" if row["accuracy"] == best else ""
        cells = [row[line], *[rows_used] * (not alike), row["network"], str(row["draws"])]
        interval = f"({row['ci_low']:.3f}-{row['ci_high']:.3f})"
        cells += [f"{bold}{row['accuracy']:.3f}{bold} {interval}", _decimal(row["p_value"])]
        if published:
            cells.append(_decimal(row.get("published"), 2))
        for name in names:
            figures = (row[figure][name] for figure in ("precision", "recall", "f1"))
            cells.append(" / ".join(_decimal(value, 2) for value in figures))
        cells += [f"{row['parameters']:,}", f"{row['flops'] / 1e6:,.0f}"]
        cells += [_decimal(row["seconds_per_epoch"], 1)]
        cells += [f"{row['synthesis_seconds']:.0f}"] * synthesis + [f"{row['ms_per_face']:.2f}"]
        body.append(cells)
    used = f"Trained on {trained[0]}; tested" if alike else "Tested"
    lines = [f"## {title}", "", f"{used} on {rows[0]['n_test']}.", "", *_table(head, body)]
    return [*lines, " ".join([*_comparisons(line, rows), *_published_accuracies(line, rows)]), ""]


def _comparisons(line: str, rows: list[Json]) -> list[str]:
    """Return sentences on the best line and on those that differ from the first."""
    best = max(rows, key=lambda row: row["accuracy"])
    text = [f"Best: {best[line]}, {best['accuracy']:.3f}."]
    compared = [row for row in rows if row["p_value"] is not None]
    corrected = correct_p_values(np.array([row["p_value"] for row in compared], float))
    significant = [row for row, p in zip(compared, corrected, strict=True) if p < ALPHA]
    first = rows[0]
    for word, sign in (("better", 1), ("worse", -1)):
        names = [
            str(row[line])
            for row in significant
            if sign * (row["accuracy"] - first["accuracy"]) > 0
        ]
        if compared:
            text.append(
                f"Significantly {word} than {first[line]} (corrected p below {ALPHA}, "
                f"{len(compared)} compared): {'; '.join(names) or 'none'}."
            )
    return text


def _published_accuracies(line: str, rows: list[Json]) -> list[str]:
    """Return sentences that compare the published accuracies with those of this study."""
    known = [row for row in rows if "published" in row]
    if not known:
        return []
    top = max(known, key=lambda row: row["published"])
    above = sum(row["published"] > row["ci_high"] for row in known)
    below = sum(row["published"] < row["ci_low"] for row in known)
    text = [
        f"The best published accuracy is that of {top[line]}, {top['published']:.2f}; here it "
        f"reaches {top['accuracy']:.3f} ({top['ci_low']:.3f}-{top['ci_high']:.3f}).",
        f"Of {len(known)} published accuracies, {above} are above the interval found here, "
        f"{below} below.",
    ]
    if len(known) >= _RANKED:
        ranks = [rankdata([row[key] for row in known]) for key in ("published", "accuracy")]
        rho = float(np.corrcoef(np.array(ranks, float))[0, 1])
        text.append(
            f"Rank correlation of published and measured accuracy: Spearman's rho {rho:+.2f}, "
            f"n = {len(known)}."
        )
    return text


# ------------------------------------------------------------------ studies of classifiers


def _classifier_page(plan: ClassifierPlan, rows: Sequence[Json]) -> list[str]:
    unused = "" if "test" in plan.splits else "; its test rows are not used at all"
    lines = [
        f"Cross-validation: {plan.folds} folds that keep subjects and duplicates together, up to",
        f"{plan.repeats} times. Balancing, synthesis and training use only the training rows of a",
        f"fold. The images are the {' and '.join(plan.splits)} rows of the data set{unused}. The",
        f"embedding is that of the model `{plan.model}`.",
        "",
        "Macro-F1, G-mean and AUC are means over folds. With few rows of a class in a fold, its",
        "recall is often 0, and so is the G-mean. The F1 of a class is computed over all folds of",
        "a repeat together. Intervals are 95 % intervals of the mean over folds. p compares the",
        f"folds' macro-F1 with that of **{plan.reference}** for the same classifier and feature",
        "space (two-sided, not corrected for the number of lines). Both use a t-test that allows",
        "for overlapping training rows (Nadeau & Bengio 2003). The p of a method's mean over all",
        "classifiers and feature spaces is corrected for the number of methods (Holm 1979). CPU s:",
        "CPU seconds to prepare a fold's rows and to train and run the classifier.",
        "",
    ]
    for data in plan.data_sets.values():
        own = [row for row in rows if row["data"] == data.name]
        if own:
            lines += _data_set(plan, data, own)
    return lines


def _data_set(plan: ClassifierPlan, data: DataSet, rows: list[Json]) -> list[str]:
    used = ""
    if data.share < 1:
        used = (
            f" Of each class, {data.share:.0%} of a fold's training rows are used, but at least "
            f"{data.min_rows}; all test rows are used."
        )
    lines = [f"## {data.name}", "", f"Rows: {_counts(rows[0]['n'])}.{used}", ""]
    lines += _means(plan, [row for row in rows if row["classifier"] == _ALL])
    rows = [row for row in rows if row["classifier"] != _ALL]
    lines += _best_line(rows)
    lines += _rare_classes(rows)
    methods = list(plan.methods)

    def order(row: Json) -> tuple[int, ...]:
        pair = (plan.spaces.index(row["space"]), plan.classifiers.index(row["classifier"]))
        return (*pair, methods.index(row["method"]))

    for space, part in groupby(sorted(rows, key=order), key=lambda row: row["space"]):
        lines += _space(space, list(part))
    return lines


def _means(plan: ClassifierPlan, means: list[Json]) -> list[str]:
    """Return each method's mean over all classifiers and spaces (Wu 2025, Table 4)."""
    pairs = len(plan.spaces) * len(plan.classifiers)
    rarest = min(means[0]["n"], key=lambda name: means[0]["n"][name])
    best = {figure: max(row[figure] or 0 for row in means) for figure in FIGURES}
    body = [
        [
            row["method"],
            *(_interval(row, figure, best[figure]) for figure in FIGURES),
            _decimal(row["f1"][rarest]),
            f"{row['seconds']:.1f}",
        ]
        for row in means
    ]
    return [
        f"Means over the {pairs} pairs of classifier and feature space:",
        "",
        *_table(["method", *FIGURES.values(), f"F1 of {rarest}", "CPU s"], body),
        *_differences(plan, means),
        *_published_gains(plan, means),
        *_training_rows(means),
    ]


def _training_rows(means: list[Json]) -> list[str]:
    """Return how many training rows each class has before and after (Wu 2025, Table 2)."""
    names = list(means[0]["n"])
    before = [f"{means[0]['n_before'][name]:.0f}" for name in names]
    body = [["before", *before]]
    for row in means:
        after = [f"{row['n_train'][name]:.0f}" for name in names]
        if after != before:
            body.append([row["method"], *after])
    lines = [
        "Training rows of each class, mean over folds (and over feature spaces, for methods that "
        "balance in each):",
        "",
        *_table(["method", *names], body),
    ]
    texts = {
        "kept": "a class that cleaning would have removed completely was kept whole",
        "too_small": "a class had too few rows left for synthetic faces",
    }
    for row in means:
        for outcome, text in texts.items():
            if count := row["outcomes"][outcome]:
                folds = means[0]["folds"] * row["repeats"]
                lines += [f"{row['method']}: {text} in {count} of {folds} folds.", ""]
    return lines


def _differences(plan: ClassifierPlan, means: list[Json]) -> list[str]:
    """Return a table of differences, and sentences on those that are significant."""
    bases = dict.fromkeys([plan.reference, next(iter(plan.methods))])
    bases = {base: None for base in bases if any(base in row["against"] for row in means)}
    if not bases:
        return []
    titles = [f"{title} against {base}" for base in bases for title in FIGURES.values()]
    body = [
        [
            row["method"],
            *(_difference(row["against"].get(base, {}).get(f)) for base in bases for f in FIGURES),
        ]
        for row in means
        if row["against"]
    ]
    return [
        "Differences, with the corrected p in parentheses:",
        "",
        *_table(["method", *titles], body),
        *chain.from_iterable(_significant(base, means) for base in bases),
    ]


def _significant(base: str, means: list[Json]) -> list[str]:
    compared = [row for row in means if base in row["against"]]
    number = f"corrected p below {ALPHA}, {len(compared)} compared"
    lines = [f"**Significant differences from {base}** on average ({number}):", ""]
    for figure, title in FIGURES.items():
        found = {row["method"]: row["against"][base][figure] for row in compared}
        by = {name: one["difference"] for name, one in found.items() if _is_significant(one)}
        better = "; ".join(name for name, difference in by.items() if difference > 0) or "none"
        worse = "; ".join(name for name, difference in by.items() if difference < 0) or "none"
        lines.append(f"- {title}: better: {better}. Worse: {worse}.")
    return [*lines, ""]


def _published_gains(plan: ClassifierPlan, means: list[Json]) -> list[str]:
    """Return gains over the reference in a publication, and those found here."""
    by = {row["method"]: row for row in means}
    lines = []
    for method, gains in plan.published.items():
        if method not in by or plan.reference not in by:
            continue
        texts = []
        for figure, gain in gains.items():
            mine, base = by[method][figure], by[plan.reference][figure]
            here = f"{mine / base - 1:+.1%}" if mine is not None and base else "–"
            texts.append(f"{FIGURES[figure]} {gain:+.1%} published, {here} here")
        lines += [f"{method} against {plan.reference}: {'; '.join(texts)}.", ""]
    return lines


def _best_line(rows: list[Json]) -> list[str]:
    best = max(rows, key=lambda row: row["macro_f1"])
    figures = ", ".join(f"{title} {_interval(best, f)}" for f, title in FIGURES.items())
    name = f"{best['method']}, {best['classifier']}, {best['space']}"
    return [f"The best of {len(rows)} lines, so optimistic: {name}: {figures}.", ""]


def _rare_classes(rows: list[Json]) -> list[str]:
    """Return the best recall of classes with very few rows."""
    counts = rows[0]["n"]
    texts = [
        f"{name} {max(row['recall'][name] or 0 for row in rows):.2f} of {n}"
        for name, n in counts.items()
        if n < _RARE
    ]
    if not texts:
        return []
    return [
        f"Classes with too few rows to judge; the best recall of any line: {'; '.join(texts)}.",
        "",
    ]


def _space(space: str, rows: list[Json]) -> list[str]:
    """Return the table of a feature space."""
    names = list(rows[0]["f1"])
    best = {figure: max(row[figure] or 0 for row in rows) for figure in FIGURES}
    body = [
        [
            row["method"],
            row["classifier"],
            *(_interval(row, figure, best[figure]) for figure in FIGURES),
            _p(row["p_value"]),
            *(_decimal(row["f1"][name], 2) for name in names),
            f"{row['seconds']:.1f}",
        ]
        for row in rows
    ]
    figures = [*FIGURES.values(), "p", *(f"F1 {name}" for name in names)]
    return [f"### {space}", "", *_table(["method", "classifier", *figures, "CPU s"], body)]


def _difference(one: Json | None) -> str:
    if one is None or one["difference"] is None:
        return "–"
    text = f"{one['difference']:+.3f} ({_p(one['p_corrected'])})"
    return f"**{text}**" if _is_significant(one) else text


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
