"""The audit: what leaks, what cannot be read, who disagrees; and the commands that tell of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from moppet.datasets.audit import Audit, audit_manifest, find_leaks, vote_entropy
from moppet.datasets.duplicates import (
    drop_leaking_duplicates,
    find_duplicates,
    has_duplicate_groups,
    with_duplicate_groups,
)
from moppet.datasets.manifest import Manifest, build_manifest, read_manifest
from moppet.values import MoppetError
from rendered import write_video


def texture(seed: int) -> np.ndarray:
    """A smooth image that resembles no other."""
    noise = np.random.default_rng(seed).normal(size=(9, 9)).astype(np.float32)
    large = cv2.resize(noise, (64, 64), interpolation=cv2.INTER_CUBIC)
    gray = cv2.normalize(large, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, 2)


def save(path: Path, image: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[:, :, ::-1])
    return path.name


@pytest.fixture
def eight(tmp_path) -> Manifest:
    """Rows 0 and 1 equal, 2 a crop and 3 the mirror image of 0; 4 and 5 one child; 6 cut short."""
    a = texture(0)
    images = [a, a, a[3:-3, 3:-3], a[:, ::-1], texture(1), texture(2), texture(3), texture(4)]
    names = [save(tmp_path / f"{i}.png", image) for i, image in enumerate(images)]
    whole = (tmp_path / "6.png").read_bytes()
    (tmp_path / "6.png").write_bytes(whole[: len(whole) // 2])
    return build_manifest(
        {
            "path": names,
            "label": ["fear", "anger", "fear", "fear", "anger", "anger", "fear", None],
            "subject": [None, None, None, None, "ann", "ann", None, None],
            "split": ["train"] * 8,
        },
        root=tmp_path,
    )


def leaks(m: Manifest, *split: str | None) -> set[tuple[str, tuple[int, ...]]]:
    found = find_leaks(m.replace(split=list(split)))
    return {(leak.kind, tuple(leak.rows.tolist())) for leak in found}


# ------------------------------------------------------------------------------- what is a copy


def test_rows_whose_copy_reports_or_chooses_are_not_learned_from(eight):
    split = ["train", "val", "test", "train", "train", "val", "train", None]
    kept = drop_leaking_duplicates(eight.replace(split=split)).column("split").tolist()
    assert kept == [None, None, "test", None, None, "val", "train", None]


def test_copies_are_exact_near_or_mirrored_and_have_one_number(eight):
    audit = audit_manifest(eight)
    assert [rows.tolist() for rows in audit.exact] == [[0, 1]]
    assert [rows.tolist() for rows in audit.near] == [[0, 1, 2, 3]] and audit.mirrored == 1
    group = audit.manifest.table["duplicate_group"].to_pylist()
    assert group == [0, 0, 0, 0, None, None, None, None]
    assert audit.manifest.groups.tolist() == [0, 0, 0, 0, 1, 1, 2, 3]
    hashes = audit.manifest.column("perceptual_hash")
    assert hashes[0] == hashes[1] and hashes[6] is None and len(hashes[7]) == 16


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(eight):
    audit = audit_manifest(eight)
    assert audit.unreadable.tolist() == [6]
    assert audit.manifest.column("content_hash")[6] is None
    assert audit.manifest.column("readable").tolist() == [r != 6 for r in range(8)]
    assert audit.to_dict()["unreadable"] == [
        {"row": 6, "path": "6.png", "label": "fear", "split": "train"}
    ]


def test_copies_that_the_set_itself_knows_of_stay_together(eight):
    known = eight.replace(duplicate_group=[None, None, None, 5, None, None, None, 5])
    group = find_duplicates(known).manifest.table["duplicate_group"].to_pylist()
    assert group == [0, 0, 0, 0, None, None, None, 0]


def test_only_images_that_nobody_searched_are_searched_for_copies(eight):
    assert with_duplicate_groups(eight).groups.tolist() == [0, 0, 0, 0, 1, 1, 2, 3]
    searched = find_duplicates(eight.select([4, 6, 7])).manifest
    assert searched.table["duplicate_group"].null_count == 3 and has_duplicate_groups(searched)
    told = eight.replace(duplicate_group=[None, None, None, 5, None, None, None, 5])
    assert with_duplicate_groups(searched) is searched and with_duplicate_groups(told) is told


def test_frames_of_one_video_are_not_near_duplicates_but_those_of_two_are(tmp_path):
    frames = [texture(5), texture(5) // 2 + 60]
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, fps=2)
    m = build_manifest({"path": ["a.mp4", "a.mp4"], "time_s": [0.0, 0.5]}, root=tmp_path)
    assert len(find_duplicates(m).near.rows) == 0
    two = build_manifest({"path": ["a.mp4", "b.mp4"], "time_s": [0.0, 0.5]}, root=tmp_path)
    assert find_duplicates(two).near.rows.tolist() == [[0, 1]]


# ------------------------------------------------------------------------------- what leaks


@pytest.fixture
def looked(eight) -> Manifest:
    return find_duplicates(eight).manifest


def test_copies_and_children_on_one_side_do_not_leak(looked):
    assert leaks(looked, *["train"] * 4, "test", "test", "train", "test") == set()
    assert leaks(looked, *[None] * 8) == set()


def test_an_exact_copy_a_near_one_and_a_child_on_two_sides_leak(looked):
    split = ["train", "test", "train", "train", "train", "val", "train", None]
    assert leaks(looked, *split) == {("exact duplicates", (0, 1, 2, 3)), ("subject", (4, 5))}
    split = ["train", "train", "test", "train", "train", "train", "train", "test"]
    assert leaks(looked, *split) == {("near duplicates", (0, 1, 2, 3))}


def test_a_row_without_a_side_leaks_nothing_by_itself_but_may_tie_two_sides(looked):
    split = [None, "train", None, "train", "train", None, "test", "test"]
    assert leaks(looked, *split) == set()
    # 4 is ann, like 5; 5 has no side, and is a copy of 7 on the other side.
    tied = looked.replace(duplicate_group=[None] * 5 + [9, None, 9])
    split = ["train"] * 5 + [None, "train", "test"]
    assert leaks(tied.replace(content_hash=[None] * 8), *split) == {("chain", (4, 5, 7))}


def test_folds_leak_as_splits_do(looked):
    found = find_leaks(looked.replace(fold=[0, 1, 0, 0, 1, 1, 1, 0]))
    assert [(leak.kind, leak.column, leak.rows.tolist()) for leak in found] == [
        ("exact duplicates", "fold", [0, 1, 2, 3])
    ]


def test_hashes_tell_of_exact_duplicates_where_nobody_searched(eight):
    hashes = ["x", "y", "x", None, None, None, None, None]
    m = eight.replace(content_hash=hashes, split=["train", "train", "test"] + ["train"] * 5)
    assert [(leak.kind, leak.rows.tolist()) for leak in find_leaks(m)] == [
        ("exact duplicates", [0, 2])
    ]


# ------------------------------------------------------------------------------- counts and labels


def test_classes_are_counted_by_split_in_their_order(eight):
    audit = audit_manifest(eight.replace(split=["train"] * 5 + ["test"] * 2 + [None]))
    assert audit.counts("label") == {
        "fear": {"test": 1, "train": 3, "–": 0},
        "anger": {"test": 1, "train": 2, "–": 0},
        "–": {"test": 0, "train": 0, "–": 1},
    }
    assert list(audit.counts("label")) == ["fear", "anger", "–"]


def test_copies_with_different_labels_are_told_from_those_that_agree(eight):
    found = audit_manifest(eight).disagreements
    assert [(d.rows.tolist(), d.labels, d.exact) for d in found] == [
        ([0, 1, 2, 3], ("fear", "anger"), True)
    ]
    near = audit_manifest(eight.replace(label=["fear", None, "anger", *["fear"] * 5]))
    assert [(d.rows.tolist(), d.exact) for d in near.disagreements] == [([0, 2, 3], False)]
    alike = audit_manifest(eight.replace(label=["fear"] * 8))
    assert alike.disagreements == ()


def test_vote_entropy_is_that_of_scipy_and_null_without_votes(eight):
    from scipy.stats import entropy

    votes = np.array([[10, 0], [5, 5], [9, 1], [0, 0], [2, 4]])
    m = build_manifest(
        {"path": list("abcde"), "label": ["fear", None, "fear", None, "anger"], "votes": votes},
        names=["fear", "anger"],
        root=".",
    )
    found = vote_entropy(m)
    bits = [entropy(v, base=2) for v in votes if v.sum()]
    assert found["n"] == 4 and found["no_majority"] == 1
    assert found["mean_entropy_bits"] == pytest.approx(np.mean(bits))
    by_class = found["mean_entropy_bits_by_class"]
    assert by_class == {
        "fear": pytest.approx((bits[0] + bits[2]) / 2),
        "anger": pytest.approx(bits[3]),
    }
    assert vote_entropy(eight)["mean_entropy_bits"] is None


class Found(NamedTuple):
    found: np.ndarray


def audit_with_faces(m: Manifest, monkeypatch: pytest.MonkeyPatch) -> tuple[Audit, list[int]]:
    from moppet.datasets import faces

    asked: list[int] = []

    def find(manifest: Manifest, *, progress: Any = None) -> Found:
        paths = manifest.column("path")
        asked.extend(int(Path(p).stem) for p in paths)
        return Found(np.array([p not in ("2.png", "7.png") for p in paths]))

    monkeypatch.setattr(faces, "find_manifest_faces", find)
    return audit_manifest(m, faces=True), asked


def test_faces_are_looked_for_in_readable_images_only_when_asked(eight, monkeypatch):
    audit, asked = audit_with_faces(eight, monkeypatch)
    assert asked == [0, 1, 2, 3, 4, 5, 7] and audit.faceless.tolist() == [2, 7]
    assert audit.manifest.column("face_found").tolist() == [
        *(True, True, False, True, True, True, None, False)
    ]
    assert audit_manifest(eight).faceless is None
    assert audit_manifest(eight).to_dict()["faceless"] is None


# ------------------------------------------------------------------------------- the commands


@pytest.fixture
def leaking(eight, tmp_path) -> Path:
    split = ["train", "test", "train", "train", "train", "val", "train", "test"]
    return eight.replace(split=split).write(tmp_path / "leaking.parquet")


def test_a_leak_ends_the_audit_with_1_and_says_what_leaks(moppet, leaking, tmp_path):
    done = moppet("data", "audit", leaking, "-o", tmp_path / "audited.parquet")
    assert done.code == 1
    for said in (
        *(
            "LEAKS",
            "exact duplicates",
            "subject",
            "train | val",
            "that cannot be read: 1 of 8 (6.png)",
        ),
        *("moppet data split", "(row 1, test)"),
    ):
        assert said in done.out, said
    audited = read_manifest(tmp_path / "audited.parquet")
    assert audited.table["duplicate_group"].to_pylist()[:4] == [0] * 4


def test_the_audit_as_json_has_rows_with_their_paths(moppet, leaking):
    done = moppet("data", "audit", leaking, "--json")
    content = json.loads(done.out)
    assert done.code == 1 and content["n"] == 8 and content["names"] == ["fear", "anger"]
    kinds = {leak["kind"]: [r["path"] for r in leak["rows"]] for leak in content["leaks"]}
    assert kinds == {
        "exact duplicates": ["0.png", "1.png", "2.png", "3.png"],
        "subject": ["4.png", "5.png"],
    }
    assert content["exact_duplicates"] == {"groups": 1, "rows": 2}
    assert content["near_duplicates"] == {"groups": 1, "rows": 4, "mirrored": 1}


def test_without_a_leak_the_audit_ends_with_0(moppet, eight, tmp_path):
    assert (
        "the split does not leak"
        in moppet("data", "audit", eight.write(tmp_path / "m.parquet")).out
    )
    unsplit = eight.replace(split=[None] * 8).write(tmp_path / "n.parquet")
    done = moppet("data", "audit", unsplit)
    assert done.code == 0 and "no split yet" in done.out


def many(folder: Path) -> Path:
    """Twenty images of two classes; 0 and 1 are copies, and one file is no image."""
    for i in range(20):
        save(folder / ("happy" if i % 2 else "sad") / f"{i}.png", texture(max(i, 1)))
    (folder / "sad" / "99.png").write_bytes(b"not an image")
    return folder


def test_a_split_keeps_copies_together_and_is_the_same_for_the_same_seed(moppet, tmp_path):
    folder, out = many(tmp_path / "faces"), tmp_path / "m.parquet"
    done = moppet("data", "split", folder, "-o", out, "--folds", "3", "--test", "0.3", "--seed", 4)
    assert done.code == 0 and "fold 2" in done.out and str(out) in done.out
    assert "images that cannot be read and get no split: 1" in done.err
    m = read_manifest(out)
    split, fold = m.column("split"), m.column("fold")
    path = m.column("path").tolist()
    assert split[path.index("sad/99.png")] is None
    assert split[path.index("sad/0.png")] == split[path.index("happy/1.png")]
    assert sorted(np.unique([s for s in split if s], return_counts=True)[1]) == [2, 6, 12]
    np.testing.assert_array_equal(np.isnan(fold), np.isin(split, ("test", None)))
    assert set(fold[~np.isnan(fold)]) == {0, 1, 2} and find_leaks(m) == ()
    again = tmp_path / "again.parquet"
    moppet("data", "split", folder, "-o", again, "--folds", "3", "--test", "0.3", "--seed", 4)
    assert read_manifest(again).table.equals(m.table)
    assert moppet("data", "audit", out).code == 0


def test_folds_alone_leave_the_split_as_it_is(moppet, eight, tmp_path):
    subjects = [None] * 8
    split = ["train"] * 4 + ["test", "train", "train", None]
    m = eight.replace(split=split, subject=subjects, label=[*["fear"] * 4, *["anger"] * 4])
    m = m.replace(label=["fear"] * 4 + [None, "anger", "anger", "anger"])
    source = m.write(tmp_path / "source.parquet")
    done = moppet("data", "split", source, "-o", tmp_path / "f.parquet", "--folds", 2, "--json")
    assert done.code == 1 and "'fear' has only 4 images of one group" in done.err
    source = m.replace(label=[None] * 5 + ["anger"] * 3).write(tmp_path / "source.parquet")
    done = moppet("data", "split", source, "-o", tmp_path / "f.parquet", "--folds", 2, "--json")
    assert done.code == 0 and list(json.loads(done.out)["class_counts"]) == ["fold"]
    made = read_manifest(tmp_path / "f.parquet")
    assert made.column("split").tolist() == split
    assert np.isnan(made.column("fold")[[4, 6]]).all()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--test", "1.5", "--val", "0"], 2, "between 0 and 1"),
        (["--test", "0.7", "--val", "0.4"], 2, "must leave rows to train on"),
        (["--keep-test", "--test", "0.2"], 2, "leave out --test"),
        (["--keep-test"], 1, "no test rows to keep"),
        (["--folds", "1"], 2, "at least 2 folds"),
        (["--folds", "50"], 1, "50 parts need at least 50 groups"),
        (["--option", "subject_pattern"], 2, "--option takes name=value"),
        (["--option", "colour=red"], 2, "unknown key 'colour'"),
    ],
)
def test_a_split_that_cannot_be_is_refused_in_one_sentence(moppet, tmp_path, arguments, code, said):
    done = moppet(
        "data", "split", many(tmp_path / "faces"), "-o", tmp_path / "m.parquet", *arguments
    )
    assert done.code == code and said in done.err, done.err
    assert "Traceback" not in done.err and not (tmp_path / "m.parquet").exists()


def test_a_reader_s_options_reach_it(moppet, tmp_path):
    folder, out = many(tmp_path / "faces"), tmp_path / "m.parquet"
    pattern = r"subject_pattern=(\d)\d*\.png"
    assert moppet("data", "audit", folder, "--option", pattern, "-o", out).code == 0
    m = read_manifest(out)
    subject = dict(zip(m.column("path"), m.column("subject"), strict=True))
    assert subject["sad/14.png"] == subject["happy/1.png"] == "1"


def test_a_missing_place_is_named(moppet, tmp_path):
    done = moppet("data", "audit", tmp_path / "nowhere")
    assert done.code == 1 and "nowhere" in done.err and "does not exist" in done.err
    with pytest.raises(MoppetError):
        read_manifest(tmp_path / "nowhere")
