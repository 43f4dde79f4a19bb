"""Build MTCNN's three networks as ONNX models from the weights in the PyPI wheel ``mtcnn``.

Only the weight files of the wheel are used; importing it would require TensorFlow. Each file is a
list of float32 arrays dumped by joblib. This is the only place that reads a pickle: the bytes must
match a pinned SHA-256, and the unpickler accepts only joblib's array wrapper and NumPy arrays.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar, Final

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

_REINSTALL = "Reinstall them with: pip install --force-reinstall --no-deps mtcnn==1.0.0"


class _Wrapper:
    """Replaces joblib's NumpyArrayWrapper: the header of an array whose bytes follow."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: str
    numpy_array_alignment_bytes: int | None


class _WeightsUnpickler(pickle._Unpickler):
    """Unpickles a list of joblib-wrapped arrays; any other global is rejected.

    It derives from the pure-Python unpickler because the raw bytes of an array are inside the
    pickle stream, directly after its wrapper's BUILD opcode.
    """

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)
    allowed: ClassVar = {
        ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.stream = stream

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[(module, name)]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None

    def load_build(self) -> None:
        super().load_build()  # type: ignore[misc]
        stack: list[Any] = self.stack  # type: ignore[attr-defined]
        if isinstance(stack[-1], _Wrapper):
            stack[-1] = self._read_array(stack[-1])

    def _read_array(self, wrapper: _Wrapper) -> NDArray[Any]:
        if wrapper.dtype.hasobject:
            raise pickle.UnpicklingError("an array of objects is not allowed")
        if getattr(wrapper, "numpy_array_alignment_bytes", None) is not None:
            self.stream.read(self.stream.read(1)[0])
        count = int(np.prod(wrapper.shape))
        data = self.stream.read(count * wrapper.dtype.itemsize)
        flat = np.frombuffer(data, wrapper.dtype, count)
        return flat.reshape(wrapper.shape, order="F" if wrapper.order == "F" else "C").copy()

    dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]


def unpickle_arrays(data: bytes) -> list[NDArray[np.float32]]:
    """Return the arrays of a joblib dump; raise pickle.UnpicklingError on anything else."""
    try:
        arrays = _WeightsUnpickler(io.BytesIO(data)).load()
    except (EOFError, IndexError, KeyError, ValueError, struct.error) as error:
        raise pickle.UnpicklingError(f"damaged: {error}") from None
    if not isinstance(arrays, list) or not all(isinstance(a, np.ndarray) for a in arrays):
        raise pickle.UnpicklingError("not a list of arrays")
    return arrays


def read_weights(net: str) -> list[NDArray[np.float32]]:
    """Return a network's arrays in Keras' order: kernel (h, w, in, out), bias, PReLU slope, …

    net: "pnet", "rnet" or "onet".
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
    return unpickle_arrays(lz4.frame.decompress(data))


def _weights_path(net: str) -> Path:
    try:
        files = importlib.metadata.files("mtcnn") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == f"{net}.lz4":
            return Path(str(file.locate()))
    raise ModelError(f"MTCNN's weights {net}.lz4 are not installed. {_REINSTALL}")


class _Graph:
    """Collects the nodes of a network; consumes its arrays in order."""

    def __init__(self, arrays: list[NDArray[np.float32]]) -> None:
        self.arrays = iter(arrays)
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.count = 0

    def node(self, op: str, inputs: list[str], output: str | None = None, **options: Any) -> str:
        from onnx import helper

        self.count += 1
        name = output or f"{op.lower()}{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [name], **options))
        return name

    def constant(self, array: NDArray[np.float32]) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def conv(self, x: str, output: str | None = None) -> str:
        kernel = self.constant(next(self.arrays).transpose(3, 2, 0, 1))
        return self.node("Conv", [x, kernel, self.constant(next(self.arrays))], output)

    def dense(self, x: str, output: str | None = None) -> str:
        kernel, bias = self.constant(next(self.arrays)), self.constant(next(self.arrays))
        return self.node("Gemm", [x, kernel, bias], output)

    def prelu(self, x: str, spatial: bool = True) -> str:
        slope = next(self.arrays).ravel()
        return self.node("PRelu", [x, self.constant(slope[:, None, None] if spatial else slope)])

    def pool(self, x: str, size: int, same: bool) -> str:
        # Keras' "same" pads at the far edge only, as ONNX's ceil mode does.
        return self.node(
            "MaxPool", [x], kernel_shape=[size, size], strides=[2, 2], ceil_mode=int(same)
        )

    def flatten(self, x: str) -> str:
        # The weights are in MATLAB's order: width before height, channels last.
        return self.node("Flatten", [self.node("Transpose", [x], perm=[0, 3, 2, 1])])


def build_onnx(net: str) -> bytes:
    """Return the network as a serialized ONNX model.

    Input "image": (n, 3, h, w) float32, RGB, (value - 127.5) / 128; h = w = 24 for "rnet", 48
    for "onet". Outputs "box" (box regression), "landmarks" (onet only: five x, then five y) and
    "face" (the probabilities of "not a face" and "face").
    Source: Zhang et al. (2016), Joint Face Detection and Alignment Using Multi-task CNNs.
    """
    from onnx import TensorProto, helper

    graph = _Graph(read_weights(net))
    outputs = {"pnet": _pnet, "rnet": _rnet, "onet": _onet}[net](graph)
    sizes: dict[str, list[str | int]] = {"pnet": ["h", "w"], "rnet": [24, 24], "onet": [48, 48]}
    cells = ["rows", "columns"] if net == "pnet" else []
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            net,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, *sizes[net]])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, *cells])
                for name, channels in outputs.items()
            ],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return bytes(model.SerializeToString())


def _pnet(g: _Graph) -> dict[str, int]:
    x = g.pool(g.prelu(g.conv("image")), 2, same=True)
    x = g.prelu(g.conv(x))
    x = g.prelu(g.conv(x))
    g.conv(x, "box")
    g.node("Softmax", [g.conv(x)], "face", axis=1)
    return {"box": 4, "face": 2}


def _rnet(g: _Graph) -> dict[str, int]:
    x = g.pool(g.prelu(g.conv("image")), 3, same=True)
    x = g.pool(g.prelu(g.conv(x)), 3, same=False)
    x = g.flatten(g.prelu(g.conv(x)))
    x = g.prelu(g.dense(x), spatial=False)
    g.dense(x, "box")
    g.node("Softmax", [g.dense(x)], "face", axis=1)
    return {"box": 4, "face": 2}


def _onet(g: _Graph) -> dict[str, int]:
    x = g.pool(g.prelu(g.conv("image")), 3, same=True)
    x = g.pool(g.prelu(g.conv(x)), 3, same=False)
    x = g.pool(g.prelu(g.conv(x)), 2, same=True)
    x = g.flatten(g.prelu(g.conv(x)))
    x = g.prelu(g.dense(x), spatial=False)
    g.dense(x, "box")
    g.dense(x, "landmarks")
    g.node("Softmax", [g.dense(x)], "face", axis=1)
    return {"box": 4, "landmarks": 10, "face": 2}


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
