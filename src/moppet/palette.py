"""The colors of expressions and groups: the same in every page, chart and plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

LIGHT: Final[Mapping[str, str]] = {
    "blue": "#0072b2",
    "gray": "#868d94",
    "orange": "#d67a0c",
    "sky": "#3598d4",
    "amber": "#b98000",
    "pink": "#c76f9f",
    "green": "#009e73",
    "red": "#d55e00",
    "plum": "#7a5195",
    "teal": "#2a7f86",
    "olive": "#7f7f1a",
    "rose": "#b3446c",
    "brown": "#8c6239",
}
"""Hue → color on a light ground, after Okabe and Ito: color-blind readers tell them apart."""

DARK: Final[Mapping[str, str]] = {
    "blue": "#3f93d6",
    "gray": "#929aa2",
    "orange": "#e8963a",
    "sky": "#93d3f7",
    "amber": "#e6b01a",
    "pink": "#d98bb6",
    "green": "#1fb48b",
    "red": "#e9752a",
    "plum": "#b48ad0",
    "teal": "#54b3bb",
    "olive": "#b8b84a",
    "rose": "#dc7398",
    "brown": "#c1935f",
}
"""Hue → color on a dark ground."""

EXPRESSION_HUES: Final[Mapping[str, str]] = {
    "neutral": "gray",
    "happiness": "blue",
    "sadness": "amber",
    "surprise": "sky",
    "fear": "pink",
    "disgust": "green",
    "anger": "red",
}
GROUP_HUES: Final[Mapping[str, str]] = {"positive": "blue", "neutral": "gray", "negative": "orange"}
SPARE_HUES: Final = ("plum", "teal", "olive", "rose", "brown")
"""For classes and groups of a model that are none of the usual ones, in turn."""

EXPRESSION_COLORS: Final = {name: LIGHT[hue] for name, hue in EXPRESSION_HUES.items()}
GROUP_COLORS: Final = {name: LIGHT[hue] for name, hue in GROUP_HUES.items()}
SPARE_COLORS: Final = tuple(LIGHT[hue] for hue in SPARE_HUES)


def expression_class(name: str, names: Sequence[str]) -> str:
    """Return the CSS class of an expression's color. names: all classes of the model."""
    return f"e-{_slot(name, names, EXPRESSION_HUES)}"


def group_class(name: str | None, groups: Sequence[str]) -> str:
    """Return the CSS class of a group's color. groups: all groups of the model."""
    return "g-none" if name is None else f"g-{_slot(name, groups, GROUP_HUES)}"


def _slot(name: str, names: Sequence[str], hues: Mapping[str, str]) -> str:
    if name in hues:
        return name
    return str([other for other in names if other not in hues].index(name) % len(SPARE_HUES))


def variables() -> str:
    """Return the palette as CSS variables: one for each hue, expression and group.

    `--e-happiness` is the color of happiness, `--e-0` that of the first class without its own.
    static/palette.css of the local page is this text.
    """
    slots = ";".join(f"--{slot}:var(--{hue})" for slot, hue in _slots().items())
    return (
        f":root{{{_list(LIGHT)}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_list(DARK)}}}}}\n"
        f":root{{{slots}}}\n"
    )


def stylesheet() -> str:
    """Return the variables, and a class for each expression and group: its color is the fill."""
    classes = "\n".join(f".{slot}{{--c:var(--{hue})}}" for slot, hue in _slots().items())
    return f'{variables()}{classes}\n[class*="g-"],[class*="e-"]{{fill:var(--c)}}\n'


def _slots() -> dict[str, str]:
    """Class or group → hue, those without their own by number."""
    spare = {str(number): hue for number, hue in enumerate(SPARE_HUES)}
    kinds = {"e": EXPRESSION_HUES, "g": GROUP_HUES}
    return {
        f"{kind}-{name}": hue
        for kind, hues in kinds.items()
        for name, hue in {**hues, **spare}.items()
    }


def _list(hues: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{color}" for name, color in hues.items())
