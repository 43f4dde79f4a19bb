"""Expression models: face crops in, calibrated scores out; and the model folders they live in."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from moppet.values import Floats, Image, ModelError, Scores, UsageError

if TYPE_CHECKING:
    import onnxruntime as ort

_CHUNK: Final = 64


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its crops.

    size: side of its square input in pixels.
    color: "grey" (one channel) or "rgb" (three).
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
            >>> from moppet.infer.alignment import align_face
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


BUNDLED: Final = Path(str(files("moppet"))) / "models"
_SHAPES: Final = {"grey": 1, "rgb": 3}


def bundled_models() -> dict[str, Path]:
    """Return the models that come with moppet, name → folder."""
    return {card.parent.name: card.parent for card in sorted(BUNDLED.glob("*/card.toml"))}


def find_model(name_or_folder: str | Path = "default") -> Path:
    """Return the folder of a bundled model's name, or of a path that holds a card.

    Raises ModelError where neither is there, naming what is.
    """
    bundled = bundled_models()
    if str(name_or_folder) in bundled:
        return bundled[str(name_or_folder)]
    folder = Path(name_or_folder)
    if (folder / "card.toml").is_file():
        return folder
    if folder.is_dir():
        raise ModelError(f"{folder} is no model folder: it lacks card.toml.")
    raise ModelError(
        f"there is no model {str(name_or_folder)!r}: name a model folder, or one of "
        f"{', '.join(bundled) or 'none bundled'}."
    )


def read_card(folder: Path) -> dict[str, Any]:
    """Return a model folder's card, checked for the keys that inference needs."""
    path = folder / "card.toml"
    try:
        card = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"the model card {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"the model card {path} is not valid TOML: {error}.") from None
    for key, kind in (("name", str), ("labels", list), ("sha256", str), ("preprocessing", dict)):
        if not isinstance(card.get(key), kind):
            raise ModelError(f"the model card {path} needs {key!r} ({kind.__name__}).")
    if not isinstance(card.get("groups", {}), dict):
        raise ModelError(f"the model card {path} needs [groups] as a table, class = group.")
    temperature = card.get("temperature", 1.0)
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise ModelError(f"the model card {path} needs a temperature above 0, got {temperature}.")
    if len(card["labels"]) < 2 or len(set(map(str, card["labels"]))) != len(card["labels"]):
        raise ModelError(f"the model card {path} needs two or more different labels.")
    return card


def load_model(name_or_folder: str | Path = "default", *, threads: int = 1) -> ExpressionModel:
    """Return an expression model, after checking its network against the card's SHA-256.

    Args:
        name_or_folder: the name of a bundled model, or a folder with `model.onnx` and
            `card.toml`.
        threads: number of threads that run the network.

    Raises:
        ModelError: a file is missing or damaged, or the network does not fit its card.

    Examples:
        >>> import moppet
        >>> model = moppet.load_model("default")
        >>> model.names
        ('neutral', 'happiness', 'sadness', 'surprise', 'fear', 'disgust', 'anger')
        >>> model.group_of["fear"]
        'negative'
    """
    from moppet.infer.detectors.mtcnn import make_session

    folder = find_model(name_or_folder)
    card = read_card(folder)
    path = folder / str(card.get("file", "model.onnx"))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the network {path} cannot be read: {error.strerror}.") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != card["sha256"]:
        raise ModelError(
            f"{path} has SHA-256 {sha256[:12]}… where its card says {card['sha256'][:12]}…: "
            "it is damaged or was exchanged. Get the model folder again."
        )
    try:
        session = make_session(content, threads)
    except Exception as error:  # onnxruntime's errors share no public base class
        reason = str(error).splitlines()[0][:200]
        raise ModelError(f"{path} cannot be run by onnxruntime: {reason}.") from None
    preprocessing = _preprocessing(card, folder)
    _check(session, card, preprocessing, path)
    return ExpressionModel(
        session,
        names=tuple(str(label) for label in card["labels"]),
        group_of={str(k): str(v) for k, v in card.get("groups", {}).items()},
        preprocessing=preprocessing,
        temperature=float(card.get("temperature", 1.0)),
        card=card,
        sha256=sha256,
    )


def _preprocessing(card: dict[str, Any], folder: Path) -> Preprocessing:
    table = card["preprocessing"]
    try:
        made = Preprocessing(
            size=int(table["size"]),
            colour=str(table["colour"]),
            detail_px=int(table.get("detail_px", 0)),
            mean=float(table["mean"]),
            scale=float(table["scale"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder / 'card.toml'}: [preprocessing] needs size, color, mean and scale; {error}."
        ) from None
    if made.colour not in _SHAPES or made.size < 8 or made.scale == 0:
        raise ModelError(
            f"{folder / 'card.toml'}: [preprocessing] needs color gray or rgb, size of at least "
            f"8 and a scale other than 0, got {table}."
        )
    return made


def _check(
    session: ort.InferenceSession,
    card: dict[str, Any],
    preprocessing: Preprocessing,
    path: Path,
) -> None:
    channels, size = _SHAPES[preprocessing.colour], preprocessing.size
    shape = session.get_inputs()[0].shape
    expected = [channels, size, size]
    if len(shape) != 4 or any(
        isinstance(got, int) and got != want for got, want in zip(shape[1:], expected, strict=True)
    ):
        raise ModelError(f"{path} takes input {shape}, but its card says (n, {expected}).")
    outputs = {output.name: output.shape for output in session.get_outputs()}
    if "logits" not in outputs:
        raise ModelError(f"{path} has outputs {', '.join(outputs)}; 'logits' is needed.")
    width = outputs["logits"][-1]
    if isinstance(width, int) and width != len(card["labels"]):
        raise ModelError(f"{path} has {width} classes, but its card names {len(card['labels'])}.")
