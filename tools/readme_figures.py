"""Write the README's figures from committed results; `--check` fails if they are out of date.

python tools/readme_figures.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
START = "<!-- figures: made by tools/readme_figures.py from committed results -->"
END = "<!-- end of figures -->"


def read(path: str) -> dict[str, Any]:
    return dict(json.loads((ROOT / path).read_text(encoding="utf-8")))


def estimate(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f}, n = {figure['n']})"


def figures() -> str:
    """Return the block as Markdown."""
    model = read("src/moppet/models/default/figures.json")
    aligned = model["aligned"]
    agreement = read("benchmarks/results/example_agreement.json")
    speed = read("benchmarks/results/speed.json")
    clip = speed["clips"]["640×480, 1 face"]
    spent, decoding = (clip[row]["cpu_ms_per_frame"] for row in ("analyze", "decode"))
    faces = agreement["faces"]
    lines = [
        "| default model on FER+ test rows, faces detected and aligned | |",
        "|---|---|",
        f"| accuracy, seven expressions | {estimate(aligned['all']['accuracy'])} |",
        f"| … infants (about 0-3 years) | {estimate(aligned['infant']['accuracy'])} |",
        f"| … children (about 4-12 years) | {estimate(aligned['child']['accuracy'])} |",
        f"| a single human rater, against the plurality | {estimate(model['human']['all'])} |",
        f"| macro-F1 | {estimate(aligned['all']['macro_f1'])} |",
        f"| calibration error | {estimate(aligned['all']['ece'])} |",
        "",
        f"In the rendered example video, {agreement['agreement']:.0%} of the "
        f"{agreement['held_frames']} frames that hold an expression are read correctly; faces were "
        f"found in {faces['found']} frames, missed in {faces['missed']} and invented in "
        f"{faces['invented']}. Analyzing every frame of 640x480 video takes "
        f"{spent:.1f} ms of one CPU per frame, {spent / decoding:.1f} times as long as decoding "
        "alone ([docs/reference/speed.md](docs/reference/speed.md)). More: "
        "[docs/models/default.md](docs/models/default.md), "
        "[benchmarks/results](benchmarks/results).",
    ]
    return "\n".join(lines)


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(START)
    _, after = rest.split(END)
    made = f"{before}{START}\n\n{figures()}\n\n{END}{after}"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if made == text else "README.md is out of date: run tools/readme_figures.py.")
    readme.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
