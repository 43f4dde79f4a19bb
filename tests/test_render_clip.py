"""Performances, scripts, and the clips with a true timeline that `moppet synthesize clip` makes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from command_line import Run
from moppet.config import check_settings
from moppet.media import read_frames
from moppet.media.encoding import join_videos, write_frames
from moppet.synthesis.render.clip import ClipScenes, true_timeline
from moppet.synthesis.render.expressions import VARIANTS
from moppet.synthesis.render.performances import Act, Performance, usual_blinks
from moppet.synthesis.render.scene import CHANNELS
from moppet.synthesis.render.script import (
    TICKS,
    ActSettings,
    CastSettings,
    Script,
    ShotSettings,
    StretchSettings,
    cast,
    read_script,
)
from moppet.timeline import read_timeline
from moppet.values import Image, UsageError

ROOT = Path(__file__).parents[1]
SCRIPTS = [
    path
    for path in sorted((ROOT / "recipes" / "render").glob("*.toml"))
    if "\n[[people]]" in path.read_text(encoding="utf-8")
]
has_extra = all(importlib.util.find_spec(name) for name in ("anny", "numba"))
needs_extra = pytest.mark.skipif(
    not has_extra, reason="rendering needs the extra: pip install 'moppet[render]'"
)


def performance(*acts: Act, **more: float) -> Performance:
    return Performance(acts, 10.0, **({"seed": 1, "blinks_per_minute": 0.0} | more))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- performances


def test_an_act_rises_holds_and_falls_within_its_time() -> None:
    act = Act(VARIANTS["smile_open"], 2, 6, 0.8)
    times = np.linspace(0, 8, 801)
    values = np.array([act.envelope(t) for t in times])
    assert (values[(times <= 2) | (times >= 6)] == 0).all() and values.max() == pytest.approx(0.8)
    assert (np.diff(values[(times > 2) & (times < 2.5)]) >= 0).all()
    assert np.abs(np.diff(values)).max() < 0.05


def test_movements_are_smooth_within_their_limits_and_the_same_again() -> None:
    acts = [Act(v, 1 + i % 3, 6 + i % 3, seed=i) for i, v in enumerate(VARIANTS.values())]
    for act in acts:
        one, two = performance(act), performance(act)
        before: dict[str, float] = {}
        for time_s in np.arange(0, 10, 0.01):
            now = one.movements_at(time_s)
            assert now == two.movements_at(time_s) and set(now) <= set(CHANNELS)
            assert all(0 <= abs(value) <= 1 for value in now.values())
            fastest = max(
                (abs(now.get(c, 0) - before.get(c, 0)) for c in {*now, *before}), default=0
            )
            assert fastest < 0.5
            before = now


def test_the_truth_is_the_strongest_act_from_slight_on() -> None:
    show = performance(
        Act(VARIANTS["talking"], 0, 10),
        Act(VARIANTS["smile_open"], 2, 5, 0.6),
        Act(VARIANTS["anger_square"], 6, 9, 0.2),
    )
    assert show.moment_at(1).expression == "neutral" and show.moment_at(1).variant == "talking"
    assert show.moment_at(3.5)[:2] == ("happiness", "smile_open")
    assert show.moment_at(7.5).expression == "neutral"
    changes = [t for t in np.arange(2, 5, 0.001) if show.moment_at(t).expression == "happiness"]
    assert show.moment_at(changes[0]).intensity == pytest.approx(0.3, abs=0.01)


def test_blinks_come_as_often_as_usual_and_last_a_third_of_a_second() -> None:
    assert usual_blinks(0) == 3 and usual_blinks(40) == 15
    show = Performance((), 600.0, 3, 15.0)
    closed = np.array([show.movements_at(t).get("blink_left", 0) for t in np.arange(0, 600, 0.02)])
    starts = ((closed[1:] > 0.5) & (closed[:-1] <= 0.5)).sum()
    assert 110 < starts < 190
    assert (closed > 0).sum() * 0.02 / starts == pytest.approx(0.3, abs=0.06)


def test_speech_opens_the_mouth_several_times_a_second() -> None:
    show = performance(Act(VARIANTS["talking"], 0, 10, seed=4))
    jaw = np.array([show.movements_at(t).get("jaw_open", 0) for t in np.arange(1, 9, 0.01)])
    middle = jaw.mean()
    openings = ((jaw[1:] > middle) & (jaw[:-1] <= middle)).sum() / 8
    assert 1.5 < openings < 6


def test_the_head_moves_slowly_around_its_pose() -> None:
    show = performance(head_degrees=5.0)
    yaw = np.array([show.pose_at(t).yaw for t in np.arange(0, 10, 0.04)])
    assert 1 < np.abs(yaw).max() < 8 and np.abs(np.diff(yaw)).max() < 1


# ------------------------------------------------------------------------------------- scripts


def small_script(**changes: object) -> Script:
    child = CastSettings(
        name="Mia",
        ages="6",
        acts=(ActSettings(show="smile_open", start_s=0.5, end_s=2.0),),
    )
    script = Script(name="small", seconds=2.5, fps=8, width=96, height=80, people=(child,))
    return replace(script, **changes)  # type: ignore[arg-type]


def test_a_script_reports_all_mistakes_at_once() -> None:
    table = {
        "name": "x",
        "seconds": 5,
        "width": 101,
        "people": [
            {"name": "Mia", "acts": [{"show": "angr", "start_s": 3, "end_s": 1}]},
            {"name": "Mia", "leaves_s": 1, "enters_s": 2},
        ],
        "shots": [{"start_s": 1}],
    }
    with pytest.raises(UsageError) as error:
        check_settings(Script, table)
    for part in ("'anger'", "end_s must be above", "leaves_s must", "names of people", "even"):
        assert part in str(error.value)


def test_frame_times_are_exact_and_vary_if_asked() -> None:
    assert small_script(fps=25).frame_times()[:3].tolist() == [0, 3600, 7200]
    steps = np.diff(small_script(variable_rate=0.5).frame_times())
    assert steps.min() >= 0.5 * TICKS / 8 - 1 and steps.max() <= 1.5 * TICKS / 8 + 1
    assert len(set(steps.tolist())) > 5


def test_clips_of_one_script_show_other_people_with_tones_and_ages_apart() -> None:
    child = CastSettings(name="child", ages="0-10", tones=tuple(range(1, 11)))
    script = small_script(clips=20, people=(child,))
    people = [cast(script, clip)[0].person for clip in range(20)]
    for half in (people[:10], people[10:]):
        assert [round(p.skin_tone) for p in half] == [*range(1, 11)]
        assert {int(p.age_years // 2.2) for p in half} == {0, 1, 2, 3, 4}
    ages, tones = ([getattr(p, n) for p in people] for n in ("age_years", "skin_tone"))
    assert abs(np.corrcoef(ages, tones)[0, 1]) < 0.5
    assert cast(script, 3)[0].person == people[3]


def test_a_stretch_is_filled_with_acts_that_do_not_overlap() -> None:
    stretch = StretchSettings(show=("anger", "talking"), start_s=1, end_s=60)
    child = CastSettings(name="child", ages="3", stretches=(stretch,))
    (role,) = cast(small_script(seconds=60, people=(child,)))
    acts = role.performance.acts
    assert len(acts) > 5 and acts[0].start_s >= 1 and acts[-1].end_s <= 60
    assert all(a.end_s <= b.start_s for a, b in pairwise(acts))
    assert {a.variant.expression for a in acts} == {"anger", "neutral"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_committed_script_is_valid(path: Path) -> None:
    script = read_script(path)
    assert len(cast(script, script.clips - 1)) == len(script.people)


# --------------------------------------------------------------------------------------- videos


def test_parts_join_to_a_video_with_exact_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ticks = np.cumsum(rng.integers(2000, 6000, 30)) - 2000
    ticks[0] = 0
    shade = rng.integers(40, 200, 30)

    def frames(numbers: Sequence[int]) -> list[tuple[int, Image]]:
        return [(int(ticks[i]), np.full((32, 48, 3), shade[i], np.uint8)) for i in numbers]

    parts = [tmp_path / "a.nut", tmp_path / "b.nut", tmp_path / "c.nut"]
    for part, numbers in zip(parts, (range(0, 13), range(13, 14), range(14, 30)), strict=True):
        assert write_frames(part, frames(numbers), TICKS) == len(numbers)
    video = join_videos(parts, tmp_path / "all.mp4", TICKS)
    read = list(read_frames(video))
    assert [frame.time_s for frame in read] == pytest.approx((ticks / TICKS).tolist(), abs=1e-9)
    assert all(f.image is not None for f in read)
    means = [float(f.image.mean()) for f in read if f.image is not None]
    assert np.abs(np.array(means) - shade).max() < 4


# ---------------------------------------------------------------------------------------- clips


def test_a_true_timeline_says_who_is_there_and_what_they_show() -> None:
    scenes = ClipScenes(small_script())
    rows = [
        {"frame": 0, "time_s": 0.0, "face_id": None, "status": "no_face"},
        *(
            {"frame": i, "time_s": i / 8, "face_id": 0, "status": "ok", "expression": e}
            | dict.fromkeys(("box_x", "box_y", "box_w", "box_h", "yaw", "pitch", "roll"), 1.0)
            for i, e in ((1, "neutral"), (2, "anger"), (3, "anger"))
        ),
    ]
    timeline = true_timeline(scenes, rows, {"source_name": "small.mp4"})
    assert timeline.table["expression"].to_pylist() == [None, "neutral", "anger", "anger"]
    assert timeline.table["group"].to_pylist()[-1] == "negative"
    assert timeline.face_name(0) == "Mia"


def test_people_walk_in_and_out_but_are_there_at_once_at_a_cut() -> None:
    mia = CastSettings(name="Mia", place=0.2, enters_s=1.0, leaves_s=4.0)
    tom = CastSettings(name="Tom", place=-0.2, enters_s=2.0)
    shots = (ShotSettings(), ShotSettings(start_s=2.0))
    scenes = ClipScenes(Script(name="a", seconds=5, people=(mia, tom), shots=shots))
    first, second = scenes.roles
    assert [scenes.place_of(second, t) for t in (2.0, 2.1, 5.0)] == [-0.2] * 3
    places = [scenes.place_of(first, t) for t in (1.0, 1.2, 1.7, 3.3, 3.9)]
    assert places[2] == places[3] == 0.2
    assert places[0] > places[1] > 0.2 < places[4]


@dataclass(frozen=True)
class Made:
    """A small clip of two people, with entrances, exits, a cut and a changing rate."""

    folder: Path
    script: Script


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    if not has_extra:
        pytest.skip("rendering needs the extra: pip install 'moppet[render]'")
    from moppet.synthesis.render.build import Studio
    from moppet.synthesis.render.clip import render_clips

    mia = CastSettings(
        name="Mia",
        ages="6",
        place=-0.22,
        acts=(ActSettings(show="smile_open", start_s=0.4, end_s=2.0),),
    )
    tom = CastSettings(name="Tom", ages="2", tones=(8,), place=0.22, enters_s=1.0, leaves_s=2.8)
    shots = (ShotSettings(), ShotSettings(start_s=2.0, light="lamp", background="garden"))
    script = Script(
        name="two", seconds=3.0, fps=6, width=160, height=96, variable_rate=0.4,
        people=(mia, tom), shots=shots,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("clip")
    render_clips(script, folder / "two.mp4", Studio())
    return Made(folder, script)


def test_a_clip_has_every_frame_at_its_time(made: Made) -> None:
    frames = list(read_frames(made.folder / "two.mp4"))
    wanted = (made.script.frame_times() / TICKS).tolist()
    assert [frame.time_s for frame in frames] == pytest.approx(wanted, abs=1e-9)
    assert sorted(p.name for p in made.folder.iterdir()) == [
        "two.movements.parquet", "two.mp4", "two.truth.parquet",
    ]  # fmt: skip


def test_its_truth_has_entrances_exits_cuts_and_expressions(made: Made) -> None:
    truth = read_timeline(made.folder / "two.truth.parquet")
    rows = truth.table.to_pylist()
    tom = [row["time_s"] for row in rows if row["face_id"] == 1]
    assert min(tom) > 1.0 and max(tom) < 2.8
    assert sum(row["face_id"] == 0 for row in rows) == 18
    smiles = [row["time_s"] for row in rows if row["expression"] == "happiness"]
    assert 0.4 < min(smiles) < 1 and 1.2 < max(smiles) < 2.0
    assert len(truth.metadata["cuts_s"]) == 1
    moved = pq.read_table(made.folder / "two.movements.parquet").to_pylist()
    smile = max(moved, key=lambda row: row["m_lip_corner_pull_left"])
    assert smile["name"] == "Mia" and smile["m_lip_corner_pull_left"] > 0.6


def test_a_clip_goes_through_the_analyzer_and_compare(made: Made, moppet: Run) -> None:
    video, out = made.folder / "two.mp4", made.folder / "results"
    assert moppet("analyze", video, "-o", out).code == 0
    timeline = out / "two" / "timeline.parquet"
    faces = {
        face for face in read_timeline(timeline).table["face_id"].to_pylist() if face is not None
    }
    done = moppet(
        *("compare", timeline, made.folder / "two.truth.parquet", "--tier", "Mia", "--json"),
        *("--face", ",".join(map(str, sorted(faces))), "-o", out / "agreement"),
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["about"]["code_map"]["happiness"] == "happiness"
    assert found["pairs"][0]["compared_s"] > 1


def test_a_timeline_agrees_with_itself(made: Made, moppet: Run) -> None:
    truth = made.folder / "two.truth.parquet"
    done = moppet(
        *("compare", truth, truth, "--face", "Mia", "--tier", "Mia", "--json"),
        *("-o", made.folder / "self"),
    )
    assert done.code == 0, done.err
    units = json.loads(done.out)["pairs"][0]["units"]
    assert units["agreement"]["value"] == 1


@needs_extra
def test_an_interrupted_clip_resumes_behind_its_finished_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moppet.synthesis.render import clip as clips
    from moppet.synthesis.render.build import Studio

    monkeypatch.setattr(clips, "_CHUNK", 4)
    script, drawn = small_script(fps=4), []
    whole = clips.render_frame

    def counted(scenes: ClipScenes, studio: Studio, number: int) -> object:
        if number == 6 and 6 not in drawn:
            drawn.append(6)
            raise KeyboardInterrupt
        drawn.append(number)
        return whole(scenes, studio, number)

    monkeypatch.setattr(clips, "render_frame", counted)
    with pytest.raises(KeyboardInterrupt):
        clips.render_clips(script, tmp_path / "a.mp4", Studio())
    clips.render_clips(script, tmp_path / "a.mp4", Studio())
    assert drawn == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8, 9]
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "a.movements.parquet", "a.mp4", "a.truth.parquet",
    ]  # fmt: skip


@needs_extra
def test_several_clips_make_a_folder_with_a_table_and_finished_ones_are_kept(
    tmp_path: Path,
) -> None:
    from moppet.synthesis.render.build import Studio
    from moppet.synthesis.render.clip import render_clips

    child = CastSettings(name="child", ages="3-6", tones=(2, 9))
    script = small_script(clips=2, seconds=0.5, fps=4, width=64, height=64, people=(child,))
    render_clips(script, tmp_path / "set", Studio())
    names = sorted(p.name for p in (tmp_path / "set").iterdir())
    assert names[:3] == ["000.movements.parquet", "000.mp4", "000.truth.parquet"]
    rows = (tmp_path / "set" / "clips.csv").read_text().splitlines()
    assert rows[0].startswith("video,truth,split") and len(rows) == 3
    assert [row.split(",")[2] for row in rows[1:]] == ["val", "test"]
    before = (tmp_path / "set" / "001.mp4").stat().st_mtime_ns
    render_clips(script, tmp_path / "set", Studio())
    assert (tmp_path / "set" / "001.mp4").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="clips of another script"):
        render_clips(replace(script, seed=9), tmp_path / "set", Studio())
