"""The images of the MTCNN golden test; needs no moppet, so that a reference can read them too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
CLIP = REPOSITORY / "examples" / "child.mp4"
STILLS = REPOSITORY / "tests" / "pictures"
EVERY = 8
MIN_FACE_PX = 20


def golden_images() -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and RGB images: frames of the example clip, the stills and their variants."""
    with av.open(str(CLIP)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % EVERY == 0:
                yield f"{CLIP.name}:{number}", frame.to_ndarray(format="rgb24")
    for path in sorted(STILLS.glob("*.jpg")):
        with av.open(str(path)) as container:
            image = next(container.decode(video=0)).to_ndarray(format="rgb24")
        for variant, photo in _variants(image):
            yield f"{path.name}:{variant}", photo


def _variants(image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    height, width = image.shape[:2]
    yield "plain", image
    yield "flipped", np.ascontiguousarray(image[:, ::-1])
    small = (round(width * 0.61), round(height * 0.61))
    yield "small", cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    for degrees in (-15, 15):
        middle = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, -degrees, 1)
        yield (
            f"{degrees:+d}",
            cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE),
        )
