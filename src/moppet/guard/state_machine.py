"""The guard's state machine: timeline rows in, events out; and which face it watches."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from moppet.guard.distress import DISTRESS, DistressMeter, DistressScore, read_score
from moppet.guard.rules import Again, GuardSettings, Rule, Shows, members_of, movement_of
from moppet.timeline.labels import threshold
from moppet.timeline.schema import FACE_STATUSES, MOVEMENT
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import TIME_TOLERANCE_S, CausalSmoother
from moppet.values import UsageError

Row = Mapping[str, Any]

_LARGER: Final = 1.5
_TAKES_OVER_S: Final = 2.0


class TargetFace:
    """Keeps one face as the target until it has been absent for more than max_gap_s.

    child = "largest": the target is the largest face of the frame. Another face replaces it once
    that face's box has been the largest, and at least 1.5 times as large, for two seconds.
    child = "longest": the target is the face that has been seen for the longest time so far.
    A face chosen by hand is kept for as long as it is present.
    """

    def __init__(self, child: str, max_gap_s: float) -> None:
        self._by_size = child == "largest"
        self._max_gap_s = max_gap_s + TIME_TOLERANCE_S
        self._face_id: int | None = None
        self._is_chosen = False
        self._seen_at_s = -math.inf
        self._rival: tuple[int, float] | None = None
        self._seen_s: dict[int, float] = {}
        self._here: tuple[int, ...] = ()
        self._last_s = math.nan

    def choose(self, face_id: int) -> None:
        """Make this face the target for as long as it is present."""
        self._face_id, self._seen_at_s, self._is_chosen = face_id, self._last_s, True

    def find(self, time_s: float, faces: Sequence[Row]) -> Row | None:
        """Return the target's row among one frame's faces; None if it is absent."""
        self._add_time_seen(time_s, faces)
        for face in faces:
            if face["face_id"] == self._face_id:
                return self._take(time_s, self._larger(time_s, face, faces) or face)
        if not faces or 0 <= time_s - self._seen_at_s <= self._max_gap_s:
            return None
        self._is_chosen = False
        return self._take(time_s, max(faces, key=_area if self._by_size else self._time_seen))

    def _take(self, time_s: float, face: Row) -> Row:
        self._face_id, self._seen_at_s = face["face_id"], time_s
        return face

    def _larger(self, time_s: float, child: Row, faces: Sequence[Row]) -> Row | None:
        """Return the face that replaces the target now; None if there is none."""
        largest = max(faces, key=_area)
        if self._is_chosen or not self._by_size or _area(largest) < _LARGER * _area(child):
            self._rival = None
            return None
        if self._rival is None or self._rival[0] != largest["face_id"]:
            self._rival = largest["face_id"], time_s
        since_s = time_s - self._rival[1]
        return largest if since_s >= _TAKES_OVER_S - TIME_TOLERANCE_S else None

    def _add_time_seen(self, time_s: float, faces: Sequence[Row]) -> None:
        if time_s - self._last_s <= self._max_gap_s:
            for face_id in self._here:
                self._seen_s[face_id] = self._seen_s.get(face_id, 0.0) + time_s - self._last_s
        self._last_s = time_s
        self._here = tuple(face["face_id"] for face in faces)

    def _time_seen(self, face: Row) -> tuple[float, float]:
        return self._seen_s.get(face["face_id"], 0.0), _area(face)


def _area(face: Row) -> float:
    return float((face["box_w"] or 0.0) * (face["box_h"] or 0.0))


_POINTS: Final = 40
_REACH: Final = 1.5
"""The curve covers this many times the duration that the condition needs."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The values of a condition before an event; all three tuples have the same length.

    value: [0, 1]; None if there was no face. counts: whether the moment was counted.
    """

    time_s: tuple[float, ...] = ()
    value: tuple[float | None, ...] = ()
    counts: tuple[bool, ...] = ()


class Timer:
    """Counts the seconds for which a condition holds, frame by frame.

    A frame lasts until the next one. The count grows while the condition holds and shrinks
    otherwise, never below 0. It returns to 0 if the condition fails, or no frame arrives, for more
    than bridge_s.
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

    def update(self, time_s: float, value: float | None, counts: bool) -> bool:
        """Add a frame; return whether the condition holds and has held for long enough."""
        if self._since is not None:
            self._advance(*self._since, time_s)
        if not self._curve or time_s - self._curve[-1][0] >= self._step_s:
            self._curve.append((time_s, value, counts))
        self._now, self._since = (time_s, value, counts), (time_s, counts)
        rests = time_s < self._rests_until_s
        return counts and not rests and self.counted_s >= self.needed_s - TIME_TOLERANCE_S

    def _advance(self, start_s: float, counts: bool, end_s: float) -> None:
        seconds = max(0.0, end_s - max(start_s, self._rests_until_s))
        if counts and end_s - start_s <= self._bridge_s:
            self.counted_s += seconds
            self._broken_s = 0.0
            return
        self._broken_s += end_s - start_s
        expired = self._broken_s > self._bridge_s
        self.counted_s = 0.0 if expired else max(0.0, self.counted_s - seconds)

    def cool_down(self, until_s: float) -> None:
        """Reset the count and count nothing before until_s."""
        self.counted_s = self._broken_s = 0.0
        self._rests_until_s = until_s

    def restart(self) -> None:
        """Reset the count from the next frame on; the curve is kept."""
        self.counted_s = self._broken_s = 0.0
        self._since = None

    def curve(self) -> Curve:
        """Return the curve up to the last frame."""
        if self._now is None:
            return Curve()
        points = [*self._curve, *([] if self._now == self._curve[-1] else [self._now])]
        return Curve(*map(tuple, zip(*points, strict=True)))


Kind = Literal["pause", "alert", "resume"]
CALM_BELOW: Final = 0.7
"""The child is calm below this fraction of each pausing rule's level (`leave` / `enter`)."""


@dataclass(frozen=True, slots=True)
class Event:
    """An action to take. "resume": the child is calm again and playback may continue.

    rule: text of the rule that fired; for a resume, of the rule that caused the pause.
    face_id: the child's face in this frame; None if it is absent.
    value: of what the rule names: a sum of probabilities, the distress score, or a movement; None
        without a face or for "no face". For a resume, the largest of the pausing rules.
    counted_s: seconds that were counted. why: the curve that led to the event.
    """

    kind: Kind
    time_s: float
    rule: str
    face_id: int | None
    value: float | None
    counted_s: float
    why: Curve


@dataclass
class _RuleState:
    """The state of one rule and of the "again" rule that follows it.

    columns: the probabilities to sum, the movement, or DISTRESS; None for a "no face" rule.
    is_sum: whether they are probabilities. level: that the value must reach. value: in this frame.
    """

    rule: Rule
    timer: Timer
    columns: list[str] | None = None
    is_sum: bool = False
    level: float = math.nan
    again: Rule | None = None
    held_at_s: float = -math.inf
    value: float | None = None

    @property
    def pauses(self) -> bool:
        return any("pause" in rule.actions for rule in (self.rule, self.again) if rule)


@dataclass
class GuardSummary:
    """Seconds and events so far.

    watched_s = sure_s + unsure_s + absent_s: the child's face was reliable, unreliable or absent.
    unwatched_s: time between frames more than max_gap_s apart.
    """

    watched_s: float = 0.0
    sure_s: float = 0.0
    unsure_s: float = 0.0
    absent_s: float = 0.0
    unwatched_s: float = 0.0
    paused_s: float = 0.0
    events: dict[str, int] = field(default_factory=lambda: {"pause": 0, "alert": 0, "resume": 0})


class Guard:
    """Applies the rules to the rows of one child.

    names, group_of: the model's classes and their groups. timeline: the settings used to smooth
    and label the rows; interruptions of up to max_gap_s are bridged. movements: those that the
    model measures. distress: its distress score, if it has one. `Guard.from_card` takes all of
    them from a model's card.
    Raises UsageError for a rule with a name that the model does not have.
    """

    def __init__(
        self,
        settings: GuardSettings,
        names: Sequence[str],
        group_of: Mapping[str, str],
        timeline: TimelineSettings | None = None,
        *,
        movements: Sequence[str] = (),
        distress: DistressScore | None = None,
    ) -> None:
        self.settings = settings
        self.summary = GuardSummary()
        self.paused_by: str | None = None
        self._names, self._group_of = tuple(names), group_of
        self._movements, self._distress = tuple(movements), distress
        self._timeline = timeline or TimelineSettings()
        self._max_gap_s = self._timeline.max_gap_s
        self._paused_at_s = math.nan
        self._may_resume = False
        self._reset()

    @classmethod
    def from_card(
        cls,
        settings: GuardSettings,
        card: Mapping[str, Any],
        timeline: TimelineSettings | None = None,
    ) -> Guard:
        """Return a guard for the model with this card; errors as above, and of `read_score`."""
        return cls(
            settings,
            [str(name) for name in card["labels"]],
            card.get("groups", {}),
            timeline,
            movements=card.get("movements", ()),
            distress=read_score(card),
        )

    def _reset(self) -> None:
        self._child = TargetFace(self.settings.child, self._max_gap_s)
        self._states = self._rule_states()
        self._calm = Timer(self.settings.calm_s, self._max_gap_s)
        self._face_id: int | None = None
        self._last: tuple[float, str] | None = None
        self._smoother = CausalSmoother(self._timeline)
        self._measured = [s.columns[0] for s in self._states if s.columns and not s.is_sum]
        self._meter: DistressMeter | None = None
        if DISTRESS in self._measured and self._distress is not None:
            about = self._names, self._group_of, self._movements, self._timeline
            self._meter = DistressMeter(self._distress, *about)
            self._measured = [name for name in self._measured if name != DISTRESS]

    def _rule_states(self) -> list[_RuleState]:
        states: list[_RuleState] = []
        for rule in self.settings.rules:
            when = rule.when
            if isinstance(when, Again):
                states[-1].again = rule
                continue
            states.append(_RuleState(rule, Timer(when.span.seconds, self._max_gap_s)))
            if isinstance(when, Shows):
                members = members_of(when, self._names, self._group_of)
                states[-1].columns = [f"s_{name}" for name in members] or [self._column_of(when)]
                states[-1].is_sum = bool(members)
                states[-1].level = when.percent / 100
        return states

    def _column_of(self, when: Shows) -> str:
        """Return DISTRESS or the column of a movement."""
        if when.names[0] != DISTRESS:
            return MOVEMENT + movement_of(when, self._movements)
        if self._distress is None:
            raise UsageError(
                f'rule "{when} …": the model has no distress score: use "negative", or fit one '
                "with `moppet distress`."
            )
        return DISTRESS

    @property
    def needs_display(self) -> bool:
        """Whether a rule needs the display reading, columns d_<class>."""
        score = self._distress if self._meter else None
        return score is not None and any(name.startswith("d_") for name in score.features)

    @property
    def uses_distress(self) -> bool:
        """Whether a rule is about the distress score."""
        return self._meter is not None

    @property
    def paused(self) -> bool:
        """Whether a rule has paused playback and it has not been resumed."""
        return self.paused_by is not None

    def observe(self, rows: Sequence[Row]) -> list[Event]:
        """Process one frame's rows, as `moppet.stream` yields them; return the new events.

        Skipped frames are ignored. If time runs backward, all counts are reset.
        """
        rows = [row for row in rows if row["status"] != "skipped"]
        if not rows:
            return []
        time_s = float(rows[0]["time_s"])
        if self._last is not None and time_s < self._last[0]:
            self._reset()
        faces = [row for row in rows if row["status"] in FACE_STATUSES]
        face = self._child.find(time_s, faces)
        self._add_time(time_s, face)
        if face is not None and face["face_id"] != self._face_id:
            self._face_id = face["face_id"]
            self._restart_counts(faces_only=True)
        nobody = all(row["status"] == "no_face" for row in rows)
        self._read(time_s, face, alone=len(faces) == 1)
        events: list[Event] = []
        for state in self._states:
            counts = nobody if state.columns is None else self._holds(state, face)
            if state.timer.update(time_s, state.value, counts):
                events += self._act(state, time_s, face)
        events += self._check_calm(time_s, face)
        for event in events:
            self.summary.events[event.kind] += 1
        return events

    def _read(self, time_s: float, face: Row | None, *, alone: bool) -> None:
        """Compute the value of each rule, rounded to float32; None without a face."""
        values: dict[str, float | None] = {}
        if face is not None and self._measured:
            found = [face[name] for name in self._measured]
            if None not in found:
                args = int(face["face_id"]), time_s, found, face.get("quality")
                values = dict(zip(self._measured, self._smoother.update(*args), strict=True))
        if self._meter is not None:
            good = self._is_good(face)
            values[DISTRESS] = self._meter.update(time_s, face, alone=alone, reliable=good)
        for state in self._states:
            if state.is_sum and state.columns is not None and face is not None:
                parts = [face[name] for name in state.columns]
                state.value = None if None in parts else float(np.float32(sum(parts)))
            elif state.columns is not None:
                value = None if face is None else values.get(state.columns[0])
                state.value = None if value is None else float(value)

    def _holds(self, state: _RuleState, face: Row | None) -> bool:
        """Return whether a face shows what a rule asks for, reliably.

        A sum of probabilities is reliable if it, or the largest probability alone, is not unsure:
        a face that is half sad and half angry is negative.
        """
        value = state.value
        if face is None or value is None or value < threshold(state.level):
            return False
        unsure_below = threshold(self._timeline.unsure_below)
        sure = not state.is_sum or face["unsure"] is False or value >= unsure_below
        return sure and self._is_good(face)

    def _is_good(self, face: Row | None) -> bool:
        """Return whether a face is there, classified, and of good quality."""
        if face is None or face["status"] != "ok" or face[f"s_{self._names[0]}"] is None:
            return False
        quality = face.get("quality")
        return quality is None or not quality < threshold(self._timeline.low_quality_below)

    def _is_sure(self, face: Row | None) -> bool:
        """Return whether the expression of a good face is sure, or at least its group."""
        if face is None or not self._is_good(face):
            return False
        if face["unsure"] is False:
            return True
        shares = dict.fromkeys(self._group_of.values(), 0.0)
        for name in self._names:
            if name in self._group_of:
                shares[self._group_of[name]] += face[f"s_{name}"]
        most = float(np.float32(max(shares.values(), default=0.0)))
        return most >= threshold(self._timeline.unsure_below)

    def resume(self, time_s: float) -> None:
        """Record that playback resumes: counts are reset and "again" is timed from time_s."""
        for state in self._states:
            if self.paused and state.held_at_s >= self._paused_at_s:
                state.held_at_s = time_s
        self.paused_by = None
        self._restart_counts()

    def choose_child(self, face_id: int) -> None:
        """Treat this face as the child's for as long as it is present."""
        self._child.choose(face_id)

    def _act(self, state: _RuleState, time_s: float, face: Row | None) -> list[Event]:
        """Return the events of a rule that fires now."""
        rule, text = state.rule, str(state.rule)
        if state.again is not None:
            since_s = time_s - state.held_at_s
            if since_s <= state.again.when.span.seconds + TIME_TOLERANCE_S:
                rule, text = state.again, f"{state.rule}; {state.again}"
        kinds = [kind for kind in rule.actions if kind != "pause" or not self.paused]
        if "pause" in kinds:
            self.paused_by, self._paused_at_s = text, time_s
        if "pause" in rule.actions:
            self._may_resume = False
            self._calm.restart()
        events = [self._event(kind, time_s, text, face, state.timer) for kind in kinds]
        state.held_at_s = time_s
        state.timer.cool_down(until_s=time_s + self.settings.cooldown_s)
        return events

    def _check_calm(self, time_s: float, face: Row | None) -> list[Event]:
        pausing = [state for state in self._states if state.pauses and state.columns is not None]
        shown = [(state.value or 0.0, state.level) for state in pausing]
        scored = bool(pausing) and not any(state.is_sum for state in pausing)
        clear = self._is_good(face) if scored else self._is_sure(face)
        calm = clear and all(value < CALM_BELOW * level for value, level in shown)
        most = max((value for value, _ in shown), default=None)
        full = self._calm.update(time_s, None if face is None else most, calm)
        if self.paused_by is None or self._may_resume or not full:
            return []
        self._may_resume = True
        return [self._event("resume", time_s, self.paused_by, face, self._calm)]

    def _event(self, kind: Kind, time_s: float, text: str, face: Row | None, timer: Timer) -> Event:
        face_id = None if face is None else int(face["face_id"])
        return Event(kind, time_s, text, face_id, timer.value, timer.counted_s, timer.curve())

    def _add_time(self, time_s: float, face: Row | None) -> None:
        total = self.summary
        if self._last is not None:
            seconds, seen = time_s - self._last[0], self._last[1]
            if seconds > self._max_gap_s + TIME_TOLERANCE_S:
                total.unwatched_s += seconds
            else:
                total.watched_s += seconds
                setattr(total, seen, getattr(total, seen) + seconds)
            total.paused_s += seconds * self.paused
        seen = "sure_s" if self._is_sure(face) else "absent_s" if face is None else "unsure_s"
        self._last = (time_s, seen)

    def _restart_counts(self, faces_only: bool = False) -> None:
        self._calm.restart()
        for state in self._states:
            if state.columns is not None or not faces_only:
                state.timer.restart()
