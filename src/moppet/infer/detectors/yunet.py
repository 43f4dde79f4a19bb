"""YuNet face detector, run by OpenCV from a model file that the user provides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from moppet.files import read_bytes
from moppet.infer.model_probe import probe_yunet
from moppet.values import Face, Floats, Image, ModelError, UsageError

_LEAST_PX: Final = 64


class YuNet:
    """Detects faces with five landmarks (Wu et al. 2023, YuNet: a tiny millisecond-level detector).

    model_path: YuNet's ONNX file, which is not included in moppet.
    score_threshold: lowest score of a face.
    """

    name = "yunet"

    def __init__(self, model_path: Path | None, *, score_threshold: float = 0.7) -> None:
        if model_path is None:
            raise UsageError(
                "the detector 'yunet' needs its model file: give it with --detector-model FILE "
                "(YuNet's ONNX from OpenCV's model zoo or libfacedetection)."
            )
        if not model_path.is_file():
            raise ModelError(f"YuNet's model was expected at {model_path}; there is no such file.")
        probe_yunet(read_bytes(model_path, "detector", ModelError), model_path)
        try:
            self._net = cv2.FaceDetectorYN.create(str(model_path), "", (320, 320), score_threshold)
        except cv2.error:
            raise ModelError(f"{model_path} is not a YuNet model that OpenCV can read.") from None

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return the faces of each image, highest score first."""
        return [self._detect_one(image) for image in images]

    def follow(self, image: Image, boxes_px: Floats, roll_deg: Floats) -> list[Face | None] | None:
        """Return None: YuNet is fast enough to search every whole frame."""
        return None

    def _detect_one(self, image: Image) -> list[Face]:
        height, width = image.shape[:2]
        shrink = min(1.0, 640 / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if shrink < 1 else image
        # OpenCV reads uninitialized memory for sides below twice its widest stride: pad them.
        more = [max(0, _LEAST_PX - side) for side in size]
        small = cv2.copyMakeBorder(small, 0, more[1], 0, more[0], cv2.BORDER_REPLICATE)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._net.detect(cv2.cvtColor(np.asarray(small), cv2.COLOR_RGB2BGR))
        if rows is None:
            return []
        scale = np.array([width / size[0], height / size[1]], np.float32)
        faces = []
        for row in np.asarray(rows, np.float32):
            box = row[:4] * np.tile(scale, 2)
            # YuNet's first point is the person's right eye, on the viewer's left.
            faces.append(Face(box, row[4:14].reshape(5, 2) * scale, float(row[14])))
        return sorted(faces, key=lambda face: -face.score)
