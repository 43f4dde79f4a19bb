"""Starting weights: random, from ImageNet, from a checkpoint, or from a finished model."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from moppet.infer.expression_model import find_model, read_card
from moppet.train.networks import (
    MobileNet,
    Network,
    build_network,
    find_network,
    load_checkpoint,
    load_folded,
    load_network,
)
from moppet.train.networks.weights import read_tensors, recenter_norms
from moppet.train.recipe import Recipe
from moppet.values import ModelError
from moppet.vocabulary import MOVEMENT_CHANNELS, expression_of

WEIGHTS: Final = "weights.safetensors"
_HEADS: Final = {"display": False, "movements": ()}
_SETTINGS: Final = {
    "attention": "none",
    "batch_norm": False,
    "dropout": 0.0,
    "head": "hidden",
    **_HEADS,
}
"""The networks' optional settings, and the value of each that turns it off."""


def make_network(recipe: Recipe, classes: int) -> Network:
    """Return the recipe's network with random weights.

    Raises UsageError for an unknown network, or one that lacks a setting of the recipe.
    """
    known = inspect.signature(find_network(recipe.network)).parameters
    settings = {name: getattr(recipe, name) for name in _SETTINGS if name not in _HEADS}
    settings["display"] = "display" in recipe.heads
    settings["movements"] = MOVEMENT_CHANNELS if "movements" in recipe.heads else ()
    return build_network(
        recipe.network,
        classes=classes,
        channels=recipe.channels,
        input_size=recipe.size,
        **{k: value for k, value in settings.items() if k in known or value != _SETTINGS[k]},
    )


def start_network(
    network: Network, names: tuple[str, ...], start: str | Path, sample: Tensor
) -> list[str]:
    """Load the network's starting weights; return what stays random, in words.

    start: a bundled model's name, a model folder, weights with BatchNorm folded in
        (.npz, or .safetensors that says so), or a checkpoint (.safetensors, .npz, .pth).
    names: the new classes; those that a finished model has, by this name or another of the same
        expression, take its last layer's rows. Without the names of its classes none are taken.
    sample: some hundred training images, (n, channels, size, size).
    Raises ModelError if the weights are of another network or their base does not fit.
    """
    path = Path(start)
    if path.suffix == ".npz" and isinstance(network, MobileNet) and "00_w" in read_tensors(path)[0]:
        load_folded(network, path, sample)
        return sorted({name.split(".")[0] for name, _ in network.named_parameters()} - {"features"})
    if path.suffix not in (".npz", ".safetensors", ".pth"):
        path = _weights_of(find_model(start))
    labels: list[str] = []
    if path.name == WEIGHTS and (path.parent / "card.toml").is_file():
        labels = [str(label) for label in read_card(path.parent)["labels"]]
    place, last = _last_layer(network)
    drawn = {key: value.clone() for key, value in last.state_dict().items()}
    fresh = load_checkpoint(network, path)
    if path.suffix == ".safetensors" and read_tensors(path)[1].get("batch_norm") == "folded":
        recenter_norms(network, sample)
    last.load_state_dict(drawn)
    known = _take_rows(last, place, names, labels, path)
    rest = [name for name in fresh if name not in (f"{place}.weight", f"{place}.bias")]
    return rest + [f"the class {name}" for name in names if name not in known]


def _take_rows(
    last: nn.Linear, place: str, names: tuple[str, ...], labels: list[str], path: Path
) -> list[str]:
    """Copy the file's rows of known classes into the last layer; return their names."""
    tensors, _ = read_tensors(path)
    weight, bias = tensors.get(f"{place}.weight"), tensors.get(f"{place}.bias")
    if weight is None or bias is None or weight.shape != (len(labels), last.in_features):
        return []
    row_of = {meant: row for row, label in enumerate(labels) if (meant := expression_of(label))}
    row_of |= {label: row for row, label in enumerate(labels)}
    taken = {name: row_of.get(name, row_of.get(expression_of(name) or "")) for name in names}
    with torch.no_grad():
        for number, row in enumerate(taken.values()):
            if row is not None:
                last.weight[number] = weight[row]
                last.bias[number] = bias[row]
    return [name for name, row in taken.items() if row is not None]


def _last_layer(network: Network) -> tuple[str, nn.Linear]:
    """Return the name and the module of the layer whose rows are the classes."""
    inside = set(network.head_modules()[-1].modules())
    found = [(n, m) for n, m in network.named_modules() if m in inside and isinstance(m, nn.Linear)]
    return found[-1]


def _weights_of(folder: Path) -> Path:
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"{folder} holds no {WEIGHTS}: only models that moppet trained can be trained further "
            "or looked into."
        )
    return folder / WEIGHTS


def load_model_network(folder: Path) -> Network:
    """Return a model folder's network in torch, ready for evaluation.

    Raises ModelError where the folder holds no network of ours.
    """
    return load_network(_weights_of(folder))
