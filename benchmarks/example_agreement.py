"""How far the timeline of examples/child.mp4 agrees with the truth it was rendered from.

    python benchmarks/example_agreement.py [-o results/example_agreement.json]

Expressions are compared on frames where the truth holds one (no blends); faces on all frames.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path

import moppet

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output = HERE / "results" / "example_agreement.json"
    parser.add_argument("-o", "--output", type=Path, default=output)
    options = parser.parse_args()
    timeline = moppet.analyze(EXAMPLES / "child.mp4")
    rows = {row["frame"]: row for row in timeline.table.to_pylist()}
    with (EXAMPLES / "child_truth.csv").open(newline="", encoding="utf-8") as file:
        truth = list(csv.DictReader(file))
    faces, read = Counter(), {}
    for frame in truth:
        row = rows[int(frame["frame"])]
        there, found = bool(frame["person"]), row["face_id"] is not None
        faces["found" if there and found else "missed" if there else "invented" * found] += 1
        if frame["held"] == "1" and found:
            seen = read.setdefault(frame["person"], {}).setdefault(frame["expression"], Counter())
            seen[row["expression"]] += 1
    faces.pop("", None)
    held = {
        name: sum((by.get(name, Counter()) for by in read.values()), Counter())
        for name in moppet.EXPRESSIONS
    }
    right = sum(counts[name] for name, counts in held.items())
    total = sum(counts.total() for counts in held.values())
    results = {
        "model": timeline.metadata["model_name"],
        "model_sha256": timeline.metadata["model_sha256"],
        "frames": len(truth),
        "faces": {key: faces[key] for key in ("found", "missed", "invented")},
        "held_frames": total,
        "agreement": round(right / total, 4),
        "by_expression": {
            name: {
                "n": counts.total(),
                "agreement": round(counts[name] / counts.total(), 4),
                "read_as": dict(counts.most_common()),
            }
            for name, counts in held.items()
            if counts
        },
        "by_person": {
            person: {name: dict(counts.most_common()) for name, counts in by.items()}
            for person, by in read.items()
        },
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
