"""Attention, depthwise steps and averages, and childcnn, by their papers' and PyTorch's word."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from moppet.train.networks.base import average_to
from moppet.train.networks.childcnn import Cbam, ChildCnn, SqueezeExcitation
from moppet.train.networks.mobilenet import DepthwiseConv, SameConv

# ---------------------------------------------------------------------------------- the childcnn

EXPERIMENTS = {
    "plain": {},
    "SE": {"attention": "se"},
    "CBAM": {"attention": "cbam"},
    "BatchNorm": {"batch_norm": True},
    "Dropout": {"dropout": 0.5},
    "BatchNorm + Dropout": {"batch_norm": True, "dropout": 0.5},
    "BatchNorm + Dropout + SE": {"batch_norm": True, "dropout": 0.5, "attention": "se"},
    "BatchNorm + Dropout + CBAM": {"batch_norm": True, "dropout": 0.5, "attention": "cbam"},
}


@pytest.mark.parametrize("settings", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_the_childcnn_has_the_papers_shapes_in_all_eight_experiments(
    settings: dict[str, object],
) -> None:
    with torch.device("meta"):
        network = ChildCnn(2, **settings)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in network.named_children():
        module.register_forward_hook(
            lambda _, __, out, name=name: shapes.__setitem__(name, tuple(out.shape[1:]))
        )
    logits, _ = network(torch.zeros(1, 3, 224, 224, device="meta"))
    assert shapes["conv1"] == (5, 222, 222)
    assert shapes["pool1"] == shapes["attention"] == (5, 111, 111)
    assert shapes["conv2"] == (11, 109, 109)
    assert shapes["pool2"] == (11, 54, 54)
    assert logits.shape == (1, 2)
    dense = [m for m in network.modules() if isinstance(m, nn.Linear) and m.in_features > 10]
    assert [d.in_features for d in dense] == [54 * 54 * 11, 128, 128]
    kinds = [type(m).__name__ for m in network.modules()]
    assert kinds.count("BatchNorm2d") == (2 if settings.get("batch_norm") else 0)
    rates = [m.p for m in network.modules() if isinstance(m, nn.Dropout)]
    assert rates == [settings.get("dropout", 0.0)] * 3
    assert kinds.count("SqueezeExcitation") == (settings.get("attention") == "se")
    assert kinds.count("Cbam") == (settings.get("attention") == "cbam")


# ----------------------------------------------------------------- attention, by the papers' word


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def weights_of(module: nn.Module, name: str) -> np.ndarray:
    return module.get_parameter(f"{name}.weight").detach().numpy()


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.randn(2, 6, 9, 8, generator=torch.Generator().manual_seed(5)).double()


def test_squeeze_and_excitation_is_its_papers_formula(maps: torch.Tensor) -> None:
    torch.manual_seed(6)
    module = SqueezeExcitation(6, reduction=2).double()
    x = maps.numpy()
    z = x.mean(axis=(2, 3))
    w1, w2 = weights_of(module, "squeeze"), weights_of(module, "excite")
    assert w1.shape == (3, 6) and w2.shape == (6, 3)
    s = sigmoid(np.maximum(z @ w1.T, 0) @ w2.T)
    assert np.allclose(module(maps).detach().numpy(), x * s[:, :, None, None])


def test_cbam_is_its_papers_formula(maps: torch.Tensor) -> None:
    torch.manual_seed(7)
    module = Cbam(6, reduction=3, kernel=7).double()
    x = maps.numpy()
    w0, w1 = weights_of(module, "0.squeeze"), weights_of(module, "0.excite")
    assert w0.shape == (2, 6)
    scores = [np.maximum(p @ w0.T, 0) @ w1.T for p in (x.mean(axis=(2, 3)), x.max(axis=(2, 3)))]
    x = x * sigmoid(scores[0] + scores[1])[:, :, None, None]
    views = np.pad(np.stack([x.mean(axis=1), x.max(axis=1)], axis=1), [(0, 0)] * 2 + [(3, 3)] * 2)
    (filters,) = weights_of(module, "1.filter")
    places = np.zeros((2, 9, 8))
    for row in range(9):
        for column in range(8):
            window = views[:, :, row : row + 7, column : column + 7]
            places[:, row, column] = (window * filters).sum(axis=(1, 2, 3))
    assert np.allclose(module(maps).detach().numpy(), x * sigmoid(places)[:, None])


def test_five_channels_keep_two_hidden_units() -> None:
    with torch.device("meta"):
        squeeze = ChildCnn(2, attention="se").attention.squeeze
    assert tuple(squeeze.weight.shape) == (2, 5)


# ------------------------------------------------------------------ layers with their own way


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (6, 6), (7, 5), (13, 13)])
def test_averages_to_six_places_are_torchs_adaptive_ones(shape: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(8))
    expected = functional.adaptive_avg_pool2d(x, (6, 6))
    assert torch.allclose(average_to(x, 6), expected, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [(8, 8), (9, 9), (6, 11), (1, 1), (2, 3)])
def test_a_depthwise_convolutions_gradients_are_torchs(stride: int, side: tuple[int, int]) -> None:
    torch.manual_seed(9)
    ours = DepthwiseConv(4, 4, 3, stride, 1, groups=4, bias=False).double()
    torchs = nn.Conv2d(4, 4, 3, stride, 1, groups=4, bias=False).double()
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 4, *side, dtype=torch.float64)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outs = [conv(leaf) for conv, leaf in zip((ours, torchs), inputs, strict=True)]
    assert torch.allclose(*outs)
    back = torch.randn_like(outs[0])
    for out in outs:
        out.backward(back)
    assert torch.allclose(inputs[0].grad, inputs[1].grad)
    assert torch.allclose(ours.weight.grad, torchs.weight.grad)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [(8, 8), (9, 6), (1, 2)])
def test_a_same_convolution_in_steps_of_two_pads_and_learns_as_tensorflows(
    side: tuple[int, int], kernel: int, groups: int
) -> None:
    torch.manual_seed(11)
    ours = SameConv(4, 4, kernel, 2, groups).double()
    x = torch.randn(2, 4, *side, dtype=torch.float64)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    weight = ours.weight.detach().clone().requires_grad_()
    # TensorFlow: ceil(n / 2) places; of the pixels that lack, the odd one is at the end.
    lacks = [max((-(-n // 2) - 1) * 2 + kernel - n, 0) for n in reversed(side)]
    pad = [part for lack in lacks for part in (lack // 2, lack - lack // 2)]
    wanted = functional.conv2d(functional.pad(inputs[1], pad), weight, stride=2, groups=groups)
    got = ours(inputs[0])
    assert got.shape[2:] == tuple(-(-n // 2) for n in side)
    assert torch.allclose(got, wanted)
    back = torch.randn_like(wanted)
    got.backward(back)
    wanted.backward(back)
    assert torch.allclose(inputs[0].grad, inputs[1].grad)
    assert torch.allclose(ours.weight.grad, weight.grad)


def test_a_depthwise_convolution_in_bfloat16_is_torchs_to_its_precision() -> None:
    torch.manual_seed(10)
    ours = DepthwiseConv(4, 4, 3, 2, 1, groups=4, bias=False)
    x = torch.randn(2, 4, 9, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = ours(x)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    got = [out.detach().float(), x.grad.clone(), ours.weight.grad.clone()]
    x.grad = ours.weight.grad = None
    exact = functional.conv2d(x, ours.weight, stride=2, padding=1, groups=4)
    exact.square().sum().backward()
    for mine, wanted in zip(got, (exact.detach(), x.grad, ours.weight.grad), strict=True):
        assert mine.dtype == torch.float32
        assert torch.allclose(mine, wanted, rtol=0.02, atol=0.02 * float(wanted.abs().max()))
