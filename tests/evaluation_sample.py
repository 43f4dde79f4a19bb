"""A small labeled data set and a model to read it: no face is looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model_folder import linear_network, write_model
from moppet.datasets.faces import Faces, whole_crop
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.infer.expression_model import load_model

SIDE = 24
N = 140
BANDS = ("infant", "child", "adult", "adult", "uncertain", None)


def write_images(folder: Path, n: int = N, seed: int = 0) -> np.ndarray:
    """Write n small noisy images as one .npz; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tones = rng.integers(20, 236, (n, 4, 4))
    images = tones.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2).astype(np.uint8)
    np.savez(folder / "faces.npz", images=images)
    return images


def make_manifest(folder: Path, model: Path, *, names: dict[str, str] | None = None, **more: Any):
    """A manifest of `folder`/faces.npz whose labels are the model's guess, or another one.

    names: the model's class → what the data calls it.
    """
    images = np.load(folder / "faces.npz")["images"]
    n = len(images)
    rng = np.random.default_rng(1)
    read = load_model(model)
    called = [(names or {}).get(name, name) for name in read.names]
    guess = read.predict(np.stack([whole_crop(image) for image in images])).expressions
    right = rng.random(n) < 0.7
    label = [
        called[read.names.index(g)] if r else called[int(rng.integers(len(called)))]
        for g, r in zip(guess, right, strict=True)
    ]
    columns: dict[str, Any] = {
        "path": ["faces.npz"] * n,
        "array_row": np.arange(n),
        "label": label,
        "source": ["made up"] * n,
        "age_band": [BANDS[i % len(BANDS)] for i in range(n)],
        "duplicate_group": np.r_[np.arange(n - 10), np.arange(10)],
        "room": ["blue" if i % 3 else "red" for i in range(n)],
        **more,
    }
    return build_manifest(columns, root=folder, names=called, license="Made up: nobody's faces.")


def two_class_model(folder: Path, labels: list[str], **more: Any) -> Path:
    """A model of fewer classes."""
    network = linear_network(classes=len(labels))
    return write_model(folder, network, labels=labels, groups={}, **more)


def faces_without_search(missed: int = 7):
    """Stands for `find_manifest_faces`: whole images; each `missed`th row's face not found."""

    def find(manifest: Manifest, **_: Any) -> Faces:
        n = len(manifest)
        cuts = [manifest.image(i) for i in range(n)]
        rows = manifest.column("array_row")
        landmarks = np.full((n, 5, 2), np.nan, np.float32)
        attempt = np.where(rows % missed == 0, -1, 0).astype(np.int8)
        return Faces(cuts, landmarks, np.ones(n, bool), attempt, np.ones(n, np.int64))

    return find
