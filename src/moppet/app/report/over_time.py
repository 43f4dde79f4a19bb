"""The charts of a report with their legend and tools."""

from __future__ import annotations

from html import escape

import numpy as np

from moppet.app.report import charts, tables
from moppet.app.report.content import Report, section
from moppet.app.report.lanes import LANES_FOLDED, LANES_SHOWN, UNREADABLE, Lane


def _legend(report: Report) -> str:
    items = []
    for group in report.groups:
        css = charts.group_class(group, report.groups)
        items.append(f"<li>{tables.swatch(css)}{escape(group)}</li>")
    if any((lane.group < 0).any() for lane in report.drawing.lanes):
        items.append(f"<li>{tables.swatch('g-none')}in no group</li>")
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
        picture = f'<svg class="swatch" width="18" height="14" aria-hidden="true">{shape}</svg>'
        items.append(f"<li>{picture}{text}</li>")
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
        f"{escape(group)} {tables.format_share(face['groups'][group]['share'])}"
        for group in report.groups
    ]
    when = f"{charts.format_time(lane.start_s)} to {charts.format_time(lane.end_s)}"
    about = " · ".join([when, *shares])
    names, peaks = [], []
    for k, name in enumerate(timeline.names):
        css = charts.expression_class(name, timeline.names)
        names.append(f"<li>{tables.swatch(css)}<span>{escape(name)}</span></li>")
        peak = lane.peak[:, k]
        known = peak[np.isfinite(peak)]
        peaks.append(f"<li>{tables.format_share(float(known.max()) if len(known) else None)}</li>")
    chart = charts.draw_lane(axis, drawing, lane, timeline.names, report.groups)
    values = tables.values_table(drawing.columns, lane, timeline.names)
    return (
        f'<figure class="lane" data-face="{lane.face_id}"><figcaption><h3>{escape(lane.title)}</h3>'
        f'<p>{about}</p><p class="now"></p></figcaption><div class="grid">'
        f'<ul class="names" aria-hidden="true">{"".join(names)}</ul>'
        f'<div class="stage">{chart}{charts.draw_axis(axis)}</div>'
        f'<ul class="values" data-title="peak" aria-hidden="true">{"".join(peaks)}</ul></div>'
        f"<details><summary>Values of {escape(lane.name)} as a table</summary>{values}</details>"
        "</figure>"
    )
