"""Write tests/golden/mtcnn.json: what the original MTCNN package finds in the golden images.

Run it in a throw-away environment, since the original needs TensorFlow, which moppet never does:

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install mtcnn==1.0.0 tensorflow-cpu joblib lz4 \
        'opencv-python-headless<5' av==18.1.0
    /tmp/reference/bin/python tools/golden_mtcnn.py

tests/test_detect_golden.py compares `moppet.infer.detectors.mtcnn` with it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = REPOSITORY / "tests" / "golden" / "mtcnn.json"
PACKAGES = ("mtcnn", "tensorflow-cpu", "opencv-python-headless", "av", "numpy")

sys.path.insert(0, str(REPOSITORY / "tests"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from golden_images import MIN_FACE_PX, golden_images  # noqa: E402


def main() -> None:
    from mtcnn import MTCNN

    detector = MTCNN(device="CPU:0")
    pictures = {}
    for name, image in golden_images():
        rows = np.asarray(
            detector.detect_faces(
                image,
                fit_to_image=False,
                min_face_size=MIN_FACE_PX,
                output_type="numpy",
                box_format="xyxy",
            )
        ).reshape(-1, 16)
        pictures[name] = {
            "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
            "faces": [_face(row) for row in rows.tolist()],
        }
        print(name, len(rows), flush=True)
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    GOLDEN.parent.mkdir(exist_ok=True)
    text = json.dumps({"made_with": versions, "pictures": pictures}, indent=1)
    GOLDEN.write_text(text + "\n", encoding="utf-8")


def _face(row: list[float]) -> dict[str, object]:
    """Columns: image, x1, y1, x2, y2, score, five x, five y of the landmarks."""
    return {
        "corners_px": [round(v, 3) for v in row[1:5]],
        "score": round(row[5], 5),
        "landmarks_px": [[round(row[6 + i], 3), round(row[11 + i], 3)] for i in range(5)],
    }


if __name__ == "__main__":
    main()
