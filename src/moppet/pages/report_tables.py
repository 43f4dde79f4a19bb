"""The tables and charts of a timeline's report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from moppet.pages import timeline_charts as charts
from moppet.pages.timeline_charts import (
    NO_VALUE,
    TICK_STEPS_S,
    expression_class,
    format_time,
    group_class,
)
from moppet.pages.timeline_lanes import (
    LANES_FOLDED,
    LANES_SHOWN,
    UNREADABLE,
    Columns,
    Drawing,
    Lane,
    build_drawing,
)
from moppet.timeline import Episode, Timeline
from moppet.vocabulary import order_groups


@dataclass(frozen=True)
class Thumbnail:
    """A small image of a face. data_uri: a JPEG as data:image/jpeg;base64,…"""

    face_id: int
    time_s: float
    label: str
    data_uri: str
    blurred: bool


@dataclass(frozen=True)
class Report:
    """What every section needs. groups: positive, neutral, negative first, then others."""

    timeline: Timeline
    summary: Mapping[str, Any]
    episodes: Sequence[Episode]
    groups: Sequence[str]
    drawing: Drawing

    @property
    def name(self) -> str:
        """Name of the recording."""
        return str(self.timeline.metadata.get("source_name") or "Unnamed recording")

    @property
    def everyone(self) -> Mapping[str, Any]:
        """The summary of all faces together."""
        face: Mapping[str, Any] = self.summary["faces"]["all"]
        return face

    @property
    def duration_s(self) -> float | None:
        """Length of the recording, else of what was analyzed."""
        known: float | None = self.summary["duration_s"]
        return self.summary["analysed_s"] if known is None else known

    def setting(self, name: str) -> Any:
        """A value of the metadata or of the settings in it; None if neither has it."""
        metadata = self.timeline.metadata
        nested = metadata.get("settings")
        found = metadata.get(name)
        return nested.get(name) if found is None and isinstance(nested, Mapping) else found


def collect(timeline: Timeline) -> Report:
    """Return what the sections need, computed once."""
    groups = order_groups(timeline.group_of.values())
    drawing = build_drawing(timeline, groups)
    return Report(timeline, timeline.summary(), timeline.episodes(), groups, drawing)


def section(name: str, title: str, body: str) -> str:
    """Return a landmark with a heading. body: HTML."""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{escape(title)}</h2>{body}</section>'
    )


MAX_EPISODES = 600
MAX_VALUE_ROWS = 60


def format_share(share: float | None) -> str:
    """Return a share as 4.2 % or 42 %, a dash if undefined; no 0 % or 100 % by rounding alone.

    The text needs no escape in HTML.
    """
    if share is None or not math.isfinite(share):
        return NO_VALUE
    percent = 100 * share
    if 0 < percent < 0.1:
        text = "under 0.1"
    elif 0 < percent < 9.95:
        text = f"{percent:.1f}"
    elif 99.5 <= percent < 100:
        text = "over 99"
    else:
        text = f"{percent:.0f}"
    return f"{text}\N{NO-BREAK SPACE}%"


def format_length(seconds: float | None) -> str:
    """Return a length of time, a tenth of a second fine below a minute, a dash if undefined."""
    return format_time(seconds, 1.0 if seconds is not None and seconds >= 60 else 0.1)


def swatch(css: str) -> str:
    """Return the little square that stands before a colored name."""
    box = f'<rect class="{css}" width="10" height="10" rx="2"/>'
    return f'<svg class="swatch" width="10" height="10" aria-hidden="true">{box}</svg>'


def build_table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    css: str = "",
    words: int = 1,
) -> str:
    """Return a table in a box that scrolls when it is too wide.

    caption and head are plain text; the cells are HTML, a cell that starts with "<td" or "<th"
    stands as it is. The first column heads its row; the first `words` columns are set left.
    """
    titles = "".join(
        f'<th scope="col"{"" if i < words else " class=n"}>{escape(title)}</th>'
        for i, title in enumerate(head)
    )
    body = []
    for row in rows:
        cells = []
        for i, cell in enumerate(row):
            if cell.startswith(("<td", "<th")):
                cells.append(cell)
            elif i == 0:
                cells.append(f'<th scope="row">{cell}</th>')
            else:
                cells.append(f"<td>{cell}</td>" if i < words else f"<td class=n>{cell}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="{css}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{titles}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def values_table(columns: Columns, lane: Lane, names: Sequence[str]) -> str:
    """Return the curves of one face as a table of means over tidy steps of time."""
    times = columns.middle_s[lane.at]
    span = float(times[-1] - times[0])
    step = next((s for s in TICK_STEPS_S if span / s <= MAX_VALUE_ROWS - 2), 86400.0)
    if len(times) <= MAX_VALUE_ROWS:
        steps, fine, caption = np.arange(len(times)), 0.01, "Every frame"
    else:
        steps, fine = np.floor(times / step + 1e-9).astype(np.int64), step
        caption = f"Means over {format_time(step, step)} each"
    rows = []
    for place in np.unique(steps):
        mine = np.flatnonzero(steps == place)
        known = np.isfinite(lane.mean[mine])
        sums = np.where(known, lane.mean[mine], 0).sum(axis=0)
        means = [s / n if n else math.nan for s, n in zip(sums, known.sum(axis=0), strict=True)]
        best = names[int(np.argmax(means))] if known.any() else NO_VALUE
        start = float(times[mine[0]]) if fine == 0.01 else float(place) * step
        notes = ["unsure"] if 2 * lane.unsure[mine].sum() >= len(mine) else []
        if 2 * lane.low_quality[mine].sum() >= len(mine):
            notes.append("low quality")
        shares = [format_share(float(m)) for m in means]
        time = format_time(start, fine)
        rows.append([time, escape(best), ", ".join(notes) or NO_VALUE, *shares])
    title = f"{caption}, {lane.name}: smoothed probability of each expression"
    return build_table(title, ["from", "highest", "notes", *names], rows, words=3)


def episodes_table(
    timeline: Timeline, episodes: Sequence[Episode], kind: str, groups: Sequence[str]
) -> str:
    """Return the episodes of one kind, earliest first; the page's script makes it sortable."""
    chosen = sorted(
        (e for e in episodes if e.kind == kind), key=lambda e: (e.start_s, e.face_id, e.label)
    )
    if not chosen:
        shortest = format_time(timeline.settings.min_episode_s, 0.1)
        return f'<p class="none">No {kind} lasted {shortest} or longer: no episodes.</p>'
    rows = []
    names = {e.face_id: timeline.face_name(e.face_id).removeprefix("face ") for e in chosen}
    for episode in chosen[:MAX_EPISODES]:
        css = (
            expression_class(episode.label, timeline.names)
            if kind == "expression"
            else group_class(episode.label, groups)
        )
        rows.append(
            [
                f'<th scope="row" class="key {css}">{escape(episode.label)}</th>',
                f"<td>{escape(names[episode.face_id])}</td>",
                _number(episode.start_s, format_time(episode.start_s, 0.1)),
                _number(episode.end_s, format_time(episode.end_s, 0.1)),
                _number(episode.duration_s, format_length(episode.duration_s)),
                _number(episode.mean_probability, format_share(episode.mean_probability)),
            ]
        )
    head = [kind, "face", "start", "end", "length", "mean probability"]
    caption = f"Episodes of one {kind}: {len(chosen)}"
    more = ""
    if len(chosen) > MAX_EPISODES:
        caption += f", the first {MAX_EPISODES} shown"
        more = (
            f'<p class="none">{len(chosen) - MAX_EPISODES} more are in the timeline: '
            "<code>moppet.read_timeline(file).episodes()</code> lists them all.</p>"
        )
    return build_table(caption, head, rows, css="sortable tall", words=2) + more


def _number(value: float, text: str) -> str:
    return f'<td class=n data-v="{value:.4g}">{text}</td>'


def summary_table(face: Mapping[str, Any], who: str, timeline: Timeline, kind: str) -> str:
    """Return share, number, mean and longest length of episodes for every label.

    face: one entry of `summary()["faces"]`. kind: "expression" or "group".
    """
    rows = []
    table: Mapping[str, Mapping[str, Any]] = face[f"{kind}s"]
    for label, figures in table.items():
        css = (
            expression_class(label, timeline.names)
            if kind == "expression"
            else group_class(label, list(table))
        )
        rows.append(
            [
                f'<th scope="row" class="key {css}">{escape(label)}</th>',
                format_share(figures["share"]),
                format_share(figures["share_sure"]),
                format_length(figures["time_s"]),
                str(figures["episodes"]),
                format_length(figures["mean_s"]),
                format_length(figures["longest_s"]),
            ]
        )
    head = [kind, "share", "share, sure only", "time", "episodes", "mean length", "longest"]
    return build_table(f"Each {kind}, {who}", head, rows)


def transitions_table(face: Mapping[str, Any], who: str, kind: str, labels: Sequence[str]) -> str:
    """Return how often an episode of one label was followed by one of another."""
    counts: Mapping[str, Mapping[str, int]] = face["transitions"][kind]
    if not any(n for row in counts.values() for n in row.values()):
        return f'<p class="none">No {kind} was followed by another.</p>'
    rows = [
        [escape(start), *(_count(counts.get(start, {}).get(end, 0)) for end in labels)]
        for start in labels
    ]
    caption = f"From one {kind} (row) to the next (column), {who}"
    return build_table(caption, ["from ↓ to →", *labels], rows, css="matrix")


def _count(n: int) -> str:
    return f"<td class=n>{n}</td>" if n else '<td class="n zero">0</td>'


def build_episodes(report: Report) -> str:
    """Return the section of episodes; those of a group lie in a fold."""
    parts = [
        episodes_table(report.timeline, report.episodes, kind, report.groups)
        for kind in ("expression", "group")
    ]
    fold = f"<details><summary>Episodes of one group</summary>{parts[1]}</details>"
    return section("episodes", "Episodes", parts[0] + fold)


def _face_tables(report: Report, face: Mapping[str, Any], who: str) -> str:
    kinds = [("expression", report.timeline.names), ("group", report.groups)]
    kinds = [(kind, labels) for kind, labels in kinds if labels]
    parts = [summary_table(face, who, report.timeline, kind) for kind, _ in kinds]
    if len(kinds) < 2:
        parts.append('<p class="none">The model puts its classes in no groups.</p>')
    parts += [transitions_table(face, who, kind, labels) for kind, labels in kinds]
    return "".join(parts)


def build_summaries(report: Report) -> str:
    """Return the tables of shares and transitions; each face of several lies in a fold."""
    lanes = report.drawing.lanes
    who = lanes[0].name if len(lanes) == 1 else "all faces"
    body = _face_tables(report, report.everyone, who)
    for lane in sorted(lanes[:LANES_SHOWN], key=lambda one: one.face_id):
        if len(lanes) == 1:
            break
        name = lane.name
        inner = _face_tables(report, report.summary["faces"][str(lane.face_id)], name)
        body += f"<details><summary>Only {escape(name)}</summary>{inner}</details>"
    return section("summary", "Summary and transitions", body)


def _legend(report: Report) -> str:
    items = []
    for group in report.groups:
        css = charts.group_class(group, report.groups)
        items.append(f"<li>{swatch(css)}{escape(group)}</li>")
    if any((lane.group < 0).any() for lane in report.drawing.lanes):
        items.append(f"<li>{swatch('g-none')}in no group</li>")
    shapes = [
        ('<rect class="ink unsure" y="7" width="18" height="7"/>', "half as high: unsure"),
        ('<rect class="low" y="5" width="18" height="5"/>', "low quality"),
        ('<rect class="hatch" width="18" height="14"/>', "this face does not show"),
    ]
    columns = report.drawing.columns
    if not report.drawing.lanes:
        shapes, items = [(shapes[-1][0], "no face")], []
    if columns is not None and (columns.state == UNREADABLE).any():
        shapes.append(('<rect class="broken" width="18" height="14"/>', "could not be read"))
    for shape, text in shapes:
        image = f'<svg class="swatch" width="18" height="14" aria-hidden="true">{shape}</svg>'
        items.append(f"<li>{image}{text}</li>")
    return f'<ul class="legend" aria-label="Legend">{"".join(items)}</ul>'


_BUTTONS = (
    ("out", "\N{MINUS SIGN}", "Zoom out"),
    ("in", "+", "Zoom in"),
    ("back", "\u25c0\ufe0e", "Earlier"),
    ("on", "\u25b6\ufe0e", "Later"),
    ("all", "All", "Show the whole recording"),
)


def build_over_time(report: Report) -> str:
    """Return the charts, the longest tracks first to be seen."""
    drawing, columns = report.drawing, report.drawing.columns
    if columns is None:
        return section("time", "Over time", '<p class="none">There is no time to draw.</p>')
    axis = charts.Axis(columns)
    buttons = "".join(
        f'<button type="button" data-zoom="{key}" aria-label="{label}" title="{label}">{sign}'
        "</button>"
        for key, sign, label in _BUTTONS
    )
    explained = "The ribbon shows the group of the likeliest expression; below it, one strip for "
    explained += "each expression runs from 0 to 100\N{NO-BREAK SPACE}%."
    if columns.thinned:
        explained += " So many frames are thinned for the drawing only: the line is the mean, the "
        explained += "filled area reaches up to the highest value in each column."
    lanes = drawing.lanes
    shown = "".join(_lane(report, axis, lane) for lane in _by_number(lanes[:LANES_SHOWN]))
    folded = _by_number(lanes[LANES_SHOWN:LANES_FOLDED])
    more = "".join(_lane(report, axis, lane) for lane in folded)
    if more:
        rest = len(lanes) - LANES_SHOWN - len(folded)
        note = f"<p>{rest} still shorter tracks are in the tables only.</p>" if rest else ""
        title = f"{len(folded)} shorter tracks"
        more = f'<details class="more"><summary>{title}</summary>{more}{note}</details>'
    recording = (
        '<div class="grid recording"><p class="side">any face</p><div class="stage">'
        f"{charts.draw_recording(axis, columns)}{charts.draw_axis(axis)}</div></div>"
    )
    body = (
        f'<p class="about">{explained}</p>{_legend(report)}'
        f'<div class="tools" role="toolbar" aria-label="Zoom in time" hidden>{buttons}'
        '<span class="hint">Move over a chart for values, drag to zoom; with the keyboard, '
        "arrow keys, + and &minus;.</span></div>"
        f"{recording}{shown}{more}"
    )
    return section("time", "Over time", body)


def _by_number(lanes: list[Lane]) -> list[Lane]:
    return sorted(lanes, key=lambda lane: lane.face_id)


def _lane(report: Report, axis: charts.Axis, lane: Lane) -> str:
    timeline, drawing = report.timeline, report.drawing
    assert drawing.columns is not None
    face = report.summary["faces"][str(lane.face_id)]
    shares = [
        f"{escape(group)} {format_share(face['groups'][group]['share'])}" for group in report.groups
    ]
    when = f"{charts.format_time(lane.start_s)} to {charts.format_time(lane.end_s)}"
    about = " · ".join([when, *shares])
    names, peaks = [], []
    for k, name in enumerate(timeline.names):
        css = charts.expression_class(name, timeline.names)
        names.append(f"<li>{swatch(css)}<span>{escape(name)}</span></li>")
        peak = lane.peak[:, k]
        known = peak[np.isfinite(peak)]
        peaks.append(f"<li>{format_share(float(known.max()) if len(known) else None)}</li>")
    chart = charts.draw_lane(axis, drawing, lane, timeline.names, report.groups)
    values = values_table(drawing.columns, lane, timeline.names)
    return (
        f'<figure class="lane" data-face="{lane.face_id}"><figcaption><h3>{escape(lane.title)}</h3>'
        f'<p>{about}</p><p class="now"></p></figcaption><div class="grid">'
        f'<ul class="names" aria-hidden="true">{"".join(names)}</ul>'
        f'<div class="stage">{chart}{charts.draw_axis(axis)}</div>'
        f'<ul class="values" data-title="peak" aria-hidden="true">{"".join(peaks)}</ul></div>'
        f"<details><summary>Values of {escape(lane.name)} as a table</summary>{values}</details>"
        "</figure>"
    )
