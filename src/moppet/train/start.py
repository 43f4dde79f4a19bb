"""What a network starts from: random weights, ImageNet's, a checkpoint, or a finished model."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from moppet.data.readers.words import expression_of
from moppet.infer.catalogue import find_model, read_card
from moppet.train.networks import (
    NETWORKS,
    MobileNet,
    Network,
    build_network,
    load_checkpoint,
    load_folded,
    load_network,
)
from moppet.train.recipe import Recipe
from moppet.values import ModelError

WEIGHTS: Final = "weights.safetensors"
_SWITCHES: Final = {"attention": "none", "batch_norm": False, "dropout": 0.0, "head": "hidden"}
"""The networks' switches, and each one's value for off."""


def make_network(recipe: Recipe, classes: int) -> Network:
    """Return the recipe's network with random weights.

    Raises UsageError for a network that is not there or lacks a switch the recipe sets.
    """
    make = NETWORKS.get(recipe.network)
    known = inspect.signature(make).parameters if make else ()
    switches = {name: getattr(recipe, name) for name in _SWITCHES}
    return build_network(
        recipe.network,
        classes=classes,
        channels=1 if recipe.colour == "grey" else 3,
        input_size=recipe.size,
        **{k: value for k, value in switches.items() if k in known or value != _SWITCHES[k]},
    )


def start_network(
    network: Network, names: tuple[str, ...], start: str | Path, sample: Tensor
) -> None:
    """Give the network the weights it starts from.

    start: a bundled model's name, a model folder, weights with BatchNorm folded in
        (.npz), or a checkpoint (.safetensors, .npz, .pth).
    names: the classes to come; those that a finished model knows, by this name or another of the
        same expression, keep its last layer's rows.
    sample: some hundred training pictures as the network takes them.
    """
    path = Path(start)
    if path.suffix == ".npz" and isinstance(network, MobileNet) and _is_folded(path):
        load_folded(network, path, sample)
    elif path.suffix in (".npz", ".safetensors", ".pth"):
        load_checkpoint(network, path)
    else:
        _start_from_model(network, names, find_model(start))


def _is_folded(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return "00_w" in arrays.files
    except FileNotFoundError:
        raise ModelError(f"weights were expected at {path}, but there is no such file.") from None
    except (OSError, ValueError, EOFError):
        raise ModelError(f"{path} is no .npz file.") from None


def _start_from_model(network: Network, names: tuple[str, ...], folder: Path) -> None:
    finished = load_model_network(folder)
    if finished.name != network.name:
        raise ModelError(f"{folder} holds a {finished.name}; {network.name} cannot start from it.")
    labels = [str(label) for label in read_card(folder)["labels"]]
    known = finished.state_dict()
    state = network.state_dict()
    network.load_state_dict(
        {k: known[k] if known[k].shape == v.shape else v for k, v in state.items()}
    )
    last, old = _last_layer(network), _last_layer(finished)
    if last.in_features == old.in_features:
        with torch.no_grad():
            for row, name in enumerate(names):
                known_as = name if name in labels else expression_of(name)
                if known_as in labels:
                    last.weight[row] = old.weight[labels.index(known_as)]
                    last.bias[row] = old.bias[labels.index(known_as)]


def _last_layer(network: Network) -> nn.Linear:
    linears = [m for m in network.head_modules()[-1].modules() if isinstance(m, nn.Linear)]
    return linears[-1]


def load_model_network(folder: Path) -> Network:
    """Return a model folder's network in torch, ready for evaluation.

    Raises ModelError where the folder holds no network of ours.
    """
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"{folder} holds no {WEIGHTS}: only models that moppet trained can be trained further "
            "or looked into."
        )
    return load_network(folder / WEIGHTS)
