"""The finished model folder: the exported network, its card, test figures and plots."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from moppet.files import file_sha256, render_text, replacing, write_text
from moppet.palette import LIGHT
from moppet.train.data_module import MEAN, SCALE
from moppet.train.module import HeadArrays, in_batches, predict_all
from moppet.train.movements import mirror, mixing
from moppet.train.networks import Network
from moppet.train.recipe import Recipe
from moppet.values import Floats, ModelError

OUTPUTS = ["logits", "embedding"]
"""What every network gives; "display_logits" and "movements" follow where it has these heads."""
_FLOAT_CONVOLUTIONS: Final = 3
_ACTIVATIONS: Final = ("Clip", "Relu")
RENDERED_R: Final = 0.85
"""Least correlation of an exported movement with the truth of held-back rendered faces, in every
age band and tone group."""
REAL_R: Final = 0.75
"""Least correlation of an exported movement with Face Landmarker on held-back real faces."""


class Deployed(nn.Module):
    """The network as it is used; mirrored: averaged over a face and its mirror image.

    columns: the facial movements that it gives, of COLUMNS; both sides or none.
    outputs: the names of what forward returns, in its order.
    """

    def __init__(
        self, network: Network, *, mirrored: bool = False, columns: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.network = network
        self.mirrored = mirrored
        self.display = getattr(network, "display", None) is not None
        self.columns = tuple(columns)
        self.outputs = [
            *OUTPUTS,
            *["display_logits"] * self.display,
            *["movements"] * bool(columns),
        ]
        self.mixing: Tensor
        self.signs: Tensor
        if columns:
            self.order, signs = mirror(self.columns)
            self.register_buffer("mixing", torch.from_numpy(mixing(columns).T.copy()))
            self.register_buffer("signs", torch.from_numpy(signs))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if not self.mirrored:
            return tuple(self._found(image))
        # One batch of both, so that the file holds the weights once.
        n = image.shape[0]
        found = self._found(torch.cat([image, image.flip(3)]))
        halves = [(part[:n], part[n:]) for part in found]
        if self.columns:
            plain, other = halves[-1]
            halves[-1] = plain, other[:, torch.from_numpy(self.order)] * self.signs
        return tuple((plain + other) / 2 for plain, other in halves)

    def _found(self, image: Tensor) -> list[Tensor]:
        if len(self.outputs) == len(OUTPUTS):
            return list(self.network(image))
        found = self.network.all_heads(image)
        parts = [found.logits, found.embedding, *([found.display] if self.display else [])]
        if self.columns:
            assert found.movements is not None
            parts.append(found.movements @ self.mixing)
        return [part for part in parts if part is not None]


def export_float(
    network: Network, path: Path, *, mirrored: bool = False, columns: Sequence[str] = ()
) -> None:
    """Write the network as float32 ONNX: image (n, c, size, size) → the outputs of `Deployed`."""
    model = Deployed(network, mirrored=mirrored, columns=columns).eval()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with torch.no_grad(), warnings.catch_warnings():
        # Of padding, whose amounts it writes as a slice in steps of -1: nothing is wrong with them.
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1")
        torch.onnx.export(
            model,
            (torch.zeros(2, network.channels, network.input_size, network.input_size),),
            str(path),
            input_names=["image"],
            output_names=model.outputs,
            dynamic_axes={name: {0: "n"} for name in ("image", *model.outputs)},
            opset_version=17,
            dynamo=False,
        )


def export_int8(float_path: Path, calibration: Floats, path: Path) -> None:
    """Write an int8 version: weights per channel, activations calibrated on given inputs.

    calibration: (n, c, size, size) float32 network inputs from training rows.
    A convolution and its activation are one step, rounded once, to the range after the activation:
    much finer than the range before it, and without a way through float32 between the two.
    Weights use seven bits, so that processors without VNNI, whose 16-bit sums would overflow,
    give the same answers. The head's dense layers stay float, which costs nothing, and so do the
    first three convolutions: coarse steps there spread through everything after them (they made
    up three quarters of the squared error of the default model's logits, and no time).
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    size = max(1, len(calibration) // 16)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            # Batches of one size: the percentile calibrator takes no others.
            whole = len(calibration) // size
            self.batches: Iterator[Floats] = iter(np.split(calibration[: whole * size], whole))

        def get_next(self) -> dict[str, Floats] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(float_path), str(prepared))
        nodes = onnx.load(str(prepared)).graph.node
        convolutions = [node.name for node in nodes if node.op_type == "Conv"]
        # The calibrator prints its progress.
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                str(prepared),
                str(path),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                op_types_to_quantize=["Conv", *_ACTIVATIONS, "Add", "GlobalAveragePool"],
                nodes_to_exclude=convolutions[:_FLOAT_CONVOLUTIONS],
                extra_options={"CalibPercentile": 99.995},
            )


def onnx_logits(path: Path, images: NDArray[np.uint8], threads: int = 2) -> tuple[Floats, Floats]:
    """Return an ONNX model's logits and embeddings of (n, c, h, w) uint8 images."""
    found = _onnx_outputs(path, images, threads)
    return found["logits"], found["embedding"]


def onnx_heads(path: Path, images: NDArray[np.uint8], threads: int = 2) -> HeadArrays:
    """Return everything that an ONNX model reads in (n, c, h, w) uint8 images."""
    found = _onnx_outputs(path, images, threads)
    return HeadArrays(found["logits"], found.get("display_logits"), found.get("movements"))


def _onnx_outputs(path: Path, images: NDArray[np.uint8], threads: int) -> dict[str, Floats]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = in_batches(lambda x: session.run(names, {"image": x.contiguous().numpy()}), images, 128)
    return dict(zip(names, found, strict=True))


def check_parity(
    network: nn.Module, path: Path, images: NDArray[np.uint8], tolerance: float = 1e-3
) -> float:
    """Return the largest difference between torch and ONNX, of logits and facial movements.

    network: gives the outputs of the file. Raises ModelError if it exceeds the tolerance.
    """
    expected = predict_all(network, images)
    got = list(_onnx_outputs(path, images, 2).values())
    pairs = zip(expected, got, strict=True)
    worst = max(float(np.abs(a - b).max()) for i, (a, b) in enumerate(pairs) if i != 1)
    if not worst <= tolerance:
        raise ModelError(f"{path} differs from its network by {worst:.2g} in the logits.")
    return worst


_CURVES: Final = {
    "Loss": {"train_loss": "training, augmented", "val_loss": "validation"},
    "Accuracy": {
        "train_accuracy": "training, augmented",
        "val_accuracy": "validation",
        "val_balanced": "validation, balanced",
    },
}
_COLORS: Final = {"train": LIGHT["gray"], "val": LIGHT["blue"], "balanced": LIGHT["green"]}


def draw_confusions(figures: dict[str, Any], folder: Path) -> None:
    """Draw the aligned rows' confusion matrices, of the classes and of any groups."""
    names, found = figures["names"], figures["aligned"]["all"]
    _draw_confusion(names, found["confusion"], folder / "confusion.png")
    if "grouped" in figures:
        grouped = figures["grouped"]
        path = folder / "confusion_groups.png"
        _draw_confusion(grouped["names"], grouped["all"]["confusion"], path)


def _draw_confusion(names: list[str], confusion: list[list[int]], path: Path) -> None:
    """Draw counts, shaded by share of the true class."""
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 3.5 + 0.5 * len(names)
    figure = Figure(figsize=(side, side - 1), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    axes.set_title(f"Test rows, aligned as in video (n = {counts.sum()})", fontsize=10)
    for i, j in np.ndindex(*counts.shape):
        color = "white" if shares[i, j] > 0.55 else "black"
        text = f"{counts[i, j]}\n{100 * shares[i, j]:.0f} %" if counts[i, j] else "0"
        axes.text(j, i, text, ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    _save(figure, path)


def draw_course(log: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw loss and accuracy by epoch, as far as they were measured.

    log: the epochs, from `read_log`.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    places: Any = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in log]
    for axes, (title, curves) in zip(places, _CURVES.items(), strict=True):
        for name, label in curves.items():
            values = [row[name] for row in log]
            if all(math.isnan(value) for value in values):
                continue
            color = _COLORS["balanced" if "balanced" in name else name.split("_")[0]]
            dot = "o" if len(epochs) == 1 else None
            axes.plot(epochs, values, color=color, label=label, linewidth=1.8, marker=dot)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_xlim(0, epochs[-1] + 1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as part:
        figure.savefig(part, dpi=110)


_NO_HEADS: Final[dict[str, Any]] = {
    "prior": {},
    "display_temperature": None,
    "display_prior": {},
    "movements": (),
    "movement_validity": {},
}


def write_card(
    folder: Path, recipe: Recipe, figures: dict[str, Any] | None, *, file: str, **card: Any
) -> None:
    """Write card.toml, and figures.json if there are figures, beside the network `file`.

    card: names and groups of the classes, training_data, detail_px, mirrored, temperature, prior,
        and rows, the number of rows of each split; of other heads display_temperature,
        display_prior, movements and movement_validity.
    """
    text = render_text(
        "moppet.train",
        "card.toml.j2",
        recipe=recipe,
        figures=figures,
        file=file,
        sha256=file_sha256(folder / file),
        mean=MEAN,
        scale=SCALE,
        toml=lambda value: json.dumps(value, ensure_ascii=False),
        estimate=_estimate,
        **(_NO_HEADS | card),
    )
    if figures is not None:
        plain = json.dumps(figures, indent=1, allow_nan=False)
        write_text(folder / "figures.json", plain + "\n")
    write_text(folder / "card.toml", text)


def figures_page(
    recipe: Recipe,
    figures: dict[str, Any],
    export: dict[str, Any],
    rows: dict[str, int],
    log: Sequence[Mapping[str, float]] = (),
) -> str:
    """Return the figures as a Markdown page.

    log: the epochs, from `read_log`.
    """
    places = [(view, "all") for view in ("raw", "aligned") if view in figures]
    places += [("aligned", band) for band in ("infant", "child") if band in figures["aligned"]]
    measured = [row for row in log if not math.isnan(row["val_loss"])]
    return render_text(
        "moppet.train",
        "figures.md.j2",
        name=recipe.name,
        figures=figures,
        export=export,
        rows=rows,
        parts=[figures[view][band] for view, band in places],
        titles=[f"{band}, {view}" for view, band in places],
        log=log,
        best=min(measured, key=lambda row: row["val_loss"], default=None),
        cell=_cell,
        r=lambda value: "–" if value is None else f"{value:.2f}",
        rendered_r=RENDERED_R,
        real_r=REAL_R,
    )


def _estimate(estimate: dict[str, Any]) -> str:
    pairs = (
        f"{key} = {value:.4f}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in estimate.items()
        if value is not None
    )
    return "{ " + ", ".join(pairs) + " }"


def _cell(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "–"
    text = f"{estimate['value']:.3f}"
    if estimate["low"] is None:
        return text
    if estimate["low"] == estimate["high"]:  # all draws were alike, which is no proof
        return f"{text} (no spread)"
    return f"{text} ({estimate['low']:.3f}-{estimate['high']:.3f})"
