"""Is what was made any good: the whole result, the command, the page."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

import model_folder
import quality_sample as sample
from evaluation_sample import faces_without_search
from moppet.commands import main as cli
from moppet.commands.quality import _read
from moppet.datasets.manifest import build_manifest, read_manifest
from moppet.datasets.provenance import SYNTHETIC_SCHEMA, join_synthetic, real_rows
from moppet.datasets.splits import holdout
from moppet.evaluate import predictions, sample_quality
from moppet.evaluate.sample_predictions import SampleFaces, measure_agreement, predict_faces
from moppet.evaluate.sample_quality import measure_quality
from moppet.infer.expression_model import load_model
from moppet.pages import face_images as face_images
from moppet.pages.quality import build_page
from moppet.pages.wording import number
from moppet.values import ModelError, MoppetError, UsageError
from page_text import numbers_in, text_of
from rendered import read_stills

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
DRAWS = 6


@pytest.fixture
def _no_search(monkeypatch):
    find = faces_without_search(missed=15)
    monkeypatch.setattr(predictions, "find_manifest_faces", find)
    monkeypatch.setattr(face_images, "find_manifest_faces", find)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    model_folder.write_model(folder / "model", name="<b>ours</b>")
    real = sample.write_real(folder / "real")
    made = sample.write_made(folder / "made", folder / "real")
    real.write(folder / "real.parquet")
    made.write(folder / "made.parquet")
    return folder


@pytest.fixture(scope="module")
def quality(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictions, "find_manifest_faces", faces_without_search(missed=15))
        made, real = (read_manifest(folder / f"{x}.parquet") for x in ("made", "real"))
        return measure_quality(made, real, model=folder / "model", draws=DRAWS)


def run(*arguments: Any) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictions, "find_manifest_faces", faces_without_search(missed=15))
        patch.setattr(face_images, "find_manifest_faces", faces_without_search(missed=15))
        patch.setattr(sample_quality, "measure_quality", partial(measure_quality, draws=DRAWS))
        patch.setattr(sys, "argv", ["moppet", "quality", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


def test_images_that_nearly_repeat_real_ones_are_named_and_not_kept(quality):
    assert np.flatnonzero(~quality.keep).tolist() == [0, 1, 2, 3]
    assert {one["row"]: one["real_row"] for one in quality.memorized} == {
        0: 10, 1: 11, 2: 12, 3: 13
    }  # fmt: skip
    assert all(one["copy"] for one in quality.memorized)
    assert quality.alarms.value == pytest.approx(4 / 45)
    assert quality.rows["kept"] == 41
    assert "4 of 45 synthetic faces are close copies of real" in quality.notes[0]


def test_each_class_is_held_against_its_own_real_faces(quality):
    sizes = {name: (c.n_synthetic, c.n_real) for name, c in quality.of_class.items()}
    assert sizes == {"happiness": (15, 45), "sadness": (15, 30), "fear": (15, 15)}
    # All together: as many made as real ones of each class.
    assert (quality.everything.n_synthetic, quality.everything.n_real) == (45, 45)


def test_faces_found_are_shares_of_images(quality):
    # Every fifteenth row counts as not found: 3 of 45 and 6 of 90, one of each made class.
    assert quality.detected.all.value == pytest.approx(42 / 45)
    assert quality.real_detected.all.value == pytest.approx(84 / 90)
    assert quality.detected.of_class["fear"].value == pytest.approx(14 / 15)


def test_figures_of_real_faces_beside_themselves_are_good(folder, _no_search):
    real = read_manifest(folder / "real.parquet")
    half = np.arange(sample.REAL) % 2 == 0
    found = measure_quality(
        real.select(half), real.select(~half), model=folder / "model", draws=DRAWS
    )
    figures = {name: e.value for name, e in found.everything.figures.items()}
    assert figures["js_divergence"] < 0.15
    assert figures["precision"] > 0.5 and figures["coverage"] > 0.8
    assert any("do not name their generator" in note for note in found.notes)


def test_images_of_one_real_face_each_are_said_to_be_that(folder, _no_search):
    real, made = (read_manifest(folder / f"{x}.parquet") for x in ("real", "made"))
    sources = [["a"] if i < 7 else ["a", "b"] if i < 9 else None for i in range(sample.MADE)]
    found = measure_quality(
        made.replace(synthetic_from=sources), real, model=folder / "model", draws=2
    )
    assert found.rows["of_one_face"] == 7
    assert any(note.startswith("7 synthetic images are altered from one") for note in found.notes)


def test_the_result_is_plain_values_and_undefined_ones_are_null(quality):
    found = quality.as_json()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert found["of_class"]["fear"]["figures"]["frechet_distance"]["value"] is None
    assert found["all"]["figures"]["frechet_distance"]["value"] > 0
    assert sum(found["memory"]["histogram"]["real"]) == pytest.approx(1, abs=1e-4)


def test_only_training_rows_are_compared_and_made_ones_never_count_as_real(folder, _no_search):
    real, made = (read_manifest(folder / f"{x}.parquet") for x in ("real", "made"))
    splits = np.where(np.arange(sample.REAL) < 60, "train", "test")
    joined = join_synthetic(real.replace(split=splits), made)
    found = measure_quality(joined, joined, model=folder / "model", draws=2)
    assert found.rows["synthetic"] == sample.MADE and found.rows["real"] == 60
    assert len(found.keep) == len(joined)
    assert np.flatnonzero(~found.keep).tolist() == [90, 91, 92, 93]
    assert found.of_class["fear"] is None  # its real faces report
    assert any("no real face of fear" in note for note in found.notes)


def test_made_faces_without_a_class_are_compared_as_they_are(folder, _no_search):
    made = read_manifest(folder / "made.parquet").replace(label=[None] * sample.MADE)
    real = read_manifest(folder / "real.parquet")
    found = measure_quality(made, real, model=folder / "model", draws=2)
    assert found.classes == [] and found.of_class == {}
    assert (found.everything.n_synthetic, found.everything.n_real) == (45, 90)
    assert math.isnan(found.agreement.overall.value)
    json.dumps(found.as_json(), allow_nan=False)


def test_a_single_made_face_is_no_error(folder, _no_search):
    made = read_manifest(folder / "made.parquet").select([20])
    found = measure_quality(made, read_manifest(folder / "real.parquet"), model=folder / "model")
    assert math.isnan(found.everything.figures["js_divergence"].value)
    assert found.alarms.n == 1
    json.dumps(found.as_json(), allow_nan=False)


def test_what_cannot_be_compared_is_said(folder, tmp_path, _no_search):
    made, real = (read_manifest(folder / f"{x}.parquet") for x in ("made", "real"))
    with pytest.raises(MoppetError, match="are synthetic"):
        measure_quality(made, made, model=folder / "model")
    with pytest.raises(MoppetError, match="no synthetic image"):
        nothing = build_manifest({"path": []}, root=folder)
        measure_quality(nothing, real, model=folder / "model")
    network = model_folder.linear_network(embedding=False)
    bare = model_folder.write_model(tmp_path / "bare", network, name="bare")
    with pytest.raises(ModelError, match="bare gives no embedding"):
        measure_quality(made, real, model=bare)


def test_agreement_is_the_recall_of_scikit_learn():
    rng = np.random.default_rng(0)
    names = ("neutral", "happiness", "fear")
    label = rng.choice([*names, "boredom"], 80)
    probabilities = rng.dirichlet(np.ones(3), 80).astype(np.float32)
    yes = np.ones(80, bool)
    nothing = np.empty((80, 0), np.float32)
    faces = SampleFaces(
        *(np.arange(80), label.astype(object), np.arange(80), nothing, probabilities),
        *(yes, yes, np.zeros((80, 1, 1), np.uint8)),
    )
    found = measure_agreement(faces, names, ["happiness", "fear", "boredom"], rng, 50)
    known = label != "boredom"
    guess = np.array(names)[probabilities.argmax(axis=1)][known]
    recalls = recall_score(label[known], guess, labels=["happiness", "fear"], average=None)
    assert found.of_class["happiness"].value == pytest.approx(recalls[0])
    assert found.of_class["fear"].value == pytest.approx(recalls[1])
    assert found.of_class["fear"].n == (label == "fear").sum()
    assert math.isnan(found.of_class["boredom"].value)
    assert found.macro.value == pytest.approx(recalls.mean())
    assert found.overall.value == pytest.approx(np.mean(label[known] == guess))
    assert found.unknown == {"boredom": int((~known).sum())}
    np.testing.assert_array_equal(
        found.confusion, confusion_matrix(label[known], guess, labels=names)
    )


def test_the_detector_itself_finds_rendered_faces_and_none_in_a_plain_image(tmp_path, tiny_model):
    stills = read_stills()
    faces = [still.image for still in stills.values() if len(still.faces) == 1][:2]
    cuts = []
    for image, still in zip(faces, stills.values(), strict=False):
        x, y, w, h = still.faces[0].box_px
        side = int(max(w, h) * 1.4)
        top, left = max(0, int(y + h / 2 - side / 2)), max(0, int(x + w / 2 - side / 2))
        cuts.append(cv2.resize(image[top : top + side, left : left + side], (96, 96)))
    cuts.append(np.full((96, 96, 3), 120, np.uint8))
    np.savez(tmp_path / "faces.npz", images=np.stack(cuts))
    manifest = build_manifest(
        {"path": ["faces.npz"] * 3, "array_row": [0, 1, 2], "label": ["happy"] * 3},
        root=tmp_path,
    )
    model = load_model(tiny_model)
    found = predict_faces(manifest, np.arange(3), model, model)
    assert found.loosely.tolist() == [True, True, False]
    assert found.label.tolist() == ["happiness"] * 3
    assert found.embeddings.shape == (3, 128) and found.thumbs.shape == (3, 48, 48)


@pytest.fixture(scope="module")
def written(folder):
    """What one run of the command has written."""
    output = folder / "out"
    arguments = (folder / "made.parquet", folder / "real.parquet", "-o", output)
    assert run(*arguments, "--model", folder / "model", "--show-faces") == 0
    return output


@pytest.fixture(scope="module")
def page(written):
    return (written / "quality.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def found(written):
    return json.loads((written / "quality.json").read_text(encoding="utf-8"))


def test_every_figure_on_the_page_stands_in_the_json(page, found):
    kept = {number(x) for x in numbers_in(found)}
    shown = re.findall(r"[\N{MINUS SIGN}]?\b\d+\.\d{3}\b", text_of(page))
    assert len(shown) > 100
    assert [x for x in shown if x not in kept] == []


def test_the_page_needs_nothing_from_outside_and_runs_nothing(page):
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|<script|<link|@import|url\((?!#)| style=| on\w+=", page)
    assert "<b>ours</b>" not in page and "&lt;b&gt;ours&lt;/b&gt;" in page


def test_images_are_shown_only_when_asked_for(page, folder, tmp_path):
    assert page.count("data:image/jpeg") == 3 * 14 + 2 * 4
    output = tmp_path / "plain"
    arguments = (folder / "made.parquet", folder / "real.parquet", "-o", output)
    assert run(*arguments, "--model", folder / "model") == 0
    plain = (output / "quality.html").read_text(encoding="utf-8")
    assert "<img" not in plain and "img-src 'none'" in plain


def test_the_kept_manifest_is_without_the_alarms(written, folder):
    kept = read_manifest(written / "kept.parquet")
    assert kept.column("array_row").tolist() == list(range(4, sample.MADE))
    assert kept.root.resolve() == (folder / "made").resolve()
    assert kept.image(0).shape == (24, 24)


def test_made_faces_that_do_not_say_so_are_marked_before_they_are_kept(folder, tmp_path):
    made = read_manifest(folder / "made.parquet")
    plain = made.replace(**{name: [None] * len(made) for name in SYNTHETIC_SCHEMA.names})
    plain = plain.replace(split=["test"] * len(made))
    assert real_rows(plain).all()
    plain.write(folder / "plain.parquet")
    arguments = (folder / "plain.parquet", folder / "real.parquet", "-o", tmp_path / "out")
    assert run(*arguments, "--model", folder / "model") == 0
    kept = read_manifest(tmp_path / "out" / "kept.parquet")
    assert not real_rows(kept).any() and set(kept.column("split")) == {"train"}
    with pytest.raises(UsageError, match="are synthetic"):
        holdout(kept, 0.3, np.random.default_rng(0))


def test_the_real_faces_are_those_of_the_same_manifest_unless_others_are_named(
    folder, tmp_path, capsys, _no_search
):
    made, real = (read_manifest(folder / f"{x}.parquet") for x in ("made", "real"))
    join_synthetic(real, made).write(tmp_path / "manifest.parquet")
    arguments = ("-o", tmp_path / "out", "--model", folder / "model")
    assert run(tmp_path, *arguments) == 0
    found = json.loads((tmp_path / "out" / "quality.json").read_text(encoding="utf-8"))
    assert (found["rows"]["synthetic"], found["rows"]["in_real"]) == (
        len(made),
        len(real) + len(made),
    )
    kept = read_manifest(tmp_path / "out" / "kept.parquet")
    assert (
        int(real_rows(kept).sum()) == len(real) and len(kept) == len(real) + found["rows"]["kept"]
    )
    capsys.readouterr()
    assert run(folder / "made.parquet", *arguments) == 2
    assert "does not contain the real images" in capsys.readouterr().err


def test_where_no_made_face_may_stay_no_manifest_is_written(folder, tmp_path):
    made = read_manifest(folder / "made.parquet").select(np.arange(3))
    made.write(tmp_path / "made.parquet")
    arguments = (tmp_path / "made.parquet", folder / "real.parquet", "-o", tmp_path / "out")
    assert run(*arguments, "--model", folder / "model") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["quality.html", "quality.json"]


def test_a_quality_json_of_version_0_1_gives_the_same_page(folder, tmp_path, _no_search):
    arguments = (folder / "made.parquet", folder / "real.parquet", "-o", tmp_path / "out")
    assert run(*arguments, "--model", folder / "model") == 0
    found = json.loads((tmp_path / "out" / "quality.json").read_text(encoding="utf-8"))
    old = json.loads(json.dumps(found))
    old["made"] = made = old.pop("about")
    names = {"made_by": "generators", "made_at": "created_at", "licence": "license"}
    for former, name in (names | {"judge": "classifier"}).items():
        made[former] = made.pop(name)
    old["memorised"] = old.pop("memorized")
    assert old["memorised"]
    for one in old["memorised"]:
        one["likeness"] = one.pop("similarity")
    old["rows"]["made"] = old["rows"].pop("synthetic")
    old["rows"]["in_made"] = old["rows"].pop("in_synthetic")
    old["memory"]["real_twins"] = old["memory"].pop("real_duplicates")
    bins = old["memory"]["histogram"]
    bins["made"] = bins.pop("synthetic")
    for part in (old["all"], *old["of_class"].values()):
        part["n_made"] = part.pop("n_synthetic")
    assert build_page(old) == build_page(found)


def test_json_is_printed_alone(folder, tmp_path, capsys):
    arguments = (folder / "made.parquet", folder / "real.parquet", "-o", tmp_path / "out")
    assert run(*arguments, "--model", folder / "model", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"]["synthetic"] == sample.MADE
    assert printed["about"]["command"].startswith("moppet quality ")


def test_the_terminal_says_the_figures_and_where_the_rest_is(folder, tmp_path, capsys, found):
    arguments = (folder / "made.parquet", folder / "real.parquet", "-o", tmp_path / "out")
    assert run(*arguments, "--model", folder / "model") == 0
    said = capsys.readouterr().out
    assert "near copies of a real face: 4 of 45; 41 kept" in said
    assert number(found["all"]["figures"]["coverage"]["value"]) in said
    assert "kept.parquet" in said.replace("\n", "")


def test_a_folder_that_synthesize_made_is_read_by_its_manifest(folder, tmp_path, _no_search):
    made, real = (read_manifest(folder / f"{x}.parquet") for x in ("made", "real"))
    (tmp_path / "run").mkdir()
    join_synthetic(real, made).write(tmp_path / "run" / "manifest.parquet")
    read = _read(tmp_path / "run")
    assert len(read) == sample.REAL + sample.MADE


@pytest.mark.parametrize(
    ("made", "real", "more", "code", "says"),
    [
        ("nothing", "real.parquet", (), 1, "does not exist"),
        ("made.parquet", "made.parquet", (), 1, "are synthetic"),
        ("made.parquet", "real.parquet", ("--model", "zebra"), 1, "no model 'zebra'"),
        ("made.parquet", "real.parquet", ("--classifier", "zebra"), 1, "no model 'zebra'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    folder, tmp_path, capsys, made, real, more, code, says
):
    output = tmp_path / "out"
    assert run(folder / made, folder / real, "-o", output, *more) == code
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said
    assert not output.exists()


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_a_browser_shows_the_page_and_its_policy_blocks_nothing(written):
    shown = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--enable-logging=stderr", "--dump-dom", f"file://{written / 'quality.html'}"),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "Content Security Policy" not in shown.stderr
    assert shown.stdout.count("<section") == 7
