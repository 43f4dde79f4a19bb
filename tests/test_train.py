"""The parts of training: recipe, network, start weights, loss, rates and random views."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ferplus_sample import SIDE, TRAIN_ROWS, crop_landmarks, draw_face, write_ferplus
from moppet.data.crops import aligned_crop
from moppet.data.ferplus import read_ferplus
from moppet.train.augment import Augmentation, crop_matrices, random_view, view
from moppet.train.dataset import RandomViews, network_input
from moppet.train.figures import fit_temperature
from moppet.train.loop import rate_factor, soft_cross_entropy
from moppet.train.networks import MobileNetV2, load_folded_imagenet
from moppet.train.recipe import Recipe, read_recipe, recipe_dict
from moppet.values import EXPRESSIONS, ModelError, UsageError

REPO = Path(__file__).parents[1]
STILL = Augmentation(**{field.name: 0.0 for field in dataclasses.fields(Augmentation)})
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
    text = BARE + "epochs = 3\nhead_rate = 1\n[augmentation]\nflip = 0.25\n"
    expected = Recipe(
        "tiny", "ferplus.npz", epochs=3, head_rate=1.0, augmentation=Augmentation(flip=0.25)
    )
    assert read_recipe(write_recipe(tmp_path, text)) == expected


def test_the_shipped_recipe_is_valid_and_says_how_a_recipe_is_kept() -> None:
    recipe = read_recipe(REPO / "recipes" / "default.toml")
    kept = recipe_dict(recipe)
    augmentation = Augmentation(**kept.pop("augmentation"))
    assert Recipe(**kept, augmentation=augmentation) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BARE + "epoch = 3\n", "unknown key 'epoch'. Did you mean 'epochs'?"),
        (BARE + "[augmentation]\nrotation = 3\n", "'rotation'. Did you mean 'rotation_deg'?"),
        (BARE + "xyzzy = 3\n", "unknown key 'xyzzy'. Known: name, data,"),
        (BARE + 'epochs = "3"\n', "epochs: expected int, got '3'"),
        (BARE + "epochs = 3.0\n", "epochs: expected int, got 3.0"),
        (BARE + "epochs = true\n", "epochs: expected int, got True"),
        (BARE + "head_rate = true\n", "head_rate: expected float, got True"),
        (BARE + "augmentation = 3\n", "augmentation: expected a table, got 3"),
        ('name = "tiny"\n', "the key 'data' is needed"),
        ("name = tiny\n", "is not valid TOML"),
        (BARE + "epochs = 0\n", "epochs must be at least 1, got 0"),
        (BARE + "batch = 1\n", "batch must be at least 2, got 1"),
        (BARE + "size = 8\n", "size must be at least 32, got 8"),
        (BARE + "base_rate = -1.0\n", "base_rate must not be negative, got -1.0"),
        (BARE + 'precision = "fp8"\n', "precision must be"),
        (BARE + "seed = -1\n", "seed must"),
        (BARE + "dropout = 1.5\n", "dropout must"),
        (BARE + "ema_decay = 1.5\n", "ema_decay must"),
        (BARE + "head_rate = nan\n", "head_rate must"),
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
def colour_network() -> MobileNetV2:
    torch.manual_seed(0)
    return MobileNetV2(7, channels=3).eval()


def test_features_have_torchvisions_names_and_published_size(colour_network: MobileNetV2) -> None:
    names = [name for name in colour_network.state_dict() if name.startswith("features.")]
    assert names == torchvision_names()
    assert len(CONVOLUTIONS) == 52
    # torchvision's 3,504,872 parameters less the 1280 x 1000 + 1000 of its classifier.
    assert sum(p.numel() for p in colour_network.features.parameters()) == 2_223_872


def test_shapes_of_some_layers_are_those_of_the_paper(colour_network: MobileNetV2) -> None:
    shapes = {name: tuple(value.shape) for name, value in colour_network.state_dict().items()}
    assert shapes["features.0.0.weight"] == (32, 3, 3, 3)
    assert shapes["features.1.conv.0.0.weight"] == (32, 1, 3, 3)
    assert shapes["features.1.conv.1.weight"] == (16, 32, 1, 1)
    assert shapes["features.2.conv.0.0.weight"] == (96, 16, 1, 1)
    assert shapes["features.17.conv.2.weight"] == (320, 960, 1, 1)
    assert shapes["features.18.1.running_mean"] == (1280,)


@pytest.mark.parametrize("side", [32, 96])
def test_features_shrink_by_32_and_the_head_gives_logits_and_embedding(side: int) -> None:
    network = MobileNetV2(5).eval()
    picture = torch.zeros(2, 1, side, side)
    with torch.no_grad():
        logits, embedding = network(picture)
        assert network.features(picture).shape == (2, 1280, side // 32, side // 32)
    assert logits.shape == (2, 5)
    assert embedding.shape == (2, 128)


# ------------------------------------------------------------------------------ start weights


@pytest.fixture(scope="module")
def folded(colour_network: MobileNetV2) -> dict[str, np.ndarray]:
    """Arrays such as the folded ImageNet weights: NN_w and NN_b in network order."""
    rng = np.random.default_rng(3)
    shapes = [tuple(colour_network.state_dict()[name].shape) for name in CONVOLUTIONS]
    arrays = {}
    for number, shape in enumerate(shapes):
        spread = np.sqrt(1 / np.prod(shape[1:]))
        arrays[f"{number:02d}_w"] = rng.normal(0, spread, shape).astype(np.float32)
        arrays[f"{number:02d}_b"] = rng.normal(0, 1, shape[0]).astype(np.float32)
    return arrays


def test_every_layer_started_from_folded_weights_is_convolution_plus_bias(
    tmp_path: Path, folded: dict[str, np.ndarray]
) -> None:
    np.savez(tmp_path / "start.npz", **folded)
    network = MobileNetV2(7, channels=3).eval()
    load_folded_imagenet(network, tmp_path / "start.npz")
    modules = dict(network.named_modules())
    for number, name in enumerate(CONVOLUTIONS):
        conv_name = name.removesuffix(".weight")
        # torchvision puts a layer's normalisation at the next place of its sequence.
        parent, place = conv_name.rsplit(".", 1)
        conv, norm = modules[conv_name], modules[f"{parent}.{int(place) + 1}"]
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        x = torch.randn(1, conv.in_channels, 6, 6)
        weight, bias = (torch.from_numpy(folded[f"{number:02d}_{kind}"]) for kind in "wb")
        expected = functional.conv2d(x, weight, bias, conv.stride, conv.padding, 1, conv.groups)
        with torch.no_grad():
            assert torch.allclose(norm(conv(x)), expected, rtol=1e-4, atol=1e-4), name


def test_grey_start_answers_as_colour_does_to_a_grey_picture(
    tmp_path: Path, folded: dict[str, np.ndarray]
) -> None:
    np.savez(tmp_path / "start.npz", **folded)
    colour, grey = MobileNetV2(7, channels=3).eval(), MobileNetV2(7).eval()
    for network in (colour, grey):
        load_folded_imagenet(network, tmp_path / "start.npz")
    picture = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        expected = colour.features(picture.expand(-1, 3, -1, -1))
        assert expected.abs().max() > 0.1
        assert torch.allclose(grey.features(picture), expected, rtol=1e-3, atol=1e-4)


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
        load_folded_imagenet(MobileNetV2(7), tmp_path / "start.npz")
    assert "start.npz" in str(caught.value)


def test_start_weights_that_are_missing_or_no_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    with pytest.raises(ModelError, match="no such file"):
        load_folded_imagenet(MobileNetV2(7), path)
    path.write_bytes(b"no archive")
    with pytest.raises(ModelError, match=r"start\.npz"):
        load_folded_imagenet(MobileNetV2(7), path)


# ----------------------------------------------------------------------------- loss and rates


def test_soft_cross_entropy_agrees_with_torchs() -> None:
    torch.manual_seed(1)
    logits, soft = torch.randn(6, 7), torch.rand(6, 7).softmax(dim=1)
    same = torch.full((6,), 0.7)
    expected = functional.cross_entropy(logits, soft)
    assert torch.allclose(soft_cross_entropy(logits, soft, same), expected)
    label = torch.tensor([0, 1, 2, 3, 4, 6])
    weights = torch.tensor([1.0, 0.2, 0.5, 0.0, 0.9, 0.4])
    each = functional.cross_entropy(logits, label, reduction="none")
    got = soft_cross_entropy(logits, functional.one_hot(label, 7).float(), weights)
    assert torch.allclose(got, (each * weights).sum() / weights.sum())


@pytest.mark.parametrize(("steps", "warm_up"), [(100, 0.1), (7, 0.0), (3, 0.5), (1000, 0.3)])
def test_the_rate_rises_peaks_at_one_and_falls_to_nothing(steps: int, warm_up: float) -> None:
    factors = np.array([rate_factor(step, steps, warm_up) for step in range(steps + 1)])
    peak = int(factors.argmax())
    assert factors[peak] == 1
    assert peak <= max(1, round(steps * warm_up))
    assert (np.diff(factors[: peak + 1]) > 0).all()
    assert (np.diff(factors[peak:]) <= 0).all()
    assert factors[0] > 0
    assert factors[steps] == pytest.approx(0, abs=1e-12)
    assert rate_factor(steps + 50, steps, warm_up) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_fit_temperature_recovers_the_temperature_that_made_the_labels(true: float) -> None:
    rng = np.random.default_rng(5)
    calibrated = rng.normal(0, 2, (20_000, 7))
    p = np.exp(calibrated) / np.exp(calibrated).sum(axis=1, keepdims=True)
    label = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1).astype(np.int8)
    logits = (calibrated * true).astype(np.float32)
    assert fit_temperature(logits, label) == pytest.approx(true, rel=0.04)


# ------------------------------------------------------------------------------- random views


def smooth_picture() -> np.ndarray:
    """Waves with slopes of some grey levels a pixel: half a pixel's shift would show."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE * 2 * np.pi
    return np.clip(128 + 50 * np.sin(x + 0.4) + 50 * np.cos(y * 1.5), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [48, 96, 112])
def test_the_aligned_view_is_the_crop_of_video(size: int) -> None:
    picture = smooth_picture()
    turn = cv2.getRotationMatrix2D((24, 24), 12, 0.9)
    landmarks = (crop_landmarks(1.5) @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    aligned = view(picture, crop_matrices(SIDE, landmarks, size)[1], size)
    expected = network_input(aligned_crop(picture, landmarks)[None], size)[0]
    off = np.abs(aligned.astype(float) - expected)
    assert off.mean() < 1
    whole = view(picture, crop_matrices(SIDE, landmarks, size)[0], size)
    assert np.abs(whole.astype(float) - expected).mean() > 5


@pytest.mark.parametrize("size", [48, 96, 112])
def test_the_raw_view_is_the_whole_crop(size: int) -> None:
    picture = smooth_picture()
    nobody = np.full((5, 2), np.nan, np.float32)
    raw, other = crop_matrices(SIDE, nobody, size)
    assert np.array_equal(raw, other)
    assert np.array_equal(crop_matrices(SIDE, crop_landmarks(), size)[0], raw)
    expected = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    assert np.abs(view(picture, raw, size).astype(float) - expected).mean() < 0.5


def test_random_views_are_squares_of_bytes_and_the_same_for_the_same_rng() -> None:
    picture = draw_face("happiness", np.random.default_rng(0))
    matrices = crop_matrices(SIDE, crop_landmarks(), 40)

    def make(seed: int) -> np.ndarray:
        return random_view(picture, matrices, 40, Augmentation(), np.random.default_rng(seed))

    views = [make(seed) for seed in range(40)]
    assert all(v.shape == (40, 40) and v.dtype == np.uint8 for v in views)
    assert all(np.array_equal(v, make(seed)) for seed, v in enumerate(views))
    assert len({v.tobytes() for v in views}) == 40
    assert np.array_equal(picture, draw_face("happiness", np.random.default_rng(0)))


def test_with_every_range_at_zero_the_view_is_the_plain_one() -> None:
    # Every grey level occurs, so that none is rounded to its neighbour unseen.
    picture = np.resize(np.arange(256, dtype=np.uint8), (SIDE, SIDE))
    matrices = crop_matrices(SIDE, np.full((5, 2), np.nan, np.float32), SIDE)
    for seed in range(10):
        made = random_view(picture, matrices, SIDE, STILL, np.random.default_rng(seed))
        assert np.array_equal(made, picture)


def test_a_view_lies_between_the_raw_and_the_aligned_one() -> None:
    picture = smooth_picture()
    matrices = crop_matrices(SIDE, crop_landmarks(3.0), SIDE)
    raw, aligned = (view(picture, matrix, SIDE).astype(float) for matrix in matrices)
    made = [
        random_view(picture, matrices, SIDE, STILL, np.random.default_rng(seed)).astype(float)
        for seed in range(60)
    ]
    to_raw, to_aligned = (
        np.array([np.abs(v - end).mean() for v in made]) for end in (raw, aligned)
    )
    assert 8 <= (to_raw < 1).sum() <= 30
    assert 8 <= (to_aligned < 1).sum() <= 30
    assert ((to_raw >= 1) & (to_aligned >= 1)).sum() >= 10


def test_a_rows_view_depends_on_seed_epoch_and_row_alone(tmp_path: Path) -> None:
    data = read_ferplus(write_ferplus(tmp_path / "ferplus.npz"))
    landmarks = np.full((len(data.images), 5, 2), np.nan, np.float32)

    def item(seed: int, epoch: int, index: int) -> bytes:
        views = RandomViews(data, landmarks, 32, Augmentation(), seed)
        views.epoch = epoch
        views[0]  # what was asked before does not matter
        return bytes(views[index][0].numpy().tobytes())

    assert item(0, 1, 5) == item(0, 1, 5)
    assert len({item(0, 1, 5), item(0, 2, 5), item(1, 1, 5), item(0, 1, 6)}) == 4


def test_views_come_with_the_votes_of_their_row_and_of_training_rows_only(tmp_path: Path) -> None:
    path = write_ferplus(tmp_path / "ferplus.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["votes"][0] = 0
    arrays["votes"][0, [0, 8]] = 2, 8  # too few votes on the seven
    np.savez(path, **arrays)
    data = read_ferplus(path)
    landmarks = np.full((len(data.images), 5, 2), np.nan, np.float32)
    views = RandomViews(data, landmarks, 32, STILL, 0)
    assert set(views.rows) == set(data.rows("train")) - {0}
    assert len(views) < TRAIN_ROWS
    names = arrays["vote_names"].tolist()
    for index in (0, len(views) - 1):
        picture, soft, weight = views[index]
        row = views.rows[index]
        counts = np.array([arrays["votes"][row, names.index(name)] for name in EXPRESSIONS])
        assert picture.shape == (1, 32, 32) and picture.dtype == torch.uint8
        assert soft.numpy() == pytest.approx(counts / counts.sum())
        assert float(weight) == pytest.approx(counts.sum() / 10)
