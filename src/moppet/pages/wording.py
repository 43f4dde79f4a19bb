"""Numbers and intervals as pages print them, and the names of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from moppet.pages.report_tables import swatch
from moppet.pages.timeline_charts import NO_VALUE, expression_class, group_class

Json = Mapping[str, Any]
MINUS: Final = "\N{MINUS SIGN}"
THIN: Final = "\N{NARROW NO-BREAK SPACE}"
FIGURES: Final[Mapping[str, str]] = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_precision": "macro precision",
    "macro_f1": "macro-F1",
    "g_mean": "G-mean",
    "macro_auc": "macro AUC",
    "kappa": "Cohen's kappa",
    "ece": "calibration error",
    "brier": "Brier score",
    "model_rater_agreement": "model agrees with a rater",
    "human_rater_agreement": "a rater agrees with another",
    "model_plurality_agreement": "model agrees with the raters' choice",
    "human_plurality_agreement": "a rater agrees with the others' choice",
    "one_rater": "a rater's vote is the label",
    "vote_divergence": "divergence from the votes",
    "vote_distance": "distance from the votes",
}
"""Figure → what people call it, in the order of the tables."""
MEANINGS: Final[Mapping[str, str]] = {
    "accuracy": "share of faces whose likeliest class is the label",
    "balanced_accuracy": "mean recall of the classes",
    "macro_precision": "mean precision of the classes that were read at all",
    "macro_f1": "mean F1 of the classes",
    "g_mean": "geometric mean of the recalls: 0 as soon as one class is never read",
    "macro_auc": "mean area under the ROC curves, each class against the others",
    "kappa": "agreement beyond chance: 0 as by chance, 1 whole",
    "ece": "how far confidence and accuracy lie apart, 15 bins: 0 is best",
    "brier": "squared distance of the probabilities from the truth, 0 to 2: 0 is best",
    "model_rater_agreement": "with one rater drawn at random",
    "human_rater_agreement": "two raters drawn at random",
    "model_plurality_agreement": "with the commonest vote of all raters but one",
    "human_plurality_agreement": "the human ceiling: with the commonest vote of the others",
    "one_rater": "share of the votes that are for the label",
    "vote_divergence": "Kullback-Leibler, in nats: 0 is best",
    "vote_distance": "share of the votes that would have to move: 0 is best",
}


def number(value: float | None, *, signed: bool = False) -> str:
    """Return a figure with three decimals, a dash if undefined. The text needs no escape."""
    if value is None:
        return NO_VALUE
    text = f"{abs(value):.3f}"
    if value < 0 and float(text):
        return MINUS + text
    return f"+{text}" if signed and float(text) else text


def interval(figure: Json, *, signed: bool = False) -> str:
    """Return a figure's interval as "0.823 to 0.849", nothing if undefined.

    An interval without width says "no spread": all draws were alike, which is no certainty.
    """
    if figure["low"] is None:
        return ""
    if figure["low"] == figure["high"]:
        return "no spread"
    return f"{number(figure['low'], signed=signed)} to {number(figure['high'], signed=signed)}"


def with_interval(figure: Json, *, signed: bool = False) -> str:
    """Return a figure and its interval for a sentence."""
    limits = interval(figure, signed=signed)
    value = number(figure["value"], signed=signed)
    return f"{value} ({limits})" if limits else value


def cell(figure: Json, *, signed: bool = False) -> str:
    """Return a table's cell: the figure, its interval below, a dash for one that is undefined."""
    limits = interval(figure, signed=signed) or NO_VALUE
    value = figure["value"]
    small = "" if value is None else f"<small>{limits}</small>"
    sort = "-9" if value is None else f"{value:.6g}"
    return f'<td class=n data-v="{sort}">{number(value, signed=signed)}{small}</td>'


def p_value(p: float | None) -> str:
    """Return p as people write it."""
    if p is None:
        return NO_VALUE
    return "under 0.001" if p < 0.001 else f"{p:.3f}"


def count(n: int) -> str:
    """Return a number of things with thousands set apart."""
    return f"{n:,}".replace(",", THIN)


def count_cell(n: int) -> str:
    """Return a table's cell with a number of things."""
    return f'<td class=n data-v="{n}">{count(n)}</td>'


def colour(name: str, names: Sequence[str], *, grouped: bool) -> str:
    """CSS class of the color of a class, or of a group."""
    return group_class(name, names) if grouped else expression_class(name, names)


def key(name: str, names: Sequence[str], *, grouped: bool) -> str:
    """Return a table's heading cell with the color of its class."""
    css = colour(name, names, grouped=grouped)
    return f'<th scope="row" class="key {css}">{escape(name)}</th>'


def legend(items: Sequence[tuple[str, str]]) -> str:
    """Return a legend. items: CSS class of the color, and text."""
    parts = "".join(f"<li>{swatch(css)}{escape(text)}</li>" for css, text in items)
    return f'<ul class="legend" aria-label="Legend">{parts}</ul>'


def levels(evaluation: Json) -> list[tuple[str, Json, bool]]:
    """Return the classes, and the groups if there are any: title, figures, whether groups."""
    found = [(f"The {len(evaluation['classes']['names'])} classes", evaluation["classes"], False)]
    if evaluation["groups"] is not None:
        names = evaluation["groups"]["names"]
        found.append((f"The {len(names)} groups", evaluation["groups"], True))
    return found
