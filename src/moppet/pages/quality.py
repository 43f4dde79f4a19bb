"""The page about the quality of synthetic faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from moppet.evaluate.saved_results import current_results
from moppet.pages.document import render_document
from moppet.pages.html_tables import Cell, Row, Table, confusion_table, figure_cell
from moppet.pages.wording import (
    Json,
    count,
    number,
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
DRAWN: Final = ("js_divergence", "precision", "recall", "coverage")


@dataclass(frozen=True)
class Sheet:
    """Images as data: URIs. some: class → rows shown. synthetic, real: row → image."""

    some: Mapping[str, Sequence[int]]
    synthetic: Mapping[int, str]
    real: Mapping[int, str]


def build_page(quality: Json, sheet: Sheet | None = None) -> str:
    """Return the whole page; it holds nothing that is not in quality, the content of the JSON."""
    quality = current_results(quality)
    about = quality["about"]
    heading = f"{about['name']} compared with {about['real_name']}"
    return render_document(
        "quality",
        f"{heading} · moppet quality",
        css=("evaluation.css", "quality.css"),
        images=sheet is not None,
        found=quality,
        sheet=sheet,
        heading=heading,
        names=FIGURES,
        drawn=DRAWN,
        figures=_figures(quality["all"]),
        outlines={kind: _outline(quality["memory"], kind) for kind in ("real", "synthetic")},
        alarm_table=_alarms(quality["memorized"]),
        classes=_classes(quality),
        agreement=_agreement(quality),
        matrix=_matrix(quality["agreement"]),
    )


def _outline(memory: Json, kind: str) -> str:
    """Return the outline of the histogram of closeness, in a square of 1000 units."""
    bins = memory["histogram"]
    most, wide = max([*bins["synthetic"], *bins["real"], 1e-9]), 1000 / len(bins[kind])
    steps = ((i * wide, 1000 * (1 - share / most)) for i, share in enumerate(bins[kind]))
    return "M0 1000" + "".join(f"L{x:.1f} {y:.1f}h{wide:.1f}" for x, y in steps) + "L1000 1000Z"


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
            number(one["similarity"]),
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
    head = ["class", "n", "intended class predicted", "of real faces", "face found"]
    head += ["in real images"]
    return Table("Shares, with 95 % intervals", head, rows, css="figures")


def _matrix(agreement: Json) -> Table | str:
    if not any(sum(row) for row in agreement["confusion"]):
        return ""
    caption = "Synthetic faces. Rows: intended class. Columns: prediction of the classifier."
    return confusion_table(caption, agreement["names"], agreement["confusion"])
