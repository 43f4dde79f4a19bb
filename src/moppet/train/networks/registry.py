"""The networks by name, and their size and cost."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from moppet.files import parse_json
from moppet.plugins import announce_registry, load_plugins
from moppet.train.networks.alexnet import AlexNet
from moppet.train.networks.base import Network
from moppet.train.networks.childcnn import ChildCnn
from moppet.train.networks.efficientnet import EfficientNetLite0
from moppet.train.networks.googlenet import GoogLeNet
from moppet.train.networks.mobilefacenet import MobileFaceNet
from moppet.train.networks.mobilenet import MobileNetV1, MobileNetV2
from moppet.train.networks.resnet import DlibResNet, ResNet18
from moppet.train.networks.weights import read_tensors
from moppet.values import ModelError, UsageError, name_hint

NETWORKS: Final[dict[str, Callable[..., Network]]] = {
    "childcnn": ChildCnn,
    "alexnet": AlexNet,
    "resnet18": ResNet18,
    "googlenet": GoogLeNet,
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "mobilefacenet": MobileFaceNet,
    "dlib_resnet": DlibResNet,
    "efficientnet_lite0": EfficientNetLite0,
}
"""Name → function of the number of classes and of settings; RGB images unless channels=1."""
announce_registry("moppet.networks", NETWORKS)


def build_network(name: str, classes: int, **settings: Any) -> Network:
    """Return a network of the registry with random weights.

    settings: channels (3 or 1), input_size, dropout, and the network's own: `head` ("hidden" or
        "original"; all but childcnn), `auxiliary` (googlenet), `attention` and `batch_norm`
        (childcnn).
    Raises UsageError for an unknown name or setting.
    """
    make = find_network(name)
    known = [key for key in inspect.signature(make).parameters if key != "classes"]
    for key in settings:
        if key not in known:
            raise UsageError(f"{name} has no setting {key!r}.{name_hint(key, known)}")
    return make(classes, **settings)


def find_network(name: str) -> Callable[..., Network]:
    """Return what makes a network, plugins included; UsageError for an unknown name."""
    load_plugins("moppet.networks", NETWORKS, Callable)
    if name not in NETWORKS:
        raise UsageError(f"there is no network {name!r}.{name_hint(name, NETWORKS)}")
    return NETWORKS[name]


def load_network(path: Path) -> Network:
    """Return the network that `save_network` wrote, ready for evaluation.

    Raises ModelError if the file is missing, unreadable or does not say which network it is.
    """
    tensors, metadata = read_tensors(path)
    shapes = {name: value.shape for name, value in tensors.items()}
    try:
        settings = parse_json(metadata["settings"].encode(), "its settings", UsageError)
        with torch.device("meta"):  # without memory: the settings may ask for any size
            drawn = build_network(metadata["network"], **settings)
        if {k: v.shape for k, v in drawn.state_dict().items()} != shapes:
            raise ValueError("the weights are of another network")
        network = build_network(metadata["network"], **settings)
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError, UsageError):
        raise ModelError(
            f"{path} does not say which network of moppet it holds, or does not fit it. "
            "Give the weights.safetensors of a model folder."
        ) from None
    return network.eval()


class Cost(NamedTuple):
    """parameters: numbers learned. flops: floating-point operations for one image."""

    parameters: int
    flops: int


def cost(network: Network, size: int) -> Cost:
    """Return what the network costs for one image of `size` pixels.

    Operations of convolutions and dense layers, a multiplication and an addition counted as two;
    published tables often give multiply-adds ("GMACs"), which are half as many.
    """
    parameter = next(network.parameters())
    image = torch.zeros(
        1, network.channels, size, size, dtype=parameter.dtype, device=parameter.device
    )
    was_training = network.training
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    network.train(was_training)
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops())
