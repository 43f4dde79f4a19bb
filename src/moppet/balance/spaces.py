"""The feature spaces for neighbors and mixtures: the pixels of a face, or a model's embedding.

- `pixels`: mixtures are images, two faces overlaid. Neighbors are faces with similar light, pose
  and crop, not necessarily with the same expression.
- `embedding`: neighbors are faces that are similar to a model, which suits cleaning by neighbors
  (ENN, Tomek). A mixture is a point without an image.

A model that was trained on the labels of the images to balance has them in its embedding, so a
study with it gives figures that are too high. For children's images use only `adults`, a model
trained without children.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

import cv2
import numpy as np

from moppet.infer.expression_model import ExpressionModel, load_model
from moppet.values import Floats, Image, UsageError

SPACES: Final = ("pixels", "embedding")
SIDE_PX: Final = 48
"""Side of the faces in the pixel space, as in FER+; d is 48 x 48 = 2,304."""
HONEST_MODEL: Final = "adults"


class Space(ABC):
    """Converts face crops to features, and back if possible.

    name: of SPACES. model: the name and hash of the model that computes the features, or None.
    """

    name: str
    model: str | None = None

    @abstractmethod
    def features(self, crops: Image) -> Floats:
        """Return (n, d) float32 of (n, h, h, 3) RGB uint8 aligned face crops."""

    def images(self, features: Floats) -> Image | None:
        """Return (n, side, side) gray uint8 images of features, or None if the space has none."""
        return None


class Pixels(Space):
    """The gray face at side x side pixels, each in [0, 1], row by row."""

    name = "pixels"

    def __init__(self, side: int = SIDE_PX) -> None:
        if side < 8:
            raise UsageError(f"the pixel space needs faces of 8 pixels or more, got {side}.")
        self.side = side

    def features(self, crops: Image) -> Floats:
        """Return (n, side * side) float32 in [0, 1]."""
        flat = gray_squares(crops, self.side).reshape(len(crops), self.side**2)
        return np.asarray(flat, np.float32) / np.float32(255)

    def images(self, features: Floats) -> Image:
        """Return (n, side, side) uint8; values outside [0, 1] are cut off."""
        levels = np.rint(np.clip(features, 0, 1) * 255).astype(np.uint8)
        return levels.reshape(-1, self.side, self.side)


def gray_squares(crops: Image, side: int) -> Image:
    """Return (n, side, side) gray uint8 of (n, h, w, 3) RGB uint8 crops."""
    gray = np.empty((len(crops), side, side), np.uint8)
    for i, crop in enumerate(crops):
        one = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
        flags = cv2.INTER_AREA if min(one.shape) > side else cv2.INTER_LINEAR
        gray[i] = cv2.resize(one, (side, side), interpolation=flags)
    return gray


class Embedding(Space):
    """A model's embedding: 128 numbers for each face with moppet's models, not normalized."""

    name = "embedding"

    def __init__(self, of: ExpressionModel) -> None:
        self.of = of
        self.model = f"{of.name} ({of.sha256[:12]})"

    def features(self, crops: Image) -> Floats:
        """Return (n, d) float32; UsageError where the model has no embedding."""
        found = self.of.predict(crops).embeddings
        if not found.shape[1]:
            raise UsageError(
                f"model {self.of.name!r} has no embedding: use one trained with moppet, or "
                "balance in the pixel space."
            )
        return found


def make_space(name: str = "pixels", *, model: str = HONEST_MODEL, side: int = SIDE_PX) -> Space:
    """Return a space by its name.

    model: of the embedding, a bundled model's name or a model folder. side: of the pixel space.
    Raises UsageError for an unknown name, ModelError for a model that does not exist.
    """
    if name == "pixels":
        return Pixels(side)
    if name == "embedding":
        return Embedding(load_model(model))
    raise UsageError(f"a space is one of {', '.join(SPACES)}, not {name!r}.")
