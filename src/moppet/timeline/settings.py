"""The settings for smoothing, labeling and episodes of a timeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from annotated_types import Interval

from moppet.config import check_fields, check_settings

Seconds = Annotated[float, Interval(ge=0, le=1e6)]
Share = Annotated[float, Interval(ge=0, le=1)]
Reading = Literal["observers", "display", "both"]
"""Which of a model's two readings are written: what observers would call a face, what it was meant
to show, or both. "observers" and "both" take the expression from the observers' reading."""


@dataclass(frozen=True, slots=True)
class TimelineSettings:
    """The settings of a timeline, stored in its metadata so that it can be reproduced.

    Attributes:
        smooth_s: standard deviation of the Gaussian that smooths over time, in seconds; 0 turns
            smoothing off.
        max_gap_s: after an absence longer than this, in seconds, smoothing restarts and episodes
            end. It should be larger than the step between analyzed frames.
        unsure_below: a row is unsure if its largest smoothed probability is below this (0 to 1).
        low_quality_below: a row is unsure and starts no episode if the face's quality is below
            this (0 to 1).
        min_episode_s: shorter episodes are dropped, in seconds.
        enter: an episode starts at a smoothed probability of at least this (0 to 1).
        leave: an episode ends below this smoothed probability; at most `enter`.
        reading: "observers" for what most people would call a face, "display" for what it was
            meant to show, if the model has this reading; "both" writes both and decides by the
            observers' one.

    Raises:
        UsageError: a value is out of range.

    Examples:
        >>> import moppet
        >>> calm = moppet.TimelineSettings(smooth_s=0.5, min_episode_s=1.0)
        >>> timeline = moppet.analyze("examples/child.mp4", end_s=4, timeline=calm)
        >>> timeline.settings.smooth_s
        0.5
    """

    smooth_s: Seconds = 0.25
    max_gap_s: Seconds = 1.0
    unsure_below: Share = 0.5
    low_quality_below: Share = 0.3
    min_episode_s: Seconds = 0.4
    enter: Share = 0.5
    leave: Share = 0.35
    reading: Reading = "observers"

    def __post_init__(self) -> None:
        check_fields(self)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with several settings together, a sentence each.

        Examples:
            >>> import moppet
            >>> list(moppet.TimelineSettings().problems())
            []
        """
        if self.leave > self.enter:
            yield (
                f"leave must not be above enter ({self.enter}), but is {self.leave}: "
                "an episode would end where it starts."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name, as in a timeline's metadata.

        `reading` is left out if it is "observers", as in timelines of earlier versions.

        Examples:
            >>> import moppet
            >>> moppet.TimelineSettings().to_dict()["smooth_s"]
            0.25
        """
        values = asdict(self)
        if self.reading == "observers":
            del values["reading"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TimelineSettings:
        """Return the settings named in `values`; the others keep their defaults.

        Raises:
            UsageError: there is no setting of that name; the message suggests the nearest one.

        Examples:
            >>> import moppet
            >>> moppet.TimelineSettings.from_dict({"smooth_s": 0}).smooth_s
            0.0
        """
        return check_settings(cls, values)
