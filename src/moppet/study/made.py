"""Made faces beside a cell's real ones: learned from its training rows, trained on, never read."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from moppet.data.faces import Faces
from moppet.data.likeness import content_hash
from moppet.data.manifest import build_manifest
from moppet.data.provenance import join_made, made_columns
from moppet.synthesise.generator import FaceGenerator, load_generator
from moppet.synthesise.loop import learn, plan_lessons
from moppet.synthesise.pictures import TrainingPictures
from moppet.synthesise.settings import Settings
from moppet.train.dataset import TrainingData
from moppet.values import Image, MoppetError

COPIES: Final = "copies"
"""A regime that is told from the others by its steps alone: its real rows, once more."""


def with_made(
    data: TrainingData, made: str, ratio: float, settings: Mapping[str, Settings], work: Path
) -> tuple[TrainingData, float]:
    """Return the data with made training rows after its own, and the CPU seconds they took.

    made: COPIES, or a key of settings, each a generator that learns. ratio: made rows for each
        real training row, of every class alike.
    work: keeps the finished generator in a folder of its own, so that other ratios of the same
        rows need not learn it again (its seconds count for each of them); a stopped one goes on,
        and whoever wants the same one at the same time waits for it.
    """
    rows = data.rows("train", labelled=True)
    if made == COPIES:
        again = np.tile(rows, int(ratio))
        return _repeated(data, again), 0.0
    started = time.process_time()
    size = settings[made].size
    crops = data.faces.aligned([int(i) for i in rows], size)
    grey = np.stack(
        [np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8) for crop in crops]
    )
    of = TrainingPictures(grey, data.label[rows], data.names, rows)
    maker, before = _generator(settings[made], of, work, made)
    wanted = [round(ratio * int((of.label == i).sum())) for i in range(len(data.names))]
    pictures = [
        maker.make(name, settings[made].seed + number)
        for name, count in zip(data.names, wanted, strict=True)
        for number in range(count)
    ]
    label = np.repeat(np.arange(len(data.names)), wanted)
    joined = _joined(data, made, settings[made].seed, pictures, label)
    return joined, before + time.process_time() - started


def _generator(
    settings: Settings, of: TrainingPictures, work: Path, name: str
) -> tuple[FaceGenerator, float]:
    """Return the generator of these pictures, and the seconds that it once took if it was there."""
    told = json.dumps([asdict(settings), of.fingerprint], sort_keys=True)
    folder = work / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    kept, said = folder / "generator.safetensors", folder / "seconds.json"
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if said.is_file():  # written last
            return load_generator(kept), float(json.loads(said.read_text(encoding="utf-8")))
        started = time.process_time()
        maker = learn(settings, plan_lessons(settings, of, of.names), folder)
        seconds = time.process_time() - started
        maker.save(kept)
        fresh = said.with_suffix(".tmp")
        fresh.write_text(json.dumps(seconds), encoding="utf-8")
        fresh.replace(said)
    return maker, 0.0


def _joined(
    data: TrainingData, made: str, seed: int, pictures: list[Image], label: NDArray[np.int64]
) -> TrainingData:
    n = len(pictures)
    if not n:
        raise MoppetError("a regime's ratio is so small that no face would be made.")
    columns = {
        "path": [f"made/{made}/{number}.png" for number in range(n)],
        "label": [data.names[i] for i in label],
        "source": ["made"] * n,
        "split": ["train"] * n,
        "weight": [1.0] * n,
        "content_hash": [content_hash(picture) for picture in pictures],
    }
    said = made_columns(n, made_by=made, made_seed=seed)
    own = build_manifest(columns | said, root=data.manifest.root, names=data.manifest.names)
    faces = data.faces
    none = np.zeros(n, np.int64)
    joined = Faces(
        [*faces.cuts, *pictures],
        np.concatenate([faces.landmarks_px, np.full((n, 5, 2), np.nan, np.float32)]),
        np.concatenate([faces.tight, np.ones(n, bool)]),
        np.concatenate([faces.attempt, none.astype(np.int8) - 1]),
        np.concatenate([faces.several, none]),
    )
    return replace(
        data,
        manifest=join_made(data.manifest, own),
        faces=joined,
        soft=np.concatenate([data.soft, np.eye(len(data.names), dtype=np.float32)[label]]),
        label=np.concatenate([data.label, label]),
        part=np.concatenate([data.part, np.full(n, "train")]),
    )


def _repeated(data: TrainingData, again: NDArray[np.intp]) -> TrainingData:
    rows = np.concatenate([np.arange(len(data.label)), again])
    return replace(
        data,
        manifest=data.manifest.select(rows),
        faces=data.faces.select(rows),
        soft=data.soft[rows],
        label=data.label[rows],
        part=data.part[rows],
    )
