"""What a face does over time: acts that build up and fade, blinks, gaze, and the head's motion."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from moppet.synthesis.render.expressions import (
    Variant,
    expression_at,
    mix_movements,
    to_channels,
    vary_movements,
)
from moppet.synthesis.render.scene import HeadPose
from moppet.synthesis.settings import seed_of

_BLINK_CLOSING_S, _BLINK_CLOSED_S, _BLINK_OPENING_S = 0.09, 0.04, 0.17
"""A spontaneous blink takes 0.3 s and opens more slowly than it closes (Evinger et al. 1991)."""
_SACCADE_S: Final = 0.04
_STEADY_SCALE: Final = 0.08
"""How much a posture that is held swells and ebbs, as a share of its intensity."""


class Moment(NamedTuple):
    """The truth of a moment. variant, intensity: of the strongest act, "" and 0 without one."""

    expression: str
    variant: str
    intensity: float


@dataclass(frozen=True)
class Act:
    """A variant that is shown for a while.

    start_s, end_s: from the first trace to the last. intensity: 0 to 1 at its apex.
    asymmetry: see `to_channels`. seed: of its rhythm and small differences.
    """

    variant: Variant
    start_s: float
    end_s: float
    intensity: float = 1.0
    asymmetry: float = 0.0
    seed: int = 0
    _knots: tuple[Sequence[float], Sequence[Mapping[str, float]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_knots", self._draw_knots())

    def envelope(self, time_s: float) -> float:
        """Return the intensity, 0 to 1: it rises and falls smoothly, at most half the time each."""
        if not self.start_s < time_s < self.end_s:
            return 0.0
        half = (self.end_s - self.start_s) / 2
        rise = (time_s - self.start_s) / min(self.variant.onset_s, half)
        fall = (self.end_s - time_s) / min(self.variant.offset_s, half)
        return self.intensity * smooth_step(min(rise, fall))

    def movements_at(self, time_s: float) -> Mapping[str, float]:
        """Return the posture of a time, at full intensity."""
        times, postures = self._knots
        after = bisect_right(times, time_s)
        if after == 0 or after == len(times):
            return postures[min(after, len(times) - 1)]
        share = smooth_step((time_s - times[after - 1]) / (times[after] - times[after - 1]))
        before, then = postures[after - 1], postures[after]
        return {
            name: (1 - share) * before.get(name, 0.0) + share * then.get(name, 0.0)
            for name in {**before, **then}
        }

    def _draw_knots(self) -> tuple[Sequence[float], Sequence[Mapping[str, float]]]:
        """Draw which posture is shown when; between two of them the face changes smoothly."""
        rng = np.random.default_rng(seed_of("act", self.seed, self.variant.name))
        postures = [
            vary_movements(self.variant.posture(i), 0.1, rng)
            for i in range(len(self.variant.postures))
        ]
        if self.variant.rhythm_hz == 0 and len(postures) > 1:
            return np.linspace(self.start_s, self.end_s, len(postures)).tolist(), postures
        step_s = 1 / self.variant.rhythm_hz if self.variant.rhythm_hz else 0.7
        count = max(2, math.ceil((self.end_s - self.start_s) / step_s) + 2)
        times = self.start_s + np.cumsum(step_s * rng.uniform(0.65, 1.35, count)) - step_s
        shown, place = [], 0
        for _ in range(count):
            place = (place + int(rng.integers(1, max(2, len(postures))))) % len(postures)
            strength = float(rng.uniform(0.75, 1.0)) if len(postures) > 1 else None
            scale = 1 + _STEADY_SCALE * float(rng.uniform(-1, 1)) if strength is None else strength
            shown.append({name: value * scale for name, value in postures[place].items()})
        return times.tolist(), shown


@dataclass(frozen=True)
class Performance:
    """What one person does from 0 to `end_s`. The same values give the same performance.

    blinks_per_minute: a Poisson process; adults blink 15 to 20 times, infants 2 to 4 (Bacher &
        Smotherman 2004); see `usual_blinks`.
    pose: the pose around which the head moves. head_degrees: how far it strays from it.
    gaze: 0 looks into the camera, 1 looks around.
    """

    acts: tuple[Act, ...]
    end_s: float
    seed: int = 0
    blinks_per_minute: float = 12.0
    pose: HeadPose = field(default_factory=HeadPose)
    head_degrees: float = 4.0
    gaze: float = 0.5
    _blinks_s: tuple[float, ...] = field(init=False, repr=False)
    _glances: tuple[Sequence[float], Sequence[tuple[float, float]]] = field(init=False, repr=False)
    _waves: tuple[tuple[float, float, float], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(seed_of("performance", self.seed))
        set_field = object.__setattr__
        set_field(self, "_blinks_s", _poisson(self.blinks_per_minute / 60, self.end_s, rng))
        times = (0.0, *_poisson(0.7, self.end_s, rng))
        aims = rng.normal(0, (0.45, 0.25), (len(times), 2)) * self.gaze
        set_field(self, "_glances", (times, [tuple(aim) for aim in aims.clip(-1, 1).tolist()]))
        rates, phases = rng.uniform(0.05, 0.35, 9), rng.uniform(0, 2 * math.pi, 9)
        sizes = np.tile(np.array([0.6, 0.3, 0.25]), 3) * rng.uniform(0.6, 1.0, 9)
        waves = np.stack([rates, phases, sizes], axis=1).tolist()
        set_field(self, "_waves", tuple(tuple(wave) for wave in waves))

    def movements_at(self, time_s: float) -> dict[str, float]:
        """Return channel → intensity at a time; channels at rest are left out."""
        shown = [(act, strength) for act in self.acts if (strength := act.envelope(time_s)) > 0]
        parts = [
            to_channels(mix_movements([(act.movements_at(time_s), strength)]), act.asymmetry)
            for act, strength in shown
        ]
        gaze_x, gaze_y = self._gaze_at(time_s)
        extra = to_channels({"blink": self._blink_at(time_s), "gaze_x": gaze_x, "gaze_y": gaze_y})
        return mix_movements([(part, 1.0) for part in (*parts, extra)])

    def moment_at(self, time_s: float) -> Moment:
        """Return the truth at a time: the expression of the strongest act, see `expression_at`.

        An act of the label "neutral", such as talking, leaves the truth to a weaker expression.
        """
        shown = [(act.envelope(time_s), act) for act in self.acts]
        shown = [one for one in shown if one[0] > 0]
        if not shown:
            return Moment("neutral", "", 0.0)
        moved = [one for one in shown if one[1].variant.expression != "neutral"]
        strength, act = max(moved or shown, key=lambda one: one[0])
        expression = expression_at(act.variant.expression, strength)
        if expression == "neutral" and moved and len(moved) < len(shown):
            strength, act = max(shown, key=lambda one: one[0])
        return Moment(expression, act.variant.name, strength)

    def pose_at(self, time_s: float) -> HeadPose:
        """Return the head's pose at a time: slow waves around the usual pose."""
        angles = [
            self.head_degrees
            * sum(
                size * math.sin(2 * math.pi * rate * time_s + phase)
                for rate, phase, size in self._waves[axis::3]
            )
            for axis in range(3)
        ]
        return HeadPose(
            yaw=self.pose.yaw + angles[0],
            pitch=self.pose.pitch + angles[1],
            roll=self.pose.roll + angles[2],
        )

    def _blink_at(self, time_s: float) -> float:
        before = bisect_right(self._blinks_s, time_s)
        past = time_s - self._blinks_s[before - 1] if before else math.inf
        if past < _BLINK_CLOSING_S:
            return smooth_step(past / _BLINK_CLOSING_S)
        past -= _BLINK_CLOSING_S + _BLINK_CLOSED_S
        return 1 - smooth_step(past / _BLINK_OPENING_S) if past < _BLINK_OPENING_S else 0.0

    def _gaze_at(self, time_s: float) -> tuple[float, float]:
        times, aims = self._glances
        now = bisect_right(times, time_s) - 1
        share = smooth_step((time_s - times[now]) / _SACCADE_S)
        (x0, y0), (x1, y1) = aims[max(0, now - 1)], aims[now]
        return x0 + share * (x1 - x0), y0 + share * (y1 - y0)


def usual_blinks(age_years: float) -> float:
    """Return how often people of an age blink in a minute: 3 as infants, 15 from 18 years on."""
    return 3 + 12 * min(1.0, max(0.0, age_years) / 18)


def smooth_step(share: float) -> float:
    """Return 0 up to 0, 1 from 1 on, and a smooth rise between."""
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)


def _poisson(rate_hz: float, end_s: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Return the times of a Poisson process up to end_s, in order."""
    count = int(rng.poisson(rate_hz * end_s))
    return tuple(np.sort(rng.uniform(0, end_s, count)).tolist())
