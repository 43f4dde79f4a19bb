"""One's own images: folders and tables; what words mean; what lies in a folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dataset_fixtures import photo, pictures, text
from moppet.datasets.readers import read_dataset
from moppet.datasets.readers.folder_tree import natural, walk_files
from moppet.values import EXPRESSIONS, MoppetError, UsageError
from moppet.vocabulary import (
    age_band,
    age_limits,
    class_of,
    expression_of,
    expressions_in,
    rename_classes,
    split_of,
)


def column(manifest, name: str) -> list:
    return manifest.table[name].to_pylist()


# ------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("neutral Neutral NEUTRALITY", "neutral"),
        ("happy Happiness joy", "happiness"),
        ("sad SADNESS", "sadness"),
        ("surprise surprised", "surprise"),
        ("fear fearful afraid scared", "fear"),
        ("disgust disgusted", "disgust"),
        ("angry anger", "anger"),
    ],
)
def test_words_stand_for_expressions_by_name(words, meant):
    assert {expression_of(f" {word} ") for word in words.split()} == {meant}
    assert meant in EXPRESSIONS


@pytest.mark.parametrize("word", ["contempt", "calm", "content", "normal", "crying", "0", "", "ha"])
def test_other_words_stand_for_no_expression(word):
    assert expression_of(word) is None
    assert class_of(word.upper()) == word


def test_a_file_name_tells_its_expressions_by_whole_words():
    assert expressions_in("S1_Happy2-SAD.mp4") == ["happiness", "sadness"]
    assert expressions_in("happily_happy joy") == ["happiness"]
    assert expressions_in("unhappy saddle angrybird") == []
    assert expressions_in("x_content.png", more=("content",)) == ["content"]


@pytest.mark.parametrize(
    ("words", "split"),
    [
        ("train Training train_set", "train"),
        ("val valid Validation val_set dev PublicTest", "val"),
        ("test Testing PrivateTest report", "test"),
        ("happy trainer tests 1", None),
    ],
)
def test_splits_have_one_name_each(words, split):
    assert {split_of(word) for word in words.split()} == {split}


@pytest.mark.parametrize(
    ("ages", "band"),
    [
        ((0,), "infant"), ((3.99,), "infant"), ((4,), "child"), ((12.9,), "child"),
        ((13,), "uncertain"), ((17.9,), "uncertain"), ((18,), "adult"), ((116,), "adult"),
        ((0, 1), "infant"), ((4, 6), "child"), ((6, 12), "child"), ((18, 50), "adult"),
        ((2, 8), "uncertain"), ((4, 14), "uncertain"), ((10, 17), "uncertain"),
        ((13, 40), "uncertain"), ((None,), None), ((-1,), None),
    ],
)  # fmt: skip
def test_age_bands_end_where_the_manual_says(ages, band):
    assert age_band(*ages) == band


def test_age_ranges_are_read_and_wrong_ones_refused():
    assert age_limits("0-2") == (0, 2) and age_limits(" 4 – 12 ") == (4, 12)
    assert age_limits("7") == age_limits(7) == (7, 7)
    assert age_limits((0, 2)) == age_limits([0, 2]) == (0, 2)
    assert age_limits(None) == (0, float("inf"))
    for wrong in ("2-0", "infants", "", "0-2-4", (1, 2, 3), (-1, 2), (), ("a", "b"), -1):
        with pytest.raises(UsageError, match="age_range needs years"):
            age_limits(wrong)


def test_own_classes_are_renamed_all_or_none():
    assert rename_classes(["Happy", "happy", "sad"]) == {
        "Happy": "happiness", "happy": "happiness", "sad": "sadness",
    }  # fmt: skip
    assert rename_classes(["happy", "crying"]) == {"happy": "happy", "crying": "crying"}
    assert rename_classes(["happy", "joy"]) == {"happy": "happy", "joy": "joy"}
    assert rename_classes(["Anger", "anger", "Cry"]) == {
        "Anger": "anger", "anger": "anger", "Cry": "Cry",
    }  # fmt: skip
    assert rename_classes([]) == {}


# ------------------------------------------------------------------------------------ folders


def test_what_is_no_image_is_left_out_and_odd_names_are_read(tmp_path):
    names = ("Freude/Zoë 笑.JPEG", "Freude/2.tif", "Freude/10.BMP", "Ärger/x/y/z.WebP")
    pictures(tmp_path, *names)
    for name in ("Freude/._2.png", "Freude/Thumbs.db", "__MACOSX/Freude/2.png", ".git/a/b.png"):
        text(tmp_path / name, "x")
    os.mkfifo(tmp_path / "Freude" / "pipe.png")
    manifest = read_dataset(tmp_path)
    assert set(column(manifest, "path")) == set(names)
    assert column(manifest, "path")[1:3] == ["Freude/2.tif", "Freude/10.BMP"]
    assert manifest.names == ("Freude", "Ärger")
    assert [manifest.image(row).shape for row in range(4)] == [(10, 12, 3)] * 4


def test_links_are_followed_and_circles_ignored(tmp_path):
    pictures(tmp_path / "elsewhere", "1.png", "2.png")
    root = tmp_path / "faces"
    pictures(root, "sad/3.png")
    (root / "happy").symlink_to(tmp_path / "elsewhere")
    (root / "sad" / "up").symlink_to(root)
    (root / "sad" / "itself").symlink_to(root / "sad" / "itself")
    (tmp_path / "elsewhere" / "round").symlink_to(root / "sad")
    found = ["happy/1.png", "happy/2.png", "happy/round/3.png", "sad/3.png"]
    assert list(walk_files(root)) == found
    assert column(read_dataset(root), "path") == found


def test_images_that_cannot_be_read_stay_for_the_audit(tmp_path):
    pictures(tmp_path, "happy/1.png", "sad/2.png")
    text(tmp_path / "happy" / "3.jpg", "no image at all")
    (tmp_path / "happy" / "4.png").touch()
    (tmp_path / "sad" / "5.png").symlink_to(tmp_path / "gone.png")
    manifest = read_dataset(tmp_path)
    assert len(manifest) == 5
    for row, path in enumerate(column(manifest, "path")):
        if path[-5] in "345":
            with pytest.raises(MoppetError, match=path):
                manifest.image(row)


def test_a_folder_without_images_is_refused(tmp_path):
    text(tmp_path / "happy" / "readme.txt", "none here")
    with pytest.raises(MoppetError, match=r"needs folders with images .* it contains happy/\."):
        read_dataset(tmp_path, "folder")


def test_images_outside_a_class_are_named(tmp_path):
    pictures(tmp_path, "happy/1.png", "sad/2.png", "overview.png")
    with pytest.raises(
        MoppetError, match=r"outside of the class folders \(overview\.png\): move each"
    ):
        read_dataset(tmp_path)
    pictures(tmp_path / "split", "train/happy/1.png", "val/2.png")
    with pytest.raises(MoppetError, match=r"val/2\.png"):
        read_dataset(tmp_path / "split")


def test_one_folder_of_another_name_makes_splits_classes(tmp_path):
    pictures(tmp_path, "train/1.png", "plane/2.png")
    manifest = read_dataset(tmp_path)
    assert manifest.names == ("plane", "train") and column(manifest, "split") == [None, None]


@pytest.mark.parametrize("beside", ["extra/3.png", "sad/3.png", "extra/sad/3.png", "x/3.heic"])
def test_a_folder_beside_the_splits_is_refused_by_name(tmp_path, beside):
    pictures(tmp_path, "train/happy/1.png", "test/happy/2.png")
    photo(tmp_path / "3.png").rename(text(tmp_path / beside, ""))
    with pytest.raises(
        MoppetError, match=rf"{beside.split('/')[0]} next to the splits test, train"
    ):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("names", "lost"),
    [
        (("happy/1.png", "sad/2.JXL", "sad/deep/3.jxl"), "sad/ with 2"),
        (("happy/1.dng", "sad/2.jxl"), "happy/ with 1, sad/ with 1"),
        (("train/sad/1.png", "test/sad/2.gif"), "test/sad/ with 1"),
    ],
)
def test_a_class_whose_images_are_of_another_kind_is_not_lost(tmp_path, names, lost):
    for name in names:
        photo(tmp_path / "x.png").rename(text(tmp_path / name, ""))
    with pytest.raises(
        MoppetError, match=rf"unsupported image formats only \({lost}\): save .* \.jpg"
    ):
        read_dataset(tmp_path)


def test_images_of_another_kind_are_said(tmp_path, capsys):
    pictures(tmp_path, "happy/1.png", "sad/2.png")
    assert len(read_dataset(tmp_path)) == 2 and capsys.readouterr().err == ""
    text(tmp_path / "sad" / "3.JXL", "")
    text(tmp_path / "sad" / "4.dng", "")
    assert len(read_dataset(tmp_path)) == 2
    said = capsys.readouterr().err
    assert "2 images in" in said and "left out (sad/3.JXL, sad/4.dng): save them" in said


def test_names_stay_as_given_when_asked_or_when_one_is_no_expression(tmp_path):
    pictures(tmp_path / "a", "Happy/1.png", "Sad/2.png")
    assert read_dataset(tmp_path / "a").names == ("happiness", "sadness")
    assert read_dataset(tmp_path / "a", as_given=True).names == ("Happy", "Sad")
    pictures(tmp_path / "b", "Cry/1.png", "cry/2.png", "Sad/3.png")
    assert read_dataset(tmp_path / "b", as_given=True).names == ("Sad", "cry")
    pictures(tmp_path / "a", "Crying/3.png")
    assert read_dataset(tmp_path / "a").names == ("Crying", "Happy", "Sad")


def test_subjects_are_found_in_the_path(tmp_path):
    pictures(tmp_path, "happy/kid7_1.png", "sad/kid7_2.png", "sad/other.png")
    found = read_dataset(tmp_path, subject_pattern=r"kid(\d+)")
    assert column(found, "subject") == ["7", "7", None]
    assert column(read_dataset(tmp_path, subject_pattern="kid."), "subject")[0] == "kid7"
    with pytest.raises(UsageError, match="is not a valid regular expression"):
        read_dataset(tmp_path, subject_pattern="kid(")


def test_ten_thousand_images_are_read_in_a_moment(tmp_path):
    for name in ("happy", "sad"):
        (tmp_path / name).mkdir()
        for number in range(5000):
            os.close(os.open(tmp_path / name / f"{number}.jpg", os.O_CREAT))
    start = time.process_time()
    manifest = read_dataset(tmp_path)
    assert time.process_time() - start < 3
    assert len(manifest) == 10_000 and column(manifest, "path")[11] == "happy/11.jpg"


def test_a_name_that_is_no_text_is_refused_by_name(tmp_path):
    pictures(tmp_path, "happy/1.png")
    (tmp_path / "happy" / os.fsdecode(b"caf\xe9.png")).touch()
    with pytest.raises(MoppetError, match=r"happy/caf.\.png is not UTF-8 text: rename"):
        read_dataset(tmp_path)


def test_natural_order_counts():
    names = ["img10.png", "img2.png", "IMG1.png", "a.png"]
    assert sorted(names, key=natural) == ["a.png", "IMG1.png", "img2.png", "img10.png"]


# ------------------------------------------------------------------------------------- tables


def table(folder: Path, content: str, *names: str) -> Path:
    pictures(folder, *(names or ("1.png", "2.png")))
    return text(folder / "faces.csv", content)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_columns_may_be_parted_by_commas_semicolons_and_tabs(tmp_path, mark):
    content = "path,label,weight,note\n1.png,happy,0.5,3\n2.png,sad,,\n\n".replace(",", mark)
    manifest = read_dataset(table(tmp_path, "\ufeff" + content))
    assert column(manifest, "label") == ["happiness", "sadness"]
    assert column(manifest, "weight") == [0.5, 1.0] and column(manifest, "note") == [3.0, None]


def test_a_folder_with_labels_csv_is_a_table_even_with_folders_in_it(tmp_path):
    pictures(tmp_path, "x/1.png", "y/2.png")
    text(tmp_path / "labels.csv", 'path,label\nx/1.png,"happy"\n"y/2.png",other\n')
    manifest = read_dataset(tmp_path)
    assert manifest.names == ("happy", "other") and column(manifest, "source") == ["csv"] * 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"path,label\n\xff\xfe,happy\n", "is not UTF-8 text"),
        (b"file,emotion\nhappy/1.png,sad\n", "needs the columns path, label"),
        (b"path,label\nhappy/1.png\n", "row 2, has 1 cells, but the header has 2"),
        (b'path,label\n"' + b"x" * 140_000, "cannot be read as a table"),
        (b"", "but has none"),
        (None, "labels.csv cannot be read: No such file"),
    ],
)
def test_a_folders_names_never_stand_in_for_its_labels_csv(tmp_path, content, said):
    pictures(tmp_path, "happy/1.png", "sad/2.png")
    if content is None:
        (tmp_path / "labels.csv").symlink_to(tmp_path / "gone.csv")
    else:
        (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(MoppetError, match=said):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, "folder").names == ("happiness", "sadness")


def test_paths_may_be_whole_or_written_as_on_windows(tmp_path):
    place = photo(tmp_path / "other" / "3.png")
    content = f"path,label\n{tmp_path}/a/1.png,sad\na\\2.png,sad\n{place},happy\n"
    manifest = read_dataset(table(tmp_path, content, "a/1.png", "a/2.png"))
    assert column(manifest, "path") == ["a/1.png", "a/2.png", "other/3.png"]
    assert [manifest.image(row).shape for row in range(3)] == [(10, 12, 3)] * 3


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (("1", "2.5", "", "-3e2"), [1.0, 2.5, None, -300.0]),
        (("1", "01", "", "2"), ["1", "01", None, "2"]),
        (("1", "nan", "", "inf"), ["1", "nan", None, "inf"]),
    ],
)
def test_other_columns_are_numbers_where_every_cell_is_plainly_one(tmp_path, cells, read):
    rows = "".join(f"1.png,sad,{cell}\n" for cell in cells)
    manifest = read_dataset(table(tmp_path, f"path,label,visit\n{rows}"))
    assert manifest.table["visit"].to_pylist() == read


def test_own_columns_of_a_manifest_are_taken_as_they_are(tmp_path):
    header = "path,label,age_band,duplicate_group,box_x,box_y,box_w,box_h,source"
    rows = "1.png,sad,child,4,1,2,3,4,lab\n2.png,sad,,,,,,,\n"
    manifest = read_dataset(table(tmp_path, f"{header}\n{rows}"))
    row = manifest.table.slice(0, 1).to_pylist()[0]
    assert (row["age_band"], row["duplicate_group"], row["source"]) == ("child", 4, "lab")
    assert [row[f"box_{side}"] for side in "xywh"] == [1, 2, 3, 4]
    assert manifest.table["duplicate_group"].to_pylist()[1] is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file,label\n1.png,sad\n", "needs the columns path, label in its first line, but has"),
        ("", "but has none"),
        ("path,label,label\n1.png,a,b\n", "has the column 'label' twice"),
        ("path,label\n1.png\n", "row 2, has 1 cells, but the header has 2"),
        ("path,label,age\n1.png,sad,five\n", "row 2: age should be a number, not 'five'"),
        ("path,label,age_band\n1.png,sad,teen\n", "age_band 'teen': it is one of infant"),
        ("path,label,votes\n1.png,sad,3\n", "moppet data agreement"),
        ("path,label\nnot there.png,sad\n1.png,sad\n", r"1 of the 2 images .*not there\.png"),
        ("path,label\n", "no row .* is left"),
        ("path,label,array_row\n1.png,sad,inf\n", "row 2: array_row should be a number, not 'inf'"),
        ('path,label\n1.png,"' + "sad\n" * 40_000, "faces.csv cannot be read as a table"),
    ],
)
def test_a_table_that_is_wrong_says_where(tmp_path, content, said):
    with pytest.raises(MoppetError, match=said):
        read_dataset(table(tmp_path, content), "csv")


def test_a_table_that_is_no_text_is_named(tmp_path):
    (tmp_path / "faces.csv").write_bytes(b"path,label\n\xff\xfe,1\n")
    with pytest.raises(MoppetError, match=r"faces\.csv is not UTF-8 text"):
        read_dataset(tmp_path / "faces.csv", "csv")


def test_rows_of_missing_images_can_be_left_out(tmp_path):
    place = table(tmp_path, "path,label,x\ngone.png,sad,a\n1.png,sad,b\n")
    manifest = read_dataset(place, allow_missing=True)
    assert column(manifest, "path") == ["1.png"] and column(manifest, "x") == ["b"]
    with pytest.raises(MoppetError, match="2 of the 2 images"):
        read_dataset(table(tmp_path, "path,label\na.png,s\nb.png,s\n"), allow_missing=True)
