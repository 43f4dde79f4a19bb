"""A picture of the random views that training makes of some faces, written where asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from moppet.data.faces import Faces
from moppet.train.augment import crop_matrices, random_view
from moppet.train.dataset import as_colour
from moppet.train.recipe import Recipe
from moppet.values import Image, MoppetError

VIEWS: Final = 9
_GAP_PX: Final = 6


def views_sheet(faces: Faces, recipe: Recipe, path: Path) -> None:
    """Write a row for each face: the crop as video cuts it, then VIEWS random views of it.

    Raises MoppetError if the file cannot be written.
    """
    grey = recipe.colour == "grey"
    crops = faces.aligned(size=recipe.size)
    rows = []
    for i, crop in enumerate(crops):
        cut = as_colour(faces.cuts[i], grey)
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
        rows.append(np.hstack([_framed(view) for view in (as_colour(crop, grey), *views)]))
    sheet = np.vstack(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    except (OSError, cv2.error):
        written = False
    if not written:
        raise MoppetError(f"the picture cannot be written to {path}: name a .png file.")


def _framed(view: Image) -> Image:
    colour = as_colour(view, grey=False)
    gap = _GAP_PX // 2
    white = (255, 255, 255)
    return np.asarray(
        cv2.copyMakeBorder(colour, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=white), np.uint8
    )
