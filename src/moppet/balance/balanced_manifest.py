"""A manifest with balanced training rows, and the folder it is saved in."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.balance.methods import (
    BALANCERS,
    Neighbors,
    cleans_by_neighbors,
    require_imblearn,
)
from moppet.balance.resampling import Balanced, ClassCount, CleaningSpace, balance
from moppet.balance.spaces import HONEST_MODEL, Space
from moppet.balance.targets import Targets
from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.datasets.provenance import REMOVED_BY, join_synthetic, real_rows, synthetic_columns
from moppet.files import replacing, write_text
from moppet.values import Floats, Image, MoppetError, Progress, UsageError, no_progress

LEAST_PX: Final = 8  # images that are smaller on either side are not used
_BATCH: Final = 256


@dataclass(frozen=True)
class BalancedRows:
    """A manifest whose training rows were balanced.

    manifest: every input row, in the same order. A removed training row loses its split, and
        REMOVED_BY names its balancer. Validation and test rows are unchanged.
    rows: (n,) numbers of the manifest's rows that were balanced; row numbers in `balanced` are
        indices into it.
    balanced: the rows kept, added and removed; its counts in the order of the manifest's names.
    space: the feature space. clean_space: that of the cleaning's neighbors, if it is another one.
    faces, features (n, d): of `rows`.
    images: (m, side, side) gray uint8, the new rows; None if they repeat real rows, or are points
        of an embedding.
    """

    manifest: Manifest
    rows: NDArray[np.int64]
    balanced: Balanced
    space: Space
    faces: Faces
    features: Floats
    images: Image | None
    clean_space: Space | None = None

    @property
    def new_are_copies(self) -> bool:
        """Whether the new rows repeat real rows."""
        return not BALANCERS[self.balanced.method].interpolates

    def new_rows(self, root: Path, paths: Sequence[str]) -> Manifest:
        """Return the new rows as a manifest of their images.

        paths: of the m images, below root; unused for repeated rows, which keep their own.
        A mixture has no subject and no votes; it has an age band if both parents have the same.
        Raises UsageError if the new rows have no images.
        """
        new, parents = self.balanced, self.rows[self.balanced.parents]
        hashes = self.manifest.column("content_hash")
        provenance = synthetic_columns(
            len(parents),
            generator=new.method,
            synthetic_seed=new.seed,
            synthetic_from=[list(dict.fromkeys(hashes[pair])) for pair in parents],
        )
        if self.new_are_copies:
            return self.manifest.select(parents[:, 0]).replace(**provenance)
        if self.images is None:
            raise UsageError("rows added in an embedding have no images, so no manifest has them.")
        if len(paths) != len(parents):
            raise UsageError(f"{len(parents)} new images need a path each, but got {len(paths)}.")
        bands = self.manifest.column("age_band")[parents]
        columns = {
            "path": list(paths),
            "label": new.labels.tolist(),
            "age_band": [a if a == b else None for a, b in bands],
            "source": ["synthetic"] * len(parents),
            "split": ["train"] * len(parents),
            "content_hash": [content_hash(image) for image in self.images],
        }
        return build_manifest(columns | provenance, names=self.manifest.names, root=root)

    def whole(self, root: Path, paths: Sequence[str]) -> Manifest:
        """Return all input rows and then the new rows, if these have images."""
        if not len(self.balanced.labels) or (self.images is None and not self.new_are_copies):
            return self.manifest
        return join_synthetic(self.manifest, self.new_rows(root, paths))


def balance_manifest(
    manifest: Manifest,
    *,
    method: str,
    space: Space,
    rng: np.random.Generator,
    targets: Targets | None = None,
    neighbors: Neighbors | None = None,
    keep_wiped: bool = False,
    all_train: bool = False,
    clean_space: Space | None = None,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> BalancedRows:
    """Return the manifest with its labeled training rows balanced.

    Only rows of split "train" are read and balanced; all others stay unchanged. Training rows
    without a label stay unchanged too. Those with an unreadable image, or one smaller than
    LEAST_PX, lose their split, with a note.
    all_train: the manifest has no split, and all of its rows are training rows.
    clean_space: where cleaning (ENN, Tomek) finds its neighbors; None for `space`. Rows that are
        mixed in another space need images there.
    cache: an .npz file for the face positions. Other arguments: see `balance`.
    Raises MoppetError if there is no split or no training row; see also `balance`.
    """
    require_imblearn()
    if not cleans_by_neighbors(method) or clean_space is space:
        clean_space = None
    if clean_space is not None and space.name != "pixels":
        raise UsageError(
            f"rows mixed in the {space.name} have no images to describe otherwise: find the "
            f"neighbors in the {space.name} too, or mix pixels."
        )
    if all_train:
        if any(manifest.column("split")):
            raise UsageError("these images already have a split, so not all are training images.")
        manifest = manifest.replace(split=["train"] * len(manifest))
    rows = _training_rows(manifest)
    manifest, rows, notes = _check_images(manifest, rows, progress)
    part = manifest.select(rows)
    faces = find_manifest_faces(part, cache=cache, progress=partial(progress, "faces"))
    features = _features(space, faces, progress)
    labels = part.column("label").astype(str)
    balanced = balance(
        features,
        labels,
        method=method,
        rng=rng,
        targets=targets,
        neighbors=neighbors,
        keep_wiped=keep_wiped,
        cleaning_space=None if clean_space is None else _cleaning(space, clean_space, faces),
    )
    counts = {one.name: one for one in balanced.counts}
    ordered = tuple(counts.get(name, ClassCount(name, 0, 0, 0, 0)) for name in manifest.names)
    mixed = BALANCERS[balanced.method].interpolates
    images = space.images(balanced.features) if mixed else None
    empty = [name for name in manifest.names if name not in labels]
    are_points = mixed and images is None and len(balanced.labels) > 0
    notes += _result_notes(faces, empty, (space, clean_space), are_points)
    return BalancedRows(
        manifest=_without(manifest, rows[balanced.removed], balanced.method),
        rows=rows,
        balanced=replace(balanced, counts=ordered, notes=(*notes, *balanced.notes)),
        space=space,
        faces=faces,
        features=features,
        images=images,
        clean_space=clean_space,
    )


def _cleaning(space: Space, clean_space: Space, faces: Faces) -> CleaningSpace:
    """Return the function from rows mixed in one space to all rows' features in another."""

    def features(new: Floats) -> Floats:
        parts = [_features(clean_space, faces, no_progress)]
        images = space.images(new)
        for start in range(0, len(new), _BATCH):
            some = [] if images is None else list(images[start : start + _BATCH])
            crops = [cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) for image in some]
            parts.append(clean_space.features(np.asarray(crops, np.uint8)))
        return np.concatenate(parts)

    return features


def _result_notes(
    faces: Faces, empty: Sequence[str], spaces: Sequence[Space | None], are_points: bool
) -> Iterator[str]:
    """Yield what is to be known of the faces, of classes without an image, and of the space."""
    if not faces.found.all():
        lost = int((~faces.found).sum())
        yield f"no face found in {lost} of {len(faces)} images: the whole images are used."
    yield from (f"class {name!r} has no training image." for name in empty)
    if are_points:
        yield "the new rows are points of the embedding and have no images."
    models = {space.model for space in spaces if space is not None and space.model is not None}
    for model in sorted(models):
        if model.startswith(f"{HONEST_MODEL} "):
            continue
        yield (
            f"if {model} was trained on labels of these images, its embedding depends on "
            f"them and figures are too high; {HONEST_MODEL} was trained without children."
        )


def _training_rows(manifest: Manifest) -> NDArray[np.int64]:
    split = manifest.column("split")
    if not any(split):
        raise MoppetError(
            "these images are not split yet, and only training images may be balanced: split "
            "them first (moppet data split), or declare that all of them are training images "
            "(--all-train, all_train=True)."
        )
    rows = np.flatnonzero((split == "train") & (manifest.labels >= 0))
    if not len(rows):
        trains = int((split == "train").sum())
        raise MoppetError(
            f"there is no row to train on: {trains} of {len(manifest)} rows have the split "
            "'train', and none of these has a label."
        )
    return rows


def _check_images(
    manifest: Manifest, rows: NDArray[np.int64], progress: Progress
) -> tuple[Manifest, NDArray[np.int64], list[str]]:
    """Read the training images; return the manifest with hashes, the usable rows, and notes."""
    part = manifest.select(rows)
    hashes: list[str | None] = [None] * len(part)
    small = np.zeros(len(part), bool)
    for done, (place, image) in enumerate(part.images(), 1):
        if image is not None:
            hashes[place] = content_hash(image)
            small[place] = min(image.shape[:2]) < LEAST_PX
        progress("reading", done, len(part))
    unreadable = np.array([h is None for h in hashes], bool)
    notes = []
    for what, wrong in (
        ("cannot be read", unreadable),
        (f"are smaller than {LEAST_PX} pixels", small),
    ):
        if wrong.any():
            first = part.column("path")[wrong][0]
            notes.append(
                f"{wrong.sum()} training images {what} and lose their split (first: {first})."
            )
    usable = ~unreadable & ~small
    if not usable.any():
        raise MoppetError(f"none of the {len(part)} training images can be used: {notes[0]}")
    unlabeled = int(((manifest.column("split") == "train") & (manifest.labels < 0)).sum())
    if unlabeled:
        notes.append(f"{unlabeled} training rows have no label and stay unchanged.")
    if synthetic := int((~real_rows(part)).sum()):
        notes.append(f"{synthetic} of the {len(part)} rows to balance are synthetic.")
    known = manifest.column("content_hash").copy()
    known[rows] = hashes
    split = manifest.column("split").copy()
    split[rows[~usable]] = None
    return manifest.replace(content_hash=known, split=split), rows[usable], notes


def _features(space: Space, faces: Faces, progress: Progress) -> Floats:
    parts = []
    for start in range(0, len(faces), _BATCH):
        batch = range(start, min(start + _BATCH, len(faces)))
        parts.append(space.features(faces.aligned(batch)))
        progress(space.name, batch.stop, len(faces))
    return np.concatenate(parts)


def _without(manifest: Manifest, removed: NDArray[np.int64], method: str) -> Manifest:
    """Return the manifest with these rows without a split and with the method in REMOVED_BY."""
    if not len(removed):
        return manifest
    split = manifest.column("split").copy()
    split[removed] = None
    known = REMOVED_BY in manifest.table.column_names
    removed_by = manifest.column(REMOVED_BY).copy() if known else np.full(len(manifest), None)
    removed_by[removed] = method
    return manifest.replace(split=split, **{REMOVED_BY: removed_by})


MANIFEST: Final = "manifest.parquet"
IMAGES: Final = "images"
SUMMARY: Final = "balance.json"
EMBEDDING: Final = "embedding.npz"
CACHE: Final = "faces.npz"
_FORMER: Final = "made"  # IMAGES in version 0.1
_OURS: Final = (MANIFEST, IMAGES, _FORMER, SUMMARY, EMBEDDING, CACHE)
_HALF_WRITTEN: Final = re.compile(
    rf"\.({'|'.join(Path(name).stem for name in _OURS)})(\.\w+)?\.\d+(-\d+)?\.part(\.\w+)?"
)


def open_folder(folder: Path, data: Path) -> Path:
    """Create the output folder if needed, remove incomplete files of a stopped run, and return it.

    data: the input; neither may be inside the other.
    Raises UsageError for a folder with files other than those of an earlier run (recognized by
    its balance.json), MoppetError for one that is not writable.
    """
    here, source = folder.resolve(), data.resolve()
    around = source.is_relative_to(here)
    if around or (data.is_dir() and here.is_relative_to(source)):
        inside = f"{data} is inside {folder}" if around else "-o is inside the data"
        raise UsageError(f"{inside}, so input and output would mix: name another folder.")
    with _named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
        left = [name for name in names if _HALF_WRITTEN.fullmatch(name)]
        ours = _OURS if SUMMARY in names else (CACHE,)
        others = [name for name in names if name not in (*ours, *left)]
        if others:
            some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            raise UsageError(f"{folder} has other files ({some}): name a new folder with -o.")
        for name in left:
            _remove(folder / name)
    return folder


def write_balanced(result: BalancedRows, folder: Path) -> Path:
    """Write a balanced dataset into a folder, and return its manifest's path.

    The manifest is deleted first and written last, so that its presence means that all files are
    complete. balance.json is written before the other files; it marks the folder as ours.
    images/000001.png, …: the new gray images of the pixel space, in row order.
    embedding.npz: for an embedding, the kept training rows and then the new ones: `features`
        (r, d) float32, `label` (r,), `row` (r,) of the manifest or -1 for new rows, `parents`
        (r, 2) rows of the manifest, -1 for kept rows.
    Raises MoppetError if a file cannot be written; then there is no manifest.
    """
    target = folder / MANIFEST
    with _named(folder):
        target.unlink(missing_ok=True)
        text = json.dumps(summary(result), indent=1, ensure_ascii=False) + "\n"
        write_text(folder / SUMMARY, text)
        (folder / EMBEDDING).unlink(missing_ok=True)
        for name in (IMAGES, _FORMER):
            _remove(folder / name)
        paths: list[str] = []
        if result.images is not None and len(result.images):
            paths = _write_images(result.images, folder)
        if result.space.name == "embedding":
            with replacing(folder / EMBEDDING) as part:
                _write_embedding(result, part)
    return result.whole(folder, paths).write(target)


def summary(result: BalancedRows) -> dict[str, Any]:
    """Return the settings and results of balancing as JSON values."""
    balanced, cleaned = result.balanced, result.clean_space or result.space
    return {
        "method": balanced.method,
        "space": result.space.name,
        "model": result.space.model or cleaned.model,
        "clean_space": cleaned.name if cleans_by_neighbors(balanced.method) else None,
        "seed": balanced.seed,
        "features": int(result.features.shape[1]),
        "class_counts": [one._asdict() for one in balanced.counts],
        "notes": list(balanced.notes),
        "warnings": list(balanced.warnings),
        "moppet_version": importlib.metadata.version("moppet"),
    }


def _write_images(images: Image, folder: Path) -> list[str]:
    """Write all new images or none, and return their paths in the folder."""
    names = [f"{number:06d}.png" for number in range(1, len(images) + 1)]
    part = folder / f".{IMAGES}.{os.getpid()}.part"
    try:
        part.mkdir()
        for name, image in zip(names, images, strict=True):
            (part / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        os.replace(part, folder / IMAGES)
    finally:
        _remove(part)
    return [f"{IMAGES}/{name}" for name in names]


def _write_embedding(result: BalancedRows, path: Path) -> None:
    new, labels = result.balanced, result.manifest.column("label")
    kept = result.rows[new.kept]
    with path.open("wb") as file:
        np.savez(
            file,
            features=np.concatenate([result.features[new.kept], new.features]),
            label=np.concatenate([labels[kept].astype(str), new.labels.astype(str)]),
            row=np.concatenate([kept, np.full(len(new.labels), -1)]),
            parents=np.concatenate([np.full((len(kept), 2), -1), result.rows[new.parents]]),
        )


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Turn an OSError into a MoppetError that names the file."""
    try:
        yield
    except OSError as error:
        place = error.filename or folder
        raise MoppetError(f"Cannot write {place}: {error.strerror or error}.") from None
