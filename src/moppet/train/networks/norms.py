"""Weights whose BatchNorm was folded into the convolutions, and how to take it out again."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from moppet.train.networks.base import Network
from moppet.train.networks.checkpoints import read_tensors
from moppet.values import ModelError


def load_folded(network: Network, path: Path, sample: Tensor) -> None:
    """Start a MobileNet's base from weights whose BatchNorm is folded in.

    path: .npz with keys NN_w (out, in, h, w) and NN_b in network order, as written from
    Google Coral's MobileNetV2. A grey network gets the sum of the first layer's three colour
    filters.
    sample: some hundred training pictures as the network takes them. Each BatchNorm gets the
    mean and the spread that its layer has on them, and the scale and shift that undo both, so
    that the network computes what the folded one computed, in training as in use. (Without
    that, normalising by the batch would make noise of what it had learned.)
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
    recentre_norms(network, sample)


@torch.no_grad()
def set_identity(norm: nn.BatchNorm2d, bias: Tensor) -> None:
    """Let the norm, in use, add the bias and nothing else."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    norm.weight.fill_((1 + norm.eps) ** 0.5)
    norm.bias.copy_(bias)


@torch.no_grad()
def recentre_norms(network: nn.Module, sample: Tensor) -> None:
    """Give each norm the mean and spread that it sees of the sample, and undo both after it.

    The network computes in use what it did, and nearly the same in training. Without it, a
    network whose norms were folded away would lose in training, where they normalise by the
    batch, what it had learned.
    sample: (n, channels, h, w), some hundred inputs.
    """

    def recentre(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
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
    hooks = [norm.register_forward_pre_hook(recentre) for norm in norms]
    was_training = network.training
    network.eval()
    network(sample)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
