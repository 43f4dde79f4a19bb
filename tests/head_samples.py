"""Rendered rows and web faces made without rendering, for networks of several heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ferplus_sample import SIDE, VOTE_NAMES, crop_landmarks, draw_face
from moppet.datasets.faces import Faces
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.values import EXPRESSIONS
from moppet.vocabulary import MOVEMENT_CHANNELS, SIDES

BLENDSHAPES = [
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight"),
    *(f"eyeLook{way}{side}" for way in ("Down", "In", "Out", "Up") for side in ("Left", "Right")),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("jawLeft", "jawOpen", "jawRight", "mouthFunnel", "mouthPucker"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "noseSneerLeft", "noseSneerRight"),
    *(
        f"mouth{name}{side}"
        for name in ("Dimple", "Frown", "LowerDown", "Press", "Smile", "Stretch", "UpperUp")
        for side in ("Left", "Right")
    ),
]
TONES = (2, 5, 9)
BANDS = ("infant", "child", "adult")


def draw_open(expression: str, open_: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a face whose mouth opens by a share, (48, 48) gray."""
    image = draw_face(expression, rng)
    cv2.ellipse(image, (24, 38), (6, 1 + round(7 * open_)), 0, 0, 360, 20, -1)
    return image


def write_rendered(folder: Path, n: int = 60, seed: int = 0) -> Path:
    """Write a folder as `moppet synthesize render` does: half to train on, half held back."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    columns: dict[str, list[Any]] = {"path": [], "label": [], "split": [], "age_band": []}
    columns["tone"] = []
    for number in range(n):
        expression, path = EXPRESSIONS[number % 7], f"images/{number}.png"
        opened = float(rng.random())
        gray = draw_open(expression, opened, rng)
        image = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
        cv2.imwrite(str(folder / path), image)
        moved = {f"m_{channel}": 0.0 for channel in MOVEMENT_CHANNELS}
        moved |= {"m_jaw_open": opened, "m_brow_lower_left": float(rng.random())}
        moved |= {f"m_blink_{side}": float(rng.random()) for side in SIDES}
        rows.append({"path": path, **moved})
        values = (path, expression, ("train", "train", "val", "test")[number % 4])
        for key, value in zip(
            columns, (*values, BANDS[number % 3], TONES[number % 3]), strict=True
        ):
            columns[key].append(value)
    pq.write_table(pa.Table.from_pylist(rows), folder / "truth.parquet")
    build_manifest(columns, root=folder).write(folder / "manifest.parquet")
    return folder


def write_web_faces(path: Path, n: int = 20, seed: int = 0) -> Path:
    """Write web faces in one .npz: every fifth row only reports."""
    rng = np.random.default_rng(seed)
    files, shapes = [], np.zeros((n, len(BLENDSHAPES)), np.float16)
    for number in range(n):
        opened = float(rng.random())
        image = cv2.cvtColor(draw_open(EXPRESSIONS[number % 7], opened, rng), cv2.COLOR_GRAY2BGR)
        files.append(np.frombuffer(cv2.imencode(".jpg", image)[1].tobytes(), np.uint8))
        shapes[number, BLENDSHAPES.index("jawOpen")] = opened
    shapes[1] = np.nan
    np.savez(
        path,
        jpeg=np.concatenate(files),
        offset=np.concatenate([[0], np.cumsum([len(file) for file in files])]),
        landmarks_px=np.repeat(crop_landmarks()[None], n, axis=0),
        label=np.array([EXPRESSIONS[i % 7] for i in range(n)]),
        report_only=np.arange(n) % 5 == 0,
        name=np.array([f"{i}.jpg" for i in range(n)]),
        blendshapes=shapes,
        blendshape_names=np.array(BLENDSHAPES),
    )
    return path


def write_blendshapes(path: Path, ferplus: Path, seed: int = 0) -> Path:
    """Write blendshapes for each row of a FER+ file."""
    with np.load(ferplus) as archive:
        n = len(archive["votes"])
    rng = np.random.default_rng(seed)
    shapes = rng.random((n, len(BLENDSHAPES))).astype(np.float16)
    shapes[::7] = np.nan
    np.savez(path, blendshapes=shapes, blendshape_names=np.array(BLENDSHAPES))
    return path


def add_own_labels(ferplus: Path) -> Path:
    """Give a FER+ file FER2013's own label: the expression drawn."""
    with np.load(ferplus) as archive:
        arrays = dict(archive)
    order = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    best = arrays["votes"][:, :7].argmax(axis=1)
    arrays["fer2013_label"] = np.array([order.index(VOTE_NAMES[i]) for i in best], np.int8)
    arrays["label_names"] = np.array(
        ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    )
    np.savez(ferplus, **arrays)
    return ferplus


def marked_faces(manifest: Manifest, **_: Any) -> Faces:
    """The images as they are, with the landmarks of drawn faces."""
    n = len(manifest)
    cuts = [manifest.image(i) for i in range(n)]
    assert all(cut.shape[0] == SIDE for cut in cuts)
    landmarks = np.repeat(crop_landmarks()[None], n, axis=0).astype(np.float32)
    none = np.zeros(n, np.int64)
    return Faces(cuts, landmarks, np.zeros(n, bool), none.astype(np.int8), none + 1)
