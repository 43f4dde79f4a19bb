"""Face detectors: `find_faces` for an image, `DETECTORS` by name for the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from moppet.infer.alignment import check_rgb, face_quality, head_pose, turn_back, with_pose
from moppet.infer.detectors.mtcnn import Mtcnn
from moppet.infer.detectors.yunet import YuNet
from moppet.plugins import load_plugins
from moppet.values import Face, Floats, Image, UsageError, name_hint


class Detector(Protocol):
    """The interface of a face detector."""

    name: str

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return the upright faces of each image, highest score first."""
        ...

    def follow(self, image: Image, boxes_px: Floats, roll_deg: Floats) -> list[Face | None] | None:
        """Return the face at each of n ≥ 0 expected boxes; None if tracking is not supported."""
        ...


DETECTORS: Final[dict[str, Callable[[Path | None, float | None], Detector]]] = {
    "mtcnn": lambda model, min_face_px: Mtcnn(min_face_px=min_face_px),
    "yunet": lambda model, min_face_px: YuNet(model),
}


def load_detector(
    name: str = "mtcnn", *, model_path: Path | None = None, min_face_px: float | None = None
) -> Detector:
    """Return a detector by name.

    model_path: the model file, for detectors whose model is not included in moppet.
    min_face_px: smallest face to look for, for detectors with an image pyramid.
    Raises UsageError for an unknown name.
    """
    load_plugins("moppet.detectors", DETECTORS, Callable)
    if name not in DETECTORS:
        raise UsageError(f"there is no detector {name!r}.{name_hint(name, DETECTORS)}")
    return DETECTORS[name](model_path, min_face_px)


def detect_any_way_up(
    detector: Detector, image: Image, upright: Sequence[Face] | None = None
) -> list[Face]:
    """Return the faces in the image as given and rotated by 90, 180 and 270 degrees.

    Infants often lie down. A detector may find a wrong, upright face in a lying head, so all four
    rotations are searched, each detection is checked again with its head turned upright, and only
    the best detection of each head is kept.
    upright: the faces of the image as given, if they are already known.
    Coordinates are those of the image as given. Confirmed faces come first, highest score first.
    """
    height, width = image.shape[:2]
    faces = list(detector.detect([image])[0] if upright is None else upright)
    count_upright = len(faces)
    for quarter_turns in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(image, quarter_turns))
        found = detector.detect([turned])[0]
        faces += [turn_back(face, quarter_turns, height, width) for face in found]
    seconds = _confirm(detector, image, faces)
    confirmed = sorted((f for f in seconds if f is not None), key=lambda face: -face.score)
    # An unconfirmed detection is dropped if it is rotated, and ranks last if it is upright.
    unconfirmed = [f for f, s in zip(faces[:count_upright], seconds, strict=False) if s is None]
    kept: list[Face] = []
    for face in confirmed + unconfirmed:
        if not any(_is_same_head(face, other) for other in kept):
            kept.append(face)
    return kept


def _confirm(detector: Detector, image: Image, faces: list[Face]) -> Sequence[Face | None]:
    boxes = np.array([face.box_px for face in faces], np.float32).reshape(-1, 4)
    rolls = np.nan_to_num([head_pose(face.landmarks_px)[2] for face in faces]).astype(np.float32)
    again = detector.follow(image, boxes, rolls)
    return faces if again is None else again


def _is_same_head(a: Face, b: Face) -> bool:
    """Whether the center of one box is inside the other; rotated detections may overlap little."""
    small, large = sorted((a.box_px, b.box_px), key=lambda box: float(box[2:].prod()))
    middle = small[:2] + small[2:] / 2
    return bool(((large[:2] < middle) & (middle < large[:2] + large[2:])).all())


def find_faces(
    image: Image,
    *,
    detector: str | Detector = "mtcnn",
    detector_model: Path | None = None,
    min_face_px: float | None = None,
) -> list[Face]:
    """Return the faces in an image, most certain first, with landmarks, pose and quality.

    The image is searched upright and turned by 90, 180 and 270 degrees, because infants are
    often filmed lying down.

    Args:
        image: (height, width, 3) RGB uint8.
        detector: "mtcnn", the name of another installed detector, or a loaded detector.
        detector_model: the detector's model file, if it needs one.
        min_face_px: smallest face to look for, in pixels (at least 12); None lets the detector
            choose.

    Raises:
        UsageError: the image has another shape or type, or there is no such detector.

    Examples:
        >>> import av
        >>> import moppet
        >>> frame = next(av.open("examples/child.mp4").decode(video=0))
        >>> faces = moppet.find_faces(frame.to_ndarray(format="rgb24"))
        >>> len(faces)
        1
        >>> faces[0].landmarks_px.shape
        (5, 2)
    """
    check_rgb(image, 3, "find_faces needs an RGB image (height, width, 3)")
    if isinstance(detector, str):
        detector = load_detector(detector, model_path=detector_model, min_face_px=min_face_px)
    faces = [with_pose(face) for face in detect_any_way_up(detector, image)]
    return [replace(face, quality=face_quality(image, face)) for face in faces]
