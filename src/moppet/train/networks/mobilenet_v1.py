"""MobileNet, the first of its name: depthwise and pointwise convolutions by turns."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from moppet.train.networks.base import (
    EMBEDDING_SIZE,
    Head,
    Network,
    check_choice,
    hidden_head,
    pooled_average,
)
from moppet.train.networks.mobilenet import conv_norm_act

_BLOCKS: Final = (  # channels, stride
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
_FEATURES: Final = 1024


class MobileNetV1(Network):
    """MobileNet 1.0 with a 128-unit head (Howard et al. 2017; head of Marin & Grijalva 2024).

    Twice MobileNetV2's arithmetic in half its layers. ReLU6, as in TensorFlow's own.
    head: "original" for the published classifier, 1024 → classes, whose input is the embedding.
    """

    name = "mobilenet_v1"

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 1,
        input_size: int = 224,
        dropout: float = 0.2,
        head: Head = "hidden",
    ) -> None:
        super().__init__(classes, channels, input_size, dropout=dropout, head=head)
        check_choice("head", head, ("hidden", "original"))
        width = 32
        features = [conv_norm_act(channels, width, 3, 2)]
        for channels_out, stride in _BLOCKS:
            features.append(conv_norm_act(width, width, 3, stride, groups=width))
            features.append(conv_norm_act(width, channels_out, 1))
            width = channels_out
        self.features = nn.Sequential(*features)
        self.head: nn.Module = nn.Identity()
        self.classifier: nn.Module
        if head == "hidden":
            self.head = hidden_head(_FEATURES, dropout)
            self.classifier = nn.Linear(EMBEDDING_SIZE, classes)
        else:
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_FEATURES, classes))

    def head_modules(self) -> list[nn.Module]:
        return [self.head, self.classifier]

    def maps_module(self) -> nn.Module:
        return self.features

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding: Tensor = self.head(pooled_average(self.features(x)))
        return self.classifier(embedding), embedding
