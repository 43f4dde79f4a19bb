"""The embedding map as SVG, once coloured by class and once by group."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from moppet.app.evaluation.words import Json, colour, count, legend, levels
from moppet.app.report.content import section

LAYERS = 6
"""Points are drawn in so many turns, so that no class lies wholly on top of another."""


def build_map(evaluation: Json) -> str:
    """Return the maps, or nothing but the note at the top where there is none."""
    drawn = evaluation["map"]
    if drawn is None:
        why = "There is no map; the notes at the top of the page say why."
        return section("map", "Embedding map", f'<p class="none">{why}</p>')
    about = (
        f"{count(drawn['n'])} of the faces, near to each other where the network finds them "
        f"alike, coloured by their label: {drawn['method']}. Directions, distances across the "
        "map and the sizes of islands mean nothing."
    )
    figures = []
    for title, level, grouped in levels(evaluation):
        values = drawn["group" if grouped else "label"]
        figures.append(_figure(title, drawn, values, level["names"], grouped=grouped))
    body = f'<p class="about">{escape(about)}</p><div class="pair">{"".join(figures)}</div>'
    return section("map", "Embedding map", body)


def _figure(
    title: str, drawn: Json, values: Sequence[str | None], names: Sequence[str], *, grouped: bool
) -> str:
    of = {name: [i for i, v in enumerate(values) if v == name] for name in [*names, None]}
    paths = []
    for layer in range(LAYERS):
        for name, rows in of.items():
            css = "g-none" if name is None else colour(name, names, grouped=grouped)
            d = "".join(
                f"M{1000 * drawn['x'][i]:.0f} {1000 * (1 - drawn['y'][i]):.0f}h0"
                for i in rows[layer::LAYERS]
            )
            if d:
                paths.append(f'<path class="points {css}" d="{d}"/>')
    items = [
        (colour(name, names, grouped=grouped), f"{name} ({count(len(of[name]))})") for name in names
    ]
    if of[None]:
        items.append(("g-none", f"in no group ({count(len(of[None]))})"))
    label = f"Map of the embeddings, coloured by label: {', '.join(text for _, text in items)}"
    return (
        f'<figure class="lane"><figcaption><h3>{title}</h3></figcaption>'
        f'<svg class="map" width="100%" viewBox="{_view_box(drawn)}" role="img" '
        f'aria-label="{escape(label)}">{"".join(paths)}</svg>{legend(items)}</figure>'
    )


def _view_box(drawn: Json) -> str:
    """The part of the square that holds points, with a margin."""
    left, right = 1000 * min(drawn["x"]) - 20, 1000 * max(drawn["x"]) + 20
    top, foot = 1000 * (1 - max(drawn["y"])) - 20, 1000 * (1 - min(drawn["y"])) + 20
    return f"{left:.0f} {top:.0f} {right - left:.0f} {foot - top:.0f}"
