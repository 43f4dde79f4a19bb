"""The page's section on made faces that are nearly a real one."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from moppet.app.evaluation.words import Json, count, number
from moppet.app.quality.charts import closeness_chart
from moppet.app.report.content import section
from moppet.app.report.tables import build_table, format_share


def build_memory(
    quality: Json, made: Mapping[int, str] | None, real: Mapping[int, str] | None
) -> str:
    """Return how near made faces come to real ones. made, real: row → picture, None for none."""
    memory, alarms = quality["memory"], quality["memorised"]
    body = f'<p class="about">{_sentence(quality)}</p>'
    if memory["real_compared"]:
        body += closeness_chart(memory)
    if alarms and made is not None and real is not None:
        body += _pairs(alarms, made, real)
    elif alarms:
        body += (
            '<p class="none"><code>--pictures</code> shows these faces beside the real ones.</p>'
        )
    return section("memory", "Nearly a real face?", body + (_table(alarms) if alarms else ""))


def _sentence(quality: Json) -> str:
    memory, alarms = quality["memory"], quality["memorised"]
    near, copies = (sum(one[key] for one in alarms) for key in ("too_near", "copy"))
    text = (
        f"{count(len(alarms))} of {count(quality['rows']['made'])} made faces raise the alarm "
        f"({format_share(memory['alarms']['value'])}): {count(near)} by their distance, "
        f"{count(copies)} as a copy of the picture. "
    )
    if memory["limit"] is not None:
        text += (
            "Closeness is the distance to the nearest real face over that face's distance to its "
            "own nearest real neighbour; 1&nbsp;% of the real faces lie as close to each other as "
            "the limit, so that about as many new faces of the same kind would raise it by chance. "
        )
    twins = memory["real_twins"]
    if twins:
        text += (
            f"{count(twins)} of the real pictures are nearly copies of another real one; they "
            "count as one person's. "
        )
    return text + (
        "Faces with an alarm are left out of <code>kept.parquet</code>."
        if alarms
        else "None has to be left out."
    )


def _pairs(alarms: list[Json], made: Mapping[int, str], real: Mapping[int, str]) -> str:
    figures = []
    for one in alarms:
        if one["row"] not in made or one["real_row"] not in real:
            continue
        said = f"closeness {number(one['closeness'])}"
        if one["copy"]:
            said += f", likeness {number(one['likeness'])}"
        figures.append(
            f'<figure><div class="two"><img src="{escape(made[one["row"]])}" width="96" '
            f'height="96" alt="Made face in row {one["row"]}"><img '
            f'src="{escape(real[one["real_row"]])}" width="96" height="96" '
            f'alt="Real face in row {one["real_row"]}"></div><figcaption>made {one["row"]}, real '
            f"{one['real_row']}: {said}</figcaption></figure>"
        )
    return f'<div class="moments pairs">{"".join(figures)}</div>'


def _table(alarms: list[Json]) -> str:
    rows = [
        [
            f'<th scope="row">{one["row"]}</th>',
            f'<td class="path">{escape(str(one["path"]))}</td>',
            f"<td>{escape(one['label'] or '–')}</td>",
            f"<td>{one['real_row']}</td>",
            f'<td class="path">{escape(str(one["real_path"]))}</td>',
            "<td>" + " and ".join(_why(one)) + "</td>",
            number(one["closeness"]),
            number(one["likeness"]),
        ]
        for one in alarms
    ]
    head = ["row", "made picture", "class", "real row", "real picture", "why"]
    head += ["closeness", "likeness"]
    return build_table("Alarms, the nearest first", head, rows, css="tall", words=6)


def _why(one: Json) -> list[str]:
    return [said for key, said in (("too_near", "too near"), ("copy", "copy")) if one[key]]
