"""Measure how believable rendered faces are, for readers that never saw one.

    python tools/believability.py recipes/render/believability.toml -o out --jobs 2
        [--yunet yunet.onnx] [--landmarker face_landmarker.task --landmarker-python PYTHON]
        [--alone] [--real ferplus/]

It renders the plan into out/faces (finished images are kept), and writes out/believability.md:

- in short, what is read worst;
- how often MTCNN and YuNet find the face, by pose;
- how often the bundled model reads the expression that is shown, by expression, age and skin;
- how the blendshapes of MediaPipe's Face Landmarker follow the movements that are shown;
- with --real, how far the faces lie from real ones (`moppet quality`).

Shares have Wilson's 95 % interval; correlations one of a bootstrap over people.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from moppet.infer.alignment import align_face
from moppet.infer.detectors import detect_any_way_up, load_detector
from moppet.infer.expression_model import load_model
from moppet.media.sources import natural
from moppet.metrics.bootstrap import bootstrap
from moppet.processes import run_tasks
from moppet.synthesis.render.build import Studio
from moppet.synthesis.render.expressions import to_channels
from moppet.synthesis.render.people import draw_person
from moppet.synthesis.render.plan import read_plan
from moppet.synthesis.render.rendered_folder import TRUTH, render_plan, write_image
from moppet.synthesis.render.scene import Camera, Person, Scene
from moppet.synthesis.settings import seed_of
from moppet.values import EXPRESSIONS, GROUPS
from moppet.vocabulary import MOVEMENTS, SIDED_MOVEMENTS, SIDES

INTRODUCTION = """# How believable rendered faces are

{images} faces of the plan `recipes/render/believability.toml`, shown to readers that never saw a
rendered face. `python tools/believability.py recipes/render/believability.toml -o believability
--page docs/studies/rendered-faces.md` writes this page; its help names the options for YuNet and
Face Landmarker. Shares are in percent with Wilson's 95 % interval; correlations have the 95 %
interval of a bootstrap over people. A dash stands for too few images.

A low agreement has two causes that these figures cannot tell apart: the face that was rendered,
and the reader. The bundled model reads fear and disgust poorly in photos too.

"""
Rows = list[dict[str, Any]]
TONES = {"1-3": (1, 3), "4-7": (4, 7), "8-10": (8, 10)}
POSES = ("frontal", "tilted", "turned", "far", "lying")
OVERLAP = 0.35
"""Least intersection over union of a found and the true box."""
FAINT = 0.25
"""A movement that changes its blendshapes by less, on a scale from 0 to 1, is called faint."""

ALONE_AGES = (0.8, 5.0, 30.0)
# Movement → blendshapes that should follow it, each with its sign; means of both sides.
SHAPES = {
    "inner_brow_raise": {"browInnerUp": 1},
    "outer_brow_raise": {"browOuterUpLeft": 1, "browOuterUpRight": 1},
    "brow_lower": {"browDownLeft": 1, "browDownRight": 1},
    "upper_lid_raise": {"eyeWideLeft": 1, "eyeWideRight": 1},
    "cheek_raise": {"eyeSquintLeft": 1, "eyeSquintRight": 1},
    "lid_tighten": {"eyeSquintLeft": 1, "eyeSquintRight": 1},
    "upper_lip_raise": {"mouthUpperUpLeft": 1, "mouthUpperUpRight": 1},
    "lip_corner_pull": {"mouthSmileLeft": 1, "mouthSmileRight": 1},
    "lip_corner_depress": {"mouthFrownLeft": 1, "mouthFrownRight": 1},
    "lower_lip_depress": {"mouthLowerDownLeft": 1, "mouthLowerDownRight": 1},
    "chin_raise": {"mouthShrugLower": 1},
    "lip_pucker": {"mouthPucker": 1},
    "lip_stretch": {"mouthStretchLeft": 1, "mouthStretchRight": 1},
    "lip_funnel": {"mouthFunnel": 1},
    "lip_press": {"mouthPressLeft": 1, "mouthPressRight": 1},
    "jaw_open": {"jawOpen": 1},
    "blink": {"eyeBlinkLeft": 1, "eyeBlinkRight": 1},
    "gaze_x": {"eyeLookOutLeft": 1, "eyeLookInRight": 1,
               "eyeLookInLeft": -1, "eyeLookOutRight": -1},
    "gaze_y": {"eyeLookUpLeft": 1, "eyeLookUpRight": 1,
               "eyeLookDownLeft": -1, "eyeLookDownRight": -1},
}  # fmt: skip


def wilson(hits: int, count: int) -> str:
    """Return a share in percent with Wilson's 95 % interval, or a dash for no rows."""
    if not count:
        return "–"
    z = 1.96
    share = hits / count
    middle = (share + z * z / 2 / count) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / 4 / count**2) / (1 + z * z / count)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f"{100 * share:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def share_of(rows: Rows, name: str) -> str:
    """Return the share of rows where a column is true; None is left out."""
    values = [bool(row[name]) for row in rows if row[name] is not None]
    return wilson(sum(values), len(values))


def tone_band(row: dict[str, Any]) -> str:
    return next(name for name, (low, high) in TONES.items() if low <= row["tone"] <= high)


# Readers


def read_one(folder: Path, yunet: Path | None, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with what the detectors find and the bundled model reads."""
    data = np.fromfile(folder / row["path"], np.uint8)
    image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1].copy()
    found: dict[str, Any] = {"number": row["number"], "yunet": None, "read": None}
    for name, model in (("mtcnn", None), *((("yunet", yunet),) if yunet else ())):
        detector = _kept(f"detector {name}", partial(load_detector, name, model_path=model))
        faces = detector.detect([image])[0]
        if row["pose"] == "lying":
            faces = detect_any_way_up(detector, image, faces)
        own = [face for face in faces if overlap(face.box_px, row) >= OVERLAP]
        found[name] = bool(own)
        found[f"{name}_others"] = len(faces) - len(own)
        if name == "mtcnn" and own:
            reader = _kept("model", load_model)
            scores = reader.predict(align_face(image, own[0].landmarks_px)[None])
            found["read"] = scores.names[int(scores.probabilities[0].argmax())]
    return found


_LOADED: dict[str, Any] = {}


def _kept(key: str, load: Callable[[], Any]) -> Any:
    if key not in _LOADED:
        _LOADED[key] = load()
    return _LOADED[key]


def overlap(box: Any, row: dict[str, Any]) -> float:
    """Return the intersection over union of a box with the row's true one."""
    true = np.array([row[f"box_{name}"] for name in "xywh"])
    low, high = np.maximum(box[:2], true[:2]), np.minimum(box[:2] + box[2:], true[:2] + true[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    return common / float(np.prod(box[2:]) + np.prod(true[2:]) - common)


def read_blendshapes(
    folder: Path, rows: Rows, model: Path, python: str, out: Path
) -> dict[str, Any]:
    """Return blendshape → (n,) scores of the rows' images."""
    listed, result = out / "paths.txt", out / "blendshapes.npz"
    listed.write_text("".join(f"{folder / row['path']}\n" for row in rows))
    script = Path(__file__).with_name("landmarker_blendshapes.py")
    run = [python, str(script), str(model), str(listed), str(result)]
    subprocess.run(run, check=True, stderr=subprocess.DEVNULL)
    with np.load(result) as archive:
        return dict(zip(archive["names"].tolist(), archive["scores"].T, strict=True))


# In short


def in_short(clear: Rows, changes: dict[str, float]) -> str:
    """Return what a reader of the tables should not miss, as a list.

    clear: faces that nothing covers, turned by at most 35°. changes: movement → mean change of
    its blendshapes when it is shown alone; may be empty.
    """
    frontal = [row for row in clear if row["pose"] == "frontal"]
    lines = []
    for name, title in (("mtcnn", "MTCNN"), ("yunet", "YuNet")):
        missed = [row for row in frontal if row[name] is False]
        if not frontal or frontal[0][name] is None:
            continue
        which = "; ".join(
            f"{row['variant']} of age {row['ages']}, tone {row['tone']}, {row['light_kind']} light"
            for row in missed
        )
        found = f"{title} finds {len(frontal) - len(missed)} of {len(frontal)} frontal faces"
        lines.append(f"{found} that nothing covers" + (f". Missed: {which}." if which else "."))
    for shown in EXPRESSIONS:
        read = [row["read"] for row in clear if row["expression"] == shown and row["read"]]
        most = max(EXPRESSIONS, key=read.count)
        if read.count(most) > read.count(shown):
            share, own = (100 * read.count(name) / len(read) for name in (most, shown))
            lines.append(
                f"The bundled model reads {shown} as {most} ({share:.0f} %) more often than as "
                f"{shown} ({own:.0f} %)."
            )
    faint = [f"`{name}` {change:.2f}" for name, change in changes.items() if change < FAINT]
    if faint:
        lines.append(
            f"Movements that change their blendshapes by less than {FAINT} when they are shown "
            f"alone at full strength: {', '.join(faint)}."
        )
    wrapped = (textwrap.wrap(line, 96, break_on_hyphens=False) for line in lines)
    return "".join("- " + "\n  ".join(parts) + "\n" for parts in wrapped)


# Tables


def table(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    rows = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows) + "\n"


def detection_table(rows: Rows) -> str:
    lines = []
    for pose in POSES:
        own = [row for row in rows if row["pose"] == pose]
        if own:
            clear = [row for row in own if not row["occluder_kind"]]
            covered = [row for row in own if row["occluder_kind"]]
            cells = [
                share_of(part, name) for name in ("mtcnn", "yunet") for part in (clear, covered)
            ]
            lines.append([pose, len(clear), len(covered), *cells])
    header = ("pose", "n", "n covered", "MTCNN", "MTCNN, covered", "YuNet", "YuNet, covered")
    return table(header, lines)


def in_order(value: str) -> tuple[bool, Any]:
    """Return the sort key of a table's first column: expressions as everywhere, ages by years."""
    known = value in EXPRESSIONS
    return not known, EXPRESSIONS.index(value) if known else natural(value)


def reading_table(rows: Rows, name: str, key: Callable[[dict[str, Any]], str]) -> str:
    """Return agreement of the bundled model with what is shown, by a key of the rows."""
    lines = []
    for value in sorted({key(row) for row in rows}, key=in_order):
        own = [row for row in rows if key(row) == value]
        read = [row for row in own if row["read"] is not None]
        lines.append(
            [value, len(read), share_of(read, "agrees"), share_of(read, "agrees_on_group")]
        )
    lines.append(["all", sum(row["read"] is not None for row in rows),
                  share_of(rows, "agrees"), share_of(rows, "agrees_on_group")])  # fmt: skip
    return table((name, "n", "same expression %", "same group %"), lines)


def confusion_table(rows: Rows) -> str:
    lines = []
    for shown in EXPRESSIONS:
        own = [row["read"] for row in rows if row["expression"] == shown and row["read"]]
        lines.append(
            [
                shown,
                len(own),
                *(
                    f"{100 * own.count(read) / len(own):.0f}" if own else "–"
                    for read in EXPRESSIONS
                ),
            ]
        )
    return table(("shown \\ read (%)", "n", *EXPRESSIONS), lines)


def truth_of(rows: Rows, movement: str) -> np.ndarray:
    """Return how far a movement goes in every row: (n,), mean of both sides."""
    sided = movement in SIDED_MOVEMENTS
    names = [f"m_{movement}_{side}" for side in SIDES] if sided else [f"m_{movement}"]
    return np.mean([[row[name] for name in names] for row in rows], axis=1)


def follows(true: np.ndarray, read: np.ndarray, subjects: np.ndarray) -> str:
    """Return the correlation with its interval; a dash where the movement hardly occurs."""
    seen = np.isfinite(read)
    true, read, subjects = true[seen], read[seen], subjects[seen]
    if seen.sum() < 20 or (np.abs(true) > 0.15).sum() < 8:
        return "–"

    def correlation(rows: np.ndarray) -> float:
        a, b = true[rows], read[rows]
        return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else np.nan

    one = bootstrap(correlation, subjects, np.random.default_rng(0), 300)
    return f"{one.value:.2f} ({one.low:.2f}–{one.high:.2f})"


def blendshape_table(rows: Rows, shapes: dict[str, Any]) -> str:
    subjects = np.array([row["subject"] for row in rows])
    ages = sorted({row["ages"] for row in rows}, key=natural)
    bands = {
        "all": np.ones(len(rows), bool),
        **{f"{age} y": np.array([row["ages"] == age for row in rows]) for age in ages},
        **{f"tone {t}": np.array([tone_band(row) == t for row in rows]) for t in TONES},
    }
    lines = []
    for movement, parts in SHAPES.items():
        true = truth_of(rows, movement)
        read = np.mean([sign * shapes[name] for name, sign in parts.items()], axis=0)
        cells = [follows(true[own], read[own], subjects[own]) for own in bands.values()]
        lines.append([movement, *cells])
    found = [f"{100 * np.isfinite(shapes['jawOpen'][own]).mean():.1f} %" for own in bands.values()]
    return table(("movement", *bands), [["face found", *found], *lines])


def render_alone(
    studio: Studio, folder: Path, size: int, task: tuple[str, Person, str]
) -> dict[str, Any]:
    """Render one movement alone at its full strength ("" for none), and return its row."""
    name, person, movement = task
    moved = to_channels({movement: 1.0}) if movement else {}
    scene = Scene(person=person, movements=moved, camera=Camera(face_share=0.6, noise=0.003))
    write_image(folder / name, studio.render_square(scene, size).image)
    return {"path": name, "age": person.age_years, "movement": movement}


def alone_table(
    studio: Studio, size: int, jobs: int, read: Callable[[Path, Rows], dict[str, Any]], out: Path
) -> tuple[str, dict[str, float]]:
    """Return how each movement alone changes its blendshapes, and which change most.

    The second value is each movement's mean change over all people.
    """
    folder = out / "alone"
    people = [
        draw_person((age, age), tone, np.random.default_rng(seed_of("alone", int(age), tone)))
        for age in ALONE_AGES for tone in (3, 8)
    ]  # fmt: skip
    tasks = [
        (f"{number}_{movement or 'rest'}.png", person, movement)
        for number, person in enumerate(people) for movement in ("", *MOVEMENTS)
    ]  # fmt: skip
    rows = list(run_tasks(partial(render_alone, studio, folder, size), tasks, jobs))
    shapes = read(folder, rows)
    names = list(shapes)
    scores = np.stack([shapes[name] for name in names], axis=1)
    resting = {row["path"].split("_")[0]: k for k, row in enumerate(rows) if not row["movement"]}
    change = np.stack(
        [scores[k] - scores[resting[row["path"].split("_")[0]]] for k, row in enumerate(rows)]
    )
    lines, changes = [], {}
    for movement in MOVEMENTS:
        own = np.array([row["movement"] == movement for row in rows])
        mean = np.nanmean(change[own], axis=0)
        most = [f"{names[k]} {mean[k]:+.2f}" for k in np.argsort(-np.abs(mean))[:4]]
        parts = SHAPES.get(movement, {})
        if parts:
            changes[movement] = float(
                np.mean([sign * mean[names.index(n)] for n, sign in parts.items()])
            )
        cells = []
        for age in ALONE_AGES:
            aged = own & np.array([row["age"] == age for row in rows])
            means = [sign * np.nanmean(change[aged, names.index(n)]) for n, sign in parts.items()]
            cells.append(f"{np.mean(means):+.2f}" if means else "–")
        lines.append([movement, *cells, ", ".join(most)])
    ages = [f"{age:g} y" for age in ALONE_AGES]
    return table(("movement", *ages, "blendshapes that change most"), lines), changes


def quality_text(folder: Path, real: Path, out: Path) -> str:
    """Return what `moppet quality` prints of the rendered faces against real ones."""
    run = [sys.executable, "-m", "moppet", "quality", str(folder), str(real), "-o",
           str(out / "quality")]  # fmt: skip
    done = subprocess.run(run, capture_output=True, text=True)
    return f"```\n{(done.stdout or done.stderr).strip()}\n```\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plan", type=Path, help="a plan of rendered faces (TOML)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for all results")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--limit", type=int, help="only the first images of the plan")
    parser.add_argument("--assets", type=Path, help="folder of assets")
    parser.add_argument("--yunet", type=Path, help="YuNet's ONNX file")
    parser.add_argument("--landmarker", type=Path, help="face_landmarker.task")
    parser.add_argument("--landmarker-python", help="Python of an environment with mediapipe")
    parser.add_argument("--alone", action="store_true", help="also every movement alone")
    parser.add_argument("--page", type=Path, help="Markdown page to write, for the documents")
    parser.add_argument("--real", type=Path, help="real images for `moppet quality`")
    given = parser.parse_args()
    plan = read_plan(given.plan)
    folder = given.output / "faces"
    given.output.mkdir(parents=True, exist_ok=True)
    studio = Studio(given.assets, plan.renderer)
    render = partial(studio.render_square, size=plan.size)
    render_plan(plan, folder, render, jobs=given.jobs, limit=given.limit)
    rows: Rows = pq.read_table(folder / TRUTH).to_pylist()
    by_number = {row["number"]: row for row in rows}
    for found in run_tasks(partial(read_one, folder, given.yunet), rows, given.jobs):
        by_number[found["number"]] |= found
    for row in rows:
        read = row["read"]
        row["agrees"] = read and read == row["expression"]
        row["agrees_on_group"] = read and GROUPS[read] == GROUPS[row["expression"]]
    clear = [row for row in rows if not row["occluder_kind"] and row["pose"] in POSES[:3]]
    changes: dict[str, float] = {}
    text = f"## Detection\n\n{detection_table(rows)}\n"
    text += "## The bundled model\n\nFaces without occluders, turned by at most 35°.\n\n"
    text += reading_table(clear, "expression", lambda row: row["expression"]) + "\n"
    text += confusion_table(clear) + "\n"
    text += reading_table(clear, "age in years", lambda row: row["ages"]) + "\n"
    text += reading_table(clear, "Monk tone", tone_band) + "\n"
    text += reading_table(clear, "variant", lambda row: row["variant"]) + "\n"
    if given.landmarker and given.landmarker_python:
        read = partial(
            read_blendshapes, model=given.landmarker, python=given.landmarker_python,
            out=given.output,
        )  # fmt: skip
        shapes = read(folder, clear)
        text += "## Face Landmarker\n\nPearson's correlation of blendshapes with movements.\n\n"
        text += blendshape_table(clear, shapes) + "\n"
        if given.alone:
            alone, changes = alone_table(studio, 256, given.jobs, read, given.output)
            text += (
                "Change of the blendshapes when one movement alone goes from 0 to 1. A gaze has\n"
            )
            text += "four blendshapes, of which two change: its mean is at most 0.5.\n\n"
            text += alone + "\n"
    if given.real:
        text += f"## Against real faces\n\n{quality_text(folder, given.real, given.output)}"
    text = f"## In short\n\n{in_short(clear, changes)}\n{text}"
    (given.output / "believability.md").write_text(text)
    if given.page:
        given.page.write_text(INTRODUCTION.format(images=len(rows)) + text.rstrip() + "\n")
    print(text)


if __name__ == "__main__":
    main()
