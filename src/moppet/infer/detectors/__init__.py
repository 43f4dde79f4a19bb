"""Face detectors: `find_faces` for an image, `DETECTORS` by name for the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from moppet.infer.alignment import head_pose, turn_back
from moppet.infer.detectors.mtcnn import Mtcnn
from moppet.infer.detectors.yunet import YuNet
from moppet.infer.face_quality import face_quality
from moppet.plugins import load_plugins
from moppet.values import Face, Floats, Image, UsageError, name_hint


class Detector(Protocol):
    """What every detector can do; the contract tests run over all of DETECTORS."""

    name: str

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return each image's upright faces, the surest first."""
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
    load_plugins("moppet.detectors", DETECTORS, Callable)
    if name not in DETECTORS:
        raise UsageError(f"there is no detector {name!r}.{name_hint(name, DETECTORS)}")
    return DETECTORS[name](model_path, min_face_px)


def detect_any_way_up(
    detector: Detector, image: Image, upright: Sequence[Face] | None = None
) -> list[Face]:
    """Return the faces seen in the image as it is and turned by 90, 180 and 270 degrees.

    Infants lie down. A detector often sees a wrong, upright face in a lying head, so all four
    turns are searched, every sighting is looked at again with its head set upright, and of the
    sightings of one head the surest is kept.
    upright: the faces of the image as it is, if they are known already.
    Coordinates are those of the image as given; confirmed faces come first, the surest first.
    """
    height, width = image.shape[:2]
    faces = list(detector.detect([image])[0] if upright is None else upright)
    count_upright = len(faces)
    for quarter_turns in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(image, quarter_turns))
        found = detector.detect([turned])[0]
        faces += [turn_back(face, quarter_turns, height, width) for face in found]
    seconds = _look_again(detector, image, faces)
    confirmed = sorted((f for f in seconds if f is not None), key=lambda face: -face.score)
    # An upright sighting that does not stand a second look yields to any that does, a turned one
    # does not count.
    doubtful = [f for f, s in zip(faces[:count_upright], seconds, strict=False) if s is None]
    kept: list[Face] = []
    for face in confirmed + doubtful:
        if not any(_is_same_head(face, other) for other in kept):
            kept.append(face)
    return kept


def _look_again(detector: Detector, image: Image, faces: list[Face]) -> Sequence[Face | None]:
    boxes = np.array([face.box_px for face in faces], np.float32).reshape(-1, 4)
    rolls = np.nan_to_num([head_pose(face.landmarks_px)[2] for face in faces]).astype(np.float32)
    again = detector.follow(image, boxes, rolls)
    return faces if again is None else again


def _is_same_head(a: Face, b: Face) -> bool:
    """Whether one box's middle lies in the other: turned sightings of a head overlap loosely."""
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
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        shape = getattr(image, "shape", type(image).__name__)
        raise UsageError(f"find_faces needs an RGB image (height, width, 3), got {shape}.")
    if image.dtype != np.uint8:
        raise UsageError(f"find_faces needs uint8 pixels (0 to 255), got {image.dtype}.")
    if isinstance(detector, str):
        detector = load_detector(detector, model_path=detector_model, min_face_px=min_face_px)
    return [describe(image, face) for face in detect_any_way_up(detector, image)]


def describe(image: Image, face: Face) -> Face:
    """Return the face with its head pose and quality filled in."""
    yaw, pitch, roll = head_pose(face.landmarks_px)
    face = replace(face, yaw=yaw, pitch=pitch, roll=roll)
    return replace(face, quality=face_quality(image, face))
