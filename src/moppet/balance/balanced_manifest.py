"""A manifest with balanced training rows, and the folder it is saved in."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.balance.methods import BALANCERS
from moppet.balance.resampling import Balanced, ClassCount, balance
from moppet.balance.samplers import Neighbors, require_imblearn
from moppet.balance.spaces import HONEST_MODEL, Space
from moppet.balance.targets import Targets
from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.datasets.provenance import REMOVED_BY, join_synthetic, real_rows, synthetic_columns
from moppet.files import replacing, write_text
from moppet.values import Floats, Image, MoppetError, UsageError

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of it are, and of how many."""

LEAST_PX: Final = 8
"""An image smaller than this on a side shows no face."""
_BATCH: Final = 256


@dataclass(frozen=True)
class BalancedRows:
    """A manifest whose training rows were balanced.

    manifest: every row that came, in its order. A removed training row has no split any more,
        and its balancer in REMOVED_BY. Validation and test rows stay as they are.
    rows: (n,) the manifest's rows that were balanced; `balanced` counts rows by their place here.
    balanced: what was kept, made and removed; its counts in the order of the manifest's names.
    space: what it was balanced in. faces: of `rows`. features: (n, d), of `rows`.
    images: (m, side, side) gray uint8, the new rows; None where they are copies of rows, or
        points that no image comes back from.
    """

    manifest: Manifest
    rows: NDArray[np.int64]
    balanced: Balanced
    space: Space
    faces: Faces
    features: Floats
    images: Image | None

    @property
    def new_are_copies(self) -> bool:
        """Whether the new rows are rows that came, once more."""
        return not BALANCERS[self.balanced.method].interpolates

    def new_rows(self, root: Path, paths: Sequence[str]) -> Manifest:
        """Return the new rows as a manifest of their images.

        paths: of the m images, below root; none are needed for copies, which have their own.
        Subject and votes of a mixture are nobody's; its age band is that of both parents, if one.
        Raises UsageError where nothing can be seen of what was made.
        """
        made, parents = self.balanced, self.rows[self.balanced.parents]
        hashes = self.manifest.column("content_hash")
        said = synthetic_columns(
            len(parents),
            generator=made.method,
            synthetic_seed=made.seed,
            synthetic_from=[list(dict.fromkeys(hashes[pair])) for pair in parents],
        )
        if self.new_are_copies:
            return self.manifest.select(parents[:, 0]).replace(**said)
        if self.images is None:
            raise UsageError("what was made in an embedding is no image, so no manifest has it.")
        if len(paths) != len(parents):
            raise UsageError(f"{len(parents)} new images need a path each; {len(paths)} came.")
        bands = self.manifest.column("age_band")[parents]
        columns = {
            "path": list(paths),
            "label": made.labels.tolist(),
            "age_band": [a if a == b else None for a, b in bands],
            "source": ["made"] * len(parents),
            "split": ["train"] * len(parents),
            "content_hash": [content_hash(image) for image in self.images],
        }
        return build_manifest(columns | said, names=self.manifest.names, root=root)

    def whole(self, root: Path, paths: Sequence[str]) -> Manifest:
        """Return all rows that came and the made ones after them, as far as they are images."""
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
    neighbours: Neighbors | None = None,
    keep_wiped: bool = False,
    all_train: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> BalancedRows:
    """Return the manifest with its labeled training rows balanced.

    Only rows of split "train" are opened, counted or mixed; all others pass through untouched.
    Training rows without a label stay as they are; those whose image cannot be read, or is
    smaller than LEAST_PX, lose their split, and a note says so.
    all_train: the manifest has no split, and all of its rows are there to train on.
    cache: an .npz that keeps where the faces are. Other arguments: see `balance`.
    Raises MoppetError where there is no split or nothing to train on; see also `balance`.
    """
    require_imblearn()
    manifest = _all_training(manifest) if all_train else manifest
    rows = _training_rows(manifest)
    manifest, rows, notes = _look(manifest, rows, progress)
    part = manifest.select(rows)
    faces = find_manifest_faces(
        part,
        cache=cache,
        progress=None if progress is None else lambda d, t: progress("faces", d, t),
    )
    if not faces.found.all():
        lost = int((~faces.found).sum())
        notes.append(f"no face was found in {lost} of {len(faces)} images: they are used whole.")
    features = _features(space, faces, progress)
    labels = part.column("label").astype(str)
    balanced = balance(
        features,
        labels,
        method=method,
        rng=rng,
        targets=targets,
        neighbours=neighbours,
        keep_wiped=keep_wiped,
    )
    empty = [name for name in manifest.names if name not in labels]
    notes += [f"class {name!r} has no image to train on." for name in empty]
    counts = {one.name: one for one in balanced.counts}
    ordered = tuple(counts.get(name, ClassCount(name, 0, 0, 0, 0)) for name in manifest.names)
    mixed = BALANCERS[balanced.method].interpolates
    images = space.images(balanced.features) if mixed else None
    if mixed and images is None and len(balanced.labels):
        notes.append("what was made is no image, but points of the embedding.")
    if space.model is not None and not space.model.startswith(f"{HONEST_MODEL} "):
        notes.append(
            f"if {space.model} learned from labels of these images, their neighbors know the "
            f"answer, and figures come out too high; {HONEST_MODEL} saw no child's."
        )
    return BalancedRows(
        manifest=_without(manifest, rows[balanced.removed], balanced.method),
        rows=rows,
        balanced=replace(balanced, counts=ordered, notes=(*notes, *balanced.notes)),
        space=space,
        faces=faces,
        features=features,
        images=images,
    )


def _all_training(manifest: Manifest) -> Manifest:
    if manifest.table["split"].null_count < len(manifest):
        raise UsageError(
            "these images have a split of their own, so not all of them are there to train on."
        )
    return manifest.replace(split=["train"] * len(manifest))


def _training_rows(manifest: Manifest) -> NDArray[np.int64]:
    split = manifest.column("split")
    if not any(split):
        raise MoppetError(
            "these images are not split yet, and balancing may only see those to train on: "
            "split them first (moppet data split), or say that all of them are there to train on "
            "(--all-train, all_train=True)."
        )
    rows = np.flatnonzero((split == "train") & (manifest.labels >= 0))
    if not len(rows):
        trains = int((split == "train").sum())
        raise MoppetError(
            f"no row is there to train on: of {len(manifest)} rows {trains} are of split 'train', "
            "and none of these has a label."
        )
    return rows


def _look(
    manifest: Manifest, rows: NDArray[np.int64], progress: Progress | None
) -> tuple[Manifest, NDArray[np.int64], list[str]]:
    """Open the training images: their hashes, and which of them can be used."""
    part = manifest.select(rows)
    hashes: list[str | None] = [None] * len(part)
    small = np.zeros(len(part), bool)
    for done, (place, image) in enumerate(part.images(), 1):
        if image is not None:
            hashes[place] = content_hash(image)
            small[place] = min(image.shape[:2]) < LEAST_PX
        if progress is not None:
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
                f"{wrong.sum()} images to train on {what} and lose their split (first: {first})."
            )
    usable = ~unreadable & ~small
    if not usable.any():
        raise MoppetError(f"none of the {len(part)} images to train on can be used: {notes[0]}")
    unlabeled = int(((manifest.column("split") == "train") & (manifest.labels < 0)).sum())
    if unlabeled:
        notes.append(f"{unlabeled} training rows have no label: they stay as they are.")
    if made := int((~real_rows(part)).sum()):
        notes.append(f"{made} of the {len(part)} rows to balance are made ones themselves.")
    known = manifest.column("content_hash").copy()
    known[rows] = hashes
    split = manifest.column("split").copy()
    split[rows[~usable]] = None
    return manifest.replace(content_hash=known, split=split), rows[usable], notes


def _features(space: Space, faces: Faces, progress: Progress | None) -> Floats:
    parts = []
    for start in range(0, len(faces), _BATCH):
        batch = range(start, min(start + _BATCH, len(faces)))
        parts.append(space.features(faces.aligned(batch)))
        if progress is not None:
            progress(space.name, batch.stop, len(faces))
    return np.concatenate(parts)


def _without(manifest: Manifest, removed: NDArray[np.int64], method: str) -> Manifest:
    """Return the manifest with these rows out of its training rows, marked by who removed them."""
    if not len(removed):
        return manifest
    split = manifest.column("split").copy()
    split[removed] = None
    there = REMOVED_BY in manifest.table.column_names
    before: Any = manifest.column(REMOVED_BY) if there else np.full(len(manifest), None, object)
    marked = before.copy()
    marked[removed] = method
    return manifest.replace(split=split, **{REMOVED_BY: marked})


MANIFEST: Final = "manifest.parquet"
MADE: Final = "made"
SUMMARY: Final = "balance.json"
EMBEDDING: Final = "embedding.npz"
CACHE: Final = "faces.npz"
_PART: Final = ".part"
_OURS: Final = (MANIFEST, MADE, SUMMARY, EMBEDDING, CACHE)
_HALF_WRITTEN: Final = re.compile(
    rf"\.({'|'.join(Path(name).stem for name in _OURS)})(\.\w+)?\.\d+(-\d+)?\.part(\.\w+)?"
)


def open_folder(folder: Path, data: Path) -> Path:
    """Return the folder, made if it is not there; what a stopped run left half-written is removed.

    data: what is balanced; neither may lie in the other.
    Raises UsageError for a folder that holds anything but an earlier balancing, which its
    balance.json tells of, and MoppetError for one that cannot be written.
    """
    here, there = folder.resolve(), data.resolve()
    if there.is_relative_to(here) or (data.is_dir() and here.is_relative_to(there)):
        inside = f"{data} lies in {folder}" if there.is_relative_to(here) else "-o lies in the data"
        raise UsageError(f"{inside}, where what is made would mix with it: name another folder.")
    with _named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
        left = [name for name in names if _HALF_WRITTEN.fullmatch(name)]
        ours = _OURS if SUMMARY in names else (CACHE,)
        others = [name for name in names if name not in (*ours, *left)]
        if others:
            some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            raise UsageError(f"{folder} holds other things ({some}): name a new folder with -o.")
        for name in left:
            _remove(folder / name)
    return folder


def write_balanced(result: BalancedRows, folder: Path) -> Path:
    """Write a balanced set into a folder, and return its manifest's path.

    The manifest is written last and taken away first: while it is there, all of it is whole.
    balance.json is written first: it tells whose the folder is.
    made/000001.png, …: what was made in the pixel space, gray, in the order of its rows.
    embedding.npz: in an embedding, the training rows that were kept and then those that were
        made: `features` (r, d) float32, `label` (r,), `row` (r,) of the manifest or -1 for made,
        `parents` (r, 2) rows of the manifest, -1 for kept ones.
    Raises MoppetError if it cannot be written; then there is no manifest.
    """
    target = folder / MANIFEST
    with _named(folder):
        target.unlink(missing_ok=True)
        text = json.dumps(summary(result), indent=1, ensure_ascii=False) + "\n"
        write_text(folder / SUMMARY, text)
        (folder / EMBEDDING).unlink(missing_ok=True)
        _remove(folder / MADE)
        paths: list[str] = []
        if result.images is not None and len(result.images):
            paths = _write_images(result.images, folder)
        if result.space.name == "embedding":
            with replacing(folder / EMBEDDING) as part:
                _write_embedding(result, part)
    return result.whole(folder, paths).write(target)


def summary(result: BalancedRows) -> dict[str, Any]:
    """Return how a set was balanced, and what came of it, as JSON takes it."""
    made = result.balanced
    return {
        "method": made.method,
        "space": result.space.name,
        "model": result.space.model,
        "seed": made.seed,
        "features": int(result.features.shape[1]),
        "class_counts": [one._asdict() for one in made.counts],
        "notes": list(made.notes),
        "moppet_version": importlib.metadata.version("moppet"),
    }


def _write_images(images: Image, folder: Path) -> list[str]:
    """Write the new images, all or none, and return their paths in the folder."""
    names = [f"{number:06d}.png" for number in range(1, len(images) + 1)]
    part = folder / f".{MADE}.{os.getpid()}{_PART}"
    try:
        part.mkdir()
        for name, image in zip(names, images, strict=True):
            (part / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        os.replace(part, folder / MADE)
    finally:
        _remove(part)
    return [f"{MADE}/{name}" for name in names]


def _write_embedding(result: BalancedRows, path: Path) -> None:
    made, labels = result.balanced, result.manifest.column("label")
    kept = result.rows[made.kept]
    none = np.full(len(made.labels), -1, np.int64)
    with path.open("wb") as file:
        np.savez(
            file,
            features=np.concatenate([result.features[made.kept], made.features]),
            label=np.concatenate([labels[kept].astype(str), made.labels.astype(str)]),
            row=np.concatenate([kept, none]),
            parents=np.concatenate(
                [np.full((len(kept), 2), -1, np.int64), result.rows[made.parents]]
            ),
        )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into one sentence that names the file."""
    try:
        yield
    except OSError as error:
        place = error.filename or folder
        raise MoppetError(f"Cannot write {place}: {error.strerror or error}.") from None
