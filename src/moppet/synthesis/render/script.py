"""Scripts of clips: who is in the video, what they show when, in which light, and where it cuts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from annotated_types import Ge, Gt, Interval, MinLen

from moppet.config import read_settings
from moppet.synthesis.render.expressions import CHOICES, choose_variants
from moppet.synthesis.render.people import Looks, draw_person
from moppet.synthesis.render.performances import Act, Performance, usual_blinks
from moppet.synthesis.render.plan import BackgroundName, LightName, OccluderName, Share, Tone
from moppet.synthesis.render.scene import HeadPose, Person
from moppet.synthesis.settings import seed_of
from moppet.values import UsageError, name_hint
from moppet.vocabulary import age_limits

Seconds = Annotated[float, Interval(ge=0, le=86_400)]
Degrees = Annotated[float, Interval(ge=-180, le=180)]
_MOST_FRAMES: Final = 2_000_000


@dataclass(frozen=True, kw_only=True)
class ActSettings:
    """Something that a person shows.

    show: a name in `expressions.CHOICES`. start_s, end_s: from the first trace to the last.
    intensity: at its apex. asymmetry: see `to_channels`.
    """

    show: str
    start_s: Seconds
    end_s: Seconds
    intensity: Share = 1.0
    asymmetry: Annotated[float, Interval(ge=-1, le=1)] = 0.0

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the keys taken together."""
        if self.show not in CHOICES:
            yield f"show: there is no {self.show!r}.{name_hint(self.show, CHOICES)}"
        if self.end_s <= self.start_s:
            yield f"end_s must be above start_s ({self.start_s:g}), got {self.end_s:g}."


@dataclass(frozen=True, kw_only=True)
class StretchSettings:
    """A stretch of time in which a person shows one thing after another, drawn at random.

    show: what is drawn from, names in `expressions.CHOICES`. intensity: lowest and highest.
    act_s, pause_s: shortest and longest time of an act, and between two.
    """

    show: Annotated[tuple[str, ...], MinLen(1)]
    start_s: Seconds = 0.0
    end_s: Seconds
    intensity: tuple[Share, Share] = (0.5, 1.0)
    act_s: tuple[Seconds, Seconds] = (3.0, 8.0)
    pause_s: tuple[Seconds, Seconds] = (0.5, 3.0)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the keys taken together."""
        for name in self.show:
            if name not in CHOICES:
                yield f"show: there is no {name!r}.{name_hint(name, CHOICES)}"
        if self.end_s <= self.start_s:
            yield f"end_s must be above start_s ({self.start_s:g}), got {self.end_s:g}."
        for key, least in (("intensity", 0.0), ("act_s", 0.2), ("pause_s", 0.0)):
            low, high = getattr(self, key)
            if not least <= low <= high:
                yield f"{key} must be two numbers from {least:g} on, the smaller first."


@dataclass(frozen=True, kw_only=True)
class CastSettings:
    """A person of the clip.

    name: in the true timeline. ages: years, such as "3" or "0-2". tones: on the Monk scale.
        Each clip of several draws another person; the first clip has the first tone, and so on.
    place: of the face, from the image's middle to its right, as a share of its width.
    enters_s, leaves_s: when the person comes and goes; leaves_s 0 for staying to the end.
    yaw, pitch, roll: the usual pose in degrees. head_degrees: how far the head strays from it.
    gaze: 0 looks into the camera, 1 looks around.
    blinks_per_minute: 0 for what is usual at that age.
    occluder: a kind of `scene.Occluder`, or "" for none.
    acts, stretches: what they show; at other times the face is at rest.
    """

    RENAMED_WORDS: ClassVar = {"occluder": {"dummy": "pacifier"}}

    name: Annotated[str, MinLen(1)]
    ages: str = "5"
    tones: Annotated[tuple[Tone, ...], MinLen(1)] = (4,)
    place: Annotated[float, Interval(ge=-0.5, le=0.5)] = 0.0
    enters_s: Seconds = 0.0
    leaves_s: Seconds = 0.0
    yaw: Degrees = 0.0
    pitch: Degrees = 0.0
    roll: Degrees = 0.0
    head_degrees: Annotated[float, Interval(ge=0, le=30)] = 4.0
    gaze: Share = 0.5
    blinks_per_minute: Annotated[float, Interval(ge=0, le=60)] = 0.0
    occluder: OccluderName | Literal[""] = ""
    acts: tuple[ActSettings, ...] = ()
    stretches: tuple[StretchSettings, ...] = ()

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the keys taken together."""
        if self.leaves_s and self.leaves_s <= self.enters_s:
            yield f"leaves_s must be above enters_s ({self.enters_s:g}), or 0."
        try:
            age_limits(self.ages)
        except UsageError as error:
            yield f"ages: {error}"


@dataclass(frozen=True, kw_only=True)
class ShotSettings:
    """How the clip looks from a time on; each shot but the first begins with a hard cut.

    light: a kind of `scene.Light`, drawn at random within it. background: a kind of
        `scene.Background`. face_share: height of the face as a share of the image's.
    yaw: the camera stands so far to the side that faces turn by this angle. zoom: the face is so
        many times as large at the end of the shot.
    noise, blur_px: see `scene.Camera`.
    """

    start_s: Seconds = 0.0
    light: LightName = "softbox"
    background: BackgroundName = "room"
    face_share: Annotated[float, Interval(ge=0.1, le=0.9)] = 0.5
    yaw: Degrees = 0.0
    zoom: Annotated[float, Interval(ge=0.25, le=4)] = 1.0
    noise: Share = 0.005
    blur_px: Annotated[float, Interval(ge=0, le=20)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Script:
    """A clip, or several of the same script with other people.

    name: of the clip. seconds: its length. fps: frames a second. width, height: in pixels.
    seed: another seed gives other people. clips: how many; several are written into a folder.
    test: share of the clips, the last ones, that only report; the first ones are for tuning.
    variable_rate: how far the time between frames varies: 0 not at all, 0.5 by up to half of it.
    crf: constant rate factor of the video (H.264): lower is better and larger.
    renderer: "rasterizer" or "mitsuba".
    people, shots: who is in it, and how it looks.
    """

    name: Annotated[str, MinLen(1)]
    seconds: Annotated[float, Gt(0)]
    fps: Annotated[float, Interval(ge=1, le=120)] = 25.0
    width: Annotated[int, Interval(ge=64, le=3840)] = 320
    height: Annotated[int, Interval(ge=64, le=2160)] = 240
    seed: Annotated[int, Ge(0)] = 0
    clips: Annotated[int, Interval(ge=1, le=10_000)] = 1
    test: Share = 0.5
    variable_rate: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    crf: Annotated[int, Interval(ge=0, le=51)] = 16
    renderer: Literal["rasterizer", "mitsuba"] = "rasterizer"
    people: tuple[CastSettings, ...]
    shots: Annotated[tuple[ShotSettings, ...], MinLen(1)] = (ShotSettings(),)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the keys taken together."""
        if self.width % 2 or self.height % 2:
            yield f"width and height must be even, got {self.width} x {self.height}."
        if self.seconds * self.fps > _MOST_FRAMES:
            yield f"a clip has at most {_MOST_FRAMES:,} frames; lower seconds or fps."
        names = [one.name for one in self.people]
        if len(set(names)) < len(names):
            yield f"the names of people must differ, got {names}."
        starts = [shot.start_s for shot in self.shots]
        if starts[0] != 0 or sorted(set(starts)) != starts:
            yield f"shots must begin at 0 and in order, got {starts}."

    def frame_times(self, clip: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return (n,) the time of each frame in ticks of 1/90000 s, from 0 on."""
        count = max(1, round(self.seconds * self.fps))
        times = np.arange(count) / self.fps
        if self.variable_rate:
            rng = np.random.default_rng(seed_of("times", self.seed, self.name, clip))
            shift = rng.uniform(-0.5, 0.5, count) * self.variable_rate / self.fps
            shift[0] = 0
            times = times + shift
        return np.rint(times * TICKS).astype(np.int64)

    def split_of(self, clip: int) -> Literal["val", "test"]:
        """Return the half of a clip: "val" for tuning, "test" if it only reports."""
        return "test" if clip >= self.clips - round(self.clips * self.test) else "val"

    def shot_at(self, time_s: float) -> int:
        """Return the number of the shot that is shown at a time."""
        return sum(shot.start_s <= time_s + 1e-9 for shot in self.shots) - 1


TICKS: Final = 90_000
"""Ticks of the video's clock in a second."""


def read_script(path: Path, changes: Mapping[str, object] | None = None) -> Script:
    """Return the script in a TOML file, with some keys set anew; UsageError lists all faults."""
    return read_settings(Script, path, "script", changes)


@dataclass(frozen=True)
class Role:
    """A person of one clip, with what they do."""

    settings: CastSettings
    person: Person
    performance: Performance = field(repr=False)

    def is_there(self, time_s: float) -> bool:
        """Whether the person has come and not gone."""
        end_s = self.settings.leaves_s or float("inf")
        return self.settings.enters_s - 1e-9 <= time_s < end_s - 1e-9


def cast(script: Script, clip: int = 0, looks: Looks | None = None) -> tuple[Role, ...]:
    """Return the people of a clip, drawn by the script's seed and the clip's number.

    looks: what an asset folder adds to them.
    """
    return tuple(_role(script, clip, number, looks) for number in range(len(script.people)))


def _role(script: Script, clip: int, number: int, looks: Looks | None) -> Role:
    settings = script.people[number]
    key = ("role", script.seed, script.name, clip, settings.name)
    rng = np.random.default_rng(seed_of(*key))
    low, high = age_limits(settings.ages)
    ages = (low, high + 0.99)
    if script.clips > 1:
        ages = _age_slice(script, ages, clip, number)
    person = draw_person(ages, settings.tones[clip % len(settings.tones)], rng, looks)
    acts = [_act(one, person.age_years, rng) for one in settings.acts]
    for stretch in settings.stretches:
        acts += _draw_acts(stretch, person.age_years, rng)
    performance = Performance(
        tuple(acts),
        script.seconds,
        seed_of(*key, "performance"),
        settings.blinks_per_minute or usual_blinks(person.age_years),
        HeadPose(yaw=settings.yaw, pitch=settings.pitch, roll=settings.roll),
        settings.head_degrees,
        settings.gaze,
    )
    return Role(settings, person, performance)


def _age_slice(
    script: Script, ages: tuple[float, float], clip: int, number: int
) -> tuple[float, float]:
    """Return a clip's part of the ages: each round through the tones covers all of them evenly."""
    settings = script.people[number]
    count = len(settings.tones)
    turn, tone = divmod(clip, count)
    rng = np.random.default_rng(seed_of("ages", script.seed, script.name, settings.name, turn))
    turns = -(-script.clips // count)
    step = (ages[1] - ages[0]) / (count * turns)
    low = ages[0] + step * (int(rng.permutation(count)[tone]) * turns + turn)
    return low, low + step


def _act(settings: ActSettings, age_years: float, rng: np.random.Generator) -> Act:
    variants = choose_variants(settings.show, age_years)
    return Act(
        variants[int(rng.integers(len(variants)))],
        settings.start_s,
        settings.end_s,
        settings.intensity,
        settings.asymmetry,
        int(rng.integers(2**31)),
    )


def _draw_acts(stretch: StretchSettings, age_years: float, rng: np.random.Generator) -> list[Act]:
    acts: list[Act] = []
    start_s = stretch.start_s + float(rng.uniform(*stretch.pause_s))
    order: list[str] = []
    while start_s + stretch.act_s[0] <= stretch.end_s:
        order = order or [stretch.show[i] for i in rng.permutation(len(stretch.show))]
        end_s = min(stretch.end_s, start_s + float(rng.uniform(*stretch.act_s)))
        settings = ActSettings(
            show=order.pop(),
            start_s=start_s,
            end_s=end_s,
            intensity=float(rng.uniform(*stretch.intensity)),
            asymmetry=float(np.clip(rng.normal(0, 0.1), -0.5, 0.5)),
        )
        acts.append(_act(settings, age_years, rng))
        start_s = end_s + float(rng.uniform(*stretch.pause_s))
    return acts


def moved(pose: HeadPose, yaw: float) -> HeadPose:
    """Return a pose seen by a camera that stands to the side."""
    return replace(pose, yaw=pose.yaw + yaw)
