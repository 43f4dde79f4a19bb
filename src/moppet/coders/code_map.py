"""Which of the coders' codes mean which expressions or groups."""

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
    """The names that codes can be compared to.

    classes: the model's. group_of: class → group. given: what the user said, label → target.
    """

    classes: Sequence[str]
    group_of: Mapping[str, str]
    given: Mapping[str, str]

    @property
    def groups(self) -> list[str]:
        """The groups in the order of their first classes."""
        return list(dict.fromkeys(self.group_of[c] for c in self.classes if c in self.group_of))

    def names(self, level: Level) -> list[str]:
        """The classes, or the groups."""
        return list(self.classes) if level == "expression" else self.groups

    def target_of(self, label: str) -> str | None:
        """Return the class, group or SKIP that a coder's label stands for, None if unknown."""
        word = one_word(label)
        if word in self.given:
            return self.given[word]
        known = {name.casefold(): name for name in (*self.groups, *self.classes)}
        if word in known:
            return known[word]
        names = (SKIP, *self.classes, *self.groups)
        return next((target for target in meanings_of(word) if target in names), None)

    def level_of(self, labels: Iterable[str]) -> Level:
        """Return "group" if any label stands for a group that is no class, else "expression"."""
        targets = {self.target_of(label) for label in labels} - {None, SKIP}
        return "expression" if targets <= set(self.classes) else "group"

    def at(self, level: Level, label: str) -> str | None:
        """Return what a known label is called at this level; None if its time is left out.

        Raises UsageError for a group where classes are compared, or a class without a group.
        """
        target = self.target_of(label)
        if target == SKIP or target is None:
            return None
        if level == "expression" and target not in self.classes:
            raise UsageError(
                f"{label!r} stands for the group {target!r}, which is no expression; "
                "compare groups (--level group), or map it to an expression."
            )
        if level == "group" and target not in self.groups:
            if target not in self.group_of:
                raise UsageError(
                    f"{label!r} stands for {target!r}, which this model puts in no group; "
                    "compare expressions (--level expression), or map it to a group."
                )
            return self.group_of[target]
        return target


def one_word(label: str) -> str:
    """Return a label without differences that mean nothing: of case and of spaces."""
    return " ".join(label.casefold().split())


def read_map(texts: Sequence[str], vocabulary: Vocabulary) -> dict[str, str]:
    """Return the user's words: each text is "label=target", several with commas between.

    A comma that belongs to a label has a backslash before it.
    Raises UsageError for a target that is no class, no group and not "skip".
    """
    known = {name.casefold(): name for name in (*vocabulary.classes, *vocabulary.groups, SKIP)}
    given = {}
    pairs = (pair for text in texts for pair in re.split(r"(?<!\\),", text) if pair.strip())
    for pair in pairs:
        label, equals, target = pair.replace("\\,", ",").rpartition("=")
        name = known.get(target.strip().casefold())
        if not equals or not label.strip():
            raise UsageError(f'--map takes "code=name" with commas between, got {pair.strip()!r}.')
        if name is None:
            hint = name_hint(target, known.values())
            raise UsageError(f"--map: {label.strip()!r} cannot mean {target.strip()!r}.{hint}")
        given[one_word(label)] = name
    return given


def map_text(given: Mapping[str, str]) -> str:
    """Return words as the text that read_map reads."""
    return ",".join(f"{label}={target}".replace(",", "\\,") for label, target in given.items())


def unknown_labels(labels: Iterable[str], vocabulary: Vocabulary) -> Counter[str]:
    """Return how often each label comes that has no target."""
    return Counter(label for label in labels if vocabulary.target_of(label) is None)


def check_known(labels: Sequence[str], vocabulary: Vocabulary, where: str) -> None:
    """Raise UsageError that names every label without a target and says how to give one."""
    unknown = unknown_labels(labels, vocabulary)
    if unknown:
        most = unknown.most_common(8)
        seen = ", ".join(f"{label!r} ({times} times)" for label, times in most)
        more = f" and {len(unknown) - len(most)} more" if len(unknown) > len(most) else ""
        raise UsageError(
            f"{where} has codes that moppet does not know: {seen}{more}. Give their meaning with "
            f'--map "{most[0][0]}=NAME", where NAME is one of {_list(vocabulary.classes)}, '
            f"a group ({_list(vocabulary.groups)}), or {SKIP} to leave out their time."
        )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
