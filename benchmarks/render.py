"""Seconds an image and core: whole images of committed sets, both renderers alone, and what Mitsuba
finds of LLVM.

    python benchmarks/render.py [--assets DIR] [--images 5] [-o results/render.json]

Sets: several people of training.toml and several clips of guard.toml, with all that an image or a
frame needs: scene, parts, rasterizer, camera. The first image of a person builds the head, hair and
clothes, which the following ones use again.
Renderers: people of several ages with hair and clothes in several lights, built once; only the
renderers are measured. Ratios: Mitsuba's time over the rasterizer's.
CPU time of this process, all its threads, after one image to warm up; busy neighbors on the same
processor make it longer ("load_before"). The first image of all compiles the rasterizer where no
compiled code is on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent / "recipes" / "render"
SIZES = (160, 512)
MITSUBA_SAMPLES = 16
"""Paths a pixel. The best stills use 64 or more and take that many times longer."""


def scenes(assets: Path | None, size: int, count: int) -> list[Any]:
    from moppet.synthesis.render.build import build_scene
    from moppet.synthesis.render.scene import Light, Person, Scene

    people = (("short", 4, "softbox"), ("long", 9, "window"), ("crop", 40, "outdoor"))
    people += (("wisps", 1, "lamp"), ("bob", 25, "dim"))
    made = []
    for k in range(count):
        hair, age, light = people[k % len(people)]
        person = Person(seed=k, age_years=age, hair=hair, skin_tone=1 + 9 * k / max(count - 1, 1))
        made.append(build_scene(Scene(person=person, light=Light(kind=light)), assets, size))
    return made


def measure(render: Callable[..., Any], made: Sequence[Any], size: int) -> float:
    """Return CPU seconds an image."""
    render(made[0], (size, size))
    start = time.process_time()
    for scene in made:
        render(scene, (size, size))
    return (time.process_time() - start) / len(made)


def measure_sets(assets: Path | None, people: int) -> dict[str, Any]:
    """Return CPU seconds of a first image or frame of a person, and of the following ones."""
    from moppet.synthesis.render.build import Studio
    from moppet.synthesis.render.clip import ClipScenes, render_frame
    from moppet.synthesis.render.plan import PlannedScenes, read_plan
    from moppet.synthesis.render.script import read_script

    studio = Studio(assets)
    plan = read_plan(RECIPES / "training.toml")
    drawn = PlannedScenes(plan)
    numbers = [range(person, plan.images, plan.people) for person in range(people + 1)]
    images = [
        [partial(studio.render_square, drawn[k].scene, plan.size) for k in own] for own in numbers
    ]
    script = read_script(RECIPES / "guard.toml")
    frames = []
    for clip in range(people + 1):
        scenes = ClipScenes(script, clip)
        times = range(clip, len(scenes.ticks), len(scenes.ticks) // 12)
        frames.append([partial(render_frame, scenes, studio, k) for k in times])
    return {
        f"training.toml, {plan.size} px": _first_and_following(images),
        f"guard.toml, {script.width} x {script.height} px": _first_and_following(frames),
    }


def _first_and_following(made: Sequence[Sequence[Callable[[], Any]]]) -> dict[str, Any]:
    """Return CPU seconds of the first work of each row, and of the others; the first row warms."""
    seconds: list[list[float]] = []
    for row in made:
        seconds.append([])
        for work in row:
            start = time.process_time()
            work()
            seconds[-1].append(time.process_time() - start)
    rest = [one for row in seconds[1:] for one in row[1:]]
    return {
        "first_s": round(sum(row[0] for row in seconds[1:]) / len(seconds[1:]), 3),
        "following_s": round(sum(rest) / len(rest), 3),
        "images": len(rest) + len(seconds[1:]),
    }


def results(assets: Path | None, images: int) -> dict[str, Any]:
    from moppet.synthesis.render import mitsuba_renderer, rasterizer

    def path_traced(scene: Any, size: tuple[int, int]) -> Any:
        return mitsuba_renderer.render(scene, size, samples=MITSUBA_SAMPLES)

    out: dict[str, Any] = {}
    start = time.process_time()
    rasterizer.render(scenes(assets, 32, 1)[0], (32, 32))
    out["first_image_s"] = round(time.process_time() - start, 2)
    out |= measure_sets(assets, images)
    out["mitsuba_variant"] = mitsuba_renderer.load_mitsuba().variant()
    for size in SIZES:
        made = scenes(assets, size, images)
        fast = measure(rasterizer.render, made, size)
        slow = measure(path_traced, made[:2], size)
        triangles = sum(len(part.triangles) for scene in made for part in scene.parts)
        out[f"{size} px"] = {
            "triangles": triangles // len(made),
            "rasterizer_s": round(fast, 3),
            "rasterizer_images_per_s": round(1 / fast, 2),
            f"mitsuba_{MITSUBA_SAMPLES}_s": round(slow, 2),
            "mitsuba, times rasterizer": round(slow / fast, 1),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, help="asset folder; without it, the package's")
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "render.json")
    options = parser.parse_args()
    if options.images < 2:
        sys.exit(f"--images must be at least 2, not {options.images}.")
    found = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "numba": version("numba"),
        "mitsuba": version("mitsuba"),
        "load_before": round(os.getloadavg()[0], 2),
        **results(options.assets, options.images),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
