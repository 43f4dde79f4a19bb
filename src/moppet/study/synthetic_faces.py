"""Made faces beside a cell's real ones: learned from its training rows, trained on, never read."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from moppet.config import old_names
from moppet.datasets.faces import Faces, find_manifest_faces
from moppet.datasets.hashing import content_hash
from moppet.datasets.manifest import Manifest, build_manifest, read_manifest
from moppet.datasets.provenance import join_synthetic, real_rows, synthetic_columns
from moppet.files import write_text
from moppet.synthesis.generators import find_generator
from moppet.synthesis.sampling_plan import make_plan
from moppet.synthesis.settings import SynthesisSettings
from moppet.synthesis.synthetic_folder import MANIFEST, write_synthetic
from moppet.synthesis.trained_generators import FaceGenerator, load_generator
from moppet.synthesis.training import plan_tasks, train_generator
from moppet.synthesis.training_images import StartingFaces, TrainingImages
from moppet.train.data_module import TrainingData
from moppet.values import Image, MoppetError

COPIES: Final = "copies"
"""A regime that is told from the others by its steps alone: its real rows, once more."""


def with_made(
    data: TrainingData,
    made: str,
    ratio: float,
    settings: Mapping[str, SynthesisSettings],
    work: Path,
) -> tuple[TrainingData, float]:
    """Return the data with made training rows after its own, and the CPU seconds they took.

    made: COPIES, or a key of settings. ratio: made rows for each
        real training row, of every class alike.
    work: keeps the finished generator in a folder of its own, so that other ratios of the same
        rows need not learn it again (its seconds count for each of them); a stopped one goes on,
        and whoever wants the same one at the same time waits for it.
    """
    rows = data.rows("train", labelled=True)
    if made == COPIES:
        again = np.tile(rows, int(ratio))
        return _repeated(data, again), 0.0
    if not settings[made].trained:
        return _with_painted(data, rows, made, ratio, settings[made], work)
    started = time.process_time()
    size = settings[made].size
    crops = data.faces.aligned([int(i) for i in rows], size)
    gray = np.stack(
        [np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8) for crop in crops]
    )
    of = TrainingImages(gray, data.label[rows], data.names, rows)
    maker, before = _generator(settings[made], of, work, made)
    wanted = {name: round(ratio * count) for name, count in of.counts().items()}
    pictures = [
        maker.generate(name, settings[made].seed + number)
        for name, count in wanted.items()
        for number in range(count)
    ]
    label = np.repeat(np.arange(len(data.names)), list(wanted.values()))
    own, faces = _rows_of(data, made, settings[made].seed, pictures, label)
    return _joined(data, own, faces), before + time.process_time() - started


def located(settings: SynthesisSettings, base: Path) -> SynthesisSettings:
    """Return the settings with the places of finished models, which start from the recipe's."""
    places: dict[str, Any] = {k: str(base / name) for k, name in _models(settings).items()}
    return replace(settings, **places)


def lacks_model(settings: SynthesisSettings, base: Path) -> str | None:
    """Return the place of a finished model that is not there; None where nothing is lacking."""
    places = [base / name for name in _models(settings).values()]
    return next((os.path.normpath(place) for place in places if not place.exists()), None)


def _models(settings: SynthesisSettings) -> dict[str, str]:
    """The settings that name a finished model, and what they name; none of one that learns."""
    if not settings.prompted:
        return {}
    keys = ["model", *["detector_model", "segmenter_model"] * (settings.method == "inpaint")]
    return {key: getattr(settings, key) for key in keys}


def _with_painted(
    data: TrainingData,
    rows: NDArray[np.intp],
    made: str,
    ratio: float,
    settings: SynthesisSettings,
    work: Path,
) -> tuple[TrainingData, float]:
    """As `with_made`, by a finished model, from these training rows' faces or from text.

    What is painted stays in its folder, and a stopped painting goes on.
    """
    of = data.manifest.select(rows).replace(split=["train"] * len(rows))
    sources = StartingFaces(of, settings)
    wanted = {
        n: round(ratio * int((data.label[rows] == i).sum())) for i, n in enumerate(data.names)
    }
    told = json.dumps([old_names(settings), wanted, sources.fingerprint()], sort_keys=True)
    folder = work / f"{made}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    said = folder / "seconds.json"
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not said.is_file():  # written last
            started = time.process_time()
            make = find_generator(settings.method).load()(settings, sources)
            plan = make_plan(settings, wanted)
            write_synthetic(folder, plan, make, of, settings, model=make.model)
            write_text(said, json.dumps(time.process_time() - started))
        joined = read_manifest(folder / MANIFEST)
    own = joined.select(np.flatnonzero(~real_rows(joined)))
    faces = find_manifest_faces(own, cache=folder / "faces.npz")
    return _joined(data, own, faces), float(json.loads(said.read_text(encoding="utf-8")))


def _generator(
    settings: SynthesisSettings, of: TrainingImages, work: Path, name: str
) -> tuple[FaceGenerator, float]:
    """Return the generator of these images, and the seconds that it once took if it was there."""
    told = json.dumps([old_names(settings), of.fingerprint], sort_keys=True)
    folder = work / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    kept, said = folder / "generator.safetensors", folder / "seconds.json"
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if said.is_file():  # written last
            return load_generator(kept), float(json.loads(said.read_text(encoding="utf-8")))
        started = time.process_time()
        maker = train_generator(settings, plan_tasks(settings, of, of.names), folder)
        seconds = time.process_time() - started
        maker.save(kept)
        write_text(said, json.dumps(seconds))
    return maker, 0.0


def _rows_of(
    data: TrainingData, made: str, seed: int, pictures: list[Image], label: NDArray[np.int64]
) -> tuple[Manifest, Faces]:
    """What a generator made of aligned faces, as rows and as faces, which they are as they come."""
    n = len(pictures)
    if not n:
        raise MoppetError("a regime's ratio is so small that no face would be made.")
    columns = {
        "path": [f"made/{made}/{number}.png" for number in range(n)],
        "label": [data.names[i] for i in label],
        "source": ["made"] * n,
        "split": ["train"] * n,
        "weight": [1.0] * n,
        "content_hash": [content_hash(image) for image in pictures],
    }
    said = synthetic_columns(n, generator=made, synthetic_seed=seed)
    own = build_manifest(columns | said, root=data.manifest.root, names=data.manifest.names)
    none = np.zeros(n, np.int64)
    marks = np.full((n, 5, 2), np.nan, np.float32)
    return own, Faces(pictures, marks, np.ones(n, bool), none.astype(np.int8) - 1, none)


def _joined(data: TrainingData, own: Manifest, of: Faces) -> TrainingData:
    faces, label = data.faces, own.column("label").tolist()
    numbers = np.array([data.names.index(name) for name in label], np.int64)
    joined = Faces(
        [*faces.cuts, *of.cuts],
        np.concatenate([faces.landmarks_px, of.landmarks_px]),
        np.concatenate([faces.tight, of.tight]),
        np.concatenate([faces.attempt, of.attempt]),
        np.concatenate([faces.several, of.several]),
    )
    return replace(
        data,
        manifest=join_synthetic(data.manifest, own),
        faces=joined,
        soft=np.concatenate([data.soft, np.eye(len(data.names), dtype=np.float32)[numbers]]),
        label=np.concatenate([data.label, numbers]),
        part=np.concatenate([data.part, np.full(len(own), "train")]),
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
