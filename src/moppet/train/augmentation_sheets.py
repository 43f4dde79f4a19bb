"""Sheets of images that show the effect of augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor

from moppet.datasets.faces import Faces
from moppet.files import replacing
from moppet.train.augmentation import BATCH_AUGMENTATIONS, BatchAugmentation, augment, random_view
from moppet.train.data_module import as_color, crop_and_matrices
from moppet.train.recipe import Recipe
from moppet.values import Image, MoppetError, UsageError

VIEWS: Final = 9
_GAP_PX: Final = 6


def views_sheet(faces: Faces, recipe: Recipe, path: Path) -> None:
    """Write a row for each face: the crop as in video, then VIEWS random views of it.

    Raises MoppetError if the file cannot be written.
    """
    rows = []
    for i, aligned in enumerate(faces.aligned(size=recipe.size)):
        crop, matrices = crop_and_matrices(faces, i, recipe)
        views = [as_color(aligned, recipe.channels == 1)]
        for number in range(VIEWS):
            rng = np.random.default_rng((recipe.seed, number, i))
            views.append(random_view(crop, matrices, recipe.size, recipe.random_views, rng))
        rows.append(np.hstack([_framed(view) for view in views]))
    sheet = np.vstack(rows)
    with replacing(path, failures=[cv2.error]) as part:
        if not cv2.imwrite(str(part), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise MoppetError(f"Cannot write {path}: name a .png file in a folder of your own.")


def _framed(view: Image) -> Image:
    color = as_color(view, gray=False)
    gap = _GAP_PX // 2
    white = (255, 255, 255)
    return np.asarray(
        cv2.copyMakeBorder(color, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=white), np.uint8
    )


_COLUMNS: Final = 8
_DRAWS: Final = 12
_CHANGES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "appearance": {
        "brightness ±{brightness:g}": ("brightness",),
        "contrast ±{contrast:g}": ("contrast",),
        "saturation ±{saturation:g}": ("saturation",),
        "hue ±{hue_deg:g}°": ("hue",),
        "blur, {blur_least}-{blur_most} px (p {blur_p:g})": ("blur_p",),
        "JPEG {jpeg_quality} (p {jpeg_p:g})": ("jpeg_p",),
        "shadow × {shadow_factor:g} (p {shadow_p:g})": ("shadow_p",),
    },
    "geometry": {
        "rotation ±{rotation_deg:g}°": ("rotation_deg",),
        "yaw ±{yaw_deg:g}°": ("yaw_deg",),
        "pitch ±{pitch_deg:g}°": ("pitch_deg",),
        "translation ±{translation:g}": ("translation",),
        "scale {scale_least:g}-{scale_most:g}": ("scale_least", "scale_most"),
        "flip (p {horizontal_flip:g})": ("horizontal_flip",),
        "upside down (p {vertical_flip:g})": ("vertical_flip",),
    },
    "occlusion": {
        "salt and pepper {noise_amount:.0%} (p {noise_p:g})": ("noise_p",),
        "erasing (p {erase_p:g})": ("erase_p",),
    },
}
"""Augmentation → label of each of its changes → the settings that make this change."""


def augmentation_sheet(
    images: Sequence[Image],
    path: Path,
    settings: BatchAugmentation | None = None,
    *,
    side: int = 224,
    seed: int = 0,
) -> None:
    """Write a .png: the images, then each change alone and all together.

    images: face crops, (h, w, 3) RGB or (h, w) gray uint8, brought to `side` pixels. They are
        recognizable in the file: ask before writing other people's faces.
    A change alone is the strongest of some random draws, its chance set to 1.
    Raises UsageError without an image or if the file cannot be written.
    """
    if not len(images):
        raise UsageError("the augmentation sheet needs at least one image, got none.")
    settings = settings or BatchAugmentation()
    crops = _crops(images, side)
    bands = [("the images", [("", crop) for crop in crops])]
    for name in BATCH_AUGMENTATIONS:
        alone = [
            (label, _strongest(crops[i % len(crops)], one, seed + i))
            for i, (label, one) in enumerate(changes(settings, name))
        ]
        bands.append((f"{name}: each alone", alone))
        alone_on = replace(settings, names=(name,))
        bands.append((f"{name}: as drawn", _drawn(crops, alone_on, seed)))
    bands.append(
        ("all together", _drawn(crops, replace(settings, names=BATCH_AUGMENTATIONS), seed))
    )
    _write(bands, path)


def changes(settings: BatchAugmentation, name: str) -> Iterator[tuple[str, BatchAugmentation]]:
    """Yield an augmentation's changes, each with its label and the settings of it alone.

    Its chance is 1.
    """
    values = {**vars(settings), "hue_deg": 360 * settings.hue}
    off: dict[str, Any] = {
        key: 0.0 for of in _CHANGES.values() for keys in of.values() for key in keys
    }
    off |= {"scale_least": 1.0, "scale_most": 1.0}
    for label, keys in _CHANGES[name].items():
        on = {key: 1.0 if key.endswith(("_p", "_flip")) else values[key] for key in keys}
        yield label.format(**values), replace(settings, **(off | on), names=(name,))


def _strongest(crop: Tensor, settings: BatchAugmentation, seed: int) -> Tensor:
    views = augment(crop.repeat(_DRAWS, 1, 1, 1), settings, seed)
    return views[(views - crop).abs().mean(dim=(1, 2, 3)).argmax()]


def _drawn(crops: Tensor, settings: BatchAugmentation, seed: int) -> list[tuple[str, Tensor]]:
    shown = crops[torch.arange(_COLUMNS) % len(crops)]
    return [("", view) for view in augment(shown, settings, seed)]


def _crops(images: Sequence[Image], side: int) -> Tensor:
    resized = []
    for image in images[:_COLUMNS]:
        color = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
        flags = cv2.INTER_AREA if min(color.shape[:2]) > side else cv2.INTER_LINEAR
        resized.append(cv2.resize(color, (side, side), interpolation=flags))
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255


def _write(bands: list[tuple[str, list[tuple[str, Tensor]]]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = 1.55 * _COLUMNS, 1.95 * len(bands)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    for row, (title, views) in enumerate(bands):
        top = height - 1.95 * row
        figure.text(0.05 / width, (top - 0.22) / height, title, fontsize=11, fontweight="bold")
        for column, (label, view) in enumerate(views):
            left = 1.55 * column + 0.05
            box = (left / width, (top - 1.9) / height, 1.45 / width, 1.45 / height)
            cell = figure.add_axes(box)
            cell.axis("off")
            cell.imshow(view.permute(1, 2, 0).numpy(), vmin=0, vmax=1)
            cell.set_title(label, fontsize=7, pad=2)
    with replacing(path, UsageError, [ValueError]) as part:
        figure.savefig(part, dpi=150)
