"""Weights from and to local files, and batch normalization that was folded into convolutions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from moppet.files import one_line
from moppet.train.checkpoints import save_tensors
from moppet.train.networks.base import Network
from moppet.values import ModelError

_MARKS: Final = {  # a name in its checkpoints; of two that hold one, the first here is meant
    "alexnet": "features.10.weight",
    "childcnn": "dense.2.weight",
    "dlib_resnet": "blocks.0.conv1.weight",
    "googlenet": "inception3a.branch1.conv.weight",
    "mobilefacenet": "places.0.weight",
    "mobilenet_v1": "features.26.0.weight",
    "mobilenet_v2": "features.18.0.weight",
    "resnet18": "layer1.0.conv1.weight",
}
_HEADS: Final = (
    *("fc.", "head.", "dense.", "output.", "classifier.", "aux1.", "aux2."),
    *("display.", "movements."),
)
_COUNTER: Final = "num_batches_tracked"
# Mean and spread, of values in [0, 1], of the images that torchvision's weights take.
_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # GoogLeNet's, which came from TensorFlow


def load_checkpoint(network: Network, path: Path) -> list[str]:
    """Start a network from a file; return the names of the head's parameters left at random.

    path: torchvision's checkpoint or one of ours, .safetensors, .npz (names → arrays) or .pth
        (read as weights only: no code in it is run).
    The base must fit name by name and shape by shape. Of the head, what has the same name and
    shape is taken over. A gray network gets the sum of the first layer's three color filters.
    Torchvision's networks take images normalized by ImageNet's colors: their first layer is
    rescaled to our input, (value - 128) / 128, so that they compute the same but for the
    outermost pixels, where the padding is gray 128 instead of ImageNet's mean color.
    Raises ModelError if the file is missing, unreadable or another network's.
    """
    tensors, metadata = read_tensors(path)
    maker = metadata.get("network")
    if maker not in (None, network.name):
        raise ModelError(f"{path} is a checkpoint of {maker}; {network.name} needs its own.")
    if maker is None:
        _rescale(network, tensors)
    if network.channels == 1:
        _sum_colors(network, tensors)
    _check(network, path, tensors)
    fresh = []
    with torch.no_grad():
        for name, value in network.state_dict().items():
            given = tensors.get(name)
            if given is not None and given.shape == value.shape:
                value.copy_(given)
            elif not name.endswith(_COUNTER):
                fresh.append(name)
    return fresh


def save_network(network: Network, path: Path) -> None:
    """Write the weights as .safetensors with what `load_network` needs to make it again.

    Filters and matrices are kept in half precision, which halves the file (and moved the default
    model's logits by at most 0.003); everything else as it is.
    """
    tensors = {
        name: value.half() if value.ndim > 1 else value
        for name, value in network.state_dict().items()
    }
    settings = json.dumps(network.settings)
    save_tensors(path, tensors, {"network": network.name, "settings": settings})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors by name and, for .safetensors, its metadata.

    Raises ModelError if the file is missing, unreadable or holds anything else.
    """
    readers = {".safetensors": _safetensors, ".npz": _npz, ".pth": _pth}
    if path.suffix not in readers:
        raise ModelError(f"weights come as {', '.join(readers)}, but the file given is {path}.")
    if not path.is_file():
        raise ModelError(f"weights were expected at {path}, but there is no such file.")
    try:
        tensors, metadata = readers[path.suffix](path)
    except Exception as error:  # each reader has its own; a damaged file may raise any
        reason = one_line(error) or "no reason given"
        raise ModelError(f"{path} cannot be read as {path.suffix[1:]} weights: {reason}.") from None
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ModelError(f"{path} holds no weights by name, as state_dict() gives them.")
    return tensors, metadata


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _npz(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with np.load(path, allow_pickle=False) as arrays:
        values = {name: np.asarray(arrays[name]) for name in arrays.files}
    # Text is a remark: Google Coral's MobileNetV2, de-quantised, names its layers so.
    told = {name: value for name, value in values.items() if value.dtype.kind != "U"}
    return {name: torch.from_numpy(value) for name, value in told.items()}, {}


def _pth(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    return dict(torch.load(path, map_location="cpu", weights_only=True)), {}


def _first_layer(network: Network) -> tuple[str, str]:
    """Return the names of the first layer's filters and of what shifts their output."""
    name, conv = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    if conv.bias is not None:
        return f"{name}.weight", f"{name}.bias"
    norm = next(n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d))
    return f"{name}.weight", f"{norm}.running_mean"


def _rescale(network: Network, tensors: dict[str, Tensor]) -> None:
    """Let the first layer take (value - 128) / 128 where it took torchvision's normalization."""
    filters, shifted = _first_layer(network)
    weight, offset = tensors.get(filters), tensors.get(shifted)
    if weight is None or offset is None or weight.ndim != 4 or weight.shape[1] != 3:
        return
    colors = _HALF if network.name == "googlenet" else _IMAGENET
    mean, spread = (torch.tensor(values, dtype=weight.dtype) for values in colors)
    half = 128 / 255
    constant = (weight.sum(dim=(2, 3)) * ((half - mean) / spread)).sum(dim=1)
    tensors[filters] = weight * (half / spread)[:, None, None]
    tensors[shifted] = offset + constant if shifted.endswith("bias") else offset - constant


def _sum_colors(network: Network, tensors: dict[str, Tensor]) -> None:
    filters, _ = _first_layer(network)
    weight = tensors.get(filters)
    if weight is not None and weight.ndim == 4:
        tensors[filters] = weight.sum(dim=1, keepdim=True)


def _check(network: Network, path: Path, tensors: dict[str, Tensor]) -> None:
    """Raise ModelError unless the tensors hold the network's base, and nothing foreign."""
    heads = [
        f"{name}."
        for name, module in network.named_modules()
        if any(module is head for head in network.head_modules())
    ]
    state = network.state_dict()
    base = [name for name in state if not name.startswith(tuple(heads))]
    lacks = [name for name in base if name not in tensors and not name.endswith(_COUNTER)]
    foreign = [name for name in tensors if name not in state and not name.startswith(_HEADS)]
    if lacks or foreign:
        found = [f"lacks {_some(lacks)}"] if lacks else []
        if foreign:
            found.append(f"holds {_some(foreign)}, which {network.name} has not")
        looks = next((name for name, mark in _MARKS.items() if mark in tensors), network.name)
        hint = f"; it looks like one of {looks}" if looks != network.name else ""
        raise ModelError(
            f"{path} is no checkpoint of {network.name}: it {' and '.join(found)}{hint}."
        )
    for name in base:
        if name in tensors and tensors[name].shape != state[name].shape:
            raise ModelError(
                f"{path} is no checkpoint of this {network.name}: {name} has shape "
                f"{tuple(tensors[name].shape)} where {tuple(state[name].shape)} is needed."
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def load_folded(network: Network, path: Path, sample: Tensor) -> None:
    """Start a MobileNet's base from weights whose BatchNorm is folded in.

    path: .npz with keys NN_w (out, in, h, w) and NN_b in network order, as written from
    Google Coral's MobileNetV2. A gray network gets the sum of the first layer's three color
    filters.
    sample: some hundred training images as the network takes them. Each BatchNorm gets the
    mean and the spread that its layer has on them, and the scale and shift that undo both, so
    that the network computes what the folded one computed, in training as in use. (Without
    that, normalizing by the batch would make noise of what it had learned.)
    Raises ModelError if the file is missing or damaged, or a shape does not fit.
    """
    tensors, _ = read_tensors(path)
    modules = list(network.maps_module().modules())
    convs = [m for m in modules if isinstance(m, nn.Conv2d)]
    norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for number, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
            try:
                weight, bias = tensors[f"{number:02d}_w"], tensors[f"{number:02d}_b"]
            except KeyError:
                raise ModelError(f"{path} lacks layer {number:02d} of {network.name}.") from None
            if number == 0 and conv.in_channels == 1 and weight.ndim == 4:
                weight = weight.sum(dim=1, keepdim=True)
            if weight.shape != conv.weight.shape or bias.shape != norm.bias.shape:
                raise ModelError(
                    f"{path}: layer {number:02d} has shape {tuple(weight.shape)} where "
                    f"{network.name} has {tuple(conv.weight.shape)}."
                )
            conv.weight.copy_(weight)
            set_identity(norm, bias)
    recenter_norms(network, sample)


@torch.no_grad()
def set_identity(norm: nn.BatchNorm2d, bias: Tensor) -> None:
    """Let the norm, in use, add the bias and nothing else."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    norm.weight.fill_((1 + norm.eps) ** 0.5)
    norm.bias.copy_(bias)


@torch.no_grad()
def recenter_norms(network: nn.Module, sample: Tensor) -> None:
    """Give each norm the mean and spread that it sees of the sample, and undo both after it.

    The network computes in use what it did, and nearly the same in training. Without it, a
    network whose norms were folded away would lose in training, where they normalize by the
    batch, what it had learned.
    sample: (n, channels, h, w), some hundred inputs.
    """

    def recenter(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - scale * norm.running_mean
        mean, variance = inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.copy_(shift + scale * mean)

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(recenter) for norm in norms]
    was_training = network.training
    network.eval()
    network(sample)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
