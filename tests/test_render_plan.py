"""Expressions, plans of rendered faces, and the folder that `moppet synthesize render` makes."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from collections import Counter
from dataclasses import MISSING, asdict, fields, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from command_line import Run
from moppet.config import check_settings
from moppet.datasets.manifest import read_manifest
from moppet.datasets.splits import kfold
from moppet.evaluate.selection import select_rows
from moppet.synthesis.render.expressions import (
    LETTERS,
    THRESHOLD,
    VARIANTS,
    choose_variants,
    expression_at,
    mix_movements,
    read_facs,
    to_channels,
)
from moppet.synthesis.render.people import Looks
from moppet.synthesis.render.plan import PlannedScenes, RenderPlan, read_plan
from moppet.synthesis.render.rendered_folder import render_plan
from moppet.synthesis.render.scene import CHANNELS, Scene
from moppet.synthesis.render.script import (
    ActSettings,
    CastSettings,
    Script,
    ShotSettings,
    StretchSettings,
)
from moppet.synthesis.render.truth import FACE_COLUMNS, POINTS, SCENE_COLUMNS, Rendered
from moppet.values import EXPRESSIONS, MoppetError, UsageError
from moppet.vocabulary import MOVEMENTS

ROOT = Path(__file__).parents[1]
PLANS = [
    path
    for path in sorted((ROOT / "recipes" / "render").glob("*.toml"))
    if "\nimages = " in path.read_text(encoding="utf-8")
]
PAGE = ROOT / "docs" / "reference" / "render.md"
has_extra = all(importlib.util.find_spec(name) for name in ("anny", "numba"))
needs_extra = pytest.mark.skipif(
    not has_extra, reason="rendering needs the extra: pip install 'moppet[render]'"
)


def small_plan(**changes: object) -> RenderPlan:
    plan = RenderPlan(
        name="small",
        images=12,
        people=6,
        size=32,
        format="png",
        ages=("0-2", "8"),
        tones=(2, 9),
        expressions=("happiness", "anger", "hard_negative"),
        poses=("frontal",),
        lights=("softbox",),
    )
    return replace(plan, **changes)


def flat_color(scene: Scene, size: int = 32) -> Rendered:
    """A stand-in for a renderer: an image whose color depends on the scene alone."""
    rng = np.random.default_rng(int(scene.person.age_years * 1e6) + len(scene.movements))
    image = rng.integers(0, 255, (size, size, 3), np.uint8)
    return Rendered(image, dict.fromkeys(POINTS, (3.0, 4.0)), (1.0, 2.0, 20.0, 24.0), {})


def refuse_anger(scene: Scene) -> Rendered:
    if scene.movements.get("brow_lower_left", 0) > 0.4:
        raise MoppetError("this face cannot be drawn")
    return flat_color(scene)


# ------------------------------------------------------------------------------- expressions


def test_a_facs_score_is_read_with_its_degrees() -> None:
    assert read_facs("1C+4D+62B") == {"inner_brow_raise": 0.5, "brow_lower": 0.75, "gaze_x": -0.3}
    assert read_facs("") == {}
    for wrong in ("99A", "4F", "4", "angry"):
        with pytest.raises(UsageError, match="no action unit"):
            read_facs(wrong)


def test_every_variant_moves_within_its_limits_and_has_a_label() -> None:
    for variant in VARIANTS.values():
        assert variant.expression in EXPRESSIONS
        for number in range(len(variant.postures)):
            channels = to_channels(variant.posture(number))
            assert set(channels) <= set(CHANNELS)
            assert all(0 <= abs(value) <= 1 for value in channels.values())
        assert variant.kind != "hard_negative" or variant.group in ("neutral", "positive")


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("smile_duchenne", {"cheek_raise", "lip_corner_pull"}),
        ("sad_closed", {"inner_brow_raise", "brow_lower", "lip_corner_depress"}),
        ("surprise_open", {"inner_brow_raise", "outer_brow_raise", "upper_lid_raise", "jaw_open"}),
        ("fear_open", {"inner_brow_raise", "brow_lower", "upper_lid_raise", "lip_stretch"}),
        ("disgust_nose", {"nose_wrinkle"}),
        ("anger_pressed", {"brow_lower", "lid_tighten", "lip_press"}),
        ("anger_square", {"brow_lower", "lid_tighten", "jaw_open", "lips_part"}),
        ("cry_face", {"brow_lower", "lip_stretch", "jaw_open", "blink"}),
    ],
)
def test_prototypes_hold_the_units_of_emfacs(name: str, units: set[str]) -> None:
    assert units <= set(VARIANTS[name].posture(0))


def test_every_expression_can_be_shown_at_every_age() -> None:
    for age in (0, 0.5, 3, 12, 40, 90):
        for name in (*EXPRESSIONS, "hard_negative"):
            assert choose_variants(name, age)
    assert "cry_face" not in [v.name for v in choose_variants("sadness", 30)]
    with pytest.raises(UsageError, match="Did you mean 'anger'"):
        choose_variants("angr", 3)


def test_an_expression_counts_from_slight_on() -> None:
    assert LETTERS["B"] == THRESHOLD
    assert expression_at("anger", 0.29) == "neutral" and expression_at("anger", 0.3) == "anger"


def test_the_strongest_of_two_movements_counts() -> None:
    assert mix_movements([({"jaw_open": 1}, 0.5), ({"jaw_open": 0.4, "blink": 1}, 1)]) == {
        "jaw_open": 0.5,
        "blink": 1,
    }


def test_asymmetry_weakens_one_side_and_never_parts_the_eyes() -> None:
    left = to_channels({"lip_corner_pull": 0.8, "blink": 1.0}, 0.5)
    assert left["lip_corner_pull_left"] == 0.8 and left["lip_corner_pull_right"] == 0.4
    assert left["blink_left"] == left["blink_right"] == 1


# -------------------------------------------------------------------------------------- plans


def test_a_plan_reports_all_mistakes_at_once() -> None:
    wrong = {"name": "x", "images": 0, "people": 1, "expresions": ["anger"], "lights": ["neon"]}
    with pytest.raises(UsageError) as error:
        check_settings(RenderPlan, wrong)
    text = str(error.value)
    assert "images" in text and "Did you mean 'expressions'?" in text and "lights" in text
    together = {"name": "x", "images": 2, "people": 3, "val": 0.7, "expressions": ["angr"]}
    with pytest.raises(UsageError, match=r"(?s)val and test.*people must.*Did you mean 'anger'"):
        check_settings(RenderPlan, together)


def test_a_dummy_is_read_as_a_pacifier() -> None:
    about = {"name": "a", "images": 2, "people": 1, "occluders": ["hat", "dummy"]}
    assert check_settings(RenderPlan, about, "plan").occluders == ("hat", "pacifier")
    person = check_settings(CastSettings, {"name": "a", "occluder": "dummy"}, "script")
    assert person.occluder == "pacifier"


def test_a_scene_depends_on_the_plan_and_its_number_alone() -> None:
    one, two = PlannedScenes(small_plan()), PlannedScenes(small_plan())
    assert [one[i] for i in (7, 3)] == [two[7], two[3]]
    assert PlannedScenes(small_plan(seed=1))[3].scene != one[3].scene


def test_combinations_are_balanced_in_every_split_and_no_person_is_in_two() -> None:
    plan = small_plan(
        images=240, people=40, lights=("softbox", "lamp"), poses=("frontal", "turned", "lying")
    )
    scenes = PlannedScenes(plan)
    drawn = [scenes[i] for i in range(plan.images)]
    for split in ("val", "test"):
        counts = Counter(
            (d.ages, d.tone, d.scene.light.kind, d.pose, VARIANTS[d.variant].kind)
            for d in drawn
            if d.split == split
        )
        assert sum(counts.values()) == 120
        cells = Counter((d.ages, d.tone) for d in drawn if d.split == split)
        assert max(cells.values()) - min(cells.values()) <= plan.images // plan.people
    splits: dict[int, set[str]] = {}
    for one in drawn:
        splits.setdefault(one.person, set()).add(one.split)
    assert all(len(found) == 1 for found in splits.values())


def test_a_full_crossing_has_each_cell_once_in_each_half() -> None:
    plan = small_plan(images=2 * 4 * 3 * 2 * 2, people=16, lights=("lamp", "dim"))
    plan = replace(plan, poses=("frontal", "far"), expressions=("fear", "anger", "sadness"))
    scenes = PlannedScenes(plan)
    cells = Counter()
    for i in range(plan.images):
        d = scenes[i]
        wanted = VARIANTS[d.variant].expression
        cells[d.split, d.ages, d.tone, wanted, d.pose, d.scene.light.kind] += 1
    assert len(cells) == plan.images and set(cells.values()) == {1}


def test_people_have_the_age_and_tone_of_their_cell() -> None:
    scenes = PlannedScenes(small_plan())
    for i in range(12):
        drawn, person = scenes[i], scenes[i].scene.person
        low, high = {"0-2": (0, 3), "8": (8, 9)}[drawn.ages]
        assert low <= person.age_years < high and abs(person.skin_tone - drawn.tone) < 0.5
        assert sum(person.ancestry) == pytest.approx(1)


def test_half_of_the_people_get_the_looks_of_an_asset_folder() -> None:
    looks = Looks(("hair_a",), ("brow001",), ("skin_cf", "skin_af"))
    plan = small_plan(people=60, images=60, ages=("0-2", "8", "30"))
    plain, mixed = PlannedScenes(plan), PlannedScenes(plan, looks)
    people = [(plain.person(k), mixed.person(k)) for k in range(60)]
    assert 5 < sum(two.hair == "hair_a" for _, two in people) < 45
    for one, two in people:
        assert replace(two, hair=one.hair, brows=one.brows, skin="") == one
        assert two.hair == one.hair or two.age_years >= 3
        assert two.brows == one.brows or two.age_years >= 14
        assert two.skin in ("", "skin_cf" if two.age_years < 14 else "skin_af")


def test_a_label_follows_the_intensity() -> None:
    faint = PlannedScenes(small_plan(intensity=(0.1, 0.2)))
    assert {faint[i].expression for i in range(12)} == {"neutral"}


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_a_committed_plan_is_valid(path: Path) -> None:
    plan = read_plan(path)
    first = PlannedScenes(plan)[0]
    assert first.scene.person.age_years >= 0


# ----------------------------------------------------------------------------------- the folder


def test_a_rendered_set_is_read_split_and_selected_as_any_dataset(tmp_path: Path) -> None:
    made = render_plan(small_plan(), tmp_path / "set", flat_color)
    assert (made.rendered, made.kept, made.people, made.left_out) == (12, 0, 6, {})
    manifest = read_manifest(tmp_path / "set" / "manifest.parquet")
    assert set(manifest.column("generator")) == {"render"}
    assert set(manifest.column("split")) == {"val", "test"}
    assert manifest.image(0).shape == (32, 32, 3)
    assert set(kfold(manifest, 2, np.random.default_rng(0))) == {0, 1}

    class Match:
        of_data, unknown = [*range(len(manifest.names))], ()

    chosen = select_rows(manifest, "test", Match())  # type: ignore[arg-type]
    assert len(chosen.rows) == (manifest.column("split") == "test").sum() > 0


def test_the_truth_has_every_parameter_and_movement(tmp_path: Path) -> None:
    plan = small_plan()
    render_plan(plan, tmp_path / "set", flat_color)
    truth = pq.read_table(tmp_path / "set" / "truth.parquet").to_pylist()
    assert set(SCENE_COLUMNS) <= set(truth[0])
    scene = PlannedScenes(plan)[5].scene
    for channel in CHANNELS:
        assert truth[5][f"m_{channel}"] == pytest.approx(
            scene.movements.get(channel, 0.0), abs=6e-5
        )
    assert truth[5]["person_age_years"] == pytest.approx(scene.person.age_years)
    assert truth[5]["light_azimuth"] == pytest.approx(scene.light.azimuth)
    assert truth[5]["left_eye_x"] == 3.0 and truth[5]["box_h"] == 24.0


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "done.jsonl"
    }


def test_an_interrupted_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    plan = small_plan()
    render_plan(plan, tmp_path / "whole", flat_color)
    calls = 0

    def stops(scene: Scene) -> Rendered:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise KeyboardInterrupt
        return flat_color(scene)

    with pytest.raises(KeyboardInterrupt):
        render_plan(plan, tmp_path / "parts", stops)
    with (tmp_path / "parts" / "done.jsonl").open("a") as log:
        log.write('{"number": 9, "pa')  # what a kill leaves
    made = render_plan(plan, tmp_path / "parts", flat_color)
    assert made.kept == 4 and made.rendered == 8  # a person's images are noted together
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    again = render_plan(plan, tmp_path / "parts", stops)
    assert (again.kept, again.rendered) == (12, 0)


def test_several_processes_make_the_same_bytes(tmp_path: Path) -> None:
    plan = small_plan()
    render_plan(plan, tmp_path / "one", partial(flat_color, size=40))
    render_plan(plan, tmp_path / "two", partial(flat_color, size=40), jobs=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_what_cannot_be_rendered_is_counted_and_left_out(tmp_path: Path) -> None:
    made = render_plan(small_plan(), tmp_path / "set", refuse_anger)
    assert made.left_out["this face cannot be drawn"] > 0
    manifest = read_manifest(tmp_path / "set" / "manifest.parquet")
    assert len(manifest) == 12 - sum(made.left_out.values())


def test_a_limit_renders_the_first_images_and_later_the_rest(tmp_path: Path) -> None:
    made = render_plan(small_plan(), tmp_path / "set", flat_color, limit=4)
    assert made.rendered == 4 and made.people == 4
    made = render_plan(small_plan(), tmp_path / "set", flat_color)
    assert (made.kept, made.rendered) == (4, 8)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    render_plan(small_plan(), tmp_path / "set", flat_color, limit=1)
    with pytest.raises(UsageError, match="images of another plan"):
        render_plan(small_plan(seed=2), tmp_path / "set", flat_color, limit=1)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match="other files"):
        render_plan(small_plan(), tmp_path / "notes", flat_color, limit=1)


def plan_text(plan: RenderPlan) -> str:
    return "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in asdict(plan).items() if value != ()
    )


@needs_extra
def test_the_command_renders_faces_that_have_their_truth_in_the_right_place(
    moppet: Run, tmp_path: Path
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(small_plan(images=2, people=1, size=96, ages=("8",))))
    done = moppet("synthesize", "render", path, "-o", tmp_path / "set", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["rendered"] == 2
    for row in pq.read_table(tmp_path / "set" / "truth.parquet").to_pylist():
        image = cv2.imread(str(tmp_path / "set" / row["path"]))
        assert image.shape == (96, 96, 3) and image.std() > 10
        assert 0 < row["right_eye_x"] < row["nose_tip_x"] < row["left_eye_x"] < 96
        assert row["left_eye_y"] < row["nose_tip_y"] < row["mouth_left_y"]
        assert row["box_x"] < row["right_eye_x"] and row["box_y"] < row["left_eye_y"]


def test_a_missing_extra_is_one_sentence(
    moppet: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(small_plan()))
    found = importlib.util.find_spec

    def lacking(name: str, *more: object) -> object:
        return None if name.split(".")[0] == "anny" else found(name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(importlib.util, "find_spec", lacking)
    done = moppet("synthesize", "render", path, "-o", tmp_path / "set")
    assert done.code == 1 and done.err.count("\n") == 1
    assert "pip install 'moppet[render]'" in done.err


# ------------------------------------------------------------------------------------- the page


def page_rows(heading: str) -> list[list[str]]:
    """The cells of the tables below a heading, without code marks."""
    text = PAGE.read_text(encoding="utf-8").split(f"# {heading}\n")[1].split("\n#")[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("Plans", RenderPlan),
        ("Scripts", Script),
        ("[[people]]", CastSettings),
        ("[[people.acts]]", ActSettings),
        ("[[people.stretches]]", StretchSettings),
        ("[[shots]]", ShotSettings),
    ],
)
def test_the_page_lists_every_key_with_its_default(heading: str, kind: type) -> None:
    listed = {row[0]: row[2] for row in page_rows(heading)}
    assert list(listed) == [one.name for one in fields(kind)]
    for one in fields(kind):
        if one.default is MISSING:
            assert listed[one.name] == "required"
        elif one.name != "shots":
            value = tomllib.loads(f"x = {listed[one.name]}")["x"]
            value = tuple(value) if isinstance(value, list) else value
            assert value == one.default, one.name


def test_the_page_lists_every_variant_movement_and_column() -> None:
    names = {row[0]: row for row in page_rows("Names of expressions")}
    assert list(names) == [*VARIANTS]
    for name, variant in VARIANTS.items():
        postures = tuple(
            "" if text == "none" else text.replace(" + ", "+")
            for text in names[name][4].split(" · ")
        )
        assert names[name][1] == variant.expression and postures == variant.postures
    assert [row[0] for row in page_rows("Movements")] == [*MOVEMENTS]
    text = PAGE.read_text(encoding="utf-8").split("## Truth\n")[1]
    for column in (*FACE_COLUMNS[:4], *FACE_COLUMNS[-3:]):
        assert f"`{column}`" in text
