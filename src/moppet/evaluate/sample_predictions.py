"""Predictions of a classifier and a detector for synthetic and real faces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.hashing import thumbnail
from moppet.datasets.manifest import Manifest
from moppet.evaluate.predictions import face_chunks
from moppet.infer.expression_model import ExpressionModel
from moppet.metrics import Estimate, bootstrap_many, confusion
from moppet.metrics.bootstrap import Weights, bootstrap_means, drawn_means, mean_defined
from moppet.values import CountProgress, Floats, Image, no_progress
from moppet.vocabulary import class_of


@dataclass(frozen=True)
class SampleFaces:
    """Predictions and labels of n faces.

    rows: (n,) row numbers in the manifest. label: (n,) class, None if unlabeled; synonyms of the
    seven expressions are replaced by their names. groups: (n,) numbers; equal ones belong together.
    embeddings: (n, d) of the model; probabilities: (n, k) of the classifier.
    found: (n,) whether the detector finds a face at its default thresholds; loosely: at lower ones.
    thumbs: (n, THUMB_PX, THUMB_PX) gray, of the aligned face.
    """

    rows: NDArray[np.intp]
    label: NDArray[Any]
    groups: NDArray[np.int64]
    embeddings: Floats
    probabilities: Floats
    found: NDArray[np.bool_]
    loosely: NDArray[np.bool_]
    thumbs: Image

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def classes(self) -> list[str]:
        """The classes in the data, sorted."""
        return sorted({x for x in self.label if x is not None})

    def of_class(self, name: str | None) -> NDArray[np.intp]:
        """Return the indices of the faces of a class; of all faces for None."""
        return np.arange(len(self)) if name is None else np.flatnonzero(self.label == name)


def predict_faces(
    manifest: Manifest,
    rows: NDArray[np.intp],
    model: ExpressionModel,
    classifier: ExpressionModel,
    progress: CountProgress = no_progress,
) -> SampleFaces:
    """Return a model's embeddings and a classifier's predictions of faces, cropped as in video.

    If no face is found, the whole image is used.
    Raises MoppetError with the name of an image that cannot be read.
    """
    parts = []
    for faces, crops in face_chunks(manifest.select(rows), progress=progress):
        scores = model.predict(crops)
        class_scores = scores if classifier is model else classifier.predict(crops)
        thumbs = np.stack([thumbnail(crop) for crop in crops])
        parts.append((scores.embeddings, class_scores.probabilities, faces.attempt, thumbs))
    embeddings, probabilities, attempt, thumbs = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    labels = manifest.column("label")[rows]
    return SampleFaces(
        rows=rows,
        label=np.array([None if x is None else class_of(x) for x in labels], object),
        groups=manifest.groups[rows],
        embeddings=embeddings,
        probabilities=probabilities,
        found=attempt == 0,
        loosely=attempt >= 0,
        thumbs=thumbs,
    )


def in_order(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the classes in the order of the names, followed by others in alphabetical order."""
    known = [name for name in map(class_of, names) if name in classes]
    return [*dict.fromkeys(known), *sorted(set(classes) - set(known))]


@dataclass(frozen=True)
class Agreement:
    """How often a classifier reads the intended class, over all faces whose class it knows.

    names: the classifier's classes. overall: share of all these faces; macro: mean over classes.
    of_class: class → share of its faces. The same values for real faces are the best to expect.
    confusion: (k, k), rows by intended class, columns by predicted class.
    unknown: class → number of faces, for classes that the classifier does not know.
    """

    names: tuple[str, ...]
    overall: Estimate
    macro: Estimate
    of_class: dict[str, Estimate]
    confusion: NDArray[np.int64]
    unknown: dict[str, int]


def measure_agreement(
    reading: SampleFaces,
    names: Sequence[str],
    classes: Sequence[str],
    rng: np.random.Generator,
    draws: int = 1000,
) -> Agreement:
    """Return how often a classifier with these class names predicts the label.

    classes: classes to report. The classifier may predict any of its own classes, so one with more
    classes agrees less often by chance.
    """
    number = {class_of(name): i for i, name in enumerate(names)}
    label = np.array([number.get(x, -1) for x in reading.label], np.int64)
    guess = reading.probabilities.argmax(axis=1) if len(reading) else np.empty(0, np.int64)
    known = np.flatnonzero(label >= 0)
    label, guess = label[known], np.asarray(guess[known], np.int64)
    right = (label == guess).astype(np.float64)
    read = {name: number[name] for name in classes if name in number}

    def figures(weight: Weights) -> Mapping[str, NDArray[np.float64]]:
        of = {name: drawn_means(right, weight * (label == i)) for name, i in read.items()}
        recalls = np.stack([*of.values(), np.full(len(weight), math.nan)], axis=1)
        return {"": drawn_means(right, weight), " ": mean_defined(recalls), **of}

    found = bootstrap_many(figures, reading.groups[known], rng, draws)
    undefined = Estimate(math.nan, math.nan, math.nan, 0)
    without = [x for x in reading.label if x is not None and x not in number]
    return Agreement(
        tuple(names),
        found[""],
        found[" "],
        {
            name: found[name]._replace(n=int((label == read[name]).sum()))
            if name in read
            else undefined
            for name in classes
        },
        confusion(label, guess, len(names)),
        {name: without.count(name) for name in sorted(set(without))},
    )


def share(
    values: NDArray[np.bool_],
    groups: NDArray[np.int64],
    rng: np.random.Generator,
    draws: int = 1000,
) -> Estimate:
    """Return the share of true values, with an interval from a bootstrap by groups."""
    return bootstrap_means({"share": values}, groups, rng, draws)["share"]
