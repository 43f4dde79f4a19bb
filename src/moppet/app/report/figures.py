"""The top of a report: title, limits, key figures, and pictures if they were asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from moppet.app.report import charts, tables
from moppet.app.report.content import Report, Thumbnail, section
from moppet.timeline import Timeline

LIMITS = (
    "This report describes what a face showed, as a model read it: an expression is not a feeling, "
    "the reading can be wrong, most of all where it is marked unsure, and it is no diagnosis."
)


def build_header(report: Report) -> str:
    """Return the title, what was analysed when, and the limits of it."""
    metadata = report.timeline.metadata
    facts = [tables.format_length(report.duration_s)]
    if metadata.get("width") and metadata.get("height"):
        facts.append(f"{metadata['width']} \N{MULTIPLICATION SIGN} {metadata['height']} px")
    facts.append(_count(report.summary["frames"]["total"]))
    analysed = report.summary["analysed_s"]
    if analysed and report.duration_s and analysed < 0.98 * report.duration_s:
        facts.append(f"{tables.format_length(analysed)} of it analysed")
    for key in ("analysed_at", "created_at", "date"):
        if metadata.get(key):
            facts.append(f"analysed {metadata[key]}")
            break
    about = " · ".join(escape(fact) for fact in facts)
    partial = ""
    if report.summary["complete"] is False:
        partial = (
            '<p class="warn">This timeline is partial: the analysis stopped at '
            f"{tables.format_length(_end_s(report))}. Go on with <code>moppet analyze --resume"
            "</code>.</p>"
        )
    return (
        f'<header><p class="kicker">moppet · facial expressions over time</p>'
        f"<h1>{escape(report.name)}</h1><p>{about}</p>"
        f'<p class="limits">{LIMITS}</p>{partial}</header>'
    )


def _end_s(report: Report) -> float | None:
    columns = report.drawing.columns
    return None if columns is None else columns.span_s[1]


def _figure(title: str, value: str, note: str, css: str = "") -> str:
    mark = tables.swatch(css) if css else ""
    return (
        f"<div><dt>{mark}{escape(title)}</dt><dd><strong>{value}</strong>"
        f"<span>{escape(note)}</span></dd></div>"
    )


def _share_of(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def build_key_figures(report: Report) -> str:
    """Return shares of the groups, the time without a face and the unsure time."""
    figures, everyone = report.summary, report.everyone
    cards = [_group_card(report, group) for group in _groups_shown(report)]
    analysed, without = figures["analysed_s"], figures["time_without_face_s"]
    share = tables.format_share(_share_of(without, analysed))
    of_all = "a single picture has no length" if analysed is None else f"{share} of the recording"
    cards.append(_figure("no face", tables.format_length(without), of_all))
    unsure = _share_of(everyone["time_unsure_s"], everyone["time_s"])
    length = tables.format_length(everyone["time_unsure_s"])
    of_faces = "of the time with a face" if unsure is None else f"{length} of face time"
    cards.append(_figure("unsure", tables.format_share(unsure), of_faces))
    body = f'{_empty_note(report)}<dl class="cards">{"".join(cards)}</dl>{_bar(report)}'
    if figures["frames"]["unreadable"]:
        lost = tables.format_length(figures["time_unreadable_s"])
        count = _count(figures["frames"]["unreadable"])
        body += f'<p class="warn">{count} ({lost}) could not be read.</p>'
    return section("figures", "Key figures", body)


def _groups_shown(report: Report) -> list[str]:
    """The groups of the model, and the usual three with them if it has any of those."""
    usual = charts.GROUP_SLOTS
    if not any(group in usual for group in report.groups):
        return list(report.groups)
    return [*usual, *(group for group in report.groups if group not in usual)]


def _group_card(report: Report, group: str) -> str:
    figures = report.everyone["groups"].get(group)
    css = charts.group_class(group, report.groups)
    if figures is None:
        return _figure(group, charts.NO_VALUE, "the model has no class here", css)
    share = tables.format_share(figures["share"])
    return _figure(group, share, "of the time with a face", css)


def _count(frames: int) -> str:
    text = f"{frames:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{text} frame{'' if frames == 1 else 's'}"


def _empty_note(report: Report) -> str:
    frames = report.summary["frames"]
    if report.drawing.lanes:
        return ""
    if not frames["total"]:
        text = "This timeline has no frames: nothing was analysed."
    elif frames["unreadable"] and frames["unreadable"] + frames["skipped"] == frames["total"]:
        text = "None of the frames could be read, so nothing is known about faces in them."
    elif frames["skipped"] == frames["total"]:
        text = "Every frame was skipped: nothing was analysed."
    else:
        text = "No face was found in this recording."
    return f'<p class="warn">{text}</p>'


def _bar(report: Report) -> str:
    x, parts, spoken = 0.0, [], []
    for group in report.groups:
        share = report.everyone["groups"][group]["share"]
        if share is None or not math.isfinite(share) or share <= 0:
            continue
        css = charts.group_class(group, report.groups)
        parts.append(f'<rect class="{css}" x="{x:.2f}%" width="{100 * share:.2f}%" height="10"/>')
        spoken.append(f"{escape(group)} {tables.format_share(share)}")
        x += 100 * share
    if not parts:
        return ""
    return (
        f'<svg class="bar" width="100%" height="10" role="img" aria-label="Time with a face: '
        f'{", ".join(spoken)}">{"".join(parts)}</svg>'
    )


def build_moments(thumbnails: Sequence[Thumbnail], timeline: Timeline) -> str:
    """Return the pictures, nothing if there are none."""
    if not thumbnails:
        return ""
    figures = []
    for thumb in thumbnails:
        when = charts.format_time(thumb.time_s, 0.1)
        text = f"{escape(thumb.label)} at {when}, {escape(timeline.face_name(thumb.face_id))}"
        how = "Blurred face" if thumb.blurred else "Face"
        figures.append(
            f'<figure><img src="{escape(thumb.data_uri)}" width="96" height="96" '
            f'alt="{how}: {text}"><figcaption>{text}</figcaption></figure>'
        )
    body = f'<div class="moments">{"".join(figures)}</div>'
    return section("moments", "Moments", body)
