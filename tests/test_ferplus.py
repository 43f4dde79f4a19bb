"""FER+: the label rule, mapping by name, and splits that no image crosses; crops of faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferplus_sample import read_ferplus
from moppet.datasets.faces import aligned_crop, find_crop_landmarks, whole_crop
from moppet.datasets.manifest import plurality
from moppet.infer.alignment import TEMPLATE_PX, similarity
from moppet.values import EXPRESSIONS, MoppetError
from rendered import Truth

NAMES = (  # the file's own order, which is not EXPRESSIONS'
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"),
    *("contempt", "unknown", "NF"),
)


def arrays(n: int = 400, seed: int = 0, **changes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "images": rng.integers(0, 256, (n, 48, 48), np.uint8),
        "votes": rng.multinomial(10, [0.1] * 10, n).astype(np.uint8),
        "vote_names": np.array(NAMES),
        "split": (np.arange(n) % 4 == 0).astype(np.int8),
        "dup_group": np.arange(n, dtype=np.int32),
        "near_dup_group": np.full(n, -1, np.int32),
        "leaks_into_split1": np.zeros(n, bool),
        "age_band": rng.choice([-1, 0, 1, 2, 3], n).astype(np.int8),
        **changes,
    }


def save(folder: Path, **content: np.ndarray) -> Path:
    np.savez(folder / "ferplus.npz", **content)
    return folder / "ferplus.npz"


def one_row(**votes: int) -> np.ndarray:
    return np.array([[votes.get(name, 0) for name in NAMES]], np.uint8)


# -------------------------------------------------------------------------------- the labels


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_the_unique_plurality_is_the_label_by_its_name(name):
    label = plurality(one_row(**{name: 4, "contempt": 3, "NF": 3}))
    assert label.tolist() == [NAMES.index(name)]


@pytest.mark.parametrize(
    "votes",
    [
        {"anger": 5, "disgust": 5},
        {"anger": 4, "contempt": 4, "neutral": 2},
        {"contempt": 6, "anger": 4},
        {"unknown": 5, "anger": 4},
        {"NF": 10},
        {},
    ],
)
def test_ties_contempt_unknown_and_no_face_have_no_label(tmp_path, votes):
    assert read_ferplus(save(tmp_path, **arrays(1, votes=one_row(**votes)))).label.tolist() == [-1]


def test_columns_in_another_order_give_the_same_rows(tmp_path):
    content = arrays()
    order = np.random.default_rng(5).permutation(10)
    (tmp_path / "other").mkdir()
    shuffled = content | {
        "votes": content["votes"][:, order],
        "vote_names": content["vote_names"][order],
    }
    first = read_ferplus(save(tmp_path, **content))
    second = read_ferplus(save(tmp_path / "other", **shuffled))
    votes = first.manifest.column("votes")
    np.testing.assert_array_equal(votes, second.manifest.column("votes"))
    np.testing.assert_array_equal(first.label, second.label)
    np.testing.assert_array_equal(first.part, second.part)
    for i, name in enumerate(EXPRESSIONS):
        np.testing.assert_array_equal(votes[:, i], content["votes"][:, NAMES.index(name)])


def test_the_label_is_of_all_ten_columns_and_the_shares_of_seven(tmp_path):
    votes = np.concatenate([one_row(fear=3, sadness=1, contempt=6), one_row(unknown=10)])
    data = read_ferplus(save(tmp_path, **arrays(2, votes=votes)))
    assert data.label.tolist() == [-1, -1]
    shares = dict(zip(EXPRESSIONS, data.manifest.soft_labels[0].tolist(), strict=True))
    assert shares["fear"] == 0.75 and shares["sadness"] == 0.25
    assert data.manifest.soft_labels[1].tolist() == [0] * 7
    assert data.manifest.weights.tolist() == pytest.approx([0.4, 0])


# -------------------------------------------------------------------------------- the split


def test_every_row_is_in_the_part_that_the_file_says(tmp_path):
    leaks = np.zeros(400, bool)
    leaks[[1, 5, 9]] = True
    content = arrays(leaks_into_split1=leaks)
    data = read_ferplus(save(tmp_path, **content))
    assert ((data.part == "test") == (content["split"] == 1)).all()
    assert np.flatnonzero(data.part == "").tolist() == [1, 5, 9]
    assert set(data.part) == {"train", "val", "test", ""}


@pytest.mark.parametrize("seed", range(6))
def test_setting_aside_never_splits_a_group(tmp_path, seed):
    rng = np.random.default_rng(seed)
    near = np.where(rng.uniform(size=400) < 0.5, -1, rng.integers(0, 60, 400)).astype(np.int32)
    content = arrays(
        dup_group=rng.integers(0, 250, 400, np.int32),
        near_dup_group=near,
        split=np.zeros(400, np.int8),
    )
    data = read_ferplus(save(tmp_path, **content), seed=seed)
    for key in ("dup_group", "near_dup_group"):
        for value in np.unique(content[key][content[key] >= 0]):
            rows = content[key] == value
            assert len(set(data.part[rows])) == 1 and len(set(data.group[rows])) == 1
    assert {"train", "val"} == set(data.part)


def test_rows_that_share_a_image_through_another_are_one_group(tmp_path):
    dup = np.array([0, 0, 1, 1, 2, 3], np.int32)
    near = np.array([-1, 7, 7, -1, -1, -1], np.int32)
    groups = read_ferplus(save(tmp_path, **arrays(6, dup_group=dup, near_dup_group=near))).group
    assert len(set(groups[:4])) == 1 and len(set(groups)) == 3


def test_a_tenth_of_each_age_band_is_set_aside(tmp_path):
    band = np.repeat([-1, 0, 1, 2, 3], 80).astype(np.int8)
    data = read_ferplus(save(tmp_path, **arrays(split=np.zeros(400, np.int8), age_band=band)))
    assert [(data.part[band == b] == "val").sum() for b in (-1, 0, 1, 2, 3)] == [8] * 5


def test_a_group_is_drawn_with_the_age_band_of_its_first_row(tmp_path):
    # Ten groups of a child's row before an adult's, among a hundred adults: one of the ten.
    group = np.concatenate([np.repeat(np.arange(10), 2), np.arange(10, 110)]).astype(np.int32)
    band = np.array([1, 2] * 10 + [2] * 100, np.int8)
    none = np.zeros(120, np.int8)
    path = save(tmp_path, **arrays(120, dup_group=group, age_band=band, split=none))
    for seed in range(8):
        part = read_ferplus(path, seed=seed).part
        assert (part[:20:2] == "val").sum() == 1, seed
        assert (part[20:] == "val").sum() == 10, seed


def test_one_seed_sets_the_same_rows_aside_and_another_others(tmp_path):
    path = save(tmp_path, **arrays())
    first, again, other = (read_ferplus(path, seed=seed).part for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_what_leaks_does_not_change_what_is_set_aside_of_the_report(tmp_path):
    data = read_ferplus(save(tmp_path, **arrays(leaks_into_split1=np.ones(400, bool))))
    assert set(data.part) == {"test", ""} and (data.part == "test").sum() == 100


# --------------------------------------------------------------------------- files that are wrong


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MoppetError, match=r"nowhere\.npz, which does not exist"):
        read_ferplus(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("key", sorted(arrays(4)))
def test_a_missing_key_is_named(tmp_path, key):
    content = arrays(8)
    del content[key]
    with pytest.raises(MoppetError, match=f"lacks the arrays {key}"):
        read_ferplus(save(tmp_path, **content))


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_archive_is_refused_by_name(tmp_path, content):
    path = tmp_path / "ferplus.npz"
    path.write_bytes(content)
    with pytest.raises(MoppetError, match=r"ferplus\.npz"):
        read_ferplus(path)


def test_a_file_without_one_of_the_expressions_is_refused(tmp_path):
    names = np.array(["joy" if name == "fear" else name for name in NAMES])
    with pytest.raises(MoppetError, match="fear"):
        read_ferplus(save(tmp_path, **arrays(8, vote_names=names)))


# ------------------------------------------------------------------------------------- crops


def face_crop(image: np.ndarray, truth: Truth, side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """The head as FER has it, gray, filling the crop; and its landmarks there."""
    x, y, w, h = truth.box_px
    half = max(w, h) / 2 * 1.05
    corner = np.array([x + w / 2 - half, y + h / 2 - half])
    scale = side / (2 * half)
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    softened = cv2.GaussianBlur(gray, (0, 0), 0.4 / scale)
    crop = cv2.warpAffine(softened, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return crop, (truth.landmarks_px - corner) * scale


@pytest.fixture(scope="module")
def crops(pictures) -> tuple[list[np.ndarray], np.ndarray]:
    faces = [(s.image, t) for s in pictures.values() for t in s.faces]
    made = [face_crop(image, truth) for image, truth in faces]
    return [crop for crop, _ in made], np.stack([points for _, points in made])


def test_the_landmarks_of_face_crops_are_found_and_blank_ones_have_none(crops):
    images, truth = crops
    blank = np.full((48, 48), 100, np.uint8)
    landmarks, attempts = find_crop_landmarks([blank, *images, blank])
    assert np.isnan(landmarks[[0, -1]]).all() and attempts[[0, -1]].tolist() == [-1, -1]
    assert landmarks.shape == (len(images) + 2, 5, 2) and landmarks.dtype == np.float32
    assert attempts.dtype == np.int8 and (attempts[1:-1] >= 0).all()
    eyes = np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1)
    off = np.linalg.norm(landmarks[1:-1] - truth, axis=2).max(axis=1) / eyes
    assert (off < 0.3).all(), off.round(2)
    assert np.median(off) < 0.15, off.round(2)


def test_landmarks_do_not_depend_on_the_size_of_the_crop(pictures):
    still = pictures["age30_dark_neutral.jpg"]
    small, truth = face_crop(still.image, still.faces[0], 64)
    large, _ = face_crop(still.image, still.faces[0], 128)
    rgb = np.repeat(large[:, :, None], 3, axis=2)
    landmarks, _ = find_crop_landmarks([small, large, rgb])
    np.testing.assert_allclose(landmarks[1] / 2, landmarks[0], atol=2.5)
    np.testing.assert_array_equal(landmarks[1], landmarks[2])
    assert np.abs(landmarks[0] - truth).max() < 5


def test_no_crops_have_no_landmarks():
    landmarks, attempts = find_crop_landmarks([])
    assert landmarks.shape == (0, 5, 2) and attempts.shape == (0,)


def test_a_crop_without_landmarks_stays_whole(crops):
    crop = crops[0][0]
    whole = aligned_crop(crop, np.full((5, 2), np.nan, np.float32))
    np.testing.assert_array_equal(whole, whole_crop(crop))
    assert whole.shape == (112, 112, 3)
    np.testing.assert_array_equal(
        whole_crop(np.full((200, 200), 9, np.uint8), 50), np.full((50, 50, 3), 9)
    )


def test_an_aligned_crop_has_its_eyes_on_the_template(crops):
    crop, points = crops[0][0], crops[1][0]
    aligned = aligned_crop(crop, points.astype(np.float32))
    matrix = similarity(points, TEMPLATE_PX)
    expected = cv2.warpAffine(crop, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE)
    assert aligned.shape == (112, 112, 3)
    assert np.abs(aligned[:, :, 0].astype(int) - expected).max() <= 1
