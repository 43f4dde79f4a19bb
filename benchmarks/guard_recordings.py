"""Recordings of invented children whose distress is known, for benchmarks/guard.py.

Each is played from the rendered faces in guard_faces/: a face is held, fades into the next, and
the head sways; sensor noise and slow changes of light come on top.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

FACES = Path(__file__).resolve().parent / "guard_faces"
FPS = 10
FADE_S = 0.4
CALM = ("neutral", "happiness", "surprise")
DISTRESS = ("sadness", "anger", "crying")
NOBODY = "nobody"


@dataclass(frozen=True)
class Scene:
    """A face that is held from start_s to end_s; the fade into it ends the scene before."""

    face: str
    start_s: float
    end_s: float
    distress: bool = False


def children() -> list[str]:
    return sorted({path.stem.rsplit("_", 1)[0] for path in FACES.glob("*.jpg")})


def plan_calm(rng: np.random.Generator, seconds: float) -> list[tuple[str, float, bool]]:
    """Return calm faces, with short frowns (1-2 s) and absences (3-8 s) among them."""
    scenes: list[tuple[str, float, bool]] = []
    left = seconds
    while left > 0:
        draw = rng.random()
        if draw < 0.12:
            face, held = str(rng.choice(DISTRESS)), rng.uniform(1, 2)
        elif draw < 0.2:
            face, held = NOBODY, rng.uniform(3, 8)
        else:
            face, held = str(rng.choice(CALM)), rng.uniform(3, 10)
        if not scenes or scenes[-1][0] != face:
            scenes.append((face, float(held), False))
            left -= held
    return scenes


def plan_recording(rng: np.random.Generator) -> list[Scene]:
    """Return a recording: calm, then each kind of distress once (8-15 s), with calm between.

    A neutral face stands before each distress, so that its begin is not that of a frown.
    """
    parts = plan_calm(rng, 30)
    for face in rng.permutation(DISTRESS):
        parts.append(("neutral", 4.0, False))
        parts.append((str(face), float(rng.uniform(8, 15)), True))
        parts.append(("neutral", 4.0, False))
        parts += plan_calm(rng, 35)
    parts += plan_calm(rng, 60)
    scenes, time_s = [], 0.0
    for face, held_s, distress in parts:
        scenes.append(Scene(face, time_s, time_s + held_s, distress))
        time_s += held_s
    return scenes


def write_recording(path: Path, child: str, scenes: list[Scene], rng: np.random.Generator) -> Path:
    """Write the recording as MPEG-4, which unlike x264 comes out alike every time; return it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.pix_fmt, stream.thread_count, stream.bit_rate = "yuv420p", 1, 2_000_000
        for number, image in enumerate(_images(child, scenes, rng)):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _images(child: str, scenes: list[Scene], rng: np.random.Generator) -> Iterator[np.ndarray]:
    faces = {p.stem.rsplit("_", 1)[1]: cv2.imread(str(p)) for p in FACES.glob(f"{child}_*.jpg")}
    faces = {name: face.astype(np.float32) for name, face in faces.items()}
    wall = next(iter(faces.values()))[:20].mean((0, 1))
    faces[NOBODY] = np.full_like(next(iter(faces.values())), wall)
    phase = rng.uniform(0, 2 * np.pi, 5)
    place = 0
    for number in range(round(scenes[-1].end_s * FPS)):
        time_s = number / FPS
        while time_s >= scenes[place].end_s and place < len(scenes) - 1:
            place += 1
        image = faces[scenes[place].face]
        since_s = time_s - scenes[place].start_s
        if since_s < FADE_S / 2 and place > 0:
            image = _mixed(faces[scenes[place - 1].face], image, 0.5 + since_s / FADE_S)
        left_s = scenes[place].end_s - time_s
        if left_s < FADE_S / 2 and place < len(scenes) - 1:
            image = _mixed(image, faces[scenes[place + 1].face], 0.5 - left_s / FADE_S)
        moved = cv2.warpAffine(
            image, _sway(time_s, phase, image.shape), image.shape[1::-1],
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        light = 1 + 0.08 * np.sin(0.11 * time_s + phase[4])
        noisy = light * moved + rng.normal(0, 3, moved.shape)
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def _mixed(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    return one + np.float32(np.clip(share, 0, 1)) * (other - one)


def _sway(time_s: float, phase: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    a, b, c, d, _ = phase
    angle, zoom = 4 * np.sin(0.7 * time_s + a), 1 + 0.04 * np.sin(0.4 * time_s + b)
    matrix = cv2.getRotationMatrix2D((shape[1] / 2, shape[0] / 2), angle, zoom)
    matrix[:, 2] += 8 * np.sin(0.9 * time_s + c), 5 * np.sin(1.3 * time_s + d)
    return matrix
