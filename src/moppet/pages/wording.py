"""Numbers, intervals and shares as pages print them, and the names of metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from moppet.timeline.time_axis import NO_VALUE
from moppet.vocabulary import order_groups

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
    "model_rater_agreement": "model vs. one rater",
    "human_rater_agreement": "rater vs. rater",
    "model_plurality_agreement": "model vs. majority vote",
    "human_plurality_agreement": "rater vs. majority vote",
    "one_rater": "votes for the label",
    "vote_divergence": "divergence from the votes",
    "vote_distance": "distance from the votes",
}
"""Figure → its name on pages, in the order of the tables."""
MEANINGS: Final[Mapping[str, str]] = {
    "accuracy": "share of faces whose most likely class is the label",
    "balanced_accuracy": "mean recall of the classes",
    "macro_precision": "mean precision of the classes that were predicted at least once",
    "macro_f1": "mean F1 of the classes",
    "g_mean": "geometric mean of the recalls; 0 if any class is never predicted correctly",
    "macro_auc": "mean area under the ROC curves, each class against the others",
    "kappa": "0 = chance agreement, 1 = perfect agreement",
    "ece": "mean difference between confidence and accuracy in 15 bins; 0 is best",
    "brier": "squared distance between the probabilities and the label, 0 to 2; 0 is best",
    "model_rater_agreement": "agreement with one rater drawn at random",
    "human_rater_agreement": "agreement of two raters drawn at random",
    "model_plurality_agreement": "agreement with the most common vote of all raters but one",
    "human_plurality_agreement": "human ceiling: agreement of one rater with the most common vote",
    "one_rater": "share of the votes that agree with the label",
    "vote_divergence": "Kullback-Leibler divergence in nats; 0 is best",
    "vote_distance": "share of the votes that would have to change; 0 is best",
}


def number(value: float | None, *, signed: bool = False) -> str:
    """Return a figure with three decimals, a dash if undefined."""
    if value is None:
        return NO_VALUE
    text = f"{abs(value):.3f}"
    if value < 0 and float(text):
        return MINUS + text
    return f"+{text}" if signed and float(text) else text


def format_signed(value: float | None) -> str:
    """Return a value from -1 to 1 with its sign and two decimals, a dash if undefined."""
    if value is None:
        return NO_VALUE
    text = f"{value:+.2f}".replace("-", MINUS)
    return text if float(text[1:]) else text[1:]


def interval(figure: Json, *, signed: bool = False, share: bool = False) -> str:
    """Return a figure's interval as "0.823 to 0.849", nothing if undefined.

    share: as "4.2 % to 7 %". An interval without width reads "no spread": all draws were equal,
    which proves nothing.
    """
    low, high = figure["low"], figure["high"]
    if low is None or low == high:
        return "" if low is None else "no spread"
    if share:
        return f"{format_share(low)} to {format_share(high)}"
    return f"{number(low, signed=signed)} to {number(high, signed=signed)}"


def with_interval(figure: Json, *, signed: bool = False, share: bool = False) -> str:
    """Return a figure and its interval for a sentence."""
    value = figure["value"]
    text = format_share(value) if share else number(value, signed=signed)
    limits = interval(figure, signed=signed, share=share)
    return f"{text} ({limits})" if limits else text


def p_value(p: float | None) -> str:
    """Return a p-value with three decimals, "under 0.001" below that."""
    if p is None:
        return NO_VALUE
    return "under 0.001" if p < 0.001 else f"{p:.3f}"


def p_equals(p: float | None) -> str:
    """Return a p-value for a sentence after the letter p: "= 0.012" or "under 0.001"."""
    text = p_value(p)
    return text if text.startswith("under") else f"= {text}"


def count(n: int | None) -> str:
    """Return a number with its thousands set apart, a dash if undefined."""
    return NO_VALUE if n is None else f"{n:,}".replace(",", THIN)


def counted(n: int, one: str, several: str = "") -> str:
    """Return a number and its noun: "1 frame", "12 frames"."""
    return f"{count(n)} {one if n == 1 else several or one + 's'}"


def format_share(share: float | None) -> str:
    """Return a share as 4.2 % or 42 %, a dash if undefined; 0 % and 100 % are never rounded to."""
    if share is None or not math.isfinite(share):
        return NO_VALUE
    percent = 100 * share
    if 0 < percent < 0.1:
        text = "under 0.1"
    elif 0 < percent < 9.95:
        text = f"{percent:.1f}"
    elif 99.5 <= percent < 100:
        text = "over 99"
    else:
        text = f"{percent:.0f}"
    return f"{text}\N{NO-BREAK SPACE}%"


def capitalize(text: str) -> str:
    """Return text with its first letter as a capital and all others as they are."""
    return text[:1].upper() + text[1:]


def license_of(values: Json) -> str | None:
    """Return the license that a model or data set states; files of earlier versions say licence."""
    stated: str | None = values.get("license", values.get("licence"))
    return stated


def group_members(group_of: Mapping[str, str]) -> str:
    """Return the groups and their classes: "positive: happiness; negative: sadness, anger"."""
    groups = order_groups(group_of.values())
    members = {group: [name for name, one in group_of.items() if one == group] for group in groups}
    return "; ".join(f"{group}: {', '.join(names)}" for group, names in members.items())


def levels(evaluation: Json) -> list[tuple[str, Json, bool]]:
    """Return the classes, and the groups if there are any: title, figures, whether groups."""
    found = [(f"{len(evaluation['classes']['names'])} classes", evaluation["classes"], False)]
    if evaluation["groups"] is not None:
        names = evaluation["groups"]["names"]
        found.append((f"{len(names)} groups", evaluation["groups"], True))
    return found
