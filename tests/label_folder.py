"""A small folder of drawn images, in sub-folders that are named like classes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

FOLDERS = ("happiness", "sadness")


def draw_images(folder: Path, each: int = 4) -> Path:
    """Write faces of a few strokes: smiles into happiness/, frowns into sadness/; return folder.

    Every image differs, and its file name says which child it is of: two images a child.
    """
    for number in range(2 * each):
        name = FOLDERS[number % 2]
        image = np.full((120, 100, 3), (210, 225, 235), np.uint8)
        colour = (40 + 20 * number, 90, 200 - 20 * number)
        cv2.circle(image, (50, 60), 40, colour, -1)
        for x in (36, 64):
            cv2.circle(image, (x, 48), 5, (20, 20, 20), -1)
        middle, turn = ((50, 66), 0) if name == "happiness" else ((50, 88), 180)
        cv2.ellipse(image, middle, (18, 14), turn, 20, 160, (20, 20, 20), 3)
        cv2.putText(image, str(number), (4, 116), cv2.FONT_HERSHEY_PLAIN, 1, (0, 0, 0))
        place = folder / name / f"child{number // 2}_{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), image)
    return folder
