"""Figures of a study for a paper, drawn with matplotlib: SVG and PDF."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.cohort.dyads import DyadResults
from moppet.cohort.events import STRIP_BINS, Course, Courses, Strip
from moppet.cohort.statistics import MEASURES, GroupStatistics
from moppet.palette import EXPRESSION_COLORS, GROUP_COLORS, LIGHT, SPARE_COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEVEL_HUES: Final = ("blue", "red", "green", "amber", "plum", "teal", "rose", "olive", "brown")
_STYLE: Final[Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"],
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "moppet",
    "pdf.fonttype": 42,
    "legend.frameon": False,
}
_PANEL_IN: Final = (2.1, 2.0)
_COLUMNS: Final = 3
MOST_STRIPS: Final = 80


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as "svg" or "pdf", equal for equal content."""
    import matplotlib

    data = io.BytesIO()
    about = {"Date": None} if kind == "svg" else {"CreationDate": None}
    with matplotlib.rc_context(_STYLE):
        figure.savefig(data, format=kind, metadata=about, bbox_inches="tight")
    return data.getvalue()


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Return a function that draws a figure in the style of all figures of a study."""

    @wraps(draw)
    def drawn(*arguments: Any) -> Figure:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*arguments)

    return drawn


def panels(number: int, size: tuple[float, float] = _PANEL_IN) -> tuple[Figure, list[Axes]]:
    """Return a figure with this many axes, at most three in a row. size: of each, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, number)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[number:]:
        spare.set_axis_off()
    return figure, axes[:number]


def label_color(label: str) -> str:
    """Return the color of an expression or a group; gray for anything else."""
    return EXPRESSION_COLORS.get(label) or GROUP_COLORS.get(label) or LIGHT["gray"]


def level_color(number: int) -> str:
    """Return the color of a level by its number, which repeats after nine."""
    return LIGHT[_LEVEL_HUES[number % len(_LEVEL_HUES)]]


@styled
def draw_distributions(found: GroupStatistics) -> Figure:
    """Return a panel for each label: a dot for each participant, the means with their intervals.

    The first column is on the x axis, and the others are colors. Lines join the dots of one
    participant.
    """
    figure, axes = panels(len(found.labels))
    first, *others = found.question.by
    series = list(product(*(found.levels[name] for name in others)))
    rng = np.random.default_rng(0)
    for place, (ax, label) in enumerate(zip(axes, found.labels, strict=True)):
        for number, within in enumerate(series):
            shift = (number - (len(series) - 1) / 2) * 0.8 / len(series)
            jitter = rng.uniform(-0.08, 0.08, len(found.participants)) / max(len(series), 1)
            _draw_series(ax, found, label, within, shift, jitter, number)
        ax.set_title(label)
        ax.set_xticks(range(len(found.levels[first])), found.levels[first])
        ax.set_xlim(-0.6, len(found.levels[first]) - 0.4)
        if found.question.measure != "mean":
            ax.set_ylim(bottom=0)
        if place % _COLUMNS == 0:
            ax.set_ylabel(MEASURES[found.question.measure][0])
    if others:
        marks = [_mark(number) for number in range(len(series))]
        names = [", ".join(within) for within in series]
        figure.legend(marks, names, loc="outside lower center", ncols=min(4, len(series)))
    return figure


def _draw_series(
    ax: Axes,
    found: GroupStatistics,
    label: str,
    within: Sequence[str],
    shift: float,
    jitter: NDArray[np.float64],
    number: int,
) -> None:
    levels, color = found.levels[found.question.by[0]], level_color(number)
    cells = [found.cell(label, (level, *within)) for level in levels]
    n = len(found.participants)
    values = np.array([np.full(n, np.nan) if c is None else c.values for c in cells])
    x = np.arange(len(levels))[:, None] + shift + jitter
    ax.plot(x, values, color=color, alpha=0.18, linewidth=0.6, zorder=1)
    ax.plot(x.T, values.T, "o", color=color, alpha=0.45, markersize=2.6, markeredgewidth=0)
    for place, cell in enumerate(cells):
        if cell is None:
            continue
        mean = cell.estimate
        if not math.isnan(mean.low):
            ax.plot([place + shift] * 2, [mean.low, mean.high], color=color, linewidth=1.8)
        ax.plot(
            place + shift,
            mean.value,
            *("D",),
            color=color,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.7,
            zorder=4,
        )


def _mark(number: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=level_color(number), marker="D", markersize=4, linewidth=1.6)


@styled
def draw_courses(courses: Sequence[Course], measure: str) -> Figure:
    """Return a panel for each label: its mean around the events, one line for each level."""
    labels = list(dict.fromkeys(course.label for course in courses))
    levels = list(dict.fromkeys(course.levels for course in courses))
    figure, axes = panels(len(labels), (2.4, 1.9))
    for place, (ax, label) in enumerate(zip(axes, labels, strict=True)):
        for course in courses:
            if course.label == label:
                color = level_color(levels.index(course.levels))
                value, low, high = np.array([e[:3] for e in course.estimates]).T
                ax.fill_between(course.middle_s, low, high, color=color, alpha=0.2, linewidth=0)
                ax.plot(course.middle_s, value, color=color, linewidth=1.3)
        ax.axvline(0, color="#555555", linewidth=0.7, linestyle=(0, (3, 2)))
        ax.set_title(label)
        ax.set_xlabel("seconds from the event")
        if measure:
            ax.set_ylim(bottom=0)
        if place % _COLUMNS == 0:
            ax.set_ylabel(measure or "mean")
    marks = [_mark(number) for number in range(len(levels))]
    names = [", ".join(level) for level in levels]
    if any(names):
        figure.legend(marks, names, loc="outside lower center", ncols=min(4, len(names)))
    return figure


@styled
def draw_strips(found: Courses, by: Sequence[str]) -> Figure:
    """Return all people of all recordings as strips of what they show most at each time.

    by: the names of their levels; recordings of one level follow each other, and so do the people
    of one recording. Of more than MOST_STRIPS, the first are drawn.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    strips = sorted(found.strips, key=lambda strip: _order(strip, by))[:MOST_STRIPS]
    spare = iter(SPARE_COLORS * len(found.labels))
    known = {**GROUP_COLORS, **EXPRESSION_COLORS}
    colors = [known.get(label) or next(spare) for label in found.labels]
    rgb = np.array([*map(to_rgb, colors), (0.93, 0.93, 0.92), (1, 1, 1)])
    image = np.empty((len(strips), STRIP_BINS, 3))
    for row, strip in zip(image, strips, strict=True):
        end = math.ceil(STRIP_BINS * strip.length_s / max(found.span_s, 1e-9))
        code = np.where(strip.code >= 0, strip.code, len(colors))
        code[min(end, STRIP_BINS) :] = len(colors) + 1
        row[:] = rgb[code]
        figure, (ax,) = panels(1, (7.0, 0.6 + 0.16 * len(strips)))
        ax.imshow(
            image,
            aspect="auto",
            interpolation="nearest",
            extent=(0, found.span_s, len(strips) - 0.5, -0.5),
        )
        names = [f"{s.recording}  {s.role if s.role != 'unnamed' else s.person}" for s in strips]
        ax.set_yticks(range(len(strips)), names, fontsize=6)
        ax.hlines(np.arange(len(strips) - 1) + 0.5, 0, found.span_s, color="white", linewidth=1.2)
        ax.tick_params(axis="y", length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.set_xlabel("seconds")
        used = {int(c) for s in strips for c in np.unique(s.code)}
        marks = [Patch(color=colors[i]) for i in sorted(used - {-1})]
        words = [found.labels[i] for i in sorted(used - {-1})]
        if -1 in used:
            marks.append(Patch(color=tuple(rgb[len(colors)])))
            words.append("unsure or no face")
        figure.legend(marks, words, loc="outside lower center", ncols=min(4, max(len(words), 1)))
    return figure


@styled
def draw_lags(found: DyadResults) -> Figure:
    """Return a panel for each label: the mean cross-correlation by lag, and that of surrogates.

    Ticks at the foot are the lags at which the correlation of each dyad is largest.
    """
    from matplotlib.lines import Line2D

    first, second = found.question.roles
    figure, axes = panels(len(found.curves), (2.9, 2.2))
    for place, (ax, curve) in enumerate(zip(axes, found.curves, strict=True)):
        value, low, high = np.array([e[:3] for e in curve.estimates]).T
        for kind, values in curve.by_surrogate.items():
            ax.plot(curve.lag_s, values, color="#777777", linewidth=1, linestyle=_DASHES[kind])
        ax.fill_between(curve.lag_s, low, high, color=LIGHT["blue"], alpha=0.2, linewidth=0)
        ax.plot(curve.lag_s, value, color=LIGHT["blue"], linewidth=1.4)
        ax.axvline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
        ax.axhline(0, color="#bbbbbb", linewidth=0.6, zorder=0)
        for lag_s in curve.peak_lag_s:
            ax.axvline(lag_s, 0, 0.05, color=LIGHT["red"], linewidth=0.9, alpha=0.6)
        ax.set_title(curve.label)
        ax.set_xlabel(f"lag in seconds\n← {second} leads · {first} leads →")
        if place % _COLUMNS == 0:
            ax.set_ylabel("cross-correlation")
    marks = [Line2D([], [], color=LIGHT["blue"])]
    marks += [Line2D([], [], color="#777777", linestyle=style) for style in _DASHES.values()]
    marks.append(Line2D([], [], color=LIGHT["red"], marker="|", linestyle=""))
    words = ["observed", *_SURROGATE_WORDS.values(), "peak of each dyad"]
    figure.legend(marks, words, loc="outside lower center", ncols=2)
    return figure


@styled
def draw_measures(found: DyadResults) -> Figure:
    """Return a panel for each measure: every dyad as a dot, observed and by chance."""
    jobs = list(dict.fromkeys((f.label, f.measure) for f in found.figures if f.against))
    figure, axes = panels(len(jobs), (2.1, 1.9))
    for ax, (label, measure) in zip(axes, jobs, strict=True):
        mine = [f for f in found.figures if (f.label, f.measure) == (label, measure)]
        kinds = [kind for kind in _SURROGATE_WORDS if any(f.against[kind].n for f in mine)]
        values = np.array([[f.value, *(f.against[k].mean for k in kinds)] for f in mine])
        x = np.arange(1 + len(kinds))
        ax.plot(x, values.T, color="#999999", alpha=0.35, linewidth=0.6)
        for at in x.tolist():
            color = LIGHT["gray"] if at else LIGHT["blue"]
            ax.plot(np.full(len(mine), at), values[:, at], "o", color=color, markersize=2.8)
            known = values[~np.isnan(values[:, at]), at]
            if len(known):
                ax.plot(at, known.mean(), "D", color=color, markersize=5, markeredgecolor="white")
        ax.set_xticks(x, ["observed", *(_SHORT[kind] for kind in kinds)])
        ax.set_xlim(-0.5, len(kinds) + 0.5)
        ax.set_title(f"{_MEASURE_WORDS.get(measure, measure)}\n{label}")
    return figure


_DASHES: Final = {"partners": (0, (4, 2)), "time": (0, (1, 1.5))}
_SURROGATE_WORDS: Final = {"partners": "shuffled partners", "time": "random phase"}
_SHORT: Final = {"partners": "other\npartners", "time": "moved\nin time"}
_MEASURE_WORDS: Final = {
    "peak_r": "peak correlation",
    "response": "response",
    "response_back": "response back",
}


def _order(strip: Strip, by: Sequence[str]) -> tuple[Any, ...]:
    levels = (level for name, level in zip(by, strip.levels, strict=True) if name != "role")
    role = ("child", "caregiver", "other").index(strip.role) if strip.role != "unnamed" else 3
    return (*levels, strip.participant, strip.recording, role, strip.person)
