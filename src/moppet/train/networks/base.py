"""The base class of all networks, and the hidden classifier head."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple

import torch
from torch import Tensor, nn

from moppet.train.movements import COLUMNS
from moppet.values import UsageError
from moppet.vocabulary import TWO_WAY_MOVEMENTS

EMBEDDING_SIZE: Final = 128
Head = Literal["hidden", "original"]
"""hidden: 128 units, BatchNorm and leaky ReLU before the scores (Marin & Grijalva 2024);
original: the classifier as published, with torchvision's parameter names."""


class HeadOutputs(NamedTuple):
    """What a network reads in n faces; None for what it has no head for.

    logits, embedding: (n, classes) what observers would call it, and (n, d).
    display: (n, classes), logits of what the face was meant to show.
    movements: (n, channels) float32, facial movements, 0 to 1 or -1 to 1.
    """

    logits: Tensor
    embedding: Tensor
    display: Tensor | None = None
    movements: Tensor | None = None


class MovementHead(nn.Module):
    """Reads facial movements from a base's features, with a small hidden layer of its own.

    channels: names of movements. columns: how many answers of Face Landmarker it learns from; each
        has its own scale and offset, which are learned too.
    forward: (n, width) → (n, channels) float32, from 0 to 1, or from -1 to 1 for movements that go
        two ways.
    """

    def __init__(
        self, width: int, channels: Sequence[str], dropout: float, columns: int = len(COLUMNS)
    ) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(width, EMBEDDING_SIZE),
            nn.BatchNorm1d(EMBEDDING_SIZE),
            nn.LeakyReLU(),
        )
        self.values = nn.Linear(EMBEDDING_SIZE, len(channels))
        self.two_way: Tensor
        two_way = torch.tensor([name in TWO_WAY_MOVEMENTS for name in channels], dtype=torch.bool)
        self.register_buffer("two_way", two_way, persistent=False)
        self.log_scale = nn.Parameter(torch.zeros(columns))
        self.offset = nn.Parameter(torch.zeros(columns))
        nn.init.zeros_(self.values.bias)
        with torch.no_grad():
            self.values.bias[~two_way] = _AT_REST

    def forward(self, features: Tensor) -> Tensor:
        z = self.values(self.hidden(features)).float()
        return torch.where(self.two_way, z.tanh(), z.sigmoid())

    def as_landmarker(self, columns: Tensor) -> Tensor:
        """Return (n, columns) movements on the scales of Face Landmarker's answers."""
        return columns * self.log_scale.exp() + self.offset


_AT_REST: Final = -2.5
"""Start of the movements that go one way: most faces show little of most of them."""


class Network(nn.Module):
    """A classifier of square images in two parts, base and head.

    name: its key in NETWORKS. settings: what `build_network` needs to make it again.
    channels: 3 for RGB, 1 for gray. input_size: side in pixels of the images it is meant for.
    channels_last: whether it trains faster in this memory layout.
    forward: (n, channels, input_size, input_size) float, (value - 128) / 128, → logits
        (n, classes) and embedding (n, d), the input of the last layer.
    """

    name: ClassVar[str]
    channels_last = True

    def __init__(self, classes: int, channels: int, input_size: int, **settings: Any) -> None:
        super().__init__()
        if classes < 1 or channels not in (1, 3):
            raise UsageError(
                f"{self.name} needs at least one class and 1 or 3 channels, "
                f"got {classes} and {channels}."
            )
        self.channels, self.input_size = channels, input_size
        self.settings: dict[str, Any] = {
            "classes": classes,
            "channels": channels,
            "input_size": input_size,
            **settings,
        }
        self.frozen = False

    def head_modules(self) -> list[nn.Module]:
        """Return the modules of the head, new for the classes at hand; all others are the base."""
        raise NotImplementedError

    def maps_module(self) -> nn.Module:
        """Return the module with the last spatial output, (n, c, h, w), for Grad-CAM."""
        raise NotImplementedError

    def all_heads(self, x: Tensor) -> HeadOutputs:
        """Return everything that the network reads in images, as `forward` takes them."""
        return HeadOutputs(*self(x))

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the head, which learns at its own rate."""
        return [p for module in self.head_modules() for p in module.parameters()]

    def base_parameters(self) -> list[nn.Parameter]:
        """Return every parameter that is not the head's."""
        head = {id(p) for p in self.head_parameters()}
        return [p for p in self.parameters() if id(p) not in head]

    def freeze_base(self, frozen: bool = True) -> None:
        """Freeze the base: no gradient, and its layers stay in evaluation mode during training.

        Its BatchNorm keeps its running statistics and its dropout is off.
        """
        self.frozen = frozen
        for parameter in self.base_parameters():
            parameter.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        if mode and self.frozen:
            head = {id(m) for module in self.head_modules() for m in module.modules()}
            for module in self.modules():
                if module is not self and id(module) not in head:
                    module.training = False
        return self


class HeadedNetwork(Network):
    """A network whose base gives `width` features, followed by one of two heads.

    head: "hidden" or "original", whose input is the embedding.
    display: whether it has a second last layer, for what the face was meant to show.
    movements: channels of its `MovementHead`; empty for none.
    width: number of features. LAYERS: the names of the last layer of the hidden and of the
        original head.
    """

    width: ClassVar[int]
    LAYERS: ClassVar[tuple[str, str]] = ("classifier", "fc")

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 3,
        input_size: int = 224,
        dropout: float = 0.2,
        head: Head = "hidden",
        display: bool = False,
        movements: Sequence[str] = (),
    ) -> None:
        more: dict[str, Any] = {"display": display} if display else {}
        more |= {"movements": list(movements)} if movements else {}
        super().__init__(classes, channels, input_size, dropout=dropout, head=head, **more)
        check_choice("head", head, ("hidden", "original"))
        self.add_base(channels)
        hidden = head == "hidden"
        self.head: nn.Module = nn.Identity()
        if hidden:
            self.head = nn.Sequential(
                nn.Dropout(dropout),
                nn.Linear(self.width, EMBEDDING_SIZE),
                nn.BatchNorm1d(EMBEDDING_SIZE),
                nn.LeakyReLU(),
            )
        self.last = self.LAYERS[0 if hidden else 1]
        layer = self._last_layer(classes, hidden=hidden)
        place, _, name = self.last.rpartition(".")
        self.get_submodule(place).add_module(name, layer)
        self.display = self._last_layer(classes, hidden=hidden) if display else None
        self.movements = MovementHead(self.width, movements, dropout) if movements else None

    def _last_layer(self, classes: int, *, hidden: bool) -> nn.Module:
        return nn.Linear(EMBEDDING_SIZE, classes) if hidden else self.original_layer(classes)

    def add_base(self, channels: int) -> None:
        """Add the modules of the base."""
        raise NotImplementedError

    def features_of(self, x: Tensor) -> Tensor:
        """Return the base's features, (n, width)."""
        raise NotImplementedError

    def original_layer(self, classes: int) -> nn.Module:
        """Return the last layer of the original head."""
        return nn.Linear(self.width, classes)

    def head_modules(self) -> list[nn.Module]:
        more = [head for head in (self.display, self.movements) if head is not None]
        return [self.head, *more, self.get_submodule(self.last)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding: Tensor = self.head(self.features_of(x))
        return self.get_submodule(self.last)(embedding), embedding

    def all_heads(self, x: Tensor) -> HeadOutputs:
        features = self.features_of(x)
        embedding: Tensor = self.head(features)
        return HeadOutputs(
            self.get_submodule(self.last)(embedding),
            embedding,
            None if self.display is None else self.display(embedding),
            None if self.movements is None else self.movements(features),
        )


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UsageError for a value that is not among the choices."""
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


def start_from_he(network: nn.Module) -> None:
    """Draw the convolutions' and hidden layers' weights as He et al. 2015 do, for ReLU.

    PyTorch's own start shrinks what passes a layer to about two fifths, so that a deep network
    without BatchNorm does not learn.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def pooled_average(x: Tensor) -> Tensor:
    """Return the spatial mean of (n, c, h, w) maps, (n, c)."""
    return x.mean(dim=(2, 3))


def places_of(x: Tensor) -> tuple[int, int]:
    """Return the height and width of (n, c, h, w) maps, as numbers also where ONNX is traced."""
    with warnings.catch_warnings():  # an exported network is for one size: so is its trace
        warnings.filterwarnings("ignore", "Converting a tensor to a Python integer")
        return int(x.shape[2]), int(x.shape[3])


def average_to(x: Tensor, side: int) -> Tensor:
    """Return (n, c, h, w) maps averaged or repeated to (n, c, side, side).

    The same as PyTorch's adaptive average pooling, which ONNX has not for every size.
    """
    places = places_of(x)
    if places == (side, side):
        return x
    rows, columns = (_averages(n, side).to(x) for n in places)
    return rows @ x @ columns.T


def _averages(n: int, side: int) -> Tensor:
    """Return (side, n): the shares of n places in each of `side` means."""
    shares = torch.zeros(side, n)
    for i in range(side):
        first, last = i * n // side, -(-(i + 1) * n // side)
        shares[i, first:last] = 1 / (last - first)
    return shares
