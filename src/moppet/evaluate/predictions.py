"""A model's scores of labeled faces over the classes that model and data share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.manifest import Manifest
from moppet.metrics import DrawnFigures, drawn_figures
from moppet.values import (
    CountProgress,
    Floats,
    Image,
    MoppetError,
    group_probabilities,
    no_progress,
)
from moppet.vocabulary import class_of, order_groups

_CHUNK: Final = 4096
"""Images processed at once: their faces need at most about 350 MB."""
_WHOLE: Final = 1e-3
"""Votes divided by weight are a number of raters if they are this close to a whole number."""


@dataclass(frozen=True)
class ClassMatch:
    """Which classes of a model and of a dataset are the same.

    names: the shared classes as the model calls them, in its order.
    of_model, of_data: (k,) their numbers on either side.
    lacking: classes of the model that are not in the data; unknown: classes of the data that are
    not in the model.
    """

    names: tuple[str, ...]
    of_model: tuple[int, ...]
    of_data: tuple[int, ...]
    lacking: tuple[str, ...]
    unknown: tuple[str, ...]


def match_classes(model_names: Sequence[str], data_names: Sequence[str]) -> ClassMatch:
    """Return which classes are the same, such as "happy" and "happiness".

    Equal names are matched first, then words for the same one of the seven expressions.
    Raises MoppetError if fewer than two classes are shared, or if two classes of the data mean
    the same class of the model.
    """
    found: dict[int, int] = {}
    for number, name in enumerate(data_names):
        match = _same_class(name, model_names)
        if match is None:
            continue
        if match in found:
            raise MoppetError(
                f"the data's classes {data_names[found[match]]!r} and {name!r} both mean the "
                f"model's {model_names[match]!r}: give both the same name, or rename one."
            )
        found[match] = number
    if len(found) < 2:
        shared = ", ".join(model_names[i] for i in found)
        raise MoppetError(
            "evaluating needs two or more classes that the model and the data share, but they "
            f"share {shared or 'none'}. The model's: {', '.join(model_names)}; the data's: "
            f"{', '.join(data_names) or 'none'}."
        )
    of_model = tuple(sorted(found))
    of_data = tuple(found[i] for i in of_model)
    return ClassMatch(
        names=tuple(model_names[i] for i in of_model),
        of_model=of_model,
        of_data=of_data,
        lacking=tuple(name for i, name in enumerate(model_names) if i not in found),
        unknown=tuple(name for i, name in enumerate(data_names) if i not in of_data),
    )


def _same_class(name: str, among: Sequence[str]) -> int | None:
    if name in among:
        return list(among).index(name)
    alike = [i for i, other in enumerate(among) if class_of(other) == class_of(name)]
    return alike[0] if len(alike) == 1 else None


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for n labeled faces, over k classes.

    probabilities: (n, k) float32, each row sums to 1. label: (n,) 0..k-1.
    groups: (n,) rows of one group (a subject, duplicates of an image) belong together.
    votes: (n, k) raters' votes, zeros if nobody voted; abstained: (n,) votes for none of these
        classes; both None if the data has no votes that can be counted.
    rows: (n,) positions of these faces among all faces.
    """

    names: tuple[str, ...]
    probabilities: Floats
    label: NDArray[np.int64]
    groups: NDArray[np.int64]
    votes: NDArray[np.float64] | None
    abstained: NDArray[np.float64] | None
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the most likely class."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) whether the most likely class is the label."""
        return np.asarray(self.predicted == self.label)

    def votes_on_label(self) -> NDArray[np.float64]:
        """Return (n,) the share of a face's raters who chose its label, NaN without votes."""
        share = np.full(len(self), np.nan)
        if self.votes is not None and self.abstained is not None:
            total = self.votes.sum(axis=1) + self.abstained
            on_label = self.votes[np.arange(len(self)), self.label]
            np.divide(on_label, total, out=share, where=total > 0)
        return share

    def within(self, part: NDArray[np.bool_]) -> Predictions:
        """Return the predictions of some of the faces. part: a mask over all faces."""
        return self.keep(part[self.rows])

    def keep(self, mask: NDArray[np.bool_]) -> Predictions:
        """Return the predictions of these of the n faces. mask: (n,)."""
        return replace(
            self,
            probabilities=self.probabilities[mask],
            label=self.label[mask],
            groups=self.groups[mask],
            votes=None if self.votes is None else self.votes[mask],
            abstained=None if self.abstained is None else self.abstained[mask],
            rows=self.rows[mask],
        )

    def drawn_figures(self) -> DrawnFigures:
        """Return every figure as a function of bootstrap weights; see `moppet.metrics`."""
        return drawn_figures(
            *(self.probabilities, self.label, self.names),
            votes=self.votes,
            abstained=self.abstained,
        )


def face_chunks(
    manifest: Manifest,
    *,
    cache: Path | None = None,
    progress: CountProgress = no_progress,
    unreadable: list[int] | None = None,
) -> Iterator[tuple[Faces, Image]]:
    """Yield the faces of the images and their crops, as in video, for some thousand at a time.

    cache: see `find_manifest_faces`. progress: called with the images done and their total.
    unreadable: gets the rows whose images cannot be read; None raises MoppetError for one.
    """
    n = len(manifest)
    for start in range(0, n, _CHUNK):
        part = manifest.select(np.arange(start, min(start + _CHUNK, n)))

        def report(done: int, _: int, before: int = start) -> None:
            progress(before + done, n)

        own = cache.with_name(f"{cache.stem}_{start}.npz") if cache and start else cache
        lost = None if unreadable is None else list[int]()
        faces = find_manifest_faces(part, cache=own, progress=report, unreadable=lost)
        if unreadable is not None:
            unreadable += [start + row for row in lost or ()]
        if len(faces):
            yield faces, faces.aligned()


def take_predictions(
    probabilities: Floats, match: ClassMatch, manifest: Manifest, groups: NDArray[np.int64]
) -> Predictions:
    """Return the predictions of a manifest's rows that carry a shared label.

    probabilities: (n, classes of the model), of all n rows; those of classes that are not in
        the data are left out and the others scaled to sum to 1.
    """
    number = {old: new for new, old in enumerate(match.of_data)}
    label = np.array([number.get(int(old), -1) for old in manifest.labels], np.int64)
    votes, abstained = _votes(manifest, match.of_data)
    shared = probabilities[:, match.of_model] if match.lacking else probabilities
    scaled = _scaled(shared) if match.lacking else shared
    rows = np.arange(len(label))
    every = Predictions(match.names, scaled, label, groups, votes, abstained, rows)
    return every.keep(label >= 0)


def share_classes(predictions: Predictions, names: Sequence[str]) -> Predictions:
    """Return the predictions over some of their classes only: other labels and scores left out."""
    if predictions.names == tuple(names):
        return predictions
    columns = [predictions.names.index(name) for name in names]
    number = {old: new for new, old in enumerate(columns)}
    label = np.array([number.get(int(old), -1) for old in predictions.label], np.int64)
    return _regrouped(predictions, tuple(names), np.eye(len(predictions.names))[:, columns], label)


def group_predictions(predictions: Predictions, group_of: Mapping[str, str]) -> Predictions | None:
    """Return the predictions over groups of classes: probabilities and votes summed per group.

    Left out are faces whose label has no group, and those for which the classes without a group
    are together the most probable: their group is null, as in a timeline. None if there are
    fewer than two groups, or if each has only one class.
    """
    member = [group_of.get(name) for name in predictions.names]
    names = order_groups(member)
    if len(names) < 2 or all(member.count(name) == 1 for name in names):
        return None
    sums = np.array([[group == name for name in names] for group in member], np.float64)
    number = np.array([names.index(group) if group else -1 for group in member], np.int64)
    competing, of_group = group_probabilities(
        predictions.probabilities, predictions.names, group_of
    )
    grouped = np.array([group is not None for group in competing])[of_group.argmax(axis=1)]
    return _regrouped(
        predictions, tuple(names), sums, np.where(grouped, number[predictions.label], -1)
    )


def _regrouped(
    predictions: Predictions,
    names: tuple[str, ...],
    sums: NDArray[np.float64],
    label: NDArray[np.int64],
) -> Predictions:
    """sums: (k, new classes), 1 where a class counts for a new one; label: (n,), -1 for none."""
    votes, abstained = predictions.votes, predictions.abstained
    if votes is not None and abstained is not None:
        counted = votes @ sums
        abstained = abstained + votes.sum(axis=1) - counted.sum(axis=1)
        votes = counted
    return replace(
        predictions,
        names=names,
        probabilities=_scaled(predictions.probabilities @ sums),
        label=label,
        votes=votes,
        abstained=abstained,
    ).keep(label >= 0)


def _scaled(shares: NDArray[Any]) -> Floats:
    """Scale rows to sum to 1; in a row of zeros, all classes are equally likely."""
    total = shares.sum(axis=1, keepdims=True, dtype=np.float64)
    even = 1 / shares.shape[1]
    return np.asarray(np.where(total > 0, shares / np.where(total > 0, total, 1), even), np.float32)


def _votes(
    manifest: Manifest, columns: Sequence[int]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """The raters' votes for the classes, and how many voted for none of them.

    The weight of a row is taken for the share of raters who chose one of the data's classes if
    this gives a whole number of raters, as it does for FER+.
    """
    every = np.nan_to_num(manifest.column("votes")).astype(np.float64)
    if not every.any() or (every != np.floor(every)).any():
        return None, None
    total = every.sum(axis=1)
    weights = manifest.weights.astype(np.float64)
    raters = total / np.where(weights > 0, weights, 1)
    cast = np.where(np.abs(raters - np.round(raters)) < _WHOLE, np.round(raters), total)
    votes = every[:, list(columns)]
    return votes, np.maximum(cast, total) - votes.sum(axis=1)
