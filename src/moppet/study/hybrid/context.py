"""What every cell of a hybrid study works with, and how a cell is made."""

from __future__ import annotations

import base64
import time
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from moppet.balance.spaces import Pixels
from moppet.datasets.duplicates import group_copies
from moppet.datasets.faces import find_manifest_faces
from moppet.datasets.manifest import Manifest
from moppet.datasets.readers import read_dataset
from moppet.datasets.splits import kfold
from moppet.infer.models import ExpressionModel, load_model
from moppet.study.features import describe_crops
from moppet.study.hybrid.classifiers import read_with
from moppet.study.hybrid.hybrid_plan import SIDE_PX, DataSet, HybridCell, HybridPlan
from moppet.study.hybrid.prepare import Prepared, balanced_rows, draw_rows, prepare
from moppet.values import Floats, Image, MoppetError

Json = dict[str, Any]
_STRIDE: Final = 1000
_LEAST: Final = 1e-12
"""Smaller probabilities count as this one."""
_STEPS: Final = 65535


@dataclass(frozen=True)
class Table:
    """A data set's rows.

    rows: (n,) their numbers on the bench. label: (n,) numbers of the data set's classes.
    groups: (n,) copies and images of one person share a number.
    fold: (repeats, n) the fold of each row: the same whatever is tried.
    """

    rows: NDArray[np.int64]
    label: NDArray[np.int64]
    groups: NDArray[np.int64]
    fold: NDArray[np.int64]


@dataclass(frozen=True)
class HybridBench:
    """The real rows of all data sets, described once.

    images: (n, 48, 48) gray uint8 aligned faces. features: by space, (n, d) float32.
    tables: by the name of the data set.
    """

    plan: HybridPlan
    pictures: Image
    features: dict[str, Floats]
    tables: dict[str, Table]

    def parts(self, cell: HybridCell) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows that a cell learns from and those that it reads."""
        table = self.tables[cell.data.name]
        away = table.fold[cell.repeat] == cell.fold
        rng = np.random.default_rng((self.plan.seed, cell.repeat, cell.fold))
        train = draw_rows(table.rows[~away], table.label[~away], cell.data, rng)
        return train, table.rows[away]

    def label(self, data: DataSet) -> NDArray[np.int64]:
        """Return (n,) every row's number in the data set's classes, -1 for other rows."""
        table = self.tables[data.name]
        label = np.full(len(self.pictures), -1, np.int64)
        label[table.rows] = table.label
        return label

    def make(self, cell: HybridCell) -> Json:
        """Make a fold ready, let every classifier learn from it, and return the cell's line."""
        train, test = self.parts(cell)
        label, names = self.label(cell.data), cell.data.classes
        seed = self.plan.seed + _STRIDE * cell.repeat + cell.fold
        told = (*cell.key, self.plan.hash_of(cell))  # a run of other settings is left alone
        folder = self.plan.work / "-".join(str(part).replace(" ", "_") for part in told)
        started = time.process_time()
        ready = prepare(
            cell.method, self.pictures, label, train, names, self.plan.generator, folder, seed
        )
        seconds = time.process_time() - started
        found = []
        for space in self.plan.spaces:
            started = time.process_time()
            x, y = self._lesson(ready, label, cell, space, seed)
            weight = compute_sample_weight("balanced", y) if cell.method.weights else None
            described = time.process_time() - started
            for classifier in self.plan.classifiers:
                started = time.process_time()
                unseen = self.features[space][test]
                read = read_with(classifier, x, y, weight, unseen, len(names), seed)
                taken = seconds + described + time.process_time() - started
                found.append(
                    {
                        "space": space,
                        "classifier": classifier,
                        "n_train": np.bincount(y, minlength=len(names)).tolist(),
                        "seconds": round(taken, 2),
                        **packed(read),
                    }
                )
        return {
            **key_of(cell),
            "recipe": self.plan.hash_of(cell),
            "names": list(names),
            "n_before": np.bincount(label[train], minlength=len(names)).tolist(),
            "n_test": len(test),
            "notes": list(ready.notes),
            "found": found,
        }

    def _lesson(
        self, ready: Prepared, label: NDArray[np.int64], cell: HybridCell, space: str, seed: int
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return the features and classes that a classifier learns from in a space."""
        x, y = self.features[space][ready.rows], label[ready.rows]
        if len(ready.pictures):
            x = np.concatenate([x, describe(ready.pictures, space, _model(self.plan.model))])
            y = np.concatenate([y, ready.label])
        if cell.method.balance and cell.method.space == "own":
            done = balanced_rows(cell.method, x, y, cell.data.classes, seed)
            x = np.concatenate([x[done.kept], done.features])
            y = np.concatenate([y[done.kept], done.labels])
        return x, y


def describe(pictures: Image, space: str, model: ExpressionModel) -> Floats:
    """Return (n, d) of (n, 48, 48) gray faces in one of SPACES."""
    if not len(pictures):
        return np.empty((0, 0), np.float32)
    crops = np.stack([cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) for image in pictures])
    return describe_crops(np.asarray(crops, np.uint8), space, model=model)


@lru_cache(maxsize=1)
def _model(name: str) -> ExpressionModel:
    return load_model(name)


def make_hybrid_bench(plan: HybridPlan) -> HybridBench:
    """Read the study's images, find their faces (kept for the next time) and describe them."""
    manifest = read_dataset(plan.data, plan.kind or None)
    split = manifest.column("split")
    wanted = np.isin(split.astype(str), plan.parts) if any(split) else np.ones(len(split), bool)
    classes = {name for data in plan.data_sets for name in data.classes}
    wanted &= np.isin(manifest.column("label").astype(str), list(classes))
    bands = {band for data in plan.data_sets for band in data.only_ages}
    if bands and all(data.only_ages for data in plan.data_sets):
        wanted &= np.isin(manifest.column("age_band").astype(str), list(bands))
    if not wanted.any():
        raise MoppetError("no image of the data set is of the parts, classes and ages asked for.")
    manifest = group_copies(manifest.select(np.flatnonzero(wanted)))
    plan.work.mkdir(parents=True, exist_ok=True)
    faces = find_manifest_faces(manifest, cache=plan.work / "faces.npz")
    space = Pixels(SIDE_PX)
    pictures = space.images(space.features(faces.aligned()))
    model = _model(plan.model)
    features = {name: describe(pictures, name, model) for name in plan.spaces}
    tables = {data.name: _table(plan, manifest, data) for data in plan.data_sets}
    return HybridBench(plan, pictures, features, tables)


def _table(plan: HybridPlan, manifest: Manifest, data: DataSet) -> Table:
    wanted = np.isin(manifest.column("label").astype(str), data.classes)
    if data.only_ages:
        wanted &= np.isin(manifest.column("age_band").astype(str), data.only_ages)
    rows = np.flatnonzero(wanted)
    part = manifest.select(rows)
    number = {name: i for i, name in enumerate(data.classes)}
    label = np.array([number[str(name)] for name in part.column("label")], np.int64)
    missing = [name for name in data.classes if number[name] not in label]
    if missing:
        raise MoppetError(f"data set {data.name!r} has no image of {missing[0]!r}.")
    fold = [
        kfold(part, plan.folds, np.random.default_rng((plan.seed, repeat)))
        for repeat in range(plan.repeats)
    ]
    return Table(rows, label, part.groups, np.stack(fold))


def key_of(cell: HybridCell) -> Json:
    """Return what tells the cell from every other of its study, by name."""
    return dict(zip(("data", "method", "repeat", "fold"), cell.key, strict=True))


def packed(probabilities: NDArray[np.float64]) -> Json:
    """Return (n, k) probabilities as JSON: who is read, exactly, and their logarithms in steps.

    Logarithms, because the ranks of a rare class lie among small probabilities; 65,536 steps.
    """
    logs = np.log(np.maximum(probabilities, _LEAST)) / np.log(_LEAST)
    steps = np.rint(logs * _STEPS).astype("<u2")
    return {
        "guess": "".join(str(i) for i in probabilities.argmax(axis=1)),
        "steps": base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode(),
    }


def unpacked(line: Json, classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (n,) who was read and (n, k) the probabilities that `packed` wrote."""
    guess = np.array([int(digit) for digit in line["guess"]], np.int64)
    steps = np.frombuffer(zlib.decompress(base64.b64decode(line["steps"])), "<u2")
    return guess, np.exp(steps / _STEPS * np.log(_LEAST)).reshape(-1, classes)
