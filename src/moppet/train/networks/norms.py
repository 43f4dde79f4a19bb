"""BatchNorm that was folded into its convolution, taken out again."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
