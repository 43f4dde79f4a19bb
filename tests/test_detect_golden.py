"""Our MTCNN against the original package; `tools/golden_mtcnn.py` makes the figures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from golden_images import MIN_FACE_PX, golden_images
from moppet.infer.detectors.mtcnn import Mtcnn
from moppet.infer.tracking import overlap
from moppet.values import Face

GOLDEN = json.loads((Path(__file__).parent / "golden" / "mtcnn.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[list[Face], bool]]:
    """Each image's faces, and whether its pixels are those that the reference saw."""
    detector = Mtcnn(min_face_px=MIN_FACE_PX)
    return {
        name: (
            detector.detect([image])[0],
            hashlib.sha256(image.tobytes()).hexdigest() == GOLDEN["pictures"][name]["sha256"],
        )
        for name, image in golden_images()
    }


def test_the_reference_saw_the_same_images_and_faces_in_fifty_of_them(found):
    assert found.keys() == GOLDEN["pictures"].keys()
    assert sum(bool(image["faces"]) for image in GOLDEN["pictures"].values()) >= 50
    assert any(len(image["faces"]) >= 3 for image in GOLDEN["pictures"].values())
    assert any(not image["faces"] for image in GOLDEN["pictures"].values())


def test_every_face_of_the_original_mtcnn_is_found_in_the_same_place(found):
    overlaps, offs, scores = [], [], []
    for name, (faces, _) in found.items():
        expected = GOLDEN["pictures"][name]["faces"]
        assert len(faces) == len(expected), name
        free = list(faces)
        for reference in expected:
            x1, y1, x2, y2 = reference["corners_px"]
            box = np.array([x1, y1, x2 - x1, y2 - y1], np.float32)
            face = max(free, key=lambda f: overlap(f.box_px, box))
            free = [other for other in free if other is not face]
            landmarks = np.array(reference["landmarks_px"])
            overlaps.append(overlap(face.box_px, box))
            offs.append(float(np.linalg.norm(face.landmarks_px - landmarks, axis=1).max()))
            scores.append(abs(face.score - reference["score"]))
            assert overlaps[-1] >= 0.95 and offs[-1] <= 2, name
    alike = sum(same for _, same in found.values())
    print(
        f"\n{len(overlaps)} faces in {len(found)} images ({alike} with the very pixels that the "
        f"reference saw): least overlap {min(overlaps):.4f}, landmarks at most {max(offs):.3f} "
        f"pixels off, scores at most {max(scores):.4f}"
    )
