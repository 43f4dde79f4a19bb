"""The parts of training: recipe, network, start weights, loss, rates and random views."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ferplus_sample import (
    SIDE,
    TRAIN_ROWS,
    crop_landmarks,
    draw_face,
    training_data,
    write_ferplus,
)
from moppet.datasets.faces import aligned_crop
from moppet.infer.alignment import warped
from moppet.train import trainer as loop
from moppet.train.augmentation import crop_matrices, random_view
from moppet.train.data_module import EpochSampler, RandomViews, earlier, network_input
from moppet.train.measurement import fit_temperature
from moppet.train.module import rate_factor
from moppet.train.networks import build_network, load_folded
from moppet.train.networks.mobilenet import MobileNetV2
from moppet.train.recipe import RandomViewSettings, Recipe, chosen_settings, data_of, read_recipe
from moppet.train.starting_weights import start_network
from moppet.values import EXPRESSIONS, ModelError, UsageError

REPO = Path(__file__).parents[1]
STILL = RandomViewSettings(**{field.name: 0.0 for field in dataclasses.fields(RandomViewSettings)})
GRAY = torch.zeros(2, 1, 32, 32)
BARE = 'name = "tiny"\ndata = "ferplus.npz"\n'


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread() -> None:
    """Threads that wait for each other cost more than they give on networks this small."""
    torch.set_num_threads(1)


def write_recipe(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------- recipe


def test_a_recipe_is_read_with_its_defaults(tmp_path: Path) -> None:
    text = BARE + "epochs = 3\nhead_rate = 1\n[random_views]\nflip = 0.25\n"
    expected = Recipe(
        "tiny", "ferplus.npz", epochs=3, head_rate=1.0, random_views=RandomViewSettings(flip=0.25)
    )
    assert read_recipe(write_recipe(tmp_path, text)) == expected


def test_the_shipped_recipe_is_valid_and_says_how_a_recipe_is_kept() -> None:
    recipe = read_recipe(REPO / "recipes" / "default.toml")
    kept = dataclasses.asdict(recipe)
    random_views = RandomViewSettings(**kept.pop("random_views"))
    assert Recipe(**kept, random_views=random_views) == recipe


def test_a_recipe_is_told_from_others_by_what_differs_from_the_defaults() -> None:
    recipe = Recipe("a", "b", size=64, random_views=RandomViewSettings(flip=0.25))
    assert chosen_settings(recipe) == {
        "name": "a", "data": "b", "size": 64, "augmentation": {"flip": 0.25},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BARE + "epoch = 3\n", "unknown key 'epoch'. Did you mean 'epochs'?"),
        (
            BARE + "[random_views]\nrotation = 3\n",
            "random_views.rotation'. Did you mean 'rotation_d",
        ),
        (BARE + "xyzzy = 3\n", "unknown key 'xyzzy'."),
        (BARE + 'epochs = "3"\n', "epochs must be a whole number of at least 1, got '3'"),
        (BARE + "epochs = 3.0\n", "epochs must be a whole number of at least 1, got 3.0"),
        (BARE + "epochs = true\n", "epochs must be a whole number of at least 1, got true"),
        (BARE + "head_rate = true\n", "head_rate must be a number of at least 0, got true"),
        (BARE + "random_views = 3\n", "random_views must be a table, got 3"),
        ('data = "faces"\n', "the key 'name' is needed"),
        ("name = tiny\n", "is not valid TOML"),
        (BARE + "epochs = 0\n", "epochs must be a whole number of at least 1, got 0"),
        (BARE + "batch = 1\n", "batch must be a whole number of at least 2, got 1"),
        (BARE + "size = 8\n", "size must be a whole number of at least 32, got 8"),
        (BARE + "base_rate = -1.0\n", "base_rate must be a number of at least 0, got -1.0"),
        (BARE + 'precision = "fp8"\n', "precision must be"),
        (BARE + "seed = -1\n", "seed must"),
        (BARE + "dropout = 1.5\n", "dropout must"),
        (BARE + "ema_decay = 1.5\n", "ema_decay must"),
        (BARE + "head_rate = nan\n", "head_rate must"),
        (
            BARE + "seed = 4294967296\n",
            "seed must be a whole number from 0 to 4294967295, got 42",
        ),
        (BARE + "[random_views]\nflip = 1.5\n", "flip must be a number from 0 to 1, got 1.5"),
        (BARE + "[random_views]\nscale = inf\n", "scale must be a number from 0 to 2, got inf"),
        (BARE + "[random_views]\nblur = nan\n", "blur must be a number from 0 to 1, got nan"),
        (BARE + 'classes = ["fear"]\n', "classes must be two or more different names"),
        (BARE + 'classes = ["a", "b", "a"]\n', "classes must be two or more different names"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence_that_names_it(
    tmp_path: Path, text: str, said: str
) -> None:
    path = write_recipe(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_of_a_recipe_are_reported_at_once(tmp_path: Path) -> None:
    text = BARE + 'epoch = 3\nsize = 8\ncolor = "grau"\n[random_views]\nflip = 2\n'
    with pytest.raises(UsageError) as caught:
        read_recipe(write_recipe(tmp_path, text))
    assert "has 4 mistakes" in str(caught.value)
    for said in ("'epochs'?", "size must be", "color must be 'gray' or 'rgb'", "random_views.flip"):
        assert said in str(caught.value)


def test_the_keys_of_earlier_versions_are_read_and_identify_the_same_recipe(tmp_path: Path) -> None:
    old = BARE + 'colour = "rgb"\nlicence = "CC0"\n'
    new = BARE + 'color = "rgb"\nlicense = "CC0"\n'
    recipes = [read_recipe(write_recipe(tmp_path, text)) for text in (old, new)]
    assert recipes[0] == recipes[1] == Recipe("tiny", "ferplus.npz", color="rgb", license="CC0")
    kept = {"name": "tiny", "data": "ferplus.npz", "colour": "rgb", "licence": "CC0"}
    assert chosen_settings(recipes[0]) == kept
    assert read_recipe(write_recipe(tmp_path, BARE + 'colour = "grey"\n')).color == "gray"
    old = BARE + 'families = ["geometry"]\n[augmentation]\nflip = 0.25\n'
    recipe = read_recipe(write_recipe(tmp_path, old))
    assert (recipe.augmentations, recipe.random_views.flip) == (("geometry",), 0.25)
    assert chosen_settings(recipe).items() > {"families": ("geometry",)}.items()


def test_a_recipes_data_may_be_given_beside_it(tmp_path: Path) -> None:
    recipe = Recipe("tiny", "faces")
    assert data_of(recipe, tmp_path) == (tmp_path / "faces").resolve()
    assert data_of(Recipe("tiny"), tmp_path, tmp_path / "mine") == (tmp_path / "mine").resolve()
    assert data_of(recipe, tmp_path, tmp_path / "mine") == (tmp_path / "mine").resolve()
    with pytest.raises(UsageError, match=r"'tiny' does not name its data.*--data FOLDER"):
        data_of(Recipe("tiny"), tmp_path)


def test_a_recipe_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b'name = "\xff\xfe"\n')
    with pytest.raises(UsageError, match="not valid TOML"):
        read_recipe(tmp_path / "bytes.toml")


# ------------------------------------------------------------------------------------ network


def torchvision_names() -> list[str]:
    """Parameters and buffers of torchvision's mobilenet_v2().features, in its order."""

    def norm(prefix: str) -> list[str]:
        kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return [f"{prefix}.{kind}" for kind in kinds]

    names = ["features.0.0.weight", *norm("features.0.1")]
    for block in range(1, 18):
        conv = f"features.{block}.conv"
        expands = block > 1
        if expands:
            names += [f"{conv}.0.0.weight", *norm(f"{conv}.0.1")]
        names += [f"{conv}.{0 + expands}.0.weight", *norm(f"{conv}.{0 + expands}.1")]
        names += [f"{conv}.{1 + expands}.weight", *norm(f"{conv}.{2 + expands}")]
    return [*names, "features.18.0.weight", *norm("features.18.1")]


CONVOLUTIONS = [
    name
    for name in torchvision_names()
    if name.endswith(".weight") and f"{name[:-7]}.running_mean" not in torchvision_names()
]


@pytest.fixture(scope="module")
def color_network() -> MobileNetV2:
    torch.manual_seed(0)
    return MobileNetV2(7, channels=3).eval()


def test_features_have_torchvisions_names_and_published_size(color_network: MobileNetV2) -> None:
    names = [name for name in color_network.state_dict() if name.startswith("features.")]
    assert names == torchvision_names()
    assert len(CONVOLUTIONS) == 52
    # torchvision's 3,504,872 parameters less the 1280 x 1000 + 1000 of its classifier.
    assert sum(p.numel() for p in color_network.features.parameters()) == 2_223_872


def test_shapes_of_some_layers_are_those_of_the_paper(color_network: MobileNetV2) -> None:
    shapes = {name: tuple(value.shape) for name, value in color_network.state_dict().items()}
    assert shapes["features.0.0.weight"] == (32, 3, 3, 3)
    assert shapes["features.1.conv.0.0.weight"] == (32, 1, 3, 3)
    assert shapes["features.1.conv.1.weight"] == (16, 32, 1, 1)
    assert shapes["features.2.conv.0.0.weight"] == (96, 16, 1, 1)
    assert shapes["features.17.conv.2.weight"] == (320, 960, 1, 1)
    assert shapes["features.18.1.running_mean"] == (1280,)


@pytest.mark.parametrize("side", [32, 96])
def test_features_shrink_by_32_and_the_head_gives_logits_and_embedding(side: int) -> None:
    network = MobileNetV2(5, channels=1).eval()
    image = torch.zeros(2, 1, side, side)
    with torch.no_grad():
        logits, embedding = network(image)
        assert network.features(image).shape == (2, 1280, side // 32, side // 32)
    assert logits.shape == (2, 5)
    assert embedding.shape == (2, 128)


# ------------------------------------------------------------------------------ start weights


@pytest.fixture(scope="module")
def folded(color_network: MobileNetV2) -> dict[str, np.ndarray]:
    """Arrays such as the folded ImageNet weights: NN_w and NN_b in network order."""
    rng = np.random.default_rng(3)
    shapes = [tuple(color_network.state_dict()[name].shape) for name in CONVOLUTIONS]
    arrays = {}
    for number, shape in enumerate(shapes):
        spread = np.sqrt(1 / np.prod(shape[1:]))
        arrays[f"{number:02d}_w"] = rng.normal(0, spread, shape).astype(np.float32)
        arrays[f"{number:02d}_b"] = rng.normal(0, 1, shape[0]).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def sample() -> torch.Tensor:
    """Colour images as a network takes them: smooth, each with a light of its own."""
    torch.manual_seed(2)
    coarse = torch.randn(64, 3, 8, 8) + torch.randn(64, 3, 1, 1)
    return functional.interpolate(coarse, 64, mode="bilinear")


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory, folded: dict[str, np.ndarray], sample: torch.Tensor
) -> MobileNetV2:
    path = tmp_path_factory.mktemp("start") / "start.npz"
    np.savez(path, **folded, layer_info=np.array(["00|CONV_2D", "01|DEPTHWISE_CONV_2D"]))
    network = MobileNetV2(7, channels=3)
    load_folded(network, path, sample)
    return network


@pytest.mark.parametrize("training", [False, True], ids=["in use", "in training"])
def test_every_layer_started_from_folded_weights_is_convolution_plus_bias(
    started: MobileNetV2, folded: dict[str, np.ndarray], sample: torch.Tensor, training: bool
) -> None:
    network = copy.deepcopy(started).train(training)
    modules = dict(network.named_modules())
    worst = {}

    def compare(number: int, name: str) -> Callable[..., None]:
        conv = modules[name]
        weight, bias = (torch.from_numpy(folded[f"{number:02d}_{kind}"]) for kind in "wb")

        def hook(module: nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
            # A layer's own input, seen just before, so that errors do not add up.
            x = seen[name]
            wanted = functional.conv2d(x, weight, bias, conv.stride, conv.padding, 1, conv.groups)
            worst[name] = float((out - wanted).abs().max() / wanted.std())

        return hook

    seen: dict[str, torch.Tensor] = {}
    for number, name in enumerate(c.removesuffix(".weight") for c in CONVOLUTIONS):
        # torchvision puts a layer's normalization at the next place of its sequence.
        parent, place = name.rsplit(".", 1)
        modules[name].register_forward_pre_hook(
            lambda _, inputs, name=name: seen.__setitem__(name, inputs[0])
        )
        modules[f"{parent}.{int(place) + 1}"].register_forward_hook(compare(number, name))
    with torch.no_grad():
        network.features(sample)
    assert len(worst) == 52
    # In training a batch's spread divides by n, the one in use by n - 1; n is 256 at the end.
    assert max(worst.values()) < (0.03 if training else 1e-3), worst


@pytest.mark.parametrize("training", [False, True], ids=["in use", "in training"])
def test_a_network_started_from_folded_weights_computes_what_the_folded_one_computed(
    started: MobileNetV2, folded: dict[str, np.ndarray], sample: torch.Tensor, training: bool
) -> None:
    plain = copy.deepcopy(started).eval()
    modules = dict(plain.named_modules())
    for number, name in enumerate(c.removesuffix(".weight") for c in CONVOLUTIONS):
        parent, place = name.rsplit(".", 1)
        modules[name].bias = nn.Parameter(torch.from_numpy(folded[f"{number:02d}_b"]))
        modules[parent][int(place) + 1] = nn.Identity()
    network = copy.deepcopy(started).train(training)
    with torch.no_grad():
        expected, got = plain.features(sample), network.features(sample)
    assert expected.std() > 0.1
    off = (got - expected).abs()
    assert off.mean() / expected.std() < (0.02 if training else 1e-4)


@pytest.mark.parametrize("training", [False, True], ids=["in use", "in training"])
def test_the_first_mobilenet_starts_from_folded_weights_too(
    tmp_path: Path, sample: torch.Tensor, training: bool
) -> None:
    torch.manual_seed(4)
    network = build_network("mobilenet_v1", 7).eval()
    convs = [m for m in network.features.modules() if isinstance(m, nn.Conv2d)]
    arrays, x = {"layer_info": np.array(["00|CONV_2D"])}, sample
    for number, conv in enumerate(convs):
        fan = conv.weight[0].numel()
        weight, bias = (
            torch.randn_like(conv.weight) * (2 / fan) ** 0.5,
            torch.randn(len(conv.weight)),
        )
        arrays |= {f"{number:02d}_w": weight.numpy(), f"{number:02d}_b": bias.numpy()}
        x = functional.conv2d(x, weight, bias, conv.stride, conv.padding, 1, conv.groups)
        x = x.clamp(0, 6)
    assert len(convs) == 27
    np.savez(tmp_path / "start.npz", **arrays)
    start_network(network, EXPRESSIONS, tmp_path / "start.npz", sample)
    with torch.no_grad():
        got = network.train(training).features(sample)
    assert x.std() > 0.1
    assert (got - x).abs().mean() / x.std() < (0.02 if training else 1e-4)


def test_gray_start_answers_as_color_does_to_a_gray_image(
    tmp_path: Path, folded: dict[str, np.ndarray], sample: torch.Tensor
) -> None:
    np.savez(tmp_path / "start.npz", **folded)
    colour, gray = MobileNetV2(7, channels=3).eval(), MobileNetV2(7, channels=1).eval()
    pictures = sample[:16, :1]
    load_folded(gray, tmp_path / "start.npz", pictures)
    load_folded(colour, tmp_path / "start.npz", pictures.expand(-1, 3, -1, -1))
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        expected = colour.features(image.expand(-1, 3, -1, -1))
        assert expected.abs().max() > 0.1
        assert torch.allclose(gray.features(image), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"07_b": None}, "lacks layer 07"),
        ({"05_w": np.zeros((23, 1, 3, 3), np.float32)}, "layer 05 has shape"),
        ({"05_b": np.zeros(23, np.float32)}, "layer 05"),
    ],
    ids=["no bias", "weights of another shape", "bias of another shape"],
)
def test_start_weights_that_do_not_fit_are_refused(
    tmp_path: Path, folded: dict[str, np.ndarray], change: dict[str, np.ndarray], said: str
) -> None:
    arrays = {key: value for key, value in {**folded, **change}.items() if value is not None}
    np.savez(tmp_path / "start.npz", **arrays)
    with pytest.raises(ModelError, match=said) as caught:
        load_folded(MobileNetV2(7, channels=1), tmp_path / "start.npz", GRAY)
    assert "start.npz" in str(caught.value)


def test_start_weights_that_are_missing_or_no_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    with pytest.raises(ModelError, match="no such file"):
        load_folded(MobileNetV2(7, channels=1), path, GRAY)
    path.write_bytes(b"no archive")
    with pytest.raises(ModelError, match=r"start\.npz"):
        load_folded(MobileNetV2(7, channels=1), path, GRAY)


# ----------------------------------------------------------------------------- loss and rates


@pytest.mark.parametrize(("steps", "warm_up"), [(100, 0.1), (7, 0.0), (3, 0.5), (1000, 0.3)])
def test_the_rate_rises_peaks_at_one_and_falls_to_nothing(steps: int, warm_up: float) -> None:
    recipe = Recipe("tiny", "", epochs=1, warm_up=warm_up)
    factors = np.array([rate_factor(recipe, step, steps) for step in range(steps + 1)])
    peak = int(factors.argmax())
    assert factors[peak] == 1
    assert peak <= max(1, round(steps * warm_up))
    assert (np.diff(factors[: peak + 1]) > 0).all()
    assert (np.diff(factors[peak:]) <= 0).all()
    assert factors[0] > 0
    assert factors[steps] == pytest.approx(0, abs=1e-12)
    assert rate_factor(recipe, steps + 50, steps) == pytest.approx(0, abs=1e-12)


def test_a_stepped_rate_falls_by_the_factor_after_so_many_epochs() -> None:
    recipe = Recipe("tiny", "", epochs=4, schedule="step", step_epochs=2, step_factor=0.1)
    factors = [rate_factor(recipe, step, 3) for step in range(12)]
    assert factors == pytest.approx([1.0] * 6 + [0.1] * 6)
    constant = Recipe("tiny", "", epochs=4, schedule="constant")
    assert {rate_factor(constant, step, 3) for step in range(12)} == {1.0}


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_fit_temperature_recovers_the_temperature_that_made_the_labels(true: float) -> None:
    rng = np.random.default_rng(5)
    calibrated = rng.normal(0, 2, (20_000, 7))
    p = np.exp(calibrated) / np.exp(calibrated).sum(axis=1, keepdims=True)
    label = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1).astype(np.int8)
    logits = (calibrated * true).astype(np.float32)
    assert fit_temperature(logits, label) == pytest.approx(true, rel=0.04)


# ------------------------------------------------------------------------------- random views


def smooth_image() -> np.ndarray:
    """Waves with slopes of some gray levels a pixel: half a pixel's shift would show."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE * 2 * np.pi
    return np.clip(128 + 50 * np.sin(x + 0.4) + 50 * np.cos(y * 1.5), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [48, 96, 112])
def test_the_aligned_view_is_the_crop_of_video(size: int) -> None:
    image = smooth_image()
    turn = cv2.getRotationMatrix2D((24, 24), 12, 0.9)
    landmarks = (crop_landmarks(1.5) @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    aligned = warped(image, crop_matrices(SIDE, landmarks, size)[1], size)
    expected = network_input(aligned_crop(image, landmarks)[None], Recipe("t", "", size=size))[0, 0]
    off = np.abs(aligned.astype(float) - expected)
    assert off.mean() < 1
    whole = warped(image, crop_matrices(SIDE, landmarks, size)[0], size)
    assert np.abs(whole.astype(float) - expected).mean() > 5


@pytest.mark.parametrize("size", [48, 96, 112])
def test_the_raw_view_is_the_whole_crop(size: int) -> None:
    image = smooth_image()
    nobody = np.full((5, 2), np.nan, np.float32)
    raw, other = crop_matrices(SIDE, nobody, size)
    assert np.array_equal(raw, other)
    assert np.array_equal(crop_matrices(SIDE, crop_landmarks(), size)[0], raw)
    expected = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    assert np.abs(warped(image, raw, size).astype(float) - expected).mean() < 0.5


def test_random_views_are_squares_of_bytes_and_the_same_for_the_same_rng() -> None:
    image = draw_face("happiness", np.random.default_rng(0))
    matrices = crop_matrices(SIDE, crop_landmarks(), 40)

    def make(seed: int) -> np.ndarray:
        return random_view(image, matrices, 40, RandomViewSettings(), np.random.default_rng(seed))

    views = [make(seed) for seed in range(40)]
    assert all(v.shape == (40, 40) and v.dtype == np.uint8 for v in views)
    assert all(np.array_equal(v, make(seed)) for seed, v in enumerate(views))
    assert len({v.tobytes() for v in views}) == 40
    assert np.array_equal(image, draw_face("happiness", np.random.default_rng(0)))


def test_with_every_range_at_zero_the_view_is_the_plain_one() -> None:
    # Every gray level occurs, so that none is rounded to its neighbor unseen.
    image = np.resize(np.arange(256, dtype=np.uint8), (SIDE, SIDE))
    matrices = crop_matrices(SIDE, np.full((5, 2), np.nan, np.float32), SIDE)
    for seed in range(10):
        made = random_view(image, matrices, SIDE, STILL, np.random.default_rng(seed))
        assert np.array_equal(made, image)


def test_a_view_lies_between_the_raw_and_the_aligned_one() -> None:
    image = smooth_image()
    matrices = crop_matrices(SIDE, crop_landmarks(3.0), SIDE)
    raw, aligned = (warped(image, matrix, SIDE).astype(float) for matrix in matrices)
    made = [
        random_view(image, matrices, SIDE, STILL, np.random.default_rng(seed)).astype(float)
        for seed in range(60)
    ]
    to_raw, to_aligned = (
        np.array([np.abs(v - end).mean() for v in made]) for end in (raw, aligned)
    )
    assert 8 <= (to_raw < 1).sum() <= 30
    assert 8 <= (to_aligned < 1).sum() <= 30
    assert ((to_raw >= 1) & (to_aligned >= 1)).sum() >= 10


TINY = Recipe("tiny", "ferplus.npz", size=32)


def test_a_rows_view_depends_on_seed_epoch_and_row_alone(tmp_path: Path) -> None:
    data = training_data(write_ferplus(tmp_path / "ferplus.npz"), TINY)

    def item(seed: int, epoch: int, index: int) -> bytes:
        views = RandomViews(data, dataclasses.replace(TINY, seed=seed))
        views.epoch = epoch
        views[0]  # what was asked before does not matter
        return bytes(views[index][0].numpy().tobytes())

    assert item(0, 1, 5) == item(0, 1, 5)
    assert len({item(0, 1, 5), item(0, 2, 5), item(1, 1, 5), item(0, 1, 6)}) == 4


def test_an_epochs_order_depends_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    views = RandomViews(training_data(write_ferplus(tmp_path / "ferplus.npz"), TINY), TINY)

    def order(epoch: int) -> list[int]:
        views.epoch = epoch
        return list(EpochSampler(views))

    assert sorted(order(0)) == list(range(len(views)))
    assert order(0) == order(0) != order(1)


def test_balanced_draws_give_each_class_its_share(tmp_path: Path) -> None:
    views = RandomViews(training_data(write_ferplus(tmp_path / "ferplus.npz"), TINY), TINY)
    chances = np.where(np.arange(len(views)) < 5, 1 / 5, 1 / (len(views) - 5))
    drawn = np.concatenate([list(_at(views, epoch, chances)) for epoch in range(60)])
    assert np.mean(drawn % len(views) < 5) == pytest.approx(0.5, abs=0.05)


def _at(views: RandomViews, epoch: int, chances: np.ndarray) -> EpochSampler:
    views.epoch = epoch
    return EpochSampler(views, chances=chances)


def test_rows_shown_more_often_come_each_time_with_another_view(tmp_path: Path) -> None:
    views = RandomViews(training_data(write_ferplus(tmp_path / "ferplus.npz"), TINY), TINY)
    n = len(views)
    times = np.where(np.arange(n) < 4, 3, 1)
    sampler = EpochSampler(views, times=times)
    numbers = list(sampler)
    assert len(numbers) == len(sampler) == len(set(numbers)) == n + 8
    assert np.bincount(np.array(numbers) % n).tolist() == times.tolist()
    pictures = {views[i][0].numpy().tobytes() for i in (2, 2 + n, 2 + 2 * n)}
    assert len(pictures) == 3
    assert all(torch.equal(views[2][part], views[2 + n][part]) for part in (1, 2))
    assert earlier(np.array([5, 3, 5, 5, 3])).tolist() == [0, 0, 1, 2, 1]


def test_a_recipe_shows_the_ages_it_names_more_often(tmp_path: Path) -> None:
    path = write_ferplus(tmp_path / "ferplus.npz")
    recipe = dataclasses.replace(TINY, oversample_ages=("infant",), oversample_times=4)
    data = training_data(path, recipe)
    views = RandomViews(data, recipe)
    times = loop._times(data, views, recipe)
    infant = data.manifest.column("age_band")[views.rows] == "infant"
    assert 0 < infant.sum() < len(views) and np.array_equal(times, np.where(infant, 4, 1))
    with pytest.raises(UsageError, match="no image has the age band 'baby'"):
        training_data(path, dataclasses.replace(recipe, oversample_ages=("baby",)))


def test_views_come_with_the_votes_of_their_row_and_of_training_rows_only(tmp_path: Path) -> None:
    path = write_ferplus(tmp_path / "ferplus.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["votes"][0] = 0
    arrays["votes"][0, [0, 8]] = 2, 8  # too few votes on the seven
    np.savez(path, **arrays)
    data = training_data(path, TINY)
    views = RandomViews(data, dataclasses.replace(TINY, random_views=STILL))
    assert set(views.rows) == set(data.rows("train")) - {0}
    assert len(views) < TRAIN_ROWS
    names = arrays["vote_names"].tolist()
    for index in (0, len(views) - 1):
        image, soft, weight = views[index]
        row = data.manifest.column("array_row")[views.rows[index]]
        counts = np.array([arrays["votes"][row, names.index(name)] for name in EXPRESSIONS])
        assert image.shape == (1, 32, 32) and image.dtype == torch.uint8
        assert soft.numpy() == pytest.approx(counts / counts.sum())
        assert float(weight) == pytest.approx(counts.sum() / 10)


def test_hard_labels_are_the_winner_alone(tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, labels="hard")
    data = training_data(write_ferplus(tmp_path / "ferplus.npz"), recipe)
    views = RandomViews(data, recipe)
    for index, row in enumerate(views.rows.tolist()):
        soft = views[index][1]
        assert soft.sum() == 1 and int(soft.argmax()) == data.label[row]


def test_color_views_have_three_channels_and_the_gray_ones_values(tmp_path: Path) -> None:
    path = write_ferplus(tmp_path / "ferplus.npz")
    recipe = dataclasses.replace(TINY, random_views=STILL)
    color = dataclasses.replace(recipe, color="rgb")
    gray_view = RandomViews(training_data(path, recipe), recipe)[3][0]
    color_view = RandomViews(training_data(path, color), color)[3][0]
    assert color_view.shape == (3, 32, 32)
    assert all(torch.equal(channel, gray_view[0]) for channel in color_view)


# --------------------------------------------------------------------------- what is asked for


def test_classes_and_ages_restrict_what_is_trained_on(tmp_path: Path) -> None:
    path = write_ferplus(tmp_path / "ferplus.npz")
    whole = training_data(path, TINY)
    bands = whole.manifest.column("age_band")
    two = dataclasses.replace(TINY, classes=("sadness", "happiness"), only_ages=("infant",))
    data = training_data(path, two)
    assert data.names == ("sadness", "happiness")
    for part in ("train", "val", "test"):
        rows = data.rows(part)
        assert set(bands[rows]) <= {"infant"}
        for row in data.rows(part, labeled=True):
            assert data.names[data.label[row]] == whole.manifest.column("label")[row]
    voted = data.soft.sum(axis=1)
    assert voted[voted > 0] == pytest.approx(1)


def test_ages_left_out_are_left_out_with_every_copy_but_still_reported(tmp_path: Path) -> None:
    path = write_ferplus(tmp_path / "ferplus.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    adult = np.flatnonzero(arrays["age_band"] == 2)[0]
    infant = np.flatnonzero(arrays["age_band"] == 0)[0]
    arrays["dup_group"][adult] = arrays["dup_group"][infant]
    np.savez(path, **arrays)
    recipe = dataclasses.replace(TINY, without_ages=("infant", "child"))
    data = training_data(path, recipe)
    bands = data.manifest.column("age_band")
    learned = np.concatenate([data.rows("train"), data.rows("val")])
    assert len(learned) and set(bands[learned]) == {"adult"}
    assert adult not in data.manifest.column("array_row")[learned]
    assert {"infant", "child", "adult"} == set(bands[data.rows("test")])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ("joy",)}, "there is no class 'joy'; there are: neutral, happiness"),
        ({"only_ages": ("baby",)}, "no image has the age band 'baby'; there are: adult, child"),
    ],
)
def test_what_is_not_in_the_data_cannot_be_asked_for(
    tmp_path: Path, change: dict[str, tuple[str, ...]], said: str
) -> None:
    path = write_ferplus(tmp_path / "ferplus.npz")
    with pytest.raises(UsageError, match=said):
        training_data(path, dataclasses.replace(TINY, **change))
