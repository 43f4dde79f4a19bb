"""Face detectors: `find_faces` for a picture, `DETECTORS` by name for the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from moppet.infer.detect.mtcnn import Mtcnn
from moppet.infer.detect.view import turn_back
from moppet.infer.detect.yunet import YuNet
from moppet.infer.pose import head_pose
from moppet.infer.quality import face_quality
from moppet.values import Face, Floats, Image, UsageError


class Detector(Protocol):
    """What every detector can do; the contract tests run over all of DETECTORS."""

    name: str

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return each picture's upright faces, the surest first."""
        ...

    def follow(self, image: Image, boxes_px: Floats, roll_deg: Floats) -> list[Face | None] | None:
        """Return the face at each of n ≥ 0 expected places; None if the detector cannot follow."""
        ...


DETECTORS: Final[dict[str, Callable[[Path | None, float | None], Detector]]] = {
    "mtcnn": lambda model, min_face_px: Mtcnn(min_face_px=min_face_px),
    "yunet": lambda model, min_face_px: YuNet(model),
}


def load_detector(
    name: str = "mtcnn", *, model_path: Path | None = None, min_face_px: float | None = None
) -> Detector:
    """Return a detector by name.

    model_path: the model file, for detectors whose model moppet does not carry.
    min_face_px: smallest face looked for, for detectors that search over sizes.
    Raises UsageError for an unknown name.
    """
    if name not in DETECTORS:
        raise UsageError(f"there is no detector {name!r}; there are: {', '.join(DETECTORS)}.")
    return DETECTORS[name](model_path, min_face_px)


def detect_turned(detector: Detector, image: Image) -> list[Face]:
    """Return the faces seen in the picture turned by 90, 270 or 180 degrees: infants lie down.

    The first turn that shows anybody decides. Coordinates are those of the picture as given.
    """
    height, width = image.shape[:2]
    for quarter_turns in (1, 3, 2):
        turned = np.ascontiguousarray(np.rot90(image, quarter_turns))
        faces = detector.detect([turned])[0]
        if faces:
            return [turn_back(face, quarter_turns, height, width) for face in faces]
    return []


def find_faces(
    image: Image,
    *,
    detector: str | Detector = "mtcnn",
    detector_model: Path | None = None,
    min_face_px: float | None = None,
) -> list[Face]:
    """Return the faces in a picture, the surest first, with landmarks, pose and quality.

    image: (height, width, 3) RGB uint8.
    detector: a name in DETECTORS, or one that is loaded already.
    Where nobody is found upright, the picture turned by 90, 180 and 270 degrees is tried.
    Raises UsageError if the image or the detector's name is wrong.
    """
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        shape = getattr(image, "shape", type(image).__name__)
        raise UsageError(f"find_faces needs an RGB image (height, width, 3), got {shape}.")
    if image.dtype != np.uint8:
        raise UsageError(f"find_faces needs uint8 pixels (0 to 255), got {image.dtype}.")
    if isinstance(detector, str):
        detector = load_detector(detector, model_path=detector_model, min_face_px=min_face_px)
    faces = detector.detect([image])[0] or detect_turned(detector, image)
    return [describe(image, face) for face in faces]


def describe(image: Image, face: Face) -> Face:
    """Return the face with its head pose and quality filled in."""
    yaw, pitch, roll = head_pose(face.landmarks_px)
    face = replace(face, yaw=yaw, pitch=pitch, roll=roll)
    return replace(face, quality=face_quality(image, face))
