"""The report's HTML page, put together from its sections."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from moppet.app.report.content import Thumbnail, collect
from moppet.app.report.crosshair import pack_values
from moppet.app.report.figures import build_header, build_key_figures, build_moments
from moppet.app.report.method import build_made, build_notes
from moppet.app.report.over_time import build_over_time
from moppet.app.report.tables import build_episodes, build_summaries
from moppet.timeline import Timeline

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
    return files("moppet.app.report").joinpath(name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
