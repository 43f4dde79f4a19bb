"""Every network: what all promise, and the published sizes and costs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.nn import functional

from moppet.train.networks import (
    NETWORKS,
    Network,
    alexnet,
    build_network,
    cost,
    load_network,
    save_network,
)
from moppet.values import ModelError, UsageError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE = 64
CLASSES = 3
VARIANTS = [
    ("childcnn", {}),
    ("childcnn", {"attention": "se", "batch_norm": True, "channels": 1}),
    ("childcnn", {"attention": "cbam", "dropout": 0.5}),
    ("alexnet", {}),
    ("resnet18", {}),
    ("resnet18", {"head": "original", "channels": 1}),
    ("googlenet", {"auxiliary": True}),
    ("googlenet", {"head": "original"}),
    ("mobilenet_v1", {"channels": 1}),
    ("mobilenet_v1", {"head": "original"}),
    ("mobilenet_v2", {"channels": 1}),
    ("mobilenet_v2", {"head": "original"}),
    ("mobilefacenet", {"channels": 1}),
    ("dlib_resnet", {}),
    ("dlib_resnet", {"head": "original", "channels": 1}),
    ("efficientnet_lite0", {"channels": 1}),
    ("efficientnet_lite0", {"head": "original"}),
]


def label_of(variant: object) -> str:
    return variant if isinstance(variant, str) else ",".join(f"{k}={v}" for k, v in variant.items())


@contextmanager
def narrow() -> Iterator[None]:
    """AlexNet's two wide layers with 256 units, of 4,096, to save time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alexnet.AlexNet, "width", 256)
        yield


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: f"{v[0]} {label_of(v[1])}".strip())
def network(request: pytest.FixtureRequest) -> Network:
    """One of each kind, with random weights and BatchNorm that has seen some images."""
    name, settings = request.param
    torch.manual_seed(3)
    with narrow():
        side = 103 if name == "dlib_resnet" else SIDE
        network = build_network(name, CLASSES, input_size=side, **settings)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = None
    if norms:
        with torch.no_grad():
            network.train()(pictures(network, 8))
    return network.eval()


def pictures(network: Network, n: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    side = network.input_size
    return torch.randn(n, network.channels, side, side, generator=generator)


# ------------------------------------------------------------------- what every network promises


def test_the_variants_cover_every_registered_network() -> None:
    assert {name for name, _ in VARIANTS} == set(NETWORKS)


def test_it_answers_with_logits_and_an_embedding_always_the_same_ones(network: Network) -> None:
    x = pictures(network)
    with torch.no_grad():
        logits, embedding = network(x)
        again = network(x)
        alone = network(x[:1])
    assert logits.shape == (2, CLASSES)
    assert embedding.ndim == 2 and len(embedding) == 2
    assert network.settings.get("head") == "original" or embedding.shape[1] == 128
    assert torch.equal(logits, again[0]) and torch.equal(embedding, again[1])
    assert torch.allclose(alone[0], logits[:1], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(logits[0], logits[1], rtol=1e-3)


def test_it_is_made_again_from_its_settings_and_its_file(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_network(network, path)
    with narrow():
        loaded = load_network(path)
    assert loaded.settings == network.settings and loaded.name == network.name
    assert (loaded.channels, loaded.input_size) == (network.channels, network.input_size)
    assert not loaded.training
    for key, value in network.state_dict().items():
        kept = value.half().float() if value.ndim > 1 else value
        assert torch.equal(loaded.state_dict()[key], kept), key


def test_base_and_head_are_disjoint_and_together_everything(network: Network) -> None:
    base, head = network.base_parameters(), network.head_parameters()
    assert base and head
    identities = [id(p) for p in [*base, *head]]
    assert len(set(identities)) == len(identities)
    assert set(identities) == {id(p) for p in network.parameters()}
    logits_layer = [m for m in network.head_modules()[-1].modules() if isinstance(m, nn.Linear)]
    assert logits_layer[-1].out_features == CLASSES


def test_gradient_reaches_every_parameter_and_freezing_stops_it(network: Network) -> None:
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0

    def backward() -> dict[str, torch.Tensor | None]:
        network.zero_grad(set_to_none=True)
        network.train()
        x, label = pictures(network, 4), torch.tensor([0, 1, 2, 0])
        if network.settings.get("auxiliary"):
            logits, _, others = network.forward_auxiliary(x)
        else:
            logits, others = network(x)[0], []
        sum(functional.cross_entropy(z, label) for z in [logits, *others]).backward()
        return {name: p.grad for name, p in network.named_parameters()}

    for name, gradient in backward().items():
        assert gradient is not None and gradient.isfinite().all(), name
        # BatchNorm takes away what the bias before it adds.
        assert name == "head.1.bias" or (gradient != 0).any(), name
    network.freeze_base()
    before = copy.deepcopy(network.state_dict())
    head = {id(p) for p in network.head_parameters()}
    for name, gradient in backward().items():
        is_head = id(network.get_parameter(name)) in head
        assert (gradient is not None) == is_head, name
    heads = [f"{n}." for n, m in network.named_modules() if m in network.head_modules()]
    for name, value in network.state_dict().items():
        assert name.startswith(tuple(heads)) or torch.equal(value, before[name]), name
    network.freeze_base(False)
    assert all(p.requires_grad for p in network.parameters())
    assert all(m.training for m in network.modules())


def test_its_onnx_export_answers_alike_for_any_number_of_images(
    network: Network, tmp_path: Path
) -> None:
    path, names = tmp_path / "model.onnx", ["logits", "embedding"]
    torch.onnx.export(
        network,
        (pictures(network),),
        str(path),
        input_names=["image"],
        output_names=names,
        dynamic_axes={name: {0: "n"} for name in ("image", *names)},
        opset_version=17,
        dynamo=False,
    )
    x = pictures(network, 3)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        for got, expected in zip(session.run(names, {"image": x.numpy()}), network(x), strict=True):
            assert got.shape == tuple(expected.shape)
            assert np.abs(got - expected.numpy()).max() < 1e-4 * max(1, float(expected.abs().max()))


def test_its_last_maps_have_places(network: Network) -> None:
    seen = []
    hook = network.maps_module().register_forward_hook(lambda *args: seen.append(args[2].shape))
    with torch.no_grad():
        network(pictures(network))
    hook.remove()
    assert len(seen) == 1 and len(seen[0]) == 4 and seen[0][0] == 2


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("resnet19", {}, "no network 'resnet19'. Did you mean 'resnet18'?"),
        ("resnet18", {"heads": "hidden"}, "no setting 'heads'. Did you mean 'head'?"),
        ("resnet18", {"attention": "se"}, "no setting 'attention'"),
        ("resnet18", {"head": "wide"}, "head must be one of hidden, original, got 'wide'"),
        ("childcnn", {"attention": "sa"}, "attention must be one of none, se, cbam"),
        ("childcnn", {"input_size": 9}, "at least 10 pixels, got 9"),
        ("alexnet", {"input_size": 48}, "at least 63 pixels, got 48"),
        ("mobilenet_v2", {"channels": 2}, "1 or 3 channels, got 2 and 2"),
        ("dlib_resnet", {"input_size": 96}, "at least 103 pixels, got 96"),
    ],
)
def test_what_there_is_not_is_refused(name: str, settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_network(name, 2, **settings)
    assert said in str(caught.value)


def test_weights_that_do_not_say_their_network_make_none(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match="does not say which network"):
        load_network(tmp_path / "weights.safetensors")


def test_auxiliary_scores_need_the_heads_that_give_them() -> None:
    with torch.device("meta"):
        network = build_network("googlenet", 2)
    with pytest.raises(UsageError, match="auxiliary=True"):
        network.forward_auxiliary(torch.zeros(1, 3, 64, 64, device="meta"))


# --------------------------------------------------------------------- published sizes and costs

# Parameters: torchvision's documentation; MobileNet's: Keras', trainable ones, and its paper's
# 569 million multiplications and additions (table 8). Digest: SHA-256 of "name [shape]" lines of
# torchvision 0.28's state_dict(), which has given these networks' outputs bit for bit.
# EfficientNet-Lite0: Google's table has 4.7 million parameters and 407 million multiplications,
# which count more than the convolutions and the dense layer.
PUBLISHED = [
    ("alexnet", {}, 61_100_840, 0.714, "23c3b8d4a3e86dc8142a828c6d5e3b13"),
    ("resnet18", {}, 11_689_512, 1.814, "66b04efc1dfd4b8081ba80fd7b23ab4d"),
    ("googlenet", {}, 6_624_904, 1.498, "3cf031916e0175809825109e4753556e"),
    ("googlenet", {"auxiliary": True}, 13_004_888, 1.498, "e4f1217523f861c4f4902313fa448549"),
    ("mobilenet_v1", {}, 4_231_976, 0.569, None),
    ("mobilenet_v2", {}, 3_504_872, 0.301, "a18c560d82f6d01d86ac3a49fdcaf1d0"),
    ("efficientnet_lite0", {}, 4_652_008, 0.385, None),
]


@pytest.mark.parametrize(("name", "settings", "parameters", "gmacs", "digest"), PUBLISHED)
def test_the_published_networks_have_the_published_size_cost_and_names(
    name: str, settings: dict[str, object], parameters: int, gmacs: float, digest: str | None
) -> None:
    with torch.device("meta"):
        network = build_network(name, 1000, head="original", **settings)
    found = cost(network, 224)
    assert found.parameters == parameters
    # A multiplication and an addition are two operations.
    assert found.flops / 2e9 == pytest.approx(gmacs, rel=0.002)
    if digest is None:  # torchvision has no such network
        return
    lines = [f"{key} {list(value.shape)}" for key, value in network.state_dict().items()]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest().startswith(digest)


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "resnet18", "googlenet", "mobilenet_v1", "mobilenet_v2"),
        *("mobilefacenet", "dlib_resnet", "efficientnet_lite0"),
    ],
)
def test_seed_2s_head_is_128_units_and_takes_the_last_layers_place(name: str) -> None:
    with torch.device("meta"):
        hidden = build_network(name, 7)
        original = build_network(name, 7, head="original")
    width = {"alexnet": 4096, "resnet18": 512, "googlenet": 1024, "mobilenet_v1": 1024}
    width |= {"mobilefacenet": 512, "dlib_resnet": 256}
    features = width.get(name, 1280)
    added = features * 128 + 128 + 2 * 128 + 128 * 7 + 7
    removed = features * 7 + 7
    assert cost(hidden, 112).parameters - cost(original, 112).parameters == added - removed
    assert sum(p.numel() for p in hidden.head_parameters()) == added
    assert sum(p.numel() for p in original.head_parameters()) == removed


def test_cost_leaves_the_network_as_it_was() -> None:
    network = build_network("childcnn", 2, input_size=SIDE, dropout=0.5, batch_norm=True).train()
    before = copy.deepcopy(network.state_dict())
    counted = cost(network, SIDE)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    first, second, dense = 62 * 62 * 5 * 27, 29 * 29 * 11 * 45, 14 * 14 * 11 * 128 + 128 * 130
    assert counted.flops == 2 * (first + second + dense)
