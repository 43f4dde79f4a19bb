"""The one dictionary: expressions, groups, coders' codes, splits and age bands, with synonyms."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from moppet.values import EXPRESSIONS, GROUPS, UsageError

_SYNONYMS: Final = {
    "neutral": "neutrality",
    "happiness": "happy happily joy joyful",
    "sadness": "sad sadly",
    "surprise": "surprised surprising",
    "fear": "fearful afraid scared frightened",
    "disgust": "disgusted",
    "anger": "angry angrily",
}
EXPRESSION_WORDS: Final = {
    word: name for name in EXPRESSIONS for word in (name, *_SYNONYMS[name].split())
}
"""Word in lower case → the expression it stands for. Contempt and others stand for none."""

GROUP_NAMES: Final = ("positive", "neutral", "negative")
"""The groups of GROUPS in the order of tables and charts."""

MOVEMENTS: Final[Mapping[str, str]] = {
    "inner_brow_raise": "AU1",
    "outer_brow_raise": "AU2",
    "brow_lower": "AU4",
    "upper_lid_raise": "AU5",
    "cheek_raise": "AU6",
    "lid_tighten": "AU7",
    "nose_wrinkle": "AU9",
    "upper_lip_raise": "AU10",
    "nasolabial_deepen": "AU11",
    "lip_corner_pull": "AU12",
    "dimple": "AU14",
    "lip_corner_depress": "AU15",
    "lower_lip_depress": "AU16",
    "chin_raise": "AU17",
    "lip_pucker": "AU18",
    "tongue_show": "AU19",
    "lip_stretch": "AU20",
    "neck_tighten": "AU21",
    "lip_funnel": "AU22",
    "lip_tighten": "AU23",
    "lip_press": "AU24",
    "lips_part": "AU25",
    "jaw_open": "AU26/27",
    "lip_suck": "AU28",
    "jaw_sideways": "AU30",
    "cheek_puff": "AU33",
    "nostril_dilate": "AU38",
    "blink": "AU45",
    "gaze_x": "AU61/62",
    "gaze_y": "AU63/64",
}
"""Facial movement → action unit of the Facial Action Coding System (Ekman, Friesen & Hager 2002).

Intensities from 0 to 1; those of TWO_WAY_MOVEMENTS from -1 to 1: gaze_x and jaw_sideways are
positive to the person's left, gaze_y is positive upward. blink is how far the lid is closed."""

SIDED_MOVEMENTS: Final = frozenset(
    {
        "inner_brow_raise",
        "outer_brow_raise",
        "brow_lower",
        "upper_lid_raise",
        "cheek_raise",
        "lid_tighten",
        "nose_wrinkle",
        "upper_lip_raise",
        "nasolabial_deepen",
        "lip_corner_pull",
        "dimple",
        "lip_corner_depress",
        "lower_lip_depress",
        "lip_stretch",
        "blink",
    }
)
"""Movements whose left and right side can differ."""

TWO_WAY_MOVEMENTS: Final = frozenset({"gaze_x", "gaze_y", "jaw_sideways"})
"""Movements from -1 to 1; all others go from 0 to 1."""

SIDES: Final = ("left", "right")
"""The person's own left and right. The person's left is on the viewer's right."""

MOVEMENT_CHANNELS: Final = tuple(
    name
    for movement in MOVEMENTS
    for name in (
        [f"{movement}_{side}" for side in SIDES] if movement in SIDED_MOVEMENTS else [movement]
    )
)
"""Every facial movement, left and right apart where they can differ."""

MOVEMENT_OF: Final[Mapping[str, str]] = {
    f"{name}{side}": name
    for name in MOVEMENTS
    for side in (("", "_left", "_right") if name in SIDED_MOVEMENTS else ("",))
}
"""Every name that a measured movement can have → its key in MOVEMENTS.

"brow_lower" of a sided movement is the mean of both sides; "brow_lower_left" is the person's own
left side."""

SKIP: Final = "skip"
"""What codes stand for that say nothing about a face: their time is left out."""

_CODES: Final = {
    "neutral": "calm",
    "happiness": "smile smiles smiling laugh laughs laughing laughter",
    "positive": "pos smile smiles smiling laugh laughs laughing laughter",
    "negative": "neg cry cries crying cry/fuss fuss fusses fussing fussy distress distressed whine",
    SKIP: "skip uncodable uncodeable unscorable obscured occluded missing na n/a "
    "out_of_view out_of_frame not_visible no_face unsure away",
}
"""Codes for behavior and for lost time. They are no names of expressions: a folder of "smile" may
hold another class than one of "happy", and the word may stand for either of two things."""
_MEANINGS: Final[dict[str, list[str]]] = {word: [name] for word, name in EXPRESSION_WORDS.items()}
for _name, _words in _CODES.items():
    for _word in _words.split():
        _MEANINGS.setdefault(_word.replace("_", " "), []).append(_name)

_SPLITS: Final = {
    "train": "train training trainset",
    "val": "val valid validation validate valset dev publictest choose",
    "test": "test testing testset privatetest report",
}
FORMER_SPLITS: Final = {"choose": "val", "report": "test"}
"""Names that earlier versions wrote for splits → today's names. Both are read."""
_SPLIT_WORDS: Final = {word: name for name, words in _SPLITS.items() for word in words.split()}

AgeRange = str | float | tuple[float, ...] | None

_INFANT_TO, _CHILD_TO, _ADULT_FROM = 4, 13, 18


def expression_of(word: str) -> str | None:
    """Return the expression that a word stands for, None if it is none of the seven."""
    return EXPRESSION_WORDS.get(word.strip().casefold())


def meanings_of(code: str) -> tuple[str, ...]:
    """Return what a coder's code may stand for, the likeliest first: expressions, groups, SKIP.

    It knows the words of `expression_of`, and codes for behavior beside them. Case, underscores
    and repeated spaces make no difference.
    """
    return tuple(_MEANINGS.get(" ".join(code.casefold().replace("_", " ").split()), ()))


def movement_range(name: str) -> tuple[float, float]:
    """Return the least and the largest value of a movement, by its name in MOVEMENT_OF."""
    return (-1.0 if MOVEMENT_OF[name] in TWO_WAY_MOVEMENTS else 0.0), 1.0


def groups_of(names: Iterable[str]) -> dict[str, str]:
    """Return the group of each class whose name stands for one of the seven expressions."""
    return {name: GROUPS[meant] for name in names if (meant := expression_of(name))}


def order_groups(groups: Iterable[str | None]) -> list[str]:
    """Return the different groups: positive, neutral, negative, then others as they come."""
    used = list(dict.fromkeys(group for group in groups if group))
    first = [group for group in GROUP_NAMES if group in used]
    return first + [group for group in used if group not in GROUP_NAMES]


def class_of(word: str) -> str:
    """Return the expression that a word stands for, or else the word itself in lower case."""
    return expression_of(word) or word.strip().casefold()


def decode(number: str | float, codes: Sequence[str]) -> str:
    """Return what a set's own number for a class stands for; ValueError if it is none of them."""
    value = float(number)
    if value not in range(len(codes)):
        raise ValueError(number)
    return class_of(codes[int(value)])


def expressions_in(text: str, more: Iterable[str] = ()) -> list[str]:
    """Return the different classes that a file name speaks of, in its order.

    more: words in lower case that are classes too, as they are.
    """
    words = (word.casefold() for word in re.findall(r"[^\W\d_]+", text))
    own = set(more)
    found = (word if word in own else EXPRESSION_WORDS.get(word) for word in words)
    return list(dict.fromkeys(name for name in found if name))


def rename_classes(given: Iterable[str]) -> dict[str, str]:
    """Return what each class of a person's own set is called.

    Where every one of them stands for an expression, and no two for the same, they are called by
    it ("Happy" and "happy" are one class); else every class keeps its name, in lower case if it
    is spelled in several ways that differ only in case.
    """
    names = sorted({name.strip() for name in given})
    meant = {name: expression_of(name) for name in names}
    plain = {name.casefold() for name in names}
    if None in meant.values() or len(set(meant.values())) < len(plain):
        return one_spelling(names)
    return {name: expression for name, expression in meant.items() if expression}


def one_spelling(given: Iterable[str]) -> dict[str, str]:
    """Return name → name, or its lower case where another name differs only in case."""
    names = {name.strip() for name in given}
    spelled = Counter(name.casefold() for name in names)
    return {name: name.casefold() if spelled[name.casefold()] > 1 else name for name in names}


def split_of(word: str) -> str | None:
    """Return "train", "val" or "test" for the word that a data set uses, None for other words.

    FER2013's public test is a validation set; its private test is the test set.
    """
    return _SPLIT_WORDS.get(re.sub(r"[\W_]", "", word.casefold()))


def current_key(key: str) -> str:
    """Return today's name of a split or of a column named after one; other names stay.

    "choose" is "val", "report" is "test", and "choose_loss" is "val_loss".
    """
    return FORMER_SPLITS.get(key) or re.sub("^choose_", "val_", key)


def former_split(name: str) -> str:
    """Return what earlier versions called a split: hashes of saved runs were made with it."""
    return {new: old for old, new in FORMER_SPLITS.items()}.get(name, name)


def age_band(youngest: float | None, oldest: float | None = None) -> str | None:
    """Return the age band of an age in whole or broken years, or of a range of ages.

    "infant" is 0-3, "child" 4-12, "adult" 18 and more. "uncertain" is 13-17, which is neither
    child nor adult here, and any range that reaches over a border. None for no age.
    """
    if youngest is None or youngest < 0:
        return None
    oldest = youngest if oldest is None else oldest
    if oldest < _INFANT_TO:
        return "infant"
    if youngest >= _INFANT_TO and oldest < _CHILD_TO:
        return "child"
    return "adult" if youngest >= _ADULT_FROM else "uncertain"


def age_limits(age_range: AgeRange) -> tuple[float, float]:
    """Return the first and last year of a range like "0-2", (0, 2) or 2; None takes every age.

    The last year counts in full: "0-2" holds a child of two years and a half.
    Raises UsageError for anything else.
    """
    if age_range is None:
        return 0.0, float("inf")
    if isinstance(age_range, str):
        match = re.fullmatch(r"\s*(\d+)\s*(?:[-–]\s*(\d+)\s*)?", age_range)
        limits: Sequence[Any] = [float(x) for x in match.groups() if x] if match else []
    else:
        limits = [age_range] if isinstance(age_range, int | float) else list(age_range)
    if (
        not all(isinstance(x, int | float) for x in limits)
        or len(limits) not in (1, 2)
        or not 0 <= limits[0] <= limits[-1]
    ):
        raise UsageError(f'age_range needs years like "0-2" or (0, 2), not {age_range!r}.')
    return float(limits[0]), float(limits[-1])
