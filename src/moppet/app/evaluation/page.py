"""The evaluation's HTML page, put together from its sections."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from moppet.app.evaluation.against import build_against
from moppet.app.evaluation.curves import build_reliability, build_roc, build_training
from moppet.app.evaluation.headline import build_figures, build_header, title_of
from moppet.app.evaluation.made import build_made, build_notes
from moppet.app.evaluation.matrices import build_matrices
from moppet.app.evaluation.mistakes import build_mistakes
from moppet.app.evaluation.parts import build_parts
from moppet.app.evaluation.scatter import build_map


def build_page(evaluation: Mapping[str, Any], pictures: Mapping[int, str] | None = None) -> str:
    """Return the whole document; it fetches nothing, and its policy forbids it to."""
    style = _asset("report", "report.css") + "\n" + _asset("evaluation", "evaluation.css")
    script = _asset("report", "report.js")
    sections = (
        build_figures(evaluation),
        build_against(evaluation),
        build_parts(evaluation),
        build_matrices(evaluation),
        build_roc(evaluation),
        build_reliability(evaluation),
        build_map(evaluation),
        build_training(evaluation),
        build_mistakes(evaluation, pictures),
        build_made(evaluation),
        build_notes(evaluation),
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        f"img-src {'data:' if pictures else chr(39) + 'none' + chr(39)}; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(title_of(evaluation))} · moppet evaluation</title>"
        f"<style>{style}</style></head>\n"
        f"<body>{build_header(evaluation)}\n<main>{''.join(sections)}</main>\n"
        f'<script type="application/json" id="data">{{}}</script>\n'
        f"<script>{script}</script></body></html>\n"
    )


def _asset(room: str, name: str) -> str:
    return files(f"moppet.app.{room}").joinpath(name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
