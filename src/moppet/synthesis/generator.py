"""Trained generators and their files: a class and a seed in, a face out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moppet.files import replacing
from moppet.synthesis.learner import Learner, as_image, chance
from moppet.synthesis.networks import Generator
from moppet.synthesis.settings import Settings, chosen_settings, settings_from
from moppet.values import Image, ModelError, MoppetError, UsageError

_KEY: Final = "moppet"


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors; a file that is there is replaced only once the new one is whole.

    The same tensors and metadata give the same bytes.
    """
    # One entry: several come out in another order each time.
    kept = {_KEY: json.dumps(metadata, sort_keys=True)}
    with replacing(path, failures=[SafetensorError]) as part:  # what a full disk comes as
        save_file({k: v.contiguous() for k, v in tensors.items()}, part, kept)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors and metadata; MoppetError if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = json.loads((file.metadata() or {}).get(_KEY, "{}"))
        return load_file(path), metadata
    except (SafetensorError, OSError, ValueError):
        raise MoppetError(f"{path} is damaged. Remove it to start anew.") from None


def save_state(path: Path, learner: Learner, fingerprint: str, done: int) -> None:
    """Keep all that going on exactly needs: networks, running average, optimizers' moments."""
    tensors = {f"networks.{k}": v for k, v in learner.state_dict().items()}
    for name, optimizer in learner.optimizers.items():
        for number, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{name}.{number}.{key}"] = torch.as_tensor(value)
    metadata = {"done": str(done), "settings": _settings_key(learner), "data": fingerprint}
    save_tensors(path, tensors, metadata)


def read_done(path: Path) -> int:
    """Return the steps that a checkpoint has done, 0 without one."""
    return int(load_tensors(path)[1].get("done", 0)) if path.is_file() else 0


def load_state(path: Path, learner: Learner, fingerprint: str) -> int:
    """Bring a learner to where its checkpoint left it; return the steps done, 0 without one.

    Raises UsageError if the checkpoint is of other settings or other images.
    """
    if not path.is_file():
        return 0
    tensors, metadata = load_tensors(path)
    done = int(metadata.get("done", 0))
    for name, ours in (("settings", _settings_key(learner)), ("data", fingerprint)):
        if metadata.get(name) != ours:
            other = "with other settings" if name == "settings" else "on other images or labels"
            raise UsageError(
                f"{path.parent} holds a run {other}. Name another folder with -o, or remove it."
            )
    try:
        learner.load_state_dict(
            {k.removeprefix("networks."): v for k, v in tensors.items() if k.startswith("networks")}
        )
        for name, optimizer in learner.optimizers.items():
            optimizer.load_state_dict(_optimizer_state(optimizer, tensors, f"optimizer.{name}."))
    except (RuntimeError, KeyError, ValueError):
        raise MoppetError(f"{path} is damaged. Remove it to start anew.") from None
    return done


def _optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], prefix: str
) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            number, name = key.removeprefix(prefix).split(".", 1)
            state.setdefault(int(number), {})[name] = value
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _settings_key(learner: Learner) -> str:
    """The settings that learning depends on: not how long it lasts, nor how often it is kept."""
    kept = chosen_settings(learner.settings)
    for name in ("steps", "epochs", "checkpoint_steps"):
        kept.pop(name, None)
    return json.dumps([kept, learner.classes], sort_keys=True)


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
        """Return a face of the class, (size, size) gray or (size, size, 3) RGB uint8.

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
        return cast(Image, as_image(made[0]))

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
        raise ModelError(f"{path} is no generator that `moppet synthesize` wrote.") from None
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
