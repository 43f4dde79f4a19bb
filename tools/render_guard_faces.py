"""Render the faces that benchmarks/guard.py plays: six invented children, six faces each.

The children are those of render_example.py; the images (CC0) are kept in the repository, so
this is only needed to make them anew (what is there is kept), with what render_example.py needs:

    python tools/render_guard_faces.py --sketch ../shared/prototypes/render
"""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from render_example import (
    CHILD_A,
    CHILD_ASIAN,
    CHILD_B,
    CHILD_DARK,
    REPOSITORY,
    TODDLER_DARK,
    TODDLER_LIGHT,
    mix,
)
from rendered_person import EXPRESSIONS, Shot, backdrop, composite, render_shot

SIZE = (320, 320)
CHILDREN = (TODDLER_LIGHT, TODDLER_DARK, CHILD_A, CHILD_ASIAN, CHILD_DARK, CHILD_B)
FACES: dict[str, dict[str, Any]] = {
    **EXPRESSIONS,
    "anger": {"B": (-0.03, 0.02, 0.15), "AU4": 0.4, "AU7": 0.5, "AU5": 0.3, "AU23": 1.0,
              "AU38": 1.0, "AU9": 0.4, "AU15b": 0.5, "AU17": 0.4},
    # A cry as babies' faces are coded: brows knit, eyes squeezed, mouth open and stretched.
    "crying": {"B": (0.04, -0.02, 0.16), "AU4": 0.4, "AU6": 1.2, "AU7": 1.0, "AU43": 0.75,
               "AU9": 0.6, "AU10": 0.6, "AU11": 0.8, "AU20": 0.8, "AU25": 0.7, "AU26": 0.7,
               "AU15b": 0.9},
}  # fmt: skip
LESS = 0.65  # small flat faces need less strength, or the lip covers the nose
LESS_FOR = {("child_asian", "happiness"), *((c, f) for c in ("toddler_light", "toddler_dark")
                                            for f in FACES)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sketch", type=Path, default=REPOSITORY / "../shared/prototypes/render",
                        help="the folder with synthface.py")  # fmt: skip
    folder = REPOSITORY / "benchmarks" / "guard_faces"
    parser.add_argument("--out", type=Path, default=folder, help="the images' folder")
    parser.add_argument("--samples", type=int, default=32, help="light paths a pixel")
    arguments = parser.parse_args()
    if not (arguments.sketch / "synthface.py").exists():
        parser.error(f"No synthface.py in {arguments.sketch}. Name its folder with --sketch.")
    sys.path.insert(0, str(arguments.sketch))
    os.environ.setdefault("SF_VARIANT", "scalar_rgb")
    sf = importlib.import_module("synthface")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for number, child in enumerate(CHILDREN):
        wall, maps = backdrop(SIZE, (0.42, 0.4, 0.36), seed=number), {}
        for name, units in FACES.items():
            path = arguments.out / f"{child.name}_{name}.jpg"
            if path.exists():
                continue
            strength = LESS if (child.name, name) in LESS_FOR else 1.0
            shot = Shot(child, mix({}, units, strength), yaw=5.0 * (-1) ** number, zoom=0.9,
                        shift=(0.0, 0.04))  # fmt: skip
            layer, _ = render_shot(sf, shot, SIZE, arguments.samples, maps)
            image = np.ascontiguousarray(composite(sf, [layer], wall)[..., ::-1])
            cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
            print(path.name, flush=True)


if __name__ == "__main__":
    main()
