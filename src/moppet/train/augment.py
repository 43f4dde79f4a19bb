"""Random views of a face crop: where video differs from a posed, cropped, grey picture.

Geometry is one warp from the source's own pixels, so that nothing is blurred twice: somewhere
between the raw crop and the aligned one (their spread is what detection in video gives),
turned, scaled, shifted, flipped. Light, sharpness and occlusion follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.infer.align import CROP_PX, TEMPLATE_PX, similarity
from moppet.values import Floats, Image


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random views; probabilities in [0, 1]."""

    rotation_deg: float = 15.0
    scale: float = 0.15
    shift: float = 0.07
    shear: float = 0.08
    flip: float = 0.5
    contrast: float = 0.4
    brightness: float = 0.15
    gamma: float = 0.35
    shadow: float = 0.2
    blur: float = 0.2
    low_resolution: float = 0.2
    noise: float = 0.15
    erase: float = 0.3


def crop_matrices(
    side: int, landmarks_px: Floats, size: int, *, tight: bool = True
) -> NDArray[np.float64]:
    """Return (2, 2, 3): the warps of a crop to the raw and to the aligned view at `size` pixels.

    tight: the crop is a data set's own. A cut with room around the face has no raw view of its
    own: both are the aligned one. Both are the raw one where the landmarks are NaN.
    """
    scale = size / side
    raw = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    if np.isnan(landmarks_px).any():
        return np.stack([raw, raw])
    to_crop = similarity(landmarks_px, TEMPLATE_PX)
    shrink = size / CROP_PX
    to_crop[:, :2] *= shrink
    to_crop[:, 2] = (to_crop[:, 2] + 0.5) * shrink - 0.5
    return np.stack([raw if tight else to_crop, to_crop])


def view(image: Image, matrix: NDArray[np.float64], size: int) -> Image:
    """Return the crop warped to (size, size), its edge repeated beyond the picture."""
    return np.asarray(
        cv2.warpAffine(
            image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        np.uint8,
    )


def random_view(
    image: Image,
    matrices: NDArray[np.float64],
    size: int,
    settings: Augmentation,
    rng: np.random.Generator,
) -> Image:
    """Return a random view of the crop, (size, size) or (size, size, 3) uint8.

    image: (side, side) grey or (side, side, 3) RGB uint8; matrices: from `crop_matrices`.
    """
    # Half the draws at the two ends, half between: both framings occur in use.
    towards = rng.choice([0.0, 1.0, rng.random(), rng.random()])
    matrix = matrices[0] * (1 - towards) + matrices[1] * towards
    if rng.random() < settings.low_resolution:
        image, matrix = _lower_resolution(image, matrix, rng)
    picture = view(image, _random_geometry(size, settings, rng) @ _homogeneous(matrix), size)
    picture = _random_light(picture, settings, rng)
    if rng.random() < settings.blur:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.8)), np.uint8)
    if rng.random() < settings.noise:
        noisy = picture + rng.normal(0, rng.uniform(2, 12), picture.shape)
        picture = np.clip(noisy, 0, 255).astype(np.uint8)
    if rng.random() < settings.erase:
        picture = _erase(picture, rng)
    return picture


def _homogeneous(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.vstack([matrix, [0, 0, 1]])


def _random_geometry(
    size: int, settings: Augmentation, rng: np.random.Generator
) -> NDArray[np.float64]:
    angle = np.radians(np.clip(rng.normal(0, 0.5), -1, 1) * settings.rotation_deg)
    scale = np.exp(rng.uniform(-settings.scale, settings.scale))
    stretch = np.exp(rng.uniform(-settings.scale, settings.scale) / 3)
    shear = rng.uniform(-settings.shear, settings.shear)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[scale * stretch, shear], [0, scale / stretch]])
    if rng.random() < settings.flip:
        linear[:, 0] *= -1
    middle = np.full(2, (size - 1) / 2)
    shift = rng.uniform(-settings.shift, settings.shift, 2) * size
    return np.column_stack([linear, middle - linear @ middle + shift])


def _lower_resolution(
    image: Image, matrix: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Image, NDArray[np.float64]]:
    side = image.shape[0]
    small = int(rng.integers(side // 3, side))
    factor = side / small
    shrunk = np.asarray(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), np.uint8)
    centre = np.full(2, (factor - 1) / 2)
    moved = matrix[:, :2] @ centre + matrix[:, 2]
    return shrunk, np.column_stack([matrix[:, :2] * factor, moved])


def _random_light(picture: Image, settings: Augmentation, rng: np.random.Generator) -> Image:
    x = picture.astype(np.float32) / 255
    x = x ** np.float32(np.exp(rng.uniform(-settings.gamma, settings.gamma)))
    mean = x.mean()
    x = (x - mean) * np.float32(np.exp(rng.uniform(-settings.contrast, settings.contrast))) + mean
    x += np.float32(rng.uniform(-settings.brightness, settings.brightness))
    if rng.random() < settings.shadow:
        side = picture.shape[0]
        direction = rng.uniform(0, 2 * np.pi)
        ramp = np.linspace(-1, 1, side, dtype=np.float32)
        slope = ramp[None] * np.cos(direction) + ramp[:, None] * np.sin(direction)
        dark = 1 - np.float32(rng.uniform(0.2, 0.6)) * (slope > rng.uniform(-0.6, 0.6))
        x *= dark if x.ndim == 2 else dark[..., None]
    return np.asarray(np.rint(np.clip(x, 0, 1) * 255), np.uint8)


def _erase(picture: Image, rng: np.random.Generator) -> Image:
    side = picture.shape[0]
    height, width = (rng.uniform(0.1, 0.45, 2) * side).astype(int)
    top, left = int(rng.integers(0, side - height)), int(rng.integers(0, side - width))
    picture = picture.copy()
    if rng.random() < 0.5:
        picture[top : top + height, left : left + width] = rng.integers(0, 256)
    else:
        patch = rng.integers(0, 256, (height, width, *picture.shape[2:]), dtype=np.uint8)
        picture[top : top + height, left : left + width] = patch
    return picture
