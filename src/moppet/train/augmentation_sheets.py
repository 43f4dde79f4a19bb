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
from moppet.train.augmentation import FAMILIES, Families, augment, crop_matrices, random_view
from moppet.train.data_module import as_color
from moppet.train.recipe import Recipe
from moppet.values import Image, MoppetError, UsageError

VIEWS: Final = 9
_GAP_PX: Final = 6


def views_sheet(faces: Faces, recipe: Recipe, path: Path) -> None:
    """Write a row for each face: the crop as in video, then VIEWS random views of it.

    Raises MoppetError if the file cannot be written.
    """
    gray = recipe.channels == 1
    crops = faces.aligned(size=recipe.size)
    rows = []
    for i, crop in enumerate(crops):
        cut = as_color(faces.cuts[i], gray)
        matrices = crop_matrices(
            cut.shape[0], faces.landmarks_px[i], recipe.size, tight=bool(faces.tight[i])
        )
        views = [
            random_view(
                cut,
                matrices,
                recipe.size,
                recipe.augmentation,
                np.random.default_rng((recipe.seed, number, i)),
            )
            for number in range(VIEWS)
        ]
        rows.append(np.hstack([_framed(view) for view in (as_color(crop, gray), *views)]))
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
_STILL: Final = {  # every strength at nothing
    **dict.fromkeys(("brightness", "contrast", "saturation", "hue", "translation"), 0.0),
    **dict.fromkeys(("blur_p", "jpeg_p", "shadow_p", "noise_p", "erase_p"), 0.0),
    **dict.fromkeys(("rotation_deg", "yaw_deg", "pitch_deg"), 0.0),
    **dict.fromkeys(("horizontal_flip", "vertical_flip"), 0.0),
    **dict.fromkeys(("scale_least", "scale_most"), 1.0),
}


def augmentation_sheet(
    images: Sequence[Image],
    path: Path,
    families: Families | None = None,
    *,
    side: int = 224,
    seed: int = 0,
) -> None:
    """Write a .png: the images, then each change of a family alone and all together.

    images: face crops, (h, w, 3) RGB or (h, w) gray uint8, brought to `side` pixels. They are
        recognizable in the file: ask before writing other people's faces.
    A change alone is the strongest of some random draws, its chance set to 1.
    Raises UsageError without an image or if the file cannot be written.
    """
    if not len(images):
        raise UsageError("the augmentation sheet needs at least one image, got none.")
    families = families or Families()
    crops = _crops(images, side)
    bands = [("the images", [("", crop) for crop in crops])]
    for name in FAMILIES:
        alone = [
            (label, _strongest(crops[i % len(crops)], one, seed + i))
            for i, (label, one) in enumerate(changes(families, name))
        ]
        bands.append((f"{name}: each alone", alone))
        alone_on = replace(families, names=(name,))
        bands.append((f"{name}: as drawn", _drawn(crops, alone_on, seed)))
    bands.append(("all three families", _drawn(crops, replace(families, names=FAMILIES), seed)))
    _write(bands, path)


def changes(families: Families, name: str) -> Iterator[tuple[str, Families]]:
    """Yield a family's changes, each with its label and the settings that apply it alone."""
    f = families
    scales = {"scale_least": f.scale_least, "scale_most": f.scale_most}
    kernels = f"{f.blur_least}-{f.blur_most}"
    listed: dict[str, list[tuple[str, dict[str, float]]]] = {
        "appearance": [
            (f"brightness ±{f.brightness:g}", {"brightness": f.brightness}),
            (f"contrast ±{f.contrast:g}", {"contrast": f.contrast}),
            (f"saturation ±{f.saturation:g}", {"saturation": f.saturation}),
            (f"hue ±{f.hue * 360:g}°", {"hue": f.hue}),
            (f"blur, {kernels} px (p {f.blur_p:g})", {"blur_p": 1.0}),
            (f"JPEG {f.jpeg_quality} (p {f.jpeg_p:g})", {"jpeg_p": 1.0}),
            (f"shadow × {f.shadow_factor:g} (p {f.shadow_p:g})", {"shadow_p": 1.0}),
        ],
        "geometry": [
            (f"rotation ±{f.rotation_deg:g}°", {"rotation_deg": f.rotation_deg}),
            (f"yaw ±{f.yaw_deg:g}°", {"yaw_deg": f.yaw_deg}),
            (f"pitch ±{f.pitch_deg:g}°", {"pitch_deg": f.pitch_deg}),
            (f"translation ±{f.translation:g}", {"translation": f.translation}),
            (f"scale {f.scale_least:g}-{f.scale_most:g}", scales),
            (f"flip (p {f.horizontal_flip:g})", {"horizontal_flip": 1.0}),
            (f"upside down (p {f.vertical_flip:g})", {"vertical_flip": 1.0}),
        ],
        "occlusion": [
            (f"salt and pepper {f.noise_amount:.0%} (p {f.noise_p:g})", {"noise_p": 1.0}),
            (f"erasing (p {f.erase_p:g})", {"erase_p": 1.0}),
        ],
    }
    for label, strengths in listed[name]:
        settings: dict[str, Any] = {**_STILL, **strengths}
        yield label, replace(f, **settings, names=(name,))


def _strongest(crop: Tensor, families: Families, seed: int) -> Tensor:
    views = augment(crop.repeat(_DRAWS, 1, 1, 1), families, seed)
    return views[(views - crop).abs().mean(dim=(1, 2, 3)).argmax()]


def _drawn(crops: Tensor, families: Families, seed: int) -> list[tuple[str, Tensor]]:
    shown = crops[torch.arange(_COLUMNS) % len(crops)]
    return [("", view) for view in augment(shown, families, seed)]


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
