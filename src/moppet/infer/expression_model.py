"""Expression models: load a model folder and predict calibrated scores from face crops."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

import cv2
import numpy as np
from annotated_types import Ge, Interval, MinLen

from moppet.config import check_settings, read_toml
from moppet.files import read_bytes
from moppet.infer.alignment import check_rgb
from moppet.infer.model_probe import MOST_BYTES, OUTPUTS, Expected, probe_network, session_problem
from moppet.infer.priors import Prior, PriorChoice, full_prior, log_ratio, prior_problems
from moppet.values import Floats, Image, ModelError, Scores, UsageError, name_hint
from moppet.vocabulary import MOVEMENT_OF, movement_range

if TYPE_CHECKING:
    from moppet.infer.devices import Device, Session

_CHUNK: Final = 16  # the memory of a run grows with its batch


@dataclass(frozen=True)
class Preprocessing:
    """How crops are prepared for a model.

    size: side of its square input in pixels.
    color: "gray" (one channel) or "rgb" (three).
    detail_px: crops are first averaged down to this side, so that they contain no finer detail
        than the training images; 0 for none.
    mean, scale: the input is (value - mean) / scale, values from 0 to 255.
    """

    RENAMED: ClassVar = {"colour": "color"}
    RENAMED_WORDS: ClassVar = {"color": {"grey": "gray"}}

    size: Annotated[int, Interval(ge=8, le=2048)]
    color: Literal["gray", "rgb"]
    mean: float
    scale: float
    detail_px: Annotated[int, Ge(0)] = 0

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with these values."""
        if self.scale == 0:
            yield "scale must not be 0."

    def apply(self, crops: Image) -> Floats:
        """Return (n, channels, size, size) float32 for (n, h, w, 3) RGB uint8 crops."""
        images = np.stack([self._prepare(crop) for crop in crops])
        images = images[:, None] if self.color == "gray" else images.transpose(0, 3, 1, 2)
        return np.ascontiguousarray((images - np.float32(self.mean)) / self.scale)

    def _prepare(self, crop: Image) -> Floats:
        if self.color == "gray":
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


@dataclass(eq=False)
class ExpressionModel:
    """An expression model, as returned by `moppet.load_model`.

    Attributes:
        names: its k classes, in the order of its outputs.
        group_of: class → group, from its card.
        preprocessing: size, color and scale of its input.
        temperature: the logits are divided by it (Guo et al. 2017).
        movement_names: the facial movements that it measures, in the order of its outputs.
        has_display: whether it has a display reading beside that of observers.
        prior, display_prior: class → prevalence for which the probabilities of each reading are
            calibrated; None if unknown.
        card: the contents of its `card.toml`.
        sha256: hash of the network's file.
        session: the session that runs the network, with onnxruntime's methods.
    """

    names: tuple[str, ...]
    group_of: Mapping[str, str]
    preprocessing: Preprocessing
    temperature: float
    card: Mapping[str, Any] = field(repr=False)
    sha256: str
    session: Session = field(repr=False)
    movement_names: tuple[str, ...] = ()
    has_display: bool = False
    display_temperature: float = 1.0
    prior: Mapping[str, float] | None = field(default=None, repr=False)
    display_prior: Mapping[str, float] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The model's name, from its card."""
        return str(self.card["name"])

    def predict(self, crops: Image) -> Scores:
        """Return the calibrated scores of n face crops.

        Probabilities are softmax(logits / temperature), with the card's temperature (Guo et al.
        2017), changed to the model's `prior` if that is not the card's own.

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
        check_rgb(crops, 4, "predict needs RGB crops (n, height, width, 3)")
        outputs = [output.name for output in self.session.get_outputs()]
        chunks = [crops[i : i + _CHUNK] for i in range(0, len(crops), _CHUNK)]
        parts = [self._run(outputs, chunk) for chunk in chunks] or [self._empty(outputs)]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        own = self.temperature, self._card_prior("prior"), self.prior
        display = self.display_temperature, self._card_prior("display_prior"), self.display_prior
        return Scores(
            names=self.names,
            probabilities=self._calibrated(found["logits"], *own),
            embeddings=found["embedding"],
            group_of=self.group_of,
            display=self._calibrated(found["display_logits"], *display)
            if self.has_display
            else None,
            movement_names=self.movement_names,
            movements=self._within_range(found["movements"]),
        )

    def with_prior(self, prior: Prior) -> ExpressionModel:
        """Return the model with probabilities calibrated for another prior, in both readings.

        Args:
            prior: "natural" for the card's own, "uniform", or the prevalence of each class.

        Raises:
            UsageError: the prior does not name every class or does not sum to 1, or the model's
                card has none that it could be changed from.

        Examples:
            >>> import moppet
            >>> model = moppet.load_model()
            >>> model.with_prior("natural").prior == model.prior
            True
        """
        own, display = self._card_prior("prior"), self._card_prior("display_prior")
        if prior == "natural":
            return replace(self, prior=own, display_prior=display)
        lacking = ["[prior]"] * (own is None)
        lacking += ["[display_prior]"] * (self.has_display and display is None)
        if lacking:
            raise UsageError(
                f"the prior of the model {self.name!r} cannot be changed: its card has no "
                f"{' and no '.join(lacking)}. Use --prior natural, or a model whose card has it."
            )
        new = full_prior(prior, self.names)
        return replace(self, prior=new, display_prior=new if self.has_display else None)

    def _card_prior(self, key: str) -> dict[str, float] | None:
        return full_prior(self.card[key], self.names) if self.card.get(key) else None

    def _calibrated(
        self,
        logits: Floats,
        temperature: float,
        old: Mapping[str, float] | None,
        new: Mapping[str, float] | None,
    ) -> Floats:
        scaled = (logits / temperature).astype(np.float32)
        if old is None or new is None or old == new:
            return softmax(scaled)
        return softmax(scaled + log_ratio(old, new, self.names))

    def _within_range(self, movements: Floats) -> Floats:
        limits = [movement_range(name) for name in self.movement_names]
        low, high = np.array(limits, np.float32).reshape(-1, 2).T
        return np.clip(movements, low, high)

    def _run(self, outputs: list[str], crops: Image) -> dict[str, Floats]:
        inputs = {self.session.get_inputs()[0].name: self.preprocessing.apply(crops)}
        wanted = [name for name in OUTPUTS if name in outputs]
        found = dict(zip(wanted, self.session.run(wanted, inputs), strict=True))
        none = np.empty((len(crops), 0), np.float32)
        return {name: np.asarray(found.get(name, none), np.float32) for name in OUTPUTS}

    def _empty(self, outputs: list[str]) -> dict[str, Floats]:
        width = {
            "logits": len(self.names),
            "embedding": 128 if "embedding" in outputs else 0,
            "display_logits": len(self.names) if self.has_display else 0,
            "movements": len(self.movement_names),
        }
        return {name: np.empty((0, width[name]), np.float32) for name in OUTPUTS}


def softmax(logits: Floats) -> Floats:
    """Return each row's probabilities, float32."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)


BUNDLED: Final = Path(str(files("moppet"))) / "models"


_Correlation = Annotated[float, Interval(ge=-1, le=1)]


@dataclass(frozen=True)
class _MovementValidity:
    """Pearson's r of a movement: on rendered faces, in the worst group of them, on real faces."""

    rendered: _Correlation | None = None
    rendered_lowest: _Correlation | None = None
    real: _Correlation | None = None


@dataclass(frozen=True)
class _Card:
    """The keys of a card that inference needs."""

    name: str
    labels: Annotated[tuple[str, ...], MinLen(2)]
    sha256: str
    preprocessing: Preprocessing
    groups: dict[str, str] = field(default_factory=dict)
    temperature: Annotated[float, Interval(ge=1e-6, le=1e6)] = 1.0
    display_temperature: Annotated[float, Interval(ge=1e-6, le=1e6)] = 1.0
    movements: tuple[str, ...] = ()
    movement_validity: dict[str, _MovementValidity] = field(default_factory=dict)
    prior: dict[str, float] = field(default_factory=dict)
    display_prior: dict[str, float] = field(default_factory=dict)
    file: str = "model.onnx"

    def problems(self) -> Iterator[str]:
        if len(set(self.labels)) < len(self.labels):
            yield "labels must be two or more different names."
        if len(self.labels) > 1000:
            yield f"labels must be at most 1,000 names, got {len(self.labels):,}."
        names = (*self.labels, *self.groups.values())
        if not all(name.strip() and name.isprintable() and len(name) <= 100 for name in names):
            yield "labels and groups must be printable names of 1 to 100 characters."
        for name in self.movements:
            if name not in MOVEMENT_OF:
                yield f"movements has no known movement {name!r}.{name_hint(name, MOVEMENT_OF)}"
        if len(set(self.movements)) < len(self.movements):
            yield "movements must be different names."
        if stray := [name for name in self.movement_validity if name not in self.movements]:
            yield f"movement_validity names {stray[0]!r}, which is not one of the movements."
        for key, prior in (("prior", self.prior), ("display_prior", self.display_prior)):
            if prior:
                for problem in prior_problems(prior, self.labels):
                    yield f"{key} {problem}"
                if not all(prior.values()):
                    yield f"{key} must be above 0 for every class."


def bundled_models() -> dict[str, Path]:
    """Return the models included in moppet, name → folder."""
    return {card.parent.name: card.parent for card in sorted(BUNDLED.glob("*/card.toml"))}


def find_model(name_or_folder: str | Path = "default") -> Path:
    """Return the folder of a bundled model, or a folder given by its path.

    Raises ModelError if there is no such model; the message lists the bundled ones.
    """
    bundled = bundled_models()
    if str(name_or_folder) in bundled:
        return bundled[str(name_or_folder)]
    folder = Path(name_or_folder)
    if (folder / "card.toml").is_file():
        return folder
    if folder.is_dir():
        raise ModelError(f"{folder} is not a model folder: it lacks card.toml.")
    raise ModelError(
        f"there is no model {str(name_or_folder)!r}: use a model folder, or one of "
        f"{', '.join(bundled) or 'none bundled'}."
    )


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a model folder, after checking the keys that inference needs.

    Raises ModelError that lists every invalid key.
    """
    table, _ = _read_card(folder)
    return table


def _read_card(folder: Path) -> tuple[dict[str, Any], _Card]:
    path = folder / "card.toml"
    needed = {one.name for one in fields(_Card)}
    try:
        table = read_toml(path, "model card")
        # Cards of version 0.1 have "licence".
        table = {"license" if key == "licence" else key: one for key, one in table.items()}
        wanted = {key: value for key, value in table.items() if key in needed}
        return table, check_settings(_Card, wanted, source=f"the model card {path}")
    except UsageError as error:
        raise ModelError(str(error)) from None


def load_model(
    name_or_folder: str | Path = "default",
    *,
    threads: int = 1,
    prior: Prior = "natural",
    device: Device = "cpu",
) -> ExpressionModel:
    """Return an expression model, after checking its network against the card's SHA-256.

    Args:
        name_or_folder: the name of a bundled model, or a folder with `model.onnx` and
            `card.toml`.
        threads: number of threads that run the network.
        prior: how frequent the classes are where the model is used: "natural" for the prevalence
            in its card, "uniform", or a mapping of every class to its prevalence.
        device: what runs the network: "cpu", "cuda", "openvino", "coreml", or "auto" for the
            first of CUDA, CoreML and the processor that is there.

    Raises:
        ModelError: a file is missing or damaged, or the network does not fit its card.
        UsageError: the prior is none, or the card has none that it could be changed from; the
            device cannot be used.

    Examples:
        >>> import moppet
        >>> model = moppet.load_model("default")
        >>> model.names
        ('neutral', 'happiness', 'sadness', 'surprise', 'fear', 'disgust', 'anger')
        >>> model.group_of["fear"]
        'negative'
    """
    from moppet.infer.devices import make_session, on_device

    folder = find_model(name_or_folder)
    table, card = _read_card(folder)
    path = network_file(folder, card.file)
    content = read_bytes(path, "network", ModelError, MOST_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != card.sha256:
        raise ModelError(
            f"{path} has SHA-256 {sha256[:12]}… but its card gives {card.sha256[:12]}…: "
            "it is damaged or was replaced. Download the model folder again."
        )
    settings = card.preprocessing
    shape = (1 if settings.color == "gray" else 3, settings.size, settings.size)
    expected = Expected(
        shape,
        len(card.labels),
        settings.mean,
        settings.scale,
        tuple(movement_range(name)[0] for name in card.movements),
    )
    if folder not in bundled_models().values():
        probe_network(content, expected, path)
    try:
        session = make_session(content, threads)
    except Exception as error:  # onnxruntime's errors share no public base class
        reason = str(error).splitlines()[0][:200]
        raise ModelError(f"{path} cannot be run by onnxruntime: {reason}.") from None
    if wrong := session_problem(session, expected):
        raise ModelError(f"{path} {wrong}.")
    running = on_device(session, content, threads, device)
    model = ExpressionModel(
        *(card.labels, card.groups, settings, card.temperature, table, sha256, running),
        movement_names=card.movements,
        has_display=any(one.name == "display_logits" for one in session.get_outputs()),
        display_temperature=card.display_temperature,
    )
    return model.with_prior(prior)


def load_for(
    name_or_folder: str | Path, prior: PriorChoice, device: Device = "cpu"
) -> ExpressionModel:
    """Return a model under a prior, on a device; see `load_model`.

    An estimate starts from the card's prior: UsageError if there is none.
    """
    if prior != "estimate":
        return load_model(name_or_folder, prior=prior, device=device)
    model = load_model(name_or_folder, device=device)
    model.with_prior("uniform")
    return model


def check_reading(model: ExpressionModel, reading: str) -> None:
    """Raise UsageError if a reading, one of "observers", "display", "both", needs a display."""
    if reading != "observers" and not model.has_display:
        raise UsageError(
            f"the model {model.name!r} has no display reading: its network has no output "
            "display_logits. Use --reading observers, or a model that has one."
        )


def network_file(folder: Path, name: str) -> Path:
    """Return the path of a model folder's network; ModelError if it lies outside the folder.

    name: the key `file` of its card.
    """
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, a loop of links
        raise ModelError(f"the network {str(path)!r} cannot be read: check the card.") from None
    if not inside and folder not in bundled_models().values():
        raise ModelError(
            f"the network {path} lies outside its model folder: copy it there, and name it in the "
            "card's key file."
        )
    return path
