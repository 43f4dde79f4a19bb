"""The model's most confident mistakes: a table, and a sheet of pictures if they were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from moppet.app.evaluation.words import Json, count
from moppet.app.report.content import section
from moppet.app.report.tables import build_table, format_share


def build_mistakes(evaluation: Json, pictures: Mapping[int, str] | None) -> str:
    """Return the mistakes, the most confident first."""
    mistakes = evaluation["mistakes"]
    if not mistakes:
        return section("mistakes", "Worst mistakes", '<p class="none">There is none.</p>')
    about = (
        f"The {count(len(mistakes))} most confident mistakes. Some are mistakes of the label: "
        "where the data has votes, see how many of the raters chose it."
    )
    if pictures is None:
        about += " <code>--pictures</code> shows the faces too."
    sheet = "" if pictures is None else _sheet(mistakes, pictures)
    body = f'<p class="about">{about}</p>{sheet}{_table(mistakes)}'
    return section("mistakes", "Worst mistakes", body)


def _sheet(mistakes: list[Json], pictures: Mapping[int, str]) -> str:
    figures = []
    for one in mistakes:
        uri = pictures.get(one["row"])
        if uri is None:
            continue
        text = f"{escape(one['label'])}, read as {escape(one['read_as'])}"
        figures.append(
            f'<figure><img src="{escape(uri)}" width="96" height="96" alt="Face in row '
            f'{one["row"]}: {text}"><figcaption>{text}, {format_share(one["confidence"])}<br>'
            f"row {one['row']}</figcaption></figure>"
        )
    return f'<div class="moments">{"".join(figures)}</div>'


def _table(mistakes: list[Json]) -> str:
    voted = any(one["votes_on_label"] is not None for one in mistakes)
    aged = any(one["age_band"] is not None for one in mistakes)
    rows = []
    for one in mistakes:
        cells = [
            f'<th scope="row" data-v="{one["row"]}">{one["row"]}</th>',
            f'<td class="path">{escape(_place(one))}</td>',
            f"<td>{escape(one['label'])}</td>",
            f"<td>{escape(one['read_as'])}</td>",
            *([f"<td>{escape(one['age_band'] or '–')}</td>"] if aged else []),
            f"<td>{'yes' if one['face_found'] else 'no'}</td>",
            _share(one["confidence"]),
            _share(one["p_label"]),
            *([_share(one["votes_on_label"])] if voted else []),
        ]
        rows.append(cells)
    head = [
        *("row", "picture", "label", "read as"),
        *(["age band"] if aged else []),
        *("face found", "confidence", "probability of the label"),
        *(["votes for the label"] if voted else []),
    ]
    words = 6 if aged else 5
    return build_table("Mistakes", head, rows, css="sortable tall", words=words)


def _share(value: float | None) -> str:
    order = -1 if value is None else value
    return f'<td class=n data-v="{order:.6g}">{format_share(value)}</td>'


def _place(one: Json) -> str:
    place = str(one["path"])
    if one["array_row"] is not None:
        return f"{place} [{one['array_row']}]"
    return f"{place} at {one['time_s']:.2f} s" if one["time_s"] is not None else place
