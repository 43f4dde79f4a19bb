"""Plans of rendered faces: what is crossed, what is drawn at random, and the scene of each image.

A plan is a TOML file; `read_plan` checks it. Its images cross age band × skin tone × expression ×
pose × light evenly within every part of the split; all else is drawn at random. An image depends
on the plan and its number alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Interval, MinLen

from moppet.config import read_settings
from moppet.synthesis.render.expressions import (
    CHOICES,
    choose_variants,
    expression_at,
    mix_movements,
    to_channels,
    vary_movements,
)
from moppet.synthesis.render.people import Looks, draw_person, muted_color
from moppet.synthesis.render.scene import (
    Background,
    Camera,
    HeadPose,
    Light,
    Occluder,
    Person,
    Scene,
)
from moppet.synthesis.settings import seed_of
from moppet.values import EXPRESSIONS, UsageError, name_hint
from moppet.vocabulary import age_limits

Share = Annotated[float, Interval(ge=0, le=1)]
Tone = Annotated[int, Interval(ge=1, le=10)]
PoseName = Literal["frontal", "tilted", "turned", "far", "lying"]
LightName = Literal["softbox", "window", "lamp", "outdoor", "dim"]
OccluderName = Literal[
    "hand", "pacifier", "sunglasses", "glasses", "scarf", "hat", "hair", "blanket"
]
BackgroundName = Literal["plain", "room", "garden", "fabric", "shelf", "blur"]
SPLITS: Final = ("train", "val", "test")
_BABY_YEARS: Final = 3.0
_NOT_FOR_BABIES: Final = ("sunglasses", "glasses", "scarf")
_ONLY_FOR_BABIES: Final = ("pacifier", "blanket")


@dataclass(frozen=True, kw_only=True)
class RenderPlan:
    """A set of rendered faces.

    name: of the set; part of each person's name. images: how many.
    people: how many different people they show, each about equally often.
    seed: another seed gives other people.
    size: width and height in pixels. format: "jpg" or "png". renderer: "rasterizer" or "mitsuba".
    val, test: share of the people for tuning and for reporting; the others are for training.

    ages: bands of ages in years, such as "0-1" or "5"; the last year counts in full.
    tones: of the skin, on the Monk scale. expressions: names in `expressions.CHOICES`.
    poses: "frontal" (yaw to 10°), "tilted" (pitch and roll to 25°), "turned" (yaw 15 to 35°),
        "far" (yaw 35 to 60°), "lying" (the head lies on one side or upside down).
    lights: kinds of `scene.Light`.

    intensity: lowest and highest intensity of the expression.
    asymmetry, variation: standard deviations; see `to_channels` and `vary_movements`.
    blended: share of images in which a second expression is mixed in, weaker than the first.
    blinking: share of images taken in the middle of a blink.
    occluded: share of images with an occluder. occluders: kinds of `scene.Occluder`.
    backgrounds: kinds of `scene.Background`.
    face_share: smallest and largest height of the face as a share of the image's.
    degraded: share of images with blur, noise, low resolution or strong compression.
    gray: share of images without color.
    """

    RENAMED_WORDS: ClassVar = {"occluders": {"dummy": "pacifier"}}

    name: Annotated[str, MinLen(1)]
    images: Annotated[int, Interval(ge=1, le=1_000_000)]
    people: Annotated[int, Interval(ge=1, le=100_000)]
    seed: Annotated[int, Ge(0)] = 0
    size: Annotated[int, Interval(ge=32, le=2048)] = 160
    format: Literal["jpg", "png"] = "jpg"
    renderer: Literal["rasterizer", "mitsuba"] = "rasterizer"
    val: Share = 0.5
    test: Share = 0.5

    ages: Annotated[tuple[str, ...], MinLen(1)] = ("0", "1-3", "4-7", "8-12", "18-60")
    tones: Annotated[tuple[Tone, ...], MinLen(1)] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    expressions: Annotated[tuple[str, ...], MinLen(1)] = EXPRESSIONS
    poses: Annotated[tuple[PoseName, ...], MinLen(1)] = ("frontal", "tilted", "turned")
    lights: Annotated[tuple[LightName, ...], MinLen(1)] = ("softbox", "window", "lamp", "outdoor")

    intensity: tuple[Share, Share] = (0.6, 1.0)
    asymmetry: Share = 0.12
    variation: Share = 0.15
    blended: Share = 0.1
    blinking: Share = 0.03
    occluded: Share = 0.0
    occluders: tuple[OccluderName, ...] = ("hand", "glasses", "hat", "pacifier", "blanket")
    backgrounds: Annotated[tuple[BackgroundName, ...], MinLen(1)] = (
        "plain",
        "room",
        "garden",
        "fabric",
        "shelf",
        "blur",
    )
    face_share: tuple[Share, Share] = (0.5, 0.7)
    degraded: Share = 0.2
    gray: Share = 0.0

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the keys taken together."""
        if self.val + self.test > 1 + 1e-9:
            yield f"val and test must sum to at most 1, got {self.val + self.test:g}."
        if self.people > self.images:
            yield f"people must be at most images ({self.images}), got {self.people}."
        for key, least in (("intensity", 0.0), ("face_share", 0.1)):
            low, high = getattr(self, key)
            if not least <= low <= high:
                yield f"{key} must be two numbers from {least:g} to 1, the smaller first."
        for name in self.expressions:
            if name not in CHOICES:
                yield f"expressions: there is no {name!r}.{name_hint(name, CHOICES)}"
        for text in self.ages:
            try:
                age_limits(text)
            except UsageError as error:
                yield f"ages: {error}"
        if self.occluded and not self.occluders:
            yield "occluded needs at least one of occluders."


def read_plan(path: Path, changes: Mapping[str, object] | None = None) -> RenderPlan:
    """Return the plan in a TOML file, with some keys set anew; UsageError that lists all faults."""
    return read_settings(RenderPlan, path, "plan", changes)


class Drawn(NamedTuple):
    """An image of a plan: its scene, and the names that it was drawn from.

    number: of the image. person: number of the person. tone, pose, variant: as in the plan.
    blend: name of the second expression's variant, or "". intensity: of the expression.
    """

    number: int
    person: int
    split: str
    ages: str
    tone: int
    expression: str
    variant: str
    intensity: float
    blend: str
    pose: PoseName
    scene: Scene


class _Place(NamedTuple):
    """Where a person stands in the plan: their cell, their split, and their rank among both."""

    cell: int
    ages: str
    tone: int
    split: str
    rank: int
    of: int


@dataclass(frozen=True)
class PlannedScenes:
    """The scenes of a plan, by number: `PlannedScenes(plan)[17]`.

    looks: what an asset folder adds to the people.
    """

    plan: RenderPlan
    looks: Looks | None = None
    _people: dict[int, Person] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return self.plan.images

    def person_of(self, number: int) -> int:
        """Return who is in an image. The first images show as many people as there are."""
        return number % self.plan.people

    def __getitem__(self, number: int) -> Drawn:
        plan, person = self.plan, self.person_of(number)
        place = self._places[person]
        expression, pose, light = self._combination(number, place)
        rng = np.random.default_rng(seed_of("image", plan.seed, plan.name, number))
        somebody = self.person(person)
        intensity = round(float(rng.uniform(*plan.intensity)), 3)
        variants = choose_variants(expression, somebody.age_years)
        variant = variants[int(rng.integers(len(variants)))]
        posture = variant.posture(int(rng.integers(len(variant.postures))))
        blend, shown = self._blend(variant.expression, somebody.age_years, intensity, rng)
        movements = mix_movements(
            [(vary_movements(posture, plan.variation, rng), intensity), *shown]
        )
        if rng.random() < plan.blinking:
            movements["blink"] = float(rng.uniform(0.4, 1.0))
        movements |= _gaze(movements, rng)
        scene = Scene(
            person=somebody,
            movements=_rounded(to_channels(movements, _asymmetry(plan.asymmetry, rng))),
            pose=_draw_pose(pose, rng),
            light=draw_light(light, rng),
            occluders=self._occluders(somebody.age_years, rng),
            background=_draw_background(plan, rng),
            camera=_draw_camera(plan, rng),
        )
        label = expression_at(variant.expression, intensity)
        return Drawn(
            number, person, place.split, place.ages, place.tone,
            label, variant.name, intensity, blend, pose, scene,
        )  # fmt: skip

    def person(self, number: int) -> Person:
        """Return a person of the plan."""
        if number not in self._people:
            plan, place = self.plan, self._places[number]
            rng = np.random.default_rng(seed_of("person", plan.seed, plan.name, number))
            low, high = age_limits(place.ages)
            self._people[number] = draw_person((low, high + 0.99), place.tone, rng, self.looks)
        return self._people[number]

    @cached_property
    def _places(self) -> list[_Place]:
        """Deal people to the cells of age × tone, and within each cell to the splits.

        A cell starts its splits where the one before stopped, so that the shares hold in total too.
        """
        plan = self.plan
        cells = [(ages, tone) for ages in plan.ages for tone in plan.tones]
        order = np.random.default_rng(seed_of("cells", plan.seed, plan.name))
        cells = [cells[i] for i in order.permutation(len(cells))]
        splits = self._deal_splits(len(cells))
        where = [
            (n % len(cells), splits[n % len(cells)][n // len(cells)]) for n in range(plan.people)
        ]
        totals = Counter(where)
        ranks: Counter[tuple[int, str]] = Counter()
        places = []
        for cell, split in where:
            rank = ranks[cell, split]
            places.append(_Place(cell, *cells[cell], split, rank, totals[cell, split]))
            ranks[cell, split] += 1
        return places

    def _deal_splits(self, cells: int) -> list[list[str]]:
        """Return the splits of each cell's people, in turn; the shares hold at any point."""
        plan = self.plan
        shares = np.array([1 - plan.val - plan.test, plan.val, plan.test])
        dealt = np.zeros(3)
        found = []
        for cell in range(cells):
            splits = []
            for _ in range(cell, plan.people, cells):
                part = int(np.argmax(shares * (dealt.sum() + 1) - dealt))
                dealt[part] += 1
                splits.append(SPLITS[part])
            found.append(splits)
        return found

    def _combination(self, number: int, place: _Place) -> tuple[str, PoseName, LightName]:
        """Return expression, pose and light: a cell's images in one split go through them all."""
        plan = self.plan
        names, shape = plan.expressions, (len(plan.poses), len(plan.lights))
        turn = place.rank + place.of * (number // plan.people)
        round_, at = divmod(turn, len(names) * math.prod(shape))
        name = names[(at + place.cell) % len(names)]  # so that small sets are even, too
        key = ("combinations", plan.seed, plan.name, place.cell, place.split, round_, name)
        order = np.random.default_rng(seed_of(*key)).permutation(math.prod(shape))
        pose, light = np.unravel_index(int(order[at // len(names)]), shape)
        return name, plan.poses[pose], plan.lights[light]

    def _blend(
        self, expression: str, age_years: float, intensity: float, rng: np.random.Generator
    ) -> tuple[str, list[tuple[Mapping[str, float], float]]]:
        """Return a second expression's variant, and its posture at up to half the intensity."""
        if rng.random() >= self.plan.blended:
            return "", []
        others = [name for name in EXPRESSIONS if name not in ("neutral", expression)]
        variants = choose_variants(str(rng.choice(others)), age_years)
        variant = variants[int(rng.integers(len(variants)))]
        return variant.name, [(variant.posture(0), intensity * float(rng.uniform(0.25, 0.5)))]

    def _occluders(self, age_years: float, rng: np.random.Generator) -> tuple[Occluder, ...]:
        plan = self.plan
        if rng.random() >= plan.occluded:
            return ()
        baby = age_years < _BABY_YEARS
        unfit = _NOT_FOR_BABIES if baby else _ONLY_FOR_BABIES
        kinds = [kind for kind in plan.occluders if kind not in unfit] or list(plan.occluders)
        kind = kinds[int(rng.integers(len(kinds)))]
        seed, amount = int(rng.integers(2**31)), round(float(rng.uniform(0.15, 0.6)), 3)
        return (Occluder(kind=kind, seed=seed, color=muted_color(rng), amount=amount),)


def _asymmetry(spread: float, rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(0, spread), -0.8, 0.8)) if spread else 0.0


def _gaze(movements: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
    """Return where the eyes look: mostly into the camera, unless the expression looks elsewhere."""
    away = 0.5 if rng.random() < 0.25 else 0.12
    drawn = {"gaze_x": float(rng.normal(0, away)), "gaze_y": float(rng.normal(0, away / 2))}
    return {
        name: float(np.clip(value + movements.get(name, 0.0), -1, 1))
        for name, value in drawn.items()
    }


def _rounded(channels: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in channels.items()}


def _draw_pose(name: PoseName, rng: np.random.Generator) -> HeadPose:
    side = 1 if rng.random() < 0.5 else -1
    yaw, pitch, roll = rng.uniform(-1, 1, 3) * (10, 8, 6)
    if name == "tilted":
        pitch, roll = float(rng.uniform(-25, 25)), float(rng.uniform(-25, 25))
    elif name in ("turned", "far"):
        yaw = side * rng.uniform(*((15, 35) if name == "turned" else (35, 60)))
    elif name == "lying":
        roll = side * rng.uniform(50, 180)
    return HeadPose(
        yaw=round(float(yaw), 2), pitch=round(float(pitch), 2), roll=round(float(roll), 2)
    )


_LIGHTS: Final[Mapping[str, tuple[tuple[float, float], ...]]] = {
    "softbox": ((0, 50), (10, 45), (0.35, 0.6), (-0.2, 0.3)),
    "window": ((35, 85), (5, 30), (0.25, 0.45), (-0.5, 0.1)),
    "lamp": ((0, 70), (30, 65), (0.2, 0.4), (0.4, 1.0)),
    "outdoor": ((0, 80), (25, 65), (0.5, 0.8), (-0.3, 0.4)),
    "dim": ((0, 70), (0, 50), (0.3, 0.5), (0.0, 0.9)),
}
"""Kind of light → ranges of azimuth (on either side), elevation, fill and warmth."""


def draw_light(kind: LightName, rng: np.random.Generator) -> Light:
    """Return a light of a kind, drawn at random."""
    azimuth, elevation, fill, warmth = (round(float(rng.uniform(*s)), 3) for s in _LIGHTS[kind])
    return Light(
        kind=kind,
        azimuth=azimuth if rng.random() < 0.5 else -azimuth,
        elevation=elevation,
        strength=round(float(rng.uniform(0.85, 1.15)), 3),
        fill=fill,
        warmth=warmth,
    )


def _draw_background(plan: RenderPlan, rng: np.random.Generator) -> Background:
    kind = plan.backgrounds[int(rng.integers(len(plan.backgrounds)))]
    return Background(kind=kind, seed=int(rng.integers(2**31)), color=muted_color(rng))


def _draw_camera(plan: RenderPlan, rng: np.random.Generator) -> Camera:
    x, y = rng.uniform(-0.04, 0.04, 2).round(4).tolist()
    worse = rng.random() < plan.degraded
    kind = int(rng.integers(4))
    scale = plan.size / 160
    return Camera(
        face_share=round(float(rng.uniform(*plan.face_share)), 3),
        shift=(x, y),
        exposure=round(float(np.exp(rng.normal(0, 0.12))), 3),
        white_balance=round(float(np.clip(rng.normal(0, 0.2), -1, 1)), 3),
        blur_px=round(float(rng.uniform(0.4, 1.4)) * scale, 3) if worse and kind == 0 else 0.0,
        motion_px=round(float(rng.uniform(2, 6)) * scale, 3) if worse and kind == 0 else 0.0,
        motion_degrees=round(float(rng.uniform(0, 180)), 1),
        noise=round(
            float(rng.uniform(0.02, 0.06) if worse and kind == 1 else rng.uniform(0.002, 0.01)), 4
        ),
        resolution=round(float(rng.uniform(0.3, 0.7)), 3) if worse and kind == 2 else 1.0,
        jpeg_quality=int(rng.integers(25, 60)) if worse and kind == 3 else None,
        gray=bool(rng.random() < plan.gray),
    )
