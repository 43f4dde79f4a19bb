"""Timelines made up for the tests of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from moppet.timeline import OptionalColumns, Timeline, TimelineSettings, build_timeline
from moppet.values import EXPRESSIONS, GROUPS

FPS = 25


def make_row(frame: int, time_s: float, p: Sequence[float] | None = None, **more: Any) -> Any:
    """One raw row: a face if there are probabilities."""
    row: dict[str, Any] = {"frame": frame, "time_s": time_s, "status": "no_face"}
    if p is not None:
        box = {"box_x": 100.0, "box_y": 80.0, "box_w": 60.0, "box_h": 60.0}
        row |= {"status": "ok", "face_id": 0, "quality": 0.9, "p": p, **box}
    return row | more


def make_timeline(rows: list[Any], **options: Any) -> Timeline:
    """A timeline with the metadata that an analysis leaves."""
    metadata = {
        "moppet_version": "0.1.0",
        "model_name": "default",
        "model_sha256": "ab" * 32,
        "detector": "mtcnn",
        "source_name": "child.mp4",
        "source_sha256": "cd" * 32,
        "duration_s": 20.0,
        "frame_count": len({row["frame"] for row in rows}),
        "width": 1280,
        "height": 720,
        "complete": True,
        "settings": {"every": 1},
        **options.pop("metadata", {}),
    }
    options = {"names": EXPRESSIONS, "group_of": GROUPS, "settings": TimelineSettings(), **options}
    return build_timeline(rows, metadata=metadata, **options)


def drift(times: np.ndarray[Any, Any], seed: int, hold_s: float = 2.5) -> np.ndarray[Any, Any]:
    """Probabilities (n, 7) that hold an expression for a while and then turn to another."""
    rng = np.random.default_rng(seed)
    n_holds = int(times[-1] / hold_s) + 2
    weights = (0.4, 0.25, 0.12, 0.1, 0.05, 0.03, 0.05)
    targets = rng.choice(len(EXPRESSIONS), size=n_holds, p=weights)
    strength = rng.uniform(0.8, 4.0, size=n_holds)
    logits = rng.normal(0, 0.25, size=(len(times), len(EXPRESSIONS)))
    logits[:, 0] += 0.8
    phase = times / hold_s
    before = phase.astype(int)
    ease = np.clip((phase - before) * 4, 0, 1)
    for hold, share in ((before, 1 - ease), (before + 1, ease)):
        logits[np.arange(len(times)), targets[hold]] += strength[hold] * share
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def two_people() -> Timeline:
    """20 s: face 0 leaves from 8 to 10.5 s and is blurred from 14 to 16 s; face 1 from 5 to 17 s.

    From 18 to 18.4 s the images cannot be read.
    """
    times = np.arange(20 * FPS) / FPS
    first, second = drift(times, 1), drift(times, 2)
    rows = []
    for i, t in enumerate(times.tolist()):
        found = []
        if 18 <= t < 18.4:
            rows.append(make_row(i, t, status="unreadable"))
            continue
        if not 8 <= t < 10.5:
            blurred = 14 <= t < 16
            status, quality = ("low_quality", 0.2) if blurred else ("ok", 0.9)
            found.append(make_row(i, t, first[i], status=status, quality=quality))
        if 5 <= t < 9 or 10 <= t < 17:
            found.append(make_row(i, t, second[i], face_id=1))
        rows += found or [make_row(i, t)]
    return make_timeline(rows)


def long_recording(seconds: float = 3600, faces: int = 1, fps: float = 30) -> Timeline:
    """A long recording with a spike of fear in one frame, in the middle of it; unsmoothed."""
    times = np.arange(math.ceil(seconds * fps)) / fps
    curves = [drift(times, 10 + face, 4.0) for face in range(faces)]
    spike = len(times) // 2
    curves[0][spike] = [0.02, 0.01, 0.01, 0.01, 0.93, 0.01, 0.01]
    rows = []
    for i, t in enumerate(times.tolist()):
        away = int(t) % 97 < 9
        for face, curve in enumerate(curves):
            if not away or face:
                rows.append(make_row(i, t, curve[i], face_id=face))
        if away and faces == 1:
            rows.append(make_row(i, t))
    options = {"duration_s": float(seconds), "source_name": "long <session> & more.mp4"}
    return make_timeline(rows, settings=TimelineSettings(smooth_s=0), metadata=options)


SIDED = ("outer_brow_raise", "brow_lower", "lip_corner_pull", "blink")
MOVED = tuple(
    name + side
    for name in (
        *("inner_brow_raise", "outer_brow_raise", "brow_lower", "cheek_raise", "lid_tighten"),
        *("nose_wrinkle", "upper_lip_raise", "lip_corner_pull", "lip_corner_depress"),
        *("chin_raise", "lip_stretch", "lip_press", "jaw_open", "blink", "gaze_x", "gaze_y"),
    )
    for side in (("", "_left", "_right") if name in SIDED else ("",))
)
"""Movements of a made-up model that measures many."""
_SHOWN_IN: dict[str, tuple[str, ...]] = {
    "inner_brow_raise": ("sadness", "fear", "surprise"),
    "outer_brow_raise": ("surprise", "fear"),
    "brow_lower": ("anger", "sadness", "disgust"),
    "cheek_raise": ("happiness",),
    "lid_tighten": ("anger", "disgust"),
    "nose_wrinkle": ("disgust",),
    "upper_lip_raise": ("disgust", "sadness"),
    "lip_corner_pull": ("happiness",),
    "lip_corner_depress": ("sadness",),
    "chin_raise": ("sadness", "anger"),
    "lip_stretch": ("fear",),
    "lip_press": ("anger",),
    "jaw_open": ("surprise", "happiness"),
}


def movements_of(times: np.ndarray[Any, Any], p: np.ndarray[Any, Any], seed: int) -> Any:
    """Movements (n, m) that fit the expressions, with a blink every 3 s or so and moving eyes."""
    rng = np.random.default_rng(seed)
    blinking = np.zeros(len(times))
    for start in np.cumsum(rng.uniform(1.5, 4.5, size=int(times[-1] / 2) + 2)):
        blinking = np.maximum(blinking, np.exp(-(((times - start) / 0.08) ** 4)))
    columns = []
    for name in MOVED:
        base = name.removesuffix("_left").removesuffix("_right")
        if base in ("gaze_x", "gaze_y"):
            value = 0.7 * np.sin(times * (0.9 if base == "gaze_x" else 0.5) + seed)
        elif base == "blink":
            value = np.maximum(0.06, 0.95 * blinking)
        else:
            places = [EXPRESSIONS.index(one) for one in _SHOWN_IN[base]]
            value = p[:, places].sum(axis=1)
        side = 0.6 if name.endswith("_right") and base == "lip_corner_pull" else 1.0
        noise = rng.normal(0, 0.02, size=len(times))
        columns.append(np.clip(side * value + noise, -1 if "gaze" in base else 0, 1))
    return np.stack(columns, axis=1)


def moving_people(seconds: float = 20, reading: Any = "both", **metadata: Any) -> Timeline:
    """The two people of `two_people`, with a display reading that is surer, and movements."""
    times = np.arange(int(seconds * FPS)) / FPS
    found = {}
    for face in (0, 1):
        p = drift(times, face + 1)
        sharp = p**1.6
        d = sharp / sharp.sum(axis=1, keepdims=True)
        found[face] = p, d, movements_of(times, p, face)
    rows = []
    for i, t in enumerate(times.tolist()):
        shown = [0] * (not 8 <= t < 10.5) + [1] * (5 <= t < 9 or 10 <= t < 17)
        for face in shown:
            p, d, m = (values[i] for values in found[face])
            blurred = face == 0 and 14 <= t < 16
            quality = {"status": "low_quality", "quality": 0.2} if blurred else {}
            rows.append(make_row(i, t, p, face_id=face, d=d, m=m, **quality))
        if not shown:
            rows.append(make_row(i, t))
    return make_timeline(
        rows,
        settings=TimelineSettings(reading=reading),
        optional=OptionalColumns(reading != "observers", MOVED),
        metadata={"duration_s": float(seconds), **metadata},
    )
