"""MobileNet, the first of its name: depthwise and pointwise convolutions by turns."""

from __future__ import annotations

from typing import Final

from torch import nn

from moppet.train.networks.mobilenet import MobileNet, conv_norm_act

_BLOCKS: Final = (  # channels, stride
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class MobileNetV1(MobileNet):
    """MobileNet 1.0 with a 128-unit head (Howard et al. 2017; head of Marin & Grijalva 2024).

    Twice MobileNetV2's arithmetic in half its layers. ReLU6, as in TensorFlow's own.
    head: "original" for the published classifier, 1024 → classes, whose input is the embedding.
    """

    name = "mobilenet_v1"

    def layers(self, channels: int) -> tuple[int, list[nn.Module]]:
        width = 32
        layers: list[nn.Module] = [conv_norm_act(channels, width, 3, 2)]
        for channels_out, stride in _BLOCKS:
            layers.append(conv_norm_act(width, width, 3, stride, groups=width))
            layers.append(conv_norm_act(width, channels_out, 1))
            width = channels_out
        return width, layers
