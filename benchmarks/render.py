"""Seconds an image and core of both renderers, in one run, and what Mitsuba finds of LLVM.

    python benchmarks/render.py [--assets DIR] [--images 5] [-o results/render.json]

Scenes: people of several ages with hair and clothes in several lights, built once; only the
renderers are measured. CPU time of this process, all its threads, after one image to warm up. The
first image of all compiles the rasterizer where no compiled code is on disk.
Ratios: Mitsuba's time over the rasterizer's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
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


def results(assets: Path | None, images: int) -> dict[str, Any]:
    from moppet.synthesis.render import mitsuba_renderer, rasterizer

    def path_traced(scene: Any, size: tuple[int, int]) -> Any:
        return mitsuba_renderer.render(scene, size, samples=MITSUBA_SAMPLES)

    out: dict[str, Any] = {}
    start = time.process_time()
    rasterizer.render(scenes(assets, 32, 1)[0], (32, 32))
    out["first_image_s"] = round(time.process_time() - start, 2)
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
