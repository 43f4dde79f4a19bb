"""Copies of an image are found however they were altered; other faces are not taken for copies."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from scipy.fft import dctn

from moppet.datasets.hashing import (
    THUMB_PX,
    content_hash,
    find_near_duplicates,
    hash_bits,
    perceptual_hash,
    thumbnail,
)

Alter = Callable[[np.ndarray], np.ndarray]


def _jpeg(image: np.ndarray) -> np.ndarray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def _stamped(image: np.ndarray) -> np.ndarray:
    stamped = image.copy()
    cv2.putText(stamped, "PHOTO", (4, 100), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (255, 255, 255), 1)
    return stamped


ALTERED: dict[str, Alter] = {
    "half the size": lambda x: cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda x: cv2.convertScaleAbs(x, alpha=1.2, beta=25),
    "darker, flatter": lambda x: cv2.convertScaleAbs(x, alpha=0.6, beta=10),
    "grey": lambda x: np.repeat(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[:, :, None], 3, 2),
    "mirrored": lambda x: np.ascontiguousarray(x[:, ::-1]),
    "cropped": lambda x: x[6:-6, 6:-6],
    "cropped on one side": lambda x: x[:-4, 3:],
    "mirrored and cropped": lambda x: np.ascontiguousarray(x[7:-7, 7:-7][:, ::-1]),
    "strongly compressed": _jpeg,
    "blurred": lambda x: cv2.GaussianBlur(x, (0, 0), 1.5),
    "stamped": _stamped,
    "a border": lambda x: cv2.copyMakeBorder(x, 6, 6, 6, 6, cv2.BORDER_REPLICATE),
}


@pytest.fixture(scope="module")
def faces(pictures) -> list[np.ndarray]:
    """Seven rendered faces, cropped alike to 128 pixels; of three people two are known already."""
    made = []
    for still in pictures.values():
        for face in still.faces[-1:]:
            x, y, w, h = face.box_px
            side, centre = max(w, h) * 1.2, (float(x + w / 2), float(y + h / 2))
            patch = cv2.getRectSubPix(still.image, (round(side),) * 2, centre)
            made.append(cv2.resize(patch, (128, 128), interpolation=cv2.INTER_AREA))
    return made


def thumbs(images: list[np.ndarray]) -> np.ndarray:
    return np.stack([thumbnail(image) for image in images])


def groups(n: int, rows: np.ndarray) -> list[int]:
    """The lowest row of each row's group."""
    group = list(range(n))
    for a, b in rows.tolist():
        low, high = sorted((group[a], group[b]))
        group = [low if g == high else g for g in group]
    return group


# -------------------------------------------------------------------------------- the same pixels


def test_equal_pixels_have_one_hash_and_any_other_pixel_another(faces):
    image = faces[0]
    assert content_hash(image) == content_hash(image.copy()) != content_hash(faces[1])
    changed = image.copy()
    changed[3, 4, 1] ^= 1
    assert content_hash(changed) != content_hash(image)
    turned = np.zeros((2, 8), np.uint8)
    assert content_hash(turned) != content_hash(turned.T)
    assert len(content_hash(image)) == 64


def test_gray_is_gray_however_it_is_stored():
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    assert content_hash(gray) == content_hash(np.repeat(gray[:, :, None], 3, 2))


# -------------------------------------------------------------------------------- the hash


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("zoom", [1.0, 0.75])
def test_the_hash_is_the_signs_of_scipy_s_cosine_transform(faces, zoom, mirrored):
    small = thumbs(faces)
    edge = round(THUMB_PX * (1 - zoom) / 2)
    bits = hash_bits(small, zoom=zoom, mirrored=mirrored)
    assert bits.shape == (len(faces), 64) and bits.dtype == bool
    for thumb, found in zip(small, bits, strict=True):
        part = thumb[edge : THUMB_PX - edge, edge : THUMB_PX - edge]
        seen = cv2.resize(part, (32, 32), interpolation=cv2.INTER_AREA).astype(float)
        low = dctn(seen[:, ::-1] if mirrored else seen, norm="ortho")[:8, :8].ravel()
        middle = np.median(low[1:])
        clear = np.abs(low - middle) > 1e-2
        assert clear.sum() > 55
        np.testing.assert_array_equal(found[clear], (low > middle)[clear])


def test_the_hash_is_sixteen_hex_digits_of_its_bits(faces):
    thumb = thumbnail(faces[0])
    text = perceptual_hash(thumb)
    assert len(text) == 16
    bits = [bool(int(text, 16) >> (63 - i) & 1) for i in range(64)]
    assert bits == hash_bits(thumb[None])[0].tolist()


# -------------------------------------------------------------------------------- near duplicates


@pytest.mark.parametrize("alteration", list(ALTERED))
def test_an_altered_copy_is_joined_to_its_image_and_to_no_other_face(faces, alteration):
    n = len(faces)
    copies = [ALTERED[alteration](face) for face in faces]
    found = find_near_duplicates(thumbs(faces + copies))
    assert groups(2 * n, found.rows) == [*range(n), *range(n)]
    assert found.mirrored.tolist() == ["mirrored" in alteration] * n
    assert (found.similarity >= 0.92).all() and (found.similarity <= 1.0001).all()


def test_all_copies_of_a_image_are_one_group_in_any_order(faces):
    every = [[face, *(alter(face) for alter in ALTERED.values())] for face in faces[:3]]
    order = np.random.default_rng(1).permutation(3 * len(every[0]))
    small = thumbs([image for versions in every for image in versions])[order]
    group = np.array(groups(len(order), find_near_duplicates(small).rows))
    truth = order // len(every[0])
    for t in range(3):
        assert len(set(group[truth == t])) == 1
    assert len(set(group)) == 3


def test_hundreds_of_images_without_a_copy_have_none():
    r = np.random.default_rng(0)
    noise = r.normal(size=(400, 12, 12)).astype(np.float32)
    smooth = [cv2.resize(x, (48, 48), interpolation=cv2.INTER_CUBIC) for x in noise]
    gray = np.stack([cv2.normalize(x, None, 0, 255, cv2.NORM_MINMAX) for x in smooth])
    pictures = gray.astype(np.uint8)
    assert len(find_near_duplicates(pictures).rows) == 0
    # A copy over the border of a block of rows is found, and only it.
    pictures[390] = cv2.resize(pictures[3][2:-2, 2:-2], (48, 48), interpolation=cv2.INTER_AREA)
    assert find_near_duplicates(pictures).rows.tolist() == [[3, 390]]


def test_blank_images_resemble_nothing():
    blank = np.full((20, 48, 48), 90, np.uint8)
    blank[::2] += 1
    assert len(find_near_duplicates(blank).rows) == 0
    assert find_near_duplicates(blank[:0]).rows.shape == (0, 2)


def test_rows_that_belong_together_anyway_are_not_compared(faces):
    twice = thumbs([faces[0], faces[1], faces[0], faces[1]])
    assert sorted(map(sorted, find_near_duplicates(twice).rows.tolist())) == [[0, 2], [1, 3]]
    known = np.array([7, 8, 7, 9])
    assert find_near_duplicates(twice, known=known).rows.tolist() == [[1, 3]]


def test_progress_ends_with_all_rows(faces):
    seen: list[tuple[int, int]] = []
    find_near_duplicates(thumbs(faces), progress=lambda *x: seen.append(x))
    assert seen[-1] == (len(faces), len(faces))
