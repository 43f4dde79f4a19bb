"""What teaches a network of several heads: the data, rendered faces and unlabeled faces."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.manifest import Manifest, read_manifest, with_unlabeled
from moppet.datasets.readers import read_dataset
from moppet.datasets.rendered_truth import TRUTH
from moppet.files import read_arrays
from moppet.train.data_module import TrainingData
from moppet.train.head_targets import DATA, RENDERED, SOURCES, UNLABELED, HeadTargets
from moppet.train.movements import COLUMNS, exact_targets, read_blendshapes
from moppet.train.recipe import Recipe
from moppet.values import Floats, UsageError

_MANIFEST: Final = "manifest.parquet"


@dataclass(frozen=True)
class _Source:
    """Rows of one source. kind: index into SOURCES. movements: (n, COLUMNS), NaN for unknown."""

    kind: int
    manifest: Manifest
    faces: Faces
    movements: Floats


def with_sources(data: TrainingData, recipe: Recipe, base: Path, cache: Path) -> TrainingData:
    """Return training data with the targets of a recipe's heads and the rows of its sources.

    data: the recipe's own. base: the folder that the recipe's paths are
    relative to. cache: .npz with found faces, where a folder of images cannot be written to.
    Rows of other sources have no label for the observers' reading, so they are neither counted
    nor reported among those of the data.
    Raises UsageError where nothing teaches a head, or a source has nothing to train on.
    """
    if not recipe.has_sources:
        return data
    places = [(RENDERED, name) for name in recipe.rendered]
    places += [(UNLABELED, name) for name in recipe.unlabeled]
    others = [_read_source(kind, base / name, recipe, cache) for kind, name in places]
    joined = _joined(data, _own_targets(data, recipe, base), others)
    _check_heads(joined, recipe)
    return joined


def _read_source(kind: int, place: Path, recipe: Recipe, cache: Path) -> _Source:
    if kind == RENDERED:
        manifest = _read_rendered(place)
        own = place / "faces.npz"
        faces = find_manifest_faces(manifest, cache=own if os.access(place, os.W_OK) else cache)
        paths = [str(path) for path in manifest.column("path")]
        movements = exact_targets(place, paths)
        # A face that is not found is not read in use either.
        used = faces.found
    else:
        manifest = _with_parts(read_dataset(place))
        faces = find_manifest_faces(manifest, cache=cache)
        files = {str(name) for name in manifest.column("path")}
        archive = manifest.root / min(files)
        one = len(files) == 1 and archive.suffix == ".npz"
        movements = (
            landmarker_targets_of(manifest, archive)
            if one
            else np.full((len(manifest), len(COLUMNS)), np.nan, np.float32)
        )
        used = np.ones(len(manifest), bool)
    used &= np.array([part in ("train", "val", "test") for part in manifest.column("split")])
    band = manifest.column("age_band").astype(str)
    if recipe.without_ages:
        used &= ~np.isin(band, recipe.without_ages) | (manifest.column("split") == "test")
    if recipe.only_ages:
        used &= np.isin(band, recipe.only_ages)
    rows = np.flatnonzero(used)
    return _Source(kind, manifest.select(rows), faces.select(rows), movements[rows])


def _with_parts(manifest: Manifest) -> Manifest:
    """Return the manifest with all rows for training where it has no split."""
    split = manifest.column("split")
    return (
        manifest.replace(split=["train"] * len(split))
        if all(x is None for x in split)
        else manifest
    )


def _read_rendered(place: Path) -> Manifest:
    for name in (_MANIFEST, TRUTH):
        if not (place / name).is_file():
            raise UsageError(
                f"{place} is no folder of rendered faces: it lacks {name}. Make one with "
                "`moppet synthesize render`."
            )
    return read_manifest(place / _MANIFEST)


def landmarker_targets_of(manifest: Manifest, path: Path) -> Floats:
    """Return the targets by Face Landmarker of an .npz's rows, (n, COLUMNS); NaN without any.

    path: .npz with `blendshapes` in the order of the data's own file, or that file itself.
    Raises UsageError if it does not fit: where both have names of the images, they are compared.
    """
    values = read_blendshapes(path)
    if values is None:
        return np.full((len(manifest), len(COLUMNS)), np.nan, np.float32)
    rows = manifest.column("array_row").astype(float)
    names = read_arrays(path, (), ("name",)).get("name")
    fits = not np.isnan(rows).any() and rows.max() < len(values)
    if fits and names is not None and "name" in manifest.table.column_names:
        fits = bool((names[rows.astype(int)] == manifest.column("name").astype(str)).all())
    if not fits:
        raise UsageError(
            f"the blendshapes {path} are not of the data's images: they are joined by the row of "
            "its .npz."
        )
    return np.asarray(values[rows.astype(int)])


def _own_targets(data: TrainingData, recipe: Recipe, base: Path) -> HeadTargets:
    """Return what the recipe's own data teaches the heads."""
    manifest, n = data.manifest, len(data.manifest)
    display = np.full(n, -1, np.int64)
    if "display" in recipe.heads and recipe.display_label in manifest.table.column_names:
        display = _indices(manifest.column(recipe.display_label), data.names)
    movements = np.full((n, len(COLUMNS)), np.nan, np.float32)
    if recipe.blendshapes:
        movements = landmarker_targets_of(manifest, base / recipe.blendshapes)
    return HeadTargets(np.full(n, DATA, np.int8), display, movements)


def _indices(words: NDArray[Any], names: Sequence[str]) -> NDArray[np.int64]:
    index = {name: i for i, name in enumerate(names)}
    return np.array([index.get(word, -1) for word in words], np.int64)


def _joined(data: TrainingData, own: HeadTargets, others: Sequence[_Source]) -> TrainingData:
    """Return the data with the other sources' rows after its own."""
    parts = [own]
    for other in others:
        display = _indices(other.manifest.column("label"), data.names)
        if other.kind == UNLABELED:
            display[other.manifest.column("split") != "test"] = -1
        source = np.full(len(display), other.kind, np.int8)
        parts.append(HeadTargets(source, display, other.movements))
    heads = HeadTargets(
        source=np.concatenate([part.source for part in parts]),
        display=np.concatenate([part.display for part in parts]),
        movements=np.concatenate([part.movements for part in parts]),
    )
    n = len(heads.source) - len(data.label)
    split = [other.manifest.column("split").astype("<U6") for other in others]
    return dataclasses.replace(
        data,
        manifest=with_unlabeled(data.manifest, [other.manifest for other in others]),
        faces=_joined_faces([data.faces, *(other.faces for other in others)]),
        soft=np.concatenate([data.soft, np.zeros((n, len(data.names)), np.float32)]),
        label=np.concatenate([data.label, np.full(n, -1)]),
        part=np.concatenate([data.part, *split]),
        heads=heads,
    )


def _joined_faces(faces: Sequence[Faces]) -> Faces:
    cuts = [cut for one in faces for cut in one.cuts]
    names = ("landmarks_px", "tight", "attempt", "several")
    return Faces(cuts, *(np.concatenate([getattr(one, n) for one in faces]) for n in names))


def _check_heads(data: TrainingData, recipe: Recipe) -> None:
    train = data.part == "train"
    assert data.heads is not None
    for source, share in recipe.shares.items():
        if share and not getattr(recipe, source):
            raise UsageError(f"{source}_share is {share:g}, but {source} names no folder.")
        if share and not (train & (data.heads.source == SOURCES.index(source))).any():
            raise UsageError(f"{source}_share is {share:g}, but {source} has no training images.")
    if recipe.rendered_share and not recipe.heads and "rendered" not in recipe.teachers_on:
        raise UsageError("rendered faces teach the heads display and movements: name one in heads.")
    if "display" in recipe.heads and not (data.heads.display[train] >= 0).any():
        raise UsageError(
            f"nothing teaches the head display: the data has no column {recipe.display_label!r} "
            "(see display_label), and rendered names no folder."
        )
    if "movements" in recipe.heads and np.isnan(data.heads.movements[train]).all():
        raise UsageError(
            "nothing teaches the head movements: name blendshapes or folders of rendered faces."
        )
