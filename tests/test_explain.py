"""Both methods of saliency point where the network looks, and compute what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import model_folder
from moppet.evaluate import grad_cam as explain
from moppet.evaluate.grad_cam import (
    LEAST_SIDE,
    ReceptiveFields,
    explain_crops,
    find_layer,
    grad_cam,
    measure_receptive_fields,
    upsample_cells,
)
from moppet.evaluate.saliency import occlusion_maps, region_shares
from moppet.infer.alignment import CROP_PX
from moppet.infer.expression_model import find_model, load_model
from moppet.train.model_folder import export_float
from moppet.train.networks import NETWORKS, Network, build_network
from moppet.values import ModelError

CELL_PX = 4


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


class Looker(Network):
    """Two logits from one zone of the image: the mean brightness there, and nothing."""

    name = "looker"

    def __init__(self, zone: tuple[int, int, int, int] = (20, 24, 10, 17), size: int = CROP_PX):
        super().__init__(2, 1, size)
        top, bottom, left, right = zone
        cells = size // CELL_PX
        mask = torch.zeros(1, 1, cells, cells)
        mask[:, :, top:bottom, left:right] = 1
        self.register_buffer("mask", mask)
        self.look = nn.Conv2d(1, 1, CELL_PX, CELL_PX, bias=False)
        nn.init.constant_(self.look.weight, 1 / CELL_PX**2)
        self.maps = nn.Identity()

    def head_modules(self) -> list[nn.Module]:
        return []

    def maps_module(self) -> nn.Module:
        return self.maps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(self.look(x) * self.mask)
        seen = maps.mean(dim=(2, 3)) * 60
        return torch.cat([seen, 0 * seen], dim=1), seen


def write_looker(folder: Path, *, mirrored: bool = False) -> tuple[Looker, Path]:
    network = Looker().eval()
    folder.mkdir()
    export_float(network, folder / "float.onnx", mirrored=mirrored)
    model_folder.write_model(
        folder,
        (folder / "float.onnx").read_bytes(),
        labels=("bright mouth", "other"),
        groups={},
        size=CROP_PX,
    )
    return network, folder


def bright_crops(n: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    gray = rng.integers(170, 250, (n, CROP_PX, CROP_PX, 1), np.uint8)
    return np.repeat(gray, 3, axis=3)


# ------------------------------------------------------------------- both methods find the mouth


def test_both_methods_point_at_the_mouth_where_only_the_mouth_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, folder = write_looker(tmp_path / "looker")
    monkeypatch.setattr(explain, "load_model_network", lambda folder: network)
    model, crops, classes = load_model(folder), bright_crops(), np.zeros(3, np.int64)
    assert (model.predict(crops).probabilities[:, 0] > 0.6).all()
    by_gradient = explain_crops(folder, model, crops, classes)
    by_patch = occlusion_maps(model, crops, classes, patch_px=16, stride_px=8)
    for maps in (by_gradient.maps, by_patch):
        assert maps.shape == (3, CROP_PX, CROP_PX) and maps.dtype == np.float32
        shares = region_shares(maps)
        assert (shares["mouth"] > 0.8).all()
        assert (shares["eyes"] < 0.01).all()
    assert by_gradient.layer == "maps" and by_gradient.grid == (28, 28)
    assert not by_gradient.mirrored


def test_nothing_speaks_for_the_class_that_the_mouth_speaks_against(tmp_path: Path) -> None:
    network, folder = write_looker(tmp_path / "looker")
    model, crops, other = load_model(folder), bright_crops(), np.ones(3, np.int64)
    assert (occlusion_maps(model, crops, other, patch_px=16, stride_px=8) <= 1e-6).all()
    layer = network.maps_module()
    inputs = torch.from_numpy(model.preprocessing.apply(crops))
    fields = measure_receptive_fields(network, layer, inputs)
    maps = grad_cam(network, layer, inputs, torch.ones(3, dtype=torch.int64), fields)
    assert (maps == 0).all()
    assert np.isnan(region_shares(maps)["mouth"]).all()


# ------------------------------------------------------------------------------------- Grad-CAM


class Linear(Network):
    """Maps, ReLU, their means, and one linear layer: Grad-CAM is then the class's map."""

    name = "linear"

    def __init__(self) -> None:
        super().__init__(3, 1, 32)
        self.maps = nn.Sequential(nn.Conv2d(1, 5, 4, 4), nn.ReLU())
        self.classifier = nn.Linear(5, 3)

    def head_modules(self) -> list[nn.Module]:
        return [self.classifier]

    def maps_module(self) -> nn.Module:
        return self.maps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.maps(x).mean(dim=(2, 3))
        return self.classifier(embedding), embedding


@pytest.mark.parametrize("mirrored", [False, True])
def test_grad_cam_is_the_hand_computed_one_on_a_linear_head(mirrored: bool) -> None:
    torch.manual_seed(3)
    network = Linear().eval()
    inputs, classes = torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 2, 1])
    fields = measure_receptive_fields(network, network.maps, inputs)
    made = grad_cam(network, network.maps, inputs, classes, fields, mirrored=mirrored)

    def by_hand(x: Tensor) -> np.ndarray:
        maps = network.maps(x).detach().double().numpy()
        weight = network.classifier.weight.detach().double().numpy()[classes.numpy()] / 64
        return upsample_cells(np.einsum("nc,ncij->nij", weight, maps), fields, 32)

    expected = by_hand(inputs)
    if mirrored:
        expected = (expected + by_hand(inputs.flip(3))[:, :, ::-1]) / 2
    assert made.max() > 1e-5
    np.testing.assert_allclose(made, np.maximum(expected, 0), rtol=1e-3, atol=1e-9)


def test_a_models_mirroring_is_seen_in_its_answers_and_the_maps_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, folder = write_looker(tmp_path / "looker", mirrored=True)
    monkeypatch.setattr(explain, "load_model_network", lambda folder: network)
    crops = bright_crops()
    crops[:, :, 70:] //= 2
    made = explain_crops(folder, load_model(folder), crops, np.zeros(3, np.int64))
    assert made.mirrored
    turned = explain_crops(folder, load_model(folder), crops[:, :, ::-1], np.zeros(3, np.int64))
    np.testing.assert_allclose(turned.maps, made.maps[:, :, ::-1], rtol=1e-3, atol=1e-7)


def test_maps_of_mirror_images_mirror_on_the_bundled_model() -> None:
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 256, (4, 14, 14, 3), np.uint8)
    crops = np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)
    crops[:, :, 60:] //= 3
    model, folder = load_model("default"), find_model("default")
    classes = model.predict(crops).probabilities.argmax(axis=1)
    made = explain_crops(folder, model, crops, classes)
    turned = explain_crops(folder, model, crops[:, :, ::-1].copy(), classes)
    assert made.mirrored and made.maps.max() > 0
    apart = np.abs(turned.maps[:, :, ::-1] - made.maps).mean() / made.maps.mean()
    assert apart < 0.1  # it was 0.56 when each face was explained without its mirror image


def test_a_model_that_reads_mirror_images_differently_is_not_taken_for_a_mirrored_one() -> None:
    crops = np.random.default_rng(4).integers(0, 256, (3, CROP_PX, CROP_PX, 3), np.uint8)
    model, folder = load_model("adults"), find_model("adults")
    assert not explain_crops(folder, model, crops, np.zeros(3, np.int64)).mirrored


def test_a_network_that_is_not_that_of_the_onnx_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = write_looker(tmp_path / "looker")
    other = Looker().eval()
    nn.init.constant_(other.look.weight, -1.0)
    monkeypatch.setattr(explain, "load_model_network", lambda folder: other)
    with pytest.raises(ModelError, match="and its ONNX file agree on only 0 of 3"):
        explain_crops(folder, load_model(folder), bright_crops(), np.zeros(3, np.int64))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_is_explained_by_maps_that_can_tell_eyes_from_mouth(name: str) -> None:
    torch.manual_seed(0)
    side = 112 if name == "dlib_resnet" else 96
    network = build_network(name, 3, input_size=side).eval()
    x = torch.randn(2, 3, side, side)
    _, layer = find_layer(network, x[:1])
    fields = measure_receptive_fields(network, layer, x)
    assert min(len(axis.center) for axis in fields) >= LEAST_SIDE
    maps = grad_cam(network, layer, x, torch.tensor([0, 2]), fields)
    assert maps.shape == (2, CROP_PX, CROP_PX)
    assert np.isfinite(maps).all() and (maps >= 0).all()


def test_the_networks_own_last_maps_are_taken_where_they_are_fine_enough() -> None:
    network = build_network("mobilenet_v2", 3, input_size=224).eval()
    assert find_layer(network, torch.zeros(1, 3, 224, 224))[1] is network.maps_module()


class Strided(Network):
    """A layer in steps of 2 with padding: cell i sees pixels 2i - 1 to 2i + 1."""

    name = "strided"

    def __init__(self) -> None:
        super().__init__(1, 1, 64)
        self.maps = nn.Conv2d(1, 1, 3, 2, 1)
        nn.init.constant_(self.maps.weight, 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(x)
        return maps.mean(dim=(2, 3)), maps.flatten(1)


def test_what_a_cell_looks_at_is_measured_not_assumed() -> None:
    network = Strided()
    rows, columns = measure_receptive_fields(network, network.maps, torch.randn(8, 1, 64, 64))
    # Stretching 32 cells over 64 pixels would put cell i at 2i + 0.5. The first cell has lost a
    # pixel to the border, and its neighbors are interpolated from it.
    for fields in (rows, columns):
        assert fields.center[3:] == pytest.approx(2 * np.arange(3, 32), abs=0.2)
        assert (fields.spread >= 1).all()


def test_spread_cells_keep_their_weight_and_lie_where_they_look() -> None:
    rng = np.random.default_rng(1)
    cells = rng.normal(size=(2, 3, 4))
    fields = (
        ReceptiveFields(np.array([10.0, 40.0, 80.0]), np.array([5.0, 8.0, 5.0])),
        ReceptiveFields(np.array([15.0, 30.0, 60.0, 90.0]), np.array([6.0, 4.0, 6.0, 9.0])),
    )
    made = upsample_cells(cells, fields, 96)
    assert made.sum(axis=(1, 2)) == pytest.approx(cells.sum(axis=(1, 2)))
    one = np.zeros((1, 3, 4))
    one[0, 1, 2] = 1
    peak = np.unravel_index(upsample_cells(one, fields, 96)[0].argmax(), (CROP_PX, CROP_PX))
    # Pixel center p of 96 lies at (p + 1/2) * 112 / 96 - 1/2 of the crop.
    assert peak == (round(40.5 * CROP_PX / 96 - 0.5), round(60.5 * CROP_PX / 96 - 0.5))


# ------------------------------------------------------------------------------------ occlusion


def test_occlusion_is_what_covering_one_patch_after_the_other_gives(tmp_path: Path) -> None:
    model = load_model(model_folder.write_model(tmp_path / "tiny"))
    crops = np.random.default_rng(5).integers(0, 256, (2, 40, 32, 3), np.uint8)
    classes, patch, stride = np.array([1, 4]), 12, 4
    made = occlusion_maps(model, crops, classes, patch_px=patch, stride_px=stride)
    for crop, k, got in zip(crops, classes, made, strict=True):
        before = float(model.predict(crop[None]).probabilities[0, k])
        drops: dict[tuple[int, int], float] = {}
        for top in range(-8, 40, stride):
            for left in range(-8, 32, stride):
                covered = crop.copy()
                covered[max(top, 0) : top + patch, max(left, 0) : left + patch] = 128
                after = float(model.predict(covered[None]).probabilities[0, k])
                drops[top, left] = before - after
        for y, x in ((0, 0), (39, 31), (17, 5), (20, 30)):
            over = [
                drop
                for (top, left), drop in drops.items()
                if top <= y < top + patch and left <= x < left + patch
            ]
            assert len(over) == (patch // stride) ** 2
            assert got[y, x] == pytest.approx(np.mean(over), abs=1e-6)
    assert np.abs(made).max() > 0.01
