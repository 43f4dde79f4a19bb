"""HTML documents from templates: one frame, one style, one content security policy."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from moppet import palette
from moppet.pages import wording
from moppet.timeline.time_axis import format_length, format_time
from moppet.vocabulary import current_key


def render_document(
    template: str,
    title: str,
    *,
    css: tuple[str, ...] = (),
    script: bool = False,
    data: str = "{}",
    images: bool = False,
    **context: Any,
) -> str:
    """Return a whole document; it fetches nothing, and its policy forbids it to.

    template: "report", say, for templates/report.html.j2. css: style sheets in static/ besides the
    common one. script: whether it runs report.js, which reads `data`, JSON that is safe in HTML.
    images: whether it holds images, as data: URIs.
    """
    style = "\n".join((palette.stylesheet().strip(), *map(_asset, ("report.css", *css))))
    code = _asset("report.js") if script else ""
    frame = {"policy": _policy(style, code, images), "style": Markup(style), "script": Markup(code)}
    document = _environment().get_template(f"{template}.html.j2")
    return document.render(title=title, data=Markup(data), **frame, **context)


def render_macro(name: str, *arguments: Any) -> Markup:
    """Return what a macro of templates/macros.html.j2 makes of its arguments."""
    return Markup(getattr(_environment().get_template("macros.html.j2").module, name)(*arguments))


def render_template(name: str, **context: Any) -> str:
    """Return what templates/<name>.j2 makes of a context; in Markdown, `md` escapes texts."""
    return _environment().get_template(f"{name}.j2").render(**context)


def escape_markdown(text: str) -> str:
    """Return text that Markdown and HTML in it show as it is; code in backticks stays code."""
    plain = text.replace(wording.THIN, ",").replace("\n", " ")
    parts = re.split(r"(`[^`]*`)", plain)
    return "".join(
        part.replace("|", "\\|")
        if number % 2
        else re.sub(r"([\\`*\[\]<>|#]|(?<!\w)_|_(?!\w))", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def mark_code(text: str) -> Markup:
    """Return a text whose parts in backticks are code."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("moppet.pages", "templates"),
        autoescape=lambda name: name is None or not name.endswith(".md.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.filters |= {
        "capitalized": wording.capitalize,
        "code": mark_code,
        "count": wording.count,
        "current_key": current_key,
        "interval": wording.interval,
        "duration": format_length,
        "group_members": wording.group_members,
        "license": wording.license_of,
        "md": escape_markdown,
        "number": wording.number,
        "share": wording.format_share,
        "time": format_time,
        "with_interval": wording.with_interval,
        "p_equals": wording.p_equals,
    }
    found.globals |= {
        "counted": wording.counted,
        "figure_names": wording.FIGURES,
        "expression_class": palette.expression_class,
        "group_class": palette.group_class,
    }
    return found


@cache
def _asset(name: str) -> str:
    return files("moppet.pages").joinpath("static", name).read_text(encoding="utf-8").strip()


def _policy(style: str, script: str, images: bool) -> str:
    rules = ["default-src 'none'", f"style-src {_hash(style)}"]
    if script:
        rules.append(f"script-src {_hash(script)}")
    rules.append("img-src data:" if images else "img-src 'none'")
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
