"""Expression models: face crops in, calibrated scores out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime as ort

from moppet.values import Floats, Image, Scores, UsageError

_CHUNK: Final = 64


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its crops.

    size: side of its square input in pixels.
    colour: "grey" (one channel) or "rgb" (three).
    detail_px: crops are first averaged down to this side, so that the network meets no finer
        detail than it learned from; 0 for none.
    mean, scale: the input is (value - mean) / scale, values from 0 to 255.
    """

    size: int
    colour: str
    detail_px: int
    mean: float
    scale: float

    def apply(self, crops: Image) -> Floats:
        """Return (n, channels, size, size) float32 for (n, h, w, 3) RGB uint8 crops."""
        prepared = np.stack([self._prepare(crop) for crop in crops])
        if self.colour == "grey":
            channels_first = prepared[:, None]
        else:
            channels_first = prepared.transpose(0, 3, 1, 2)
        return np.ascontiguousarray((channels_first - np.float32(self.mean)) / self.scale)

    def _prepare(self, crop: Image) -> Floats:
        if self.colour == "grey":
            crop = np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8)
        if self.detail_px and min(crop.shape[:2]) > self.detail_px:
            crop = _resize(crop, self.detail_px)
        return _resize(crop, self.size).astype(np.float32)


def _resize(crop: Image, side: int) -> Image:
    if crop.shape[:2] == (side, side):
        return crop
    shrink = min(crop.shape[:2]) > side
    flags = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (side, side), interpolation=flags), np.uint8)


class ExpressionModel:
    """An expression model, as returned by `moppet.load_model`.

    Attributes:
        names: its k classes, in the order of its outputs.
        group_of: class → group, from its card.
        preprocessing: size, color and scale of its input.
        temperature: the logits are divided by it (Guo et al. 2017).
        card: the contents of its `card.toml`.
        sha256: hash of the network's file.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        *,
        names: tuple[str, ...],
        group_of: Mapping[str, str],
        preprocessing: Preprocessing,
        temperature: float,
        card: Mapping[str, Any],
        sha256: str,
    ) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]
        self.names = names
        self.group_of = group_of
        self.preprocessing = preprocessing
        self.temperature = temperature
        self.card = card
        self.sha256 = sha256

    @property
    def name(self) -> str:
        """The model's name by its card."""
        return str(self.card["name"])

    def predict(self, crops: Image) -> Scores:
        """Return the calibrated scores of n face crops.

        Probabilities are softmax(logits / temperature), with the card's temperature (Guo et al.
        2017).

        Args:
            crops: (n, height, width, 3) RGB uint8, of any size, cut as by `align_face`.

        Raises:
            UsageError: the crops have another shape or type.

        Examples:
            >>> import av
            >>> import moppet
            >>> import numpy as np
            >>> from moppet.infer.align import align_face
            >>> frame = next(av.open("examples/child.mp4").decode(video=0))
            >>> image = frame.to_ndarray(format="rgb24")
            >>> crops = [align_face(image, face.landmarks_px) for face in moppet.find_faces(image)]
            >>> scores = moppet.load_model().predict(np.stack(crops))
            >>> scores.expressions
            ['neutral']
            >>> scores.probabilities.shape
            (1, 7)
        """
        if not isinstance(crops, np.ndarray) or crops.ndim != 4 or crops.shape[3] != 3:
            shape = getattr(crops, "shape", type(crops).__name__)
            raise UsageError(f"predict needs RGB crops (n, height, width, 3), got {shape}.")
        if crops.dtype != np.uint8:
            raise UsageError(f"predict needs uint8 pixels (0 to 255), got {crops.dtype}.")
        parts = [self._run(crops[i : i + _CHUNK]) for i in range(0, len(crops), _CHUNK)]
        if not parts:
            width = 128 if "embedding" in self._outputs else 0
            none = np.empty((0, len(self.names)), np.float32)
            parts = [(none, np.empty((0, width), np.float32))]
        logits, embeddings = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Scores(
            names=self.names,
            probabilities=softmax((logits / self.temperature).astype(np.float32)),
            embeddings=embeddings.astype(np.float32),
            group_of=self.group_of,
        )

    def _run(self, crops: Image) -> tuple[Floats, Floats]:
        outputs = dict(
            zip(
                self._outputs,
                self._session.run(self._outputs, {self._input: self.preprocessing.apply(crops)}),
                strict=True,
            )
        )
        logits = np.asarray(outputs["logits"], np.float32)
        none = np.empty((len(crops), 0), np.float32)
        return logits, np.asarray(outputs.get("embedding", none), np.float32)


def softmax(logits: Floats) -> Floats:
    """Return each row's probabilities, float32."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)
