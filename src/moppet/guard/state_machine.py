"""The guard's state machine: timeline rows in, events out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from moppet.guard.rules import Again, GuardSettings, NoFace, Rule, members_of
from moppet.guard.target_face import ChildFinder, Row
from moppet.timeline.labels import threshold
from moppet.timeline.schema import FACE_STATUSES
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import TIME_TOLERANCE_S

_POINTS: Final = 40
_REACH: Final = 1.5
"""The curve reaches back so many times the length that is waited for."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What a condition saw before an event: equally many times, values and answers.

    value: [0, 1]; None where there was no face. counts: whether that moment counted.
    """

    time_s: tuple[float, ...] = ()
    value: tuple[float | None, ...] = ()
    counts: tuple[bool, ...] = ()


class Tally:
    """Counts the time for which a condition holds, frame by frame.

    A frame lasts until the next one; after more than bridge_s it is nobody's time. Time that
    counts is added. Other time takes away as much as it lasts, never below 0; more than bridge_s
    of it on end starts the count afresh.
    """

    def __init__(self, needed_s: float, bridge_s: float) -> None:
        self.needed_s = needed_s
        self._bridge_s = bridge_s + TIME_TOLERANCE_S
        self._step_s = _REACH * needed_s / _POINTS - TIME_TOLERANCE_S
        self._curve: deque[tuple[float, float | None, bool]] = deque(maxlen=_POINTS)
        self._now: tuple[float, float | None, bool] | None = None
        self._since: tuple[float, bool] | None = None
        self._rests_until_s = -math.inf
        self.counted_s = 0.0
        self._broken_s = 0.0

    @property
    def value(self) -> float | None:
        """The condition's value in the last frame."""
        return self._now[1] if self._now else None

    def look(self, time_s: float, value: float | None, counts: bool) -> bool:
        """Take in a frame; return whether it counts and the time needed is full."""
        if self._since is not None:
            self._pass(self._since[0], time_s, self._since[1])
        if not self._curve or time_s - self._curve[-1][0] >= self._step_s:
            self._curve.append((time_s, value, counts))
        self._now, self._since = (time_s, value, counts), (time_s, counts)
        rests = time_s < self._rests_until_s
        return counts and not rests and self.counted_s >= self.needed_s - TIME_TOLERANCE_S

    def _pass(self, start_s: float, end_s: float, counts: bool) -> None:
        hole = end_s - start_s > self._bridge_s
        seconds = max(0.0, end_s - max(start_s, self._rests_until_s))
        if counts and not hole:
            self.counted_s += seconds
            self._broken_s = 0.0
            return
        self._broken_s += end_s - start_s
        afresh = self._broken_s > self._bridge_s
        self.counted_s = 0.0 if afresh else max(0.0, self.counted_s - seconds)

    def rest(self, until_s: float) -> None:
        """Count from 0 again, and nothing before until_s."""
        self.counted_s = self._broken_s = 0.0
        self._rests_until_s = until_s

    def restart(self) -> None:
        """Count from 0 again, from the next frame on; the curve stays."""
        self.counted_s = self._broken_s = 0.0
        self._since = None

    def curve(self) -> Curve:
        """Return the curve up to the last frame."""
        points = list(self._curve)
        if self._now is not None and self._now != points[-1]:
            points.append(self._now)
        return Curve(*map(tuple, zip(*points, strict=True))) if points else Curve()


Kind = Literal["pause", "alert", "resume"]
CALM_BELOW: Final = 0.7
"""Calm is below this share of every level that pauses: the timeline's `leave` to `enter`."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to do. "resume": the child is calm again and what was paused may go on.

    rule: the rule that held, as text; of a resume, the rule that had paused.
    face_id: the child's face in this frame, None if it was not there.
    value: what the rule's names add up to, [0, 1]; None without names or without the face. Of a
        resume, the highest among the rules that pause.
    counted_s: the seconds that were counted for it. why: the curve that led to it.
    """

    kind: Kind
    time_s: float
    rule: str
    face_id: int | None
    value: float | None
    counted_s: float
    why: Curve


@dataclass
class _Watch:
    """One rule, the "again" below it, and how far it has come.

    members: the classes that it adds up; None watches for nobody.
    """

    rule: Rule
    again: Rule | None
    members: tuple[int, ...] | None
    level: float
    tally: Tally
    held_at_s: float = -math.inf

    @property
    def pauses(self) -> bool:
        return any("pause" in rule.actions for rule in (self.rule, self.again) if rule)


@dataclass
class GuardSummary:
    """Seconds and events so far.

    watched_s = sure_s + unsure_s + absent_s: the child's face was there and trusted, there and
    not trusted, not there. unwatched_s: frames were more than max_gap_s apart.
    """

    watched_s: float = 0.0
    sure_s: float = 0.0
    unsure_s: float = 0.0
    absent_s: float = 0.0
    unwatched_s: float = 0.0
    paused_s: float = 0.0
    events: dict[str, int] = field(default_factory=lambda: {"pause": 0, "alert": 0, "resume": 0})


class Guard:
    """Watches one child by its rules.

    names, group_of: the model's classes and their groups. timeline: the settings by which the
    rows were smoothed and judged; max_gap_s is also how long an interruption is bridged.
    Raises UsageError for a rule with a name that the model does not have.
    """

    def __init__(
        self,
        settings: GuardSettings,
        names: Sequence[str],
        group_of: Mapping[str, str],
        timeline: TimelineSettings | None = None,
    ) -> None:
        self.settings = settings
        self.summary = GuardSummary()
        self.paused_by: str | None = None
        self._names = tuple(names)
        self._max_gap_s = (timeline or TimelineSettings()).max_gap_s
        self._child = ChildFinder(settings.child, self._max_gap_s)
        self._watches = self._make_watches(group_of)
        self._calm = Tally(settings.calm_s, self._max_gap_s)
        self._paused_at_s = math.nan
        self._allowed = False
        self._face_id: int | None = None
        self._last: tuple[float, str] | None = None

    def _make_watches(self, group_of: Mapping[str, str]) -> list[_Watch]:
        watches: list[_Watch] = []
        for rule in self.settings.rules:
            when = rule.when
            if isinstance(when, Again):
                watches[-1].again = rule
                continue
            tally = Tally(when.span.seconds, self._max_gap_s)
            if isinstance(when, NoFace):
                watches.append(_Watch(rule, None, None, math.nan, tally))
            else:
                members = members_of(when, self._names, group_of)
                watches.append(_Watch(rule, None, members, when.percent / 100, tally))
        return watches

    @property
    def paused(self) -> bool:
        """Whether a rule has paused and nobody resumed."""
        return self.paused_by is not None

    def observe(self, rows: Sequence[Row]) -> list[Event]:
        """Take in one frame's rows, as `moppet.stream` yields them; return what is to be done.

        Skipped frames are passed over. If time runs backwards, all counts start afresh.
        """
        rows = [row for row in rows if row["status"] != "skipped"]
        if not rows:
            return []
        time_s = float(rows[0]["time_s"])
        if self._last is not None and time_s < self._last[0]:
            self._start_afresh()
        faces = [row for row in rows if row["status"] in FACE_STATUSES]
        face = self._child.find(time_s, faces)
        self._account(time_s, face)
        if face is not None and face["face_id"] != self._face_id:
            self._face_id = face["face_id"]
            self._restart_counts(faces_only=True)
        nobody = all(row["status"] == "no_face" for row in rows)
        events: list[Event] = []
        for watch in self._watches:
            if self._look(watch, time_s, face, nobody):
                events += self._act(watch, time_s, face)
        events += self._look_for_calm(time_s, face)
        for event in events:
            self.summary.events[event.kind] += 1
        return events

    def resume(self, time_s: float) -> None:
        """Say that the video plays again: counts start at 0, "again" runs from here."""
        for watch in self._watches:
            if self.paused and watch.held_at_s >= self._paused_at_s:
                watch.held_at_s = time_s
        self.paused_by = None
        self._restart_counts()

    def choose_child(self, face_id: int) -> None:
        """Take this face for the child's from now on, as long as it is there."""
        self._child.choose(face_id)

    def _look(self, watch: _Watch, time_s: float, face: Row | None, nobody: bool) -> bool:
        if watch.members is None:
            return watch.tally.look(time_s, None, nobody)
        value = self._value(watch, face)
        counts = _is_sure(face) and value is not None and value >= threshold(watch.level)
        return watch.tally.look(time_s, value, counts)

    def _value(self, watch: _Watch, face: Row | None) -> float | None:
        """Return what the watch's classes add up to, as float32 holds it."""
        if watch.members is None or face is None:
            return None
        parts = [face[f"s_{self._names[i]}"] for i in watch.members]
        return None if None in parts else float(np.float32(sum(parts)))

    def _act(self, watch: _Watch, time_s: float, face: Row | None) -> list[Event]:
        """Do what a rule asks for that holds now."""
        rule, text = watch.rule, str(watch.rule)
        if watch.again is not None and isinstance(watch.again.when, Again):
            since_s = time_s - watch.held_at_s
            if since_s <= watch.again.when.span.seconds + TIME_TOLERANCE_S:
                rule, text = watch.again, f"{watch.rule}; {watch.again}"
        kinds: list[Kind] = []
        if "pause" in rule.actions:
            if not self.paused:
                kinds.append("pause")
                self.paused_by, self._paused_at_s = text, time_s
            self._allowed = False
            self._calm.restart()
        if "alert" in rule.actions:
            kinds.append("alert")
        events = [self._event(kind, time_s, text, face, watch.tally) for kind in kinds]
        watch.held_at_s = time_s
        watch.tally.rest(until_s=time_s + self.settings.cooldown_s)
        return events

    def _look_for_calm(self, time_s: float, face: Row | None) -> list[Event]:
        pausing = [watch for watch in self._watches if watch.pauses and watch.members is not None]
        shown = [(self._value(watch, face) or 0.0, watch.level) for watch in pausing]
        calm = _is_sure(face) and all(value < CALM_BELOW * level for value, level in shown)
        most = max((value for value, _ in shown), default=None)
        full = self._calm.look(time_s, None if face is None else most, calm)
        if self.paused_by is None or self._allowed or not full:
            return []
        self._allowed = True
        return [self._event("resume", time_s, self.paused_by, face, self._calm)]

    def _event(self, kind: Kind, time_s: float, text: str, face: Row | None, tally: Tally) -> Event:
        face_id = None if face is None else int(face["face_id"])
        return Event(kind, time_s, text, face_id, tally.value, tally.counted_s, tally.curve())

    def _account(self, time_s: float, face: Row | None) -> None:
        """Add the last frame's time to the summary."""
        total = self.summary
        if self._last is not None:
            seconds, seen = time_s - self._last[0], self._last[1]
            if seconds > self._max_gap_s + TIME_TOLERANCE_S:
                total.unwatched_s += seconds
            else:
                total.watched_s += seconds
                total.sure_s += seconds * (seen == "sure")
                total.unsure_s += seconds * (seen == "unsure")
                total.absent_s += seconds * (seen == "absent")
            total.paused_s += seconds * self.paused
        seen = "sure" if _is_sure(face) else "absent" if face is None else "unsure"
        self._last = (time_s, seen)

    def _restart_counts(self, faces_only: bool = False) -> None:
        self._calm.restart()
        for watch in self._watches:
            if watch.members is not None or not faces_only:
                watch.tally.restart()

    def _start_afresh(self) -> None:
        self._last = None
        self._child = ChildFinder(self.settings.child, self._max_gap_s)
        self._calm = Tally(self.settings.calm_s, self._max_gap_s)
        for watch in self._watches:
            watch.held_at_s = -math.inf
            watch.tally = Tally(watch.tally.needed_s, self._max_gap_s)


def _is_sure(face: Mapping[str, Any] | None) -> bool:
    """Whether the face is there and what it shows may be trusted."""
    return face is not None and face["status"] == "ok" and face["unsure"] is False
