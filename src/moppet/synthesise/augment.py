"""Changes that both sides of a GAN see and gradients pass (Zhao et al. 2020, DiffAugment).

With some hundred faces a discriminator soon knows each by heart, and the generator collapses.
Changing the real and the made pictures alike, before they are judged, keeps it from that without
teaching the generator the changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

_SHIFT: Final = 1 / 8
_CUT: Final = 1 / 2


def augment(pictures: Tensor, names: Sequence[str], rng: torch.Generator) -> Tensor:
    """Return (n, c, h, w) pictures in [-1, 1], each changed by its own draws.

    names: keys of AUGMENTATIONS. rng: on the CPU, whatever the pictures are on.
    """
    for name in names:
        pictures = AUGMENTATIONS[name](pictures, rng)
    return pictures


def mirror(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Return the pictures, each with a chance of one half as its mirror image."""
    turned = _draws(pictures, rng) < 0.5
    return torch.where(turned, pictures.flip(3), pictures)


def _draws(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """One number from [0, 1) for each picture, (n, 1, 1, 1)."""
    return torch.rand((len(pictures), 1, 1, 1), generator=rng).to(pictures.device)


def _colour(x: Tensor, rng: torch.Generator) -> Tensor:
    """Brightness by ±0.5, saturation up to twice, contrast from half to one and a half."""
    x = x + (_draws(x, rng) - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (2 * _draws(x, rng)) + grey
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - middle) * (_draws(x, rng) + 0.5) + middle


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
    """Blacken a square of half the side, which may reach over the edge."""
    n, _, height, width = x.shape
    tall, wide = round(height * _CUT), round(width * _CUT)
    top = torch.randint(0, height + (1 - tall % 2), (n, 1, 1), generator=rng) - tall // 2
    left = torch.randint(0, width + (1 - wide % 2), (n, 1, 1), generator=rng) - wide // 2
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    return x * (~inside)[:, None].to(x.device, x.dtype)


AUGMENTATIONS: Final[dict[str, Callable[[Tensor, torch.Generator], Tensor]]] = {
    "colour": _colour,
    "translation": _translation,
    "cutout": _cutout,
}
