"""Drawings of the page as SVG: figures by class beside those among real faces, and closeness."""

from __future__ import annotations

from html import escape

from moppet.app.evaluation.words import Json, number
from moppet.app.quality.words import DRAWN, FIGURES

WIDTH_PX, ROW_PX, NAME_PX = 160, 26, 86
_LONGEST = 13
_EDGE_PX = 6
CHART_PX, TALL_PX = 560, 170


def class_charts(quality: Json) -> str:
    """Return a small chart for each figure from 0 to 1: a dot a class, the real range behind."""
    parts = {"all": quality["all"], **quality["of_class"]}
    charts = "".join(_class_chart(name, parts) for name in DRAWN)
    return f'<div class="strips">{charts}</div>'


def _class_chart(figure: str, parts: Json) -> str:
    drawn = []
    for i, (name, part) in enumerate(parts.items()):
        y = i * ROW_PX + ROW_PX / 2
        drawn.append(f'<text x="0" y="{y + 4:.0f}">{escape(_short(name))}</text>')
        if part is not None:
            drawn.append(f'<g transform="translate({NAME_PX} 0)">{_row(figure, part, y)}</g>')
    tall = len(parts) * ROW_PX
    scale = "".join(
        f'<text x="{NAME_PX + _x(at):.1f}" y="{tall + 15}" text-anchor="middle">{at:g}</text>'
        f'<path class="mesh" d="M{NAME_PX + _x(at):.1f} 0v{tall}"/>'
        for at in (0, 0.5, 1)
    )
    label = f"{FIGURES[figure]} by class; the same values stand in the table"
    return (
        f'<figure><figcaption><h3>{FIGURES[figure]}</h3></figcaption><svg class="strip" '
        f'width="{NAME_PX + WIDTH_PX}" height="{tall + 20}" role="img" aria-label="{label}">'
        f"{scale}{''.join(drawn)}</svg></figure>"
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _x(value: float) -> float:
    return _EDGE_PX + min(max(value, 0.0), 1.0) * (WIDTH_PX - 2 * _EDGE_PX)


def _row(figure: str, part: Json, y: float) -> str:
    found, real = part["figures"][figure], part["among_real"][figure]
    drawn = []
    if real["low"] is not None:
        x, far = _x(real["low"]), _x(real["high"])
        drawn.append(
            f'<rect class="real" x="{x - 1:.1f}" y="{y - 8:.1f}" width="{far - x + 2:.1f}" '
            'height="16" rx="2"/>'
        )
    if found["low"] is not None:
        ends = f'x1="{_x(found["low"]):.1f}" x2="{_x(found["high"]):.1f}"'
        drawn.append(f'<line class="reach" {ends} y1="{y:.1f}" y2="{y:.1f}"/>')
    if found["value"] is not None:
        drawn.append(f'<circle class="dot" cx="{_x(found["value"]):.1f}" cy="{y:.1f}" r="4"/>')
    return "".join(drawn)


def closeness_chart(memory: Json) -> str:
    """Return the histogram of closeness of made and of real faces, and the limit."""
    bins = memory["histogram"]
    edges, most = bins["edges"], max([*bins["made"], *bins["real"], 1e-9])
    wide = CHART_PX / len(bins["made"])
    drawn = []
    for kind in ("real", "made"):
        points = []
        for i, share in enumerate(bins[kind]):
            y = TALL_PX * (1 - share / most)
            points.append(f"{i * wide:.1f} {y:.1f}L{(i + 1) * wide:.1f} {y:.1f}")
        outline = "L".join(points)
        drawn.append(
            f'<path class="{kind}-area" d="M0 {TALL_PX}L{outline}L{CHART_PX} {TALL_PX}Z"/>'
        )
    if memory["limit"] is not None:
        x = min(memory["limit"], edges[-1]) / edges[-1] * CHART_PX
        drawn.append(f'<path class="limit" d="M{x:.1f} -16V{TALL_PX}"/>')
        drawn.append(f'<text x="{x + 5:.1f}" y="-8">alarm below {number(memory["limit"])}</text>')
    for at in (0, 0.5, 1, 1.5, 2):
        x = at / edges[-1] * CHART_PX
        said = "2 and more" if at == 2 else f"{at:g}"
        anchor = "end" if at == 2 else "start" if at == 0 else "middle"
        drawn.append(f'<text x="{x:.1f}" y="{TALL_PX + 18}" text-anchor="{anchor}">{said}</text>')
    label = "Closeness of made faces to the nearest real one, and of real faces among each other"
    return (
        f'<svg class="closeness" viewBox="-4 -22 {CHART_PX + 8} {TALL_PX + 48}" role="img" '
        f'aria-label="{label}"><path class="mesh" d="M0 {TALL_PX}h{CHART_PX}"/>'
        f"{''.join(drawn)}</svg>"
        '<ul class="legend" aria-label="Legend"><li><svg class="swatch" width="10" height="10" '
        'aria-hidden="true"><rect class="made-area" width="10" height="10" rx="2"/></svg>made '
        'faces</li><li><svg class="swatch" width="10" height="10" aria-hidden="true"><rect '
        'class="real-area" width="10" height="10" rx="2"/></svg>real faces among each other</li>'
        "</ul>"
    )
