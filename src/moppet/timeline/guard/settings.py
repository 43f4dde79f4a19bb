"""How a guard watches: its rules and the few numbers beside them, from TOML."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from moppet.timeline.guard.rules import DEFAULT_RULES, Rule, parse_rules
from moppet.values import UsageError

CHILD: Final = ("largest", "longest")


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
    cooldown_s: float = 10.0
    calm_s: float = 5.0
    child: str = "largest"

    def __post_init__(self) -> None:
        for name in ("cooldown_s", "calm_s"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0:
                raise UsageError(f"{name} must be a number of seconds from 0 up, not {value!r}.")
        if self.child not in CHILD:
            raise UsageError(f"child must be one of {', '.join(CHILD)}, not {self.child!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, the rules as texts."""
        return {
            "rules": [str(rule) for rule in self.rules],
            "cooldown_s": self.cooldown_s,
            "calm_s": self.calm_s,
            "child": self.child,
        }


def read_settings(path: Path) -> GuardSettings:
    """Return the settings in a TOML file with any of `rules`, `cooldown_s`, `calm_s`, `child`.

    Raises UsageError, in one sentence, for a file that cannot be read or says something else.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # neither UTF-8 nor TOML
        raise UsageError(f"{path} is no TOML file: {error}.") from None
    known = [one.name for one in fields(GuardSettings)]
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"is {near[0]!r} meant?" if near else f"known are {', '.join(known)}."
            raise UsageError(f"{path} names {name!r}, which a guard does not have; {hint}")
    rules = values.pop("rules", list(DEFAULT_RULES))
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise UsageError(f'{path}: rules must be a list of texts, as in rules = ["…", "…"].')
    return GuardSettings(parse_rules(rules, source=path.name), **values)
