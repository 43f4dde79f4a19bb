"""Summaries as one table: a row for each recording and role."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

from moppet.timeline.summary import UNNAMED

_TIMES: Final = ("time_s", "time_sure_s", "time_unsure_s")
_FIGURES: Final = ("share", "share_sure", "episodes", "mean_s", "longest_s")


def summary_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each role in a recording, one row for all faces if nobody was named.

    Columns: recording, role, people, analysed_s, the role's seconds, then for each group
    ("group positive share", …) and expression ("happiness share", …) its figures; see
    docs/timeline.md, section "Summary". None where one has no value.
    """
    roles = summary.get("roles") or {UNNAMED: {**summary["faces"]["all"], "people": []}}
    return [
        {
            "recording": summary["source"],
            "role": role,
            "people": "; ".join(found["people"]),
            "analysed_s": summary["analysed_s"],
            **{name: found[name] for name in _TIMES},
            **_figures(found["groups"], "group "),
            **_figures(found["expressions"], ""),
        }
        for role, found in roles.items()
    ]


def summary_csv(summaries: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows of these recordings as CSV; empty where a figure has no value.

    Recordings that were read by models of different classes have the columns of all.
    """
    rows = [row for summary in summaries for row in summary_rows(summary)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {k: f"{v:.6g}" if isinstance(v, float) else _guarded(v) for k, v in row.items()}
        )
    return text.getvalue()


def _figures(labels: Mapping[str, Mapping[str, Any]], prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}{label} {name}": figures[name]
        for label, figures in labels.items()
        for name in _FIGURES
    }


def _guarded(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is set in quotes."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t") else value
