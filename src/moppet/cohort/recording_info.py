"""What is known of each recording before it is read: from a list, or from its path."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moppet.cohort.recordings import ListedRecording, Value, cell_value
from moppet.media import FoundRecording
from moppet.values import UsageError

_NAMED: Final = 3


@dataclass(frozen=True)
class RecordingInfos:
    """The values of each recording, by column, and sentences about what did not fit."""

    infos: list[dict[str, Value]]
    notes: list[str]


def find_listed(listed: Sequence[ListedRecording], list_path: Path) -> list[FoundRecording]:
    """Return the recordings of a list: `below` is their path below the list's folder.

    Paths are relative to this folder or to the current one. Raises UsageError if files are missing,
    or one is there twice.
    """
    folder = list_path.parent.resolve()
    found, missing, seen = [], [], set()
    for row in listed:
        place = next((p for p in _places(row.path, list_path) if p.exists()), None)
        if place is None:
            missing.append(row.path)
            continue
        if place.resolve() in seen:
            raise UsageError(f"{list_path} has {row.path} twice: leave one row.")
        seen.add(place.resolve())
        is_below = place.resolve().is_relative_to(folder)
        below = place.resolve().relative_to(folder).as_posix() if is_below else None
        found.append(FoundRecording(str(place), below))
    if missing:
        raise UsageError(
            f"{list_path} has {_counted(len(missing), 'recording')} that "
            f"{'is' if len(missing) == 1 else 'are'} not there: {_some(missing)}. "
            "Paths are relative to the list's folder."
        )
    if not found:
        raise UsageError(f"{list_path} has no rows: write one for each recording.")
    return found


def infos_of_list(
    listed: Sequence[ListedRecording], list_path: Path, recordings: Sequence[FoundRecording]
) -> RecordingInfos:
    """Return each recording's row of a list, by its path; none if only its end fits once.

    Raises UsageError if two rows are of one recording, or one row fits several.
    """
    places = {Path(one.source).resolve(): i for i, one in enumerate(recordings)}
    infos: list[dict[str, Value]] = [{} for _ in recordings]
    row_of: dict[int, str] = {}
    unused = []
    for row in listed:
        index = next(
            (places[p] for q in _places(row.path, list_path) if (p := q.resolve()) in places), None
        )
        index = _by_end(row.path, list_path, places) if index is None else index
        if index is None:
            unused.append(row.path)
            continue
        if index in row_of:
            raise UsageError(
                f"{list_path} has two rows of {recordings[index].source}: {row_of[index]} and "
                f"{row.path}. Leave one of them."
            )
        row_of[index], infos[index] = row.path, dict(row.info)
    notes = []
    if lacking := [one.source for i, one in enumerate(recordings) if i not in row_of]:
        notes.append(f"{_counted(len(lacking), 'recording')} not in {list_path}: {_some(lacking)}.")
    if gone := [path for path in unused if not any(p.exists() for p in _places(path, list_path))]:
        notes.append(f"{list_path} names {_counted(len(gone), 'missing file')}: {_some(gone)}.")
    if other := [path for path in unused if path not in gone]:
        rows = _counted(len(other), "row")
        notes.append(f"{rows} of {list_path} not analyzed in this run: {_some(other)}.")
    return RecordingInfos(infos, notes)


def _places(path: str, list_path: Path) -> list[Path]:
    return [list_path.parent / path, Path(path)]


def _by_end(path: str, list_path: Path, places: Mapping[Path, int]) -> int | None:
    """Return the only recording whose path ends in this one; UsageError if there are several."""
    parts = Path(path).parts
    fits = [place for place in places if place.parts[-len(parts) :] == parts]
    if len(fits) > 1:
        raise UsageError(
            f"The row {path} of {list_path} fits {fits[0]} and {fits[1]}: write their paths from "
            "the list's folder on."
        )
    return places[fits[0]] if fits else None


class PathPattern:
    """A pattern such as "{participant}_{session}" that reads columns from the ends of paths.

    A name in braces stands for text without "/", as short as possible; "*" for text that is not
    kept. Without "/", the pattern is that of the file's name without its ending; with it, of as
    many last parts of the path. Raises UsageError if it has no name, or one twice.
    """

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        parts = re.split(r"\{([^{}]*)\}", pattern)
        names = parts[1::2]
        odd = [name for name in names if not re.fullmatch(r"[^\W\d][\w .-]{0,59}", name)]
        if not names or odd or len(set(names)) < len(names) or "path" in names:
            raise UsageError(
                "--pattern takes a text with column names in braces, each once, such as "
                f"'{{participant}}_{{session}}', got {pattern!r}."
            )
        literal = [re.escape(text).replace(r"\*", "[^/]*?") for text in parts[::2]]
        groups = [f"(?P<c{i}>[^/]+?)" for i in range(len(names))]
        self._names = names
        self._regex = re.compile(
            "".join(a + b for a, b in zip(literal, [*groups, ""], strict=True))
        )
        self._depth = pattern.count("/") + 1

    def info(self, source: str) -> dict[str, Value] | None:
        """Return the columns that a recording's path gives; None if the pattern does not fit."""
        path = Path(source).resolve()
        path = path if path.is_dir() else path.with_suffix("")
        found = self._regex.fullmatch("/".join(path.parts[-self._depth :]))
        if found is None:
            return None
        values = [found[f"c{i}"] for i in range(len(self._names))]
        return {name: cell_value(name, v) for name, v in zip(self._names, values, strict=True)}

    def infos(self, recordings: Sequence[FoundRecording]) -> RecordingInfos:
        """Return the columns of each recording, and a note that counts those that do not fit.

        Raises UsageError if none fits.
        """
        found = [self.info(one.source) for one in recordings]
        lacking = [one.source for one, info in zip(recordings, found, strict=True) if info is None]
        if len(lacking) == len(found):
            raise UsageError(
                f"--pattern {self._text!r} fits no recording, for example not {lacking[0]}."
            )
        note = (
            f"{_counted(len(lacking), 'recording')} not matched by the pattern: {_some(lacking)}."
        )
        return RecordingInfos([info or {} for info in found], [note] if lacking else [])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
