"""AlexNet (Krizhevsky 2014, "One weird trick") with torchvision's parameter names."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from moppet.train.networks.base import Head, HeadedNetwork, average_to, start_from_he
from moppet.values import UsageError

_SIDE: Final = 6


class AlexNet(HeadedNetwork):
    """Five convolutions and two dense layers of 4,096, then the head.

    head: "hidden" puts the hidden head where the last published layer stood. The two wide dense
    layers are the base in either case, as a pretrained network brings them along.
    """

    name = "alexnet"
    width = 4096
    LAYERS = ("output", "classifier.6")
    classifier: nn.Sequential

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 3,
        input_size: int = 224,
        dropout: float = 0.5,
        head: Head = "hidden",
    ) -> None:
        if input_size < 63:
            raise UsageError(f"alexnet needs images of at least 63 pixels, got {input_size}.")
        super().__init__(
            classes, channels=channels, input_size=input_size, dropout=dropout, head=head
        )
        classifier = self.classifier
        del self.classifier
        self.classifier = classifier  # after the head: its weights are drawn last
        start_from_he(self)

    def add_base(self, channels: int) -> None:
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(self.settings["dropout"]),
            nn.Linear(256 * _SIDE * _SIDE, self.width),
            nn.ReLU(),
            nn.Dropout(self.settings["dropout"]),
            nn.Linear(self.width, self.width),
            nn.ReLU(),
        )

    def maps_module(self) -> nn.Module:
        return self.features[11]

    def features_of(self, x: Tensor) -> Tensor:
        features: Tensor = self.classifier[:6](average_to(self.features(x), _SIDE).flatten(1))
        return features
