"""The guard's rules in plain words, and its settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge

from moppet.config import check_fields, read_settings
from moppet.values import UsageError, name_hint

Action = Literal["pause", "alert"]
ACTIONS: Final[tuple[Action, ...]] = ("pause", "alert")
EXAMPLE: Final = "negative >= 60 % for 4 s -> pause"
DEFAULT_RULES: Final = (
    EXAMPLE,
    "again within 2 min -> pause and alert",
    "no face for 30 s -> pause",
)
_UNITS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0}
_LONGEST_S: Final = 24 * 3600.0
_NUMBER: Final = r"\d{1,5}(?:\.\d{1,3})?"
_TIME: Final = re.compile(rf"({_NUMBER}) ?({'|'.join(_UNITS)})")
_SHARE: Final = re.compile(rf"({_NUMBER}) ?%")


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time as it was written: a number and its unit, "s", "min" or "h"."""

    number: float
    unit: str

    @property
    def seconds(self) -> float:
        return self.number * _UNITS[self.unit]

    def __str__(self) -> str:
        return f"{_plain(self.number)} {self.unit}"


@dataclass(frozen=True, slots=True)
class Shows:
    """The smoothed probabilities of the names together are at least `percent`, for `span`."""

    names: tuple[str, ...]
    percent: float
    span: Span

    def __str__(self) -> str:
        return f"{' + '.join(self.names)} >= {_plain(self.percent)} % for {self.span}"


@dataclass(frozen=True, slots=True)
class NoFace:
    """No face is seen, for `span`."""

    span: Span

    def __str__(self) -> str:
        return f"no face for {self.span}"


@dataclass(frozen=True, slots=True)
class Again:
    """The rule above holds again within `span`."""

    span: Span

    def __str__(self) -> str:
        return f"again within {self.span}"


@dataclass(frozen=True, slots=True)
class Rule:
    """When something holds, do this."""

    when: Shows | NoFace | Again
    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return f"{self.when} -> {' and '.join(self.actions)}"


def parse_rules(texts: Sequence[str], source: str = "") -> tuple[Rule, ...]:
    """Return the rules in these texts, each of which may hold several.

    source: where they come from, for the message.
    Raises UsageError, in one sentence that names the rule and the words in it, for a wrong one.
    """
    lines = [line for text in texts for line in re.split(r"[;\n]", text) if line.strip()]
    if not lines:
        raise UsageError(f'a guard needs at least one rule, such as "{EXAMPLE}".')
    rules: list[Rule] = []
    for number, line in enumerate(lines, start=1):
        words = " ".join(line.split())
        try:
            rule = _rule(words)
            if isinstance(rule.when, Again) and (not rules or isinstance(rules[-1].when, Again)):
                raise ValueError('"again" must stand right below the rule that it repeats')
        except ValueError as error:
            place = f"rule {number}{source and f' of {source}'}"
            raise UsageError(f'{place}, "{words}": {error}; a rule reads "{EXAMPLE}".') from None
        rules.append(rule)
    return tuple(rules)


def members_of(shows: Shows, names: Sequence[str], group_of: Mapping[str, str]) -> tuple[int, ...]:
    """Return which of a model's classes a condition adds up, as indices into `names`.

    A name is an expression, or else a group; "group neutral" is always the group. A class that
    is named twice counts once. Raises UsageError for a name that the model does not have.
    """
    members: set[int] = set()
    for name in shows.names:
        group = name.removeprefix("group ")
        if name in names:
            members.add(names.index(name))
        elif group in group_of.values():
            members |= {i for i, one in enumerate(names) if group_of.get(one) == group}
        else:
            known = [*names, *sorted(set(group_of.values()) - set(names))]
            raise UsageError(
                f'rule "{shows} …": the model has no expression or group "{group}".'
                f"{name_hint(group, known)}"
            )
    return tuple(sorted(members))


def _rule(words: str) -> Rule:
    """Return one rule; ValueError says which words are wrong."""
    sides = re.split(r"->|→", words)
    if len(sides) != 2:
        raise ValueError('there must be one "->" between what is seen and what is done')
    return Rule(_condition(sides[0].strip()), _actions(sides[1].strip()))


def _condition(words: str) -> Shows | NoFace | Again:
    if words.startswith("no face"):
        return NoFace(_time(_after("for", words.removeprefix("no face").strip())))
    if words.startswith("again"):
        return Again(_time(_after("within", words.removeprefix("again").strip())))
    left, sign, right = words.replace("≥", ">=").partition(">=")
    if not sign:
        raise ValueError(f'"{words}" needs ">=" and a share, "no face for" or "again within"')
    names = tuple(name.strip() for name in left.split("+"))
    if not all(names):
        raise ValueError('the name of an expression or a group is missing before ">="')
    share, sign, time = right.partition(" for ")
    if not sign:
        raise ValueError(f'"for" and a time must follow "{right.strip()}"')
    return Shows(names, _percent(share.strip()), _time(time.strip()))


def _after(word: str, words: str) -> str:
    first, _, rest = words.partition(" ")
    if first != word:
        raise ValueError(f'"{word}" must stand where "{first}" does')
    return rest


def _percent(words: str) -> float:
    match = _SHARE.fullmatch(words)
    if not match or not 0 < float(match[1]) <= 100:
        raise ValueError(f'"{words}" is no share from above 0 % to 100 %')
    return float(match[1])


def _time(words: str) -> Span:
    match = _TIME.fullmatch(words)
    span = Span(float(match[1]), match[2]) if match else None
    if span is None or not 0 < span.seconds <= _LONGEST_S:
        raise ValueError(f'"{words}" is no time such as "4 s", "2 min" or "1 h" (24 h at most)')
    return span


def _actions(words: str) -> tuple[Action, ...]:
    named = words.split(" and ")
    wrong = [name for name in named if name not in ACTIONS]
    if wrong:
        raise ValueError(f'"{wrong[0]}" is none of the actions pause, alert, pause and alert')
    return tuple(action for action in ACTIONS if action in named)


def _plain(number: float) -> str:
    return f"{number:.10g}"


Child = Literal["largest", "longest"]
CHILD: Final[tuple[Child, ...]] = ("largest", "longest")
Seconds = Annotated[float, Ge(0)]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """What a guard watches for; kept at the head of its log.

    rules: in their order; an "again" belongs to the rule above it.
    cooldown_s: after a rule has held, it counts nothing for so long.
    calm_s: a pause may end when the child was seen calm for so long.
    child: whose face is read where several are seen: the "largest", or the one seen "longest".
    Raises UsageError for a value out of range.
    """

    rules: tuple[Rule, ...] = field(default_factory=lambda: parse_rules(DEFAULT_RULES))
    cooldown_s: Seconds = 10.0
    calm_s: Seconds = 5.0
    child: Child = "largest"

    def __post_init__(self) -> None:
        check_fields(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, the rules as texts."""
        return {
            "rules": [str(rule) for rule in self.rules],
            "cooldown_s": self.cooldown_s,
            "calm_s": self.calm_s,
            "child": self.child,
        }


@dataclass(frozen=True)
class _GuardFile:
    """GuardSettings as a file has them, the rules as texts."""

    rules: tuple[str, ...] = DEFAULT_RULES
    cooldown_s: Seconds = 10.0
    calm_s: Seconds = 5.0
    child: Child = "largest"


def read_guard(path: Path) -> GuardSettings:
    """Return the settings in a TOML file with any of `rules`, `cooldown_s`, `calm_s`, `child`.

    Raises UsageError that names every mistake for a file that cannot be read or is wrong.
    """
    given = read_settings(_GuardFile, path, "guard's settings file")
    rules = parse_rules(given.rules, source=path.name)
    return GuardSettings(rules, given.cooldown_s, given.calm_s, given.child)
