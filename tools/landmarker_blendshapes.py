"""Read the blendshapes of MediaPipe's Face Landmarker; run by tools/believability.py.

    PYTHON tools/landmarker_blendshapes.py face_landmarker.task paths.txt blendshapes.npz

PYTHON is an environment of its own with mediapipe. paths.txt has one image a line. The result has
`names` (52,) and `scores` (n, 52), NaN where no face is found.
"""

import sys

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision


def main() -> None:
    model, paths, output = sys.argv[1:]
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model), output_face_blendshapes=True
    )
    names: list[str] = []
    found: list[dict[str, float]] = []
    with vision.FaceLandmarker.create_from_options(options) as landmarker, open(paths) as lines:
        for line in lines:
            result = landmarker.detect(mp.Image.create_from_file(line.rstrip("\n")))
            one = result.face_blendshapes[0] if result.face_blendshapes else []
            found.append({shape.category_name: shape.score for shape in one})
            names = names or list(found[-1])
    scores = [[one.get(name, np.nan) for name in names] for one in found]
    np.savez(output, names=np.array(names), scores=np.array(scores, np.float32))


if __name__ == "__main__":
    main()
