"""What was learned, as it is used: class and seed in, face out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from moppet.synthesise.checkpoint import load_tensors, save_tensors
from moppet.synthesise.learner import as_picture, chance
from moppet.synthesise.networks import Generator
from moppet.synthesise.settings import Settings, settings_from
from moppet.values import Image, ModelError, MoppetError, UsageError


class FaceGenerator:
    """Makes faces of the classes that it learned, from running averages of the weights.

    parts: class → the network that makes it, and the class's number in that network.
    """

    def __init__(self, settings: Settings, parts: Mapping[str, tuple[nn.Module, int]]) -> None:
        self.settings = settings
        self.parts = dict(parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes that it can make."""
        return tuple(self.parts)

    @torch.no_grad()
    def make(self, label: str, seed: int) -> Image:
        """Return a face of the class, (size, size) grey or (size, size, 3) RGB uint8.

        It depends on the weights, the class and the seed alone: the same on every run.
        Raises UsageError for a class that was not learned.
        """
        if label not in self.parts:
            raise UsageError(f"{label!r} was not learned; there are: {', '.join(self.names)}.")
        network, number = self.parts[label]
        device = next(network.parameters()).device
        latent = torch.randn((1, self.settings.latent), generator=chance(seed, "latent"))
        network.eval()
        made: Tensor = network(latent.to(device), torch.tensor([number], device=device))
        return cast(Image, as_picture(made[0]))

    def save(self, path: Path) -> str:
        """Write the weights and all that is needed to use them; return their SHA-256."""
        tensors: dict[str, Tensor] = {}
        networks: list[nn.Module] = []
        classes = {}
        for name, (network, number) in self.parts.items():
            if not any(network is known for known in networks):
                networks.append(network)
            at = next(i for i, known in enumerate(networks) if known is network)
            classes[name] = [at, number]
        for at, network in enumerate(networks):
            tensors |= {f"{at}.{k}": v for k, v in network.state_dict().items()}
        metadata = {
            "kind": "moppet generator",
            "settings": json.dumps(asdict(self.settings)),
            "classes": json.dumps(classes),
        }
        save_tensors(path, tensors, metadata)
        return hashlib.sha256(path.read_bytes()).hexdigest()


def load_generator(path: Path) -> FaceGenerator:
    """Return the generator that `FaceGenerator.save` wrote.

    Raises ModelError if the file is none.
    """
    try:
        tensors, metadata = load_tensors(path)
        settings = settings_from(json.loads(metadata["settings"]), str(path))
        classes: dict[str, list[int]] = json.loads(metadata["classes"])
        networks = [_network(at, classes, tensors, settings) for at in _numbers(classes)]
        parts = {name: (networks[at], number) for name, (at, number) in classes.items()}
    except (MoppetError, KeyError, ValueError, RuntimeError, IndexError):
        raise ModelError(f"{path} is no generator that `moppet synthesise` wrote.") from None
    return FaceGenerator(settings, parts)


def _numbers(classes: dict[str, list[int]]) -> list[int]:
    return sorted({at for at, _ in classes.values()})


def _network(
    at: int, classes: dict[str, list[int]], tensors: dict[str, Any], settings: Settings
) -> nn.Module:
    s = settings
    count = tensors[f"{at}.norms.0.scale.weight"].shape[0]
    network = Generator(s.size, s.channels, s.width, s.latent, count)
    network.load_state_dict(
        {k.removeprefix(f"{at}."): v for k, v in tensors.items() if k.startswith(f"{at}.")}
    )
    return network.eval()
