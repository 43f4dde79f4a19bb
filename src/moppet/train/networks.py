"""MobileNetV2 with torchvision's parameter names, and the classifier head of seed 2."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from moppet.values import ModelError

EMBEDDING_SIZE: Final = 128
_INVERTED_RESIDUALS: Final = (  # expansion, channels, repeats, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv_norm_act(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(channels_out),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; skip over where the shape stays."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.skips = stride == 1 and channels_in == channels_out
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_conv_norm_act(channels_in, hidden, 1))
        layers += [
            _conv_norm_act(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.skips else out


class MobileNetV2(nn.Module):
    """MobileNetV2 1.0 with a 128-unit head (Sandler et al. 2018; head of Marin & Grijalva 2024).

    channels: 3 for RGB, 1 for grey input.
    forward: (n, channels, h, w) float → logits (n, classes) and embedding (n, 128).
    """

    def __init__(self, classes: int, *, channels: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        width = 32
        features: list[nn.Module] = [_conv_norm_act(channels, width, 3, 2)]
        for expansion, channels_out, repeats, stride in _INVERTED_RESIDUALS:
            for i in range(repeats):
                features.append(
                    InvertedResidual(width, channels_out, stride if i == 0 else 1, expansion)
                )
                width = channels_out
        features.append(_conv_norm_act(width, 1280, 1))
        self.features = nn.Sequential(*features)
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(1280, EMBEDDING_SIZE),
            nn.BatchNorm1d(EMBEDDING_SIZE),
            nn.LeakyReLU(),
        )
        self.classifier = nn.Linear(EMBEDDING_SIZE, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return self.classifier(embedding), embedding


def load_folded_imagenet(network: MobileNetV2, path: Path) -> None:
    """Start the network's features from ImageNet weights whose BatchNorm is folded in.

    path: .npz with keys NN_w (out, in, h, w) and NN_b in network order, as written from
    Google Coral's MobileNetV2. Each BatchNorm starts as identity plus the folded bias. A grey
    network gets the sum of the first layer's three colour filters.
    Raises ModelError if the file is missing or a shape does not fit.
    """
    if not path.is_file():
        raise ModelError(f"ImageNet weights were expected at {path}, but there is no such file.")
    modules = list(network.features.modules())
    convs = [m for m in modules if isinstance(m, nn.Conv2d)]
    norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    try:
        archive = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        raise ModelError(f"{path} is no .npz file.") from None
    with archive as arrays, torch.no_grad():
        for number, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
            try:
                weight, bias = arrays[f"{number:02d}_w"], arrays[f"{number:02d}_b"]
            except KeyError:
                raise ModelError(f"{path} lacks layer {number:02d} of MobileNetV2.") from None
            if number == 0 and conv.in_channels == 1:
                weight = weight.sum(axis=1, keepdims=True)
            if weight.shape != tuple(conv.weight.shape) or bias.shape != tuple(norm.bias.shape):
                raise ModelError(
                    f"{path}: layer {number:02d} has shape {weight.shape} where MobileNetV2 "
                    f"has {tuple(conv.weight.shape)}."
                )
            conv.weight.copy_(torch.from_numpy(weight))
            norm.bias.copy_(torch.from_numpy(bias))
