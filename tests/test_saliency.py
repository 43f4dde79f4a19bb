"""Regions of the aligned face, the shares of saliency in them, and means over faces."""

from __future__ import annotations

import numpy as np
import pytest

from moppet.evaluate.saliency import (
    REGIONS,
    as_shares,
    measure_saliency,
    region_areas,
    region_boxes,
    region_masks,
    region_shares,
)
from moppet.infer.alignment import CROP_PX, TEMPLATE_PX


def test_every_pixel_is_in_one_region_and_each_landmark_in_its_own() -> None:
    masks = region_masks()
    assert tuple(masks) == REGIONS
    assert (sum(mask.astype(int) for mask in masks.values()) == 1).all()
    assert sum(region_areas().values()) == pytest.approx(1)
    places = [masks[name] for name in ("eyes", "eyes", "nose", "mouth", "mouth")]
    for (x, y), mask in zip(TEMPLATE_PX, places, strict=True):
        assert mask[round(float(y)), round(float(x))]
    assert masks["background"][0, 0] and masks["background"][-1, -1]


def test_shares_are_the_regions_sums_of_what_speaks_for_the_class() -> None:
    maps = np.full((3, CROP_PX, CROP_PX), -1.0, np.float32)
    maps[0] = 1
    left, top, right, bottom = (round(edge) for edge in region_boxes()["nose"])
    maps[1, top + 2 : bottom - 2, left + 2 : right - 2] = 3
    maps[1, 0, 0] = 3
    shares = region_shares(maps)
    assert {name: share[0] for name, share in shares.items()} == pytest.approx(region_areas())
    inside = (bottom - top - 4) * (right - left - 4)
    assert shares["nose"][1] == pytest.approx(inside / (inside + 1))
    assert shares["background"][1] == pytest.approx(1 / (inside + 1))
    assert all(np.isnan(share[2]) for share in shares.values())
    assert as_shares(maps)[:2].sum(axis=(1, 2)) == pytest.approx(1)


def spots(*names: str) -> np.ndarray:
    """A map for each region named, all of it in that region."""
    return np.stack([region_masks()[name] for name in names]).astype(np.float32)


def test_parts_are_means_over_faces_in_the_models_order_of_classes() -> None:
    maps = spots("mouth", "mouth", "eyes", "eyes", "background")
    maps[2] *= 50  # a face whose values are larger counts no more than another
    parts = measure_saliency(
        maps,
        ["sad", "sad", "happy", "happy", "sad"],
        ("happy", "sad", "calm"),
        ["infant", "child", "infant", None, "child"],
        np.arange(5),
    )
    assert [(p.class_name, p.age_band, p.n) for p in parts] == [
        *((None, None, 5), (None, "infant", 2), (None, "child", 2), (None, "infant or child", 4)),
        *(("happy", None, 2), ("happy", "infant", 1), ("happy", "infant or child", 1)),
        *(("sad", None, 3), ("sad", "infant", 1), ("sad", "child", 2)),
        ("sad", "infant or child", 3),
    ]
    whole = parts[0]
    assert [share.value for share in whole.shares.values()] == pytest.approx([0.4, 0, 0.4, 0, 0.2])
    assert whole.shares["mouth"].low < 0.4 < whole.shares["mouth"].high
    assert whole.mean.mean() == pytest.approx(1)
    areas = region_areas()
    assert whole.mean[region_masks()["eyes"]] == pytest.approx(0.4 / areas["eyes"])


def test_faces_of_one_subject_are_one_draw_and_give_no_interval() -> None:
    maps = spots("mouth", "eyes", "mouth", "eyes")
    classes, names, bands = ["a"] * 4, ("a", "b"), [None] * 4
    (whole,) = measure_saliency(maps, classes, names, bands, np.array([0, 0, 1, 1]))
    assert (whole.shares["mouth"].low, whole.shares["mouth"].high) == pytest.approx((0.5, 0.5))
    (alone,) = measure_saliency(maps, classes, names, bands, np.zeros(4, np.int64))
    share = alone.as_json()["shares"]["mouth"]
    assert share.pop("value") == pytest.approx(0.5)
    assert share == {"low": None, "high": None, "n": 4}


def test_faces_in_which_nothing_speaks_for_the_class_are_counted_and_left_out() -> None:
    maps = spots("mouth", "eyes", "eyes")
    maps[1] = -1
    names = ("a", "b")
    (part,) = measure_saliency(maps, ["a"] * 3, names, [None] * 3, np.arange(3))
    assert (part.n, part.undefined, part.shares["mouth"].n) == (3, 1, 2)
    assert part.shares["mouth"].value == pytest.approx(0.5)
    (nobody,) = measure_saliency(maps[:0], [], names, [], np.arange(0))
    assert nobody.as_json()["shares"]["eyes"]["value"] is None
