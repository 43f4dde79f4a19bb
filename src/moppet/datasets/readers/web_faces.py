"""Faces from the web in one .npz: already found, as JPEG, unlabeled but for the test rows."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.faces import LANDMARK_COLUMNS
from moppet.datasets.manifest import Manifest
from moppet.datasets.readers.dataset import Dataset, known_dataset
from moppet.datasets.readers.fer2013 import archive_of
from moppet.files import read_arrays
from moppet.values import EXPRESSIONS
from moppet.vocabulary import expression_of

_KEYS: Final = ("offset", "landmarks_px", "label", "report_only", "name")
_VAL: Final = 0.1


def _looks_like(path: Path) -> bool:
    place = archive_of(path)
    if place is None or not zipfile.is_zipfile(place):
        return False
    try:
        with zipfile.ZipFile(place) as archive:
            return {f"{name}.npy" for name in ("jpeg", *_KEYS)} <= set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError):
        return False


def _read(dataset: Dataset, root: Path, *, seed: int = 0) -> Manifest:
    """Rows that only report become "test"; a tenth of the others "val", the rest "train"."""
    place = archive_of(root)
    if place is None:
        raise dataset.expected("one .npz", root)
    arrays = read_arrays(place, _KEYS)
    n = len(np.atleast_1d(arrays["label"]))
    shapes = {"offset": (n + 1,), "landmarks_px": (n, 5, 2), "report_only": (n,), "name": (n,)}
    for key, shape in shapes.items():
        if arrays[key].shape != shape or arrays["report_only"].dtype != bool:
            raise dataset.odd(f"needs {key} of shape {shape} and report_only of bool", place)
    report = arrays["report_only"]
    labels: list[str | None] = [expression_of(str(word)) for word in arrays["label"]]
    columns: dict[str, Any] = {
        "path": [place.name] * n,
        "array_row": list(range(n)),
        # The other rows' labels are as noisy, and nothing may learn from them.
        "label": [label if shown else None for label, shown in zip(labels, report, strict=True)],
        "split": _splits(report, seed),
        "name": arrays["name"].tolist(),
        **dict(zip(LANDMARK_COLUMNS, arrays["landmarks_px"].reshape(n, 10).T, strict=True)),
    }
    return dataset.build(place.parent, columns, names=EXPRESSIONS)


def _splits(report: NDArray[np.bool_], seed: int) -> list[str]:
    split = np.where(report, "test", "train").astype("<U5")
    rest = np.flatnonzero(~report)
    drawn = np.random.default_rng(seed).choice(rest, round(_VAL * len(rest)), replace=False)
    split[drawn] = "val"
    return list(map(str, split))


WEB_FACES = known_dataset("web-faces", _looks_like, _read)
