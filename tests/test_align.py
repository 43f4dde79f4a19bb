"""Alignment is the least-squares similarity onto the template, and averages what it shrinks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.infer.alignment import CROP_PX, TEMPLATE_PX, align_face, average_down, similarity
from moppet.values import FaceError
from rendered import moved, turned


def similar(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    a = np.radians(degrees)
    turn = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return np.column_stack([turn, shift])


def landmarks_from(matrix: np.ndarray) -> np.ndarray:
    """The landmarks that `matrix` brings onto the template."""
    return moved(TEMPLATE_PX, cv2.invertAffineTransform(matrix)).astype(np.float32)


def spots(landmarks: np.ndarray, shape: tuple[int, int], radius: float) -> np.ndarray:
    """A dark image with a soft bright spot at each landmark."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * radius**2)) for u, v in landmarks)
    return np.repeat((light.clip(0, 1) * 250).round().astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("scale", [3.0, 1.0, 0.5, 0.3, 0.21])
@pytest.mark.parametrize("degrees", [0, 25, -140])
def test_the_landmarks_come_to_lie_on_the_template(scale, degrees):
    around = landmarks_from(similar(degrees, scale, (0, 0)))
    landmarks = around - around.min(axis=0) + 60 / scale
    shape = np.ceil(landmarks.max(axis=0) + 60 / scale).astype(int)[::-1]
    crop = align_face(spots(landmarks, tuple(shape), 3 / scale), landmarks)
    assert crop.shape == (CROP_PX, CROP_PX, 3) and crop.dtype == np.uint8
    bright = np.where(crop[:, :, 0] > 60, crop[:, :, 0].astype(float), 0)
    for x, y in TEMPLATE_PX:
        x0, y0 = int(x) - 8, int(y) - 8
        part = bright[y0 : y0 + 18, x0 : x0 + 18]
        rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
        centre = np.array([(columns * part).sum(), (rows * part).sum()]) / part.sum() + [x0, y0]
        np.testing.assert_allclose(centre, [x, y], atol=0.3)


@given(
    degrees=st.floats(-180, 180),
    scale=st.floats(0.05, 20),
    x=st.floats(-5000, 5000),
    y=st.floats(-5000, 5000),
)
@settings(max_examples=80, deadline=None)
def test_a_similarity_is_recovered_exactly(degrees, scale, x, y):
    matrix = similar(degrees, scale, (x, y))
    source = TEMPLATE_PX.astype(np.float64)
    np.testing.assert_allclose(similarity(source, moved(source, matrix)), matrix, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_similarity_of_any_points_is_that_of_least_squares(seed):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(0, 40, (2, 5, 2))
    rows = [r for x, y in source for r in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), target.ravel(), rcond=None)[0]
    np.testing.assert_allclose(similarity(source, target), [[a, -b, tx], [b, a, ty]], atol=1e-8)


@pytest.mark.parametrize("step", [2, 3, 4, 5, 8, 13])
def test_a_checkerboard_finer_than_the_crop_becomes_gray(step):
    side = CROP_PX * step + 40
    board = ((np.indices((side, side)).sum(axis=0) % 2) * 255).astype(np.uint8)
    image = np.repeat(board[:, :, None], 3, axis=2)
    crop = align_face(image, TEMPLATE_PX * np.float32(step) + 20).astype(float)
    # A block of an odd number of cells has one cell too many of one color.
    assert abs(crop - 127.5).max() <= 127.5 * (step % 2) / step**2 + 1


def test_a_turned_large_face_is_averaged_too():
    noise = np.random.default_rng(0).integers(0, 256, (1400, 1400, 3), np.uint8)
    landmarks = landmarks_from(similar(30, 1 / 8.6, (10, 10)))
    landmarks += 700 - landmarks.mean(axis=0)
    crop = align_face(noise, landmarks.astype(np.float32))
    assert crop[20:-20, 20:-20].std() < 2 * noise.std() / 8.6
    assert crop.mean() == pytest.approx(127.5, abs=1)


def test_averaging_down_moves_nothing(pictures):
    still = pictures["age05_asian_happiness.jpg"]
    large = cv2.resize(still.image, None, fx=4.5, fy=4.5, interpolation=cv2.INTER_CUBIC)
    landmarks = (still.faces[0].landmarks_px + np.float32(0.5)) * np.float32(4.5) - np.float32(0.5)
    small = align_face(still.image, still.faces[0].landmarks_px)
    reference = align_face(large, landmarks)
    shift, _ = cv2.phaseCorrelate(small[:, :, 1].astype(float), reference[:, :, 1].astype(float))
    assert np.abs(shift).max() < 0.1


def test_a_small_face_is_not_averaged():
    image = np.zeros((50, 50, 3), np.uint8)
    matrix = similar(0, 0.9, (0, 0))
    same, unchanged = average_down(image, matrix, 1, CROP_PX)
    assert same is image and unchanged is matrix


def test_a_turned_image_gives_the_same_crop(pictures):
    still = pictures["age01_dark_happiness.jpg"]
    upright = align_face(still.image, still.faces[0].landmarks_px).astype(float)
    for degrees in (90, 37, -160):
        image, matrix = turned(still.image, degrees)
        landmarks = moved(still.faces[0].landmarks_px, matrix).astype(np.float32)
        assert np.abs(align_face(image, landmarks) - upright).mean() < 3


@pytest.mark.parametrize("size", [24, 48, 112, 224])
def test_the_template_grows_with_the_crop(size):
    landmarks = landmarks_from(similar(0, 0.7, (-60, -50)))
    radius = 3 / 0.7 * CROP_PX / size  # three pixels of the crop
    crop = align_face(spots(landmarks, (300, 300), radius), landmarks, size)
    assert crop.shape == (size, size, 3)
    for x, y in TEMPLATE_PX * (size / CROP_PX):
        assert crop[round(float(y)), round(float(x)), 0] > 180


def test_beyond_the_edge_the_last_pixels_repeat():
    image = np.full((60, 60, 3), 77, np.uint8)
    crop = align_face(image, TEMPLATE_PX - np.float32(45))
    assert (crop == 77).all()


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), 12.0),
        np.full((5, 2), np.nan),
        np.where(np.arange(10).reshape(5, 2) == 3, np.nan, TEMPLATE_PX),
        np.where(np.arange(10).reshape(5, 2) == 3, np.inf, TEMPLATE_PX),
    ],
)
def test_landmarks_that_coincide_or_are_missing_are_refused(landmarks):
    with pytest.raises(FaceError):
        align_face(np.zeros((50, 50, 3), np.uint8), landmarks.astype(np.float32))
