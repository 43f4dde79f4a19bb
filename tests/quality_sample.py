"""Made and real faces that are small noisy images: no face is looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from evaluation_sample import write_images
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.datasets.provenance import synthetic_columns

CLASSES = ("happiness", "sadness", "fear")
REAL, MADE, COPIES = 90, 45, 4


def write_real(folder: Path, **more: Any) -> Manifest:
    """90 real images, 45, 30 and 15 of the classes, all in split train."""
    write_images(folder, REAL, seed=1)
    columns = {
        "path": ["faces.npz"] * REAL,
        "array_row": np.arange(REAL),
        "label": np.repeat(CLASSES, [45, 30, 15]),
        "source": ["made up"] * REAL,
        "split": ["train"] * REAL,
        **more,
    }
    return build_manifest(columns, root=folder, names=CLASSES, license="Made up: nobody's faces.")


def write_made(folder: Path, real: Path, **more: Any) -> Manifest:
    """45 made images, 15 of each class; the first four nearly repeat real ones 10 to 13."""
    images = write_images(folder, MADE, seed=3)
    old = np.load(real / "faces.npz")["images"]
    images[:COPIES] = np.clip(old[10 : 10 + COPIES].astype(int) + 6, 0, 255)
    np.savez(folder / "faces.npz", images=images)
    columns = {
        "path": ["faces.npz"] * MADE,
        "array_row": np.arange(MADE),
        "label": np.repeat(CLASSES, 15),
        "source": ["moppet"] * MADE,
        **synthetic_columns(MADE, generator="cgan", synthetic_seed=7),
        **more,
    }
    return build_manifest(columns, root=folder, names=CLASSES)
