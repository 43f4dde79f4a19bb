"""Made-up studies: recordings of a child and a caregiver with a known lag and group difference."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moppet.timeline import OptionalColumns, Timeline, build_timeline
from moppet.timeline.people import People, Person, Piece, layer_origin, people_path
from moppet.values import EXPRESSIONS, GROUPS

FPS = 10
LAG_S = 1.0
MOVEMENTS = ("lip_corner_pull", "blink", "gaze_x")
HAPPY = EXPRESSIONS.index("happiness")


def smile_course(rng: np.random.Generator, n: int, share: float) -> np.ndarray[Any, Any]:
    """(n,) 1 where a face smiles: smiles of 1 to 3 s, in about this share of the time."""
    course, at = np.zeros(n), 0
    while at < n:
        on = int(FPS * rng.uniform(1, 3))
        off = int(on * (1 - share) / share * rng.uniform(0.7, 1.3))
        course[at + off : at + off + on] = 1
        at += on + off
    return course


def dyad(
    rng: np.random.Generator, share: float, seconds: float = 60.0, lag_s: float = LAG_S
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The smiles of a child, and of a caregiver who smiles lag_s later at most times."""
    n = int(seconds * FPS)
    child = smile_course(rng, n, share)
    caregiver = np.roll(child, round(lag_s * FPS))
    own = smile_course(rng, n, 0.15)
    alone = smile_course(rng, n, 0.2) > 0
    return child, np.where(alone, own, caregiver)


def dyad_timeline(
    child: np.ndarray[Any, Any],
    caregiver: np.ndarray[Any, Any],
    rng: np.random.Generator,
    metadata: Mapping[str, Any],
) -> Timeline:
    """A timeline in which face 0 is the child and face 1 the caregiver."""
    rows: list[Any] = []
    for i in range(len(child)):
        for face, course in enumerate((child, caregiver)):
            p = rng.uniform(0.005, 0.02, len(EXPRESSIONS))
            p[HAPPY if course[i] else 0] = 0.9
            movements = (0.8 * course[i] + 0.05, 0.1 if i % 40 else 0.9, 0.7 * np.sin(i / 50))
            box = {"box_x": 60.0 + 200 * face, "box_y": 80.0, "box_w": 60.0, "box_h": 60.0}
            rows.append(
                {
                    **{"frame": i, "time_s": i / FPS, "status": "ok", "face_id": face},
                    **{"quality": 0.9, "p": p / p.sum(), "m": movements, **box},
                }
            )
    about = {
        "moppet_version": "0.2.0",
        "model_name": "default",
        "model_sha256": "ab" * 32,
        "detector": "mtcnn",
        "duration_s": len(child) / FPS,
        "width": 640,
        "height": 480,
        "complete": True,
        "settings": {"every": 1},
        **metadata,
    }
    return build_timeline(
        rows,
        names=EXPRESSIONS,
        group_of=GROUPS,
        metadata=about,
        optional=OptionalColumns(False, MOVEMENTS),
    )


def write_study(
    folder: Path, dyads: int = 4, seconds: float = 60.0, lag_s: float = LAG_S
) -> tuple[Path, Path]:
    """Write results of `dyads` pairs, each in two conditions; return folder and list.

    Children smile in a fifth of the condition "alone" and in half of "play".
    """
    results, rows = folder / "results", []
    for number in range(dyads):
        for condition, share in (("alone", 0.2), ("play", 0.5)):
            rng = np.random.default_rng([number, len(condition)])
            name = f"c{number:02d}/{condition}"
            about = {
                "source_name": f"{condition}.mp4",
                "source_sha256": hashlib.sha256(name.encode()).hexdigest(),
            }
            timeline = dyad_timeline(*dyad(rng, share, seconds, lag_s), rng, about)
            path = results / name / "timeline.parquet"
            path.parent.mkdir(parents=True)
            timeline.write(path)
            people = People(
                (
                    Person(f"Child {number}", "child", (Piece(0),)),
                    Person("Parent", "caregiver", (Piece(1),)),
                )
            )
            origin = layer_origin(timeline)
            people.write(people_path(path), origin["source_sha256"], origin["tracks_sha256"])
            rows.append((f"videos/{name}.mp4", f"{number:02d}", 12 + number, condition))
    listed = folder / "recordings.csv"
    with listed.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "participant", "age_months", "condition"), *rows])
    return results, listed
