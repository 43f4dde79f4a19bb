"""Clips: a script's video, its true timeline, and every facial movement in every frame."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from moppet.files import file_sha256, read_json, write_csv, write_text
from moppet.media.encoding import join_videos, write_frames
from moppet.processes import run_tasks
from moppet.synthesis.render.build import Studio, build_sitter, in_image, neutral_landmarks, placed
from moppet.synthesis.render.camera import view_of
from moppet.synthesis.render.mesh import Part, View
from moppet.synthesis.render.occluders import visible_shares
from moppet.synthesis.render.people import Looks, muted_color
from moppet.synthesis.render.performances import smooth_step
from moppet.synthesis.render.plan import draw_light
from moppet.synthesis.render.rendered_folder import added_looks, start_folder
from moppet.synthesis.render.scene import Background, Camera, Occluder, Person, Scene
from moppet.synthesis.render.script import TICKS, Role, Script, cast, moved
from moppet.synthesis.render.truth import face_columns, scene_columns, write_truth
from moppet.synthesis.settings import seed_of
from moppet.timeline import Timeline, TimelineSettings
from moppet.timeline.table import build_timeline
from moppet.values import EXPRESSIONS, GROUPS, Image, MoppetError, UsageError

TRUTH_SUFFIX: Final = ".truth.parquet"
MOVEMENTS_SUFFIX: Final = ".movements.parquet"
CLIPS: Final = "clips.csv"
_VERSION: Final = 1
_CHUNK: Final = 50
"""Frames that are rendered and encoded at a time; an interrupted clip resumes behind them."""
_SLIDE_S: Final = 0.7
"""How long a person takes to come into the image or to leave it."""
_EXACT: Final = TimelineSettings(
    smooth_s=0, min_episode_s=0, unsure_below=0, low_quality_below=0, enter=0.5, leave=0.5
)
Progress = Callable[[str, int, int], None]
Json = dict[str, Any]


class MadeClip(NamedTuple):
    """The files of a clip, and its length."""

    video: Path
    truth: Path
    movements: Path
    frames: int
    seconds: float

    def as_json(self) -> Json:
        """Return plain values."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in self._asdict().items()}


@dataclass(frozen=True)
class ClipScenes:
    """What one clip of a script shows in each frame."""

    script: Script
    clip: int = 0
    looks: Looks | None = None

    @cached_property
    def roles(self) -> tuple[Role, ...]:
        """The people of the clip."""
        return cast(self.script, self.clip, self.looks)

    @cached_property
    def ticks(self) -> list[int]:
        """Time of each frame in ticks."""
        return [int(tick) for tick in self.script.frame_times(self.clip)]

    @cached_property
    def cuts_s(self) -> list[float]:
        """Times of the first frames after hard cuts."""
        times = [tick / TICKS for tick in self.ticks]
        shots = [self.script.shot_at(time_s) for time_s in times]
        return [times[i] for i in range(1, len(times)) if shots[i] != shots[i - 1]]

    def backdrop(self, time_s: float) -> Scene:
        """Return the scene of a time without anybody's face: light, background, camera."""
        script, number = self.script, self.script.shot_at(time_s)
        shot = script.shots[number]
        rng = np.random.default_rng(seed_of("shot", script.seed, script.name, self.clip, number))
        ends = [*(s.start_s for s in script.shots[1:]), script.seconds]
        share = (time_s - shot.start_s) / max(1e-6, ends[number] - shot.start_s)
        return Scene(
            person=self.roles[0].person if self.roles else Person(seed=0, age_years=5),
            light=draw_light(shot.light, rng),
            background=Background(
                kind=shot.background, seed=int(rng.integers(2**31)), color=muted_color(rng)
            ),
            camera=Camera(
                face_share=shot.face_share * shot.zoom ** smooth_step(share),
                noise=shot.noise,
                blur_px=shot.blur_px,
            ),
        )

    def scene_of(self, role: Role, backdrop: Scene, time_s: float) -> Scene:
        """Return the scene of one person at a time."""
        shot = self.script.shots[self.script.shot_at(time_s)]
        kind = role.settings.occluder
        return replace(
            backdrop,
            person=role.person,
            movements=role.performance.movements_at(time_s),
            pose=moved(role.performance.pose_at(time_s), shot.yaw),
            occluders=(Occluder(kind=kind, seed=role.person.seed),) if kind else (),
        )

    def place_of(self, role: Role, time_s: float) -> float:
        """Return where a person is at a time, as `CastSettings.place`.

        People slide in and out, except at a cut.
        """
        settings = role.settings
        side = math.copysign(1.2, settings.place or 1)
        there, cuts_s = 1.0, [shot.start_s for shot in self.script.shots]
        if settings.enters_s not in cuts_s:
            there = smooth_step((time_s - settings.enters_s) / _SLIDE_S)
        if settings.leaves_s not in cuts_s:  # 0, the first shot's start, is for staying
            there = min(there, smooth_step((settings.leaves_s - time_s) / _SLIDE_S))
        return settings.place + (1 - there) * side


def render_clips(
    script: Script,
    output: Path,
    studio: Studio,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[MadeClip]:
    """Render a script's clips: one into a file, several into a folder with a table, clips.csv.

    Finished clips, and finished parts of one, are kept when the same call is made again.
    Raises UsageError if the output holds something else.
    """
    if script.clips == 1:
        if output.suffix.lower() != ".mp4":
            raise UsageError(f"the video's name must end in .mp4, got {output.name!r}.")
        return [render_clip(script, output, studio, jobs=jobs, progress=progress)]
    about = {"version": _VERSION, **asdict(script), **added_looks(studio.looks)}
    start_folder(output, "script.json", about, "clips of another script")
    made = []
    for clip in range(script.clips):
        video = output / clip_name(clip)
        show = progress and partial(_with_clip, progress, f"clip {clip + 1} of {script.clips}")
        made.append(render_clip(script, video, studio, clip=clip, jobs=jobs, progress=show))
    _write_clips(script, output, made)
    return made


def clip_name(clip: int) -> str:
    """Return the file name of one clip of several."""
    return f"{clip:03d}.mp4"


def render_clip(
    script: Script,
    video: Path,
    studio: Studio,
    *,
    clip: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> MadeClip:
    """Render one clip of a script, and write its truth beside it."""
    scenes = ClipScenes(script, clip, studio.looks)
    made = MadeClip(
        video,
        video.with_suffix(TRUTH_SUFFIX),
        video.with_suffix(MOVEMENTS_SUFFIX),
        len(scenes.ticks),
        script.seconds,
    )
    if script.clips > 1 and made.truth.exists() and video.exists():
        return made
    folder = video.with_name(f".{video.stem}.part")
    _start_parts(folder, _key(script, clip, studio.looks))
    starts = list(range(0, made.frames, _CHUNK))
    left = [at for at in starts if not _rows_path(folder, at).exists()]
    done = made.frames - sum(min(_CHUNK, made.frames - at) for at in left)
    for count in run_tasks(partial(_render_chunk, scenes, studio, folder), left, jobs):
        done += count
        if progress is not None:
            progress("rendering", done, made.frames)
    rows = [row for at in starts for row in read_json(_rows_path(folder, at), "rows")]
    join_videos([_video_path(folder, at) for at in starts], video, TICKS)
    _write_truth(scenes, made, rows)
    shutil.rmtree(folder)
    return made


def true_timeline(
    scenes: ClipScenes, rows: Sequence[Json], metadata: Mapping[str, Any]
) -> Timeline:
    """Return the timeline of a clip's rows: each face's true expression has the probability 1."""
    raw = []
    for row in rows:
        one: Any = {name: row[name] for name in ("frame", "time_s", "status")}
        if row["face_id"] is not None:
            p = [float(name == row["expression"]) for name in EXPRESSIONS]
            kept = ("face_id", "box_x", "box_y", "box_w", "box_h", "yaw", "pitch", "roll")
            one |= {name: row[name] for name in kept}
            one |= {"detection_score": 1.0, "quality": 1.0, "p": p}
        raw.append(one)
    people = {
        str(number): {"name": role.settings.name, "role": None, "faces": [number]}
        for number, role in enumerate(scenes.roles)
    }
    about = {
        "model_name": "truth",
        "detector": "truth",
        "width": scenes.script.width,
        "height": scenes.script.height,
        "frame_count": len(scenes.ticks),
        "duration_s": scenes.script.seconds,
        "cuts_s": scenes.cuts_s,
        "complete": True,
        "people": people,
        **metadata,
    }
    return build_timeline(raw, names=EXPRESSIONS, group_of=GROUPS, settings=_EXACT, metadata=about)


def _render_chunk(scenes: ClipScenes, studio: Studio, folder: Path, start: int) -> int:
    """Render and encode some frames; return how many. Their rows are written last."""
    numbers = range(start, min(start + _CHUNK, len(scenes.ticks)))
    rows: list[Json] = []

    def frames() -> Iterator[tuple[int, Image]]:
        for number in numbers:
            image, found = render_frame(scenes, studio, number)
            rows.extend(found)
            yield scenes.ticks[number], image

    write_frames(_video_path(folder, start), frames(), TICKS, crf=scenes.script.crf)
    write_text(_rows_path(folder, start), json.dumps(rows))
    return len(numbers)


def render_frame(scenes: ClipScenes, studio: Studio, number: int) -> tuple[Image, list[Json]]:
    """Return a frame, (height, width, 3), and the truth: a row per face, or one without a face."""
    script, time_s = scenes.script, scenes.ticks[number] / TICKS
    backdrop = scenes.backdrop(time_s)
    view = _view(scenes, backdrop, studio.assets)
    face_px = script.height * backdrop.camera.face_share
    image_width = _width_at_face(view) * script.width / script.height
    parts: list[Part] = []
    rows: list[Json] = []
    for face_id, role in enumerate(scenes.roles):
        if not role.is_there(time_s):
            continue
        scene = scenes.scene_of(role, backdrop, time_s)
        sitter = placed(
            build_sitter(scene, studio.assets, face_px), scenes.place_of(role, time_s) * image_width
        )
        parts += sitter.parts
        points, box = in_image(sitter.landmarks, view, script.height, script.width)
        middle = (box[0] + box[2] / 2, box[1] + box[3] / 2)
        if not (0 <= middle[0] < script.width and 0 <= middle[1] < script.height):
            continue
        face = face_columns(points, box, visible_shares(sitter.parts, sitter.regions, view))
        rows.append(frame_truth(scenes, number, face_id, scene, face))
    image = studio.take(backdrop, parts, view, script.height, script.width, frame=number)
    return image, rows or [
        {"frame": number, "time_s": time_s, "face_id": None, "status": "no_face"}
    ]


def frame_truth(
    scenes: ClipScenes,
    number: int,
    face_id: int,
    scene: Scene,
    face: Mapping[str, float] | None = None,
) -> Json:
    """Return column → value of a frame's row for one person, whose scene is given.

    face: FACE_COLUMNS of the rendered frame. Without them, the row is what the script alone says.
    """
    role, time_s = scenes.roles[face_id], scenes.ticks[number] / TICKS
    moment = role.performance.moment_at(time_s)
    return {
        "frame": number,
        "time_s": time_s,
        "face_id": face_id,
        "status": "ok",
        "name": role.settings.name,
        "expression": moment.expression,
        "group": GROUPS[moment.expression],
        "variant": moment.variant,
        "intensity": round(moment.intensity, 4),
        "yaw": scene.pose.yaw,
        "pitch": scene.pose.pitch,
        "roll": scene.pose.roll,
        **(face or {}),
        **scene_columns(scene),
    }


def _view(scenes: ClipScenes, backdrop: Scene, assets: Path | None) -> View:
    """Return the view of a time: it stands still for the heads' motion."""
    people = [role.person for role in scenes.roles] or [backdrop.person]
    found = [neutral_landmarks(person, assets) for person in people]
    return view_of(
        backdrop,
        {
            name: np.mean([one[name] for one in found], axis=0).astype(np.float32)
            for name in found[0]
        },
    )


def _width_at_face(view: View) -> float:
    """Return how many decimeters the image is high at the face's distance."""
    distance = float(np.linalg.norm(view.target - view.eye))
    return 2 * distance * math.tan(math.radians(view.fov_degrees / 2))


def _write_truth(scenes: ClipScenes, made: MadeClip, rows: Sequence[Json]) -> None:
    found = [row for row in rows if row["face_id"] is not None]
    write_truth(made.movements, found)
    metadata = {"source_name": made.video.name, "source_sha256": file_sha256(made.video)}
    true_timeline(scenes, rows, metadata).write(made.truth)


def _write_clips(script: Script, folder: Path, made: Sequence[MadeClip]) -> None:
    lines = []
    for clip, one in enumerate(made):
        lines += [
            (one.video.name, one.truth.name, script.split_of(clip), face_id, role.settings.name,
             role.person.age_years, role.person.skin_tone)
            for face_id, role in enumerate(cast(script, clip))
        ]  # fmt: skip
    header = ("video", "truth", "split", "face_id", "name", "age_years", "skin_tone")
    write_csv(folder / CLIPS, header, lines)


def _key(script: Script, clip: int, looks: Looks | None) -> str:
    about = {"version": _VERSION, "clip": clip, **asdict(script), **added_looks(looks)}
    text = json.dumps(about, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _start_parts(folder: Path, key: str) -> None:
    """Keep the parts of an interrupted run of the same clip; remove others."""
    mark = folder / "key"
    with suppress(OSError):
        if mark.read_text(encoding="utf-8") == key:
            return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise MoppetError(f"{folder} cannot be made: {error.strerror}.") from None
    write_text(mark, key)


def _rows_path(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}.json"


def _video_path(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}.nut"


def _with_clip(progress: Progress, clip: str, what: str, done: int, total: int) -> None:
    progress(f"{what} {clip}", done, total)
