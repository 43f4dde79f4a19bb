"""Knowledge distillation: a model also learns the predictions of finished models, its teachers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moppet.infer.expression_model import ExpressionModel, load_model
from moppet.train.data_module import TrainingData, evaluation_crops
from moppet.train.head_targets import SOURCES
from moppet.train.measurement import at_temperature_one
from moppet.train.recipe import Recipe
from moppet.values import Floats, UsageError

_CHUNK = 512


def with_teachers(data: TrainingData, recipe: Recipe, base: Path) -> TrainingData:
    """Return the data with targets that mix in the predictions of the recipe's teachers.

    The target of each training row becomes (1 - teacher_share) times its own target plus
    teacher_share times the teachers' mean prediction (knowledge distillation, Hinton et al.
    2015). Rows of other sources have no target of their own: theirs is the prediction alone.
    Validation and test rows keep their votes. The recipe's `teachers_on` names the sources.
    base: the folder that the recipe's paths are relative to.
    """
    if not recipe.teachers:
        return data
    paths = [base / name if (base / name).exists() else Path(name) for name in recipe.teachers]
    teachers = [load_model(path, threads=2) for path in paths]
    mixed = data.targets(recipe).copy()
    if "data" in recipe.teachers_on:
        rows = data.training_rows(recipe)
        share = np.float32(recipe.teacher_share)
        mixed[rows] = (1 - share) * mixed[rows] + share * mean_predictions(data, rows, teachers)
    for source, share_of_batch in recipe.shares.items():
        if data.heads is not None and share_of_batch and source in recipe.teachers_on:
            of_source = data.heads.rows(SOURCES.index(source)) & (data.part == "train")
            rows = np.flatnonzero(of_source)
            mixed[rows] = mean_predictions(data, rows, teachers)
    hashes = tuple(teacher.sha256 for teacher in teachers)
    return dataclasses.replace(data, mixed=mixed, teachers=hashes)


def mean_predictions(
    data: TrainingData, rows: np.ndarray, teachers: Sequence[ExpressionModel]
) -> Floats:
    """Return the teachers' mean probabilities (n, k) for the rows' faces and their mirror images.

    At temperature 1. Raises UsageError where a teacher does
    not know the data's classes.
    """
    total = np.zeros((len(rows), len(data.names)), np.float32)
    for teacher in teachers:
        if set(teacher.names) != set(data.names):
            raise UsageError(
                f"the teacher {teacher.name} has the classes {', '.join(teacher.names)}, but "
                f"the data has {', '.join(data.names)}."
            )
        order = [teacher.names.index(name) for name in data.names]
        for start in range(0, len(rows), _CHUNK):
            crops = evaluation_crops(data, rows[start : start + _CHUNK], aligned=True)
            for view in (crops, np.ascontiguousarray(crops[:, :, ::-1])):
                found = teacher.predict(view).probabilities
                total[start : start + len(crops)] += at_temperature_one(
                    found[:, order], teacher.temperature
                )
    return total / np.float32(2 * len(teachers))
