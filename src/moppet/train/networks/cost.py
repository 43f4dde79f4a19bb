"""What a network costs to keep and to run."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from moppet.train.networks.base import Network


class Cost(NamedTuple):
    """parameters: numbers learned. flops: floating-point operations for one picture."""

    parameters: int
    flops: int


def cost(network: Network, size: int) -> Cost:
    """Return what the network costs for one picture of `size` pixels.

    Operations of convolutions and dense layers, a multiplication and an addition counted as two;
    published tables often give multiply-adds ("GMACs"), which are half as many.
    """
    parameter = next(network.parameters())
    picture = torch.zeros(
        1, network.channels, size, size, dtype=parameter.dtype, device=parameter.device
    )
    was_training = network.training
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(picture)
    network.train(was_training)
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops())
