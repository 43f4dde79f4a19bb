"""A folder of rendered faces: images, a manifest of them, and the whole truth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from moppet.config import check_settings
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.datasets.provenance import RENDERED, synthetic_columns
from moppet.files import parse_json, read_bytes, write_bytes, write_text
from moppet.processes import run_tasks
from moppet.synthesis.render.people import Looks
from moppet.synthesis.render.plan import SPLITS, Drawn, PlannedScenes, RenderPlan
from moppet.synthesis.render.scene import Scene
from moppet.synthesis.render.truth import (
    FACE_COLUMNS,
    Rendered,
    face_columns,
    scene_columns,
    write_truth,
)
from moppet.synthesis.settings import seed_of
from moppet.values import Image, MoppetError, UsageError
from moppet.vocabulary import age_band

IMAGES: Final = "images"
MANIFEST: Final = "manifest.parquet"
TRUTH: Final = "truth.parquet"
PLAN: Final = "plan.json"
_LOG: Final = "done.jsonl"
_VERSION: Final = 1
"""Goes up when the same plan draws other scenes; images of another version are not continued."""
_JPEG_QUALITY: Final = 95
_MOST_PER_TASK: Final = 16

Render = Callable[[Scene], Rendered]
"""Renders a scene; raises MoppetError where it cannot be rendered."""
Progress = Callable[[str, int, int], None]


class Counts(NamedTuple):
    """What a run made. kept: images of an earlier run. left_out: reason → number of images."""

    rendered: int
    kept: int
    left_out: Mapping[str, int]
    people: int
    splits: Mapping[str, int]


@dataclass(frozen=True)
class _Line:
    """A line of the log. path: of the image in the folder; None if it was left out."""

    number: int
    path: str | None = None
    content_hash: str = ""
    reason: str = ""
    face: Any = None


def render_plan(
    plan: RenderPlan,
    folder: Path,
    render: Render,
    *,
    jobs: int = 1,
    limit: int | None = None,
    progress: Progress | None = None,
    looks: Looks | None = None,
) -> Counts:
    """Render a plan's images into a folder, and write its manifest and truth.

    render: called in `jobs` processes, so it must be a function of a module, or a partial of one.
    limit: only the first so many images. An interrupted run keeps its images; the same call
    renders what is missing. looks: what an asset folder adds to the people.
    Raises UsageError if the folder holds something else, MoppetError if it cannot be written or
    no image could be rendered.
    """
    scenes = PlannedScenes(plan, looks)
    total = plan.images if limit is None else min(limit, plan.images)
    done = _start(folder, plan, looks)
    kept = sum(number < total for number in done)
    missing = [number for number in range(total) if number not in done]
    work = partial(_render_numbers, scenes, folder, render)
    with (folder / _LOG).open("a", encoding="utf-8") as log:
        for lines in run_tasks(work, _tasks(scenes, missing), jobs):
            for line in lines:
                done[line.number] = line
                log.write(json.dumps(asdict(line)) + "\n")
            log.flush()
            if progress is not None:
                progress("rendering", sum(number < total for number in done), total)
    lines = [done[number] for number in range(total)]
    shown = [line for line in lines if line.path is not None]
    if not shown:
        raise MoppetError(f"no image of the plan could be rendered: {lines[0].reason}")
    drawn = [scenes[line.number] for line in shown]
    _write_tables(plan, folder, drawn, shown)
    reasons = Counter(line.reason for line in lines if line.path is None)
    splits = Counter(one.split for one in drawn)
    return Counts(
        rendered=len(missing),
        kept=kept,
        left_out=dict(reasons),
        people=len({one.person for one in drawn}),
        splits={split: splits[split] for split in SPLITS if splits[split]},
    )


def image_truth(
    plan: RenderPlan, drawn: Drawn, face: Mapping[str, float | None] | None = None
) -> dict[str, Any]:
    """Return column → value of an image's row in the table of truth.

    face: FACE_COLUMNS of the rendered image. Without them, the row is what the plan alone says.
    """
    return {
        "path": _image_name(plan, drawn),
        "number": drawn.number,
        "subject": _subject(plan, drawn),
        "split": drawn.split,
        "expression": drawn.expression,
        "variant": drawn.variant,
        "intensity": drawn.intensity,
        "blend": drawn.blend,
        "ages": drawn.ages,
        "tone": drawn.tone,
        "pose": drawn.pose,
        **(face or {}),
        **scene_columns(drawn.scene),
    }


def added_looks(looks: Looks | None) -> dict[str, Any]:
    """Return what a kept plan says of an asset folder's looks; nothing without one."""
    return {"looks": asdict(looks)} if looks else {}


def start_folder(folder: Path, name: str, about: Mapping[str, Any], others: str) -> None:
    """Make a folder and keep in it, under a name, what its files are made of.

    A folder that says the same is used again. others: what else its files may be made of.
    Raises UsageError if it holds those or other files, MoppetError if it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Choose a new folder with -o.")
    text = json.dumps(about, indent=1) + "\n"
    if folder.is_dir() and any(folder.iterdir()):
        before = ""
        with suppress(MoppetError):
            before = read_bytes(folder / name, "plan").decode("utf-8", "replace")
        if before != text:
            what = others if before else "other files"
            raise UsageError(f"{folder} contains {what}. Choose a new folder with -o.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MoppetError(f"{folder} cannot be made: {error.strerror}.") from None
    write_text(folder / name, text)


def write_image(path: Path, image: Image) -> bytes:
    """Write an image as its suffix says, .png or .jpg, and return the file's content."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise MoppetError(f"{path} cannot be written as an image.")
    write_bytes(path, data.tobytes())
    return bytes(data)


def _start(folder: Path, plan: RenderPlan, looks: Looks | None) -> dict[int, _Line]:
    """Return the finished images of an earlier run of the same plan, by number."""
    about = {"version": _VERSION, **asdict(plan), **added_looks(looks)}
    start_folder(folder, PLAN, about, "images of another plan")
    log = folder / _LOG
    return _read_log(folder, log) if log.exists() else {}


def _read_log(folder: Path, log: Path) -> dict[int, _Line]:
    found: dict[int, _Line] = {}
    lines = read_bytes(log, "log").splitlines()
    for content in lines:
        with suppress(MoppetError):  # the last line of a run that was killed
            line = check_settings(_Line, parse_json(content, "it"))
            if line.path is None or (folder / line.path).is_file():
                found[line.number] = line
    if lines:  # what a killed run left without an end must not join the next line
        text = "".join(json.dumps(asdict(line)) + "\n" for line in found.values())
        write_text(log, text)
    return found


def _tasks(scenes: PlannedScenes, numbers: Iterable[int]) -> list[list[int]]:
    """Return the numbers by person, a few at a time: a person's head is built once per process."""
    by_person: dict[int, list[int]] = {}
    for number in numbers:
        by_person.setdefault(scenes.person_of(number), []).append(number)
    most = _MOST_PER_TASK
    return [own[at : at + most] for own in by_person.values() for at in range(0, len(own), most)]


def _render_numbers(
    scenes: PlannedScenes, folder: Path, render: Render, numbers: Sequence[int]
) -> list[_Line]:
    return [_render_one(scenes[number], folder, render, scenes.plan) for number in numbers]


def _render_one(drawn: Drawn, folder: Path, render: Render, plan: RenderPlan) -> _Line:
    try:
        rendered = render(drawn.scene)
    except MoppetError as error:
        if isinstance(error, UsageError):
            raise
        return _Line(drawn.number, reason=str(error))
    name = _image_name(plan, drawn)
    data = write_image(folder / name, rendered.image)
    decoded: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    hashed = content_hash(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8))
    return _Line(drawn.number, name, hashed, face=face_columns(*rendered[1:]))


def _write_tables(
    plan: RenderPlan, folder: Path, drawn: Sequence[Drawn], lines: Sequence[_Line]
) -> None:
    manifest = _manifest(plan, folder, drawn, lines)
    rows = [
        image_truth(plan, one, {name: (line.face or {}).get(name) for name in FACE_COLUMNS})
        for one, line in zip(drawn, lines, strict=True)
    ]
    write_truth(folder / TRUTH, rows)
    manifest.write(folder / MANIFEST)


def _image_name(plan: RenderPlan, drawn: Drawn) -> str:
    return f"{IMAGES}/{drawn.expression}/{drawn.number:06d}.{plan.format}"


def _subject(plan: RenderPlan, drawn: Drawn) -> str:
    return f"{plan.name}-{drawn.person:05d}"


def _manifest(
    plan: RenderPlan, folder: Path, drawn: Sequence[Drawn], lines: Sequence[_Line]
) -> Manifest:
    people = [one.scene.person for one in drawn]
    columns: dict[str, Any] = {
        "path": [line.path for line in lines],
        "label": [one.expression for one in drawn],
        "subject": [_subject(plan, one) for one in drawn],
        "age_band": [age_band(person.age_years) for person in people],
        "source": [f"rendered: {plan.name}"] * len(drawn),
        "split": [one.split for one in drawn],
        "content_hash": [line.content_hash for line in lines],
        **synthetic_columns(
            len(drawn),
            generator=RENDERED,
            synthetic_seed=[seed_of("image", plan.seed, plan.name, x.number) for x in drawn],
        ),
        "age_years": [person.age_years for person in people],
        "ages": [one.ages for one in drawn],
        "tone": [one.tone for one in drawn],
        "variant": [one.variant for one in drawn],
        "pose": [one.pose for one in drawn],
        "light": [one.scene.light.kind for one in drawn],
        "occluder": [next((o.kind for o in one.scene.occluders), None) for one in drawn],
    }
    return build_manifest(columns, root=folder)
