"""The tool that turns networks which others trained into starts for training."""

from __future__ import annotations

import runpy
import tarfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from moppet.train.checkpoints import save_tensors
from moppet.train.networks import Network, build_network, load_checkpoint
from moppet.train.starting_weights import start_network
from moppet.values import ModelError

pytestmark = pytest.mark.usefixtures("one_torch_thread")
TOOL: dict[str, Any] = runpy.run_path(
    str(Path(__file__).parents[1] / "tools" / "starting_weights.py")
)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """A network of the same names, of few filters."""
    rng = np.random.default_rng(5)

    def few(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    found = {
        "conv1/convolution/merged_input": few(3, 3, 3, 4),
        "conv1_bn/batchnorm_1/sub": few(4),
    }
    for i in range(1, 14):
        found |= {
            f"conv_dw_{i}/depthwise_kernel": few(3, 3, 4, 1),
            f"conv_dw_{i}_bn/batchnorm_1/mul": few(4),
            f"conv_dw_{i}_bn/batchnorm_1/sub": few(4),
            f"conv_pw_{i}/convolution/merged_input": few(1, 1, 4, 4),
            f"conv_pw_{i}_bn/batchnorm_1/sub": few(4),
        }
    return found


def test_the_first_layer_answers_our_input_as_it_answered_its_own(
    arrays: dict[str, np.ndarray],
) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (9, 9, 3)).astype(np.float32)
    its_own = photo[:, :, ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    kernel = arrays["conv1/convolution/merged_input"]
    wanted = [
        (its_own[y : y + 3, x : x + 3, :, None] * kernel).sum(axis=(0, 1, 2))
        + arrays["conv1_bn/batchnorm_1/sub"]
        for y in range(7)
        for x in range(7)
    ]
    layers = TOOL["folded_layers"](arrays)
    ours = torch.from_numpy((photo - 128) / 128).permute(2, 0, 1)[None]
    weight, bias = (torch.from_numpy(layers[f"00_{kind}"]) for kind in "wb")
    got = functional.conv2d(ours, weight, bias)[0].flatten(1).T.numpy()
    assert np.allclose(got, wanted, rtol=1e-4, atol=1e-3)


def test_a_depthwise_layer_is_filtered_then_scaled(arrays: dict[str, np.ndarray]) -> None:
    x = np.random.default_rng(2).normal(0, 1, (3, 3, 4)).astype(np.float32)
    scale = arrays["conv_dw_7_bn/batchnorm_1/mul"]
    wanted = (x * arrays["conv_dw_7/depthwise_kernel"][:, :, :, 0]).sum(axis=(0, 1)) * scale
    layers = TOOL["folded_layers"](arrays)
    assert len(layers) == 2 * 27
    weight = torch.from_numpy(layers["13_w"])
    got = functional.conv2d(torch.from_numpy(x).permute(2, 0, 1)[None], weight, groups=4)
    assert np.allclose(got[0, :, 0, 0], wanted, atol=1e-5)


def test_weights_other_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    source = TOOL["SOURCES"]["mobilenet_v1"]
    file = tmp_path / Path(source.member).name
    file.write_text("12345")
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        archive.add(file, source.member)
    for place in (tmp_path / "other.tgz", file):  # the package, and the file in it
        with pytest.raises(SystemExit, match="holds other weights than expected"):
            TOOL["read_weights"](place, source)


# ------------------------------------------------ against the networks as others compute them


def drawn(*shape: int, spread: float | None = None) -> np.ndarray:
    """Filters (out, in, h, w) that keep a signal's size, or numbers of a given spread."""
    rng = np.random.default_rng(prod(shape))
    scale = spread or (2 / prod(shape[1:])) ** 0.5
    return rng.normal(0, scale, shape).astype(np.float32)


def image(side: int) -> Tensor:
    """One smooth random image, (1, 3, side, side), 0-255."""
    small = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(1)) * 255
    return functional.interpolate(small, (side, side), mode="bilinear").round()


def features_of(name: str, base: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """What our network's base answers, (1, width)."""
    network = build_network(name, 2, input_size=pixels.shape[2]).eval()
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key in base:
                value.copy_(base[key])
        answer: Tensor = network.features_of((pixels - 128) / 128)
    return answer


def same(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution as TensorFlow pads "SAME": https://www.tensorflow.org/api_docs/python/tf/nn."""
    kernel, groups = weight.shape[2], x.shape[1] // weight.shape[1]
    for axis in (3, 2):
        lacks = max((-(-x.shape[axis] // stride) - 1) * stride + kernel - x.shape[axis], 0)
        pad = [lacks // 2, lacks - lacks // 2]
        x = functional.pad(x, pad if axis == 3 else [0, 0, *pad])
    return functional.conv2d(x, weight, stride=stride, groups=groups)


def inside(ours: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a share of the largest answer."""
    return float((ours - wanted).abs().max() / wanted.abs().max())


def face_net_arrays() -> dict[str, np.ndarray]:
    """Arrays with the names and shapes of MobileFaceNet's published graph."""
    arrays: dict[str, np.ndarray] = {}

    def layer(place: str, kind: str, shape: tuple[int, ...], slopes: bool) -> None:
        weight = drawn(*shape) * (1 + drawn(shape[0], 1, 1, 1, spread=0.1))
        order = (2, 3, 1, 0) if kind == "Conv2D" else (2, 3, 0, 1)
        arrays[f"{place}{kind}_weights"] = weight.transpose(order)
        arrays[f"{place}{kind}_bn_offset"] = drawn(shape[0], spread=0.1)
        if slopes:
            arrays[f"{place}mul"] = drawn(shape[0], spread=0.2)

    top = "MobileFaceNet/MobileFaceNet/"
    layer(f"{top}Conv2d_0/", "Conv2D", (64, 3, 3, 3), True)
    layer(f"{top}SeparableConv2d/", "depthwise", (64, 1, 3, 3), True)
    layer(f"{top}Conv/", "Conv2D", (64, 64, 1, 1), False)
    width = 64
    for block in TOOL["face_net_blocks"]():
        group, place = block[7], f"{top}{block}/"
        hidden = {"2": 128, "3": 256, "4": 256, "5": 512, "6": 256}[group]
        layer(f"{place}Conv/", "Conv2D", (hidden, width, 1, 1), True)
        layer(f"{place}SeparableConv2d/", "depthwise", (hidden, 1, 3, 3), True)
        width = 64 if group == "2" else 128
        layer(f"{place}Conv_1/", "Conv2D", (width, hidden, 1, 1), False)
    layer(f"{top}Conv2d_7/", "Conv2D", (512, 128, 1, 1), True)
    layer("MobileFaceNet/Logits/SeparableConv2d/", "depthwise", (512, 1, 7, 7), False)
    return arrays


def face_net_answer(arrays: dict[str, np.ndarray], pixels: Tensor) -> Tensor:
    """MobileFaceNet as its graph is read, node by node; the slopes' sign turned."""

    def layer(x: Tensor, place: str, kind: str = "Conv2D", stride: int = 1) -> Tensor:
        order = (3, 2, 0, 1) if kind == "Conv2D" else (2, 3, 0, 1)
        weight = torch.tensor(arrays[f"{place}{kind}_weights"].transpose(order))
        bias = torch.tensor(arrays[f"{place}{kind}_bn_offset"])[:, None, None]
        if weight.shape[2] == 7:
            return functional.conv2d(x, weight, groups=len(weight)) + bias
        x = same(x, weight, stride) + bias
        if f"{place}mul" not in arrays:
            return x
        half = torch.tensor(arrays[f"{place}mul"])[:, None, None]
        return x.relu() - (x - x.abs()) * half

    top = "MobileFaceNet/MobileFaceNet/"
    x = layer((pixels - 127.5) / 128, f"{top}Conv2d_0/", stride=2)
    x = layer(layer(x, f"{top}SeparableConv2d/", "depthwise"), f"{top}Conv/")
    for block in TOOL["face_net_blocks"]():
        place, before = f"{top}{block}/", x
        down = block in (
            "Conv2d_2_InvResBlock_0",
            "Conv2d_3_InvResBlock_0",
            "Conv2d_5_InvResBlock_0",
        )
        x = layer(layer(x, f"{place}Conv/"), f"{place}SeparableConv2d/", "depthwise", 1 + down)
        x = layer(x, f"{place}Conv_1/")
        x = x if down else x + before
    x = layer(x, f"{top}Conv2d_7/")
    return layer(x, "MobileFaceNet/Logits/SeparableConv2d/", "depthwise").flatten(1)


def test_mobilefacenet_answers_as_its_graph_does() -> None:
    arrays = face_net_arrays()
    base = TOOL["base_of"]("mobilefacenet", TOOL["face_net_layers"](arrays))
    wanted = face_net_answer(arrays, image(112))
    # The outermost pixels are padded with gray 128 instead of 127.5.
    assert inside(features_of("mobilefacenet", base, image(112)), wanted) < 5e-3


def number(value: int) -> bytes:
    """A whole number as dlib writes it."""
    length = max(1, -(-value.bit_length() // 8))
    return bytes([length]) + value.to_bytes(length, "little")


def dlib_file(layers: list[tuple[np.ndarray, ...]]) -> bytes:
    """Convolutions (filters, biases) and affine layers (gamma, beta), as dlib writes them."""
    out = b"\x01\x0dloss_metric_2"
    for filters, biases, gamma, beta in layers:
        for kind, parts in ((b"con_4", (filters, biases)), (b"affine_", (gamma, beta))):
            values = np.concatenate([part.ravel() for part in parts]).astype("<f4")
            sizes = b"".join(number(n) for n in (2, values.size, 1, 1, 1))
            out += number(len(kind)) + kind + sizes + values.tobytes() + b"\x01\x07"
    return out


def dlib_layers() -> list[tuple[np.ndarray, ...]]:
    wide = [3, 32, *[32] * 6, *[64] * 8, *[128] * 6, *[256] * 8]
    sides = [7, *[3] * 28]
    return [
        (
            drawn(c, before, side, side),
            drawn(c, spread=0.1),
            1 + drawn(c, spread=0.1),
            drawn(c, spread=0.1),
        )
        for before, c, side in zip(wide, wide[1:], sides, strict=False)
    ]


def dlib_answer(layers: list[tuple[np.ndarray, ...]], pixels: Tensor) -> Tensor:
    """The network as dlib's dnn_face_recognition_ex.cpp defines it."""
    left = [tuple(torch.tensor(part) for part in layer) for layer in layers]

    def next_layer(x: Tensor, stride: int, padding: int) -> Tensor:
        filters, biases, gamma, beta = left.pop(0)
        x = functional.conv2d(x, filters, biases, stride, padding)
        return x * gamma[:, None, None] + beta[:, None, None]

    mean = torch.tensor([122.782, 117.001, 104.298])[:, None, None]
    x = functional.max_pool2d(next_layer((pixels - mean) / 256, 2, 0).relu(), 3, 2)
    for repeats, first_down in ((3, False), (4, True), (3, True), (3, True), (1, True)):
        for i in range(repeats):
            down = first_down and i == 0
            out = next_layer(
                next_layer(x, 2, 0).relu() if down else next_layer(x, 1, 1).relu(), 1, 1
            )
            around = functional.avg_pool2d(x, 2, 2) if down else x
            shape = [max(a, b) for a, b in zip(out.shape, around.shape, strict=True)]
            total = torch.zeros(shape)
            for part in (out, around):
                total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
            x = total.relu()
    return x.mean(dim=(2, 3))


@pytest.mark.parametrize("side", [150, 112, 103])
def test_dlibs_network_answers_as_dlib_computes_it(side: int) -> None:
    layers = dlib_layers()
    base = TOOL["base_of"]("dlib_resnet", TOOL["dlib_layers"](dlib_file(layers)))
    ours = features_of("dlib_resnet", base, image(side))
    assert inside(ours, dlib_answer(layers, image(side))) < 1e-4


_LITE = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
         (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip


def lite_network(see: Callable[[str, str, tuple[int, ...], int, bool], None]) -> None:
    """Name EfficientNet-Lite0's layers in order: filters, norm, shape, step, whether ReLU6 follows.

    From the checkpoint's own names and from Google's table (efficientnet_lite_builder.py).
    """
    see("_conv_stem", "_bn0", (32, 3, 3, 3), 2, True)
    width, block = 32, 0
    for expansion, wide, repeats, stride, kernel in _LITE:
        for i in range(repeats):
            place, hidden, step = f"_blocks.{block}.", width * expansion, stride if i == 0 else 1
            if expansion != 1:
                see(f"{place}_expand_conv", f"{place}_bn0", (hidden, width, 1, 1), 1, True)
            shape = (hidden, 1, kernel, kernel)
            see(f"{place}_depthwise_conv", f"{place}_bn1", shape, step, True)
            see(f"{place}_project_conv", f"{place}_bn2", (wide, hidden, 1, 1), 1, False)
            width, block = wide, block + 1
    see("_conv_head", "_bn1", (1280, width, 1, 1), 1, True)


def test_efficientnet_answers_as_its_checkpoint_does() -> None:
    tensors: dict[str, Tensor] = {}
    x = (image(64) - 127) / 128
    begun = x

    def see(conv: str, norm: str, shape: tuple[int, ...], stride: int, acts: bool) -> None:
        nonlocal x, begun
        if conv.endswith(("_expand_conv", "blocks.0._depthwise_conv")):
            begun = x
        tensors[f"{conv}.weight"] = torch.tensor(drawn(*shape))
        values = {
            "weight": 1 + drawn(shape[0], spread=0.1),
            "bias": drawn(shape[0], spread=0.1),
            "running_mean": drawn(shape[0], spread=0.1),
            "running_var": np.exp(drawn(shape[0], spread=0.5)),
            "num_batches_tracked": np.array(5),
        }
        tensors.update({f"{norm}.{key}": torch.tensor(value) for key, value in values.items()})
        gain, bias, mean, var = (torch.tensor(v) for v in list(values.values())[:4])
        x = same(x, tensors[f"{conv}.weight"], stride)
        x = functional.batch_norm(x, mean, var, gain, bias, eps=1e-3)
        x = x.clamp(0, 6) if acts else x
        if conv.endswith("_project_conv") and begun.shape == x.shape:
            x = x + begun

    lite_network(see)
    tensors |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    base = TOOL["lite_base"](tensors)
    ours = features_of("efficientnet_lite0", base, image(64))
    # The outermost pixels are padded with gray 128 instead of 127.
    assert inside(ours, x.mean(dim=(2, 3))) < 0.05


# -------------------------------------------------------------------------- as starts of a run


@pytest.fixture(scope="module")
def folded() -> dict[str, Tensor]:
    base: dict[str, Tensor] = TOOL["base_of"](
        "dlib_resnet", TOOL["dlib_layers"](dlib_file(dlib_layers()))
    )
    return base


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folded_start_computes_the_same_in_training_as_in_use(
    folded: dict[str, Tensor], channels: int, tmp_path: Path
) -> None:
    path = tmp_path / "start.safetensors"
    save_tensors(path, folded, {"network": "dlib_resnet", "batch_norm": "folded"})
    sample = (image(103).expand(40, -1, -1, -1) - 128) / 128
    sample = sample + 0.1 * torch.randn(sample.shape, generator=torch.Generator().manual_seed(2))
    sample = sample if channels == 3 else sample.mean(dim=1, keepdim=True)
    plain, network = (
        build_network("dlib_resnet", 2, channels=channels, input_size=103) for _ in range(2)
    )
    load_checkpoint(plain, path)
    fresh = start_network(network, ("anger", "neutral"), path, sample)
    assert "class anger" in " ".join(fresh) and not any("blocks" in name for name in fresh)
    with torch.no_grad():
        wanted = plain.eval().features_of(sample)
        in_use = network.eval().features_of(sample)
        in_training = network.train().features_of(sample)
    assert inside(in_use, wanted) < 1e-3
    assert inside(in_training, wanted) < 0.05


def test_a_start_of_another_network_is_refused(folded: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    save_tensors(path, folded, {"network": "dlib_resnet", "batch_norm": "folded"})
    other: Network = build_network("mobilefacenet", 2)
    with pytest.raises(ModelError, match="is a checkpoint of dlib_resnet; mobilefacenet needs"):
        load_checkpoint(other, path)
    save_tensors(path, folded, {})
    with pytest.raises(ModelError, match="it looks like one of dlib_resnet"):
        load_checkpoint(other, path)
