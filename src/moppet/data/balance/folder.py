"""A balanced set in a folder: the manifest, what was made, and how."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from moppet.data.balance.rows import BalancedRows
from moppet.values import Image, MoppetError, UsageError

MANIFEST: Final = "manifest.parquet"
MADE: Final = "made"
SUMMARY: Final = "balance.json"
EMBEDDING: Final = "embedding.npz"
CACHE: Final = "faces.npz"
_PART: Final = ".part"
_OURS: Final = (MANIFEST, MADE, SUMMARY, EMBEDDING, CACHE)
_HALF_WRITTEN: Final = re.compile(
    rf"\.({'|'.join(map(re.escape, _OURS))})\.\d+{re.escape(_PART)}(\.npz)?"
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
    made/000001.png, …: what was made in the pixel space, grey, in the order of its rows.
    embedding.npz: in an embedding, the training rows that were kept and then those that were
        made: `features` (r, d) float32, `label` (r,), `row` (r,) of the manifest or -1 for made,
        `parents` (r, 2) rows of the manifest, -1 for kept ones.
    Raises MoppetError if it cannot be written; then there is no manifest.
    """
    target = folder / MANIFEST
    with _named(folder):
        target.unlink(missing_ok=True)
        text = json.dumps(summary(result), indent=1, ensure_ascii=False) + "\n"
        _write_whole(folder / SUMMARY, lambda part: part.write_text(text, encoding="utf-8"))
        (folder / EMBEDDING).unlink(missing_ok=True)
        _remove(folder / MADE)
        paths: list[str] = []
        if result.pictures is not None and len(result.pictures):
            paths = _write_pictures(result.pictures, folder)
        if result.space.name == "embedding":
            _write_whole(folder / EMBEDDING, lambda part: _write_embedding(result, part))
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


def _write_pictures(pictures: Image, folder: Path) -> list[str]:
    """Write the made pictures, all or none, and return their paths in the folder."""
    names = [f"{number:06d}.png" for number in range(1, len(pictures) + 1)]
    part = folder / f".{MADE}.{os.getpid()}{_PART}"
    try:
        part.mkdir()
        for name, picture in zip(names, pictures, strict=True):
            (part / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
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


def _write_whole(target: Path, write: Callable[[Path], Any]) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}{_PART}")
    try:
        write(part)
        os.replace(part, target)
    finally:
        _remove(part)


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
