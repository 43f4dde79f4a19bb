"""Confusion matrices as tables: counts and per cent of the true class, shaded by the latter."""

from __future__ import annotations

from html import escape

from moppet.app.evaluation.words import Json, count, levels
from moppet.app.report.content import section
from moppet.app.report.tables import format_share

STEPS = 20


def build_matrices(evaluation: Json) -> str:
    """Return the matrix of the classes, and that of the groups."""
    tables = "".join(
        f"<figure><h3>{title}</h3>{_matrix(level['names'], level['parts']['all']['confusion'])}"
        "</figure>"
        for title, level, _ in levels(evaluation)
    )
    about = (
        "One row for each label, one column for what the model read: how many faces, and their "
        "share of the row. Right readings are blue, mistakes orange; the stronger the colour, the "
        "more of the row."
    )
    body = f'<p class="about">{about}</p><div class="pair matrices">{tables}</div>'
    return section("confusion", "What is taken for what", body)


def _matrix(names: list[str], counts: list[list[int]]) -> str:
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    body = []
    for i, name in enumerate(names):
        total = sum(counts[i])
        cells = "".join(_cell(n, total, i == j) for j, n in enumerate(counts[i]))
        body.append(
            f'<tr><th scope="row">{escape(name)}</th>{cells}<td class="n sum">{count(total)}</td>'
            "</tr>"
        )
    read = [sum(row[j] for row in counts) for j in range(len(names))]
    sums = "".join(f'<td class="n sum">{count(n)}</td>' for n in read)
    caption = "Rows: label. Columns: read by the model."
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f'<table class="confusion"><caption>{caption}</caption><thead><tr><td></td>{head}'
        f'<th scope="col"><span>n</span></th></tr></thead><tbody>{"".join(body)}'
        f'<tr><th scope="row">read</th>{sums}<td class="n sum">{count(sum(read))}</td></tr>'
        "</tbody></table></div>"
    )


def _cell(n: int, total: int, right: bool) -> str:
    if not total:
        return '<td class="n zero">–</td>'
    if not n:
        return '<td class="n zero">0</td>'
    depth = max(1, round(STEPS * n / total))
    kind = "hit" if right else "miss"
    return f'<td class="n {kind} d{depth}">{count(n)}<small>{format_share(n / total)}</small></td>'
