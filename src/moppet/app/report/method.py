"""The end of a report: how it was made, how to make it again, and what its words mean."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from moppet.app.report.charts import NO_VALUE, format_time
from moppet.app.report.content import Report, section
from moppet.timeline import TimelineSettings

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
            "followed from frame to frame, not recognised: a child who comes back after a while "
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
