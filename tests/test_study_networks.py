"""A study: many trainings on the same rows, each done once, summed up with intervals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ferplus_sample import training_data
from moppet.datasets.hashing import content_hash
from moppet.datasets.provenance import real_rows
from moppet.study import engine
from moppet.study.engine import run_study
from moppet.study.ledger import finished_cells
from moppet.study.network_cells import NetworkContext, draw_parts
from moppet.study.page import study_page
from moppet.study.plan import NetworkPlan, Regime, read_plan
from moppet.study.results import summarize_networks
from moppet.train.data_module import EpochSampler, RandomViews
from moppet.train.recipe import Recipe
from moppet.values import MoppetError, UsageError
from study_sample import RECIPES, quietly, write_study
from synthesize_sample import whole_faces

pytestmark = pytest.mark.usefixtures("one_torch_thread")

TEXT = """
name = "tiny"
title = "A tiny study"
output = "out"
work = "runs"

[common]
data = "ferplus.npz"
classes = ["happiness", "surprise"]
labels = "hard"
network = "childcnn"
colour = "rgb"
size = 32
epochs = 2
batch = 4
precision = "32-true"
ema_decay = 0.0
optimizer = "sgd"
head_rate = 0.02
base_rate = 0.02
dropout = 0.0

[regimes.scarce]
draws = 2
counts = { happiness = 5, surprise = 4 }
val = 0.3

[tables.ablation]
[[tables.ablation.experiments]]
name = "plain"
[[tables.ablation.experiments]]
name = "with SE"
attention = "se"

[tables.comparison]
[[tables.comparison.experiments]]
name = "plain, again"
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NetworkPlan:
    study = write_study(tmp_path, TEXT)
    whole = training_data(tmp_path / "ferplus.npz", Recipe("all", ""))

    def open_context(plan: NetworkPlan) -> NetworkContext:
        return NetworkContext(plan, whole.manifest, whole.faces)

    monkeypatch.setattr(engine, "open_context", open_context)
    return read_plan(study)


def test_a_study_runs_each_recipe_once_and_counts_it_wherever_it_stands(plan: NetworkPlan) -> None:
    said: list[str] = []
    rows = run_study(plan, report=said.append)
    lines = (plan.output / "tiny.cells.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(plan.cells()) == 6 and len(lines) == 4
    assert "0 of 6 cells are finished; 4 to run" in said[0] and "minutes" in said[1]
    by_name = {(row["table"], row["experiment"]): row for row in rows}
    plain, again = by_name["ablation", "plain"], by_name["comparison", "plain, again"]
    own = ("table", "experiment", "ms_per_face")  # the last is measured anew for each
    assert {k: v for k, v in plain.items() if k not in own} == {
        k: v for k, v in again.items() if k not in own
    }
    assert all(row["ms_per_face"] > 0 for row in rows)
    assert plain["p_value"] is None and 0 < by_name["ablation", "with SE"]["p_value"] <= 1
    wanted = {"experiment", "network", "regime", "n_test", "accuracy", "ci_low", "ci_high"}
    wanted |= {"precision", "recall", "f1", "p_value", "parameters", "seconds", "flops"}
    assert all(wanted <= row.keys() for row in rows)
    assert all(row["n_test"] == 6 and sum(row["n_train"].values()) < 9 for row in rows)
    assert json.loads((plan.output / "tiny.json").read_text(encoding="utf-8")) == rows
    page = (plan.output / "tiny.md").read_text(encoding="utf-8")
    assert "# A tiny study" in page and "| with SE | childcnn | 2 |" in page
    assert "Not run" not in page


def test_finished_cells_are_skipped_and_a_changed_recipe_is_run_anew(plan: NetworkPlan) -> None:
    run_study(plan, report=quietly, only="with SE")
    store = plan.output / "tiny.cells.jsonl"
    kept = store.read_text(encoding="utf-8")
    assert len(kept.splitlines()) == 2
    with store.open("a", encoding="utf-8") as file:
        file.write('{"recipe": "brok')  # a kill in the middle of a line
    rows = run_study(plan, report=quietly)
    assert store.read_text(encoding="utf-8").startswith(kept)
    assert len({(row["table"], row["experiment"]) for row in rows}) == 3
    said: list[str] = []
    run_study(plan, report=said.append)
    assert "6 of 6 cells are finished; 0 to run" in said[0]
    path = plan.base / "study.toml"
    path.write_text(TEXT.replace('attention = "se"', 'attention = "cbam"'), encoding="utf-8")
    run_study(read_plan(path), report=said.append, minutes=0)
    assert "4 of 6 cells are finished; 2 to run" in said[1]


MADE = (
    TEXT.replace("title =", 'compare = "regimes"\ntitle =').split("[tables.comparison]")[0]
    + """
[regimes.copies]
draws = 2
counts = { happiness = 5, surprise = 4 }
val = 0.3
synthetic = "copies"
ratio = 2

[regimes.few]
draws = 2
counts = { happiness = 5, surprise = 4 }
val = 0.3
synthetic = "faces"
ratio = 1

[regimes.many]
draws = 2
counts = { happiness = 5, surprise = 4 }
val = 0.3
synthetic = "faces"
ratio = 3

[generators.faces]
method = "cgan"
width = 4
steps = 2
"""
)


def test_synthetic_rows_are_added_to_the_same_real_ones_and_only_to_train(
    plan: NetworkPlan,
) -> None:
    path = plan.base / "study.toml"
    path.write_text(MADE, encoding="utf-8")
    plan = read_plan(path)
    context = engine.open_context(plan)
    drawn = {}
    for cell in plan.cells():
        if cell.draw == 0 and cell.experiment.name == "plain":
            real = context.draw(cell)
            data, seconds = context.add_synthetic_rows(cell, real)
            n, ratio = len(real.rows("train")), cell.regime.ratio
            assert len(data.rows("train")) == n * (1 + ratio)
            for part in ("val", "test"):
                assert np.array_equal(data.rows(part), real.rows(part))
            drawn[cell.regime.name] = data
            is_made = ~real_rows(data.manifest)
            by_generator = cell.regime.synthetic == "faces"
            assert is_made.sum() == (n * ratio if by_generator else 0)
            assert set(data.part[is_made]) <= {"train"} and (seconds > 0) == by_generator
            assert np.bincount(data.label[data.rows("train")]).tolist() == [
                int((1 + ratio) * count) for count in np.bincount(real.label[real.rows("train")])
            ]
    few, many = drawn["few"], drawn["many"]
    first = few.rows("train")[-1]
    assert any(np.array_equal(few.faces.cuts[first], cut) for cut in many.faces.cuts)
    assert few.fingerprint != many.fingerprint != drawn["copies"].fingerprint


def test_validation_and_test_rows_change_no_synthetic_row(plan: NetworkPlan) -> None:
    """Their images and labels are exchanged: the synthetic rows stay the same, bit by bit."""
    path = plan.base / "study.toml"
    path.write_text(MADE, encoding="utf-8")
    plan = read_plan(path)
    context = engine.open_context(plan)
    cell = next(cell for cell in plan.cells() if cell.regime.name == "few")
    real, rng = context.draw(cell), np.random.default_rng(0)
    others = np.setdiff1d(np.arange(len(real.label)), real.rows("train"))
    assert len(others) > len(real.rows("test")) > 0
    cuts, label = list(real.faces.cuts), real.label.copy()
    for row in others:
        cuts[row] = rng.integers(0, 256, cuts[row].shape, np.uint8)
        label[row] = (label[row] + 1) % 2
    soft = np.eye(len(real.names), dtype=np.float32)[label]
    faces = replace(real.faces, cuts=cuts)
    poisoned = replace(real, faces=faces, label=label, soft=soft)
    made = []
    for number, data in enumerate((real, poisoned)):
        apart = replace(context, plan=replace(plan, work=plan.work / str(number)))
        joined, _ = apart.add_synthetic_rows(cell, data)
        rows = np.arange(len(real.label), len(joined.label))
        made.append((joined.label[rows], [joined.faces.cuts[row] for row in rows]))
    assert np.array_equal(made[0][0], made[1][0]) and len(made[0][1]) > 3
    assert all(np.array_equal(a, b) for a, b in zip(made[0][1], made[1][1], strict=True))


def test_a_finished_model_paints_where_it_is_there_and_is_left_out_where_not(
    plan: NetworkPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers")
    import tiny_models

    monkeypatch.setenv("XDG_CACHE_HOME", str(plan.base / "cache"))
    monkeypatch.setattr("moppet.study.network_cells.find_manifest_faces", whole_faces)
    monkeypatch.setattr("moppet.synthesis.training_images.find_manifest_faces", whole_faces)
    path = plan.base / "study.toml"
    own = 'method = "diffusion"\nstart = "image"\nmodel = "sd"\nsize = 32\nmodel_steps = 2\n'
    head, tail = MADE.split("[generators.faces]")
    path.write_text(f"{head}[generators.faces]\n{own}", encoding="utf-8")
    assert "width" in tail
    plan, said = read_plan(path), []
    context = engine.open_context(plan)
    monkeypatch.setattr(engine, "open_context", lambda plan: context)
    rows = run_study(plan, report=said.append, only="plain")
    assert f"4 cells are left out: there is no model at {plan.base / 'sd'}" in said[0]
    assert {row["regime"] for row in rows} == {"scarce", "copies"}
    page = (plan.output / "tiny.md").read_text(encoding="utf-8")
    (said_there,) = (line for line in page.splitlines() if line.startswith("Not run"))
    assert ", plain, few; " in said_there and "plain, scarce" not in said_there
    tiny_models.write_diffusion(plan.base / "sd")
    cell = next(cell for cell in plan.cells() if cell.regime.name == "few")
    real = context.draw(cell)
    data, seconds = context.add_synthetic_rows(cell, real)
    made = ~real_rows(data.manifest)
    n = len(real.rows("train"))
    assert made.sum() == n and set(data.part[made]) == {"train"} and seconds > 0
    hashes = {content_hash(real.manifest.image(int(row))) for row in real.rows("train")}
    assert all(set(each) <= hashes for each in data.manifest.column("synthetic_from")[made])
    again, kept = context.add_synthetic_rows(cell, real)  # it is painted once
    assert kept == seconds
    assert np.array_equal(again.faces.cuts[-1], data.faces.cuts[-1])


def test_regimes_are_compared_with_the_first_and_generators_are_learned_once(
    plan: NetworkPlan,
) -> None:
    path = plan.base / "study.toml"
    path.write_text(MADE, encoding="utf-8")
    plan = read_plan(path)
    rows = run_study(plan, report=quietly)
    assert [(row["experiment"], row["regime"]) for row in rows[:4]] == [
        ("plain", name) for name in ("scarce", "copies", "few", "many")
    ]
    assert [row["p_value"] is None for row in rows] == [True, False, False, False] * 2
    assert {row.get("compared_with") for row in rows} == {None, "scarce"}
    page = (plan.output / "tiny.md").read_text(encoding="utf-8")
    assert "| regime | trained on | network |" in page and "## ablation, with SE" in page
    kept = list(plan.work.glob("faces-*/seconds.json"))
    assert len(kept) == 2  # one for each draw, whatever the ratio
    before = [file.stat().st_mtime_ns for file in kept]
    cell = next(c for c in plan.cells() if c.regime.name == "many" and c.draw == 0)
    assert engine.open_context(plan).run(cell)["synthesis_seconds"] > 0
    assert [file.stat().st_mtime_ns for file in kept] == before


def test_a_finished_study_summed_up_again_stays_as_it_is(plan: NetworkPlan) -> None:
    run_study(plan, report=quietly, only="plain")
    files = [plan.output / f"tiny.{ending}" for ending in ("json", "md", "cells.jsonl")]
    before = [file.read_bytes() for file in files]
    run_study(plan, report=quietly, minutes=0)
    assert [file.read_bytes() for file in files] == before


def test_every_draw_has_an_order_and_views_of_its_own(plan: NetworkPlan) -> None:
    cells = [cell for cell in plan.cells() if cell.experiment.name == "plain"]
    data = engine.open_context(plan).draw(cells[0])
    views = [RandomViews(data, cell.recipe) for cell in cells]
    orders = [list(EpochSampler(one)) for one in views]
    assert sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]
    assert not torch.equal(views[0][0][0], views[1][0][0])
    assert [cell.recipe.seed for cell in cells] == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'synthetic = "faces"\nratio = 1',
            'synthetic = "nobody"\nratio = 1',
            "no generator 'nobody'",
        ),
        ('synthetic = "faces"\nratio = 1', 'synthetic = "faces"', "a ratio above 0"),
        ('compare = "regimes"', 'compare = "all"', "compare must be .*, got 'all'"),
        ('method = "cgan"', 'method = "cgans"', "cgan"),
        ("ratio = 2", "ratio = 2.5", "copies need a whole ratio"),
        ("draws = 2", 'draws = "2"', "regimes.scarce.draws must be a whole number"),
        ("val = 0.3", 'val = "a"', "regimes.scarce.val must be a number"),
        ("counts = { happiness = 5, surprise = 4 }", "counts = 5", "counts must be a table"),
        ("surprise = 4", 'surprise = "4"', "surprise must be a whole number"),
        (
            "[generators.faces]",
            "[generators]\nmore = 3\n[generators.faces]",
            "more must be a table",
        ),
    ],
)
def test_a_wrong_plan_of_synthetic_rows_is_refused(
    plan: NetworkPlan, old: str, new: str, said: str
) -> None:
    assert old in MADE
    path = plan.base / "study.toml"
    path.write_text(MADE.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_plan(path)


def test_counts_of_a_class_that_is_not_there_are_refused_by_name(plan: NetworkPlan) -> None:
    context = engine.open_context(plan)
    data = context.draw(plan.cells()[0])
    regime = replace(plan.regimes["scarce"], counts={"hapiness": 5})
    with pytest.raises(
        UsageError, match="images of 'hapiness', but the classes are happiness, surpr"
    ):
        draw_parts(data, regime, np.random.default_rng(0))


def test_no_cell_is_begun_after_its_time(plan: NetworkPlan) -> None:
    with pytest.raises(MoppetError, match="too few cells are finished"):
        run_study(plan, report=quietly, minutes=0)


def test_every_experiment_of_a_draw_sees_the_same_rows(plan: NetworkPlan) -> None:
    context = engine.open_context(plan)
    drawn: dict[int, set[bytes]] = {}
    for cell in plan.cells():
        data = context.draw(cell)
        drawn.setdefault(cell.draw, set()).add(data.part.tobytes())
        counts = [int((data.label[data.part != "test"][:] == i).sum()) for i in (0, 1)]
        learned = np.isin(data.part, ("train", "val"))
        assert [int((data.label[learned] == i).sum()) for i in (0, 1)] == [5, 4] != counts
        assert {"train", "val", "test"} <= set(data.part)
    assert all(len(parts) == 1 for parts in drawn.values())
    assert drawn[0] != drawn[1]


def test_half_precision_and_augmentations_go_together(plan: NetworkPlan) -> None:
    path = plan.base / "study.toml"
    text = TEXT.replace('"32-true"', '"bf16-mixed"\naugmentations = ["appearance", "geometry"]')
    path.write_text(text.replace("epochs = 2", "epochs = 1\naugment_px = 24"), encoding="utf-8")
    rows = run_study(read_plan(path), report=quietly, only="with SE")
    assert [row["experiment"] for row in rows] == ["with SE"]


def test_a_regime_that_asks_for_more_than_there_is_is_refused(plan: NetworkPlan) -> None:
    context = engine.open_context(plan)
    data = context.draw(plan.cells()[0])
    whole = training_data(plan.base / "ferplus.npz", plan.cells()[0].experiment.recipe)
    with pytest.raises(MoppetError, match="asks for 500 images of happiness, but there are"):
        draw_parts(whole, Regime("greedy", counts={"happiness": 500}), np.random.default_rng(0))
    assert set(data.part) >= {"test"}


def cell_line(experiment: str, draw: int, right: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    read = np.where(right, label, 1 - label)
    counts = {"happiness": 3, "surprise": 3}
    return {
        "table": "ablation",
        "experiment": experiment,
        "regime": "scarce",
        "draw": draw,
        "network": "childcnn",
        "names": ["happiness", "surprise"],
        "rows": {"train": counts},
        "parameters": 1,
        "flops": 1,
        "epochs": 2,
        "seconds": 4.0,
        "probabilities": np.eye(2)[read].tolist(),
    }


def test_figures_are_means_over_draws_and_p_tells_better_from_equal(plan: NetworkPlan) -> None:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 200)
    groups = np.arange(200)
    made = []
    for draw in (0, 1):
        worse = rng.random(200) < 0.7
        better = worse | (rng.random(200) < 0.6)
        made += [
            cell_line("plain", draw, worse, label),
            cell_line("with SE", draw, better, label),
        ]
    plain, se = summarize_networks(plan, made, label, groups)
    assert plain["accuracy"] == pytest.approx(np.mean(plain["accuracy_by_draw"]), abs=1e-3)
    assert plain["ci_low"] < plain["accuracy"] < plain["ci_high"] < se["ci_low"]
    assert se["p_value"] < 0.01 and se["compared_with"] == "plain"
    assert plain["seconds_per_epoch"] == 2.0
    same = [{**cell, "experiment": "with SE"} for cell in made if cell["experiment"] == "plain"]
    equal = summarize_networks(plan, [*same, *made[::2]], label, groups)[1]
    assert equal["p_value"] == 1.0


def line_of(name: str, accuracy: float, p: float | None, published: float) -> dict[str, Any]:
    """A row of the results, as `sum_up` and `run_study` leave it."""
    known = {"happiness": 0.5, "surprise": None}
    return {
        "table": "ablation", "experiment": name, "regime": "scarce", "network": "childcnn",
        "draws": 2, "n_train": {"happiness": 5, "surprise": 4}, "n_test": 200,
        "accuracy": accuracy, "ci_low": accuracy - 0.05, "ci_high": accuracy + 0.05,
        "precision": known, "recall": known, "f1": known, "p_value": p, "published": published,
        "parameters": 1, "flops": 1, "seconds_per_epoch": None, "ms_per_face": 1.0,
        "synthesis_seconds": 0.0,
    }  # fmt: skip


def test_the_page_says_what_was_published_and_what_is_seen(plan: NetworkPlan) -> None:
    rows = [
        line_of("plain", 0.60, None, 0.80),
        line_of("a", 0.75, 0.001, 0.79),
        line_of("b", 0.65, 0.030, 0.89),  # as one of four 0.06: not significant
        line_of("c", 0.45, 0.004, 0.42),
        line_of("d", 0.64, 0.600, 0.85),
    ]
    page = study_page(plan, rows, 4)
    assert "| a | childcnn | 2 | **0.750** (0.700-0.800) | 0.001 | 0.79 |" in page
    (said,) = (line for line in page.splitlines() if line.startswith("Best:"))
    for sentence in (
        "Best: a, 0.750.",
        "Significantly better than plain (corrected p below 0.05, 4 compared): a.",
        "Significantly worse than plain (corrected p below 0.05, 4 compared): c.",
        "The best published accuracy is that of b, 0.89; here it reaches 0.650 (0.600-0.700).",
        "Of 5 published accuracies, 3 are above the interval found here, 0 below.",
        "Spearman's rho +0.40, n = 5.",
    ):
        assert sentence in said
    noted = study_page(replace(plan, notes="Mind the draws."), rows, 4)
    assert "\n\nMind the draws.\n\n## ablation" in noted and "Mind" not in page
    for row in rows:
        del row["published"]
    page = study_page(plan, rows, 4)
    assert "ublished" not in page and "better than plain" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('attention = "se"', "published = 89"), "an accuracy from 0 to 1, got 89"),
        (("name =", "nome ="), "unknown key 'nome'"),
        (("draws = 2", "draw = 2"), "unknown key 'regimes.scarce.draw'. Did you mean 'draws'"),
        (("draws = 2", "draws = 0"), "regimes.scarce.draws must be a whole number of at least 1"),
        (('attention = "se"', 'atention = "se"'), "'atention'. Did you mean 'attention'?"),
        (('name = "with SE"', 'name = "plain"'), "two experiments have the name 'plain'"),
    ],
)
def test_a_wrong_plan_is_refused_in_one_sentence(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(TEXT.replace(*change, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_plan(path)


@pytest.mark.parametrize("name", ["child-happy-sad", "child-synthesis"])
def test_committed_cells_are_those_of_the_committed_recipe(name: str) -> None:
    plan = read_plan(RECIPES / f"{name}.toml")
    known = finished_cells(plan)
    lacking = {cell.key for cell in plan.cells()} - known.keys()
    assert known and all("diffusion" in regime for _, _, regime, _ in lacking)


def test_a_ratio_is_one_with_and_without_a_point() -> None:
    plan = read_plan(RECIPES / "child-synthesis.toml")
    cell = next(cell for cell in plan.cells() if cell.regime.ratio == 3)
    told = [
        plan.hash_of(replace(cell, regime=replace(cell.regime, ratio=ratio)))
        for ratio in (3, 3.0, 3.5)
    ]
    assert told[0] == told[1] == plan.hash_of(cell) != told[2]


def test_the_published_experiments_are_eight_lines_of_one_network() -> None:
    plan = read_plan(RECIPES / "child-happy-sad.toml")
    eight = [e.recipe for e in plan.experiments if e.table == "ablation"]
    switches = [(r.attention, r.batch_norm, r.dropout > 0) for r in eight]
    assert switches == [
        ("none", False, False),
        ("se", False, False),
        ("cbam", False, False),
        ("none", True, False),
        ("none", False, True),
        ("none", True, True),
        ("se", True, True),
        ("cbam", True, True),
    ]
    assert {(r.network, r.size, r.batch, r.epochs, r.head_rate) for r in eight} == {
        ("childcnn", 224, 32, 40, 0.02)
    }
    assert len(plan.cells()) == 8 * (5 + 3) + 6 * 3
    published = {e.name: e.published for e in plan.experiments}
    assert published["7 BatchNorm + Dropout + SE"] == max(list(published.values())[:8]) == 0.89
