"""Which of the recordings that were coded is the one of a timeline, and its codes."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Final

from moppet.coders.codings import OUTSIDE, Code, Coding, Medium, counted, quoted
from moppet.files import one_line
from moppet.values import TimelineError, UsageError

LENGTH_TOLERANCE_S: Final = 0.25
"""Recordings whose lengths differ by less may be the same one under another name."""


@dataclass(frozen=True)
class Recording:
    """What is known of the analyzed recording: file name without a folder, and length."""

    name: str | None = None
    length_s: float | None = None


@dataclass(frozen=True)
class Placed:
    """A coding on the clock of one recording.

    coding: the lanes of one observation, in seconds of the recording.
    medium: which medium of the file that is; None if the file names none.
    chosen_by: "option", "name", "length", or "only one"; "" without a medium.
    notes: cautions, as sentences.
    """

    coding: Coding
    medium: Medium | None = None
    chosen_by: str = ""
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any] | None:
        """Return the medium as plain values: name, player, start_s (None if unknown)."""
        if self.medium is None:
            return None
        start_s = self.medium.start_s
        return {
            "name": self.medium.name,
            "player": self.medium.player,
            "length_s": self.medium.length_s,
            "start_s": start_s,
            "chosen_by": self.chosen_by,
        }


def place(
    coding: Coding,
    path: Path,
    recording: Recording,
    *,
    observation: str | None = None,
    wanted: str | None = None,
) -> Placed:
    """Return the codes of one recording, in its own seconds.

    observation: of a BORIS file with several; None selects the only one, the one named like the
        recording, or the only one with a medium of its name.
    wanted: name of the medium, a part of it that fits only one, or its number; None selects the
        medium that has the recording's file name, or else its length. A file that names no media
        is taken as it is.
    Raises UsageError with the names of the media if the choice is not unique, TimelineError for an
    observation that cannot be read.
    """
    coding = of_observation(coding, path, observation, recording)
    media = coding.media
    if not media:
        return Placed(coding)
    medium, chosen_by = _choose(media, path, recording, wanted)
    if medium.start_s is None and wanted is None:
        raise UsageError(
            f"{path} does not contain the time at which {medium} starts among {_listed(media)}: "
            f"use the .boris project, or --media {one_line(medium.name, 80)} with --offset."
        )
    notes = _notes(media, medium, chosen_by, path, recording)
    return Placed(_only(coding, medium, recording), medium, chosen_by, notes)


def of_observation(
    coding: Coding, path: Path, observation: str | None, recording: Recording
) -> Coding:
    """Return the part of a coding that belongs to one observation; see `place`."""
    names = list(dict.fromkeys([*(lane.observation for lane in coding.lanes), *coding.faults]))
    if observation is None and len(names) <= 1:
        return _one_observation(coding, names[0]) if names else replace(coding, media=())
    wanted = observation or (PurePath(recording.name).stem if recording.name else "")
    for name, fault in coding.faults.items():
        if name.casefold() == wanted.casefold():
            raise TimelineError(f"{path}: {fault}")
    found = {name for name in names if name.casefold() == wanted.casefold()}
    if observation is None and not found:
        found = {one.observation for one in coding.media if _same(one.name, recording.name)}
        found &= set(names)
    if len(found) != 1:
        listed = ", ".join(map(quoted, names[:12]))
        listed += f" and {len(names) - 12} more" if len(names) > 12 else ""
        raise UsageError(
            f"{path} has the observations {listed}: use --observation to "
            f"select this recording{'' if observation is None else f', not {observation!r}'}."
        )
    (name,) = found
    if name in coding.faults:
        raise TimelineError(f"{path}: {coding.faults[name]}")
    return _one_observation(coding, name)


def _one_observation(coding: Coding, name: str) -> Coding:
    lanes = tuple(lane for lane in coding.lanes if lane.observation == name)
    media = tuple(medium for medium in coding.media if medium.observation == name)
    return replace(coding, lanes=lanes, media=media)


def _same(name: str, other: str | None) -> bool:
    """Return whether file names are equal, but for case and the system's way to write accents."""
    return other is not None and _plain(name) == _plain(other)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _choose(
    media: Sequence[Medium], path: Path, recording: Recording, wanted: str | None
) -> tuple[Medium, str]:
    """Return the medium, and how it was found."""
    if wanted is not None:
        return _named(media, path, wanted), "option"
    stem = PurePath(recording.name).stem if recording.name else None
    alike = {medium for medium in media if _same(PurePath(medium.name).stem, stem)}
    tests: list[tuple[str, Callable[[Medium], bool]]] = [
        ("name", lambda medium: _same(medium.name, recording.name)),
        ("name", lambda medium: medium in alike and not medium.is_sound),
        ("only one", lambda medium: len(media) == 1),
        ("length", lambda medium: _as_long(medium, recording)),
        ("only one", lambda medium: not (medium.is_sound or alike)),
        ("only one", lambda medium: True),
    ]
    for how, test in tests:
        found = [medium for medium in media if test(medium)]
        if found and len({_clock(medium) for medium in found}) == 1:
            return found[0], how
        if found and how == "name":
            break  # the name stands several times, on different clocks
    raise UsageError(
        f"{path} codes {_listed(media)}, and it is unclear which of them is "
        f"{recording.name or 'this recording'}: use --media to select one, by its name."
    )


def _named(media: Sequence[Medium], path: Path, wanted: str) -> Medium:
    word = _plain(wanted)
    tests: tuple[Callable[[Medium], bool], ...] = (
        lambda medium: _plain(medium.name) == word,
        lambda medium: word in _plain(medium.name),
    )
    number = word.removeprefix("#")
    if number.isdecimal() and len(number) < 6 and 1 <= int(number) <= len(media):
        return media[int(number) - 1]
    for test in tests:
        found = [medium for medium in media if test(medium)]
        if found and len({_clock(medium) for medium in found}) == 1:
            return found[0]
        if found:
            raise UsageError(f"{path} has several media like {wanted!r}: {_listed(media)}.")
    raise UsageError(f"{path} has no medium {wanted!r}; it has {_listed(media)}.")


def _clock(medium: Medium) -> tuple[object, ...]:
    """Return what decides which codes are a medium's, and at which times."""
    return medium.start_s, medium.from_s, medium.to_s


def _as_long(medium: Medium, recording: Recording) -> bool:
    return (
        medium.length_s is not None
        and recording.length_s is not None
        and abs(medium.length_s - recording.length_s) <= LENGTH_TOLERANCE_S
    )


def _listed(media: Sequence[Medium]) -> str:
    names = [str(medium) for medium in media]
    if len({medium.name for medium in media}) < len(media):
        names = [f"#{number} {name}" for number, name in enumerate(names, 1)]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def _notes(
    media: Sequence[Medium], medium: Medium, chosen_by: str, path: Path, recording: Recording
) -> list[str]:
    notes = []
    start_s = medium.start_s
    if len({_clock(one) for one in media}) > 1:
        begins = "at an unknown time" if start_s is None else f"at {start_s:.3f} s"
        notes.append(
            f"{path.name} codes {_listed(media)}. Only the codes of {quoted(medium.name)} are "
            f"compared, which starts {begins} of their clock (selected by {_HOW[chosen_by]})."
        )
    elif recording.name and chosen_by != "option" and not _same(medium.name, recording.name):
        name = one_line(medium.name, 80)
        notes.append(f"{path.name} codes {name}, but the timeline is of {recording.name}.")
    if medium.created_s:
        notes.append(
            f"{path.name}: {medium.created_s:.0f} s, when {quoted(medium.name)} was created, are "
            "taken off the times, because BORIS had added them."
        )
    length_s = recording.length_s
    if medium.length_s is not None and length_s is not None:
        differs = abs(medium.length_s - length_s) > max(1.0, 0.01 * length_s)
        if differs:
            notes.append(
                f"{path.name} was coded on {medium}, but the analyzed recording has "
                f"{length_s:.1f} s."
            )
    return notes


_HOW: Final = {
    "option": "--media",
    "name": "its name",
    "length": "its length",
    "only one": "being the only video",
}


def _only(coding: Coding, medium: Medium, recording: Recording) -> Coding:
    """Return the codes during which a medium was shown, in its own seconds."""
    start_s = medium.start_s or 0.0
    from_s, to_s = medium.from_s, medium.to_s
    if to_s is None:
        to_s = math.inf if recording.length_s is None else start_s + recording.length_s
    lanes = []
    for lane in coding.lanes:
        codes = [part for code in lane.codes for part in _within(code, from_s, to_s)]
        moved = tuple(Code(a - start_s, b - start_s, label) for a, b, label in codes)
        left_out = counted(lane.left_out, {OUTSIDE: len(lane.codes) - len(codes)})
        lanes.append(replace(lane, codes=moved, left_out=left_out))
    return replace(coding, lanes=tuple(lanes), media=(medium,))


def _within(code: Code, from_s: float, to_s: float) -> list[Code]:
    """Return the part of a code in [from_s, to_s), if there is any; a point stays a point."""
    if code.is_point:
        return [code] if from_s <= code.start_s < to_s else []
    start_s, end_s = max(code.start_s, from_s), min(code.end_s, to_s)
    return [Code(start_s, end_s, code.label)] if start_s < end_s else []
