"""Types that every room shares: expressions, frames, faces, scores, and errors with hints."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

EXPRESSIONS: Final = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
)
"""The seven expressions in AffectNet-7 order. Other orders are mapped by name, never by index."""

GROUPS: Final[Mapping[str, str]] = {
    "neutral": "neutral",
    "happiness": "positive",
    "sadness": "negative",
    "surprise": "neutral",
    "fear": "negative",
    "disgust": "negative",
    "anger": "negative",
}
"""Expression → group of Marin & Grijalva (2024): surprise counts as neutral."""

Status = Literal["ok", "no_face", "low_quality", "unreadable", "skipped"]
STATUSES: Final[tuple[Status, ...]] = ("ok", "no_face", "low_quality", "unreadable", "skipped")

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

CountProgress = Callable[[int, int], None]
"""Shows progress: called with the number done and the total."""
Progress = Callable[[str, int, int], None]
"""Shows progress: called with what is being done, the number done, and the total."""


def no_progress(*_: object) -> None:
    """Show no progress."""


class MoppetError(Exception):
    """Something a user can mend; its text is one sentence. The command line exits with 1.

    What a file or its name brings into the text is shown without control characters, and cut where
    it has a thousand letters without a space.
    """

    exit_code = 1

    def __str__(self) -> str:
        text = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in super().__str__())
        return re.sub(r"(\S{300})\S{700,}", r"\1…", text)


class UsageError(MoppetError):
    """A wrong argument, setting or recipe. The command line exits with 2."""

    exit_code = 2


class MediaError(MoppetError):
    """A video, image or camera that cannot be read."""


class FaceError(MoppetError):
    """Landmarks or boxes that describe no face."""


class ModelError(MoppetError):
    """A model folder that is missing, damaged or does not fit."""


class TimelineError(MoppetError):
    """A timeline file that cannot be read or is not one."""


_MOST_NAMES: Final = 20


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that is spelled most like this one, None if none is near."""
    words = {word.casefold(): word for word in reversed(list(known))}
    near = difflib.get_close_matches(str(name).strip().casefold(), words, 1)
    return words[near[0]] if near else None


def name_hint(name: object, known: Iterable[str]) -> str:
    """Return what to append to "unknown name": " Did you mean 'epochs'?", or the known names.

    Empty where nothing is near and there are too many names to list.
    """
    known = list(known)
    near = nearest_name(name, known)
    if near is not None:
        return f" Did you mean {near!r}?"
    return f" Known: {', '.join(known)}." if 0 < len(known) <= _MOST_NAMES else ""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a recording.

    index: position in decoding order, from 0.
    time_s: seconds from the start of the stream, from its own time stamps.
    image: (height, width, 3) RGB uint8, upright; None if unreadable or skipped.
    status: "ok", "unreadable" or "skipped".
    """

    index: int
    time_s: float
    image: Image | None
    status: Literal["ok", "unreadable", "skipped"] = "ok"


@dataclass(frozen=True, slots=True)
class Face:
    """One face found in an image.

    box_px: (4,) float32, x, y, width, height; may reach over the image's edge.
    landmarks_px: (5, 2) float32, x before y: the viewer's left eye, right eye, nose tip,
        left and right mouth corner.
    score: the detector's confidence in [0, 1].
    yaw, pitch, roll: degrees; NaN until estimated. Yaw is positive when the nose points to the
        viewer's right, pitch when it points up, roll when the viewer's right eye is the lower one.
    quality: [0, 1]; NaN until estimated.
    face_id: number of the person's track in this recording; None in a single image.
    """

    box_px: Floats
    landmarks_px: Floats
    score: float
    yaw: float = math.nan
    pitch: float = math.nan
    roll: float = math.nan
    quality: float = math.nan
    face_id: int | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """What an expression model says of n faces.

    names: the model's k classes, in the order of the columns.
    probabilities: (n, k) float32, calibrated, each row sums to 1.
    embeddings: (n, d) float32 (d = 128 for our models), or (n, 0) if the model has none.
    group_of: class → group; a class that is missing belongs to none.
    display: (n, k) float32, the display reading: what the faces were meant to show, where
        `probabilities` are what observers would call them. None if the model has none.
    movement_names, movements: m facial movements, and (n, m) float32 from 0 to 1, or from -1 to 1
        if they have two ways; (n, 0) if the model has none.
    """

    names: tuple[str, ...]
    probabilities: Floats
    embeddings: Floats
    group_of: Mapping[str, str] = field(default_factory=dict)
    display: Floats | None = None
    movement_names: tuple[str, ...] = ()
    movements: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def __post_init__(self) -> None:
        if not self.movement_names:
            none = np.empty((len(self.probabilities), 0), np.float32)
            object.__setattr__(self, "movements", none)

    @property
    def expressions(self) -> list[str]:
        """The likeliest class of each face."""
        return [self.names[i] for i in self.probabilities.argmax(axis=1)]

    @property
    def groups(self) -> list[str | None]:
        """The group of each face with the largest sum, None where classes without one have it."""
        labels, sums = group_probabilities(self.probabilities, self.names, self.group_of)
        return [labels[i] for i in sums.argmax(axis=1)]


def group_probabilities(
    probabilities: Floats, names: Sequence[str], group_of: Mapping[str, str]
) -> tuple[list[str | None], Floats]:
    """Return the groups and their probabilities, (n, groups): each the sum over its classes.

    probabilities: (n, k), of the k classes `names`. Groups come in the order of their first class.
    Classes without a group compete together as None. The largest sum is everywhere the group of a
    face; of equal ones the first wins.
    """
    group_of_class = [group_of.get(name) for name in names]
    groups = list(dict.fromkeys(group_of_class))
    member = np.array([[of == one for one in groups] for of in group_of_class], np.float64)
    sums = probabilities.astype(np.float64) @ member.reshape(len(names), len(groups))
    return groups, np.asarray(sums, np.float32)
