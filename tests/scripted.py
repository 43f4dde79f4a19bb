"""A scripted detector: every image bears its frame number, the script says who stands where.

So what a `FaceReader` makes of the faces is known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from moppet.infer.alignment import TEMPLATE_PX
from moppet.infer.expression_model import ExpressionModel
from moppet.infer.face_reader import FaceReader, ReaderSettings
from moppet.infer.tracking import overlap
from moppet.values import Face, Frame

FPS = 20
WIDTH, HEIGHT = 640, 240
NOISE = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
Script = Callable[[float], dict[str, tuple[float, float] | None]]


def make_face(x: float, y: float, side: float = 100, score: float = 0.99) -> Face:
    """A face whose box has its middle at (x, y)."""
    corner = np.array([x - side / 2, y - side / 2], np.float32)
    landmarks = TEMPLATE_PX * np.float32(side / 112) + corner
    return Face(np.array([*corner, side, side], np.float32), landmarks, score)


def make_frame(index: int, status: str = "ok") -> Frame:
    if status != "ok":
        return Frame(index, index / FPS, None, status)
    image = NOISE.copy()
    image[0, 0] = index % 256, index // 256, 0
    return Frame(index, index / FPS, image)


def is_upright(image: np.ndarray) -> bool:
    """Whether the image is as `make_frame` made it: not turned to look for lying heads."""
    return image.shape == (HEIGHT, WIDTH, 3) and bool((image[1, 1] == NOISE[1, 1]).all())


class ScriptedDetector:
    """Sees the people of a script; who stands behind somebody (script's order) is not seen."""

    name = "scripted"

    def __init__(self, script: Script, *, follows: bool = True) -> None:
        self.script, self.follows = script, follows
        self.searched: list[int] = []
        self.followed: list[int] = []

    def visible(self, image: np.ndarray) -> list[Face]:
        index = int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])
        faces: list[Face] = []
        for place in self.script(index / FPS).values():
            face = None if place is None else make_face(*place)
            if face and all(overlap(face.box_px, f.box_px) < 0.5 for f in faces):
                faces.append(face)
        return faces

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        for image in images:
            if is_upright(image):
                self.searched.append(int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]))
        upright = [is_upright(image) for image in images]
        return [
            self.visible(image) if up else [] for image, up in zip(images, upright, strict=True)
        ]

    def follow(self, image, boxes_px, roll_deg):
        if not self.follows:
            return None
        self.followed.append(int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]))
        faces = self.visible(image)
        found = []
        for box in boxes_px:
            best = max(faces, key=lambda face: overlap(face.box_px, box), default=None)
            found.append(best if best and overlap(best.box_px, box) > 0.15 else None)
        return found


def read(
    model: ExpressionModel,
    script: Script,
    frames,
    chunk: int = 10,
    follows: bool = True,
    **settings,
):
    """The rows of all frames, read in chunks, and the detector that was asked."""
    detector = ScriptedDetector(script, follows=follows)
    reader = FaceReader(detector, model, ReaderSettings(**settings))
    rows = []
    for start in range(0, len(frames), chunk):
        rows += reader.read(frames[start : start + chunk])
    return rows, detector


def ids_at(rows, script: Script) -> dict[str, list[int | None]]:
    """Each person's number over the frames: of the row whose box is theirs, None without one."""
    by_frame = {}
    for row in rows:
        by_frame.setdefault(row["frame"], []).append(row)
    ids: dict[str, list[int | None]] = {}
    for frame in sorted(by_frame):
        for person, place in script(frame / FPS).items():
            at = [
                row["face_id"]
                for row in by_frame[frame]
                if place and "box_x" in row
                and np.hypot(
                    row["box_x"] + row["box_w"] / 2 - place[0],
                    row["box_y"] + row["box_h"] / 2 - place[1],
                ) < 1
            ]  # fmt: skip
            ids.setdefault(person, []).append(at[0] if at else None)
    return ids


def one_person(present: Callable[[float], bool] = lambda t: True) -> Script:
    return lambda t: {"anna": (200 + 30 * t, 120) if present(t) else None}
