"""The small network of Vivekananthan 2024, with its attention modules."""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor, nn

from moppet.train.networks.base import EMBEDDING_SIZE, Network, check_choice
from moppet.values import UsageError


class SqueezeExcitation(nn.Module):
    """Maps (n, c, h, w) scaled by channel: sigmoid(W2 · ReLU(W1 · mean over the places)).

    Source: Hu et al. 2018, equations 2-4. reduction: c / reduction hidden units.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        shares: Tensor = self.mlp(x.mean(dim=(2, 3))).sigmoid()
        return x * shares[:, :, None, None]

    def mlp(self, x: Tensor) -> Tensor:
        """Return W2 · ReLU(W1 · x) for (n, c)."""
        out: Tensor = self.excite(self.squeeze(x).relu())
        return out


class ChannelAttention(SqueezeExcitation):
    """Maps scaled by channel: sigmoid(MLP(mean over the places) + MLP(largest over the places)).

    Source: Woo et al. 2018, equation 2; one MLP, W1 · ReLU(W0 · x), for both.
    """

    def forward(self, x: Tensor) -> Tensor:
        shares = (self.mlp(x.mean(dim=(2, 3))) + self.mlp(x.amax(dim=(2, 3)))).sigmoid()
        return x * shares[:, :, None, None]


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


Attention = Literal["none", "se", "cbam"]
_MAPS: Final = (5, 11)
# The paper gives the shapes of the maps and says "three dense layers"; what follows is ours.
_DENSE: Final = (128, EMBEDDING_SIZE)
_REDUCTION: Final = 2  # 5 channels over the papers' 16 would leave no hidden unit; 2 leaves two.
_KERNEL: Final = 7  # CBAM's own


class ChildCnn(Network):
    """Two convolutions and three dense layers.

    At 224 pixels: conv 3x3 → 222x222x5 → (BatchNorm) → ReLU → max-pool 111x111 → (attention) →
    conv 3x3 → 109x109x11 → (BatchNorm) → ReLU → max-pool 54x54 → (dropout) → 32,076 values →
    dense 128 → (dropout) → dense 128 → (dropout) → dense k.

    attention: "none", "se" or "cbam". dropout: the rate of all three; 0 for none.
    The widths 128, ReLU between the dense layers, SE's and CBAM's two hidden units and CBAM's
    kernel of 7 are our choices where the paper is silent. It starts as PyTorch starts its layers:
    with He et al.'s larger weights BatchNorm and dropout together died at the paper's rate of 0.02.
    The two convolutions with what stands between them are the base, the dense layers the head.
    """

    name = "childcnn"

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 3,
        input_size: int = 224,
        attention: Attention = "none",
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            classes,
            channels,
            input_size,
            attention=attention,
            batch_norm=batch_norm,
            dropout=dropout,
        )
        check_choice("attention", attention, ("none", "se", "cbam"))
        self.channels_last = not batch_norm  # BatchNorm of five maps takes twice the time there
        side = ((input_size - 2) // 2 - 2) // 2
        if side < 1:
            raise UsageError(f"childcnn needs images of at least 10 pixels, got {input_size}.")
        self.conv1 = nn.Conv2d(channels, _MAPS[0], 3, bias=not batch_norm)
        self.norm1 = nn.BatchNorm2d(_MAPS[0]) if batch_norm else nn.Identity()
        self.pool1 = nn.MaxPool2d(2)
        self.attention: nn.Module = nn.Identity()
        if attention == "se":
            self.attention = SqueezeExcitation(_MAPS[0], _REDUCTION)
        elif attention == "cbam":
            self.attention = Cbam(_MAPS[0], _REDUCTION, _KERNEL)
        self.conv2 = nn.Conv2d(_MAPS[0], _MAPS[1], 3, bias=not batch_norm)
        self.norm2 = nn.BatchNorm2d(_MAPS[1]) if batch_norm else nn.Identity()
        self.act2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.dense = nn.Sequential(
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(_MAPS[1] * side * side, _DENSE[0]),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(*_DENSE),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_DENSE[1], classes))

    def head_modules(self) -> list[nn.Module]:
        return [self.dense, self.classifier]

    def maps_module(self) -> nn.Module:
        return self.act2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.channels_last:
            x = x.contiguous()
        x = self.attention(self.pool1(self.norm1(self.conv1(x)).relu()))
        x = self.pool2(self.act2(self.norm2(self.conv2(x))))
        embedding: Tensor = self.dense(x)
        return self.classifier(embedding), embedding
