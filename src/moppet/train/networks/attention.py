"""Squeeze-and-excitation and the convolutional block attention module, as their papers write them.

Both scale a convolution's maps by weights in (0, 1). Neither uses biases: the papers' formulas
have none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _squeeze_layers(channels: int, reduction: int) -> tuple[nn.Linear, nn.Linear]:
    hidden = max(1, channels // reduction)
    return nn.Linear(channels, hidden, bias=False), nn.Linear(hidden, channels, bias=False)


class SqueezeExcitation(nn.Module):
    """Maps (n, c, h, w) scaled by channel: sigmoid(W2 · ReLU(W1 · mean over the places)).

    Source: Hu et al. 2018, equations 2-4. reduction: c / reduction hidden units.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze, self.excite = _squeeze_layers(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.squeeze(x.mean(dim=(2, 3))).relu()
        shares: Tensor = self.excite(hidden).sigmoid()
        return x * shares[:, :, None, None]


class ChannelAttention(nn.Module):
    """Maps scaled by channel: sigmoid(MLP(mean over the places) + MLP(largest over the places)).

    Source: Woo et al. 2018, equation 2; one MLP, W1 · ReLU(W0 · x), for both.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze, self.excite = _squeeze_layers(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        means, largest = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))
        shares: Tensor = (self._mlp(means) + self._mlp(largest)).sigmoid()
        return x * shares[:, :, None, None]

    def _mlp(self, x: Tensor) -> Tensor:
        out: Tensor = self.excite(self.squeeze(x).relu())
        return out


class SpatialAttention(nn.Module):
    """Maps scaled by place: sigmoid(f([mean over the channels; largest over the channels])).

    Source: Woo et al. 2018, equation 3; f is a convolution of `kernel` x `kernel`.
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.filter = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        views = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        shares: Tensor = self.filter(views).sigmoid()
        return x * shares


class Cbam(nn.Sequential):
    """Channel attention, then spatial attention (Woo et al. 2018, equation 1)."""

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__(ChannelAttention(channels, reduction), SpatialAttention(kernel))
