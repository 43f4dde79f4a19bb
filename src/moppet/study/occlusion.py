"""Occlusion saliency: how much a class loses when a part of the face is covered.

It stands here and not in `train`, for it asks an ONNX model only what it answers: it works for any
model folder and needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.infer.expressions import ExpressionModel
from moppet.values import Floats, Image, UsageError

Progress = Callable[[int, int], None]

PATCH_PX: Final = 24
STRIDE_PX: Final = 8
"""Side and step of the patch in pixels of a 112-pixel crop: about an eye, and a third of it."""
GREY: Final = 128


def occlusion_maps(
    model: ExpressionModel,
    crops: Image,
    classes: NDArray[np.integer[Any]],
    *,
    patch_px: int = PATCH_PX,
    stride_px: int = STRIDE_PX,
    progress: Progress | None = None,
) -> Floats:
    """Return (n, h, w) float32 the saliency of each pixel for the class asked for.

    A grey square moves over the crop, also partly out of it, so that every pixel is covered
    equally often. A pixel's saliency is the mean, over the squares that cover it, of the
    probability that the class loses: positive where the model needs the pixel, negative where it
    misleads the model. Source: Zeiler & Fergus 2014, section 4.2; the mean is ours.
    crops: (n, h, w, 3) RGB uint8. classes: (n,) index into model.names.
    progress: called with the number of crops done and their total.
    """
    if not 1 <= stride_px <= patch_px:
        raise UsageError(
            f"the patch must move by 1 to {patch_px} pixels, its own side, got {stride_px}."
        )
    height, width = crops.shape[1:3]
    boxes = [
        (slice(max(y, 0), y + patch_px), slice(max(x, 0), x + patch_px))
        for y in range(stride_px - patch_px, height, stride_px)
        for x in range(stride_px - patch_px, width, stride_px)
    ]
    times = np.zeros((height, width), np.int64)
    for box in boxes:
        times[box] += 1
    maps = np.zeros((len(crops), height, width))
    for i, (crop, k) in enumerate(zip(crops, classes, strict=True)):
        covered = np.repeat(crop[None], len(boxes) + 1, axis=0)
        for number, box in enumerate(boxes):
            covered[number][box] = GREY
        p = model.predict(covered).probabilities[:, k].astype(np.float64)
        for drop, box in zip(p[-1] - p[:-1], boxes, strict=True):
            maps[i][box] += drop
        if progress is not None:
            progress(i + 1, len(crops))
    return np.asarray(maps / times, np.float32)
