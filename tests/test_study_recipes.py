"""Studies from a recipe alone: one's own folder, a starter recipe, and pages without images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferplus_sample import draw_face
from moppet.commands.study import write_starter_recipe
from moppet.study import engine
from moppet.study.engine import run_plan
from moppet.study.ledger import finished_cells, read_results
from moppet.study.plan import ClassifierPlan, read_plan
from moppet.values import MoppetError, UsageError
from synthesize_sample import whole_faces

ROOT = Path(__file__).parents[1]
COMMITTED = ["child-happy-sad", "child-synthesis", "infant-hybrid"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(engine, "find_manifest_faces", whole_faces)
    rng = np.random.default_rng(0)
    for name in ("happiness", "sadness"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for number in range(12):
            path = tmp_path / "faces" / name / f"{number}.png"
            blocks = rng.integers(0, 256, (6, 6), np.uint8)  # drawn faces would be duplicates
            face = cv2.addWeighted(
                draw_face(name, rng), 0.5, cv2.resize(blocks, (48, 48), interpolation=0), 0.5, 0
            )
            assert cv2.imwrite(str(path), face)
    return tmp_path / "faces"


@pytest.mark.parametrize("kind", ["classifiers", "networks"])
def test_a_starter_recipe_explains_every_key_and_runs(folder: Path, kind: str) -> None:
    recipe = write_starter_recipe(folder, folder.parent / "mine.toml", kind)
    for line in recipe.read_text(encoding="utf-8").splitlines():
        key = line.partition(" = ")[0]
        plain = ("title", "name", "data", "classes", "seed", "dropout", "synthesize")
        assert " = " not in line or "#" in line or key in plain, line
    shorter = recipe.read_text(encoding="utf-8").replace("epochs = 4", "epochs = 1")
    recipe.write_text(shorter.replace("draws = 2", "draws = 1"), encoding="utf-8")
    plan = read_plan(recipe)
    page = run_plan(plan, report=lambda _: None)
    assert len(finished_cells(plan)) == len(plan.cells()) > 1
    assert f"from {len(plan.cells())} of {len(plan.cells())} cells" in page.read_text("utf-8")


def test_a_starter_recipe_needs_two_classes_and_replaces_nothing(folder: Path) -> None:
    recipe = write_starter_recipe(folder, folder.parent / "mine.toml")
    with pytest.raises(UsageError, match="exists already"):
        write_starter_recipe(folder, recipe)
    shutil.rmtree(folder / "sadness")
    with pytest.raises(MoppetError, match=r"two classes with at least 6 images each.*happiness 12"):
        write_starter_recipe(folder, folder.parent / "other.toml")


@pytest.mark.parametrize("name", COMMITTED)
def test_other_data_and_another_folder_replace_those_of_a_recipe(name: str, tmp_path: Path) -> None:
    """Cells of the recipe's own data do not count for other data."""
    recipe = ROOT / "recipes" / f"{name}.toml"
    own, other = read_plan(recipe), read_plan(recipe, data=tmp_path, output=tmp_path)
    assert other.output == tmp_path and finished_cells(own)
    assert not {own.hash_of(c) for c in own.cells()} & {other.hash_of(c) for c in other.cells()}


@pytest.mark.parametrize("name", COMMITTED)
def test_a_pattern_of_subjects_reaches_the_reader_and_changes_the_cells(name: str) -> None:
    recipe = ROOT / "recipes" / f"{name}.toml"
    own, named = read_plan(recipe), read_plan(recipe, subject=r"/(c\d+)_")
    used = [named.subject] if isinstance(named, ClassifierPlan) else []
    used += [] if used else [one.recipe.subject for one in named.experiments]
    assert set(used) == {r"/(c\d+)_"}
    assert not {own.hash_of(c) for c in own.cells()} & {named.hash_of(c) for c in named.cells()}


@pytest.mark.parametrize("kind", ["classifiers", "networks"])
def test_a_starter_recipe_keeps_the_pattern_of_subjects(folder: Path, kind: str) -> None:
    path = write_starter_recipe(folder, folder.parent / "mine.toml", kind, r"(\d+)\.png")
    plan = read_plan(path)
    recipe = plan if isinstance(plan, ClassifierPlan) else plan.experiments[0].recipe
    assert recipe.subject == r"(\d+)\.png"


@pytest.mark.parametrize("name", ["child-happy-sad", "infant-hybrid"])
def test_a_recipe_of_old_keys_has_the_cells_of_todays(name: str) -> None:
    old = read_plan(ROOT / "tests" / "golden" / "old" / "recipes" / f"{name}.toml")
    new = read_plan(ROOT / "recipes" / f"{name}.toml")
    assert {old.hash_of(c) for c in old.cells()} <= {new.hash_of(c) for c in new.cells()}


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_page_is_what_the_command_writes_without_any_data(
    name: str, tmp_path: Path
) -> None:
    for path in (ROOT / "docs" / "studies").glob(f"{name}.*"):
        shutil.copy(path, tmp_path)
    before = (tmp_path / f"{name}.md").read_bytes()
    page = run_plan(read_plan(ROOT / "recipes" / f"{name}.toml", output=tmp_path), page_only=True)
    assert page.read_bytes() == before


def test_every_mistake_of_a_recipe_is_reported_at_once(tmp_path: Path) -> None:
    text = (ROOT / "recipes" / "infant-hybrid.toml").read_text(encoding="utf-8")
    text = text.replace("folds = 5", "folds = 1").replace("repeats =", "repeat =")
    (tmp_path / "wrong.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        read_plan(tmp_path / "wrong.toml")
    assert "2 mistakes" in str(raised.value) and "Did you mean 'repeats'" in str(raised.value)


def changed(values: Any, place: Sequence[Any], value: Any) -> Any:
    """A copy of nested lists and tables in which one value is another."""
    whole = json.loads(json.dumps(values))
    holder = whole
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("name", "place", "value", "says"),
    [
        ("child-happy-sad", [1, "accuracy"], "0.5", "row 2 of .*accuracy must be a number from 0"),
        ("child-happy-sad", [0, "n_train", "happiness"], 10**400, "n_train.happiness must be"),
        ("infant-hybrid", [0, "recall"], [0.5], "row 1 of .*recall must be a table"),
        ("infant-hybrid", [0, "folds"], 0, "folds must be a whole number of at least 1"),
    ],
)
def test_odd_results_are_refused_with_their_row_and_key(
    tmp_path: Path, name: str, place: list[Any], value: Any, says: str
) -> None:
    plan = replace(read_plan(ROOT / "recipes" / f"{name}.toml"), output=tmp_path)
    rows = json.loads((ROOT / "docs" / "studies" / f"{name}.json").read_bytes())
    (tmp_path / f"{name}.json").write_text(json.dumps(changed(rows, place, value)))
    with pytest.raises(MoppetError, match=f"{says}.*Rerun the study"):
        read_results(plan)


@pytest.mark.parametrize(
    ("name", "place", "value", "says"),
    [
        ("child-happy-sad", ["probabilities", 3], 0.5, "item 4 of probabilities must be a list"),
        ("child-happy-sad", ["epochs"], True, "epochs must be a whole number"),
        ("infant-hybrid", ["found", 0, "steps"], None, "steps must be a text"),
    ],
)
def test_odd_cells_are_refused_with_their_line_and_key_and_cut_ones_run_anew(
    tmp_path: Path, name: str, place: list[Any], value: Any, says: str
) -> None:
    plan = replace(read_plan(ROOT / "recipes" / f"{name}.toml"), output=tmp_path)
    first, *_ = (ROOT / "docs" / "studies" / f"{name}.cells.jsonl").read_text().splitlines()
    plan.ledger.write_text(f"{first}\n{first[:100]}")
    (cell,) = finished_cells(plan).values()
    assert "made_seconds" not in cell
    plan.ledger.write_text(f"\n{json.dumps(changed(json.loads(first), place, value))}\n")
    with pytest.raises(MoppetError, match=f"line 2 of the ledger .*{says}.*Remove the line"):
        finished_cells(plan)
