"""EfficientNet-Lite (Tan & Le 2019, and Google's note on the Lite variants of 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from torch import nn

from moppet.train.networks.mobilenet import InvertedResidual, MobileNet, SameConv

_BLOCKS: Final = (  # expansion, channels, repeats, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def _layer(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        SameConv(channels_in, channels_out, kernel, stride, groups),
        nn.BatchNorm2d(channels_out, eps=1e-3),
        nn.ReLU6(inplace=True),
    )


class EfficientNetLite0(MobileNet):
    """EfficientNet-Lite0: EfficientNet-B0 without attention and with ReLU6.

    The hidden head is that of Marin & Grijalva 2024. Padded as TensorFlow does, so that weights
    from there compute the same.
    """

    name = "efficientnet_lite0"
    width = 1280

    def add_base(self, channels: int) -> None:
        self.features = nn.Sequential(_layer(channels, 32, 3, 2), *self.layers())

    def layers(self) -> Iterator[nn.Module]:
        width = 32
        for expansion, channels, repeats, stride, kernel in _BLOCKS:
            for i in range(repeats):
                step = stride if i == 0 else 1
                yield InvertedResidual(
                    width, channels, step, expansion, kernel=kernel, layer=_layer
                )
                width = channels
        yield _layer(width, self.width, 1)
