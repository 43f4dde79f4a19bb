"""How a timeline is smoothed, judged and cut into episodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from moppet.values import UsageError


@dataclass(frozen=True, slots=True)
class TimelineSettings:
    """The rules of one timeline; kept in its metadata, so that it can be made again.

    smooth_s: standard deviation of the Gaussian that smooths in time, seconds; 0 = off.
    max_gap_s: a face away for longer than this starts afresh: nothing is smoothed across,
        episodes end. Choose it larger than the step between the frames that are analysed.
    unsure_below: a smoothed probability of the winner below this is unsure.
    low_quality_below: a face quality below this is unsure and starts no episode.
    min_episode_s: shorter episodes are dropped.
    enter, leave: an episode starts at a smoothed probability of at least `enter` and ends below
        `leave`; leave <= enter.
    Raises UsageError for a value out of range.
    """

    smooth_s: float = 0.25
    max_gap_s: float = 1.0
    unsure_below: float = 0.5
    low_quality_below: float = 0.3
    min_episode_s: float = 0.4
    enter: float = 0.5
    leave: float = 0.35

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"{field.name} must be a number, but is {value!r}.")
            seconds = field.name.endswith("_s")
            if not (math.isfinite(value) and value >= 0 and (seconds or value <= 1)):
                span = "0 seconds or more" if seconds else "between 0 and 1"
                raise UsageError(f"{field.name} must be {span}, but is {value}.")
            object.__setattr__(self, field.name, float(value))
        if self.leave > self.enter:
            raise UsageError(
                f"leave must not be above enter ({self.enter}), but is {self.leave}: "
                "an episode would end where it starts."
            )

    def to_dict(self) -> dict[str, float]:
        """Return the settings by name, for metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TimelineSettings:
        """Return the settings that `values` names; what is missing keeps its default.

        Raises UsageError for a name that does not exist, with the nearest that does.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = get_close_matches(str(name), known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else f" Known are {', '.join(known)}."
                raise UsageError(f"There is no timeline setting {name!r}.{hint}")
        return cls(**values)
