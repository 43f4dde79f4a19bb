"""The quality report's HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from moppet.app.evaluation.words import Json, cell, count, interval, number
from moppet.app.frame import build_document
from moppet.app.quality.charts import class_charts
from moppet.app.quality.made import build_made, build_notes
from moppet.app.quality.memory import build_memory
from moppet.app.quality.words import CARDS, FIGURES, MEANINGS
from moppet.app.report.content import section
from moppet.app.report.tables import build_table, format_share

LIMITS = (
    "These figures say how near made faces are to real ones as one model sees them. Whether they "
    "help to train another model only a comparison on real faces can say."
)
_CSS = """
.strips{display:flex;flex-wrap:wrap;gap:1.4rem 2rem;margin-top:1rem}
.strip{display:block;overflow:visible}.strip text{font-size:12.5px;fill:var(--ink)}
.strip text[text-anchor]{fill:var(--soft);font-size:11.5px}
.strips h3{margin:0 0 .5rem}
.real{fill:var(--grey);fill-opacity:.32}
.closeness{display:block;width:100%;max-width:40rem;margin-top:1rem;overflow:visible}
.closeness text{font-size:12px;fill:var(--soft)}
.made-area{fill:var(--blue);fill-opacity:.45;stroke:var(--blue);stroke-width:1.2}
.real-area{fill:var(--grey);fill-opacity:.4;stroke:var(--grey);stroke-width:1.2}
.limit{fill:none;stroke:var(--orange);stroke-width:1.6}
.sheet{display:flex;flex-wrap:wrap;gap:.5rem;margin-bottom:1.2rem}
.sheet img{display:block;border-radius:8px}
.pairs figure{width:200px}.pairs .two{display:flex;gap:8px}
.pairs+.scroll{margin-top:1.4rem}
"""


@dataclass(frozen=True)
class Sheet:
    """Pictures as data: URIs. some: class → rows shown. made, real: row → picture."""

    some: Mapping[str, Sequence[int]]
    made: Mapping[int, str]
    real: Mapping[int, str]


def build_page(quality: Json, sheet: Sheet | None = None) -> str:
    """Return the whole page; it says nothing that is not in quality, the JSON's content."""
    made = quality["made"]
    title = f"{made['name']} beside {made['real_name']}"
    body = (
        f"{_header(quality, title)}<main>"
        + _figures(quality)
        + build_memory(
            quality, None if sheet is None else sheet.made, None if sheet is None else sheet.real
        )
        + _classes(quality)
        + _agreement(quality)
        + _sheets(quality, sheet)
        + build_made(quality)
        + build_notes()
        + "</main>"
    )
    css = files("moppet.app.evaluation").joinpath("evaluation.css").read_text(encoding="utf-8")
    return build_document(
        f"{title} · moppet quality", body, css=css.strip() + _CSS, pictures=sheet is not None
    )


def _header(quality: Json, title: str) -> str:
    rows, made = quality["rows"], quality["made"]
    facts = [
        f"{count(rows['made'])} made faces"
        + (f" ({', '.join(made['made_by'])})" if made["made_by"] else ""),
        f"{count(rows['real'])} real ones"
        + (" of split train" if rows["real_split"] == "train" else ""),
        f"judged on {made['made_at'][:10]}" if made.get("made_at") else "",
    ]
    about = " · ".join(f'<span class="fact">{escape(fact)}</span>' for fact in facts if fact)
    notes = "".join(f'<p class="warn">{escape(note)}</p>' for note in quality["notes"])
    return (
        '<header><p class="kicker">moppet · are made faces any good?</p>'
        f"<h1>{escape(title)}</h1><p>{about}</p>"
        f'<p class="limits">{LIMITS}</p>{notes}</header>'
    )


def _card(title: str, value: str, *said: str) -> str:
    spans = "".join(f"<span>{escape(text)}</span>" for text in said if text)
    return f"<div><dt>{escape(title)}</dt><dd><strong>{value}</strong>{spans}</dd></div>"


def _figures(quality: Json) -> str:
    whole = quality["all"]
    cards = []
    for name in CARDS:
        found, real = whole["figures"][name], whole["among_real"][name]
        title = FIGURES[name] + (" on moppet's embedding" if name.endswith("_distance") else "")
        cards.append(
            _card(
                title,
                number(found["value"]),
                interval(found),
                f"among real faces: {number(real['value'])}",
            )
        )
    for title, found, real in (
        ("detector finds a face", quality["detected"]["all"], quality["real_detected"]["all"]),
        (
            "judge reads what was meant",
            quality["agreement"]["macro"],
            quality["real_agreement"]["macro"],
        ),
    ):
        said = f"on real faces: {format_share(real['value'])}"
        cards.append(_card(title, format_share(found["value"]), _shares(found), said))
    alarms = quality["memory"]["alarms"]
    n = sum(1 for _ in quality["memorised"])
    cards.append(
        _card("nearly a real face", count(n), f"of {count(alarms['n'])}, {_shares(alarms)}")
    )
    rows = [
        [
            escape(FIGURES[name]),
            cell(whole["figures"][name]),
            cell(whole["among_real"][name]),
            f"<td>{escape(MEANINGS[name])}</td>",
        ]
        for name in FIGURES
    ]
    half = whole["among_real"]["coverage"]["n"]
    caption = (
        f"{count(whole['n_made'])} made against {count(whole['n_real'])} real faces, as many of "
        f"each class where classes are known; among real: halves of {count(half)} of them"
    )
    table = build_table(
        caption,
        ["figure", "made faces", "among real faces", "what it is"],
        rows,
        css="figures told",
    )
    return section("figures", "Key figures", f'<dl class="cards">{"".join(cards)}</dl>{table}')


def _shares(figure: Json) -> str:
    if figure["low"] is None or figure["low"] == figure["high"]:
        return interval(figure)
    return f"{format_share(figure['low'])} to {format_share(figure['high'])}"


def _share(figure: Json) -> str:
    limits = _shares(figure)
    return format_share(figure["value"]) + (f" ({limits})" if limits else "")


def _classes(quality: Json) -> str:
    about = (
        "A dot is the made faces of a class against all its real ones, with the 95 % interval; "
        "the grey bar is the same between two halves of the real faces, in ten splits: as good as "
        "it gets."
    )
    rows = []
    for name, part in quality["of_class"].items():
        if part is None:
            rows.append([escape(name), *["–"] * (2 + len(FIGURES) - 1)])
            continue
        rows.append(
            [
                escape(name),
                count(part["n_made"]),
                count(part["n_real"]),
                *(_beside(part, figure) for figure in FIGURES if figure != "frechet_distance"),
            ]
        )
    head = ["class", "made", "real"]
    head += [title for name, title in FIGURES.items() if name != "frechet_distance"]
    table = build_table(
        "Each class: figure, 95 % interval, and the same among its real faces",
        head,
        rows,
        css="figures",
    )
    body = f'<p class="about">{about.replace(" %", "&nbsp;%")}</p>{class_charts(quality)}{table}'
    return section("classes", "Class by class", body if rows else '<p class="none">None.</p>')


def _beside(part: Json, figure: str) -> str:
    real = number(part["among_real"][figure]["value"])
    return cell(part["figures"][figure]).replace("</td>", f"<small>real: {real}</small></td>")


def _agreement(quality: Json) -> str:
    mine, real = quality["agreement"], quality["real_agreement"]
    judge = quality["made"]["judge"]["name"]
    about = (
        f"{escape(judge)} reads the intended class of {_share(mine['overall'])} of the "
        f"made faces, of {_share(real['overall'])} of the real ones. On real faces that it "
        "has learned from, it reads better than it could elsewhere."
    )
    rows = [
        [
            escape(name),
            count(mine["of_class"][name]["n"]),
            cell(mine["of_class"][name]),
            cell(real["of_class"][name]),
            cell(quality["detected"]["of_class"][name]),
            cell(quality["real_detected"]["of_class"][name]),
        ]
        for name in quality["classes"]
    ]
    head = ["class", "n", "read as meant", "real faces", "face found", "in real pictures"]
    table = build_table("Shares, with 95 % intervals", head, rows, css="figures")
    loose = quality["detected"]["loosely"]
    note = (
        f'<p class="about">At looser thresholds the detector finds a face in '
        f"{format_share(loose['value'])} of the made pictures.</p>"
    )
    matrix = _matrix(mine["names"], mine["confusion"])
    return section(
        "agreement",
        "What the judge and the detector see",
        f'<p class="about">{about}</p>{table}{note}{matrix}',
    )


def _matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    rows = []
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = sum(row)
        if not total:
            continue
        cells = []
        for j, n in enumerate(row):
            depth = max(1, round(20 * n / total))
            kind = f"{'hit' if i == j else 'miss'} d{depth}" if n else "zero"
            share = f"<small>{format_share(n / total)}</small>" if n else ""
            cells.append(f'<td class="n {kind}">{count(n)}{share}</td>')
        rows.append([escape(name), *cells])
    caption = "Made faces. Rows: intended class. Columns: read by the judge."
    return build_table(caption, ["", *names], rows, css="confusion") if rows else ""


def _sheets(quality: Json, sheet: Sheet | None) -> str:
    if sheet is None:
        body = (
            '<p class="none">This page shows no face. <code>--pictures</code> shows some made '
            "ones of each class, and beside the nearest alarms the real ones.</p>"
        )
        return section("sheets", "Sheets", body)
    body = '<p class="about">Drawn at random, cut as the model sees them.</p>'
    for name, rows in sheet.some.items():
        images = "".join(
            f'<img src="{escape(sheet.made[row])}" width="96" height="96" '
            f'alt="Made face in row {row}: {escape(name)}">'
            for row in rows
            if row in sheet.made
        )
        body += f'<h3>{escape(name)}</h3><div class="sheet">{images}</div>'
    return section("sheets", "Sheets", body)
