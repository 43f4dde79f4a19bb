"""Generator, discriminator and encoder networks, and differentiable augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, one_hot
from torch.nn.utils.parametrizations import spectral_norm

_SMALLEST: Final = 8
_MOST_TIMES: Final = 8


def halvings(size: int) -> int:
    """Return how often the side of an image is halved to reach the smallest feature map."""
    times = 0
    while size > _SMALLEST and size % 2 == 0:
        size, times = size // 2, times + 1
    return times


def channels_at(width: int, size: int) -> list[int]:
    """Return the channels of the feature maps, from the full size to the smallest."""
    return [min(width * 2**i, width * _MOST_TIMES) for i in range(halvings(size) + 1)]


def features_of(width: int, size: int) -> int:
    """Return how many values the smallest feature maps of an image have together."""
    return channels_at(width, size)[-1] * (size >> halvings(size)) ** 2


class ClassNorm(nn.Module):
    """BatchNorm with a scale and shift per class (de Vries 2017; Miyato 2018)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(classes, channels)
        self.shift = nn.Embedding(classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        scale, shift = self.scale(label), self.shift(label)
        normed: Tensor = self.norm(x) * scale[:, :, None, None] + shift[:, :, None, None]
        return normed


class Generator(nn.Module):
    """Latent (n, latent) and labels (n,) → images (n, channels, size, size) in [-1, 1].

    Transposed convolutions, BatchNorm and ReLU, tanh at the end (DCGAN, Radford 2016).
    classes: with more than one, the class is an additional input (Mirza 2014), and normalization
        is class-conditional.
    """

    def __init__(self, size: int, channels: int, width: int, latent: int, classes: int = 1) -> None:
        super().__init__()
        widths = channels_at(width, size)[::-1]
        self.side = size >> halvings(size)
        self.classes = classes
        ways = latent + (classes if classes > 1 else 0)
        self.first = nn.Linear(ways, widths[0] * self.side**2, bias=False)
        self.norms = nn.ModuleList([ClassNorm(w, classes) for w in widths])
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False) for a, b in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)
        start_small(self)

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        if self.classes > 1:
            latent = torch.cat([latent, one_hot(label, self.classes).to(latent)], dim=1)
        x: Tensor = self.first(latent).unflatten(1, (-1, self.side, self.side))
        x = torch.relu(self.norms[0](x, label))
        for up, norm in zip(self.ups, self.norms[1:], strict=True):
            x = torch.relu(norm(up(x), label))
        return torch.tanh(self.last(x))


def down_path(size: int, channels: int, width: int, *, norm: bool) -> nn.Sequential:
    """Return strided convolutions with leaky ReLU, from the image to the smallest feature map.

    norm: BatchNorm after all but the first (Radford 2016).
    """
    widths = channels_at(width, size)
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1), nn.LeakyReLU(0.2)]
    for a, b in pairwise(widths):
        layers.append(nn.Conv2d(a, b, 4, 2, 1, bias=not norm))
        layers += [nn.BatchNorm2d(b)] * norm + [nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


class Discriminator(nn.Module):
    """Images → (n,) logits of being real (Radford 2016)."""

    def __init__(self, size: int, channels: int, width: int) -> None:
        super().__init__()
        self.path = down_path(size, channels, width, norm=True)
        self.score = nn.Linear(features_of(width, size), 1)
        start_small(self)

    def forward(self, images: Tensor) -> Tensor:
        score: Tensor = self.score(self.path(images).flatten(1))
        return score[:, 0]


class ProjectionDiscriminator(nn.Module):
    """Images and labels → (n,) scores: ψ(φ(x)) + ⟨class, φ(x)⟩ (Miyato & Koyama 2018); and
    (n, classes) logits of the class (Odena 2017).

    Every layer is divided by its spectral norm (Miyato et al. 2018), which stabilizes training on
    few images. φ ends in a dense layer over all positions, where the paper sums them: faces are
    aligned, and without this layer no unit would see more than half of a face.
    """

    def __init__(self, size: int, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.path = down_path(size, channels, width, norm=False)
        features = channels_at(width, size)[-1]
        self.dense = nn.Linear(features_of(width, size), features)
        self.score = nn.Linear(features, 1)
        self.of_class = nn.Embedding(classes, features)
        for module in list(self.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                nn.init.orthogonal_(module.weight)
                spectral_norm(module)
        self.of_which = nn.Linear(features, classes)  # not normalized: it classifies

    def features(self, images: Tensor) -> Tensor:
        """Return φ, (n, features)."""
        dense: Tensor = self.dense(self.path(images).flatten(1))
        return leaky_relu(dense, 0.2)

    def forward(self, images: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        of_class: Tensor = (self.of_class(label) * features).sum(dim=1)
        plain: Tensor = self.score(features)[:, 0]
        return of_class + plain, self.of_which(features)


class Encoder(nn.Module):
    """Images → mean and logarithm of the variance of the latent, (n, latent) each."""

    def __init__(self, size: int, channels: int, width: int, latent: int) -> None:
        super().__init__()
        self.path = down_path(size, channels, width, norm=True)
        self.out = nn.Linear(features_of(width, size), 2 * latent)
        start_small(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.out(self.path(images).flatten(1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)


def start_small(network: nn.Module) -> None:
    """Draw convolutions and dense layers from N(0, 0.02²), as Radford 2016 does."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


_SHIFT: Final = 1 / 8
_CUT: Final = 1 / 2


def augment(images: Tensor, names: Sequence[str], rng: torch.Generator) -> Tensor:
    """Return (n, c, h, w) images in [-1, 1], each changed by its own random numbers.

    names: keys of AUGMENTATIONS. rng: on the CPU, even if the images are not.
    """
    for name in names:
        images = AUGMENTATIONS[name](images, rng)
    return images


def mirror(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return the images, each mirrored with a probability of one half."""
    mirrored = _random(images, rng) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def _random(images: Tensor, rng: torch.Generator) -> Tensor:
    """One number in [0, 1) per image, (n, 1, 1, 1)."""
    return torch.rand((len(images), 1, 1, 1), generator=rng).to(images.device)


def _color(x: Tensor, rng: torch.Generator) -> Tensor:
    """Change brightness by up to 0.5, saturation by 0 to 2, contrast by 0.5 to 1.5."""
    x = x + (_random(x, rng) - 0.5)
    gray = x.mean(dim=1, keepdim=True)
    x = (x - gray) * (2 * _random(x, rng)) + gray
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - middle) * (_random(x, rng) + 0.5) + middle


def _translation(x: Tensor, rng: torch.Generator) -> Tensor:
    """Shift by up to an eighth of the side, black beyond the edge."""
    n, _, height, width = x.shape
    down, right = (round(side * _SHIFT) for side in (height, width))
    dy = torch.randint(-down, down + 1, (n, 1, 1), generator=rng)
    dx = torch.randint(-right, right + 1, (n, 1, 1), generator=rng)
    rows = (torch.arange(height)[None, :, None] + dy + 1).clamp(0, height + 1)
    columns = (torch.arange(width)[None, None, :] + dx + 1).clamp(0, width + 1)
    framed = torch.nn.functional.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    which = torch.arange(n)[:, None, None]
    return framed[which, rows, columns].permute(0, 3, 1, 2)


def _cutout(x: Tensor, rng: torch.Generator) -> Tensor:
    """Black out a square of half the side, which may extend beyond the edge."""
    n, _, height, width = x.shape
    tall, wide = round(height * _CUT), round(width * _CUT)
    top = torch.randint(0, height + (1 - tall % 2), (n, 1, 1), generator=rng) - tall // 2
    left = torch.randint(0, width + (1 - wide % 2), (n, 1, 1), generator=rng) - wide // 2
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    return x * (~inside)[:, None].to(x.device, x.dtype)


AUGMENTATIONS: Final[dict[str, Callable[[Tensor, torch.Generator], Tensor]]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
