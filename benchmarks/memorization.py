"""How often `moppet quality` raises an alarm: for copies of real faces that were changed in several
ways, and for faces of other people, for which it should not.

    python benchmarks/memorization.py --data path/to/ferplus_dev.npz
    python benchmarks/memorization.py --page-only    # only the table, from the committed results

The faces are children's training faces of FER+. Writes results/memorization.json, which contains no
image, and the table in docs/guides/quality.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from moppet.datasets.faces import find_manifest_faces
from moppet.datasets.hashing import find_near_duplicates, thumbnail
from moppet.datasets.manifest import connect
from moppet.datasets.readers import read_dataset
from moppet.evaluate.memorization import Memorization, find_memorized
from moppet.infer.expression_model import load_model
from moppet.values import Image

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "memorization.json"
PAGE = ROOT / "docs" / "guides" / "quality.md"
START = "<!-- figures: written by benchmarks/memorization.py -->"
END = "<!-- end of figures -->"
FACES, COPIES, HALVES = 1200, 150, 3


def shifted(crop: Image) -> Image:
    moved = cv2.warpAffine(
        crop, np.float32([[1, 0, 4], [0, 1, 4]]), crop.shape[1::-1], borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def blurred(sigma: float) -> Callable[[Image], Image]:
    return lambda crop: np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8)


def noisy(crop: Image) -> Image:
    rng = np.random.default_rng(int(crop.sum()))
    return np.clip(crop + rng.normal(0, 20, crop.shape[:2])[:, :, None], 0, 255).astype(np.uint8)


def mixed(crops: Image) -> Image:
    return np.stack(
        [
            cv2.addWeighted(crop, 0.7, other, 0.3, 0)
            for crop, other in zip(crops, np.roll(crops, 1, axis=0), strict=True)
        ]
    )


CHANGES: dict[str, Callable[[Image], Image]] = {
    "the real faces themselves": lambda crops: crops,
    "mirrored": lambda crops: crops[:, :, ::-1],
    "blurred by 2 of 112 pixels": lambda crops: np.stack([blurred(2)(c) for c in crops]),
    "blurred by 4": lambda crops: np.stack([blurred(4)(c) for c in crops]),
    "with noise of 20 gray levels": lambda crops: np.stack([noisy(c) for c in crops]),
    "shifted by 4 pixels, both ways": lambda crops: np.stack([shifted(c) for c in crops]),
    "mixed with 30 % of another face": mixed,
}


def shares(memory: Memorization) -> dict[str, float]:
    found = {
        "too_near": memory.too_near.mean(),
        "copy": (memory.copy_of >= 0).mean(),
        "either": memory.alarm.mean(),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    if not arguments.page_only:
        text = json.dumps(measure(arguments.data, arguments.model), indent=1)
        RESULTS.write_text(text + "\n", encoding="utf-8")
    write_table(json.loads(RESULTS.read_text(encoding="utf-8")), arguments.page)


def measure(data: Path, model_name: str) -> dict[str, Any]:
    """Return the shares of alarms for each change, and for halves of the real faces."""
    manifest = read_dataset(data)
    bands = manifest.column("age_band").astype(str)
    rows = np.flatnonzero(
        (manifest.column("split") == "train")
        & np.isin(bands, ("infant", "child"))
        & (manifest.labels >= 0)
    )
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(rows, min(FACES, len(rows)), replace=False))
    part = manifest.select(rows)
    crops = find_manifest_faces(part).aligned()
    model = load_model(model_name)

    def memorized(synthetic: Image, real: Image, groups: Any) -> Memorization:
        synthetic = np.ascontiguousarray(synthetic)
        return find_memorized(
            *(model.predict(synthetic).embeddings, model.predict(real).embeddings, groups),
            np.random.default_rng(0),
            synthetic_thumbs=np.stack([thumbnail(crop) for crop in synthetic]),
            real_thumbs=np.stack([thumbnail(crop) for crop in real]),
        )

    found: dict[str, Any] = {}
    groups = part.groups
    # Copies that the data set does not list do not count as other children.
    thumbs = np.stack([thumbnail(crop) for crop in crops])
    pairs = find_near_duplicates(thumbs, known=groups)
    persons = connect(len(crops), [groups.tolist()], pairs.rows)
    found["pairs_across_groups"] = len(pairs.rows)
    chosen = np.sort(rng.choice(len(crops), COPIES, replace=False))
    for name, change in CHANGES.items():
        found[name] = shares(memorized(change(crops[chosen]), crops, groups))
        print(name, found[name], flush=True)
    found["other children"] = []
    for _ in range(HALVES):
        of_person = rng.permutation(persons.max() + 1) < (persons.max() + 1) // 2
        left = of_person[persons]
        one = memorized(crops[left], crops[~left], persons[~left])
        found["other children"].append({"n": int(left.sum()), **shares(one)})
        print("other children", found["other children"][-1], flush=True)
    return {"model": model.name, "sha256": model.sha256, "faces": len(crops), "alarms": found}


def write_table(result: dict[str, Any], page: Path) -> None:
    """Write the table into the guide."""
    alarms = result["alarms"]
    lines = [
        f"Measured on {result['faces']:,} children's training faces of FER+ with the "
        f"{result['model']} model ({result['sha256'][:12]}):",
        "",
        "| synthetic faces | too near | copy | either |",
        "|---|---|---|---|",
    ]
    for name in CHANGES:
        of = alarms[name]
        cells = (f"{of[key]:.0%}".replace("%", " %") for key in ("too_near", "copy", "either"))
        lines.append(f"| {COPIES} of them: {name} | " + " | ".join(cells) + " |")
    halves = alarms["other children"]
    cells = (
        ", ".join(f"{100 * half[key]:.1f}" for half in halves) + " %"
        for key in ("too_near", "copy", "either")
    )
    lines.append(
        f"| other children: {len(halves)} random halves, copies joined first | "
        + " | ".join(cells)
        + " |"
    )
    before, rest = page.read_text(encoding="utf-8").split(START)
    table = "\n".join(lines)
    page.write_text(f"{before}{START}\n\n{table}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
