"""Pixels, HOG, LBP and embeddings: what each number means, by hand and by scikit-image."""

from __future__ import annotations

import numpy as np
import pytest

import model_folder
from moppet.infer.expression_model import load_model
from moppet.study.features import SPACES, describe_crops, pattern_codes
from moppet.values import ModelError, UsageError

# skimage.feature.local_binary_pattern(image, 8, 2, "default")[2:-2, 2:-2] of scikit-image 0.26
SKIMAGE = [
    [0, 207, 255, 173, 204, 233, 113, 0],
    [223, 0, 75, 190, 1, 255, 64, 96],
    [255, 136, 0, 127, 17, 0, 0, 148],
    [235, 246, 0, 255, 191, 235, 0, 136],
    [211, 255, 101, 0, 6, 255, 23, 175],
    [0, 0, 20, 81, 255, 0, 230, 255],
    [17, 0, 128, 255, 92, 160, 255, 255],
    [255, 191, 239, 64, 107, 189, 0, 0],
]


@pytest.fixture(scope="module")
def crops():
    """Grey-ish noise of 48 pixels and a ramp, as (4, 48, 48, 3)."""
    rng = np.random.default_rng(0)
    noise = rng.integers(40, 160, (3, 48, 48, 3)).astype(np.uint8)
    ramp = np.broadcast_to((np.arange(48) * 4)[None, :, None], (48, 48, 3)).astype(np.uint8)
    return np.concatenate([noise, ramp[None]])


@pytest.mark.parametrize("space", SPACES)
def test_every_space_gives_each_crop_the_same_number_of_finite_floats(space, crops, tiny_model):
    found = describe_crops(crops, space, model=tiny_model)
    assert found.dtype == np.float32
    assert found.ndim == 2 and len(found) == 4 and found.shape[1] > 0
    assert np.isfinite(found).all()
    assert describe_crops(crops[:0], space, model=tiny_model).shape == (0, found.shape[1])


@pytest.mark.parametrize("space", SPACES)
def test_a_crop_is_described_alike_alone_and_among_others(space, crops, tiny_model):
    whole = describe_crops(crops, space, model=tiny_model)
    alone = describe_crops(crops[2:3], space, model=tiny_model)
    np.testing.assert_allclose(alone[0], whole[2], rtol=1e-4, atol=1e-5)


def test_pixels_are_the_means_of_squares_of_gray_levels():
    crop = np.zeros((1, 64, 64, 3), np.uint8)
    crop[0, :2, :2] = 200  # exactly the first of 32 x 32 squares
    crop[0, 2:4, :1] = 100  # half of the first square of the second row
    found = describe_crops(crop, "pixels")[0]
    assert found[0] == pytest.approx(200 / 255)
    assert found[32] == pytest.approx(50 / 255)
    assert found.sum() == pytest.approx(250 / 255)


def test_the_gradient_of_a_ramp_falls_into_the_two_bins_beside_its_direction():
    # Direction 0 lies between the bins 8 (160-180 degrees) and 0 (0-20): half of it in each. The
    # four cells of a middle block are alike, so that its 8 numbers are 1 / sqrt(8) each; clipping
    # at 0.2 and scaling again gives the same.
    ramp = np.broadcast_to((np.arange(64) * 3)[None, :, None], (64, 64, 3)).astype(np.uint8)
    found = describe_crops(ramp[None], "hog").reshape(7, 7, 4, 9)[3, 3]
    expected = np.zeros((4, 9))
    expected[:, [0, 8]] = 1 / np.sqrt(8)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def gray_noise(side: int, low: int, high: int) -> np.ndarray:
    noise = np.random.default_rng(1).integers(low, high, (2, side, side, 1)).astype(np.uint8)
    return np.repeat(noise, 3, axis=3)


def test_hog_does_not_see_brightness_or_contrast():
    dark = gray_noise(64, 10, 100)
    first, second = describe_crops(dark, "hog"), describe_crops(dark * 2 + 30, "hog")
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_patterns_are_those_of_scikit_image():
    image = np.random.default_rng(7).integers(0, 256, (12, 12)).astype(np.uint8)
    assert pattern_codes(image[None])[0, 2:-2, 2:-2].tolist() == SKIMAGE


def test_a_bright_dot_is_seen_from_around_it_by_hand():
    image = np.full((1, 9, 9), 50, np.uint8)
    image[0, 4, 4] = 90
    codes = pattern_codes(image)[0]
    assert codes[4, 4] == 0  # every neighbor is darker
    assert codes[0, 0] == 255  # a flat place: every neighbor is as bright
    image = 255 - image
    codes = pattern_codes(image)[0]
    assert codes[4, 4] == 255
    # The dark dot is bit 0 (right) of the pixel two to its left, bit 2 (up) of the one below.
    assert (codes[4, 2], codes[6, 4]) == (255 - 1, 255 - 4)


def test_lbp_histograms_are_shares_of_each_cell(crops):
    found = describe_crops(crops, "lbp").reshape(4, 49, 59)
    np.testing.assert_allclose(found.sum(axis=2), 1, rtol=1e-5)
    flat = describe_crops(np.full((1, 20, 20, 3), 9, np.uint8), "lbp").reshape(49, 59)
    assert (flat[:, 57] == 1).all()  # 255 is the last of the 58 uniform codes


def test_lbp_does_not_see_brightness():
    noise = gray_noise(112, 20, 200)
    first, second = describe_crops(noise, "lbp"), describe_crops(noise + np.uint8(20), "lbp")
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_embeddings_are_those_of_the_model_folder(tiny_model, crops):
    expected = load_model(tiny_model).predict(crops).embeddings
    np.testing.assert_array_equal(describe_crops(crops, "embedding", model=tiny_model), expected)
    loaded = load_model(tiny_model)
    np.testing.assert_array_equal(describe_crops(crops, "embedding", model=loaded), expected)


def test_a_model_without_embedding_is_refused(tmp_path, crops):
    network = model_folder.linear_network(embedding=False)
    folder = model_folder.write_model(tmp_path / "bare", network, name="bare")
    with pytest.raises(ModelError, match="bare gives no embedding"):
        describe_crops(crops, "embedding", model=folder)


@pytest.mark.parametrize(
    ("crops", "space", "says"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), "hogg", "Did you mean 'hog'"),
        (np.zeros((1, 8, 8, 3), np.uint8), "zebra", "pixels, hog, lbp, embedding"),
        (np.zeros((8, 8, 3), np.uint8), "hog", r"got \(8, 8, 3\)"),
        (np.zeros((1, 8, 8, 3), np.float32), "pixels", "uint8"),
    ],
)
def test_what_cannot_be_described_is_said(crops, space, says):
    with pytest.raises(UsageError, match=says):
        describe_crops(crops, space)
