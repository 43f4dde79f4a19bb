"""Trials of a guard: recordings whose distress is known, and what a guard finds and misses in them.

The rendered clips of `moppet synthesize clip` are trials: invented children, whose every frame is
known. Half of them may be used to fit ("val" in clips.csv), the other half only reports ("test").
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from moppet.config import check_settings
from moppet.guard.distress import DISTRESS
from moppet.guard.event_log import LATE_S, DetectionResult, match_events
from moppet.guard.state_machine import Guard, Row
from moppet.metrics import Estimate, event_rate, exact_share
from moppet.timeline import Timeline, TimelineSettings, read_timeline
from moppet.timeline.labels import causal_table
from moppet.values import ModelError, MoppetError, UsageError
from moppet.vocabulary import age_band, split_of

Span = tuple[float, float]

CLIPS: Final = "clips.csv"
JOINED_S: Final = 3.0
LEAST_S: Final = 4.0
"""Distress that stops for up to JOINED_S is one distress. One that shows for less than LEAST_S in
all counts neither as distress nor as calm."""
TONES: Final = {"tone 1-3": (1, 4), "tone 4-7": (4, 8), "tone 8-10": (8, 11)}
"""Groups of skin tones on the Monk scale → first, and first of the next."""
BANDS: Final = ("infant", "child", "adult")


@dataclass(frozen=True)
class Trial:
    """A recording as the guard sees it, and when the child is in distress.

    frames: the rows of each frame, as `moppet.stream` yields them. settings: those that smoothed
    them. distress: start and end of each distress in seconds. neither: time that counts neither as
    distress nor as calm. split: "val" to fit and choose, "test" to report. age_years, skin_tone
    (Monk scale): of the child; NaN if unknown.
    """

    name: str
    frames: Sequence[Sequence[Row]] = field(repr=False)
    settings: TimelineSettings
    distress: tuple[Span, ...]
    neither: tuple[Span, ...] = ()
    split: str = "test"
    age_years: float = math.nan
    skin_tone: float = math.nan

    @property
    def groups(self) -> Iterator[str]:
        """The age band of the child, and the group of its skin tone."""
        band = None if math.isnan(self.age_years) else age_band(self.age_years)
        if band is not None:
            yield band
        yield from (name for name, (low, high) in TONES.items() if low <= self.skin_tone < high)


def make_trial(name: str, timeline: Timeline, negative: Sequence[Span], **about: Any) -> Trial:
    """Return a trial. negative: when the child looks negative; joined and sorted out as above."""
    distress, neither = sort_out(negative)
    return Trial(name, live_frames(timeline), timeline.settings, distress, neither, **about)


def live_frames(timeline: Timeline) -> list[list[Row]]:
    """Return the rows of each frame as a live stream gives them, smoothed with the past only."""
    table = causal_table(timeline.table, timeline.names, timeline.group_of, timeline.settings)
    rows = table.to_pylist()
    return [list(frame) for _, frame in groupby(rows, key=lambda row: row["frame"])]


def sort_out(negative: Sequence[Span]) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Return each distress, and what is too short to be one."""
    joined: list[tuple[Span, float]] = []
    for start_s, end_s in sorted(negative):
        shown_s = end_s - start_s
        if joined and start_s - joined[-1][0][1] <= JOINED_S:
            (start_s, before_s), already_s = joined.pop()
            end_s, shown_s = max(end_s, before_s), shown_s + already_s
        joined.append(((start_s, end_s), shown_s))
    return (
        tuple(span for span, shown_s in joined if shown_s >= LEAST_S),
        tuple(span for span, shown_s in joined if shown_s < LEAST_S),
    )


class TrialFile(NamedTuple):
    """A clip and its timeline, before they are read."""

    clip: Mapping[str, str]
    truth: Path
    timeline: Path


def find_trials(clips: Path, timelines: Path) -> list[TrialFile]:
    """Return the clips of a folder of `moppet synthesize clip` and their timelines.

    timelines: the folder that `moppet analyze` wrote for them.
    Raises UsageError if a clip was not analyzed, or if it shows several people.
    """
    try:
        with (clips / CLIPS).open(newline="", encoding="utf-8") as file:
            listed = list(csv.DictReader(file))
        found = [
            TrialFile(
                row, clips / row["truth"], timelines / Path(row["video"]).stem / "timeline.parquet"
            )
            for row in listed
        ]
        wrong = {row["split"] for row in listed if split_of(row["split"]) not in ("val", "test")}
    except (OSError, KeyError, TypeError, ValueError):
        raise UsageError(
            f"{clips} is no folder of clips: it needs the {CLIPS} that `moppet synthesize clip` "
            "writes for several clips."
        ) from None
    if wrong or not listed or len({one.truth for one in found}) < len(found):
        raise UsageError(
            f"the clips of {clips} cannot be used: each needs a single person, and the split val "
            "or test."
        )
    if missing := [one.timeline for one in found if not one.timeline.is_file()]:
        raise UsageError(
            f"there is no {missing[0]}: analyze the clips with `moppet analyze {clips}/*.mp4 "
            f"--model MODEL --reading both -o {timelines}`."
        )
    return found


def read_trial(one: TrialFile, model_sha256: str) -> Trial:
    """Return a trial.

    model_sha256: of the network that must have been used.
    Raises MoppetError if the timeline is another model's, or does not fit the truth.
    """
    timeline, truth = read_timeline(one.timeline), read_timeline(one.truth)
    if timeline.metadata.get("model_sha256") != model_sha256:
        raise MoppetError(
            f"{one.timeline} was made with another model: analyze the clips again with this one."
        )
    rows = truth.table.select(["time_s", "group"]).to_pylist()
    times = [row["time_s"] for row in rows]
    if not times or timeline.table["time_s"][-1].as_py() > times[-1] + 1:
        raise MoppetError(f"{one.timeline} is longer than {one.truth}: they are not of one clip.")
    ends = [*times[1:], times[-1]]
    spans = [
        (start, end)
        for row, start, end in zip(rows, times, ends, strict=True)
        if row["group"] == "negative"
    ]
    about = {"age_years": "age_years", "skin_tone": "skin_tone"}
    known = {key: _number(one.clip.get(column)) for key, column in about.items()}
    split = split_of(one.clip["split"])
    return make_trial(Path(one.clip["video"]).stem, timeline, spans, split=split, **known)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


@dataclass(frozen=True)
class Outcome:
    """What a guard did in a trial. found: `neither` is left out."""

    trial: Trial
    found: DetectionResult


def run_trial(trial: Trial, guard: Guard) -> Outcome:
    """Run a new guard over a trial; after a pause it resumes by itself once the child is calm."""
    fired: list[float] = []
    for rows in trial.frames:
        for event in guard.observe(rows):
            if event.kind == "resume":
                guard.resume(event.time_s)
            elif event.time_s not in fired:
                fired.append(event.time_s)
    return match_trial(trial, fired, guard.summary.watched_s)


def match_trial(trial: Trial, fired: Sequence[float], watched_s: float) -> Outcome:
    """Return what events at these times found."""
    inside = [
        time_s
        for time_s in fired
        if any(start <= time_s <= end + LATE_S for start, end in trial.neither)
        and not any(start <= time_s <= end + LATE_S for start, end in trial.distress)
    ]
    neither_s = sum(end - start for start, end in trial.neither)
    kept = [time_s for time_s in fired if time_s not in inside]
    return Outcome(trial, match_events(kept, trial.distress, watched_s - neither_s))


class Figures(NamedTuple):
    """What guards found and missed over some trials. delays_s: of all that was found."""

    trials: int
    missed: Estimate
    false_alarms_per_hour: Estimate
    hours: float
    delays_s: tuple[float, ...]

    @property
    def median_delay_s(self) -> float:
        return float(np.median(self.delays_s)) if self.delays_s else math.nan

    @property
    def missed_count(self) -> int:
        return self.missed.n - len(self.delays_s)


def figures(outcomes: Sequence[Outcome]) -> Figures:
    """Return the figures over some trials, with exact intervals."""
    shown = sum(len(one.found.distress) for one in outcomes)
    delays = tuple(delay for one in outcomes for delay in one.found.delays_s)
    hours = sum(one.found.calm_s for one in outcomes) / 3600
    alarms = sum(len(one.found.false_alarms_s) for one in outcomes)
    missed = exact_share(shown - len(delays), shown)
    return Figures(len(outcomes), missed, event_rate(alarms, hours), hours, delays)


def figures_by_group(outcomes: Sequence[Outcome]) -> dict[str, Figures]:
    """Return the figures of each age band and group of skin tones that there is, in order."""
    parts = {
        name: [one for one in outcomes if name in one.trial.groups] for name in (*BANDS, *TONES)
    }
    return {name: figures(part) for name, part in parts.items() if part}


@dataclass(frozen=True)
class Measured:
    """What the default rules with a distress score found in clips that only report.

    The table [distress.measured] of a card. clips, hours: how many, and their calm time. missed,
    false_alarms_per_hour: "value", "low" and "high" (95 %), and "n": how many distresses, or
    alarms. median_delay_s: NaN if nothing was found. groups: name → "clips", "distress", "missed",
    "false_alarms".
    """

    clips: int
    hours: float
    missed: dict[str, float]
    false_alarms_per_hour: dict[str, float]
    median_delay_s: float | None = None
    groups: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Measured:
        """Return the figures of these outcomes."""
        found = figures(outcomes)
        delay = found.median_delay_s
        return cls(
            found.trials,
            round(found.hours, 4),
            _rounded(found.missed),
            _rounded(found.false_alarms_per_hour),
            None if math.isnan(delay) else round(delay, 2),
            {
                name: {
                    "clips": one.trials,
                    "distress": one.missed.n,
                    "missed": one.missed_count,
                    "false_alarms": one.false_alarms_per_hour.n,
                }
                for name, one in figures_by_group(outcomes).items()
            },
        )

    def to_toml(self) -> str:
        """Return the table of a card."""
        lines = [f"[{DISTRESS}.measured]", f"clips = {self.clips}", f"hours = {self.hours}"]
        for name in ("missed", "false_alarms_per_hour"):
            lines.append(f"{name} = {_inline(getattr(self, name))}")
        if self.median_delay_s is not None:
            lines.append(f"median_delay_s = {self.median_delay_s}")
        lines += ["", f"[{DISTRESS}.measured.groups]"]
        lines += [f'"{name}" = {_inline(one)}' for name, one in self.groups.items()]
        return "\n".join(lines) + "\n"


def read_measured(card: Mapping[str, Any]) -> Measured | None:
    """Return what was measured of a model's distress score; None if nothing was.

    Raises ModelError for a table that is damaged.
    """
    table = card.get(DISTRESS)
    if not isinstance(table, Mapping) or "measured" not in table:
        return None
    try:
        return check_settings(Measured, table["measured"], source="[distress.measured] of the card")
    except UsageError as error:
        raise ModelError(str(error)) from None


def _rounded(one: Estimate) -> dict[str, float]:
    known = {name: value for name, value in one._asdict().items() if not math.isnan(value)}
    return {name: round(value, 4) for name, value in known.items()}


def _inline(table: Mapping[str, float]) -> str:
    return f"{{ {', '.join(f'{name} = {value}' for name, value in table.items())} }}"
