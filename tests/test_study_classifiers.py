"""Seed 3's study: only a fold's training rows are balanced or learned from; figures that hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferplus_sample import unmarked_faces
from light_cells import die, refuse, refuse_the_first, square
from moppet.commands.main import main
from moppet.metrics import macro_f1
from moppet.study import classifier_cells, engine
from moppet.study.classifier_cells import (
    CLASSIFIERS,
    ClassifierContext,
    classify,
    draw_rows,
    pack,
    prepare,
    unpack,
)
from moppet.study.engine import run_study
from moppet.study.executors import _join, choose_executor, run_in_processes
from moppet.study.ledger import finished_cells
from moppet.study.page import study_page
from moppet.study.plan import ClassifierPlan, read_plan
from moppet.study.results import summarize_classifiers
from moppet.values import MoppetError, UsageError
from study_sample import RECIPES, quietly, write_study

pytestmark = pytest.mark.usefixtures("one_torch_thread")

TEXT = """
name = "tiny"
title = "A tiny study"
output = "out"
work = "runs"
data = "ferplus.npz"
spaces = ["hog", "pixels"]
classifiers = ["cart", "logistic"]
folds = 2
repeats = 1
reference = "original"

[data_sets.common]
classes = ["happiness", "surprise", "sadness"]

[data_sets.all]

[data_sets.scarce]
share = 0.2
min_rows = 2
methods = ["original", "repeated"]

[published.both]
macro_f1 = 0.063
auc = 0.056

[methods.original]

[methods.weights]
weights = true

[methods.repeated]
balance = "random_over"

[methods."own space"]
balance = "smote"
space = "own"

[methods.mixed]
balance = "smote_enn"
enn = "majority"

[methods.both]
balance = "smote_enn"
synthesize = "cgan"

[generator]
width = 4
steps = 2
batch = 8
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClassifierPlan:
    monkeypatch.setattr(engine, "find_manifest_faces", unmarked_faces)
    return read_plan(write_study(tmp_path, TEXT))


@pytest.fixture
def context(plan: ClassifierPlan) -> ClassifierContext:
    return ClassifierContext.open(plan)


def mean_of(rows: list[dict[str, Any]], method: str, figure: str) -> float:
    own = [row for row in rows if (row["method"], row["data"]) == (method, "all")]
    return float(np.mean([row[figure] for row in own if row["classifier"] != "all"]))


def test_a_study_runs_every_cell_once_and_sums_it_up(plan: ClassifierPlan) -> None:
    said: list[str] = []
    rows = run_study(plan, report=said.append)
    assert len(plan.cells()) == 2 * (6 + 2)
    assert "0 of 16 cells are finished; 16 to run" in said[0] and "to train generators" in said[1]
    wanted = {"method", "classifier", "space", "data", "folds", "p_value", "seconds"}
    wanted |= {f"{f}{end}" for f in ("macro_f1", "g_mean", "auc") for end in ("", "_low", "_high")}
    assert len(rows) == (4 + 1) * (6 + 2) and all(wanted <= row.keys() for row in rows)
    for row in rows:
        if row["macro_f1_low"] is not None:  # both folds are equal
            assert row["macro_f1_low"] <= row["macro_f1"] <= row["macro_f1_high"]
        assert (row["p_value"] is None) == (row["method"] == "original")
        assert row["n"] == dict.fromkeys(("happiness", "surprise", "sadness"), 9)
    assert json.loads((plan.output / "tiny.json").read_text(encoding="utf-8")) == rows
    page = (plan.output / "tiny.md").read_text(encoding="utf-8")
    assert "# A tiny study" in page and "## scarce" in page and "| own space | cart |" in page
    means = {row["method"]: row for row in rows if (row["data"], row["space"]) == ("all", "all")}
    for method, row in means.items():
        for figure in ("macro_f1", "g_mean", "auc", "seconds"):
            assert row[figure] == pytest.approx(mean_of(rows, method, figure), abs=0.011)
    gain = means["both"]["auc"] / means["original"]["auc"] - 1
    assert f"AUC +5.6% published, {gain:+.1%} here." in page and page.count("published") == 2
    run_study(plan, report=said.append)
    assert "16 of 16 cells are finished; 0 to run" in said[-1]
    assert not list(plan.work.glob("*both*"))  # the generators' checkpoints are gone


def test_a_stopped_study_goes_on_and_a_changed_method_is_run_anew(plan: ClassifierPlan) -> None:
    with pytest.raises(MoppetError, match="too few cells are finished"):
        run_study(plan, report=quietly, minutes=0)
    run_study(plan, report=quietly, only="weights")
    store = plan.output / "tiny.cells.jsonl"
    assert len(store.read_text(encoding="utf-8").splitlines()) == 2
    with store.open("a", encoding="utf-8") as file:
        file.write('{"data": "all", "meth')  # a kill in the middle of a line
    run_study(plan, report=quietly, only="repeated")
    assert len(finished_cells(plan)) == 2 + 4
    path = plan.data.parent / "study.toml"
    path.write_text(TEXT.replace("weights = true", 'balance = "smote"'), encoding="utf-8")
    assert len(finished_cells(read_plan(path))) == 4
    path.write_text(TEXT.replace("steps = 2", "steps = 3"), encoding="utf-8")
    assert len(finished_cells(read_plan(path))) == 6


def poisoned_label(
    context: ClassifierContext, cell: Any, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that a cell does not learn from, the labels, and the same with lies for those."""
    train, test = context.parts(cell)
    assert not set(train) & set(test)
    label = context.label(cell.data)
    others = np.setdiff1d(np.arange(len(label)), train)
    lies = label.copy()
    lies[others] = rng.integers(0, 3, len(others))
    return others, label, lies


def test_a_poisoned_test_fold_changes_nothing_that_is_made(
    context: ClassifierContext, tmp_path: Path
) -> None:
    """Other rows' images and labels are exchanged: what is made ready stays, bit by bit."""
    rng = np.random.default_rng(0)
    for cell in context.plan.cells():
        train, _ = context.parts(cell)
        others, label, lies = poisoned_label(context, cell, rng)
        poisoned = context.images.copy()
        poisoned[others] = rng.integers(0, 256, poisoned[others].shape, np.uint8)
        names, made = cell.data.classes, context.plan.synthesis
        first, second = (
            prepare(cell.method, shown, told, train, names, made, tmp_path / "run", 7)
            for shown, told in ((context.images, label), (poisoned, lies))
        )
        assert np.array_equal(first.rows, second.rows) and set(first.rows) <= set(train)
        assert np.array_equal(first.images, second.images)
        assert np.array_equal(first.label, second.label)


def test_a_poisoned_test_fold_changes_nothing_that_is_learned_in_any_space(
    context: ClassifierContext, tmp_path: Path
) -> None:
    """As above for what is balanced in a classifier's own space, and for what is described."""
    rng = np.random.default_rng(0)
    for cell in context.plan.cells():
        train, _ = context.parts(cell)
        others, label, lies = poisoned_label(context, cell, rng)
        features = {name: values.copy() for name, values in context.features.items()}
        for values in features.values():
            values[others] = rng.normal(9, 9, values[others].shape)
        poisoned = replace(context, features=features)
        made = (cell.data.classes, context.plan.synthesis, tmp_path / "run", 7)
        ready = prepare(cell.method, context.images, label, train, *made)
        for space in context.plan.spaces:
            x, y = context.training_features(ready, label, cell, space, 7)
            other_x, other_y = poisoned.training_features(ready, lies, cell, space, 7)
            assert np.array_equal(x, other_x) and np.array_equal(y, other_y)
            assert len(np.unique(y)) == 3


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_row_is_read_alike_whatever_is_read_beside_it(classifier: str) -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 20)
    x = (rng.normal(0, 1, (60, 6)) + label[:, None]).astype(np.float32)
    unseen = rng.normal(0, 9, (8, 6)).astype(np.float32)
    whole = classify(classifier, x, label, None, unseen, 3, 0)
    alone = [classify(classifier, x, label, None, unseen[i : i + 1], 3, 0)[0] for i in range(8)]
    assert np.allclose(whole, alone, atol=1e-7)


def test_a_run_of_other_settings_is_left_alone(
    plan: ClassifierPlan, context: ClassifierContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []

    def stop(*arguments: Any) -> None:
        folders.append(arguments[6])
        raise KeyboardInterrupt

    monkeypatch.setattr(classifier_cells, "prepare", stop)
    cell = next(cell for cell in plan.cells() if cell.method.synthesize)
    other = replace(plan, generator={**plan.generator, "steps": 3})
    for of in (plan, other):
        with pytest.raises(KeyboardInterrupt):
            replace(context, plan=of).run(cell)
    assert len(set(folders)) == 2


def test_a_class_of_one_training_row_does_not_stop_the_budget(context: ClassifierContext) -> None:
    table = context.folded["all"]
    ones = np.flatnonzero(table.label == 1)
    keep = np.setdiff1d(np.arange(len(table.rows)), ones[1:])
    fold = table.fold[:, keep]
    fold[:, np.flatnonzero(table.label[keep] == 1)] = 1  # it trains in fold 0 only
    small = replace(
        table, rows=table.rows[keep], label=table.label[keep], groups=table.groups[keep], fold=fold
    )
    context = replace(context, folded={**context.folded, "all": small})
    cells = [c for c in context.plan.cells() if c.method.synthesize and c.data.name == "all"]
    assert "to train generators" in context.estimate(cells, {})
    plain = [c for c in context.plan.cells() if not c.method.synthesize]
    assert "faces" not in context.estimate(plain, {})


def test_a_generator_fills_each_class_up_to_the_largest_that_came(
    context: ClassifierContext, tmp_path: Path
) -> None:
    data = context.plan.data_sets["all"]
    label = context.label(data)
    rows = np.flatnonzero(label >= 0)
    rows = np.setdiff1d(rows, np.flatnonzero(label == 1)[:5])  # 9, 4, 9
    method = replace(context.plan.methods["both"], balance="")
    made = replace(context.plan.synthesis, steps=60, ema_decay=0.5)
    ready = prepare(method, context.images, label, rows, data.classes, made, tmp_path / "run", 0)
    assert np.array_equal(ready.rows, rows)
    assert ready.label.tolist() == [1] * 5 and ready.images.shape == (5, 48, 48)
    assert len(np.unique(ready.images.reshape(5, -1), axis=0)) == 5


def test_a_scarce_draw_takes_its_share_and_never_less_than_the_least(plan: ClassifierPlan) -> None:
    label = np.repeat([0, 1, 2], [100, 30, 4])
    data = replace(plan.data_sets["scarce"], share=0.1, min_rows=5)
    drawn = draw_rows(1000 + np.arange(134), label, data, np.random.default_rng(0))
    assert np.bincount(label[drawn - 1000]).tolist() == [10, 5, 4]
    assert len(set(drawn.tolist())) == len(drawn)


def test_folds_keep_groups_together_and_are_the_same_for_every_method(
    context: ClassifierContext,
) -> None:
    for data in context.plan.data_sets.values():
        table = context.folded[data.name]
        for fold in table.fold:
            for group in np.unique(table.groups):
                assert len(set(fold[table.groups == group])) == 1
        tested = [set(context.parts(c)[1]) for c in context.plan.cells() if c.data == data]
        assert set.union(*tested) == set(table.rows)


def test_copies_that_a_data_set_does_not_tell_of_stay_in_one_fold(plan: ClassifierPlan) -> None:
    rng = np.random.default_rng(0)
    folder = plan.data.parent / "faces"
    for name in plan.data_sets["all"].classes:
        (folder / name).mkdir(parents=True)
        for number in range(8):
            blocks = rng.integers(0, 256, (6, 6), np.uint8)
            image = cv2.resize(blocks, (48, 48), interpolation=cv2.INTER_NEAREST)
            for again in "ab":
                assert cv2.imwrite(str(folder / name / f"{number}{again}.png"), image)
    context = ClassifierContext.open(replace(plan, data=folder, repeats=3))
    table = context.folded["all"]
    assert len(table.rows) == 48 and len(np.unique(table.groups)) == 24
    assert np.array_equal(table.fold[:, ::2], table.fold[:, 1::2])


def test_what_is_kept_of_a_reading_is_who_was_read_exactly() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), 50)
    guess, back = unpack(json.loads(json.dumps(pack(probabilities))), 5)
    assert np.array_equal(guess, probabilities.argmax(axis=1))
    assert np.allclose(back, probabilities, rtol=3e-4, atol=0)
    small = rng.permutation(np.geomspace(1e-9, 1e-3, 5000))  # a rare class's: their ranks count
    back = unpack(pack(np.stack([1 - small, small], axis=1)), 2)[1]
    assert np.array_equal(np.argsort(back[:, 1]), np.argsort(small))
    assert unpack(pack(np.eye(2)), 2)[1].round(6).tolist() == np.eye(2).tolist()
    even = unpack(pack(np.full((3, 2), 0.5)), 2)[1]
    assert np.allclose(even, 0.5, rtol=3e-4)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_every_classifier_learns_what_is_plain_and_gives_unknown_classes_nothing(
    classifier: str,
) -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 3], 30)
    x = (rng.normal(0, 1, (90, 6)) + 4 * label[:, None]).astype(np.float32)
    weight = np.where(label == 1, 2.0, 1.0)
    read = classify(classifier, x[::2], label[::2], weight[::2], x[1::2], 4, 0)
    assert read.shape == (45, 4) and np.allclose(read.sum(axis=1), 1)
    assert not read[:, 2].any()
    assert (read.argmax(axis=1) == label[1::2]).mean() > 0.9


def test_figures_are_those_of_the_readings_and_p_tells_better_from_equal(
    plan: ClassifierPlan,
) -> None:
    plan = replace(plan, repeats=3, folds=5, spaces=("hog",), classifiers=("cart",))
    plan = replace(plan, data_sets={"all": replace(plan.data_sets["all"], methods=())})
    context = ClassifierContext.open(plan)
    table, rng = context.folded["all"], np.random.default_rng(0)
    cells: dict[Any, Any] = {}
    guesses: dict[str, list[np.ndarray]] = {}
    for cell in plan.cells():
        if cell.method.name not in ("original", "weights", "repeated"):
            continue
        at = table.fold[cell.repeat] == cell.fold
        label = table.label[at]
        right = rng.random(len(label)) < (0.95 if cell.method.name == "weights" else 0.3)
        read = np.where(right, label, (label + 1) % 3)
        if cell.method.name == "repeated":
            read = guesses["original"][cell.repeat][at]
        guesses.setdefault(cell.method.name, [np.empty_like(table.label) for _ in range(3)])
        guesses[cell.method.name][cell.repeat][at] = read
        found = {"space": "hog", "classifier": "cart", "seconds": 2.0, **pack(np.eye(3)[read])}
        found["n_train"] = [6, 6, 6] if cell.method.name == "original" else [9, 8, 7]
        cells[cell.key] = {
            "repeat": cell.repeat,
            "fold": cell.fold,
            "n_test": len(label),
            "n_before": [6, 6, 6],
            "notes": ["smote would keep none of it: they are kept, as asked."] * (cell.fold == 1),
            "found": [found],
        }
    rows = summarize_classifiers(context, cells)
    of = {row["method"]: row for row in rows if row["space"] == "hog"}
    for name, repeats in guesses.items():
        expected = np.mean(
            [
                macro_f1(table.label[table.fold[i] == fold], guess[table.fold[i] == fold], 3)
                for i, guess in enumerate(repeats)
                for fold in range(5)
            ]
        )
        assert of[name]["macro_f1"] == pytest.approx(expected, abs=1e-4)
        assert of[name]["repeats"] == 3 and of[name]["seconds"] == 2.0
    assert of["weights"]["p_value"] < 0.01 and of["weights"]["difference"] > 0.3
    assert of["repeated"]["p_value"] == 1.0 and of["original"]["p_value"] is None
    whole = {row["method"]: row for row in rows if row["space"] == "all"}
    for name, row in whole.items():  # of one pair the mean is the pair's own
        own = ("classifier", "space", "against", "n_before", "n_train", "outcomes")
        assert {k: v for k, v in row.items() if k not in own} == {
            k: v for k, v in of[name].items() if k not in own
        }
    told = {name: whole[name]["against"].get("original", {}) for name in whole}
    assert told["original"] == {} and "against" not in of["weights"]
    assert told["weights"]["macro_f1"]["difference"] == of["weights"]["difference"]
    for name, rows_of in whole.items():  # the tables' own figures, to the last digit but rounding
        for figure, one in told[name].items():
            gap = rows_of[figure] - whole["original"][figure]
            assert one["difference"] == pytest.approx(gap, abs=2e-4)
    assert told["weights"]["macro_f1"]["p_corrected"] == pytest.approx(
        2 * of["weights"]["p_value"], abs=1e-4
    )
    for figure in ("macro_f1", "g_mean", "auc"):
        assert told["weights"][figure]["p_corrected"] < 0.05
        assert told["repeated"][figure] == {"difference": 0.0, "p_value": 1.0, "p_corrected": 1.0}
    page = study_page(plan, rows, len(cells))
    assert page.count("Significant differences from original") == 1
    assert "| before | 6 | 6 | 6 |\n| weights | 9 | 8 | 7 |\n| repeated | 9 | 8 | 7 |" in page
    assert (
        "weights: a class that cleaning would have removed completely was kept whole in 3" in page
    )
    assert whole["weights"]["outcomes"] == {"kept": 3, "too_small": 0}
    assert page.count(": better: weights. Worse: none.") == 3
    with_base = replace(plan, reference="weights")
    rows = summarize_classifiers(replace(context, plan=with_base), cells)
    page = study_page(with_base, rows, len(cells))
    assert page.count(": better: weights. Worse: none.") == 3  # than the first method
    assert page.count(": better: none. Worse: original; repeated.") == 3  # than the reference
    del cells["all", "weights", 2, 4]  # a repeat counts when all its folds are there
    (fewer, _) = (
        row for row in summarize_classifiers(context, cells) if row["method"] == "weights"
    )
    assert fewer["repeats"] == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"hog", "pixels"', '"hogs"', "item 1 of spaces must be .* got 'hogs'. Did you mean 'hog'"),
        ('"cart", "logistic"', '"forest"', "item 1 of classifiers must be .* got 'forest'"),
        ('balance = "random_over"', 'balance = "over"', "no balancing method 'over'"),
        (
            'synthesize = "cgan"',
            'synthesize = "diffusion"',
            "needs a generator that is trained here, got 'diffusion'",
        ),
        ('reference = "original"', 'reference = "none"', "reference: there is no method 'none'"),
        ("folds = 2", "folds = 1", "folds must be a whole number of at least 2, got 1"),
        ("[published.both]", "[published.bothe]", "published: there is no method 'bothe'"),
        ("auc = 0.056", "aug = 0.056", "there is no figure 'aug'. Did you mean 'auc'"),
        ("auc = 0.056", 'auc = "5 %"', "published.both.auc must be a number, got '5 %'"),
        ("folds = 2", "fold = 2", "'fold'. Did you mean 'folds'"),
        ("share = 0.2", "share = 2.0", "data_sets.scarce.share must be a number above 0 and of at"),
        ('classes = ["happiness", "surprise", "sadness"]', "", "'data_sets.all.classes' is needed"),
        ('space = "own"', 'space = "own"\nsynthesize = "cgan"', "is trained on images"),
        ("steps = 2", "step = 2", "step"),
        ("steps = 2", "steps = 2\nsize = 32", "gray and 48 pixels"),
        ("steps = 2", 'steps = 2\ncolour = "rgb"', "gray and 48 pixels"),
        ("folds = 2", 'folds = "five"', "folds must be a whole number of at least 2, got 'five'"),
        ("folds = 2", "folds = 2.5", "folds must be a whole number of at least 2, got 2.5"),
        ("repeats = 1", "repeats = 1\nseed = -1", "seed must be a whole number of at least 0"),
        ("share = 0.2", 'share = "0.2"', "share must be a number"),
        ("min_rows = 2", 'min_rows = "2"', "min_rows must be a whole number"),
        ("weights = true", 'weights = "no"', "weights must be true or false"),
        ('data = "ferplus.npz"', "data = 3", "data must be a path, got 3"),
        ('spaces = ["hog", "pixels"]', "spaces = 3", "spaces must be a list"),
        ("[methods.original]", "[methods]\noriginal = 3", "methods.original must be a table"),
        (
            '["happiness", "surprise", "sadness"]',
            '["happiness", "happiness"]',
            "classes must differ",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_name(
    plan: ClassifierPlan, old: str, new: str, said: str
) -> None:
    path = plan.data.parent / "study.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_plan(path)


def run(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["moppet", *arguments])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


def test_the_command_writes_the_study_and_says_where(
    plan: ClassifierPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    study = str(plan.data.parent / "study.toml")
    assert run("study", study, "--only", "weights") == 0
    assert "tiny.md and .json" in capsys.readouterr().out
    assert run("study", study, "--engine", "cloud") == 2
    assert "no engine 'cloud'" in capsys.readouterr().err


def test_a_named_ray_cluster_that_does_not_answer_is_not_replaced_by_one_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray")
    from ray._private import ray_constants

    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    begun: list[str] = []

    class Ray:
        @staticmethod
        def init(address: str, **_: Any) -> None:
            if address == "auto":
                raise ConnectionError
            begun.append(address)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _join(Ray)
    assert begun == ["local"]
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(MoppetError, match=r"no Ray cluster answers at RAY_ADDRESS=10\.0\.0\.1"):
        _join(Ray)
    assert begun == ["local"]


LISTENS = """
from pathlib import Path
import ray
from moppet.study.executors import _join

def listening():
    text = "".join(Path("/proc/net", name).read_text() for name in ("tcp", "tcp6"))
    lines = [line.split() for line in text.splitlines()]
    return {x[1] for x in lines if len(x) > 3 and x[3] == "0A"}

before = listening()
_join(ray)
assert ray.get(ray.remote(lambda: 7).remote()) == 7
print("listens on", *sorted({place.split(":")[0] for place in listening() - before}))
ray.shutdown()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cluster_that_is_begun_here_listens_to_this_machine_alone() -> None:
    pytest.importorskip("ray")
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", LISTENS], capture_output=True, text=True, env=kept, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("listens on")]
    here = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert set(said.split()[2:]) and set(said.split()[2:]) <= here


def test_processes_make_what_one_makes_and_take_up_cells_when_they_are_free() -> None:
    taken: list[int] = []

    def cells() -> Any:
        for cell in range(6):
            taken.append(cell)
            yield cell

    lines = run_in_processes(square, cells(), 2)
    first = next(lines)
    assert len(taken) <= 4  # two at work, one more for each that is finished
    made = [first, *lines]
    assert sorted(line["square"] for line in made) == [0, 1, 4, 9, 16, 25]
    assert all(line["process"] != "MainProcess" for line in made)
    with pytest.raises(MoppetError, match="cell 3 cannot be"):
        list(run_in_processes(refuse, [3], 1))
    with pytest.raises(MoppetError, match="finished cells are kept"):
        list(run_in_processes(die, [3], 1))


def test_a_cell_that_fails_costs_none_at_work_beside_it_and_none_is_begun_after_it() -> None:
    made = []
    with pytest.raises(MoppetError, match="cell 0 cannot be"):
        for line in run_in_processes(refuse_the_first, range(4), 2):
            made.append(line["cell"])
    assert made == [1]


def test_cells_run_on_two_nodes_of_a_ray_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1)
        cluster.connect()
        assert ray.cluster_resources()["CPU"] == 2

        def where(cell: int) -> dict[str, Any]:
            import ray

            time.sleep(1)  # long enough that one node cannot have made all
            return {"cell": cell, "node": ray.get_runtime_context().get_node_id()}

        made = list(choose_executor("ray")(where, range(4)))
        assert sorted(line["cell"] for line in made) == [0, 1, 2, 3]
        assert len({line["node"] for line in made}) == 2

        def refuse_there(cell: int) -> dict[str, Any]:
            raise MoppetError(f"cell {cell} cannot be.")

        with pytest.raises(MoppetError, match="cell 5 cannot be"):
            list(choose_executor("ray")(refuse_there, [5]))

        def end_there(cell: int) -> dict[str, Any]:
            os._exit(1)

        with pytest.raises(MoppetError, match="a worker of the Ray cluster ended"):
            list(choose_executor("ray")(end_there, [6]))
        with pytest.raises(MoppetError, match="the largest node of this Ray cluster has 1"):
            list(choose_executor("ray", 2)(where, [7]))
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_every_cell_of_the_committed_study_is_finished() -> None:
    plan = read_plan(RECIPES / "infant-hybrid.toml")
    known = finished_cells(plan)
    assert len(known) == len(plan.cells()) == 260
