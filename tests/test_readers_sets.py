"""What is particular to a known set: its forms, its options and its own mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import platformdirs
import pytest

import dataset_fixtures as fixtures
from dataset_fixtures import photo, pictures, text, video
from ferplus_sample import read_ferplus
from moppet.datasets.manifest import plurality
from moppet.datasets.readers import fer2013, read_dataset
from moppet.values import EXPRESSIONS, MoppetError, UsageError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: str(folder))
    return folder


def column(manifest, name: str) -> list:
    return manifest.table[name].to_pylist()


# ----------------------------------------------------------------------------- FER2013 and FER+


def test_fer2013_images_are_its_numbers(tmp_path):
    manifest = read_dataset(fixtures.fer2013_csv(tmp_path / "fer2013.csv"))
    for row in range(4):
        expected = (10 * row + np.arange(16)).reshape(4, 4)
        np.testing.assert_array_equal(manifest.image(row), expected)


def test_fer2013_is_unpacked_once(tmp_path, monkeypatch, cache):
    table = fixtures.fer2013_csv(tmp_path / "fer2013.csv")
    first = read_dataset(table)
    read, calls = fer2013._read_csv, []
    monkeypatch.setattr(fer2013, "_read_csv", lambda *a: calls.append(a) or read(*a))
    assert read_dataset(table).table.equals(first.table) and not calls
    kept = next((cache / "datasets").glob("fer2013-*.npz"))
    kept.write_bytes(b"damaged")
    assert read_dataset(table).table.equals(first.table) and len(calls) == 1
    table.write_text(table.read_text().replace("Training", "PublicTest"))
    assert column(read_dataset(table), "split")[0] == "val" and len(calls) == 2
    assert not list((cache / "datasets").glob("*.part*"))


def test_fer2013_may_be_unpacked_elsewhere(tmp_path, cache):
    table = fixtures.fer2013_csv(tmp_path / "fer2013.csv")
    manifest = read_dataset(table, images=tmp_path / "here" / "fer.npz")
    assert manifest.root == tmp_path / "here" and column(manifest, "path")[0] == "fer.npz"
    assert not (cache / "datasets").exists()
    with pytest.raises(MoppetError, match=r"written as \.npz"):
        read_dataset(table, images=tmp_path / "fer.zip")
    (cache / "datasets").write_text("no folder")
    with pytest.raises(MoppetError, match=r"Cannot write .*: choose another \.npz with images="):
        read_dataset(table)


def test_the_other_fer2013_file_with_spaces_in_its_header_is_read(tmp_path):
    table = fixtures.fer2013_csv(tmp_path / "icml_face_data.csv")
    table.write_text(table.read_text().replace("emotion,pixels,Usage", "emotion, Usage, pixels"))
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    lines = [f"{emotion},{usage},{pixels}" for emotion, pixels, usage in rows]
    table.write_text("\n".join(["emotion, Usage, pixels", *lines]))
    assert column(read_dataset(tmp_path), "label") == ["anger", "happiness", "sadness", "neutral"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("7,1 2 3 4,Training", "row 3"),
        ("-1,1 2 3 4,Training", "row 3"),
        ("3,1 2 3,Training", "row 3"),
        ("3,1 2 3 256,Training", "row 3"),
        ("3,,Training", "one size|row 3"),
        ("3,1 2 3 4 5 6 7 8 9,Training", "one size"),
        ("3", "row 3"),
        ('3,"' + "1 " * 70_000, "cannot be read as a table"),
    ],
)
def test_a_row_of_fer2013_that_is_wrong_is_named(tmp_path, row, said):
    table = text(tmp_path / "fer2013.csv", f"emotion,pixels,Usage\n0,1 2 3 4,Training\n{row}\n")
    with pytest.raises(MoppetError, match=said):
        read_dataset(table)


@pytest.mark.parametrize("kind", ["fer2013", "ferplus"])
def test_a_fer2013_that_is_no_text_is_named(tmp_path, kind):
    fixtures.make_ferplus(tmp_path)
    table = tmp_path / "fer2013.csv"
    table.write_bytes(table.read_bytes() + b"\xff\xfe\n")
    with pytest.raises(MoppetError, match=r"fer2013\.csv is not UTF-8 text"):
        read_dataset(tmp_path, kind)


def test_ferplus_joins_images_in_folders_as_it_joins_the_csv(tmp_path):
    by_csv = read_dataset(fixtures.make_ferplus(tmp_path / "csv"))
    root = tmp_path / "folders"
    fixtures.votes_csv(root / "fer2013new.csv")
    parts = {"Train": 0, "Valid": 2, "Test": 3}
    for part, number in parts.items():
        photo(root / "images" / f"FER2013{part}" / f"fer{number:07d}.png")
    by_folder = read_dataset(root)
    for name in ("name", "label", "votes", "weight", "split"):
        assert column(by_folder, name) == column(by_csv, name)
    assert column(by_folder, "path")[0] == "images/FER2013Train/fer0000000.png"
    shutil.rmtree(root / "images" / "FER2013Test")
    with pytest.raises(MoppetError, match="1 of the 3 images"):
        read_dataset(root)
    assert column(read_dataset(root, allow_missing=True), "split") == ["train", "val"]


def test_contempt_is_a_class_of_ferplus_when_asked_for(tmp_path):
    root = fixtures.make_ferplus(tmp_path)
    eight = read_dataset(root, only_expressions=False)
    assert eight.names == (*EXPRESSIONS, "contempt")
    assert column(eight, "label") == [None, "sadness", "contempt"]
    np.testing.assert_allclose(column(eight, "weight"), [1, 0.8, 1])
    seven = read_dataset(root)
    assert column(seven, "votes")[2] == [0, 0, 0, 0, 4, 0, 0]
    np.testing.assert_allclose(seven.soft_labels.sum(axis=1), 1)


def test_ferplus_labels_are_those_of_the_default_models_rule(tmp_path):
    rng = np.random.default_rng(4)
    names = [*EXPRESSIONS, "contempt", "unknown", "NF"]
    votes = rng.multinomial(10, [0.1] * 10, 300)
    rows = [f"Training,fer{i:07d}.png,{','.join(map(str, row))}" for i, row in enumerate(votes)]
    text(tmp_path / "fer2013new.csv", "\n".join([f"Usage,Image name,{','.join(names)}", *rows]))
    lines = [f"0,{' '.join(['7'] * 4)},Training"] * 300
    text(tmp_path / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *lines]))
    manifest = read_dataset(tmp_path)
    most = plurality(votes)
    assert manifest.labels.tolist() == np.where(most < 7, most, -1).tolist()
    np.testing.assert_allclose(manifest.weights, votes[:, :7].sum(axis=1) / 10)


def test_ferplus_that_does_not_belong_to_its_fer2013_is_refused(tmp_path):
    root = fixtures.make_ferplus(tmp_path)
    table = root / "fer2013.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:3]))
    with pytest.raises(MoppetError, match=r"do not match: row 4 is PublicTest .*missing"):
        read_dataset(root)
    votes = root / "fer2013new.csv"
    votes.write_text(votes.read_text().replace("PublicTest", "Public"))
    with pytest.raises(MoppetError, match="usage 'Public': it is one of Training"):
        read_dataset(root)


def test_the_npz_is_split_as_for_training_and_keeps_leaks_when_asked(tmp_path):
    path = fixtures.make_ferplus_npz(tmp_path)
    for seed in (0, 5):
        data = read_ferplus(path, seed=seed)
        manifest = read_dataset(path, seed=seed)
        kept = data.part != ""
        assert column(manifest, "split") == data.part[kept].tolist()
        np.testing.assert_array_equal(manifest.labels, data.label[kept])
        with np.load(path) as archive:
            shares = archive["votes"][kept][:, :7][:, ::-1] / 8
            np.testing.assert_allclose(manifest.soft_labels, shares)
            np.testing.assert_allclose(manifest.weights, [0.8] * kept.sum())
            np.testing.assert_array_equal(manifest.image(35), archive["images"][kept][35])
        whole = data.manifest
        assert len(whole) == len(kept)
        leaks = np.array(column(whole, "leaks_into_split1"))
        np.testing.assert_array_equal(leaks, ~kept)
        assert set(np.array(column(whole, "split"))[leaks]) == {"train"}


def npz_with(tmp_path: Path, **other) -> Path:
    path = fixtures.make_ferplus_npz(tmp_path)
    with np.load(path) as archive:
        kept = {key: archive[key] for key in archive.files}
    np.savez_compressed(path, **kept | other)
    return path


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"name": np.array([{}] * fixtures.NPZ_ROWS, object)},
            "not a complete .npz file of plain arrays",
        ),
        ({"votes": np.array([{}], object)}, "not a complete .npz file of plain arrays"),
        ({"votes": np.zeros((3, 10), np.uint8)}, r"votes should be \(42, 10\) of whole numbers"),
        ({"votes": np.zeros(42, np.uint8)}, r"votes should be \(42, 10\)"),
        ({"images": np.zeros((41, 8, 8), np.uint8)}, r"images should be \(42, 8, 8\)"),
        ({"split": np.array(1)}, r"images should be \(1, 8, 8\)"),
        ({"age_band": np.full(42, 7)}, "age_band 7 is none of 0, 1, 2, 3, -1"),
        ({"age_band": np.full(42, 0.5)}, "age_band should be .* of whole numbers"),
        ({"label_names": np.array(["sad"]), "fer2013_label": np.full(42, 3)}, "do not fit"),
        ({"name": np.array(["a", "b"])}, "do not fit its rows"),
    ],
)
def test_arrays_that_are_odd_are_named_and_never_unpickled(tmp_path, other, said):
    path = npz_with(tmp_path, **other)
    with pytest.raises(MoppetError, match=said) as error:
        read_dataset(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(40))
def test_an_npz_that_is_cut_short_or_damaged_is_refused_in_one_sentence(tmp_path, seed):
    path = npz_with(tmp_path)
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    if seed % 2:
        data = data[: rng.integers(1, len(data))]
    for at in rng.integers(0, len(data), 20):
        data[at] ^= int(rng.integers(1, 256))
    path.write_bytes(data)
    for kind in (None, "ferplus-npz"):
        try:
            read_dataset(path, kind)
        except MoppetError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_a_folder_with_one_npz_stands_for_it(tmp_path):
    path = fixtures.make_ferplus_npz(tmp_path)
    text(tmp_path / "README.md", "what it is")
    assert read_dataset(tmp_path).table.equals(read_dataset(path).table)
    shutil.copy(path, tmp_path / "second.npz")
    with pytest.raises(MoppetError, match="no known layout"):
        read_dataset(tmp_path)
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(MoppetError, match="no known layout"):
        read_dataset(tmp_path / "other.npz")


# ----------------------------------------------------------------------------------- AffectNet

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
    "expression,valence,arousal\n"
)


def affectnet_lists(root: Path, training: str, validation: str) -> Path:
    pictures(root / "Manually_Annotated_Images", "1/a.jpg", "1/b.JPG", "2/c.png", "2/d.jpg")
    text(root / "Manually_Annotated_file_lists" / "training.csv", HEADER + training)
    text(root / "Manually_Annotated_file_lists" / "validation.csv", validation)
    return root


def test_affectnets_lists_are_read_with_and_without_a_header(tmp_path):
    root = affectnet_lists(
        tmp_path,
        "1/a.jpg,10,20,30,40,1;2,6,-0.5,0.25\n1/b.JPG,NULL,NULL,NULL,NULL,1;2,10,-2,-2\n",
        "2/c.png,1,2,3,4,1;2,7,0.5,0\n",
    )
    manifest = read_dataset(root)
    assert column(manifest, "path") == ["1/a.jpg", "2/c.png"]
    assert column(manifest, "label") == ["anger", "contempt"]
    assert column(manifest, "split") == ["train", "test"]
    assert [column(manifest, f"box_{side}")[0] for side in "xywh"] == [10, 20, 30, 40]
    assert column(manifest, "valence") == [-0.5, 0.5]
    whole = read_dataset(root, keep_unlabeled=True)
    assert read_dataset(root, keep_unlabelled=True).table.equals(whole.table)  # the former name
    assert column(whole, "label") == ["anger", None, "contempt"]
    assert column(whole, "box_w")[1] is None and column(whole, "arousal")[1] is None
    assert read_dataset(root, only_expressions=True).names == ("anger",)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1/a.jpg,1,2,3,4,1;2,11,0,0\n", "expression from 0 to 10, not '11'"),
        ("1/a.jpg,1,2,3,4,1;2,happy,0,0\n", "not 'happy'"),
        ("1/a.jpg,1,2,3,4,1;2,-1,0,0\n", "not '-1'"),
        ("1/a.jpg,1,2,3,4,1;2,1\n", "needs the 9 columns .* a row has 7"),
        ("9/z.jpg,1,2,3,4,1;2,1,0,0\n", r"1 of the 1 images .*9/z\.jpg"),
        ("1/a.jpg,x,2,3,4,1;2,1,0,0\n", "face_x should be a number, not 'x'"),
        ("1/a.jpg,inf,2,3,4,1;2,1,0,0\n", "face_x should be a number, not 'inf'"),
        ('1/a.jpg,"' + "x" * 140_000, "cannot be read as a table"),
    ],
)
def test_a_row_of_affectnets_lists_that_is_wrong_is_named(tmp_path, row, said):
    with pytest.raises(MoppetError, match=said):
        read_dataset(affectnet_lists(tmp_path, row, "2/c.png,1,2,3,4,1;2,7,0,0\n"))


def test_empty_lines_of_affectnets_lists_are_left_out(tmp_path):
    root = affectnet_lists(
        tmp_path, "\n\n1/a.jpg,1,2,3,4,1;2,6,0,0\n", "\n2/c.png,1,2,3,4,1;2,7,0,0\n"
    )
    assert column(read_dataset(root), "label") == ["anger", "contempt"]


def test_affectnet_sorted_into_numbers_needs_its_name_to_be_found(tmp_path):
    names = ("train/0/1.jpg", "train/6/2.jpg", "val/7/3.jpg")
    found = read_dataset(pictures(tmp_path / "AffectNet-8", *names))
    assert column(found, "label") == ["neutral", "anger", "contempt"]
    assert column(found, "split") == ["train", "train", "test"]
    pictures(tmp_path / "AffectNet-8", "test/1/4.jpg")
    assert column(read_dataset(tmp_path / "AffectNet-8"), "split") == [
        "test", "train", "train", "val",
    ]  # fmt: skip
    other = pictures(tmp_path / "mine", *names)
    assert read_dataset(other).names == ("0", "6", "7")
    assert read_dataset(other, "affectnet").names == ("neutral", "anger", "contempt")


def test_a_folder_beside_the_numbers_of_affectnet_is_refused(tmp_path):
    root = pictures(tmp_path / "AffectNet", "train/0/1.jpg", "val/0/2.jpg", "test/contempt/3.jpg")
    with pytest.raises(MoppetError, match="has the folders test, which are not splits"):
        read_dataset(root)


def test_a_note_of_affectnet_that_is_no_number_is_named(tmp_path):
    root = fixtures.make_affectnet(tmp_path)
    note = root / "val_set" / "annotations" / "0_exp.npy"
    note.write_bytes(b"damaged")
    with pytest.raises(MoppetError, match=r"0_exp\.npy is not an array of one number"):
        read_dataset(root)
    fixtures.expression_note(note, 12)
    with pytest.raises(MoppetError, match=r"0_exp\.npy needs an expression from 0 to 10"):
        read_dataset(root)
    with note.open("wb") as file:
        np.savez(file, code=1)
    with pytest.raises(MoppetError, match=r"0_exp\.npy is not an array of one number"):
        read_dataset(root)


def test_a_folder_of_affectnet_with_two_digits_is_no_class(tmp_path):
    root = pictures(tmp_path / "AffectNet", "train/0/1.jpg", "train/12/2.jpg")
    assert read_dataset(root).names == ("0", "12")


# --------------------------------------------------------------------------- RAF-DB and CK+


@pytest.mark.parametrize(
    "line", ["train_00001.jpg 8", "train_00001.jpg 0", "x_1.jpg 3", "word", "train_1.jpg ²"]
)
def test_a_line_of_rafdb_that_is_wrong_is_named(tmp_path, line):
    root = fixtures.make_rafdb(tmp_path)
    text(root / "basic" / "EmoLabel" / "list_patition_label.txt", f"test_0001.jpg 7\n{line}\n")
    with pytest.raises(MoppetError, match=rf"codes 1 to 7, not '{line}' \(line 2\)"):
        read_dataset(root)


def test_an_age_group_of_rafdb_that_is_none_is_named(tmp_path):
    root = fixtures.make_rafdb(tmp_path)
    note = text(root / "basic/Annotation/manual/train_00001_manu_attri.txt", "0\n12\n")
    with pytest.raises(MoppetError, match=f"{note} needs an age group from 0 to 4"):
        read_dataset(root)


def test_rafdb_is_found_from_inside_and_without_attributes(tmp_path):
    root = fixtures.make_rafdb(tmp_path) / "basic"
    shutil.rmtree(root / "Annotation")
    assert column(read_dataset(root), "age_band") == [None] * 3
    (root / "Image" / "aligned" / "test_0001_aligned.jpg").unlink()
    assert len(read_dataset(root, allow_missing=True)) == 2


def test_ckplus_gives_the_last_third_and_no_neutral_when_asked(tmp_path):
    root = fixtures.make_ckplus(tmp_path)
    last = read_dataset(root, frames="last-third", neutral=False)
    assert column(last, "label") == ["disgust"] * 2 + ["contempt"] * 4
    numbers = [int(Path(path).stem[-3:]) for path in column(last, "path")]
    assert numbers == [5, 6, 8, 9, 10, 11]
    assert set(column(last, "sequence")) == {"S005/001", "S010/002"}
    with pytest.raises(UsageError, match="frames must be 'peak' or 'last-third', got 'all'"):
        read_dataset(root, frames="all")


@pytest.mark.parametrize(
    "images",
    ["extended-cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images"],
)
def test_ckplus_is_read_as_its_archives_unpack(tmp_path, images):
    root = fixtures.make_ckplus(tmp_path)
    shutil.move(root / "cohn-kanade-images", root / "moved")
    (root / images).parent.mkdir(exist_ok=True)
    shutil.move(root / "moved", root / images)
    (root / "Emotion_labels").mkdir()
    shutil.move(root / "Emotion", root / "Emotion_labels" / "Emotion")
    text(root / "Emotion_labels" / "Emotion" / ".DS_Store", "x")
    manifest = read_dataset(root)
    assert column(manifest, "path")[1] == f"{images}/S005/001/S005_001_00000006.png"
    assert column(manifest, "label") == ["neutral", "disgust", "neutral", "contempt"]
    assert manifest.image(3).shape == (10, 12, 3)


def test_a_sequence_of_ckplus_without_images_is_named(tmp_path):
    root = fixtures.make_ckplus(tmp_path)
    shutil.rmtree(root / "cohn-kanade-images" / "S005")
    with pytest.raises(MoppetError, match=r"needs the labeled sequence's images in .*S005/001"):
        read_dataset(root)
    root = fixtures.make_ckplus(tmp_path / "again")
    for wrong in ("happy", "-1", "8", "1.5", "nan", ""):
        next(root.glob("Emotion/S005/001/*")).write_text(wrong)
        with pytest.raises(MoppetError, match=f"needs a number from 0 to 7, not '{wrong}'"):
            read_dataset(root)


# ------------------------------------------------------------------------ children and infants


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("1-angry_F-AA-01.jpg", "anger"), ("1-disgust_F-AA-01.jpg", "disgust"),
        ("1-disgustopen_F-AA-01.jpg", "disgust"), ("1-fearfulopen_F-LA-01.jpg", "fear"),
        ("1-neutralopen_M-SA-01.jpg", "neutral"), ("1-sad_M-AS-01.jpg", "sadness"),
        ("1-surprise_M-AS-01.jpg", "surprise"),
    ],
)  # fmt: skip
def test_cafes_words_and_open_mouths(tmp_path, name, label):
    manifest = read_dataset(pictures(tmp_path, name))
    assert column(manifest, "label") == [label] and column(manifest, "source") == ["cafe"]
    assert column(manifest, "mouth") == ["open" if "open" in name else "closed"]


def test_ages_come_from_a_table_where_names_do_not_tell_them(tmp_path):
    root = fixtures.make_cafe(tmp_path / "cafe")
    ages = text(tmp_path / "ages.csv", "Subject;Age\nF-EA-14;3.2\nF-XX-99;5\n")
    manifest = read_dataset(root, ages=ages)
    assert column(manifest, "age") == [3.2, None, 3.2]
    assert column(manifest, "age_band") == ["infant", "uncertain", "infant"]
    with pytest.raises(MoppetError, match="needs the columns subject, age"):
        read_dataset(root, ages=text(tmp_path / "wrong.csv", "child,age\na,3\n"))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("cafe", ["10541-happy_F-EA-14.jpg", "10542-smug_F-EA-14.jpg"]),
        ("nimh-chefs", ["M10HS_6767.jpg", "M10XS_6767.jpg"]),
        ("tromso", ["A02F10-JTP-4281AN.jpg", "A02F10-JTP-4281XX.jpg"]),
        ("utkface", ["1_0_2_20161219140530307.jpg", "117_0_2_20161219140530307.jpg"]),
        ("childefes", ["35_happy.jpg", "35_bored.jpg"]),
        ("dartmouth", ["S1_happy.jpg", "S1_happy_sad.jpg"]),
        ("dartmouth", ["S1_happy.jpg", "kid1_happy.jpg"]),
        ("city-infant", ["positive 1.jpg", "positive or negative.jpg"]),
    ],
)
def test_a_name_that_says_nothing_is_shown_beside_what_was_expected(tmp_path, kind, names):
    with pytest.raises(MoppetError, match=names[1].replace(".", r"\.")) as error:
        read_dataset(pictures(tmp_path, *names), kind)
    assert "move" in str(error.value)


def test_babyexp_with_another_class_is_refused(tmp_path):
    root = pictures(tmp_path, "happy/1.jpg", "crying/2.jpg")
    with pytest.raises(MoppetError, match="class folders crying, where happy, sad, normal were"):
        read_dataset(root, "babyexp")


def test_city_infants_are_told_apart_by_a_pattern(tmp_path):
    root = pictures(tmp_path, "positive/baby4 a.jpg", "negative/baby4 b.jpg")
    manifest = read_dataset(root, "city-infant", subject_pattern=r"baby(\d+)")
    assert column(manifest, "subject") == ["4", "4"]


def test_misspelled_names_of_utkface_are_read(tmp_path):
    names = (
        "24_0_1_20170116220224657 .jpg.chip.jpg",
        "39_1_20170116174525125.jpg",
        "44_1_4_20170116235150272.pg.chip.jpg",
        "53__0_20170116184028385.jpg",
        "55_0_0_20170116232725357jpg.chip.jpg",
    )
    manifest = read_dataset(pictures(tmp_path, *names))
    assert column(manifest, "source") == ["utkface"] * 5
    assert column(manifest, "age") == [24, 39, 44, 53, 55]
    assert column(manifest, "sex") == ["male", None, "female", None, "male"]
    assert column(manifest, "ethnicity") == ["black", None, "other", None, "white"]


@pytest.mark.parametrize("kind", ["utkface", "b3fd"])
def test_an_age_range_takes_its_last_year_in_full(tmp_path, kind):
    root = fixtures.FIXTURES[kind].make(tmp_path)
    ages = column(read_dataset(root), "age")
    for first, last in ((0, 2), (9, 17), (0, 120)):
        chosen = read_dataset(root, age_range=f"{first}-{last}")
        assert column(chosen, "age") == [age for age in ages if first <= age < last + 1]
    with pytest.raises(MoppetError, match=r"no row .* is left with these options"):
        read_dataset(root, age_range=(100, 110))
    with pytest.raises(UsageError, match="age_range needs years"):
        read_dataset(root, age_range="babies")


def test_b3fd_may_have_commas_and_no_header(tmp_path):
    root = fixtures.make_b3fd(tmp_path)
    table = root / "B3FD_metadata" / "B3FD_age.csv"
    lines = [",".join(line.rsplit(" ", 1)) for line in table.read_text().splitlines()[1:]]
    before = column(read_dataset(root), "age")
    table.write_text("\n".join(lines))
    assert column(read_dataset(root), "age") == before
    table.write_text("\n".join([*lines, "wiki/x y.jpg,old"]))
    with pytest.raises(MoppetError, match="a path and an age in line 4, not"):
        read_dataset(root)


# --------------------------------------------------------------------------------------- videos


def test_a_videos_rows_are_its_frames_at_their_times(tmp_path):
    root = fixtures.make_liris(tmp_path)
    manifest = read_dataset(root, every_s=0.5)
    rows = [i for i, path in enumerate(column(manifest, "path")) if "S1_" in path]
    times = [column(manifest, "time_s")[i] for i in rows]
    assert times == [0.25, 0.75, 1.25, 1.75, 2.25]
    grays = [float(manifest.image(i).mean()) for i in rows]
    np.testing.assert_allclose(grays, [40, 70, 100, 130, 160], atol=4)
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="every_s must be a number"):
            read_dataset(root, every_s=wrong)


def test_a_short_video_is_looked_at_once_and_a_damaged_one_stays(tmp_path):
    root = fixtures.make_liris(tmp_path)
    (root / "videos_208" / "S3_sad_1.mp4").write_bytes(b"damaged")
    manifest = read_dataset(root, every_s=60)
    assert column(manifest, "time_s") == [1.25, 0.0, 0.5]
    assert column(manifest, "label") == ["happiness", "sadness", None]
    with pytest.raises(MoppetError, match="S3_sad_1"):
        manifest.image(1)


def test_the_children_of_liris_may_be_named_otherwise(tmp_path):
    video(tmp_path / "liris" / "Ann_happy.mp4", 2)
    with pytest.raises(MoppetError, match=r"not named like S1_happy_2\.mp4.*Ann_happy"):
        read_dataset(tmp_path / "liris")
    manifest = read_dataset(tmp_path / "liris", subject_pattern="^([A-Z][a-z]+)_")
    assert column(manifest, "subject") == ["Ann"]


def test_emoreact_gives_votes_and_a_label_where_one_emotion_is_shown(tmp_path):
    root = fixtures.make_emoreact(tmp_path)
    manifest = read_dataset(root)
    shares = dict(zip(manifest.names, manifest.soft_labels[0].tolist(), strict=True))
    assert shares["curiosity"] == shares["happiness"] == 0.5
    four = read_dataset(root, only_expressions=True)
    assert four.names == ("happiness", "surprise", "fear", "disgust")
    assert column(four, "label") == ["happiness", "happiness", "disgust"]


def test_emoreacts_lists_must_fit_each_other(tmp_path):
    root = fixtures.make_emoreact(tmp_path)
    labels = root / "Labels" / "train_labels.text"
    labels.write_text("1,0,0,1,0,0,0,0,5.3\n")
    with pytest.raises(MoppetError, match=r"has 1 rows, but Train_names\.txt names 2 videos"):
        read_dataset(root)
    labels.write_text("1,0,0,1,0,0,0,0,5.3\n0,0,2,0,0,1,0,0,2.0\n")
    with pytest.raises(MoppetError, match="needs eight 0 or 1"):
        read_dataset(root)
    labels.write_text("1,0,0,1,0,0,0,0,5.3\nhappy\n")
    with pytest.raises(MoppetError, match="needs numbers between commas"):
        read_dataset(root)
    fixtures.make_emoreact(root)
    (root / "Data" / "Test" / "KIMCHI9_2.mp4").unlink()
    with pytest.raises(MoppetError, match="1 of the 1 images"):
        read_dataset(root)
