"""Faces of labelled pictures, small enough for a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from moppet.data.faces import find_manifest_faces
from moppet.data.manifest import Manifest

PICTURE_PX: Final = 96
_JPEG_QUALITY: Final = 85


def face_uris(manifest: Manifest, rows: Sequence[int]) -> dict[int, str]:
    """Return the rows' faces as the model saw them, as data: URIs of JPEGs, by row."""
    if not rows:
        return {}
    crops = find_manifest_faces(manifest.select(rows)).aligned(size=PICTURE_PX)
    found = {}
    for row, crop in zip(rows, crops, strict=True):
        bgr = np.ascontiguousarray(crop[:, :, ::-1])
        done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        assert done, "OpenCV always has JPEG"
        uri = base64.b64encode(jpeg.tobytes()).decode("ascii")
        found[row] = f"data:image/jpeg;base64,{uri}"
    return found
