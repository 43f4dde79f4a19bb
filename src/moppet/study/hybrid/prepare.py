"""A fold's training rows, made ready: balanced, and joined by made faces. It sees no other row."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moppet.balance import BALANCERS, Balanced, Neighbors, balance
from moppet.study.hybrid.hybrid_plan import SIDE_PX, DataSet, Method
from moppet.synthesis.settings import SynthesisSettings
from moppet.synthesis.training import plan_tasks, train_generator
from moppet.synthesis.training_images import LEAST_IMAGES, TrainingImages
from moppet.values import Floats, Image


@dataclass(frozen=True)
class Prepared:
    """What a classifier learns from.

    rows: (n,) numbers of real training rows, repeated ones repeatedly.
    images: (m, 48, 48) gray uint8 made faces. label: (m,) their classes.
    notes: sentences on what did not go as asked.
    """

    rows: NDArray[np.int64]
    pictures: Image
    label: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def draw_rows(
    rows: NDArray[np.int64], label: NDArray[np.int64], data: DataSet, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the training rows that a data set draws: its share of each class, or the least.

    rows, label: (n,).
    """
    if data.share == 1:
        return rows
    drawn = []
    for number in range(len(data.classes)):
        mine = rows[label == number]
        wanted = min(len(mine), max(data.least, round(data.share * len(mine))))
        drawn.append(rng.choice(mine, wanted, replace=False))
    return np.sort(np.concatenate(drawn))


def prepare(
    method: Method,
    pictures: Image,
    label: NDArray[np.int64],
    rows: NDArray[np.int64],
    names: Sequence[str],
    generator: SynthesisSettings | None,
    folder: Path,
    seed: int,
) -> Prepared:
    """Return training rows as a method makes them ready.

    images: (n, 48, 48) and label: (n,) of all rows; only those in `rows` are looked at.
    folder: of the generator's checkpoints; a stopped run goes on from there.
    """
    ready = Prepared(rows, np.empty((0, SIDE_PX, SIDE_PX), np.uint8), np.empty(0, np.int64))
    if method.balance and method.space == "pixels":
        x = pictures[rows].reshape(len(rows), -1).astype(np.float32) / np.float32(255)
        ready = _picked(ready, balanced_rows(method, x, label[rows], names, seed))
    if method.synthesise and generator is not None:
        most = int(np.bincount(label[rows]).max())
        settings = replace(generator, seed=seed, learn_from_synthetic=True)
        ready = _synthesized(ready, pictures, label, names, most, settings, folder)
    return ready


def balanced_rows(
    method: Method, x: Floats, label: NDArray[np.int64], names: Sequence[str], seed: int
) -> Balanced:
    """Return (n, d) training rows balanced, classes that would vanish kept as they came.

    The result's labels are numbers of the names again.
    """
    done = balance(
        x,
        np.asarray(names)[label],
        method=method.balance,
        rng=np.random.default_rng(seed),
        neighbours=Neighbors(enn_keeps=method.enn),
        keep_wiped=True,
    )
    numbers = np.array([names.index(str(name)) for name in done.labels], np.int64)
    return replace(done, labels=numbers)


def _picked(ready: Prepared, done: Balanced) -> Prepared:
    """Copies stand for the rows that they repeat, mixtures are images."""
    kept = ready.rows[done.kept]
    if not BALANCERS[done.method].interpolates:
        return replace(
            ready, rows=np.concatenate([kept, ready.rows[done.parents[:, 0]]]), notes=done.notes
        )
    levels = np.rint(np.clip(done.features, 0, 1) * 255).astype(np.uint8)
    made = levels.reshape(-1, SIDE_PX, SIDE_PX)
    return Prepared(kept, made, done.labels, done.notes)


def _synthesized(
    ready: Prepared,
    pictures: Image,
    label: NDArray[np.int64],
    names: Sequence[str],
    most: int,
    settings: SynthesisSettings,
    folder: Path,
) -> Prepared:
    """Each class brought to `most` by a generator that learned from what is ready."""
    shown = np.concatenate([pictures[ready.rows], ready.pictures])
    classes = np.concatenate([label[ready.rows], ready.label])
    counts = np.bincount(classes, minlength=len(names))
    asked = [n for n, c in zip(names, counts, strict=True) if LEAST_IMAGES <= c < most]
    few = [n for n, c in zip(names, counts, strict=True) if c < LEAST_IMAGES]
    notes = [f"class {name!r} is too small to make faces of." for name in few]
    if not asked:
        return replace(ready, notes=(*ready.notes, *notes))
    of = TrainingImages(shown, classes, tuple(names), np.arange(len(shown)))
    generator = train_generator(settings, plan_tasks(settings, of, asked), folder)
    shutil.rmtree(folder, ignore_errors=True)
    made, of_class = [ready.pictures], [ready.label]
    for name in asked:
        number = names.index(name)
        wanted = most - int(counts[number])
        made.append(np.stack([generator.generate(name, settings.seed + i) for i in range(wanted)]))
        of_class.append(np.full(wanted, number, np.int64))
    return Prepared(
        ready.rows, np.concatenate(made), np.concatenate(of_class), (*ready.notes, *notes)
    )
