"""A small made-up FER+ file: drawn faces whose mouth and brows show one of the seven."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from moppet.datasets.faces import Faces
from moppet.datasets.manifest import Manifest
from moppet.datasets.readers import read_dataset
from moppet.infer.alignment import CROP_PX, TEMPLATE_PX
from moppet.train.data_module import TrainingData, select_training_data
from moppet.train.recipe import Recipe
from moppet.values import EXPRESSIONS, Floats, Image

SIDE = 48
# Neither order nor length are those of EXPRESSIONS, as in the real file.
VOTE_NAMES = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"]
VOTE_NAMES += ["contempt", "unknown", "NF"]
TRAIN_ROWS, LEAKING_ROWS, REPORT_ROWS = 63, 3, 21


def draw_face(expression: str, rng: np.random.Generator) -> Image:
    """Draw a gray face, (48, 48) uint8."""
    image = np.full((SIDE, SIDE), int(rng.integers(60, 120)), np.uint8)
    dx, dy = (int(v) for v in rng.integers(-2, 3, 2))
    cv2.ellipse(image, (24 + dx, 25 + dy), (17, 22), 0, 0, 360, 190, -1)
    for x in (16, 32):
        radius = 4 if expression in ("surprise", "fear") else 2
        cv2.circle(image, (x + dx, 18 + dy), radius, 40, -1)
    mouth = (24 + dx, 36 + dy)
    if expression in ("surprise", "fear"):
        cv2.ellipse(image, mouth, (4, 6), 0, 0, 360, 50, -1)
    elif expression == "happiness":
        cv2.ellipse(image, (mouth[0], mouth[1] - 3), (9, 6), 0, 10, 170, 50, 2)
    elif expression == "sadness":
        cv2.ellipse(image, (mouth[0], mouth[1] + 4), (8, 6), 0, 190, 350, 50, 2)
    else:
        cv2.line(image, (mouth[0] - 7, mouth[1]), (mouth[0] + 7, mouth[1]), 50, 2)
    if expression in ("anger", "disgust"):
        cv2.line(image, (12 + dx, 10 + dy), (21 + dx, 14 + dy), 40, 2)
        cv2.line(image, (36 + dx, 10 + dy), (27 + dx, 14 + dy), 40, 2)
    noisy = image + rng.normal(0, 4, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_ferplus(path: Path, seed: int = 0) -> Path:
    """Write the file: every row's plurality is the expression drawn, 6 to 9 votes of ten."""
    rng = np.random.default_rng(seed)
    n = TRAIN_ROWS + LEAKING_ROWS + REPORT_ROWS
    drawn = [EXPRESSIONS[i % 7] for i in range(n)]
    votes = np.zeros((n, len(VOTE_NAMES)), np.uint8)
    for row, name in enumerate(drawn):
        most = int(rng.integers(6, 10))
        votes[row, VOTE_NAMES.index(name)] = most
        others = [k for k, other in enumerate(VOTE_NAMES) if other != name]
        votes[row, rng.choice(others)] = 10 - most
    number = np.arange(n)
    np.savez(
        path,
        images=np.stack([draw_face(name, rng) for name in drawn]),
        votes=votes,
        vote_names=np.array(VOTE_NAMES),
        split=(number >= TRAIN_ROWS + LEAKING_ROWS).astype(np.int8),
        dup_group=number.astype(np.int32),
        near_dup_group=np.full(n, -1, np.int32),
        leaks_into_split1=(number >= TRAIN_ROWS) & (number < TRAIN_ROWS + LEAKING_ROWS),
        age_band=(number // 7 % 3).astype(np.int8),
    )
    return path


def training_data(path: Path, recipe: Recipe, found_every: int = 2) -> TrainingData:
    """What a recipe learns from the file, faces found in every so many of its rows.

    MTCNN would find none: these faces are drawn.
    """
    manifest = read_dataset(path)
    n = len(manifest)
    landmarks = np.full((n, 5, 2), np.nan, np.float32)
    landmarks[::found_every] = crop_landmarks()
    found = ~np.isnan(landmarks[:, 0, 0])
    faces = Faces(
        cuts=[manifest.image(i) for i in range(n)],
        landmarks_px=landmarks,
        tight=np.ones(n, bool),
        attempt=np.where(found, 0, -1).astype(np.int8),
        several=found.astype(np.int64),
    )
    return select_training_data(manifest, faces, recipe)


def crop_landmarks(shift_px: float = 0.0) -> Floats:
    """Where the landmarks of a drawn face are, (5, 2) in pixels of the crop."""
    return np.asarray((TEMPLATE_PX + 0.5) * (SIDE / CROP_PX) - 0.5 + shift_px, np.float32)


def unmarked_faces(manifest: Manifest, **_: Any) -> Faces:
    """The images as they are, as if no face had been found in any."""
    n = len(manifest)
    cuts = [manifest.image(i) for i in range(n)]
    landmarks = np.full((n, 5, 2), np.nan, np.float32)
    none = np.zeros(n, np.int64)
    return Faces(cuts, landmarks, np.ones(n, bool), none.astype(np.int8) - 1, none)


class FerPlus(NamedTuple):
    """The rows of a file as the reader has them; `part` is "" for rows that leak."""

    manifest: Manifest
    part: np.ndarray

    @property
    def label(self) -> np.ndarray:
        return self.manifest.labels

    @property
    def group(self) -> np.ndarray:
        return self.manifest.column("duplicate_group")


def read_ferplus(path: Path, *, seed: int = 0) -> FerPlus:
    """Return all rows of a file, with those that leak."""
    manifest = read_dataset(path, "ferplus-npz", keep_leaks=True, seed=seed)
    part = manifest.column("split").astype(str)
    leaks = manifest.column("leaks_into_split1").astype(bool)
    return FerPlus(manifest, np.where((part == "train") & leaks, "", part))
