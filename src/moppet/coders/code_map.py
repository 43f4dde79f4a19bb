"""The map from coders' codes to expressions or groups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from moppet.values import UsageError, name_hint
from moppet.vocabulary import SKIP, meanings_of

Level = Literal["expression", "group"]
LEVELS: Final[tuple[Level, ...]] = ("expression", "group")


@dataclass(frozen=True)
class Vocabulary:
    """The names that codes can be mapped to.

    classes: the model's classes. group_of: class → group. given: the user's map, label → target.
    """

    classes: Sequence[str]
    group_of: Mapping[str, str]
    given: Mapping[str, str]

    @property
    def groups(self) -> list[str]:
        """The groups, ordered by their first class."""
        return list(dict.fromkeys(self.group_of[c] for c in self.classes if c in self.group_of))

    def names(self, level: Level) -> list[str]:
        """Return the classes or the groups."""
        return list(self.classes) if level == "expression" else self.groups

    def target_of(self, label: str) -> str | None:
        """Return the class, group or SKIP that a coder's label means; None if unknown."""
        word = normalize_label(label)
        if word in self.given:
            return self.given[word]
        known = {name.casefold(): name for name in (*self.groups, *self.classes)}
        if word in known:
            return known[word]
        names = (SKIP, *self.classes, *self.groups)
        return next((target for target in meanings_of(word) if target in names), None)

    def level_of(self, labels: Iterable[str]) -> Level:
        """Return "group" if any label means a group that is not a class, else "expression"."""
        targets = {self.target_of(label) for label in labels} - {None, SKIP}
        return "expression" if targets <= set(self.classes) else "group"

    def name_of(self, level: Level, label: str) -> str | None:
        """Return the name of a known label at this level; None if its time is left out.

        Raises UsageError for a group if classes are compared, or for a class without a group.
        """
        target = self.target_of(label)
        if target == SKIP or target is None:
            return None
        if level == "expression" and target not in self.classes:
            raise UsageError(
                f"{label!r} means the group {target!r}, which is not an expression: "
                "compare groups (--level group), or map it to an expression."
            )
        if level == "group" and target not in self.groups:
            if target not in self.group_of:
                raise UsageError(
                    f"{label!r} means {target!r}, which has no group in this model: "
                    "compare expressions (--level expression), or map it to a group."
                )
            return self.group_of[target]
        return target


def normalize_label(label: str) -> str:
    """Return a label in lower case with single spaces."""
    return " ".join(label.casefold().split())


def read_map(texts: Sequence[str], vocabulary: Vocabulary) -> dict[str, str]:
    """Return the user's map: each text is "label=target", or several separated by commas.

    A comma inside a label is escaped with a backslash.
    Raises UsageError for a target that is not a class, a group or "skip".
    """
    known = {name.casefold(): name for name in (*vocabulary.classes, *vocabulary.groups, SKIP)}
    given = {}
    pairs = (pair for text in texts for pair in re.split(r"(?<!\\),", text) if pair.strip())
    for pair in pairs:
        label, equals, target = pair.replace("\\,", ",").rpartition("=")
        name = known.get(target.strip().casefold())
        if not equals or not label.strip():
            raise UsageError(f'--map takes "code=name", comma-separated, but got {pair.strip()!r}.')
        if name is None:
            hint = name_hint(target, known.values())
            raise UsageError(f"--map: {label.strip()!r} cannot mean {target.strip()!r}.{hint}")
        given[normalize_label(label)] = name
    return given


def map_text(given: Mapping[str, str]) -> str:
    """Return a map as the text that read_map reads."""
    return ",".join(f"{label}={target}".replace(",", "\\,") for label, target in given.items())


def unknown_labels(labels: Iterable[str], vocabulary: Vocabulary) -> Counter[str]:
    """Return how often each label without a target occurs."""
    return Counter(label for label in labels if vocabulary.target_of(label) is None)


def check_known(labels: Sequence[str], vocabulary: Vocabulary, where: str) -> None:
    """Raise UsageError for labels without a target."""
    unknown = unknown_labels(labels, vocabulary)
    if unknown:
        most = unknown.most_common(8)
        seen = ", ".join(f"{label!r} ({times} times)" for label, times in most)
        more = f" and {len(unknown) - len(most)} more" if len(unknown) > len(most) else ""
        raise UsageError(
            f"{where} has codes that moppet does not know: {seen}{more}. Map them with "
            f'--map "{most[0][0]}=NAME", where NAME is one of {", ".join(vocabulary.classes)}, '
            f"a group ({', '.join(vocabulary.groups)}), or {SKIP} to leave out their time."
        )
