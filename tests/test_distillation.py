"""What a run learns from teachers: their answers in its training rows, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ferplus_sample import training_data, write_ferplus
from model_folder import linear_network, write_model
from moppet.infer.expression_model import find_model, load_model
from moppet.train import trainer as loop
from moppet.train.data_module import RandomViews, TrainingData, evaluation_crops, network_input
from moppet.train.distillation import with_teachers
from moppet.train.model_folder import onnx_logits
from moppet.train.recipe import Recipe
from moppet.train.starting_weights import make_network
from moppet.values import UsageError

RECIPE = Recipe(
    "pupil", "ferplus.npz", epochs=1, size=32, batch=16, precision="32-true",
    teachers=("default",), teacher_share=0.25,
)  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    path = write_ferplus(tmp_path_factory.mktemp("data") / "ferplus.npz")
    return training_data(path, RECIPE)


@pytest.fixture(scope="module")
def taught(plain: TrainingData) -> TrainingData:
    return with_teachers(plain, RECIPE, Path())


def test_a_training_rows_target_is_its_votes_mixed_with_the_teachers_answer_to_both_mirror_images(
    plain: TrainingData, taught: TrainingData
) -> None:
    rows = plain.training_rows(RECIPE)
    crops = evaluation_crops(plain, rows, aligned=True)
    teacher = load_model("default")
    size = replace(RECIPE, size=teacher.preprocessing.size)
    answers = np.zeros((len(rows), 7))
    for view in (crops, crops[:, :, ::-1].copy()):
        pictures = network_input(view, size, teacher.preprocessing.detail_px)
        logits, _ = onnx_logits(find_model("default") / "model.onnx", pictures)
        answers += torch.from_numpy(logits).softmax(dim=1).numpy() / 2
    order = [teacher.names.index(name) for name in plain.names]
    wanted = 0.75 * plain.soft[rows] + 0.25 * answers[:, order]
    assert taught.mixed is not None
    assert np.allclose(taught.mixed[rows], wanted, atol=1e-4)
    assert np.abs(taught.mixed[rows] - plain.soft[rows]).max() > 0.05
    views = RandomViews(taught, RECIPE)
    assert np.allclose(views[3][1], wanted[3], atol=1e-4)


def test_validation_and_test_rows_keep_their_votes(
    plain: TrainingData, taught: TrainingData
) -> None:
    assert taught.mixed is not None
    others = np.setdiff1d(np.arange(len(plain.label)), plain.training_rows(RECIPE))
    assert (plain.part[others] == "val").any()
    assert np.array_equal(taught.mixed[others], plain.soft[others])
    assert np.array_equal(taught.targets(RECIPE), plain.soft)


def test_without_teachers_nothing_changes(plain: TrainingData) -> None:
    assert with_teachers(plain, replace(RECIPE, teachers=()), Path()) is plain


def test_a_run_is_not_gone_on_with_by_other_teachers(
    plain: TrainingData, taught: TrainingData, tmp_path: Path
) -> None:
    machine = loop.Machine(accelerator="cpu")
    loop.train(RECIPE, tmp_path, taught, make_network(RECIPE, 7), machine)
    with pytest.raises(UsageError, match="on other images or labels"):
        loop.train(RECIPE, tmp_path, plain, make_network(RECIPE, 7), machine)


def test_a_teacher_of_other_classes_is_refused(plain: TrainingData, tmp_path: Path) -> None:
    write_model(tmp_path / "other", linear_network(classes=2), labels=("happy", "sad"), groups={})
    with pytest.raises(UsageError, match="has the classes happy, sad, but the data has neutral"):
        with_teachers(plain, replace(RECIPE, teachers=("other",)), tmp_path)
