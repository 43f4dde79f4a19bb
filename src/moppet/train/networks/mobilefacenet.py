"""MobileFaceNet (Chen et al. 2018), made to tell people apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from torch import Tensor, nn

from moppet.train.networks.base import HeadedNetwork, average_to
from moppet.train.networks.mobilenet import InvertedResidual, SameConv

_BLOCKS: Final = (  # expansion, channels, repeats, stride
    (2, 64, 5, 2),
    (4, 128, 1, 2),
    (2, 128, 6, 1),
    (4, 128, 1, 2),
    (2, 128, 2, 1),
)
_SIDE: Final = 7


def _layer(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        SameConv(channels_in, channels_out, kernel, stride, groups),
        nn.BatchNorm2d(channels_out),
        nn.PReLU(channels_out),
    )


class MobileFaceNet(HeadedNetwork):
    """MobileFaceNet (table 1), with a head in place of its identity features.

    Instead of the mean over the places it weighs each of 7 x 7 places by channel; maps of another
    size than 112-pixel images give are averaged or repeated to that. Padded as TensorFlow does,
    so that weights from there compute the same. After the first depthwise layer it has one
    pointwise layer more than the table, as those weights have.
    """

    name = "mobilefacenet"
    width = 512

    def add_base(self, channels: int) -> None:
        self.features = nn.Sequential(_layer(channels, 64, 3, 2), *self.layers())
        self.places = nn.Sequential(
            nn.Conv2d(self.width, self.width, _SIDE, groups=self.width, bias=False),
            nn.BatchNorm2d(self.width),
        )

    def layers(self) -> Iterator[nn.Module]:
        """Yield the layers after the first one."""
        width = 64
        yield _layer(width, width, 3, groups=width)
        yield nn.Sequential(*list(_layer(width, width, 1))[:2])
        for expansion, channels, repeats, stride in _BLOCKS:
            for i in range(repeats):
                step = stride if i == 0 else 1
                yield InvertedResidual(width, channels, step, expansion, layer=_layer)
                width = channels
        yield _layer(width, self.width, 1)

    def maps_module(self) -> nn.Module:
        return self.features

    def features_of(self, x: Tensor) -> Tensor:
        features: Tensor = self.places(average_to(self.features(x), _SIDE))
        return features.flatten(1)
