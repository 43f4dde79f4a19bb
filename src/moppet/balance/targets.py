"""The number of rows that each class should have: a count, a multiple, or equal counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from moppet.values import UsageError, nearest_name

Direction = Literal["up", "down"]
Targets = str | Mapping[str, int | str]
"""For all classes "equal" or a multiple ("2x"), or class → count or multiple of its rows."""

EQUAL: Final = "equal"
MOST: Final = 10**12
"""Larger counts or multiples are refused as typing errors."""
_MULTIPLE: Final = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*[x×]\s*")


def resolve_targets(
    targets: Targets, counts: Mapping[str, int], direction: Direction, method: str
) -> dict[str, int]:
    """Return class → target count, only for classes that change.

    targets: "equal" is the count of the largest class (up) or of the smallest (down); "2x" doubles
        every class up to the largest one's count, "0.5x" halves it down to the smallest one's.
        With a mapping, other classes stay unchanged and multiples are not limited.
    counts: class → current rows, at least 1.
    Raises UsageError with the class, its target and its current rows.
    """
    if isinstance(targets, str):
        wanted = _for_all(targets, counts, direction)
    else:
        wanted = {}
        for name, target in targets.items():
            if name not in counts:
                near = nearest_name(name, map(str, counts))
                raise UsageError(
                    f"class {name!r} has no training row; the classes are "
                    f"{', '.join(f'{label} ({n})' for label, n in counts.items())}."
                    + (f" Did you mean {near!r}?" if near else "")
                )
            wanted[name] = _one_target(name, target, counts[name])
    for name, count in wanted.items():
        _check_direction(name, count, counts[name], direction, method)
    return {name: count for name, count in wanted.items() if count != counts[name]}


def read_targets(texts: list[str]) -> Targets | None:
    """Return targets from command-line values: "equal", "2x", "fear=300", "fear=2x".

    None for an empty list. Raises UsageError for other values, or if both forms are mixed.
    """
    alone = [text.strip() for text in texts if "=" not in text]
    if not alone:
        pairs = [text.rpartition("=") for text in texts]
        named: dict[str, int | str] = {
            name.strip(): int(value) if value.strip().isdecimal() else value.strip()
            for name, _, value in pairs
        }
        if len(named) < len(pairs):
            raise UsageError("--target names a class twice: give each class once.")
        return named or None
    if len(texts) > 1:
        raise UsageError(
            f"--target takes one value for all classes, or class=count for some, but got "
            f"{len(texts)} values with {alone[0]!r} among them."
        )
    if alone[0].casefold() != EQUAL and multiple(alone[0]) is None:
        raise UsageError(f"--target takes class=count, {EQUAL!r} or a multiple, got {alone[0]!r}.")
    return alone[0]


def multiple(text: str) -> float | None:
    """Return 2.0 for "2x", None if it is not a multiple."""
    found = _MULTIPLE.fullmatch(text)
    return float(found[1]) if found and float(found[1]) <= MOST else None


def _for_all(targets: str, counts: Mapping[str, int], direction: Direction) -> dict[str, int]:
    most, least = max(counts.values()), min(counts.values())
    if targets.strip().casefold() == EQUAL:
        return dict.fromkeys(counts, most if direction == "up" else least)
    times = multiple(targets)
    if times is None:
        raise UsageError(
            f"targets are {EQUAL!r}, a multiple such as '2x', or a count for each class, not "
            f"{targets!r}."
        )
    if (times < 1) if direction == "up" else not 0 < times <= 1:
        needed = "1x or more" if direction == "up" else "more than 0x and at most 1x"
        raise UsageError(f"this method needs a multiple of {needed}, not {targets!r}.")
    if direction == "up":
        return {name: max(n, min(round(times * n), most)) for name, n in counts.items()}
    return {name: min(n, max(round(times * n), least)) for name, n in counts.items()}


def _one_target(name: str, target: int | str, count: int) -> int:
    if isinstance(target, str):
        times = multiple(target)
        if times is not None:
            return round(times * count)
    elif not isinstance(target, bool) and 0 <= target <= MOST and target == int(target):
        return int(target)
    raise UsageError(
        f"the target of class {name!r} is a count such as 300 or a multiple such as '2x', up to "
        f"{MOST:,}, not {str(target)[:20]!r}."
    )


def _check_direction(name: str, target: int, count: int, direction: Direction, method: str) -> None:
    if direction == "up" and target < count:
        problem = f"it already has {count}. Use at least {count}, or the method 'random_under'."
    elif direction == "down" and target > count:
        problem = (
            f"it has only {count}. Use at most {count}, or the method 'random_over' or 'smote'."
        )
    elif target < 1:
        problem = (
            f"at least 1 of its {count} rows must stay. Leave its rows out of the data instead."
        )
    else:
        return
    raise UsageError(f"{method} cannot bring class {name!r} to {target}: {problem}")
