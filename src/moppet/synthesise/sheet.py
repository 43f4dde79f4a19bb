"""A picture of what is made, a band of faces for each class; written only where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from moppet.values import Image, UsageError

COLUMNS: Final = 12
_TITLE_PX: Final = 18
_GAP_PX: Final = 2


def write_sheet(bands: Mapping[str, Sequence[Image]], path: Path, *, side: int = 0) -> None:
    """Write a .png: for each class its name and its faces below, twelve in a row.

    bands: title → (h, w) grey or (h, w, 3) RGB uint8. side: of each face; 0 for its own, or 96
        where that is smaller.
    Raises UsageError if there is nothing to show or the file cannot be written.
    """
    if not any(len(band) for band in bands.values()):
        raise UsageError("a sheet needs at least one picture, got none.")
    if path.suffix.lower() != ".png":
        raise UsageError(f"a sheet is written as .png, but {path.name!r} is not.")
    side = side or max(96, *(band[0].shape[0] for band in bands.values() if len(band)))
    rows = [part for title, band in bands.items() for part in _band(title, band, side)]
    _, data = cv2.imencode(".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise UsageError(f"the sheet cannot be written to {path}: {error.strerror}.") from None


def _band(title: str, band: Sequence[Image], side: int) -> list[Image]:
    step = side + _GAP_PX
    head = np.full((_TITLE_PX, COLUMNS * step, 3), 255, np.uint8)
    text = title.encode("ascii", "replace").decode()
    cv2.putText(head, text, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    parts = [head]
    for start in range(0, len(band), COLUMNS):
        row = np.full((step, COLUMNS * step, 3), 255, np.uint8)
        for at, picture in enumerate(band[start : start + COLUMNS]):
            colour = np.repeat(picture[:, :, None], 3, 2) if picture.ndim == 2 else picture
            shrinks = colour.shape[0] > side
            flags = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
            row[:side, at * step : at * step + side] = cv2.resize(
                colour, (side, side), interpolation=flags
            )
        parts.append(row)
    return parts
