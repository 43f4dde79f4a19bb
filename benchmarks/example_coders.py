"""`moppet compare` on examples/child.mp4, its truth made into the codes of two imagined coders.

    python benchmarks/example_coders.py [-o example_coders]

The first marks every change 0.15 s late, the second 0.1 s early; both in words of their own.
Writes the timeline, the coders' files in every format, and what `moppet compare` writes.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import moppet
from moppet.coders import PROGRAMS, Code, Coding, Lane, write_program

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
WORDS = {"neutral": "calm", "happiness": "smile", "surprise": "surprised", "sadness": "sad"}
FRAME_S = 1 / 12


def read_codes(person: str, late_s: float) -> tuple[Code, ...]:
    """Return the person's true expressions as codes, their edges moved by late_s."""
    codes: list[Code] = []
    with (EXAMPLES / "child_truth.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["person"] == person]
    for row in rows:
        label = WORDS[row["expression"]]
        start_s = max(0.0, float(row["time_s"]) + late_s)
        end_s = float(row["time_s"]) + late_s + FRAME_S
        if codes and codes[-1].label == label:
            start_s = codes.pop().start_s
        codes.append(Code(start_s, end_s, label))
    return tuple(codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("example_coders"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    timeline = moppet.analyze(EXAMPLES / "child.mp4").write(folder / "timeline.parquet")
    for name, late_s in (("coder1", 0.15), ("coder2", -0.1)):
        lane = Lane("expression", read_codes("A", late_s), "child")
        for program in PROGRAMS:
            write_program(Coding((lane,), "child.mp4", 19.7, 12.0), folder, name, program)
    run = [sys.executable, "-c", "from moppet.commands.main import main; main()", "compare"]
    files = [timeline, folder / "coder1.eaf", folder / "coder2.opf"]
    subprocess.run([*run, *files, "--face", "0", "-o", folder], check=True)


if __name__ == "__main__":
    main()
