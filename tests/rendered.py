"""The rendered stills with their truth, turned images, and videos made of frames."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from moppet.values import Face, Floats, Image

FOLDER = Path(__file__).parent / "pictures"


@dataclass(frozen=True)
class Truth:
    """One rendered face: where it is, in the order and signs of `Face`."""

    box_px: Floats
    landmarks_px: Floats
    yaw: float
    pitch: float
    roll: float

    @property
    def eye_distance(self) -> float:
        return float(np.linalg.norm(self.landmarks_px[1] - self.landmarks_px[0]))


@dataclass(frozen=True)
class Still:
    """A rendered image, RGB, and who is in it."""

    name: str
    image: Image
    faces: tuple[Truth, ...]


def read_image(path: Path) -> Image:
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])


def read_stills() -> dict[str, Still]:
    truth = json.loads((FOLDER / "truth.json").read_text(encoding="utf-8"))
    return {
        name: Still(name, read_image(FOLDER / name), tuple(_truth(f) for f in faces))
        for name, faces in truth.items()
    }


def _truth(face: dict) -> Truth:
    box, points = (np.array(face[key], np.float32) for key in ("box_px", "landmarks_px"))
    # The renderer counts pitch down and roll counter-clockwise; `Face` the other way round.
    return Truth(box, points, face["yaw_deg"], -face["pitch_deg"], -face["roll_deg"])


def turned(image: Image, degrees: float) -> tuple[Image, np.ndarray]:
    """Return the image turned clockwise about its middle, whole, and the (2, 3) matrix to it.

    Clockwise as seen: a head's roll grows by `degrees`. What is new repeats the edge.
    """
    height, width = image.shape[:2]
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    size = np.ceil(np.round(np.abs(turn) @ [width, height], 6)).astype(int)
    middle, new_middle = np.array([width - 1, height - 1]) / 2, (size - 1) / 2
    matrix = np.column_stack([turn, new_middle - turn @ middle])
    border = cv2.BORDER_REPLICATE
    return cv2.warpAffine(image, matrix, size.tolist(), borderMode=border), matrix


def moved(points: Floats, matrix: np.ndarray) -> np.ndarray:
    """Return (n, 2) points under a (2, 3) matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def nearest(faces: Iterable[Face], truth: Truth, matrix: np.ndarray | None = None) -> float:
    """Return how far the eyes of the face that fits best are off, in distances between the eyes.

    matrix: from the still to the image that was looked at. Infinite without a face.
    """
    eyes = truth.landmarks_px[:2]
    eyes = eyes if matrix is None else moved(eyes, matrix)
    distance = np.linalg.norm(eyes[1] - eyes[0])
    offs = [np.linalg.norm(face.landmarks_px[:2] - eyes, axis=1).max() for face in faces]
    return float(min(offs, default=np.inf) / distance)


def write_video(path: Path, frames: Iterable[Image], fps: int = 20) -> Path:
    """Write RGB frames of one size as H.264, a frame every 1/fps seconds; return the path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "preset": "fast"})
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for number, image in enumerate(frames):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
