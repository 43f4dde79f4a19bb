"""Expressions as facial movements: prototypes, infants' faces, and faces that only look alike.

The prototypes are the combinations of action units of EMFACS (Friesen & Ekman 1983, "EMFACS-7",
unpublished manual; Ekman, Friesen & Hager 2002, "FACS Investigator's Guide", table 10-1). The
infants' faces follow Baby FACS (Oster 2006) and Messinger, Fogel & Dickson (2001, Developmental
Psychology 37). They are written as FACS scores them: "1C+4D" is action unit 1, marked, with action
unit 4, severe. A Baby FACS brow code such as 3+4 is written with the units of adults.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from moppet.values import EXPRESSIONS, GROUPS, UsageError, name_hint
from moppet.vocabulary import MOVEMENTS, SIDED_MOVEMENTS, SIDES, TWO_WAY_MOVEMENTS

LETTERS: Final[Mapping[str, float]] = {"A": 0.1, "B": 0.3, "C": 0.5, "D": 0.75, "E": 1.0}
"""FACS's five degrees (trace, slight, marked, severe, maximum) → intensity."""

THRESHOLD: Final = 0.3
"""An expression is in the truth from this intensity on, FACS's "slight"; below it, neutral is."""

Kind = Literal["prototype", "infant", "hard_negative"]
KINDS: Final[tuple[Kind, ...]] = ("prototype", "infant", "hard_negative")

_UNITS: Final[dict[int, tuple[str, float]]] = {
    int(number): (name, 1.0)
    for name, code in MOVEMENTS.items()
    for number in re.findall(r"\d+", code)
} | {
    43: ("blink", 1.0),
    61: ("gaze_x", 1.0),
    62: ("gaze_x", -1.0),
    63: ("gaze_y", 1.0),
    64: ("gaze_y", -1.0),
}


def read_facs(text: str) -> dict[str, float]:
    """Return movement → intensity of a FACS score such as "1D+4C+15D"; "" is a face at rest.

    Raises UsageError for a unit that is not rendered.
    """
    found: dict[str, float] = {}
    for part in filter(None, text.split("+")):
        match = re.fullmatch(r"(\d+)([A-E])", part)
        if match is None or int(match[1]) not in _UNITS:
            known = ", ".join(map(str, sorted(_UNITS)))
            raise UsageError(f"{part!r} is no action unit with a degree A to E. Units: {known}.")
        name, sign = _UNITS[int(match[1])]
        found[name] = sign * LETTERS[match[2]]
    return found


@dataclass(frozen=True)
class Variant:
    """One way to show an expression, or something that only looks like one.

    expression: the label, one of EXPRESSIONS.
    postures: FACS scores at full intensity. Several take turns: at `rhythm_hz` in random order, or
        once from the first to the last where that is 0.
    youngest, oldest: ages in years at which it is shown.
    onset_s, offset_s: how long it takes to build up and to fade.
    """

    name: str
    expression: str
    kind: Kind
    postures: tuple[str, ...]
    rhythm_hz: float = 0.0
    youngest: float = 0.0
    oldest: float = 120.0
    onset_s: float = 0.5
    offset_s: float = 0.8

    @property
    def group(self) -> str:
        """positive, neutral or negative."""
        return GROUPS[self.expression]

    def suits(self, age_years: float) -> bool:
        """Whether people of this age show it."""
        return self.youngest <= age_years <= self.oldest

    def posture(self, number: int) -> dict[str, float]:
        """Return movement → intensity of one of the postures."""
        return read_facs(self.postures[number])


# Onsets: smiles 0.4-0.8 s (Schmidt, Cohn & Tian 2003), surprise and startle faster. A yawn takes
# about 6 s (Provine 1986), speech has 4-5 syllables a second, laughter 5 notes, chewing 1.5 bites,
# a baby's cry one breath in 1-1.5 s.
_ALL: Final = (
    Variant("neutral_closed", "neutral", "prototype", ("",)),
    Variant("neutral_parted", "neutral", "prototype", ("25B",)),
    # Happiness: 6+12, with and without parted lips.
    Variant("smile_closed", "happiness", "prototype", ("6C+12D",), youngest=1),
    Variant("smile_open", "happiness", "prototype", ("6C+12E+25D",)),
    Variant("smile_duchenne", "happiness", "prototype", ("6E+7B+12E+25D+26B",)),
    Variant(
        "laugh",
        "happiness",
        "prototype",
        ("6E+7C+12E+25E+26D", "6E+7C+12E+25E+26B"),
        rhythm_hz=9.0,
        onset_s=0.3,
    ),
    # Sadness: 1+4, 11, 15 and 17 in turn.
    Variant(
        "sad_closed", "sadness", "prototype", ("1E+4C+15D+17C+64A",), onset_s=0.9, offset_s=1.2
    ),
    Variant("sad_full", "sadness", "prototype", ("1E+4C+6B+11C+15E+17C+64B",), onset_s=0.9),
    Variant("sad_parted", "sadness", "prototype", ("1E+4C+11C+15D+25B+64A",), onset_s=0.9),
    Variant("sad_pout", "sadness", "prototype", ("1E+4C+15D+17D+22A",), oldest=13, onset_s=0.7),
    # Surprise: 1+2+5B+26 or 27.
    Variant("surprise_open", "surprise", "prototype", ("1E+2E+5C+25D+26D",), onset_s=0.25),
    Variant("surprise_wide", "surprise", "prototype", ("1E+2E+5D+25E+27E",), onset_s=0.2),
    Variant("surprise_brows", "surprise", "prototype", ("1E+2E+5D+25C+26B",), onset_s=0.25),
    # Fear: 1+2+4+5 with 20 and 25, 26 or 27.
    Variant("fear_open", "fear", "prototype", ("1E+2D+4D+5E+20D+25C+26B",), onset_s=0.3),
    Variant("fear_wide", "fear", "prototype", ("1E+2D+4D+5E+20E+21C+25D+27C",), onset_s=0.25),
    Variant("fear_closed", "fear", "prototype", ("1E+2D+4D+5E+20D+25A",), onset_s=0.3),
    # Disgust: 9 or 10, with 17, or with parted lips and 16.
    Variant("disgust_nose", "disgust", "prototype", ("4C+7C+9E+10C+17C",), onset_s=0.4),
    Variant("disgust_lip", "disgust", "prototype", ("7B+9D+10E+15C+17D",), onset_s=0.4),
    Variant("disgust_tongue", "disgust", "prototype", ("4B+7C+9E+10E+16D+19D+25D+26C",)),
    # Anger: 4+5+7 with 23 or 24, or with a square open mouth: 10, 22 or 16, 25, 26.
    Variant("anger_pressed", "anger", "prototype", ("4E+5C+7D+17C+23D+24E",), onset_s=0.4),
    Variant("anger_tight", "anger", "prototype", ("4E+5D+7D+23E+38C",), onset_s=0.4),
    Variant("anger_square", "anger", "prototype", ("4E+5D+7D+10D+16C+22B+25E+26C+38D",)),
    Variant(
        "shout",
        "anger",
        "prototype",
        ("4E+5C+7D+9B+10D+16D+25E+27D", "4E+5C+7D+9B+10D+16C+20B+25E+26C", "4E+7D+10C+23C+25D"),
        rhythm_hz=3.0,
        youngest=1,
        onset_s=0.3,
    ),
    # Infants.
    Variant("interest", "neutral", "infant", ("1B+2B+25C+26A",), oldest=5),
    Variant("interest_knit", "neutral", "infant", ("4B+25B+18A",), oldest=5),
    Variant("open_mouth_smile", "happiness", "infant", ("6D+12D+25E+26D",), oldest=4),
    Variant("pout", "sadness", "infant", ("1D+4B+15E+17E+22B",), oldest=6, onset_s=0.8),
    Variant(
        "pre_cry",
        "sadness",
        "infant",
        ("1D+4D+7C+15D+17D+20B", "1D+4D+7B+11B+15C+17D+25B"),
        rhythm_hz=1.5,
        oldest=6,
        onset_s=0.8,
    ),
    Variant(
        "cry_face",
        "sadness",
        "infant",
        (
            "4E+6E+7E+9D+11E+16C+20E+25E+27E+43E",
            "4E+6E+7E+9D+11D+15C+17B+20D+25D+26C+43E",
            "4D+6E+7E+9C+11D+20C+25E+26D+43D",
        ),
        rhythm_hz=1.6,
        oldest=6,
        onset_s=0.6,
        offset_s=1.5,
    ),
    Variant(
        "cry",
        "sadness",
        "prototype",
        ("1E+4D+6D+7D+11D+15C+20C+25D+26C+43C", "1E+4D+6D+7E+11D+15E+17D+25C+43E"),
        rhythm_hz=1.2,
        youngest=3,
        onset_s=0.8,
        offset_s=1.5,
    ),
    Variant("anger_infant", "anger", "infant", ("4E+7D+9C+10D+16C+20B+25E+27C",), oldest=3),
    # What only looks like distress, or like an expression at all.
    Variant(
        "yawn",
        "neutral",
        "hard_negative",
        ("25C+26B+43A", "4B+7C+9A+25E+27E+43D", "4B+6C+7D+9B+25E+27E+43E", "25C+26B+43B"),
        onset_s=1.5,
        offset_s=1.0,
    ),
    Variant("squint", "neutral", "hard_negative", ("4D+6C+7E+9B+10B+43B",), onset_s=0.4),
    Variant(
        "sneeze",
        "neutral",
        "hard_negative",
        ("1C+2B+25C+26B+43B", "4C+7C+9C+10C+25D+26C+43D", "4E+6D+7E+9E+10D+17B+25B+43E", "43B"),
        onset_s=0.4,
        offset_s=0.3,
    ),
    Variant(
        "eating",
        "neutral",
        "hard_negative",
        ("17B+24B", "18A+25A+26B", "14B+17B+23B+33A", "17C+24C", "25B+26C"),
        rhythm_hz=3.0,
        onset_s=0.2,
    ),
    Variant(
        "laugh_eyes_shut",
        "happiness",
        "hard_negative",
        ("4A+6E+7E+9B+12E+25E+26D+43E", "4A+6E+7E+9B+12E+25E+26B+43E"),
        rhythm_hz=9.0,
        onset_s=0.3,
    ),
    Variant(
        "singing",
        "neutral",
        "hard_negative",
        ("1B+2B+25E+27D", "1B+2B+18C+22C+25C+26C", "1C+4A+25D+26D+43B", "20B+25C+26B", "24A"),
        rhythm_hz=2.0,
        youngest=2,
        onset_s=0.2,
    ),
    Variant(
        "talking",
        "neutral",
        "hard_negative",
        ("25C+26C", "25B+26B", "18C+22C+25C+26A", "20B+25C+26A", "24B", "16B+25C+26B", "10A+25B"),
        rhythm_hz=9.0,
        youngest=1.5,
        onset_s=0.15,
        offset_s=0.2,
    ),
    Variant("babbling", "neutral", "hard_negative", ("24A", "25D+26C"), 6.0, oldest=2, onset_s=0.2),
    Variant("tongue", "neutral", "hard_negative", ("19D+25D+26C",), onset_s=0.3, offset_s=0.3),
    Variant("sucking", "neutral", "hard_negative", ("18D+17B", "18C+26B"), 3.6, oldest=2),
    Variant("concentrating", "neutral", "hard_negative", ("4C+7B+24B+64B",), youngest=0.5),
    Variant("cheek_puff", "neutral", "hard_negative", ("18B+33E",), youngest=2),
    Variant("eyes_shut", "neutral", "hard_negative", ("43E",), onset_s=0.3),
)
VARIANTS: Final[Mapping[str, Variant]] = {variant.name: variant for variant in _ALL}
"""Name → variant. Those of kind "hard_negative" are neutral or positive by their label."""

_CRYING: Final = ("pre_cry", "cry_face", "cry")
CHOICES: Final = (*EXPRESSIONS, "crying", "hard_negative", *VARIANTS)
"""What plans and scripts can ask for: an expression, crying, hard negatives, a single variant."""


def choose_variants(name: str, age_years: float) -> tuple[Variant, ...]:
    """Return the variants that a name in CHOICES stands for at an age, at least one.

    An expression stands for its prototypes and infants' faces. A single variant is returned for
    every age: whoever names it wants it. Raises UsageError for another name.
    """
    if name not in CHOICES:
        raise UsageError(f"there is no expression {name!r}.{name_hint(name, CHOICES)}")
    if name in EXPRESSIONS:
        found = [v for v in _ALL if v.expression == name and v.kind != "hard_negative"]
    elif name == "crying":
        found = [VARIANTS[one] for one in _CRYING]
    elif name == "hard_negative":
        found = [v for v in _ALL if v.kind == name]
    else:
        return (VARIANTS[name],)
    return tuple(v for v in found if v.suits(age_years))


def expression_at(expression: str, intensity: float) -> str:
    """Return the label of an expression that is shown at an intensity; see THRESHOLD."""
    return expression if intensity >= THRESHOLD - 1e-9 else "neutral"


def mix_movements(parts: Iterable[tuple[Mapping[str, float], float]]) -> dict[str, float]:
    """Return the movements of postures shown together, each with its intensity from 0 to 1.

    Of one movement the strongest counts, as muscles do not add up: two smiles are no wider smile.
    """
    mixed: dict[str, float] = {}
    for movements, intensity in parts:
        for name, value in movements.items():
            value *= intensity
            if abs(value) > abs(mixed.get(name, 0.0)):
                mixed[name] = value
    return mixed


def to_channels(movements: Mapping[str, float], asymmetry: float = 0.0) -> dict[str, float]:
    """Return movements as channels: left and right apart where they can differ; zeros left out.

    asymmetry: -1 only on the person's right, 0 alike on both sides, 1 only on the left. Eyes close
    together.
    """
    channels: dict[str, float] = {}
    for name, value in movements.items():
        low = -1.0 if name in TWO_WAY_MOVEMENTS else 0.0
        if name not in SIDED_MOVEMENTS:
            channels[name] = min(1.0, max(low, value))
            continue
        for side, sign in zip(SIDES, (1, -1), strict=True):
            share = 1.0 if name == "blink" else 1 + min(0.0, sign * asymmetry)
            channels[f"{name}_{side}"] = min(1.0, max(low, value * share))
    return {name: value for name, value in channels.items() if abs(value) > 1e-6}


def vary_movements(
    movements: Mapping[str, float], amount: float, rng: np.random.Generator
) -> dict[str, float]:
    """Return movements each somewhat stronger or weaker, as no two faces show one alike.

    amount: standard deviation of the logarithm; 0.15 changes most by less than a fifth.
    """
    return {
        name: value * math.exp(amount * float(rng.standard_normal()))
        for name, value in movements.items()
    }
