"""Model folders: `model.onnx` beside `card.toml`; the bundled ones and anyone's own."""

from __future__ import annotations

import hashlib
import math
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from moppet.infer.detect.mtcnn import make_session
from moppet.infer.expressions import ExpressionModel, Preprocessing
from moppet.values import ModelError

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
            f"{folder / 'card.toml'}: [preprocessing] needs size, colour, mean and scale; {error}."
        ) from None
    if made.colour not in _SHAPES or made.size < 8 or made.scale == 0:
        raise ModelError(
            f"{folder / 'card.toml'}: [preprocessing] needs colour grey or rgb, size of at least "
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
