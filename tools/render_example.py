"""Render the example clip and the test images from MakeHuman's CC0 heads.

The people in them do not exist: every image is path-traced by Mitsuba 3 from a parametric
head, so the truth (who, which expression, where) is known and nobody's privacy is touched.
The results are kept in the repository; this command is only needed to make them anew:

    pip install mitsuba==3.9.1 numpy scipy pillow 'opencv-python-headless<5' av
    python tools/render_example.py --clip --stills --sketch ../shared/prototypes/render

SF_VARIANT=llvm_ad_rgb with DRJIT_LIBLLVM_PATH set to an LLVM 19 library is about twice as fast.
"""

import argparse
import csv
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np

from rendered_person import (
    EXPRESSIONS,
    Person,
    Shot,
    backdrop,
    composite,
    person,
    render_shot,
)

REPOSITORY = Path(__file__).resolve().parents[1]
FPS = 12
CLIP_SIZE = (480, 360)
HOLD_FRAMES, BLEND_FRAMES, GAP_FRAMES = 22, 6, 24
TRUTH_COLUMNS = (
    "frame", "time_s", "person", "expression", "from", "to", "t", "held",
    "box_x", "box_y", "box_w", "box_h",
)  # fmt: skip
BLINK = (0.6, 1.0, 0.5)  # lid closure over three frames: a quarter of a second

CHILD_A = person(
    "A", {"caucasian": 0.75, "asian": 0.25}, 4, skin="skin_cf", eye="green",
    brow="brow001", hair="hair_short04", hair_tint=(0.30, 0.19, 0.10), shirt=(0.55, 0.12, 0.08),
)  # fmt: skip
CHILD_B = person(
    "B", {"african": 1.0}, 8, exposure=1.5, skin="skin_bm", eye="brown", gender=0.2,
    brow="brow001", hair="hair_ponytail01", hair_tint=(0.05, 0.04, 0.035), shirt=(0.75, 0.5, 0.08),
)  # fmt: skip


# ---------- the clip


@dataclass(frozen=True)
class Moment:
    """What one frame of the clip shows; shot is None where nobody is there."""

    shot: Shot | None
    start: str = ""
    end: str = ""
    t: float = 1.0
    held: bool = False


def mix(start: dict[str, Any], end: dict[str, Any], t: float) -> dict[str, Any]:
    mixed: dict[str, Any] = {}
    for unit in sorted({*start, *end}):
        zero = (0.0, 0.0, 0.0) if unit == "B" else 0.0
        a, b = np.array(start.get(unit, zero)), np.array(end.get(unit, zero))
        mixed[unit] = (a + (b - a) * t).tolist()
    return mixed


def stay(who: Person, order: tuple[str, ...], first: int, shift: tuple[float, float],
         blink_at: tuple[int, ...]) -> Iterator[Moment]:  # fmt: skip
    """Yield one person's frames: each expression of the order held, with blends between."""
    plan: list[tuple[str, str, float]] = []
    for number, name in enumerate(order):
        if number:
            steps = [(i + 1) / (BLEND_FRAMES + 1) for i in range(BLEND_FRAMES)]
            plan += [(order[number - 1], name, s * s * (3 - 2 * s)) for s in steps]
        plan += [(name, name, 1.0)] * HOLD_FRAMES
    for i, (start, end, t) in enumerate(plan):
        units = mix(EXPRESSIONS[start], EXPRESSIONS[end], t)
        for blink in blink_at:
            if 0 <= i - blink < len(BLINK):
                units["AU43"] = BLINK[i - blink]
        s = (first + i) / FPS
        shot = Shot(who, units, yaw=7 * np.sin(1.5 * s), pitch=2.5 * np.sin(2.3 * s + 1),
                    roll=2 * np.sin(1.1 * s), zoom=0.92, seed=first + i,
                    shift=(shift[0] + 0.02 * np.sin(0.9 * s), shift[1]))  # fmt: skip
        yield Moment(shot, start, end, t, held=start == end)


def clip_plan() -> list[Moment]:
    plan = list(stay(CHILD_A, ("neutral", "happiness", "surprise", "sadness"), 0,
                     (-0.1, 0.02), (11,)))  # fmt: skip
    plan += [Moment(None)] * GAP_FRAMES
    plan += stay(CHILD_B, ("neutral", "sadness", "happiness", "surprise"), len(plan),
                 (0.12, 0.04), (9,))  # fmt: skip
    return plan


def truth_row(frame: int, moment: Moment, truth: dict[str, Any] | None) -> list[Any]:
    time_s = f"{frame / FPS:.6f}"
    if moment.shot is None or truth is None:
        return [frame, time_s, *[""] * 4, "", 0, *[""] * 4]
    name = moment.end if moment.t >= 0.5 else moment.start
    return [frame, time_s, moment.shot.person.name, name, moment.start, moment.end,
            round(moment.t, 4), int(moment.held), *truth["box_px"]]  # fmt: skip


def make_clip(sf: ModuleType, out: Path, cache: Path, samples: int) -> None:
    """Write examples/child.mp4 and its truth; frames done earlier are taken from the cache."""
    wall, maps = backdrop(CLIP_SIZE, (0.36, 0.42, 0.46), seed=1), {}
    images, rows = [], []
    for frame, moment in enumerate(clip_plan()):
        truth, image = None, composite(sf, [], wall)
        if moment.shot is not None:
            image, truth = cached_shot(sf, moment.shot, wall, cache, samples, maps)
        images.append(image)
        rows.append(truth_row(frame, moment, truth))
    write_video(out / "child.mp4", images)
    with (out / "child_truth.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        writer.writerows(rows)


def cached_shot(sf: ModuleType, shot: Shot, wall: np.ndarray, cache: Path, samples: int,
                maps: dict[Any, Any]) -> tuple[np.ndarray, dict[str, Any]]:  # fmt: skip
    """Return image and truth of a shot, rendered once for each content of the shot."""
    key = hashlib.sha256(f"{shot!r} {samples} {wall.sum()}".encode()).hexdigest()[:20]
    image, truth = cache / f"{key}.png", cache / f"{key}.json"
    if not truth.exists():
        layer, found = render_shot(sf, shot, (wall.shape[1], wall.shape[0]), samples, maps)
        cv2.imwrite(str(image), composite(sf, [layer], wall)[..., ::-1])
        truth.write_text(json.dumps(found))
    return cv2.imread(str(image))[..., ::-1], json.loads(truth.read_text())


def write_video(path: Path, images: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *CLIP_SIZE, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        if codec == "libx264":
            stream.options = {"crf": "23", "preset": "slow"}
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


# ---------- the test images

TODDLER_LIGHT = person(
    "toddler_light", {"caucasian": 1.0}, 1, skin="skin_cf", eye="blue", brow="brow001",
    hair="hair_short04", hair_tint=(0.45, 0.33, 0.18), shirt=(0.2, 0.45, 0.35),
)  # fmt: skip
TODDLER_DARK = person(
    "toddler_dark", {"african": 1.0}, 1, exposure=1.5, skin="skin_bm", brow="brow001",
    hair="hair_short04", hair_tint=(0.05, 0.04, 0.035), shirt=(0.6, 0.6, 0.55),
)  # fmt: skip
CHILD_ASIAN = person(
    "child_asian", {"asian": 1.0}, 5, skin="skin_am", brow="brow001", gender=0.1,
    hair="hair_long01", hair_tint=(0.06, 0.045, 0.04), shirt=(0.25, 0.3, 0.6),
)  # fmt: skip
CHILD_DARK = person(
    "child_dark", {"african": 1.0}, 5, exposure=1.5, skin="skin_bm", brow="brow001",
    hair="hair_short01", hair_tint=(0.05, 0.04, 0.035), shirt=(0.6, 0.2, 0.1),
)  # fmt: skip
ADULT_LIGHT = person(
    "adult_light", {"caucasian": 1.0}, 30, skin="skin_cm", eye="blue", gender=0.9,
    brow="brow001", hair="hair_short02", hair_tint=(0.3, 0.2, 0.12), shirt=(0.2, 0.22, 0.25),
)  # fmt: skip
ADULT_DARK = person(
    "adult_dark", {"african": 1.0}, 30, exposure=1.5, skin="skin_bm", gender=0.9,
    brow="brow001", hair="hair_short04", hair_tint=(0.05, 0.04, 0.035), shirt=(0.5, 0.5, 0.2),
)  # fmt: skip
STILLS: dict[str, tuple[tuple[int, int], list[tuple[str, Shot]]]] = {}


def still(name: str, who: Person, expression: str, strength: float = 1.0, **pose: Any) -> None:
    """Enter one image; small flat faces need less strength, or the lip covers the nose."""
    units = mix({}, EXPRESSIONS[expression], strength)
    shot = Shot(who, units, zoom=0.95, shift=(0.0, 0.04), **pose)
    STILLS[name] = ((320, 320), [(expression, shot)])


still("age01_light_neutral", TODDLER_LIGHT, "neutral", yaw=4)
still("age01_dark_happiness", TODDLER_DARK, "happiness", 0.6, yaw=-5, pitch=2)
still("age05_asian_happiness", CHILD_ASIAN, "happiness", 0.65, yaw=-4)
still("age05_dark_neutral_turned", CHILD_DARK, "neutral", yaw=25)
still("age30_light_happiness_turned", ADULT_LIGHT, "happiness", yaw=-25)
still("age30_dark_neutral", ADULT_DARK, "neutral", yaw=5, roll=3)
STILLS["three_people"] = (
    (640, 360),
    [
        ("neutral", Shot(ADULT_DARK, {}, yaw=8, zoom=0.72, shift=(0.0, -0.08))),
        ("happiness", Shot(CHILD_ASIAN, mix({}, EXPRESSIONS["happiness"], 0.65), yaw=6,
                           zoom=0.62, shift=(-0.52, 0.17))),
        ("surprise", Shot(CHILD_A, EXPRESSIONS["surprise"], yaw=-10, zoom=0.62,
                          shift=(0.55, 0.17))),
    ],
)  # fmt: skip


def make_stills(sf: ModuleType, out: Path, samples: int) -> None:
    """Write the test images and truth.json, one list of faces for each image."""
    truth: dict[str, list[dict[str, Any]]] = {}
    for name, (size, cast) in STILLS.items():
        layers, faces = [], []
        for expression, shot in cast:
            layer, found = render_shot(sf, shot, size, samples, {})
            layers.append(layer)
            about = {"expression": expression, "years": shot.person.look["years"]}
            pose = {"yaw_deg": shot.yaw, "pitch_deg": shot.pitch, "roll_deg": shot.roll}
            faces.append(about | pose | found)
        wall = backdrop(size, (0.42, 0.4, 0.36), seed=len(truth))
        image = np.ascontiguousarray(composite(sf, layers, wall)[..., ::-1])
        cv2.imwrite(str(out / f"{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        truth[f"{name}.jpg"] = faces
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip", action="store_true", help="make examples/child.mp4")
    parser.add_argument("--stills", action="store_true", help="make tests/pictures")
    parser.add_argument("--sketch", type=Path, default=REPOSITORY / "../shared/prototypes/render",
                        help="the folder with synthface.py")  # fmt: skip
    parser.add_argument("--out", type=Path, default=REPOSITORY, help="the repository's root")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/render_cache"),
                        help="rendered frames are kept here, so a stop loses nothing")  # fmt: skip
    parser.add_argument("--samples", type=int, default=24,
                        help="light paths a pixel; the stills take twice as many")  # fmt: skip
    arguments = parser.parse_args()
    if not (arguments.clip or arguments.stills):
        parser.error("Nothing to render: ask for --clip, --stills or both.")
    if not (arguments.sketch / "synthface.py").exists():
        parser.error(f"No synthface.py in {arguments.sketch}. Name its folder with --sketch.")
    sys.path.insert(0, str(arguments.sketch))
    os.environ.setdefault("SF_VARIANT", "scalar_rgb")
    sf = importlib.import_module("synthface")
    folders = arguments.out / "examples", arguments.out / "tests" / "pictures", arguments.cache
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    if arguments.stills:
        make_stills(sf, folders[1], 2 * arguments.samples)
    if arguments.clip:
        make_clip(sf, folders[0], arguments.cache, arguments.samples)


if __name__ == "__main__":
    main()
