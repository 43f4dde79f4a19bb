"""Write the truth of the rendered sets, as it is committed in recipes/render/truth.

    python tools/committed_truth.py [recipes/render/fairness.toml ...] [-o recipes/render/truth]

It is computed from the plans; no image is rendered (40 seconds of one core for all three). A plan
of images gives the rows of `moppet synthesize render`'s truth.parquet, without the columns of where
the face is in the image. A script of clips gives one table of all frames, with the clip's half, and
of what never changes during a shot only the columns named in KEPT.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from moppet.config import read_toml
from moppet.synthesis.render.clip import ClipScenes, clip_name, frame_truth
from moppet.synthesis.render.plan import PlannedScenes, RenderPlan, read_plan
from moppet.synthesis.render.rendered_folder import image_truth
from moppet.synthesis.render.script import TICKS, Script, read_script
from moppet.synthesis.render.truth import write_truth

RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "render"
FOLDER = RECIPES / "truth"
PLANS = tuple(RECIPES / f"{name}.toml" for name in ("fairness", "training", "guard"))
FIXED = ("person_", "pose_", "light_", "background_", "camera_", "occluder_")
KEPT = ("person_age_years", "person_skin_tone", "light_kind", "occluder_kind")
"""Of columns that begin as FIXED says. The head's pose is in yaw, pitch and roll."""
Row = dict[str, Any]


def image_rows(plan: RenderPlan, step: int = 1) -> Iterator[Row]:
    """Yield the truth of every image of a plan, or of every step-th one."""
    scenes = PlannedScenes(plan)
    for number in range(0, len(scenes), step):
        yield image_truth(plan, scenes[number])


def clip_rows(script: Script, step: int = 1) -> Iterator[Row]:
    """Yield the truth of everybody in every frame of a script's clips, or in every step-th one."""
    for clip in range(script.clips):
        scenes = ClipScenes(script, clip)
        about = {"video": clip_name(clip), "split": script.split_of(clip)}
        for number in range(0, len(scenes.ticks), step):
            time_s = scenes.ticks[number] / TICKS
            for face_id, role in enumerate(scenes.roles):
                if role.is_there(time_s):
                    scene = scenes.scene_of(role, scenes.backdrop(time_s), time_s)
                    yield about | changing(frame_truth(scenes, number, face_id, scene))


def changing(row: Row) -> Row:
    """Return a frame's row without what follows from the script for a whole shot."""
    return {k: v for k, v in row.items() if k in KEPT or not k.startswith(FIXED)}


def rows_of(path: Path, step: int = 1) -> list[Row]:
    """Return the truth of a plan or a script in a TOML file: all rows, or every step-th image."""
    if "people" in (given := read_toml(path, "plan")) and isinstance(given["people"], list):
        return list(clip_rows(read_script(path), step))
    return list(image_rows(read_plan(path), step))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plans", type=Path, nargs="*", default=PLANS, help="plans and scripts")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER, help="folder of the tables")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for plan in given.plans:
        path = given.output / f"{plan.stem}.parquet"
        write_truth(path, rows_of(plan))
        rows = pq.read_metadata(path).num_rows
        print(f"{path}: {rows:,} rows, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
