"""Features of face crops for classifiers without a network: see `SPACES`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.balance.spaces import Pixels, gray_squares
from moppet.infer.expression_model import ExpressionModel, load_model
from moppet.values import Floats, Image, ModelError, UsageError, name_hint

Space = Callable[..., Floats]

PIXELS_PX: Final = 32
HOG_PX: Final = 64
LBP_PX: Final = 112
LBP_CELLS: Final = 7
LBP_RADIUS: Final = 2.0
LBP_LABELS: Final = 59
_NEIGHBORS: Final = 8
_CHUNK: Final = 128
_EQUAL: Final = 1e-3
"""Tolerance in gray levels for the rounding of interpolated neighbors."""
_HOG: Final = cv2.HOGDescriptor(
    (HOG_PX, HOG_PX), (16, 16), (8, 8), (8, 8), 9, 1, -1.0, 0, 0.2, False, 64, False
)


def pixel_features(crops: Image) -> Floats:
    """Return (n, 1024): gray levels 0 to 1 of the crop at 32 pixels, row by row."""
    return Pixels(PIXELS_PX).features(crops)


def hog_features(crops: Image) -> Floats:
    """Return (n, 1764): histograms of oriented gradients (Dalal & Triggs 2005) at 64 pixels.

    As in OpenCV: 9 unsigned directions, cells of 8 pixels, blocks of 2 × 2 cells, each block scaled
    to length 1, clipped at 0.2 and scaled again. Brightness and contrast have no effect.
    """
    found = [
        np.asarray(_HOG.compute(gray), np.float32).ravel() for gray in gray_squares(crops, HOG_PX)
    ]
    return np.stack(found) if found else np.empty((0, _HOG.getDescriptorSize()), np.float32)


def lbp_features(crops: Image) -> Floats:
    """Return (n, 2891): histograms of uniform local binary patterns in 7 × 7 cells.

    Ahonen et al. 2006, as used for expressions by Shan et al. 2009: 8 neighbors on a circle with a
    radius of 2 pixels (bilinear interpolation), one label for each of the 58 patterns with at most
    two changes around the circle, in the order of their codes, and one for all others; each cell's
    59 shares sum to 1. The crop is resized to 112 pixels.
    """
    labels = _uniform_labels()
    side = LBP_PX // LBP_CELLS
    parts = []
    for start in range(0, len(crops), _CHUNK):
        codes = pattern_codes(gray_squares(crops[start : start + _CHUNK], LBP_PX))
        n = len(codes)
        cells = labels[codes].reshape(n, LBP_CELLS, side, LBP_CELLS, side).swapaxes(2, 3)
        cells = cells.reshape(n * LBP_CELLS**2, side * side)
        place = cells + LBP_LABELS * np.arange(len(cells))[:, None]
        counts = np.bincount(place.ravel(), minlength=len(cells) * LBP_LABELS)
        parts.append((counts / side**2).reshape(n, -1).astype(np.float32))
    return np.concatenate(parts) if parts else np.empty((0, LBP_CELLS**2 * LBP_LABELS), np.float32)


def embedding_features(crops: Image, model: str | Path | ExpressionModel = "default") -> Floats:
    """Return (n, d), the embedding of a model; d is 128 for the bundled models.

    model: a bundled model's name, a model folder, or a loaded model. It must not be trained on
    these faces, or results on them are too optimistic.
    Raises ModelError if its network gives no embedding.
    """
    read = model if isinstance(model, ExpressionModel) else load_model(model)
    found = read.predict(crops).embeddings
    if not found.shape[1]:
        raise ModelError(f"the network of {read.name} gives no embedding; choose another model.")
    return found


SPACES: Final[dict[str, Space]] = {
    "pixels": pixel_features,
    "hog": hog_features,
    "lbp": lbp_features,
    "embedding": embedding_features,
}
"""Name → function from crops (n, h, w, 3) RGB uint8, any h and w, to (n, d) float32. Only
"embedding" takes a model. No function is fitted to its input."""


def describe_crops(
    crops: Image, space: str, *, model: str | Path | ExpressionModel = "default"
) -> Floats:
    """Return the features of crops in one of SPACES. model: for "embedding" only.

    Raises UsageError for an unknown space and for invalid crops.
    """
    if space not in SPACES:
        raise UsageError(f"there is no space {space!r}.{name_hint(space, SPACES)}")
    if not isinstance(crops, np.ndarray) or crops.ndim != 4 or crops.shape[3] != 3:
        shape = getattr(crops, "shape", type(crops).__name__)
        raise UsageError(f"features need RGB crops (n, height, width, 3), got {shape}.")
    if crops.dtype != np.uint8:
        raise UsageError(f"features need uint8 pixels (0 to 255), got {crops.dtype}.")
    return SPACES[space](crops, model=model) if space == "embedding" else SPACES[space](crops)


def pattern_codes(gray: Image) -> NDArray[np.uint8]:
    """Return each pixel's local binary pattern, (n, h, w) for gray images of the same shape.

    Bit p is 1 if the neighbor at row -2 sin(2πp/8), column 2 cos(2πp/8) is at least as bright as
    the pixel (Ojala et al. 2002; the bits of scikit-image's "default"). Edge pixels are repeated
    outside the image.
    """
    n, height, width = gray.shape
    edge = math.ceil(LBP_RADIUS) + 1
    wide = np.pad(gray.astype(np.float32), ((0, 0), (edge, edge), (edge, edge)), mode="edge")
    codes = np.zeros((n, height, width), np.uint8)

    def shifted(down: int, right: int) -> Floats:
        top, left = edge + down, edge + right
        return np.asarray(wide[:, top : top + height, left : left + width])

    middle = shifted(0, 0)
    for bit in range(_NEIGHBORS):
        angle = 2 * math.pi * bit / _NEIGHBORS
        down = round(-LBP_RADIUS * math.sin(angle), 5)
        right = round(LBP_RADIUS * math.cos(angle), 5)
        i, j = math.floor(down), math.floor(right)
        a, b = np.float32(down - i), np.float32(right - j)
        upper = (1 - b) * shifted(i, j) + b * shifted(i, j + 1)
        lower = (1 - b) * shifted(i + 1, j) + b * shifted(i + 1, j + 1)
        brighter = (1 - a) * upper + a * lower >= middle - _EQUAL
        codes |= brighter.astype(np.uint8) << np.uint8(bit)
    return codes


@lru_cache(maxsize=1)
def _uniform_labels() -> NDArray[np.int64]:
    """Return (256,) labels of all codes: 0 to 57 for uniform codes in order, 58 for all others."""
    codes = np.arange(2**_NEIGHBORS)
    bits = codes[:, None] >> np.arange(_NEIGHBORS) & 1
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(axis=1) <= 2
    return np.asarray(np.where(uniform, np.cumsum(uniform) - 1, LBP_LABELS - 1), np.int64)
