"""Export of a trained network to ONNX, in float32 and int8, and a check that both agree."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moppet.train.module import in_batches, predict_logits
from moppet.train.networks import Network
from moppet.values import Floats, ModelError

OUTPUTS = ["logits", "embedding"]
_FLOAT_CONVOLUTIONS: Final = 3


class Deployed(nn.Module):
    """The network as it is used; mirrored: averaged over a face and its mirror image."""

    def __init__(self, network: Network, *, mirrored: bool = False) -> None:
        super().__init__()
        self.network = network
        self.mirrored = mirrored

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        if not self.mirrored:
            logits, embedding = self.network(image)
            return logits, embedding
        # One batch of both, so that the file holds the weights once.
        n = image.shape[0]
        logits, embedding = self.network(torch.cat([image, image.flip(3)]))
        return (logits[:n] + logits[n:]) / 2, (embedding[:n] + embedding[n:]) / 2


def export_float(network: Network, path: Path, *, mirrored: bool = False) -> None:
    """Write the network as float32 ONNX: image (n, c, size, size) → logits and embedding."""
    model = Deployed(network, mirrored=mirrored).eval()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with torch.no_grad():
        torch.onnx.export(
            model,
            (torch.zeros(2, network.channels, network.input_size, network.input_size),),
            str(path),
            input_names=["image"],
            output_names=OUTPUTS,
            dynamic_axes={name: {0: "n"} for name in ("image", *OUTPUTS)},
            opset_version=17,
            dynamo=False,
        )


def export_int8(float_path: Path, calibration: Floats, path: Path) -> None:
    """Write an int8 version: weights per channel, activations calibrated on given inputs.

    calibration: (n, c, size, size) float32 network inputs from training rows.
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
                op_types_to_quantize=["Conv", "Add", "GlobalAveragePool"],
                nodes_to_exclude=convolutions[:_FLOAT_CONVOLUTIONS],
                extra_options={"CalibPercentile": 99.995},
            )


def onnx_logits(path: Path, images: NDArray[np.uint8], threads: int = 2) -> tuple[Floats, Floats]:
    """Return an ONNX model's logits and embeddings of (n, c, h, w) uint8 images."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return in_batches(
        lambda x: session.run(OUTPUTS, {"image": x.contiguous().numpy()}), images, 128
    )


def check_parity(
    network: nn.Module, path: Path, images: NDArray[np.uint8], tolerance: float = 1e-3
) -> float:
    """Return the largest difference of logits between torch and ONNX.

    Raises ModelError if it exceeds the tolerance.
    """
    expected, _ = predict_logits(network, images)
    got, _ = onnx_logits(path, images)
    worst = float(np.abs(expected - got).max())
    if not worst <= tolerance:
        raise ModelError(f"{path} differs from its network by {worst:.2g} in the logits.")
    return worst
