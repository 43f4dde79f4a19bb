"""Render sheets of invented people to look at: what a person would laugh at shows here first.

    python tools/render_sheets.py -o sheets
    python tools/render_sheets.py -o sheets --only movements-1 --size 200 --jobs 2

Sheets: expressions (age × expression), infants, hard_negatives, tones (skin × light), occluders,
poses, cameras, backgrounds, hair, and movements-AGE (every movement at 0, 0.5 and 1).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import cv2
import numpy as np

from moppet.processes import run_tasks
from moppet.synthesis.render.build import Studio
from moppet.synthesis.render.expressions import VARIANTS, choose_variants, to_channels
from moppet.synthesis.render.people import draw_person
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
from moppet.values import EXPRESSIONS
from moppet.vocabulary import MOVEMENTS, TWO_WAY_MOVEMENTS

AGES = (0.1, 0.8, 2.0, 4.0, 7.0, 11.0, 16.0, 30.0, 70.0)
TONES = tuple(range(1, 11))
Cell = tuple[str, Scene]
Sheet = list[list[Cell]]
CAMERA = Camera(face_share=0.62, noise=0.003)


def kinds(of: type) -> Sequence[Any]:
    return get_args(get_type_hints(of)["kind"])


def person(age: float, tone: float = 4.0, number: int = 0, **fields: Any) -> Person:
    rng = np.random.default_rng(seed_of("sheets", round(age * 10), round(tone * 10), number))
    return dataclasses.replace(draw_person((age, age), tone, rng), **fields)


def scene(who: Person, movements: dict[str, float] | None = None, **fields: Any) -> Scene:
    fields = {"camera": CAMERA, "background": Background(kind="blur", seed=3)} | fields
    return Scene(person=who, movements=movements or {}, **fields)


def shown(name: str, age: float, intensity: float = 0.9) -> dict[str, float]:
    """Return the movements of an expression, or of a variant at the height of its course."""
    variant = choose_variants(name, age)[0]
    postures = [variant.posture(number) for number in range(len(variant.postures))]
    height = max(postures, key=lambda posture: sum(map(abs, posture.values())))
    return to_channels({key: intensity * value for key, value in height.items()})


def expressions() -> Sheet:
    return [
        [(f"{age:g} {name}", scene(person(age, 3 + 5 * (k % 2)), shown(name, age)))
         for name in EXPRESSIONS]
        for k, age in enumerate(AGES)
    ]  # fmt: skip


def variants_of(kind: str, ages: Sequence[float]) -> Sheet:
    names = [name for name, variant in VARIANTS.items() if variant.kind == kind]
    rows = [names[k : k + 6] for k in range(0, len(names), 6)]
    return [
        [(f"{age:g} {name}", scene(person(age, 2 + 4 * (k % 2)), shown(name, age)))
         for name in row]
        for row in rows for k, age in enumerate(ages)
    ]  # fmt: skip


def tones() -> Sheet:
    return [
        [(f"{tone} {kind}", scene(person(5, tone), shown("happiness", 5, 0.6),
                                  light=Light(kind=kind, azimuth=50), background=Background()))
         for tone in TONES]
        for kind in kinds(Light)
    ]  # fmt: skip


def occluders() -> Sheet:
    people = [person(0.5, 3), person(1.5, 8), person(6, 5), person(30, 9), person(60, 2)]
    return [
        [(f"{kind} {amount}", scene(who, occluders=(Occluder(
            kind=kind, seed=k, amount=amount, color=who.clothing_color[::-1]),)))
         for k, who in enumerate(people) for amount in (0.3, 0.8)]
        for kind in kinds(Occluder)
    ]  # fmt: skip


def poses() -> Sheet:
    turns = [HeadPose(yaw=yaw) for yaw in (-60, -40, -20, 0, 20, 40, 60)]
    tilts = [HeadPose(pitch=pitch) for pitch in (-30, -15, 15, 30)]
    rolls = [HeadPose(roll=roll) for roll in (-25, 25, 90, -90, 170)]
    return [
        [(f"{age:g}", scene(person(age, 4 + age % 5), pose=pose)) for pose in row]
        for row in (turns, [*tilts, *rolls])
        for age in (0.5, 8.0, 35.0)
    ]


def cameras() -> Sheet:
    changes: list[dict[str, Any]] = [
        {}, {"exposure": 0.5}, {"exposure": 1.8}, {"white_balance": 1.0}, {"white_balance": -1.0},
        {"blur_px": 2.0}, {"motion_px": 9.0, "motion_degrees": 30.0}, {"noise": 0.06},
        {"resolution": 0.3}, {"jpeg_quality": 15}, {"gray": True}, {"face_share": 0.3},
    ]  # fmt: skip
    return [
        [(" ".join(change) or "plain",
          scene(person(5, tone), shown("happiness", 5),
                camera=dataclasses.replace(CAMERA, **change)))
         for change in changes]
        for tone in (2, 9)
    ]  # fmt: skip


def backgrounds() -> Sheet:
    return [
        [(kind, scene(person(AGES[k], 1 + k), light=Light(kind=kinds(Light)[k % 5], azimuth=-40),
                      background=Background(kind=kind, seed=k, color=person(4, 3, k).clothing_color
                                            ),
                      camera=dataclasses.replace(CAMERA, face_share=0.4)))
         for k in range(8)]
        for kind in kinds(Background)
    ]  # fmt: skip


def hair() -> Sheet:
    return [
        [(f"{(who := person(age, tone, number)).hair}", scene(who))
         for tone, number in ((2, 0), (2, 1), (4, 2), (5, 3), (7, 4), (8, 5), (10, 6), (10, 7))]
        for age in AGES
    ]  # fmt: skip


def movements(age: float) -> Sheet:
    who = person(age, 4)
    cells: list[Cell] = []
    for name in MOVEMENTS:
        first = -1.0 if name in TWO_WAY_MOVEMENTS else 0.0
        for amount in (first, 0.5, 1.0):
            cells.append((f"{name} {amount:g}", scene(who, to_channels({name: amount}))))
    return [cells[k : k + 9] for k in range(0, len(cells), 9)]


SHEETS: dict[str, Callable[[], Sheet]] = {
    "expressions": expressions,
    "infants": partial(variants_of, "infant", (0.3, 1.2)),
    "hard_negatives": partial(variants_of, "hard_negative", (2.5, 8)),
    "prototypes": partial(variants_of, "prototype", (4, 30)),
    "tones": tones,
    "occluders": occluders,
    "poses": poses,
    "cameras": cameras,
    "backgrounds": backgrounds,
    "hair": hair,
    "movements-1": partial(movements, 1.0),
    "movements-6": partial(movements, 6.0),
    "movements-30": partial(movements, 30.0),
}


def draw(studio: Studio, size: int, task: tuple[int, str, Scene]) -> tuple[int, np.ndarray]:
    """Return a cell's number and its image with a caption."""
    number, caption, what = task
    image = studio.render_square(what, size).image
    strip = np.full((14, size, 3), 255, np.uint8)
    cv2.putText(strip, caption, (2, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.34, (0, 0, 0), 1, cv2.LINE_AA)
    return number, np.vstack([image, strip])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the sheets")
    parser.add_argument("--only", nargs="*", choices=list(SHEETS), help="sheets to render")
    parser.add_argument("--size", type=int, default=160, help="of an image, in pixels")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--renderer", default="rasterizer", choices=("rasterizer", "mitsuba"))
    parser.add_argument("--assets", type=Path, help="folder of assets")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    studio = Studio(given.assets, given.renderer)
    for name in given.only or SHEETS:
        sheet = SHEETS[name]()
        tasks = [(k, *cell) for k, cell in enumerate(cell for row in sheet for cell in row)]
        images = dict(run_tasks(partial(draw, studio, given.size), tasks, given.jobs))
        wide = max(len(row) for row in sheet)
        blank = np.full((given.size + 14, given.size, 3), 255, np.uint8)
        numbers = iter(range(len(tasks)))
        rows = [
            np.hstack([*(images[next(numbers)] for _ in row), *[blank] * (wide - len(row))])
            for row in sheet
        ]
        path = given.output / f"{name}.png"
        cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])
        print(path, flush=True)


if __name__ == "__main__":
    main()
