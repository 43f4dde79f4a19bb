"""The truth of the rendered sets in recipes/render/truth, against their plans."""

from __future__ import annotations

import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from moppet.synthesis.render.plan import read_plan
from moppet.synthesis.render.scene import CHANNELS
from moppet.synthesis.render.script import read_script
from moppet.synthesis.render.truth import write_truth
from moppet.values import EXPRESSIONS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from committed_truth import FOLDER, PLANS, rows_of  # noqa: E402

RECIPES = ROOT / "recipes" / "render"
MOST_BYTES = 15_000_000
STEPS = {"fairness": 211, "training": 601, "guard": 297}
FACES = {"fairness": 8_000, "training": 20_000}


@cache
def truth_of(name: str) -> Any:
    return pq.read_table(FOLDER / f"{name}.parquet")


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_committed_truth_is_what_the_plan_draws(path: Path, tmp_path: Path) -> None:
    """Make it so with: python tools/committed_truth.py"""
    step = STEPS[path.stem]
    write_truth(tmp_path / "some.parquet", rows_of(path, step))
    some = pq.read_table(tmp_path / "some.parquet")
    whole = truth_of(path.stem)
    assert some.column_names == whole.column_names
    number = "number" if "number" in whole.column_names else "frame"
    kept = [i for i, one in enumerate(whole[number].to_pylist()) if one % step == 0]
    assert len(kept) >= 40
    assert some.to_pylist() == whole.take(kept).to_pylist()


@pytest.mark.parametrize("name", FACES)
def test_the_sets_of_faces_are_as_large_and_even_as_planned(name: str) -> None:
    plan, truth = read_plan(RECIPES / f"{name}.toml"), truth_of(name)
    assert len(truth) == plan.images >= FACES[name]
    assert {f"m_{channel}" for channel in CHANNELS} <= set(truth.column_names)
    crossed = [truth[c].to_pylist() for c in ("split", "ages", "tone", "pose", "light_kind")]
    counts = Counter(zip(*crossed, strict=True))
    assert len(set(zip(*crossed[1:], strict=True))) == (
        len(plan.ages) * len(plan.tones) * len(plan.poses) * len(plan.lights)
    )
    if name == "fairness":  # each combination with each expression, once in each half
        assert set(truth["split"].to_pylist()) == {"val", "test"}
        assert set(truth["expression"].to_pylist()) == set(EXPRESSIONS)
        assert set(counts.values()) == {len(EXPRESSIONS)}


def test_nobody_is_in_two_sets_or_in_both_halves() -> None:
    people = [set(truth_of(name)["person_seed"].to_pylist()) for name in FACES]
    assert not people[0] & people[1]
    truth = truth_of("fairness")
    pairs = set(zip(truth["subject"].to_pylist(), truth["split"].to_pylist(), strict=True))
    assert len(pairs) == read_plan(RECIPES / "fairness.toml").people


def test_the_guard_set_has_children_of_every_age_and_tone_in_both_halves() -> None:
    script, truth = read_script(RECIPES / "guard.toml"), truth_of("guard")
    assert script.seconds == 240 and script.clips >= 16
    assert len(truth) == script.clips * script.seconds * script.fps
    about = ("video", "split", "person_age_years", "person_skin_tone")
    children = set(zip(*(truth[name].to_pylist() for name in about), strict=True))
    assert len(children) == script.clips
    for split in ("val", "test"):
        own = [(age, tone) for _, half, age, tone in children if half == split]
        assert sorted(round(tone) for _, tone in own) == list(range(1, 11))
        assert min(age for age, _ in own) < 1 and max(age for age, _ in own) > 9.5
    shown = set(truth["variant"].to_pylist())
    assert {"cry_face", "yawn", "squint", "eating", "laugh_eyes_shut"} <= shown


def test_the_committed_truth_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MOST_BYTES


def test_the_guide_gives_the_sets_sizes() -> None:
    guide = (ROOT / "docs" / "guides" / "render.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `recipes/render/(\w+)\.toml` \|[^|]+\| ([\d,]+)( frames)? \|", guide, re.M
    )
    assert len(rows) >= 5
    for name, count, frames in rows:
        path = RECIPES / f"{name}.toml"
        if frames:
            script = read_script(path)
            expected = script.clips * round(script.seconds * script.fps)
        else:
            expected = read_plan(path).images
        assert int(count.replace(",", "")) == expected, name
