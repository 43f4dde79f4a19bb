"""The manifest: columns and their rules, labels, groups, images, and its Parquet file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.datasets.manifest import SCHEMA, Manifest, build_manifest, connect, read_manifest
from moppet.timeline import build_timeline
from moppet.values import EXPRESSIONS, MoppetError
from rendered import write_video


def four(**more) -> Manifest:
    """Four rows: voted, labeled, tied, and unknown."""
    columns = {
        "path": ["a.png", "b.png", "c.png", "d.png"],
        "label": ["happiness", "zeal", None, None],
        "votes": np.array([[8, 2, 0], [np.nan] * 3, [5, 0, 5], [0, 0, 0]]),
        **more,
    }
    return build_manifest(columns, root="pictures", names=["happiness", "zeal", "anger"])


# --------------------------------------------------------------------------------- the classes


def test_expressions_come_first_in_their_order_and_other_classes_after_by_alphabet():
    m = four()
    assert m.names == ("happiness", "anger", "zeal")
    every = build_manifest(
        {"path": ["x"] * 9, "label": ["zeal", "asleep", *reversed(EXPRESSIONS)]}, root="."
    )
    assert every.names == (*EXPRESSIONS, "asleep", "zeal")


def test_votes_follow_their_names_and_not_their_place():
    m = four()
    np.testing.assert_array_equal(m.column("votes")[0], [8, 0, 2])
    assert m.labels.tolist() == [0, 2, -1, -1] and m.labels.dtype == np.int64


def test_soft_labels_are_shares_of_votes_or_the_label_or_nothing():
    soft = four().soft_labels
    assert soft.dtype == np.float32
    expected = [[0.8, 0, 0.2], [0, 0, 1], [0.5, 0.5, 0], [0, 0, 0]]
    np.testing.assert_allclose(soft, expected, atol=1e-6)


def test_a_weight_that_nobody_knows_is_one():
    assert four().weights.tolist() == [1] * 4
    assert four(weight=[0.5, None, 2, np.nan]).weights.tolist() == [0.5, 1, 2, 1]


# ---------------------------------------------------------------------------------- the groups


def test_rows_that_share_a_subject_a_copy_or_pixels_are_one_group():
    m = build_manifest(
        {
            "path": list("abcdefg"),
            "subject": ["s", "s", None, None, None, None, "t"],
            "duplicate_group": [None, 5, 5, None, None, None, None],
            "content_hash": [None, None, "x", "x", "y", None, None],
        },
        root=".",
    )
    assert m.groups.tolist() == [0, 0, 0, 0, 1, 2, 3] and m.groups.dtype == np.int64


def test_equal_subject_numbers_of_two_sets_are_two_people():
    m = build_manifest(
        {"path": list("abc"), "subject": ["1", "1", "1"], "source": ["ck", "ck", "cafe"]}, root="."
    )
    assert m.groups.tolist() == [0, 0, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.one_of(st.none(), st.integers(0, 6))] * 3), max_size=25))
def test_groups_are_the_closure_of_what_rows_share(rows):
    """Against a naive union of sets."""
    sets = [{i} for i in range(len(rows))]
    for i in range(len(rows)):
        for j in range(i):
            if any(a is not None and a == b for a, b in zip(rows[i], rows[j], strict=True)):
                joined = sets[i] | sets[j]
                for member in joined:
                    sets[member] = joined
    found = connect(len(rows), [[row[k] for row in rows] for k in range(3)])
    for i in range(len(rows)):
        assert {int(j) for j in np.flatnonzero(found == found[i])} == sets[i]
    assert list(dict.fromkeys(found.tolist())) == list(range(len(set(found.tolist()))))


# ----------------------------------------------------------------------------- rows and columns


def test_rows_are_chosen_by_number_or_mask_with_everything_that_they_carry():
    m = four(note=["n0", "n1", "n2", "n3"])
    assert m.select([2, 0]).column("note").tolist() == ["n2", "n0"]
    masked = m.select(np.array([False, True, False, True]))
    assert masked.column("path").tolist() == ["b.png", "d.png"]
    assert masked.names == m.names and masked.root == m.root and len(masked) == 2
    np.testing.assert_array_equal(m.select([2, 0]).column("votes"), m.column("votes")[[2, 0]])
    with pytest.raises(MoppetError, match="mask of 4 rows"):
        m.select(np.array([True, False]))


def test_replaced_columns_are_new_and_the_others_stay():
    m = four()
    new = m.replace(split=np.array(["train", None, "test", None], object), extra=[1, 2, 3, None])
    assert new.column("split").tolist() == ["train", None, "test", None]
    assert np.isnan(new.column("extra")[3]) and m.column("split").tolist() == [None] * 4
    assert new.replace(extra=["w"] * 4).column("extra").tolist() == ["w"] * 4
    np.testing.assert_array_equal(new.column("votes"), m.column("votes"))
    votes = np.array([[1, 2, 3], [np.nan] * 3, [0, 0, 1], [4, 4, 4]], np.float32)
    np.testing.assert_array_equal(m.replace(votes=votes).column("votes"), votes)
    with pytest.raises(MoppetError, match="'extra' needs 4 values, one for each row, not 2"):
        m.replace(extra=[1, 2])


def test_a_null_among_categories_is_none():
    site = pa.array([None, "lab", None, "home"]).dictionary_encode()
    assert four(site=site).column("site").tolist() == [None, "lab", None, "home"]


def test_whole_numbers_without_a_null_stay_whole():
    m = four(array_row=[3, 1, 2, 0], duplicate_group=[1, None, 1, None])
    assert m.column("array_row").dtype == np.int64
    np.testing.assert_array_equal(m.column("duplicate_group"), [1, np.nan, 1, np.nan])
    with pytest.raises(MoppetError, match="no column 'age'; its columns are path"):
        m.column("age")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": ["happiness", "joy", None, None]}, "'label' needs one of .* row 1 has 'joy'"),
        ({"age_band": [None, None, "old", None]}, "'age_band' .* row 2 has 'old'"),
        ({"array_row": [0, -1, 2, 3]}, "'array_row' needs a number from 0, but row 1 has -1"),
        ({"weight": [1, 1, 1, -2]}, "'weight' needs a number from 0, but row 3"),
        ({"weight": [1, np.inf, 1, 1]}, "'weight' needs a finite number, but row 1"),
        ({"box_w": [4, 0, 4, 4]}, "'box_w' needs a size above 0, but row 1 has 0"),
        ({"time_s": ["soon"] * 4}, "'time_s' needs values of type double"),
        ({"subject": [7, 8, 9, 10]}, "'subject' needs values of type string"),
        ({"votes": np.array([[1, -1, 0]] * 4)}, "votes must be numbers of 0 or more"),
        ({"votes": np.ones((4, 2))}, "one column for each of 3 classes, not 2"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused_in_one_sentence(columns, said):
    with pytest.raises(MoppetError, match=said) as refused:
        four(**columns)
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".")


def test_class_names_in_another_order_or_odd_are_refused():
    table = four().table
    for names in [("zeal", "anger", "happiness"), ("happiness", "anger", "zeal "), ("a", "a")]:
        with pytest.raises(MoppetError, match="classes are unique words"):
            Manifest(names, table, Path("."))


# ------------------------------------------------------------------------------------ the file


def test_what_is_written_is_read_back(tmp_path):
    m = four(
        subject=["ä", None, "b", "c"], split=["train"] * 4, box_x=[1, 2, None, 4], own=[1.5] * 4
    )
    m = Manifest(m.names, m.table, tmp_path / "pictures", "CC BY 4.0. Parents agreed.")
    again = read_manifest(m.write(tmp_path / "sub" / "m.parquet"))
    assert again == m and again.root == tmp_path / "pictures"
    assert again.license == "CC BY 4.0. Parents agreed." and again.table.equals(m.table)


def test_the_root_moves_with_the_file(tmp_path):
    (tmp_path / "here" / "pictures").mkdir(parents=True)
    m = Manifest((), pa.table({"path": ["a.png"]}), tmp_path / "here" / "pictures")
    m.write(tmp_path / "here" / "m.parquet")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = read_manifest(tmp_path / "there" / "m.parquet")
    assert moved.root == tmp_path / "there" / "pictures"
    raw = pq.read_schema(tmp_path / "there" / "m.parquet").metadata[b"moppet"]
    assert b'"root": "pictures"' in raw and b'"moppet_version"' in raw


def test_an_empty_manifest_is_one(tmp_path):
    m = build_manifest({"path": [], "label": []}, root=tmp_path)
    assert len(m) == 0 and m.groups.shape == (0,) and m.soft_labels.shape == (0, 0)
    assert len(read_manifest(m.write(tmp_path / "m.parquet"))) == 0


def odd_files(folder: Path) -> dict[str, tuple[Path, str]]:
    good = four().write(folder / "good.parquet")
    table = pq.read_table(good)
    kept = table.schema.metadata

    def write(name: str, changed: pa.Table, metadata=kept) -> Path:
        pq.write_table(changed.replace_schema_metadata(metadata), folder / name)
        return folder / name

    timeline = build_timeline([], names=["a", "b"], group_of={}).write(folder / "t.parquet")
    text = folder / "text.parquet"
    text.write_text("path,label\n")
    cut = folder / "cut.parquet"
    cut.write_bytes(good.read_bytes()[:-20])
    other = kept[b"moppet"].replace(b'"happiness"', b'"sadness"')
    return {
        "missing": (folder / "none.parquet", "No such file"),
        "folder": (folder, "directory"),
        "text": (text, "not a complete Parquet"),
        "cut": (cut, "not a complete Parquet"),
        "timeline": (timeline, "no names, license and root"),
        "plain": (write("plain.parquet", table, None), "no names, license and root"),
        "lacking": (write("lacking.parquet", table.drop(["votes"])), "lacks votes"),
        "typed": (write("typed.parquet", table.set_column(2, "time_s", [["1 s"] * 4])), "'time_s'"),
        "foreign": (write("names.parquet", table, {b"moppet": other}), "row 0 has 'happiness'"),
    }


@pytest.mark.parametrize(
    "case",
    ["missing", "folder", "text", "cut", "timeline", "plain", "lacking", "typed", "foreign"],
)
def test_an_odd_file_is_refused_in_one_sentence_with_its_name(tmp_path, case):
    path, said = odd_files(tmp_path)[case]
    with pytest.raises(MoppetError) as refused:
        read_manifest(path)
    text = str(refused.value)
    assert said in text and str(path) in text and "\n" not in text


def test_only_parquet_is_written_and_a_bad_place_is_named(tmp_path):
    with pytest.raises(MoppetError, match=r"ends in \.parquet, not 'm\.csv'"):
        four().write(tmp_path / "m.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(MoppetError, match="Cannot write"):
        four().write(tmp_path / "file" / "m.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_the_columns_are_those_of_the_documentation():
    docs = Path(__file__).parent.parent / "docs"
    page = (docs / "guides" / "datasets.md").read_text(encoding="utf-8")
    assert [name for name in SCHEMA.names if f"`{name}`" not in page] == []


# ------------------------------------------------------------------------------------ images


def shades(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint8)[:, None, None] * 20 + np.zeros((4, 6), np.uint8)


def test_images_come_from_files_arrays_and_videos(tmp_path):
    np.savez(tmp_path / "set.npz", images=shades(5))
    colour = np.zeros((6, 8, 3), np.uint8)
    colour[:, :, 0] = 200  # red
    cv2.imwrite(str(tmp_path / "still.png"), colour[:, :, ::-1])
    write_video(
        tmp_path / "clip.mp4", [np.full((32, 32, 3), 30 * i, np.uint8) for i in range(6)], 2
    )
    m = build_manifest(
        {
            "path": ["clip.mp4", "set.npz", "still.png", "clip.mp4", None, "gone.png", "set.npz"],
            "array_row": [None, 3, None, None, None, None, 9],
            "time_s": [2.6, None, None, 0.5, None, None, None],
        },
        root=tmp_path,
    )
    np.testing.assert_array_equal(m.image(1), shades(5)[3])
    np.testing.assert_array_equal(m.image(2), colour)
    assert abs(int(m.image(0).mean()) - 150) < 6  # shown from 2.5 s
    assert abs(int(m.image(3).mean()) - 30) < 6
    every = dict(m.images())
    assert sorted(every) == list(range(7)) and [r for r in every if every[r] is None] == [4, 5, 6]
    for row in range(4):
        np.testing.assert_array_equal(every[row], m.image(row))
    for row, said in ((4, "row 4"), (5, r"gone\.png"), (6, "5 images, but row 9")):
        with pytest.raises(MoppetError, match=said):
            m.image(row)
    with pytest.raises(IndexError):
        m.image(7)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"pictures": shades(2)}, "lacks the arrays images"),
        ({"images": shades(2).astype(float)}, "should be .* float64"),
        ({"images": np.zeros((2, 3), np.uint8)}, r"should be .* \(2, 3\)"),
    ],
)
def test_an_array_that_is_no_image_is_refused(tmp_path, content, said):
    np.savez(tmp_path / "odd.npz", **content)
    m = build_manifest({"path": ["odd.npz"], "array_row": [0]}, root=tmp_path)
    with pytest.raises(MoppetError, match=said):
        m.image(0)


def test_a_changed_array_is_read_anew(tmp_path):
    m = build_manifest({"path": ["set.npz"], "array_row": [1]}, root=tmp_path)
    np.savez(tmp_path / "set.npz", images=shades(2))
    assert m.image(0).max() == 20
    np.savez(tmp_path / "set.npz", images=shades(3)[::-1])
    assert m.image(0).max() == 20 and m.image(0)[0, 0] == 20
    np.savez(tmp_path / "set.npz", images=shades(9)[::-1])
    assert m.image(0).max() == 140
