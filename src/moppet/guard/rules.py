"""The guard's rules, written as short sentences, and its settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge

from moppet.config import check_fields, read_settings
from moppet.files import one_line
from moppet.guard.distress import DISTRESS
from moppet.values import UsageError, name_hint
from moppet.vocabulary import MOVEMENT_OF

Action = Literal["pause", "alert"]
ACTIONS: Final[tuple[Action, ...]] = ("pause", "alert")
EXAMPLE: Final = "negative >= 60 % for 4 s -> pause"
DEFAULT_RULES: Final = (
    EXAMPLE,
    "again within 2 min -> pause and alert",
    "no face for 30 s -> pause",
)
DISTRESS_RULES: Final = (f"{DISTRESS} >= 60 % for 4 s -> pause", *DEFAULT_RULES[1:])
"""The default rules for a model that has a distress score."""
_UNITS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0}
_LONGEST_S: Final = 24 * 3600.0
_NUMBER: Final = r"\d{1,5}(?:\.\d{1,3})?"
_TIME: Final = re.compile(rf"({_NUMBER}) ?({'|'.join(_UNITS)})")
_SHARE: Final = re.compile(rf"({_NUMBER}) ?%")


@dataclass(frozen=True, slots=True)
class Span:
    """A duration as written: a number and its unit, "s", "min" or "h"."""

    number: float
    unit: str

    @property
    def seconds(self) -> float:
        return self.number * _UNITS[self.unit]

    def __str__(self) -> str:
        return f"{self.number:.10g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Shows:
    """What `names` stand for is at least `percent` for the time `span`.

    Names of expressions and groups stand for the sum of their smoothed probabilities.
    """

    names: tuple[str, ...]
    percent: float
    span: Span

    def __str__(self) -> str:
        return f"{' + '.join(self.names)} >= {self.percent:.10g} % for {self.span}"


@dataclass(frozen=True, slots=True)
class NoFace:
    """No face is detected for the time `span`."""

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
    """A condition and the actions to take when it holds."""

    when: Shows | NoFace | Again
    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return f"{self.when} -> {' and '.join(self.actions)}"


def parse_rules(texts: Sequence[str], source: str = "") -> tuple[Rule, ...]:
    """Return the rules in these texts; a text may contain several, separated by ; or newlines.

    source: name of the file they come from, for error messages.
    Raises UsageError that quotes the invalid rule and the words that are wrong.
    """
    lines = [line for text in texts for line in re.split(r"[;\n]", text) if line.strip()]
    if not lines:
        raise UsageError(f'a guard needs at least one rule, such as "{EXAMPLE}".')
    rules: list[Rule] = []
    for number, line in enumerate(lines, start=1):
        words = " ".join(line.split())
        try:
            condition, *actions = re.split(r"->|→", words)
            if len(actions) != 1:
                raise ValueError('exactly one "->" must separate the condition from the actions')
            rule = Rule(_condition(condition.strip()), _actions(actions[0].strip()))
            if isinstance(rule.when, Again) and (not rules or isinstance(rules[-1].when, Again)):
                raise ValueError('"again" must directly follow the rule that it repeats')
        except ValueError as error:
            place = f'rule {number}{source and f" of {source}"}, "{one_line(words)}"'
            raise UsageError(
                f'{place}: {one_line(error)}; an example of a rule is "{EXAMPLE}".'
            ) from None
        rules.append(rule)
    return tuple(rules)


def members_of(shows: Shows, names: Sequence[str], group_of: Mapping[str, str]) -> list[str]:
    """Return the classes whose probabilities a condition sums, in the order of `names`.

    A name is an expression or a group; "group neutral" always means the group. Each class counts
    once. Empty for a condition about the distress score or a movement.
    Raises UsageError for a name that the model does not have, and for a score within a sum.
    """
    members: set[str] = set()
    for name in shows.names:
        group = name.removeprefix("group ")
        if name in names:
            members.add(name)
        elif group in group_of.values():
            members |= {one for one in names if group_of.get(one) == group}
        elif name != DISTRESS and name.removeprefix("m_") not in MOVEMENT_OF:
            known = [*names, *sorted(set(group_of.values()) - set(names))]
            raise UsageError(
                f'rule "{shows} …": the model has no expression or group "{group}".'
                f"{name_hint(group, [*known, DISTRESS])}"
            )
        elif len(shows.names) > 1:
            raise UsageError(
                f'rule "{shows} …": only expressions and groups can be added: write a rule of its '
                f'own for "{name}".'
            )
    return [name for name in names if name in members]


def movement_of(shows: Shows, movements: Sequence[str]) -> str:
    """Return the movement that a condition is about: "m_jaw_open" and "jaw_open" are the same.

    Raises UsageError if the model does not measure it.
    """
    movement = shows.names[0].removeprefix("m_")
    if movement not in movements:
        have = f"only {', '.join(movements)}" if movements else "no movements"
        raise UsageError(
            f'rule "{shows} …": the model does not measure "{movement}": it measures {have}.'
        )
    return movement


def _condition(words: str) -> Shows | NoFace | Again:
    for start, word, condition in (("no face", "for", NoFace), ("again", "within", Again)):
        if words.startswith(start):
            first, _, time = words.removeprefix(start).strip().partition(" ")
            if first != word:
                raise ValueError(f'"{word}" is expected instead of "{first}"')
            return condition(_time(time))
    left, sign, right = words.replace("≥", ">=").partition(">=")
    if not sign:
        raise ValueError(
            f'"{words}" must contain ">=" and a percentage, "no face for" or "again within"'
        )
    names = tuple(name.strip() for name in left.split("+"))
    if not all(names):
        raise ValueError('the name of an expression or a group is missing before ">="')
    share, sign, time = right.partition(" for ")
    if not sign:
        raise ValueError(f'"for" and a time must follow "{right.strip()}"')
    match = _SHARE.fullmatch(share.strip())
    if not match or not 0 < float(match[1]) <= 100:
        raise ValueError(f'"{share.strip()}" is not a percentage above 0 % and up to 100 %')
    return Shows(names, float(match[1]), _time(time.strip()))


def _time(words: str) -> Span:
    match = _TIME.fullmatch(words)
    span = Span(float(match[1]), match[2]) if match else None
    if span is None or not 0 < span.seconds <= _LONGEST_S:
        raise ValueError(f'"{words}" is not a time such as "4 s", "2 min" or "1 h" (at most 24 h)')
    return span


def _actions(words: str) -> tuple[Action, ...]:
    named = words.split(" and ")
    for name in named:
        if name not in ACTIONS:
            raise ValueError(f'"{name}" is not an action; use pause, alert, or pause and alert')
    return tuple(action for action in ACTIONS if action in named)


Child = Literal["largest", "longest"]
CHILD: Final[tuple[Child, ...]] = ("largest", "longest")
Seconds = Annotated[float, Ge(0)]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """The settings of a guard; written at the start of its log.

    rules: in order; an "again" rule belongs to the rule before it.
    cooldown_s: seconds for which a rule counts no time after it has fired.
    calm_s: seconds of calm after which a pause may end.
    child: which face to read if there are several: the "largest", or the one seen "longest".
    Raises UsageError for a value out of range.
    """

    rules: tuple[Rule, ...] = field(default_factory=lambda: parse_rules(DEFAULT_RULES))
    cooldown_s: Seconds = 10.0
    calm_s: Seconds = 5.0
    child: Child = "largest"

    def __post_init__(self) -> None:
        check_fields(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values, the rules as texts."""
        texts = {"rules": [str(rule) for rule in self.rules]}
        return texts | {name: getattr(self, name) for name in ("cooldown_s", "calm_s", "child")}


@dataclass(frozen=True)
class _GuardFile(GuardSettings):
    """GuardSettings as stored in a file, with the rules as texts."""

    rules: tuple[str, ...] | None = None  # type: ignore[assignment]


def read_guard(path: Path, default_rules: Sequence[str] = DEFAULT_RULES) -> GuardSettings:
    """Read settings from a TOML file; its keys are `rules`, `cooldown_s`, `calm_s` and `child`.

    default_rules: the rules if the file has none.
    Raises UsageError that lists every mistake if the file is invalid or cannot be read.
    """
    given = read_settings(_GuardFile, path, "guard's settings file")
    rules = given.rules
    parsed = parse_rules(default_rules) if rules is None else parse_rules(rules, source=path.name)
    return GuardSettings(parsed, given.cooldown_s, given.calm_s, given.child)


def default_rules(card: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the default rules for a model with this card: by its distress score if it has one."""
    return DISTRESS_RULES if DISTRESS in card else DEFAULT_RULES
