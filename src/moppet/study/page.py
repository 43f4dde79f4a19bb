"""A study's results as a Markdown page, from its rows alone."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final

import numpy as np
from scipy.stats import rankdata

from moppet.metrics import correct_p_values
from moppet.study.plan import Plan

Json = dict[str, Any]
ALPHA: Final = 0.05
_RANKED: Final = 4
"""Of fewer lines an order says nothing."""


def study_page(plan: Plan, rows: list[Json], cells: int) -> str:
    """Return the page: a table for each of the study's tables and regimes."""
    told = any("published" in row for row in rows)
    word = "study" if plan.compare == "regimes" else "ablate"
    lines = [
        f"# {plan.title}",
        "",
        f"Made by `moppet {word}`, not by hand, from {cells} of {len(plan.cells())} cells. Every",
        "network reports on the same rows, which neither trained nor chose anything. Accuracy is",
        "the mean over a regime's draws. Interval: 95 %, bootstrap over the test rows' groups",
        "and the draws together. p: paired with the table's first line, two-sided, not corrected",
        "for the number of lines; the sentences below the tables correct it (Holm 1979).",
        *(["Published: the accuracy that the publication has for it, on data of its own."] * told),
        "",
        *_not_run(plan, rows),
        *([plan.notes, ""] if plan.notes else []),
    ]
    same, line = ("experiment", "regime") if plan.compare == "regimes" else ("regime", "experiment")
    for (table, title), part in groupby(rows, key=lambda row: (row["table"], row[same])):
        lines += _table(f"{table}, {title}", line, list(part))
    return "\n".join(lines)


def _not_run(plan: Plan, rows: list[Json]) -> list[str]:
    """The lines of the tables that are wanting, in a sentence; nothing where none is."""
    there = {(row["table"], row["experiment"], row["regime"]) for row in rows}
    lacking = [key for key in dict.fromkeys(c.key[:3] for c in plan.cells()) if key not in there]
    said = "; ".join(", ".join(key) for key in lacking)
    return [f"Not run, so in no table: {said}.", ""] if lacking else []


def _table(title: str, line: str, rows: list[Json]) -> list[str]:
    """A table whose lines are told apart by their `line`: the experiment or the regime."""
    names = list(rows[0]["recall"])
    head = [line, "network", "draws", "accuracy (95 %)", "p"]
    trained = [", ".join(f"{name} {n}" for name, n in row["n_train"].items()) for row in rows]
    alike = len(set(trained)) == 1
    if not alike:
        head.insert(1, "trained on")
    told = any("published" in row for row in rows)
    head += ["published"] * told
    head += [f"{name}: P / R / F1" for name in names]
    costly = any(row["made_seconds"] for row in rows)
    head += ["parameters", "MFLOPs", "CPU s an epoch"]
    head += ["CPU s to make faces"] * costly + ["ms a face"]
    lines = [
        f"## {title}",
        "",
        f"{'Trained on ' + trained[0] + '; r' if alike else 'R'}eported on {rows[0]['n_test']}.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    best = max(row["accuracy"] for row in rows)
    for row, on in zip(rows, trained, strict=True):
        accuracy = f"{row['accuracy']:.3f}"
        accuracy = f"**{accuracy}**" if row["accuracy"] == best else accuracy
        cells = [
            row[line],
            *([] if alike else [on]),
            row["network"],
            str(row["draws"]),
            f"{accuracy} ({row['ci_low']:.3f}-{row['ci_high']:.3f})",
            "–" if row["p_value"] is None else f"{row['p_value']:.3f}",
        ]
        if told:
            cells.append(f"{row['published']:.2f}" if "published" in row else "–")
        for name in names:
            figures = (row[figure][name] for figure in ("precision", "recall", "f1"))
            cells.append(" / ".join("–" if v is None else f"{v:.2f}" for v in figures))
        per_epoch = row["seconds_per_epoch"]
        cells += [
            f"{row['parameters']:,}",
            f"{row['flops'] / 1e6:,.0f}",
            "–" if per_epoch is None else f"{per_epoch:.1f}",
            *([f"{row['made_seconds']:.0f}"] if costly else []),
            f"{row['ms_per_face']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", *_seen(line, rows), ""]


def _seen(line: str, rows: list[Json]) -> list[str]:
    """What the table shows, in sentences that follow from its figures alone."""
    best = max(rows, key=lambda row: row["accuracy"])
    text = [f"Best: {best[line]}, {best['accuracy']:.3f}."]
    compared = [row for row in rows if row["p_value"] is not None]
    corrected = correct_p_values(np.array([row["p_value"] for row in compared], float))
    sure = [row for row, p in zip(compared, corrected, strict=True) if p < ALPHA]
    first = rows[0]["accuracy"]
    for word, sign in (("Better", 1), ("Worse", -1)):
        names = [str(row[line]) for row in sure if sign * (row["accuracy"] - first) > 0]
        if compared:
            text.append(
                f"{word} than {rows[0][line]} beyond chance (corrected p below {ALPHA}, "
                f"{len(compared)} compared): {'; '.join(names) or 'none'}."
            )
    known = [row for row in rows if "published" in row]
    if known:
        top = max(known, key=lambda row: row["published"])
        text.append(
            f"Published as the best of these: {top[line]}, {top['published']:.2f}; here it has "
            f"{top['accuracy']:.3f} ({top['ci_low']:.3f}-{top['ci_high']:.3f})."
        )
        above = sum(row["published"] > row["ci_high"] for row in known)
        below = sum(row["published"] < row["ci_low"] for row in known)
        text.append(
            f"Of {len(known)} published accuracies {above} lie above the interval seen here, "
            f"{below} below."
        )
    if len(known) >= _RANKED:
        ranks = [rankdata([row[key] for row in known]) for key in ("published", "accuracy")]
        rho = float(np.corrcoef(np.array(ranks, float))[0, 1])
        text.append(
            f"The published order and the one here: Spearman's rho {rho:+.2f}, n = {len(known)}."
        )
    return [" ".join(text)]
