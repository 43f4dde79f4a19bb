"""Saliency on the aligned face: occlusion maps, regions, their shares and means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.evaluate.subgroups import age_subgroups
from moppet.infer.alignment import CROP_PX, TEMPLATE_PX
from moppet.infer.expression_model import ExpressionModel
from moppet.metrics import Estimate, as_json
from moppet.metrics.bootstrap import bootstrap_means
from moppet.values import CountProgress, Floats, Image, UsageError, no_progress

REGIONS: Final = ("eyes", "nose", "mouth", "rest of the face", "background")
"""Each pixel of an aligned crop is in one of them."""
FACE_CENTER_PX: Final = (55.7, 58.0)
FACE_HALF_PX: Final = (46.0, 62.0)
"""Center and half axes, x before y, of the ellipse taken for the face: cheek to cheek, and from
the hairline to below the chin, as far as the crop shows them."""


def region_boxes() -> dict[str, tuple[float, float, float, float]]:
    """Return left, top, right, bottom in pixels of the crop of the regions that are boxes.

    They are our choice, from the template's landmarks: the eyes include the brows and what is
    between them, the mouth includes its corners and lips, also in a wide smile.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = TEMPLATE_PX.astype(float).tolist()
    eyes_end, mouth_start = left_eye[1] + 10, left_mouth[1] - 11
    return {
        "eyes": (left_eye[0] - 16, left_eye[1] - 20, right_eye[0] + 16, eyes_end),
        "nose": (nose[0] - 14, eyes_end, nose[0] + 14, mouth_start),
        "mouth": (left_mouth[0] - 9, mouth_start, right_mouth[0] + 9, left_mouth[1] + 15),
    }


def region_masks() -> dict[str, NDArray[np.bool_]]:
    """Return region → (CROP_PX, CROP_PX) whether a pixel belongs to it."""
    y, x = np.mgrid[:CROP_PX, :CROP_PX].astype(np.float64)
    masks = {
        name: (x >= left) & (x < right) & (y >= top) & (y < bottom)
        for name, (left, top, right, bottom) in region_boxes().items()
    }
    from_center = np.hypot(
        (x - FACE_CENTER_PX[0]) / FACE_HALF_PX[0], (y - FACE_CENTER_PX[1]) / FACE_HALF_PX[1]
    )
    boxed = np.logical_or.reduce(list(masks.values()))
    masks["rest of the face"] = (from_center <= 1) & ~boxed
    masks["background"] = (from_center > 1) & ~boxed
    return {name: masks[name] for name in REGIONS}


def region_areas() -> dict[str, float]:
    """Return each region's share of the crop, which uniform saliency would give it."""
    return {name: float(mask.mean()) for name, mask in region_masks().items()}


def as_shares(maps: Floats) -> NDArray[np.float64]:
    """Return (n, h, w) maps of the support for a class, each summing to 1.

    Negative values count as 0. A map without anything above 0 is NaN.
    """
    positive = np.maximum(maps.astype(np.float64), 0)
    total = positive.sum(axis=(1, 2), keepdims=True)
    return np.asarray(np.where(total > 0, positive / np.where(total > 0, total, 1), np.nan))


def region_shares(maps: Floats) -> dict[str, NDArray[np.float64]]:
    """Return region → (n,) share of each aligned crop's saliency; NaN if there is none."""
    shares = as_shares(maps)
    return {name: shares[:, mask].sum(axis=1) for name, mask in region_masks().items()}


@dataclass(frozen=True)
class SaliencySummary:
    """The saliency of some faces.

    class_name, age_band: which; None for all. n: faces. undefined: those of them without
    any support for the class, which are left out of the metrics.
    shares: region → mean share. mean: (CROP_PX, CROP_PX), of all faces equally; 1 is
    saliency spread evenly over the crop, NaN if no face is left.
    """

    class_name: str | None
    age_band: str | None
    n: int
    undefined: int
    shares: dict[str, Estimate]
    mean: NDArray[np.float64]

    def as_json(self) -> dict[str, Any]:
        """Return plain values without the map, None for what is undefined."""
        return {
            "class": self.class_name,
            "age_band": self.age_band,
            "n": self.n,
            "undefined": self.undefined,
            "shares": as_json(self.shares),
        }


def measure_saliency(
    maps: Floats,
    classes: Sequence[str],
    names: Sequence[str],
    bands: Iterable[Any],
    groups: NDArray[np.int64],
    *,
    seed: int = 0,
    draws: int = 1000,
) -> list[SaliencySummary]:
    """Return the saliency of all faces, of each class, each age band, and each class in each band.

    maps: (n, CROP_PX, CROP_PX) of aligned crops. classes: (n,) the class that was explained, of
        names, in whose order they come.
    bands: (n,) None where unknown. groups: (n,) rows of one group are drawn together; a single
        group gives no interval.
    """
    named = np.array(classes, object)
    everyone: dict[str | None, NDArray[np.bool_]] = {None: np.ones(len(maps), bool)}
    by_class = everyone | {name: named == name for name in names}
    by_band = everyone | {
        band: rows for band, rows in age_subgroups(bands).items() if not rows.all()
    }
    if len(set(classes)) == 1:
        by_class = everyone
    return [
        _measure(maps[rows], groups[rows], name, band, seed, draws)
        for name, of_class in by_class.items()
        for band, of_band in by_band.items()
        if (rows := of_class & of_band).any() or name is band is None
    ]


def _measure(
    maps: Floats,
    groups: NDArray[np.int64],
    name: str | None,
    band: str | None,
    seed: int,
    draws: int,
) -> SaliencySummary:
    columns = region_shares(maps)
    known = ~np.isnan(columns[REGIONS[0]])
    shares = bootstrap_means(columns, groups, np.random.default_rng(seed), draws)
    mean = np.full((CROP_PX, CROP_PX), np.nan)
    if known.any():
        mean = as_shares(maps[known]).mean(axis=0) * CROP_PX**2
    return SaliencySummary(
        name,
        band,
        len(maps),
        int((~known).sum()),
        shares,
        mean,
    )


PATCH_PX: Final = 24
STRIDE_PX: Final = 8
"""Side and step of the patch in pixels of a 112-pixel crop: about an eye, and a third of one."""
GRAY: Final = 128


def occlusion_maps(
    model: ExpressionModel,
    crops: Image,
    classes: NDArray[np.integer[Any]],
    *,
    patch_px: int = PATCH_PX,
    stride_px: int = STRIDE_PX,
    progress: CountProgress = no_progress,
) -> Floats:
    """Return (n, h, w) float32 the saliency of each pixel for the given class.

    A gray square moves over the crop, also partly out of it, so that every pixel is covered
    equally often. A pixel's saliency is the mean, over the squares that cover it, of the
    drop in the probability of the class: positive if the pixel supports the class, negative if it
    contradicts it. Source: Zeiler & Fergus 2014, section 4.2; the mean is ours.
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
            covered[number][box] = GRAY
        p = model.predict(covered).probabilities[:, k].astype(np.float64)
        for drop, box in zip(p[-1] - p[:-1], boxes, strict=True):
            maps[i][box] += drop
        progress(i + 1, len(crops))
    return np.asarray(maps / times, np.float32)
