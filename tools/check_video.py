"""Render clips of all ages, tones, lights and occluders, analyze them, and compare with the truth.

    python tools/check_video.py -o check_video [--jobs 2]         # make check-video
    python tools/check_video.py -o check_video --page docs/studies/rendered-clips.md

The clips follow recipes/render/check-video.toml; what is finished is kept. Exit code 1 if a time
stamp differs from the truth, or if faces are found in less than 97 % of the frames that show one
turned by at most 30 degrees without an occluder.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import moppet
from moppet.config import read_settings
from moppet.infer.tracking import overlap
from moppet.processes import run_tasks
from moppet.synthesis.render.build import Studio
from moppet.synthesis.render.clip import MOVEMENTS_SUFFIX, TRUTH_SUFFIX, render_clip
from moppet.synthesis.render.script import ActSettings, CastSettings, Script, ShotSettings
from moppet.values import EXPRESSIONS, GROUPS
from moppet.vocabulary import age_limits

PLAN = Path(__file__).resolve().parents[1] / "recipes" / "render" / "check-video.toml"
LEAST_FOUND = 0.97
PAGE = """# Rendered clips

`make check-video` renders the clips of `recipes/render/check-video.toml`, analyzes them with the
default model and writes this page. The truth is known for every frame. Group: positive, neutral or
negative. Rendered faces are plainer than life, so these figures compare ages, skin tones, poses
and kinds of light with each other; they say little about real recordings.

"""
ACTS = 2
TONES = {3.5: "1-3", 7.5: "4-7", math.inf: "8-10"}
POSES = {15: "to 15°", 30: "15-30°", math.inf: "above 30°"}
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ClipsPlan:
    """The clips: each takes the next of every list."""

    name: str
    clips: int
    seed: int
    seconds: float
    fps: float
    width: int
    height: int
    ages: tuple[str, ...]
    tones: tuple[int, ...]
    lights: tuple[str, ...]
    yaws: tuple[float, ...]
    backgrounds: tuple[str, ...]
    occluders: tuple[str, ...]
    shows: tuple[str, ...]


def script_of(plan: ClipsPlan, clip: int) -> Script:
    """Return the script of a clip; every second one has an uneven frame rate."""
    every = (plan.seconds - 0.6) / ACTS
    acts = tuple(
        ActSettings(
            show=plan.shows[(clip * ACTS + k) % len(plan.shows)],
            start_s=round(0.6 + k * every, 3),
            end_s=round(0.6 + (k + 0.85) * every, 3),
        )
        for k in range(ACTS)
    )

    def turn(values: tuple[Any, ...]) -> Any:
        return values[clip % len(values)]

    person: Any = CastSettings(
        name="person", ages=turn(plan.ages), tones=(turn(plan.tones),), yaw=turn(plan.yaws),
        occluder=turn(plan.occluders), acts=acts,
    )  # fmt: skip
    shot: Any = ShotSettings(
        light=turn(plan.lights), background=turn(plan.backgrounds), face_share=0.45
    )
    return Script(
        name=f"{plan.name}-{clip}", seconds=plan.seconds, fps=plan.fps, width=plan.width,
        height=plan.height, seed=plan.seed, variable_rate=0.3 * (clip % 2), people=(person,),
        shots=(shot,),
    )  # fmt: skip


def make_clip(plan: ClipsPlan, folder: Path, studio: Studio, clip: int) -> int:
    """Render a clip, unless it is there."""
    video = folder / f"{clip:02d}.mp4"
    if not (video.exists() and video.with_suffix(TRUTH_SUFFIX).exists()):
        render_clip(script_of(plan, clip), video, studio)
    return clip


def analyze_clip(plan: ClipsPlan, folder: Path, clip: int) -> list[Row]:
    """Return the frames of a clip: the truth, and what the analyzer found and read."""
    ages = plan.ages[clip % len(plan.ages)]
    video = folder / f"{clip:02d}.mp4"
    truth = pq.read_table(video.with_suffix(MOVEMENTS_SUFFIX)).to_pylist()
    read = moppet.analyze(video).to_pandas().to_dict("records")
    by_frame: dict[int, list[Row]] = {}
    for row in read:
        by_frame.setdefault(int(row["frame"]), []).append(row)
    return [compared(ages, clip, row, by_frame.get(row["frame"], [])) for row in truth]


def compared(ages: str, clip: int, true: Row, found: list[Row]) -> Row:
    box = box_of(true)
    faces = [row for row in found if row["face_id"] == row["face_id"] and row["status"] == "ok"]
    own = [row for row in faces if overlap(box, box_of(row)) > 0.3]
    expression = own[0]["expression"] if own else None
    return {
        "clip": clip,
        "age in years": ages,
        "tone": next(v for most, v in TONES.items() if true["person_skin_tone"] <= most),
        "pose": next(v for most, v in POSES.items() if abs(true["yaw"]) <= most),
        "light": true["light_kind"],
        "occluder": true["occluder_kind"] or "none",
        "expression": true["expression"],
        "read": expression,
        "found": bool(own),
        "others": len(faces) - len(own),
        "time_error_s": abs(found[0]["time_s"] - true["time_s"]) if found else np.nan,
    }  # fmt: skip


def box_of(row: Row) -> Any:
    return np.array([row[f"box_{name}"] for name in "xywh"], np.float32)


def percent(values: list[bool]) -> str:
    return f"{100 * float(np.mean(values)):.1f}" if values else "–"


def table(plan: ClipsPlan, rows: list[Row]) -> str:
    """Return one table: a line for every expression, age, tone, pose, light and occluder."""
    orders: dict[str, list[str]] = {
        "expression": list(EXPRESSIONS),
        "age in years": sorted(set(plan.ages), key=age_limits),
        "tone": list(TONES.values()),
        "pose": list(POSES.values()),
        "light": list(dict.fromkeys(plan.lights)),
        "occluder": ["none", *dict.fromkeys(kind for kind in plan.occluders if kind)],
    }
    lines = ["| | clips | frames | face found % | same expression % | same group % |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip

    def add(title: str, keep: Callable[[Row], bool]) -> None:
        own = [row for row in rows if keep(row)]
        read = [row for row in own if row["read"] in EXPRESSIONS]
        same = [row["read"] == row["expression"] for row in read]
        group = [GROUPS[row["read"]] == GROUPS[row["expression"]] for row in read]
        cells = (len({row["clip"] for row in own}), len(own),
                 percent([row["found"] for row in own]), percent(same), percent(group))  # fmt: skip
        lines.append(f"| {title} | " + " | ".join(map(str, cells)) + " |")

    for name, order in orders.items():
        for value in (one for one in order if one in {row[name] for row in rows}):
            add(f"{name}: {value}", lambda row, n=name, v=value: row[n] == v)  # type: ignore[misc]
    add("**all**", lambda row: True)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the clips")
    parser.add_argument("--plan", type=Path, default=PLAN, help="plan of the clips (TOML)")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--assets", type=Path, help="folder of assets")
    parser.add_argument("--page", type=Path, help="Markdown page to write")
    given = parser.parse_args()
    plan = read_settings(ClipsPlan, given.plan, "plan")
    given.output.mkdir(parents=True, exist_ok=True)
    studio = Studio(given.assets)
    clips = list(range(plan.clips))
    make = partial(make_clip, plan, given.output, studio)
    for number, clip in enumerate(run_tasks(make, clips, given.jobs), 1):
        print(f"clip {clip} ({number} of {plan.clips})", file=sys.stderr, flush=True)
    rows = [
        row
        for part in run_tasks(partial(analyze_clip, plan, given.output), clips, given.jobs)
        for row in part
    ]
    worst = float(np.nanmax([row["time_error_s"] for row in rows]))
    plain = [row for row in rows if row["occluder"] == "none" and row["pose"] != "above 30°"]
    found = float(np.mean([row["found"] for row in plain]))
    text = (
        f"{plan.clips} rendered clips of {plan.seconds:g} s, every second one with an uneven frame "
        f"rate.\nLargest difference of a time stamp from the truth: {1000 * worst:.3f} ms. "
        f"Faces that nobody has: {sum(row['others'] for row in rows)} in {len(rows)} frames.\n\n"
        + table(plan, rows)
    )
    print(text)
    if given.page:
        given.page.write_text(PAGE + text.rstrip() + "\n")
    if worst > 1e-4 or found < LEAST_FOUND:
        sys.exit(f"check-video failed: time stamps off by {worst:.6f} s, faces found {found:.3f}")


if __name__ == "__main__":
    main()
