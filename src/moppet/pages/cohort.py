"""The pages of a study: its groups and its dyads, with figures and tables."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from moppet.cohort.dyads import MEASURES as MEASURES_OF_DYADS
from moppet.cohort.dyads import SOURCES, DyadResults
from moppet.cohort.events import Course
from moppet.cohort.statistics import MEASURES, GroupStatistics
from moppet.metrics import as_json
from moppet.pages.document import render_document
from moppet.pages.html_tables import Cell, Row, Table, count_cell, figure_cell
from moppet.pages.wording import counted, number, p_value

LIMITS: Final = (
    "A model read these expressions, and it is wrong more often for some faces than for others. "
    "Report its agreement with your coders beside these figures."
)


@dataclass(frozen=True)
class Part:
    """A section of a page. image: an SVG; alt: its text. tables: below it."""

    title: str
    about: str = ""
    image: bytes | None = None
    alt: str = ""
    tables: Sequence[Table] = ()


def build_page(
    kicker: str,
    heading: str,
    facts: Sequence[str],
    notes: Sequence[str],
    parts: Sequence[Part],
    command: str,
    results: str,
) -> str:
    """Return the whole page. results: name of the file that has its figures."""
    drawn = [
        {
            "title": part.title,
            "about": part.about,
            "image": None if part.image is None else _uri(part.image),
            "alt": part.alt,
            "tables": part.tables,
        }
        for part in parts
    ]
    return render_document(
        "cohort",
        f"{heading} · moppet",
        css=("evaluation.css", "cohort.css"),
        images=True,
        kicker=kicker,
        heading=heading,
        facts=facts,
        limits=LIMITS,
        notes=notes,
        parts=drawn,
        command=command,
        results=results,
    )


def _uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"


def group_parts(
    found: GroupStatistics,
    courses: Sequence[Course],
    images: dict[str, bytes],
) -> list[Part]:
    """Return the sections of the page of a study's groups. images: figure's name → SVG."""
    name = MEASURES[found.question.measure][0]
    whose = "the model's labels" if found.question.machine else "labels after the corrections"
    parts = [
        Part(
            "Groups",
            f"Each dot is a participant: its {name}, over all its recordings ({whose}). Diamonds "
            "are means, lines their 95 % intervals by bootstrap over participants.",
            images.get("distributions"),
            f"{name} by {', '.join(found.question.by)}; the same means are in the table",
            [_cell_table(found)],
        )
    ]
    if found.comparisons:
        about = (
            "Permutation tests over participants: of the differences within participants where "
            "they are in both levels, else of the two groups. Holm's correction covers all rows."
        )
        parts.append(Part("Comparisons", about, tables=[_comparison_table(found)]))
    if courses:
        about = (
            "Mean over participants around the events, with 95 % intervals by bootstrap over "
            "participants; the dashed line is the event."
        )
        parts.append(Part("Around events", about, images.get("courses"), "Time courses"))
    if "strips" in images:
        about = (
            "Every person of every recording: what is shown most, from the first to the last frame."
        )
        parts.append(Part("All recordings", about, images["strips"], "Strips of all recordings"))
    return parts


def _cell_table(found: GroupStatistics) -> Table:
    by = found.question.by
    rows: list[Row] = [
        [
            cell.label,
            *cell.levels,
            count_cell(cell.estimate.n),
            count_cell(cell.recordings),
            figure_cell(as_json(cell.estimate)),
            number(_plain(cell.median)),
            number(_plain(cell.sd)),
        ]
        for cell in found.cells
    ]
    head = ["", *by, "participants", "recordings", "mean", "median", "SD"]
    title = f"{MEASURES[found.question.measure][0]}: mean and 95 % interval"
    return Table(title, head, rows, css="figures", words=1 + len(by))


def _comparison_table(found: GroupStatistics) -> Table:
    _, *others = found.question.by
    rows: list[Row] = [
        [
            one.label,
            f"{one.first} – {one.second}",
            *one.within,
            "paired" if one.paired else "groups",
            Cell(" + ".join(map(str, one.n))),
            figure_cell(as_json(one.difference), signed=True),
            number(_plain(one.effect), signed=True),
            p_value(_plain(one.p)),
            p_value(_plain(one.p_holm)),
        ]
        for one in found.comparisons
    ]
    head = ["", found.question.by[0], *others, "test", "participants", "difference", "d", "p"]
    return Table("Comparisons", [*head, "p (Holm)"], rows, css="figures", words=3 + len(others))


def dyad_parts(found: DyadResults, images: dict[str, bytes]) -> list[Part]:
    """Return the sections of the page of a study's dyads. images: figure's name → SVG."""
    first, second = found.question.roles
    q = found.question
    return [
        Part(
            "Lead and lag",
            f"Windowed cross-correlation of the {first} with the {second}: windows of "
            f"{q.window_s:g} s, mean over windows and dyads with 95 % intervals by bootstrap over "
            f"participants. A peak right of 0 means that the {second} follows the {first}.",
            images.get("lags"),
            "Mean cross-correlation by lag",
        ),
        Part(
            "Observed and by chance",
            "Each measure of each dyad beside the mean of its surrogates: the partner of another "
            "participant, or the own partner's series with random phases (correlations) or begun "
            "elsewhere (states). Only what is above both is more than two people's own habits.",
            images.get("measures"),
            "Each measure, observed and by chance; the means are in the table",
            [_dyad_table(found)],
        ),
        Part("Measures", "", tables=[_measure_table()]),
    ]


def _dyad_table(found: DyadResults) -> Table:
    rows: list[Row] = [
        [
            one.label,
            one.measure,
            {"partners": "shuffled partners", "time": "moved in time"}[one.surrogates],
            count_cell(one.n),
            number(_plain(one.observed)),
            number(_plain(one.expected)),
            figure_cell(as_json(one.difference), signed=True),
            p_value(_plain(one.p)),
        ]
        for one in found.groups
    ]
    head = ["", "measure", "surrogates", "participants", "observed", "by chance", "difference", "p"]
    title = "Means over participants; p: permutation test, not corrected for several measures"
    return Table(title, head, rows, css="figures", words=3)


def _measure_table() -> Table:
    rows: list[Row] = [
        [name, Cell(text, left=True), Cell(SOURCES[name], left=True)] for name, text in _WORDS
    ]
    return Table("What is measured", ["measure", "meaning", "source"], rows, words=3)


_WORDS: Final = [*MEASURES_OF_DYADS.items(), ("peak_lag_s", "lag of the largest correlation")]


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def group_facts(found: GroupStatistics, recordings: int) -> list[str]:
    """Return the line below the heading."""
    return [
        counted(recordings, "recording"),
        counted(len(found.participants), "participant"),
        f"{found.question.kind}s by {', '.join(found.question.by)}",
    ]


def plain_rows(rows: Sequence[Any]) -> list[Any]:
    """Return rows of a table without NaN, which CSV leaves empty."""
    return [None if isinstance(x, float) and not math.isfinite(x) else x for x in rows]
