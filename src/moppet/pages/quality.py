"""The page about the quality of synthetic faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from moppet.evaluate.saved_results import current_results
from moppet.pages.document import render_document
from moppet.pages.tables import Card, Cell, Row, Table, confusion_table, facts_of, figure_cell
from moppet.pages.wording import (
    Json,
    count,
    counted,
    format_share,
    interval,
    license_of,
    number,
    share_interval,
)
from moppet.timeline.time_axis import NO_VALUE

FIGURES: Final[Mapping[str, str]] = {
    "js_divergence": "JS divergence",
    "kernel_distance": "KID",
    "frechet_distance": "FID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}
"""Figure → its name, in the order of the tables. KID and FID on moppet's embedding."""
MEANINGS: Final[Mapping[str, str]] = {
    "js_divergence": "how well synthetic and real faces can be told apart, in bits: 0 not at all, "
    "1 always",
    "kernel_distance": "kernel distance (KID) of the two sets on moppet's embedding: 0 if equal, "
    "below 0 by chance",
    "frechet_distance": "Fréchet distance (FID) of the two sets on moppet's embedding: 0 if equal; "
    "overestimated for few faces",
    "precision": "share of the synthetic faces that are among the real ones: do they look real?",
    "recall": "share of the real faces that are among the synthetic ones: is every kind covered?",
    "density": "how densely real faces surround a synthetic one: about 1 if equal",
    "coverage": "share of the real faces with a synthetic one nearby",
}
CARDS: Final = ("js_divergence", "frechet_distance", "kernel_distance", "precision", "coverage")
DRAWN: Final = ("js_divergence", "precision", "recall", "coverage")
WIDTH_PX, ROW_PX, NAME_PX = 160, 26, 86
CHART_PX, TALL_PX = 560, 170
_LONGEST = 13
_EDGE_PX = 6


@dataclass(frozen=True)
class Sheet:
    """Images as data: URIs. some: class → rows shown. synthetic, real: row → image."""

    some: Mapping[str, Sequence[int]]
    synthetic: Mapping[int, str]
    real: Mapping[int, str]


def build_page(quality: Json, sheet: Sheet | None = None) -> str:
    """Return the whole page; it holds nothing that is not in quality, the content of the JSON."""
    quality = current_results(quality)
    about, alarms = quality["about"], quality["memorized"]
    heading = f"{about['name']} compared with {about['real_name']}"
    parts = {"all": quality["all"], **quality["of_class"]}
    return render_document(
        "quality",
        f"{heading} · moppet quality",
        css=("evaluation.css", "quality.css"),
        images=sheet is not None,
        found=quality,
        sheet=sheet,
        heading=heading,
        about=_about(quality),
        cards=_cards(quality),
        figures=_figures(quality["all"]),
        near=sum(one["too_near"] for one in alarms),
        copies=sum(one["copy"] for one in alarms),
        closeness=_closeness_chart(quality["memory"]),
        alarm_table=_alarms(alarms),
        charts=[(FIGURES[name], _class_chart(name, parts)) for name in DRAWN],
        classes=_classes(quality),
        agreement=_agreement(quality),
        matrix=_matrix(quality["agreement"]),
        facts=facts_of(_facts(quality)),
    )


def _about(quality: Json) -> list[str]:
    rows, about = quality["rows"], quality["about"]
    generators = f" ({', '.join(about['generators'])})" if about["generators"] else ""
    split = " of split train" if rows["real_split"] == "train" else ""
    facts = [
        counted(rows["synthetic"], "synthetic face") + generators,
        counted(rows["real"], "real face") + split,
    ]
    return [*facts, f"evaluated {about['created_at'][:10]}"] if about.get("created_at") else facts


def _cards(quality: Json) -> list[Card]:
    whole = quality["all"]
    cards = []
    for name in CARDS:
        found, real = whole["figures"][name], whole["among_real"][name]
        title = FIGURES[name] + (" on moppet's embedding" if name.endswith("_distance") else "")
        notes = interval(found), f"among real faces: {number(real['value'])}"
        cards.append(Card(title, number(found["value"]), notes))
    for title, found, real in (
        ("detector finds a face", quality["detected"]["all"], quality["real_detected"]["all"]),
        (
            "classifier predicts the intended class",
            quality["agreement"]["macro"],
            quality["real_agreement"]["macro"],
        ),
    ):
        notes = share_interval(found), f"on real faces: {format_share(real['value'])}"
        cards.append(Card(title, format_share(found["value"]), notes))
    alarms = quality["memory"]["alarms"]
    note = f"of {count(alarms['n'])}, {share_interval(alarms)}"
    return [*cards, Card("close copies of real faces", count(len(quality["memorized"])), (note,))]


def _figures(whole: Json) -> Table:
    rows: list[Row] = [
        [
            title,
            figure_cell(whole["figures"][name]),
            figure_cell(whole["among_real"][name]),
            Cell(MEANINGS[name], left=True),
        ]
        for name, title in FIGURES.items()
    ]
    half = whole["among_real"]["coverage"]["n"]
    caption = (
        f"{count(whole['n_synthetic'])} synthetic and {count(whole['n_real'])} real faces, as many "
        f"of each class where classes are known; among real faces: halves of {count(half)} of them"
    )
    head = ["figure", "synthetic faces", "among real faces", "meaning"]
    return Table(caption, head, rows, css="figures wide")


def _class_chart(figure: str, parts: Json) -> Markup:
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
    label = f"{FIGURES[figure]} by class; the same values are in the table"
    return Markup(
        f'<svg class="strip" width="{NAME_PX + WIDTH_PX}" height="{tall + 20}" role="img" '
        f'aria-label="{label}">{scale}'
        f"{''.join(drawn)}</svg>"
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


def _closeness_chart(memory: Json) -> Markup:
    """Return the histogram of closeness of synthetic and of real faces, and the limit."""
    bins = memory["histogram"]
    edges, most = bins["edges"], max([*bins["synthetic"], *bins["real"], 1e-9])
    wide = CHART_PX / len(bins["synthetic"])
    drawn = []
    for kind in ("real", "synthetic"):
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
        text = "2 or more" if at == 2 else f"{at:g}"
        anchor = "end" if at == 2 else "start" if at == 0 else "middle"
        drawn.append(f'<text x="{x:.1f}" y="{TALL_PX + 18}" text-anchor="{anchor}">{text}</text>')
    label = "Closeness of synthetic faces to the nearest real one, and of real faces to each other"
    return Markup(
        f'<svg class="closeness" viewBox="-4 -22 {CHART_PX + 8} {TALL_PX + 48}" role="img" '
        f'aria-label="{label}"><path class="mesh" d="M0 {TALL_PX}h{CHART_PX}"/>'
        f"{''.join(drawn)}</svg>"
    )


def _alarms(alarms: Sequence[Json]) -> Table:
    reasons = {"too_near": "too close", "copy": "copy"}
    rows = [
        [
            str(one["row"]),
            Cell(str(one["path"]), css="path"),
            one["label"] or NO_VALUE,
            str(one["real_row"]),
            Cell(str(one["real_path"]), css="path"),
            " and ".join(text for key, text in reasons.items() if one[key]),
            number(one["closeness"]),
            number(one["likeness"]),
        ]
        for one in alarms
    ]
    head = ["row", "synthetic image", "class", "real row", "real image", "reason"]
    head += ["closeness", "similarity"]
    return Table("Alarms, the closest first", head, rows, css="tall", words=6)


def _classes(quality: Json) -> Table:
    shown = [name for name in FIGURES if name != "frechet_distance"]
    rows: list[Row] = []
    for name, part in quality["of_class"].items():
        if part is None:
            rows.append([name, *[NO_VALUE] * (2 + len(shown))])
            continue
        cells = [
            figure_cell(
                part["figures"][figure], f"real: {number(part['among_real'][figure]['value'])}"
            )
            for figure in shown
        ]
        rows.append([name, count(part["n_synthetic"]), count(part["n_real"]), *cells])
    caption = "Each class: figure, 95 % interval, and the same among its real faces"
    head = ["class", "synthetic", "real", *(FIGURES[name] for name in shown)]
    return Table(caption, head, rows, css="figures")


def _agreement(quality: Json) -> Table:
    of_class = quality["agreement"]["of_class"]
    others = (quality["real_agreement"], quality["detected"], quality["real_detected"])
    rows = [
        [
            name,
            count(of_class[name]["n"]),
            figure_cell(of_class[name]),
            *(figure_cell(other["of_class"][name]) for other in others),
        ]
        for name in quality["classes"]
    ]
    head = ["class", "n", "intended class predicted", "on real faces", "face found"]
    head += ["in real images"]
    return Table("Shares, with 95 % intervals", head, rows, css="figures")


def _matrix(agreement: Json) -> Table | str:
    if not any(sum(row) for row in agreement["confusion"]):
        return ""
    caption = "Synthetic faces. Rows: intended class. Columns: prediction of the classifier."
    return confusion_table(caption, agreement["names"], agreement["confusion"])


def _facts(quality: Json) -> Json:
    about, rows = quality["about"], quality["rows"]
    model, classifier, space = about["model"], about["classifier"], about["space"]
    other = classifier != model
    return {
        "Synthetic images": about["path"],
        "Generator": ", ".join(about["generators"]) or "unspecified",
        "Synthetic faces": f"{count(rows['synthetic'])} of {count(rows['in_synthetic'])} rows, "
        f"{count(rows['kept'])} kept",
        "Real images": about["real_path"],
        "Real faces": f"{count(rows['real'])} of {count(rows['in_real'])} rows"
        + (" (split train)" if rows["real_split"] == "train" else ""),
        "Sources of the real images": ", ".join(about["sources"]),
        "License of the real images, and consent": license_of(about) or "unspecified",
        "Model of the embedding": model["name"],
        "SHA-256 of the model": model["sha256"],
        "Training data of the model": model["training_data"],
        "Classifier": classifier["name"] if other else "the same model",
        "SHA-256 of the classifier": classifier["sha256"] if other else None,
        "Space of the JS divergence": f"{counted(space['components'], 'principal component')}, "
        f"{format_share(space['explained'])} of the variance",
        "Intervals": about["intervals"],
        "moppet version": about["moppet_version"],
        "Created": about.get("created_at"),
    }
