"""Checkpoints from local files: torchvision's into our networks, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from moppet.train.networks import Network, alexnet, build_network, load_checkpoint, save_network
from moppet.values import ModelError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

PUBLISHED = ["alexnet", "resnet18", "googlenet", "mobilenet_v2"]
MEAN, SPREAD = (
    torch.tensor(c)[:, None, None] for c in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


@pytest.fixture(scope="module", autouse=True)
def _narrow_alexnet() -> Iterator[None]:
    """Two wide layers of 256 units, of 4,096, to save time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alexnet.AlexNet, "width", 256)
        yield


def published(name: str, classes: int = 10) -> Network:
    """A network as torchvision has it, with random weights; googlenet with its auxiliary heads."""
    settings = {"auxiliary": True} if name == "googlenet" else {}
    torch.manual_seed(11)
    network = build_network(name, classes, head="original", **settings).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


def write(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in tensors.items()})
    elif path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


def first_layer(network: Network, x: torch.Tensor) -> torch.Tensor:
    """The first convolution's answer, with its bias or BatchNorm, without the rim of padding."""
    modules = list(network.modules())
    conv = next(m for m in modules if isinstance(m, nn.Conv2d))
    out = conv(x)
    if conv.bias is None:
        out = next(m for m in modules if isinstance(m, nn.BatchNorm2d))(out)
    return out[:, :, 2:-2, 2:-2]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_a_checkpoint_of_the_same_classes_is_taken_over_whole(suffix: str, tmp_path: Path) -> None:
    source = published("mobilenet_v2")
    path = write(source.state_dict(), tmp_path / f"weights{suffix}")
    network = build_network("mobilenet_v2", 10, head="original")
    assert load_checkpoint(network, path) == []
    first = ("features.0.0.weight", "features.0.1.running_mean")  # rescaled to our input
    for name, value in source.state_dict().items():
        assert name in first or torch.equal(network.state_dict()[name], value), name


@pytest.fixture(scope="module", params=PUBLISHED)
def given(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Network, Path]:
    """One of the published networks and its file."""
    source = published(request.param)
    path = tmp_path_factory.mktemp("checkpoint") / "weights.safetensors"
    return source, write(source.state_dict(), path)


def test_a_published_checkpoint_starts_the_base_and_leaves_seed_2s_head(
    given: tuple[Network, Path],
) -> None:
    source, path = given[0].state_dict(), given[1]
    network = build_network(given[0].name, 3)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    fresh = load_checkpoint(network, path)
    heads = [n for n, m in network.named_modules() if m in network.head_modules()]
    assert set(fresh) == {
        k
        for k in network.state_dict()
        if k.startswith(tuple(heads)) and not k.endswith("num_batches_tracked")
    }
    same = {k for k, v in network.state_dict().items() if k in source and torch.equal(v, source[k])}
    bases = {k for k in before if not k.startswith(tuple(heads))}
    assert len(bases - same) == 2  # the first layer's filters and shift
    assert all(torch.equal(network.state_dict()[k], before[k]) for k in fresh)


def test_our_input_gives_the_first_layers_answer_to_torchvisions(
    given: tuple[Network, Path],
) -> None:
    source, path = given
    value = torch.randint(0, 256, (2, 3, 64, 64)).float()
    theirs = (value / 255 - MEAN) / SPREAD
    if source.name == "googlenet":  # torchvision undoes its own normalization: transform_input
        theirs = (value / 255 - 0.5) / 0.5
    network = build_network(source.name, 3).eval()
    load_checkpoint(network, path)
    gray = build_network(source.name, 3, channels=1).eval()
    load_checkpoint(gray, path)
    with torch.no_grad():
        expected = first_layer(source, theirs)
        assert torch.allclose(first_layer(network, (value - 128) / 128), expected, atol=1e-4)
        same = value[:, :1]
        expected = first_layer(network, (same.expand(-1, 3, -1, -1) - 128) / 128)
        assert torch.allclose(first_layer(gray, (same - 128) / 128), expected, atol=1e-4)


def test_auxiliary_heads_are_taken_over_where_there_are_any(tmp_path: Path) -> None:
    source = published("googlenet").state_dict()
    path = write(source, tmp_path / "weights.safetensors")
    network = build_network("googlenet", 3, auxiliary=True)
    fresh = load_checkpoint(network, path)
    assert torch.equal(network.state_dict()["aux1.fc1.weight"], source["aux1.fc1.weight"])
    assert {"aux1.fc2.weight", "aux2.fc2.bias"} <= set(fresh)


def test_our_own_file_is_taken_without_rescaling(tmp_path: Path) -> None:
    source = published("resnet18")
    save_network(source, tmp_path / "weights.safetensors")
    network = build_network("resnet18", 10, head="original")
    assert load_checkpoint(network, tmp_path / "weights.safetensors") == []
    for name, value in source.state_dict().items():
        kept = value.half().float() if value.ndim > 1 else value
        assert torch.equal(network.state_dict()[name], kept), name
    with pytest.raises(ModelError, match="is a checkpoint of resnet18; googlenet needs its own"):
        load_checkpoint(build_network("googlenet", 10), tmp_path / "weights.safetensors")


@pytest.fixture(scope="module")
def resnet() -> Network:
    return build_network("resnet18", 3)


def changed(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    tensors = {**published("resnet18").state_dict(), **changes}
    return {name: value for name, value in tensors.items() if value is not None}


def test_a_checkpoint_without_batch_counts_is_one(resnet: Network, tmp_path: Path) -> None:
    tensors = {k: v for k, v in changed().items() if not k.endswith("num_batches_tracked")}
    assert all(
        name.startswith(("head.", "classifier."))
        for name in load_checkpoint(resnet, write(tensors, tmp_path / "weights.npz"))
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bn1.bias": None}, "it lacks 'bn1.bias'."),
        (
            {"layer1.2.conv1.weight": torch.zeros(1), "layer1.2.conv2.weight": torch.zeros(1)},
            "it holds 'layer1.2.conv1.weight' and 1 more, which resnet18 has not.",
        ),
        (
            {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)},
            "layer1.0.conv1.weight has shape (64, 64, 1, 1) where (64, 64, 3, 3) is needed",
        ),
        ({"conv1.weight": torch.zeros(64, 4, 7, 7)}, "conv1.weight has shape (64, 4, 7, 7)"),
    ],
    ids=["too little", "too much, as resnet34 has", "another shape", "four colors"],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_sentence(
    resnet: Network, changes: dict[str, torch.Tensor | None], said: str, tmp_path: Path
) -> None:
    path = write(changed(**changes), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError) as caught:
        load_checkpoint(resnet, path)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["googlenet", "mobilenet_v2", "childcnn"])
def test_another_networks_checkpoint_is_named(resnet: Network, other: str, tmp_path: Path) -> None:
    settings = {"input_size": 32} if other == "childcnn" else {"head": "original"}
    tensors = build_network(other, 10, **settings).state_dict()
    path = write(tensors, tmp_path / "weights.npz")
    with pytest.raises(ModelError, match=f"no checkpoint of resnet18: .*like one of {other}"):
        load_checkpoint(resnet, path)


def test_a_refused_checkpoint_changes_nothing(resnet: Network, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in resnet.state_dict().items()}
    path = write(changed(**{"layer4.1.bn2.bias": None}), tmp_path / "weights.npz")
    with pytest.raises(ModelError):
        load_checkpoint(resnet, path)
    assert all(torch.equal(value, before[name]) for name, value in resnet.state_dict().items())


class Surprise:
    """What an untrusted .pth can hold: an object, whose making may run anything."""


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("none.pth", None, "there is no such file"),
        ("weights.bin", b"1234", "weights come as .safetensors, .npz, .pth"),
        ("weights.pth", b"1234", "cannot be read as pth weights"),
        ("weights.npz", b"1234", "cannot be read as npz weights"),
        ("weights.safetensors", b"1234", "cannot be read as safetensors weights"),
        ("object.pth", {"a": Surprise()}, "cannot be read as pth weights"),
        ("nested.pth", {"state_dict": {"a": torch.zeros(1)}}, "no weights by name"),
        ("empty.pth", {}, "no weights by name"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(
    resnet: Network, tmp_path: Path, file: str, content: object, said: str
) -> None:
    path = tmp_path / file
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ModelError, match=said) as caught:
        load_checkpoint(resnet, path)
    assert "\n" not in str(caught.value)
