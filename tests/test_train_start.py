"""What a network starts from: another model's rows by class name, and what is said or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from moppet.train.networks import Network, build_network, save_network
from moppet.train.starting_weights import start_network
from moppet.values import ModelError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SAMPLE = torch.zeros(2, 1, 32, 32)
SETTINGS = {"channels": 1, "input_size": 32}


def network(classes: int, seed: int = 0, name: str = "childcnn", **settings: object) -> Network:
    torch.manual_seed(seed)
    return build_network(name, classes, **{**SETTINGS, **settings})


def write_start(folder: Path, labels: tuple[str, ...], **settings: object) -> Network:
    """A model folder, but for its ONNX file; return its network."""
    made = network(len(labels), seed=5, **settings)
    folder.mkdir()
    save_network(made, folder / "weights.safetensors")
    card = f'name = "other"\nlabels = {json.dumps(labels)}\nsha256 = "0"\n[preprocessing]\n'
    card += 'size = 32\ncolor = "rgb"\nmean = 128.0\nscale = 128.0\n'
    (folder / "card.toml").write_text(card, encoding="utf-8")
    return made


def last_rows(of: Network) -> torch.Tensor:
    layer = [m for m in of.modules() if isinstance(m, nn.Linear)][-1]
    return torch.column_stack([layer.weight, layer.bias]).detach().clone()


@pytest.mark.parametrize("given", ["folder", "weights.safetensors"])
@pytest.mark.parametrize("names", [("anger", "crying", "joy"), ("happy", "anger")])
def test_the_last_layers_rows_are_those_of_the_same_classes_and_new_ones_start_fresh(
    tmp_path: Path, names: tuple[str, ...], given: str
) -> None:
    labels = ("happy", "sleep", "anger")
    start = tmp_path / "other"
    old = last_rows(write_start(start, labels)).half().float()
    mine = network(len(names))
    drawn = last_rows(mine)
    said = start_network(mine, names, start if given == "folder" else start / given, SAMPLE)
    same = {"happy": 0, "joy": 0, "anger": 2}
    for row, name in enumerate(names):
        expected = old[same[name]] if name in same else drawn[row]
        assert last_rows(mine)[row] == pytest.approx(expected, abs=1e-3), name
    assert said == [f"the class {name}" for name in names if name not in same]


def test_a_word_for_an_expression_finds_the_expressions_row(tmp_path: Path) -> None:
    old = last_rows(write_start(tmp_path / "other", ("sadness", "happiness")))
    mine = network(2)
    assert start_network(mine, ("joyful", "sad"), tmp_path / "other", SAMPLE) == []
    assert last_rows(mine) == pytest.approx(old[[1, 0]], abs=1e-3)


def test_rows_whose_classes_have_no_names_are_not_taken(tmp_path: Path) -> None:
    old = network(2, seed=5)
    save_network(old, tmp_path / "weights.safetensors")
    mine = network(2)
    drawn = last_rows(mine)
    said = start_network(mine, ("sad", "happy"), tmp_path / "weights.safetensors", SAMPLE)
    assert torch.equal(last_rows(mine), drawn)
    assert said == ["the class sad", "the class happy"]
    base = mine.base_parameters()[0]
    assert base.detach() == pytest.approx(old.base_parameters()[0].detach(), abs=1e-3)


def test_what_of_the_head_does_not_fit_is_told(tmp_path: Path) -> None:
    write_start(tmp_path / "other", ("sad", "happy"), name="mobilenet_v2", head="original")
    mine = network(2, name="mobilenet_v2")
    said = start_network(mine, ("sad", "happy"), tmp_path / "other", SAMPLE)
    assert {"head.1.weight", "head.2.running_var", "the class sad", "the class happy"} <= set(said)
    assert not any(name.startswith("features") for name in said)


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ({"name": "resnet18"}, {}, "is a checkpoint of resnet18; childcnn needs its own"),
        ({}, {"channels": 3}, r"conv1.weight has shape .* is needed"),
        ({"batch_norm": True}, {}, "is no checkpoint of childcnn: it lacks 'conv1.bias'"),
    ],
    ids=["network", "colours", "switch"],
)
def test_a_model_whose_base_does_not_fit_is_refused_in_one_sentence(
    tmp_path: Path, theirs: dict[str, object], ours: dict[str, object], said: str
) -> None:
    write_start(tmp_path / "other", ("sad", "happy"), **theirs)
    with pytest.raises(ModelError, match=said) as caught:
        start_network(network(2, **ours), ("sad", "happy"), tmp_path / "other", SAMPLE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mobilenet_v2", "childcnn"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_start_cut_short_is_refused_in_one_sentence(
    tmp_path: Path, share: float, name: str
) -> None:
    path = tmp_path / "start.npz"
    np.savez(path, **{"00_w": np.zeros((32, 3, 3, 3), np.float32)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelError, match=r"start\.npz cannot be read") as caught:
        start_network(network(2, name=name), ("sad", "happy"), path, SAMPLE)
    assert "\n" not in str(caught.value)
