"""Clips whose distress is known, as timelines only: nothing is rendered or read."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from model_folder import MOVEMENTS
from moppet.timeline import OptionalColumns, Timeline, build_timeline
from moppet.values import EXPRESSIONS, GROUPS

FPS = 5.0
DISTRESS = ((12.0, 22.0), (36.0, 46.0))
SECONDS = 60.0
SHA256 = "0" * 64


def is_distress(time_s: float) -> bool:
    return any(start <= time_s < end for start, end in DISTRESS)


def child_timeline(
    child: int, *, display: bool = False, measures: bool = True, sha256: str = SHA256
) -> Timeline:
    """A child's timeline: calm faces differ from child to child, distress lowers the brows.

    The observers' reading knows nothing of it, the display reading half of it.
    """
    rng = np.random.default_rng(child)
    resting = rng.uniform(0.0, 0.4)
    rows: list[Any] = []
    for i in range(round(SECONDS * FPS)):
        time_s, sad = i / FPS, is_distress(i / FPS)
        brow = np.clip(resting + 0.45 * sad + rng.normal(0, 0.03), 0, 1)
        movements = dict.fromkeys(MOVEMENTS, 0.1) | {"brow_lower": brow}
        row = {"frame": i, "time_s": time_s, "face_id": int(time_s >= 30), "status": "ok"}
        row |= dict.fromkeys(("box_x", "box_y", "detection_score"), 0.9)
        row |= {"box_w": 50.0, "box_h": 50.0, "yaw": 0.0, "pitch": 0.0, "roll": 0.0, "quality": 0.9}
        row |= {"p": _shares(rng.uniform(0.1, 0.3)), "d": _shares(rng.uniform(0, 0.5) + 0.3 * sad)}
        row |= {"m": [movements[name] for name in MOVEMENTS]}
        rows.append(row)
    optional = OptionalColumns(display, MOVEMENTS if measures else ())
    metadata = {"model_sha256": sha256, "source_name": f"{child:03}.mp4"}
    return build_timeline(
        rows, names=EXPRESSIONS, group_of=GROUPS, metadata=metadata, optional=optional
    )


def _shares(negative: float) -> list[float]:
    return [1 - negative, 0.0, negative / 2, 0.0, 0.0, 0.0, negative / 2]


def truth_timeline() -> Timeline:
    rows: list[Any] = []
    for i in range(round(SECONDS * FPS)):
        p = [
            float(name == ("anger" if is_distress(i / FPS) else "neutral")) for name in EXPRESSIONS
        ]
        row = {"frame": i, "time_s": i / FPS, "face_id": 0, "status": "ok", "p": p}
        rows.append(row | {"quality": 1.0, "box_w": 50.0, "box_h": 50.0})
    return build_timeline(rows, names=EXPRESSIONS, group_of=GROUPS)


def write_clips(folder: Path, timelines: Path, count: int = 6, **about: Any) -> Path:
    """Write a folder of clips, the last half only for reporting, and their timelines."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = truth_timeline()
    columns = ("video", "truth", "split", "face_id", "name", "age_years", "skin_tone")
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        for child in range(count):
            name, split = f"{child:03}", "val" if child < count / 2 else "test"
            table.writerow([f"{name}.mp4", f"{name}.truth.parquet", split, 0, "child", child, 5])
            truth.write(folder / f"{name}.truth.parquet")
            (timelines / name).mkdir(parents=True, exist_ok=True)
            child_timeline(child, **about).write(timelines / name / "timeline.parquet")
    return folder
