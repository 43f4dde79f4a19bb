"""Timelines made up for the tests of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from moppet.timeline import Timeline, TimelineSettings, build_timeline
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
