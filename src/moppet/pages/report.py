"""A timeline's report: one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from moppet.files import write_text
from moppet.pages import report_tables as tables
from moppet.pages import timeline_charts as charts
from moppet.pages.face_images import read_thumbnails
from moppet.pages.report_tables import (
    Report,
    Thumbnail,
    build_episodes,
    build_over_time,
    build_summaries,
    collect,
    section,
)
from moppet.pages.timeline_charts import NO_VALUE, format_time
from moppet.pages.timeline_lanes import pack_values
from moppet.timeline import Timeline, TimelineSettings
from moppet.vocabulary import GROUP_NAMES

__all__ = ["Thumbnail", "read_thumbnails", "write_report"]


LIMITS = (
    "This report describes what a face showed, as a model read it: an expression is not a feeling, "
    "the reading can be wrong, most of all where it is marked unsure, and it is no diagnosis."
)


def build_header(report: Report) -> str:
    """Return the title, what was analyzed when, and the limits of it."""
    metadata = report.timeline.metadata
    facts = [tables.format_length(report.duration_s)]
    if metadata.get("width") and metadata.get("height"):
        facts.append(f"{metadata['width']} \N{MULTIPLICATION SIGN} {metadata['height']} px")
    facts.append(_count(report.summary["frames"]["total"]))
    analyzed = report.summary["analysed_s"]
    if analyzed and report.duration_s and analyzed < 0.98 * report.duration_s:
        facts.append(f"{tables.format_length(analyzed)} of it analyzed")
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
    analyzed, without = figures["analysed_s"], figures["time_without_face_s"]
    share = tables.format_share(_share_of(without, analyzed))
    of_all = "a single image has no length" if analyzed is None else f"{share} of the recording"
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
    usual = GROUP_NAMES
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
        text = "This timeline has no frames: nothing was analyzed."
    elif frames["unreadable"] and frames["unreadable"] + frames["skipped"] == frames["total"]:
        text = "None of the frames could be read, so nothing is known about faces in them."
    elif frames["skipped"] == frames["total"]:
        text = "Every frame was skipped: nothing was analyzed."
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
    """Return the images, nothing if there are none."""
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


TITLES: Mapping[str, str] = {
    "source_name": "Recording",
    "source_sha256": "Recording's SHA-256",
    "moppet_version": "moppet",
    "model_name": "Model",
    "model_sha256": "Model's SHA-256",
    "detector": "Face detector",
    "duration_s": "Duration, seconds",
    "frame_count": "Frames",
    "complete": "Analysed to the end",
    "width": "Width, pixels",
    "height": "Height, pixels",
    "names": "Classes",
}
OPTIONS = (("every", "--every"), ("start_s", "--start"), ("end_s", "--end"))


def build_command(report: Report) -> str:
    """Return the command that makes the timeline again, as far as its metadata tells."""
    stated = report.setting("command")
    if stated:
        return stated if isinstance(stated, str) else shlex.join(str(word) for word in stated)
    words = ["moppet", "analyze", report.name]
    for name, option in (("model_name", "--model"), ("detector", "--detector")):
        if report.setting(name):
            words += [option, str(report.setting(name))]
    for name, option in OPTIONS:
        value = report.setting(name)
        if value is not None and not (name == "every" and value == 1):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    if report.setting("detect_every_frame") is True:
        words.append("--detect-every-frame")
    return shlex.join(words)


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield a title and a text for every value, those of a dictionary with its name before."""
    for key, value in values.items():
        title = f"{before}{key}" if before else TITLES.get(key, key.replace("_", " "))
        if key == "groups" and isinstance(value, Mapping):
            yield "Groups", ", ".join(f"{name}: {group}" for name, group in value.items())
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, list | tuple):
            yield title, ", ".join(str(item) for item in value)
        elif isinstance(value, bool):
            yield title, "yes" if value else "no"
        else:
            yield title, NO_VALUE if value is None else str(value)


def build_made(report: Report) -> str:
    """Return all metadata, and the command to repeat the analysis."""
    metadata = report.timeline.metadata
    known = {key: metadata[key] for key in TITLES if key in metadata}
    facts = {**known, **metadata}
    items = "".join(
        f"<div><dt>{escape(title)}</dt><dd>{escape(text)}</dd></div>"
        for title, text in _flat(facts)
    )
    body = (
        f'<p>To make the timeline again:</p><pre tabindex="0"><code>{escape(build_command(report))}'
        f'</code></pre><dl class="facts">{items}</dl>'
    )
    return section("made", "How it was made", body)


def _tight(text: str) -> str:
    return escape(text).replace(" %", "&nbsp;%")


def _terms(rules: TimelineSettings) -> list[tuple[str, str]]:
    smooth = (
        f"smoothed in time by a Gaussian of {rules.smooth_s:g} s, never across a gap longer than "
        f"{rules.max_gap_s:g} s"
        if rules.smooth_s
        else "not smoothed"
    )
    return [
        ("Probabilities", f"are calibrated, add up to 100 % and are {smooth}."),
        ("The expression", "of a frame is the one with the largest smoothed probability."),
        (
            "Unsure",
            f"is a frame where that probability is below {100 * rules.unsure_below:g} % or the "
            f"face's quality below {rules.low_quality_below:g}. Unsure frames count in all shares; "
            "the column “sure only” leaves them out.",
        ),
        (
            "Low quality",
            "marks faces that are small, blurred or turned away. Their readings stand, "
            "but trust them less.",
        ),
        (
            "An episode",
            f"starts at {100 * rules.enter:g} %, ends below {100 * rules.leave:g} % and lasts at "
            f"least {format_time(rules.min_episode_s, 0.1)}.",
        ),
        (
            "Shares",
            "are parts of the time with a face, all faces added up. Where something is not "
            "defined there is a dash, never 0.",
        ),
        (
            "Gaps",
            "are hatched: there the face does not show, and no curve is drawn across. Faces are "
            "followed from frame to frame, not recognized: a child who comes back after a while "
            "can get a new number.",
        ),
    ]


def build_notes(report: Report) -> str:
    """Return what the words and figures mean, with the settings of this timeline."""
    notes = _terms(report.timeline.settings)
    groups: dict[str, list[str]] = {}
    for name in report.timeline.names:
        groups.setdefault(report.timeline.group_of.get(name, "in no group"), []).append(name)
    members = "; ".join(f"{group}: {', '.join(names)}" for group, names in groups.items())
    notes.append(("Groups", f"here are {members}."))
    body = "".join(f"<p><strong>{term}</strong> {_tight(text)}</p>" for term, text in notes)
    return section("notes", "Notes on the method", f'<div class="notes">{body}</div>')


PATTERNS = (
    '<svg class="patterns" width="0" height="0" aria-hidden="true"><defs>'
    '<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><line class="hatch-line" y2="7"/></pattern></defs></svg>'
)


def build_page(timeline: Timeline, thumbnails: Sequence[Thumbnail]) -> str:
    """Return the whole document; it fetches nothing, and its policy forbids it to."""
    report = collect(timeline)
    style, script = _asset("report.css"), _asset("report.js")
    sections = (
        build_key_figures(report),
        build_moments(thumbnails, timeline),
        build_over_time(report),
        build_episodes(report),
        build_summaries(report),
        build_made(report),
        build_notes(report),
    )
    pictures = "data:" if thumbnails else "'none'"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        f"img-src {pictures}; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(report.name)} · moppet report</title><style>{style}</style></head>\n"
        f"<body>{PATTERNS}{build_header(report)}\n<main>{''.join(sections)}</main>\n"
        f'<script type="application/json" id="data">'
        f"{pack_values(report.drawing, timeline.names)}</script>\n"
        f"<script>{script}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return files("moppet.pages").joinpath("static", name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def write_report(
    timeline: Timeline, path: str | Path, *, thumbnails: Sequence[Thumbnail] | None = None
) -> Path:
    """Write the timeline as one HTML file that needs no network, and return its path.

    Only the drawing of a long timeline is thinned, never its figures. thumbnails: from
    `read_thumbnails`; without them the page holds no image of a face.
    Raises MoppetError if the file cannot be written.
    """
    return write_text(Path(path), build_page(timeline, list(thumbnails or [])))
