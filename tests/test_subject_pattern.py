"""`--subject` states how many people its pattern found, and refuses one that matches nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest


@pytest.fixture
def folder(tmp_path):
    """Two classes of six images; the files of five children, and one of nobody."""
    rng = np.random.default_rng(0)
    for label in ("happiness", "sadness"):
        (tmp_path / "faces" / label).mkdir(parents=True)
        for number in range(6):
            name = f"child{number}_a.png" if number < 5 else "other.png"
            image = rng.integers(0, 256, (32, 32, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "faces" / label / name), image)
    return tmp_path / "faces"


def test_people_and_unmatched_rows_are_stated(moppet, folder, tmp_path):
    pattern = r"subject_pattern=(child\d+)_"
    done = moppet("data", "split", folder, "-o", tmp_path / "a.parquet", "--option", pattern)
    assert done.code == 0, done.err
    assert "5 people found by subject_pattern; 2 of 12 rows match it nowhere" in done.err
    assert "other.png" in done.err


def test_a_pattern_that_matches_nothing_is_refused(moppet, folder, tmp_path):
    out = tmp_path / "a.parquet"
    done = moppet("data", "split", folder, "-o", out, "--option", r"subject_pattern=(kid\d+)_")
    assert done.code == 2 and "matches no file" in done.err and "child0_a.png" in done.err
    assert not out.exists()
