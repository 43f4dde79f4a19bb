"""Training and evaluation views of FER+ for the training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from moppet.data.crops import aligned_crop, find_crop_landmarks, whole_crop
from moppet.data.ferplus import FerPlus
from moppet.train.augment import Augmentation, crop_matrices, random_view
from moppet.values import Floats, Image

LEAST_VOTES: Final = 3
"""Rows with fewer votes on the seven expressions are not trained on."""


def find_landmarks(data: FerPlus, cache: Path) -> tuple[Floats, NDArray[np.int8]]:
    """Return `find_crop_landmarks` of the whole set, kept in `cache` (.npz)."""
    if cache.is_file():
        with np.load(cache, allow_pickle=False) as arrays:
            if len(arrays["landmarks"]) == len(data.images):
                return arrays["landmarks"], arrays["attempt"]
    landmarks, attempt = find_crop_landmarks(list(data.images))
    np.savez(cache, landmarks=landmarks, attempt=attempt)
    return landmarks, attempt


def normalise(pictures: Image) -> Tensor:
    """Return (n, h, w) grey uint8 as (n, 1, h, w) float32, (value - 128) / 128."""
    return (torch.from_numpy(pictures).float()[:, None] - 128) / 128


class RandomViews(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """A random view of each training row, its votes as shares, and its weight.

    A row's view depends on the seed, the epoch and the row alone, so that a resumed run sees
    what an unbroken one would have seen.
    """

    def __init__(
        self, data: FerPlus, landmarks: Floats, size: int, settings: Augmentation, seed: int
    ) -> None:
        rows = data.rows("train")
        self.rows = rows[data.votes[rows].sum(axis=1) >= LEAST_VOTES]
        self.images = data.images
        self.soft, self.weights = data.soft_labels, data.weights
        side = data.images.shape[1]
        self.matrices = {i: crop_matrices(side, landmarks[i], size) for i in self.rows.tolist()}
        self.size, self.settings, self.seed = size, settings, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        row = int(self.rows[index])
        rng = np.random.default_rng((self.seed, self.epoch, row))
        picture = random_view(self.images[row], self.matrices[row], self.size, self.settings, rng)
        return (
            torch.from_numpy(picture)[None],
            torch.from_numpy(self.soft[row]),
            torch.tensor(self.weights[row]),
        )


def evaluation_crops(
    data: FerPlus, landmarks: Floats, rows: NDArray[np.intp], *, aligned: bool
) -> Image:
    """Return the rows' crops as `ExpressionModel.predict` takes them, (n, 112, 112, 3).

    aligned: as video would cut them (whole where no face was found), else whole.
    """
    if aligned:
        return np.stack([aligned_crop(data.images[i], landmarks[i]) for i in rows])
    return np.stack([whole_crop(data.images[i]) for i in rows])


def network_input(crops: Image, size: int) -> Image:
    """Return RGB crops as (n, size, size) grey, the way the model card prescribes."""
    greys = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]
    flags = cv2.INTER_AREA if crops.shape[1] > size else cv2.INTER_LINEAR
    return np.stack([cv2.resize(g, (size, size), interpolation=flags) for g in greys]).astype(
        np.uint8
    )
