"""Hard cuts are found; fades, flashes, dissolves, camera motion and black bars are none."""

from __future__ import annotations

import json
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from moppet.media.cuts import CutDetector
from rendered import read_stills

FPS = 25
SIZE = (192, 144)


def scene(seed: int) -> np.ndarray:
    """A room of soft shapes, wider than the image, as seen by a camera that may pan."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 225, (6, 16, 3)).astype(np.uint8)
    wide = cv2.resize(coarse, (3 * SIZE[0], SIZE[1]), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-8, 8, wide.shape)
    return np.clip(wide.astype(int) + noise, 0, 255).astype(np.uint8)


def view(seed: int, x: int = 0) -> np.ndarray:
    return scene(seed)[:, x : x + SIZE[0]]


def changes(images: Sequence[np.ndarray]) -> list[tuple[int, str]]:
    detector = CutDetector()
    found = [(i, detector.check(image, i / FPS)) for i, image in enumerate(images)]
    return [(i, change) for i, change in found if change != "none"]


def brighter(image: np.ndarray, factor: float, plus: float = 0) -> np.ndarray:
    return np.clip(image * factor + plus, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(40))
def test_a_hard_cut_is_found_at_its_frame(seed: int) -> None:
    images = [view(seed, x) for x in range(5)] + [view(seed + 1000, x) for x in range(5)]
    assert changes(images) == [(5, "cut")]


def test_close_ups_of_two_people_are_told_apart() -> None:
    faces = [cv2.resize(still.image, SIZE) for still in read_stills().values()]
    pairs = [(a, b) for i, a in enumerate(faces) for b in faces[i + 1 :]]
    found = [changes([a, a, b, b]) == [(2, "cut")] for a, b in pairs]
    assert len(found) == 21 and np.mean(found) > 0.9


@pytest.mark.parametrize("speed", [2, 8, 16, 24])  # pixels of 192 a frame
def test_a_camera_that_pans_makes_no_cut(speed: int) -> None:
    for seed in range(10):
        assert changes([view(seed, speed * i) for i in range(16)]) == []


def test_a_zoom_and_a_turn_make_no_cut() -> None:
    image = view(3)
    center = (SIZE[0] / 2, SIZE[1] / 2)
    images = [
        cv2.warpAffine(image, cv2.getRotationMatrix2D(center, 3 * i, 1 + 0.03 * i), SIZE)
        for i in range(10)
    ]
    assert changes(images) == []


def test_a_fade_to_black_and_back_is_no_cut_but_to_another_scene_is_one() -> None:
    levels = np.linspace(1, 0, 13)
    out = [brighter(view(1), level) for level in levels]
    assert changes(out + out[::-1]) == []
    found = changes(out + [brighter(view(2), level) for level in levels[::-1]])
    assert [change for _, change in found] == ["cut"]


def test_a_dissolve_is_no_hard_cut() -> None:
    images = [cv2.addWeighted(view(1), 1 - w, view(2), w, 0) for w in np.linspace(0, 1, 26)]
    assert changes(images) == []


@pytest.mark.parametrize("flash", [brighter(view(1), 1.0, 120), np.full_like(view(1), 255)])
def test_a_flash_is_no_cut(flash: np.ndarray) -> None:
    assert changes([view(1)] * 4 + [flash] + [view(1)] * 4) == []


def test_an_image_that_returns_at_once_ends_the_interruption() -> None:
    odd = [view(9)] * 2
    assert changes([view(1)] * 4 + odd + [view(1)] * 4) == [(4, "cut"), (6, "return")]
    late = [view(9)] * 20
    assert changes([view(1)] * 4 + late + [view(1)] * 4) == [(4, "cut"), (24, "cut")]


def test_black_bars_do_not_hide_a_cut_and_a_change_of_size_is_none() -> None:
    def barred(image: np.ndarray) -> np.ndarray:
        return cv2.copyMakeBorder(image, 0, 0, 150, 150, cv2.BORDER_CONSTANT)

    for seed in range(10):
        images = [barred(view(seed))] * 3 + [barred(view(seed + 100))] * 3
        assert changes(images) == [(3, "cut")]
    smaller = cv2.resize(view(1), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert changes([view(1)] * 3 + [smaller] * 3) == []


def test_a_state_continues_as_if_it_had_never_stopped() -> None:
    images = [view(1)] * 3 + [view(9)] * 2 + [view(1)] * 3 + [view(4)] * 2
    whole = changes(images)
    for stop in range(1, len(images)):
        first = CutDetector()
        found = [(i, first.check(image, i / FPS)) for i, image in enumerate(images[:stop])]
        second = CutDetector()
        second.restore(json.loads(json.dumps(first.state())))
        found += [(i, second.check(images[i], i / FPS)) for i in range(stop, len(images))]
        assert [entry for entry in found if entry[1] != "none"] == whole
