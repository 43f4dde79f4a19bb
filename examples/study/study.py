"""A whole study on made-up dyads: from videos to a methods paragraph.

    python examples/study/study.py my_study               # renders 24 videos: about an hour
    python examples/study/study.py my_study --simulate    # true timelines in place of videos

A child and a caregiver smile in two conditions. Children smile in a fifth of the time "alone" and
in nearly half of "play", and the caregiver smiles 1.2 s after the child: two facts that the study
has to find. In your own study, the videos are yours, and people are named on `moppet serve`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moppet.timeline import Timeline, build_timeline, read_timeline
from moppet.timeline.people import People, Person, Piece, layer_origin, people_path
from moppet.timeline.schema import numbers
from moppet.values import EXPRESSIONS, GROUPS

LAG_S = 1.2
SHARES = {"alone": 0.2, "play": 0.45}
FPS = 12.0
Smile = tuple[float, float]
SCRIPT = """\
name = "{name}"
seconds = {seconds}
fps = {fps}
seed = {seed}
{people}
"""
PERSON = """
[[people]]
name = "{name}"
ages = "{ages}"
tones = [{tone}]
place = {place}
head_degrees = 2.0
"""
ACT = """
[[people.acts]]
show = "smile_duchenne"
start_s = {0:.2f}
end_s = {1:.2f}
"""


def smiles(rng: np.random.Generator, share: float, seconds: float) -> list[Smile]:
    """Return the smiles of a child, 1.5 to 3 s each, in about this share of the time."""
    found, at = [], 0.0
    while True:
        length_s = rng.uniform(1.5, 3.0)
        at += length_s * (1 - share) / share * rng.uniform(0.6, 1.4)
        if at + length_s > seconds - LAG_S:
            return found
        found.append((at, at + length_s))
        at += length_s


def followed(rng: np.random.Generator, child: Sequence[Smile]) -> list[Smile]:
    """Return the caregiver's smiles: after four of five of the child's."""
    return [(start + LAG_S, end + LAG_S) for start, end in child if rng.random() < 0.8]


def write_script(path: Path, number: int, seconds: float, dyad: Sequence[Sequence[Smile]]) -> None:
    """Write a script for `moppet synthesize clip`: the child on the left, the caregiver right."""
    looks = (("child", "1-3", -0.22), ("caregiver", "25-45", 0.22))
    people = ""
    for (name, ages, place), acts in zip(looks, dyad, strict=True):
        people += PERSON.format(name=name, ages=ages, tone=1 + number % 10, place=place)
        people += "".join(ACT.format(*act) for act in acts)
    text = SCRIPT.format(name=path.stem, seconds=seconds, fps=FPS, seed=number, people=people)
    path.write_text(text, encoding="utf-8")


def simulated(name: str, seconds: float, dyad: Sequence[Sequence[Smile]]) -> Timeline:
    """Return the timeline that a perfect reader would write of such a video."""
    rows = []
    for i in range(int(seconds * FPS)):
        time_s = i / FPS
        for face, acts in enumerate(dyad):
            smiling = any(start <= time_s < end for start, end in acts)
            p = np.full(len(EXPRESSIONS), 0.01)
            p[EXPRESSIONS.index("happiness" if smiling else "neutral")] = 0.94
            box = {"box_x": 60.0 + 140 * face, "box_y": 90.0, "box_w": 60.0, "box_h": 70.0}
            row = {"frame": i, "time_s": time_s, "status": "ok", "face_id": face, "quality": 0.9}
            rows.append({**row, **box, "detection_score": 0.99, "p": p})
    about = {
        "source_name": f"{name}.mp4",
        "source_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "model_name": "simulated",
        "detector": "none",
        "duration_s": seconds,
        "complete": True,
        "settings": {"every": 1},
    }
    return build_timeline(rows, names=EXPRESSIONS, group_of=GROUPS, metadata=about)


def name_people(path: Path) -> None:
    """Name the faces by their side, as a person would on the page of `moppet serve`."""
    timeline = read_timeline(path)
    face, x = numbers(timeline.table, "face_id"), numbers(timeline.table, "box_x")
    width = numbers(timeline.table, "box_w")
    middle = float(timeline.metadata.get("width") or 320) / 2
    persons = []
    for name, side in (("Child", "child"), ("Caregiver", "caregiver")):
        known = np.unique(face[~np.isnan(face)]).astype(int).tolist()
        left = [f for f in known if np.nanmedian((x + width / 2)[face == f]) < middle]
        mine = left if side == "child" else [f for f in known if f not in left]
        if mine:
            persons.append(Person(name, side, tuple(Piece(f) for f in mine)))
    origin = layer_origin(timeline)
    People(tuple(persons)).write(
        people_path(path), origin["source_sha256"], origin["tracks_sha256"]
    )


def moppet(*words: object) -> None:
    """Run a command, and print it."""
    print("moppet", *words, flush=True)
    subprocess.run([sys.executable, "-m", "moppet", *map(str, words)], check=True)


def make_recordings(folder: Path, participants: int, seconds: float, simulate: bool) -> Path:
    """Write videos/ and the list of recordings, or results/ if simulated; return the list."""
    rows, videos = [], folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    for number in range(participants):
        for condition, share in SHARES.items():
            rng = np.random.default_rng([number, len(condition)])
            child = smiles(rng, share, seconds)
            dyad = (child, followed(rng, child))
            name = f"p{number:02d}_{condition}"
            rows.append((f"videos/{name}.mp4", f"{number:02d}", 12 + number, condition))
            if simulate:
                path = folder / "results" / name / "timeline.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                simulated(name, seconds, dyad).write(path)
            else:
                script = folder / f"{name}.toml"
                write_script(script, number, seconds, dyad)
                moppet("synthesize", "clip", script, "-o", videos / f"{name}.mp4")
    listed = folder / "recordings.csv"
    with listed.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "participant", "age_months", "condition"), *rows])
    return listed


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the recordings, analyze them, and run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--participants", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--simulate", action="store_true", help="no videos: true timelines")
    parser.add_argument("--surrogates", type=int, default=100)
    parser.add_argument("--no-figures", action="store_true")
    given = parser.parse_args(arguments)
    folder, study = given.folder, given.folder / "study"
    listed = make_recordings(folder, given.participants, given.seconds, given.simulate)
    if not given.simulate:
        videos = sorted((folder / "videos").glob("*.mp4"))
        moppet("analyze", *videos, "-o", folder / "results")
    for path in sorted((folder / "results").rglob("timeline.parquet")):
        name_people(path)
    plain = ["--no-figures"] if given.no_figures else []
    moppet("gather", folder / "results", "-o", study, "--recordings", listed)
    moppet("summarize", study, "--by", "condition,role", "--label", "happiness", *plain)
    moppet(
        *("dyads", study, "--label", "happiness", "--within", "condition", *plain),
        *("--surrogates", given.surrogates),
    )
    moppet("methods", study)


if __name__ == "__main__":
    main()
