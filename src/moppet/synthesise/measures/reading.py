"""Pictures → what the figures need of their faces, read once, without keeping the pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.data.faces import find_manifest_faces
from moppet.data.likeness import THUMB_PX, thumbnail
from moppet.data.manifest import Manifest
from moppet.data.readers.words import class_of
from moppet.infer.expressions import ExpressionModel
from moppet.values import Floats, Image

Progress = Callable[[int, int], None]
_CHUNK: Final = 1024


@dataclass(frozen=True)
class Reading:
    """What is known of n faces.

    rows: (n,) their numbers in the data. label: (n,) class, None without one; words for one of
    the seven expressions are called by it. groups: (n,) rows that belong together.
    embeddings: (n, d) of the model; probabilities: (n, k) of the judge.
    found: (n,) whether the detector finds a face at its default thresholds; loosely: at any.
    thumbs: (n, THUMB_PX, THUMB_PX) grey, of the aligned face.
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
        """The classes that occur."""
        return sorted({x for x in self.label if x is not None})

    def of_class(self, name: str | None) -> NDArray[np.intp]:
        """Return the numbers of the faces of a class, of all where it is None."""
        return np.arange(len(self)) if name is None else np.flatnonzero(self.label == name)


def read_faces(
    manifest: Manifest,
    rows: NDArray[np.intp],
    model: ExpressionModel,
    judge: ExpressionModel,
    progress: Progress | None = None,
) -> Reading:
    """Return what a model and a judge say of these rows of a manifest, cut as video is cut.

    Where no face is found the whole picture stands for it.
    Raises MoppetError naming a picture that cannot be read.
    """
    parts = []
    for start in range(0, len(rows), _CHUNK):
        part = manifest.select(rows[start : start + _CHUNK])

        def report(done: int, _: int, before: int = start) -> None:
            if progress is not None:
                progress(before + done, len(rows))

        faces = find_manifest_faces(part, progress=report)
        crops = faces.aligned()
        scores = model.predict(crops)
        judged = scores if judge is model else judge.predict(crops)
        thumbs = np.stack([thumbnail(crop) for crop in crops])
        parts.append((scores.embeddings, judged.probabilities, faces.attempt, thumbs))
    if not parts:
        nothing = np.empty((0, THUMB_PX, THUMB_PX), np.uint8)
        scores = model.predict(np.empty((0, 8, 8, 3), np.uint8))
        none = np.empty((0, len(judge.names)), np.float32)
        parts = [(scores.embeddings, none, np.empty(0, np.int8), nothing)]
    embeddings, probabilities, attempt, thumbs = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    labels = manifest.column("label")[rows]
    return Reading(
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
    """Return the classes in the order of the names, others after by alphabet."""
    known = [name for name in map(class_of, names) if name in classes]
    return [*dict.fromkeys(known), *sorted(set(classes) - set(known))]
