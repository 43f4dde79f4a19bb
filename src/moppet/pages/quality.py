"""The page about the quality of synthetic faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Final

from moppet.pages.frame import build_document
from moppet.pages.report_tables import build_table, format_share, section
from moppet.pages.wording import Json, cell, count, interval, number

FIGURES: Final[Mapping[str, str]] = {
    "js_divergence": "JS divergence",
    "kernel_distance": "KID",
    "frechet_distance": "FID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}
"""Figure → what people call it, in the order of the tables. KID and FID on moppet's embedding."""
MEANINGS: Final[Mapping[str, str]] = {
    "js_divergence": "how well made and real faces can be told apart, in bits: 0 not at all, "
    "1 always",
    "kernel_distance": "distance of the two kinds, kernel (KID), on moppet's embedding: 0 alike, "
    "below 0 by chance",
    "frechet_distance": "distance of the two kinds, Fréchet (FID), on moppet's embedding: 0 alike; "
    "comes out too high for few faces",
    "precision": "share of the made faces that lie among real ones: do they look real?",
    "recall": "share of the real faces that lie among made ones: is every kind made?",
    "density": "how thickly real faces surround a made one: about 1 alike",
    "coverage": "share of the real faces with a made one nearby",
}
CARDS: Final = ("js_divergence", "frechet_distance", "kernel_distance", "precision", "coverage")
DRAWN: Final = ("js_divergence", "precision", "recall", "coverage")


WIDTH_PX, ROW_PX, NAME_PX = 160, 26, 86
_LONGEST = 13
_EDGE_PX = 6
CHART_PX, TALL_PX = 560, 170


def class_charts(quality: Json) -> str:
    """Return a small chart for each figure from 0 to 1: a dot a class, the real range behind."""
    parts = {"all": quality["all"], **quality["of_class"]}
    charts = "".join(_class_chart(name, parts) for name in DRAWN)
    return f'<div class="strips">{charts}</div>'


def _class_chart(figure: str, parts: Json) -> str:
    drawn = []
    for i, (name, part) in enumerate(parts.items()):
        y = i * ROW_PX + ROW_PX / 2
        drawn.append(f'<text x="0" y="{y + 4:.0f}">{escape(_short(name))}</text>')
        if part is not None:
            drawn.append(f'<g transform="translate({NAME_PX} 0)">{_row(figure, part, y)}</g>')
    tall = len(parts) * ROW_PX
    scale = "".join(
        f'<text x="{NAME_PX + _x(at):.1f}" y="{tall + 15}" text-anchor="middle">{at:g}</text>'
        f'<path class="mesh" d="M{NAME_PX + _x(at):.1f} 0v{tall}"/>'
        for at in (0, 0.5, 1)
    )
    label = f"{FIGURES[figure]} by class; the same values stand in the table"
    return (
        f'<figure><figcaption><h3>{FIGURES[figure]}</h3></figcaption><svg class="strip" '
        f'width="{NAME_PX + WIDTH_PX}" height="{tall + 20}" role="img" aria-label="{label}">'
        f"{scale}{''.join(drawn)}</svg></figure>"
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _x(value: float) -> float:
    return _EDGE_PX + min(max(value, 0.0), 1.0) * (WIDTH_PX - 2 * _EDGE_PX)


def _row(figure: str, part: Json, y: float) -> str:
    found, real = part["figures"][figure], part["among_real"][figure]
    drawn = []
    if real["low"] is not None:
        x, far = _x(real["low"]), _x(real["high"])
        drawn.append(
            f'<rect class="real" x="{x - 1:.1f}" y="{y - 8:.1f}" width="{far - x + 2:.1f}" '
            'height="16" rx="2"/>'
        )
    if found["low"] is not None:
        ends = f'x1="{_x(found["low"]):.1f}" x2="{_x(found["high"]):.1f}"'
        drawn.append(f'<line class="reach" {ends} y1="{y:.1f}" y2="{y:.1f}"/>')
    if found["value"] is not None:
        drawn.append(f'<circle class="dot" cx="{_x(found["value"]):.1f}" cy="{y:.1f}" r="4"/>')
    return "".join(drawn)


def closeness_chart(memory: Json) -> str:
    """Return the histogram of closeness of made and of real faces, and the limit."""
    bins = memory["histogram"]
    edges, most = bins["edges"], max([*bins["made"], *bins["real"], 1e-9])
    wide = CHART_PX / len(bins["made"])
    drawn = []
    for kind in ("real", "made"):
        points = []
        for i, share in enumerate(bins[kind]):
            y = TALL_PX * (1 - share / most)
            points.append(f"{i * wide:.1f} {y:.1f}L{(i + 1) * wide:.1f} {y:.1f}")
        outline = "L".join(points)
        drawn.append(
            f'<path class="{kind}-area" d="M0 {TALL_PX}L{outline}L{CHART_PX} {TALL_PX}Z"/>'
        )
    if memory["limit"] is not None:
        x = min(memory["limit"], edges[-1]) / edges[-1] * CHART_PX
        drawn.append(f'<path class="limit" d="M{x:.1f} -16V{TALL_PX}"/>')
        drawn.append(f'<text x="{x + 5:.1f}" y="-8">alarm below {number(memory["limit"])}</text>')
    for at in (0, 0.5, 1, 1.5, 2):
        x = at / edges[-1] * CHART_PX
        said = "2 and more" if at == 2 else f"{at:g}"
        anchor = "end" if at == 2 else "start" if at == 0 else "middle"
        drawn.append(f'<text x="{x:.1f}" y="{TALL_PX + 18}" text-anchor="{anchor}">{said}</text>')
    label = "Closeness of made faces to the nearest real one, and of real faces among each other"
    return (
        f'<svg class="closeness" viewBox="-4 -22 {CHART_PX + 8} {TALL_PX + 48}" role="img" '
        f'aria-label="{label}"><path class="mesh" d="M0 {TALL_PX}h{CHART_PX}"/>'
        f"{''.join(drawn)}</svg>"
        '<ul class="legend" aria-label="Legend"><li><svg class="swatch" width="10" height="10" '
        'aria-hidden="true"><rect class="made-area" width="10" height="10" rx="2"/></svg>made '
        'faces</li><li><svg class="swatch" width="10" height="10" aria-hidden="true"><rect '
        'class="real-area" width="10" height="10" rx="2"/></svg>real faces among each other</li>'
        "</ul>"
    )


_NOTES = (
    (
        "Pictures",
        "are cut as a video's frames are: the face is found, turned upright and cropped. Where no "
        "face is found the whole image stands for it.",
    ),
    (
        "Distances",
        "are measured in the embedding of the model named above. FID and KID are named after their "
        "formulas; on this embedding their values cannot be compared with those of any publication "
        "that uses Inception's.",
    ),
    (
        "JS divergence",
        "is estimated from nearest neighbors in the first principal components of the real faces' "
        "embeddings. With few faces it is rough: look at what it is among real faces.",
    ),
    (
        "Among real faces",
        "the real ones are cut in two halves, one person's images in one half. The halves are "
        "smaller than the whole, which makes them differ a little more than they should.",
    ),
    (
        "Intervals",
        "of distances come from random halves of both kinds, those of shares from bootstrap draws; "
        "groups (a person, the copies of an image) are drawn together.",
    ),
    (
        "No alarm",
        "does not prove that nobody can be recognized: it compares expressions, aligned looks and "
        "whole images, and not who people are.",
    ),
    ("A dash", "stands where a figure is not defined; it is never 0."),
    ("Every number", "of this page stands in quality.json beside it."),
)


def build_made(quality: Json) -> str:
    """Return the command, and from what everything was made."""
    made, rows = quality["made"], quality["rows"]
    model, judge, space = made["model"], made["judge"], made["space"]
    facts = {
        "Made images": made["path"],
        "Made by": ", ".join(made["made_by"]) or "not stated",
        "Made faces": f"{count(rows['made'])} of {count(rows['in_made'])} rows, "
        f"{count(rows['kept'])} kept",
        "Real images": made["real_path"],
        "Real faces": f"{count(rows['real'])} of {count(rows['in_real'])} rows"
        + (" (split train)" if rows["real_split"] == "train" else ""),
        "Their sources": ", ".join(made["sources"]),
        "Their license and consent": made["licence"] or "not stated",
        "Embedding of": model["name"],
        "Its SHA-256": model["sha256"],
        "It learned from": model["training_data"],
        "Judge": judge["name"] if judge != model else "the same",
        "Judge's SHA-256": judge["sha256"] if judge != model else None,
        "Space of the JS divergence": f"{space['components']} principal components, "
        f"{format_share(space['explained'])} of the variance",
        "Intervals": made["intervals"],
        "moppet": made["moppet_version"],
        "Made": made.get("made_at"),
    }
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(text))}</dd></div>"
        for name, text in facts.items()
        if text
    )
    command = made.get("command")
    again = (
        f'<p>To make this again:</p><pre tabindex="0"><code>{escape(command)}</code></pre>'
        if command
        else ""
    )
    return section("made", "How it was made", f'{again}<dl class="facts">{items}</dl>')


def build_notes() -> str:
    """Return what the words and figures mean."""
    body = "".join(f"<p><strong>{term}</strong> {text}</p>" for term, text in _NOTES)
    return section("notes", "Notes on the figures", f'<div class="notes">{body}</div>')


def build_memory(
    quality: Json, made: Mapping[int, str] | None, real: Mapping[int, str] | None
) -> str:
    """Return how near made faces come to real ones. made, real: row → image, None for none."""
    memory, alarms = quality["memory"], quality["memorised"]
    body = f'<p class="about">{_sentence(quality)}</p>'
    if memory["real_compared"]:
        body += closeness_chart(memory)
    if alarms and made is not None and real is not None:
        body += _pairs(alarms, made, real)
    elif alarms:
        body += (
            '<p class="none"><code>--show-faces</code> shows these faces beside the real ones.</p>'
        )
    return section("memory", "Nearly a real face?", body + (_table(alarms) if alarms else ""))


def _sentence(quality: Json) -> str:
    memory, alarms = quality["memory"], quality["memorised"]
    near, copies = (sum(one[key] for one in alarms) for key in ("too_near", "copy"))
    text = (
        f"{count(len(alarms))} of {count(quality['rows']['made'])} made faces raise the alarm "
        f"({format_share(memory['alarms']['value'])}): {count(near)} by their distance, "
        f"{count(copies)} as a copy of the image. "
    )
    if memory["limit"] is not None:
        text += (
            "Closeness is the distance to the nearest real face over that face's distance to its "
            "own nearest real neighbor; 1&nbsp;% of the real faces lie as close to each other as "
            "the limit, so that about as many new faces of the same kind would raise it by chance. "
        )
    twins = memory["real_twins"]
    if twins:
        text += (
            f"{count(twins)} of the real images are nearly copies of another real one; they "
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
    head = ["row", "made image", "class", "real row", "real image", "why"]
    head += ["closeness", "likeness"]
    return build_table("Alarms, the nearest first", head, rows, css="tall", words=6)


def _why(one: Json) -> list[str]:
    return [said for key, said in (("too_near", "too near"), ("copy", "copy")) if one[key]]


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
    """Pictures as data: URIs. some: class → rows shown. made, real: row → image."""

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
    css = files("moppet.pages").joinpath("static", "evaluation.css").read_text(encoding="utf-8")
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
        "the gray bar is the same between two halves of the real faces, in ten splits: as good as "
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
    head = ["class", "n", "read as meant", "real faces", "face found", "in real images"]
    table = build_table("Shares, with 95 % intervals", head, rows, css="figures")
    loose = quality["detected"]["loosely"]
    note = (
        f'<p class="about">At looser thresholds the detector finds a face in '
        f"{format_share(loose['value'])} of the made images.</p>"
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
            '<p class="none">This page shows no face. <code>--show-faces</code> shows some made '
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
