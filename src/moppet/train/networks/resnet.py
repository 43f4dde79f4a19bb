"""ResNet18 (He et al. 2016) with torchvision's parameter names, and dlib's ResNet of faces."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from moppet.train.networks.base import HeadedNetwork, places_of, pooled_average, start_from_he
from moppet.values import UsageError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a way around them."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        out = out + self.downsample(x)
        return out.relu()


class ResNet18(HeadedNetwork):
    """ResNet18 with the hidden head, or with the published one (512 → classes)."""

    name = "resnet18"
    width = 512

    def add_base(self, channels: int) -> None:
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        start_from_he(self)

    def maps_module(self) -> nn.Module:
        return self.layer4

    def features_of(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        return pooled_average(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


class DlibBlock(nn.Module):
    """Two 3x3 convolutions with a way around them, as dlib makes them.

    In steps of 2 nothing is padded, the way around is the mean of 2 x 2 places, and whichever of
    the two has fewer channels or places is filled up with zeros.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 2 - stride, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.stride == 1:
            return (x + out).relu()
        x = functional.avg_pool2d(x, 2)
        (height, width), (lines, columns) = places_of(x), places_of(out)
        out = functional.pad(out, (0, width - columns, 0, height - lines))
        fewer = out.shape[1] - x.shape[1]
        return (functional.pad(x, (0, 0, 0, 0, 0, fewer)) + out).relu()


_DLIB_LEVELS: Final = ((32, 3, 1), (64, 4, 2), (128, 3, 2), (256, 3, 2), (256, 1, 2))
"""Channels, blocks, and the step of the first block."""


class DlibResNet(HeadedNetwork):
    """The ResNet of 29 layers that dlib recognizes people with (King 2017), with a head.

    ResNet34 with some layers fewer and half the filters. dlib's own images are 150 pixels wide.
    """

    name = "dlib_resnet"
    width = 256

    def add_base(self, channels: int) -> None:
        if self.input_size < 103:
            raise UsageError(
                f"dlib_resnet needs images of at least 103 pixels, got {self.input_size}."
            )
        self.conv1 = nn.Conv2d(channels, 32, 7, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.maxpool = nn.MaxPool2d(3, 2)
        blocks, width = [], 32
        for wide, repeats, stride in _DLIB_LEVELS:
            for i in range(repeats):
                blocks.append(DlibBlock(width, wide, stride if i == 0 else 1))
                width = wide
        self.blocks = nn.Sequential(*blocks)
        start_from_he(self)

    def maps_module(self) -> nn.Module:
        return self.blocks

    def features_of(self, x: Tensor) -> Tensor:
        return pooled_average(self.blocks(self.maxpool(self.bn1(self.conv1(x)).relu())))
