"""The HTML frame of every page: style, content security policy, title."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files


def build_document(title: str, body: str, *, css: str = "", pictures: bool = False) -> str:
    """Return a whole document with the report's look; it fetches nothing, nor runs any code.

    title: text. body: HTML of everything on the page. css: added to the report's.
    images: whether there are images in it, as data: URIs.
    """
    style = f"{_report_css()}\n{css}".strip()
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; img-src "
        f"{'data:' if pictures else chr(39) + 'none' + chr(39)}; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )


def _report_css() -> str:
    return (
        files("moppet.pages").joinpath("static", "report.css").read_text(encoding="utf-8").strip()
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
