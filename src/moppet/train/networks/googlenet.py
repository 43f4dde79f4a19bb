"""GoogLeNet (Szegedy et al. 2015) with BatchNorm and torchvision's parameter names."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from moppet.train.networks.base import Head, HeadedNetwork, pooled_average, start_from_he
from moppet.values import UsageError

_INCEPTIONS: Final = {  # channels in; 1x1; 3x3 reduced, 3x3; "5x5" reduced, "5x5"; after pooling
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class _ConvNormRelu(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out.relu()


class Inception(nn.Module):
    """Four filters of different reach side by side.

    The third is 3x3 where the paper has 5x5: so are torchvision's weights.
    """

    def __init__(
        self, channels: int, one: int, to_three: int, three: int, to_five: int, five: int, pool: int
    ) -> None:
        super().__init__()
        self.branch1 = _ConvNormRelu(channels, one, 1)
        self.branch2 = nn.Sequential(
            _ConvNormRelu(channels, to_three, 1), _ConvNormRelu(to_three, three, 3)
        )
        self.branch3 = nn.Sequential(
            _ConvNormRelu(channels, to_five, 1), _ConvNormRelu(to_five, five, 3)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), _ConvNormRelu(channels, pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryHead(nn.Module):
    """A classifier on maps half way, which only training uses."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = _ConvNormRelu(channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(nn.functional.adaptive_avg_pool2d(x, (4, 4)))
        scores: Tensor = self.fc2(self.dropout(self.fc1(maps.flatten(1)).relu()))
        return scores


class GoogLeNet(HeadedNetwork):
    """GoogLeNet with the hidden head, or with the published one (1024 → classes).

    auxiliary: with the two classifiers half way, which belong to the head. A training loop of
    one's own takes their scores from `forward_auxiliary` and adds their losses at 0.3 (Szegedy et
    al. 2015, section 5); moppet's recipes, `forward` and the exported model do without them.
    """

    name = "googlenet"
    width = 1024

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 3,
        input_size: int = 224,
        dropout: float = 0.2,
        head: Head = "hidden",
        auxiliary: bool = False,
    ) -> None:
        self.auxiliary = auxiliary  # before the base is built
        super().__init__(
            classes, channels=channels, input_size=input_size, dropout=dropout, head=head
        )
        self.settings["auxiliary"] = auxiliary
        self.dropout = nn.Dropout(dropout) if head == "original" else nn.Identity()

    def add_base(self, channels: int) -> None:
        self.conv1 = _ConvNormRelu(channels, 64, 7, 2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = _ConvNormRelu(64, 64, 1)
        self.conv3 = _ConvNormRelu(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        for place, widths in _INCEPTIONS.items():
            self.add_module(f"inception{place}", Inception(*widths))
        start_from_he(self)
        if self.auxiliary:
            self.aux1 = AuxiliaryHead(512, self.settings["classes"])
            self.aux2 = AuxiliaryHead(528, self.settings["classes"])

    def head_modules(self) -> list[nn.Module]:
        head, last = super().head_modules()
        return [*([self.aux1, self.aux2] if self.auxiliary else []), head, self.dropout, last]

    def maps_module(self) -> nn.Module:
        return self.get_submodule("inception5b")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding, _ = self._run(x)
        return logits, embedding

    def forward_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return logits, embedding and the logits of the two heads half way.

        Raises UsageError for a network without them.
        """
        if not self.auxiliary:
            raise UsageError("this googlenet has no auxiliary heads; build it with auxiliary=True.")
        logits, embedding, (early, late) = self._run(x)
        return logits, embedding, [self.aux1(early), self.aux2(late)]

    def _run(self, x: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        def inception(x: Tensor, *places: str) -> Tensor:
            for place in places:
                x = self.get_submodule(f"inception{place}")(x)
            return x

        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        early = inception(self.maxpool3(inception(x, "3a", "3b")), "4a")
        late = inception(early, "4b", "4c", "4d")
        x = inception(self.maxpool4(inception(late, "4e")), "5a", "5b")
        embedding: Tensor = self.head(pooled_average(x))
        return self.head_modules()[-1](self.dropout(embedding)), embedding, (early, late)
