"""Readers of data sets: what every one of them keeps to, each on a tiny made-up copy of its set."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import platformdirs
import pytest

from dataset_fixtures import FIXTURES, Fixture
from moppet.datasets.manifest import Manifest, read_manifest
from moppet.datasets.readers import DATASETS, announce_license, find_dataset, read_dataset
from moppet.values import EXPRESSIONS, MoppetError, UsageError

sys.path.append(str(Path(__file__).parents[1] / "tools"))
import datasets_page

every_set = pytest.mark.parametrize("name", list(DATASETS))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every set's made-up copy, each in a folder whose name tells nothing."""
    return {
        name: fixture.make(tmp_path_factory.mktemp(f"copy{number}_"))
        for number, (name, fixture) in enumerate(FIXTURES.items())
    }


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """A user's cache folder that is empty."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: str(folder))
    return folder


def first_line(error: pytest.ExceptionInfo) -> str:
    return str(error.value).splitlines()[0]


def values(manifest: Manifest, column: str) -> list:
    return manifest.table[column].to_pylist()


def test_every_set_has_a_made_up_copy():
    assert list(FIXTURES) == list(DATASETS)
    assert all(name == dataset.name for name, dataset in DATASETS.items())


@every_set
def test_a_set_is_read_with_its_labels_by_name(name, made):
    fixture: Fixture = FIXTURES[name]
    manifest = DATASETS[name].read(made[name])
    assert manifest.names == fixture.names
    assert values(manifest, "label") == fixture.labels
    nulls = [None] * len(manifest)
    assert values(manifest, "subject") == (fixture.subjects or nulls)
    assert values(manifest, "age_band") == (fixture.bands or nulls)
    if name != "ferplus-npz":  # whose split is drawn: see test_readers_sets.py
        assert values(manifest, "split") == (fixture.splits or nulls)
    for column, expected in fixture.more.items():
        assert values(manifest, column) == expected, column
    assert set(values(manifest, "source")) == {name}
    assert manifest.license == DATASETS[name].license


@every_set
def test_every_row_opens_as_a_image(name, made):
    manifest = DATASETS[name].read(made[name])
    for row in range(len(manifest)):
        image = manifest.image(row)
        assert image.dtype == np.uint8 and min(image.shape[:2]) >= 4
    paths = [path for path in values(manifest, "path")]
    assert all("\\" not in path and not Path(path).is_absolute() for path in paths)


@every_set
def test_a_set_is_recognized_by_its_own_reader_alone(name, made):
    assert [x for x, dataset in DATASETS.items() if dataset.recognizes(made[name])] == [name]
    assert find_dataset(made[name]) is DATASETS[name]
    assert read_dataset(made[name]).table.equals(DATASETS[name].read(made[name]).table)


@every_set
def test_what_is_missing_is_named_with_its_place(name, made, tmp_path):
    fixture = FIXTURES[name]
    root = tmp_path / made[name].name
    if fixture.needed:
        shutil.copytree(made[name], root)
    folder, _, last = fixture.needed.rpartition("/")
    for gone in (root / folder).glob(last or "*"):
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(MoppetError) as error:
        DATASETS[name].read(root)
    sentence = first_line(error)
    assert fixture.said in sentence and str(root) in sentence
    assert DATASETS[name].title in sentence and sentence.endswith(".")


@every_set
def test_an_empty_folder_is_refused_in_one_sentence_and_recognized_by_nobody(name, tmp_path):
    empty = tmp_path / "nothing in here"
    empty.mkdir()
    assert not DATASETS[name].recognizes(empty)
    with pytest.raises(MoppetError, match="nothing in here"):
        DATASETS[name].read(empty)
    with pytest.raises(MoppetError, match="does not exist"):
        DATASETS[name].read(tmp_path / "nowhere")
    assert not DATASETS[name].recognizes(tmp_path / "nowhere")


@every_set
def test_no_image_is_opened_by_reading(name, made, monkeypatch):
    def refuse(*_):
        raise AssertionError("an image was opened")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    monkeypatch.setattr(cv2, "imread", refuse)
    assert len(DATASETS[name].read(made[name])) == len(FIXTURES[name].labels)


@every_set
def test_an_unknown_option_is_refused_with_the_nearest_one(name, made):
    with pytest.raises(UsageError, match="unknown key 'nothing_like_it'"):
        DATASETS[name].read(made[name], nothing_like_it=1)
    for option in DATASETS[name].options:
        with pytest.raises(UsageError, match=f"Did you mean '{option}'"):
            DATASETS[name].read(made[name], **{f"{option}x": 1})


@every_set
def test_an_option_of_another_type_is_refused(name, made):
    """As the command line gives them: text, numbers, true and false."""
    for option in DATASETS[name].options:
        wrong = [{}] if option == "age_range" else [["x"], 1.5 if option != "every_s" else "fast"]
        for value in wrong:
            with pytest.raises(UsageError, match=f"--option of .*: {option} must be "):
                DATASETS[name].read(made[name], **{option: value})


@every_set
def test_a_manifest_comes_back_from_its_file(name, made, tmp_path):
    manifest = DATASETS[name].read(made[name])
    path = manifest.write(tmp_path / "set.parquet")
    again = read_dataset(path)
    assert again.table.equals(manifest.table) and again.names == manifest.names
    assert again.license == manifest.license
    np.testing.assert_array_equal(again.image(0), read_manifest(path).image(0))


@every_set
def test_rows_of_a_subject_are_one_group(name, made):
    manifest = DATASETS[name].read(made[name])
    subjects = values(manifest, "subject")
    for subject in set(subjects) - {None}:
        rows = [s == subject for s in subjects]
        assert len(set(manifest.groups[rows])) == 1


@every_set
def test_only_expressions_leaves_the_seven(name, made):
    if "only_expressions" in DATASETS[name].options:
        manifest = DATASETS[name].read(made[name], only_expressions=True)
        assert set(manifest.names) <= set(EXPRESSIONS)
        assert set(values(manifest, "label")) <= {*EXPRESSIONS, None}
        if name != "emoreact":  # where a clip shows several: see test_readers_sets.py
            kept = [x for x in FIXTURES[name].labels if x in EXPRESSIONS]
            assert [x for x in values(manifest, "label") if x is not None] == kept


@every_set
def test_every_set_says_its_conditions_and_what_is_known_of_its_layout(name):
    dataset = DATASETS[name]
    assert dataset.license.endswith(".") and len(dataset.license) < 450
    assert dataset.basis.endswith(".") and dataset.layout.strip()
    if name not in ("folder", "csv", "ferplus-npz", "web-faces"):
        assert any(w in dataset.basis.lower() for w in ("not checked", "was not", "could not"))


def test_the_page_of_data_sets_is_that_of_the_readers():
    page = Path(datasets_page.PAGE).read_text(encoding="utf-8")
    assert page == datasets_page.page(), "write it anew: python tools/datasets_page.py"


# ------------------------------------------------------------------------------ finding a set


def test_an_unknown_kind_is_refused_with_the_nearest_one(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'affectnet'"):
        read_dataset(tmp_path, "AffectNett")
    with pytest.raises(UsageError, match="it is one of folder, csv, fer2013"):
        read_dataset(tmp_path, "?")


def test_a_path_without_a_known_layout_says_what_is_there(tmp_path):
    with pytest.raises(MoppetError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(MoppetError, match=r"no known layout \(it is empty\)"):
        read_dataset(tmp_path)
    for number in range(9):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(
        MoppetError, match=r"it contains 0\.txt, .*, 5\.txt and 3 more.*labels\.csv"
    ):
        read_dataset(tmp_path)
    with pytest.raises(MoppetError, match="it is a file"):
        read_dataset(tmp_path / "3.txt")


def test_a_manifest_takes_no_options(tmp_path):
    with pytest.raises(UsageError, match="has no option keep_leaks"):
        read_dataset(tmp_path / "set.parquet", keep_leaks=True)


# ------------------------------------------------------------------------------- conditions


def test_conditions_are_said_once_and_again_when_they_change(made, capsys):
    cafe = DATASETS["cafe"]
    assert announce_license(cafe) and not announce_license(cafe)
    said = capsys.readouterr()
    assert said.out == "" and said.err == f"CAFE: {cafe.license}\n"
    manifest = read_dataset(made["cafe"])
    assert not announce_license(manifest)
    assert announce_license(Manifest(manifest.names, manifest.table, manifest.root, "Ask Ann."))
    assert capsys.readouterr().err == "CAFE: Ask Ann.\n"
    assert not announce_license(Manifest(manifest.names, manifest.table, manifest.root, ""))


def test_a_cache_that_cannot_be_written_never_fails(cache, capsys):
    (cache / "licenses").write_text("a file where a folder should be", encoding="utf-8")
    assert announce_license(DATASETS["ck+"]) and announce_license(DATASETS["ck+"])
    assert capsys.readouterr().err.count("CK+: ") == 2
