"""`moppet train my_faces/`: somebody's own images become a model with honest figures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ferplus_sample import draw_face, unmarked_faces
from moppet.commands import main as cli
from moppet.commands.train import read_groups
from moppet.datasets.manifest import read_manifest
from moppet.datasets.readers import read_dataset
from moppet.infer.expression_model import find_model, load_model
from moppet.train.finetuning import (
    Comparison,
    check_classes,
    check_groups,
    finetune,
    finetune_recipe,
)
from moppet.train.trainer import Machine
from moppet.train.training_run import with_split
from moppet.values import ModelError, MoppetError, UsageError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

CPU = Machine(accelerator="cpu")
DRAWN = {"laughing": "happiness", "gasping": "surprise"}


def write_faces(folder: Path, counts: dict[str, int], *, children: int = 8) -> Path:
    """Folders named after classes; a file's name tells the child: c3_017.png."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = draw_face(DRAWN.get(name, name), rng)
            # Light of its own, or every drawn face would be a near duplicate of the others.
            light = cv2.resize(rng.uniform(0.1, 1, (5, 5)), image.shape[::-1])
            image = (image * light).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"c{i % children}_{i:03d}.png"), image)
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    root = tmp_path_factory.mktemp("own")
    faces = write_faces(root / "faces", {"laughing": 32, "gasping": 24})
    manifest = read_dataset(faces, as_given=True, subject_pattern=r"/c(\d+)_")
    return finetune(
        manifest,
        root / "model",
        epochs=3,
        groups={"laughing": "positive"},
        machine=CPU,
        faces=unmarked_faces(manifest),
        say=lambda text: None,
    )


def test_the_model_carries_the_folders_own_names_and_the_groups_asked_for(
    fitted: Comparison,
) -> None:
    model = load_model(fitted.model_folder)
    assert model.names == ("gasping", "laughing")
    scores = model.predict(np.zeros((2, 112, 112, 3), np.uint8))
    assert scores.names == model.names
    assert dict(scores.group_of) == {"laughing": "positive"}
    assert model.card["license"].startswith("not specified")


def test_one_child_stands_on_one_side_of_the_split(fitted: Comparison) -> None:
    manifest = fitted.data.manifest
    sides: dict[str, set[str]] = {}
    for subject, part in zip(manifest.column("subject"), fitted.data.part, strict=True):
        sides.setdefault(subject, set()).add(part)
    assert len(sides) == 8
    assert all(len(parts) == 1 for parts in sides.values())
    assert set.union(*sides.values()) == {"train", "val", "test"}


def test_figures_stand_beside_the_majority_guess_on_rows_never_learned_from(
    fitted: Comparison,
) -> None:
    label = fitted.data.label[fitted.data.rows("test")]
    learned = fitted.data.label[fitted.data.rows("train")]
    commonest = np.bincount(learned).argmax()
    assert fitted.majority.overall["accuracy"].value == pytest.approx(np.mean(label == commonest))
    assert fitted.adapted.n == fitted.majority.n == len(label)
    saved = json.loads((fitted.model_folder / "figures.json").read_text(encoding="utf-8"))
    assert saved["aligned"]["all"]["accuracy"]["value"] == pytest.approx(
        fitted.adapted.overall["accuracy"].value
    )


def test_a_model_that_lacks_a_class_is_not_compared_with(fitted: Comparison) -> None:
    assert fitted.unadapted is None and fitted.gain == {}


def test_the_model_it_started_from_is_measured_where_it_knows_the_classes(
    tmp_path: Path,
) -> None:
    faces = write_faces(tmp_path / "faces", {"happy": 12, "surprised": 12})
    manifest = read_dataset(faces, as_given=True)
    found = finetune(
        manifest,
        tmp_path / "model",
        epochs=1,
        machine=CPU,
        faces=unmarked_faces(manifest),
        say=lambda text: None,
    )
    rows = found.data.rows("test", labeled=True)
    whole = load_model("default").predict(found.data.faces.aligned([int(i) for i in rows]))
    chosen = whole.probabilities[:, [whole.names.index(n) for n in ("happiness", "surprise")]]
    assert found.unadapted is not None
    expected = np.mean(chosen.argmax(axis=1) == found.data.label[rows])
    assert found.unadapted.overall["accuracy"].value == pytest.approx(expected)
    gain = found.gain["accuracy"]
    assert gain.value == pytest.approx(found.adapted.overall["accuracy"].value - expected)
    assert load_model(tmp_path / "model").group_of == {"happy": "positive", "surprised": "neutral"}


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"happy": 9}, "two or more classes, but only happy"),
        ({"happy": 9, "sad": 2}, r"too few: sad \(2\)"),
    ],
)
def test_too_few_classes_or_images_are_refused(
    tmp_path: Path, counts: dict[str, int], said: str
) -> None:
    manifest = read_dataset(write_faces(tmp_path / "faces", counts), as_given=True)
    with pytest.raises(MoppetError, match=said):
        check_classes(manifest)


def test_rows_that_a_split_left_out_are_never_trained_on(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", {"happy": 8, "sad": 8})
    manifest = read_dataset(faces, as_given=True)
    given = ["test", None, "train", "train"] * 4
    made = with_split(manifest.replace(split=given), seed=0).column("split").tolist()
    assert [part is None for part in made] == [part is None for part in given]
    assert [part == "test" for part in made] == [part == "test" for part in given]
    assert {"train", "val", "test"} <= set(made)
    assert None not in with_split(manifest, seed=0).column("split").tolist()


def test_groups_are_guessed_by_name_and_asked_for_by_class() -> None:
    names = ("happy", "crying", "sad")
    assert check_groups(names, {"crying": "negative"}) == {
        "happy": "positive",
        "sad": "negative",
        "crying": "negative",
    }
    with pytest.raises(UsageError, match="'joy'; there are: happy, crying, sad"):
        check_groups(names, {"joy": "positive"})
    assert read_groups("a=x, b = y") == {"a": "x", "b": "y"}
    with pytest.raises(UsageError, match="\"class=group,class=group\", got 'a'"):
        read_groups("a")


def test_the_command_says_what_it_found_and_resumes(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", {"happy": 14, "sad": 14})
    (faces / "sad" / "broken.png").write_bytes(b"no image")
    asked = ["train", str(faces), "-o", str(tmp_path / "model"), "--epochs", "1"]
    asked += ["--subject", r"/(c\d+)_", "--accelerator", "cpu"]
    result = CliRunner().invoke(cli.app, asked, catch_exceptions=False)
    assert result.exit_code == 0
    said = result.output
    assert "29 images: happy 14, sad 15" in said
    assert re.search(
        r"images that cannot be read and are left out: 1 \(first: sad/broken\.png\)", said
    )
    assert re.search(r"no face found in \d+ of 28 images", said)
    assert re.search(r"test on: \d+ \(happy \d+, sad \d+\)", said)
    assert "epoch 1" in said and "majority class" in said and "before training" in said
    assert "it is unknown who" not in said
    kept = read_manifest(tmp_path / "model" / "manifest.parquet")
    assert set(kept.column("split")) == {"train", "val", "test"}
    assert "face_found" in kept.table.column_names
    again = CliRunner().invoke(cli.app, asked, catch_exceptions=False)
    assert again.exit_code == 0 and "epoch 1" not in again.output


@pytest.mark.parametrize(
    "option",
    ["--kind folders", "--model default", "--epochs 3", "--quick", "--seed 0", "--groups a=b"],
)
def test_what_is_for_own_images_is_refused_beside_a_recipe(tmp_path: Path, option: str) -> None:
    asked = ["train", str(tmp_path / "none.toml"), "-o", str(tmp_path / "run")]
    with pytest.raises(UsageError, match=f"{option.split()[0]} is for training on your own images"):
        CliRunner().invoke(cli.app, [*asked, *option.split()], catch_exceptions=False)
    with pytest.raises(UsageError, match=r"recipe .* cannot be read"):
        CliRunner().invoke(cli.app, [*asked, "--devices", "2"], catch_exceptions=False)


def test_two_words_on_the_number_of_epochs_are_refused(tmp_path: Path) -> None:
    asked = ["train", str(tmp_path), "-o", str(tmp_path / "model"), "--quick", "--epochs", "3"]
    with pytest.raises(UsageError, match="--epochs, not both"):
        CliRunner().invoke(cli.app, asked, catch_exceptions=False)


def test_a_model_cut_short_is_refused_before_it_is_trained_further(tmp_path: Path) -> None:
    folder = shutil.copytree(find_model("default"), tmp_path / "model")
    network = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(network[: len(network) // 2])
    with pytest.raises(ModelError, match="is damaged or was replaced"):
        finetune_recipe("mine", "", model=str(folder), epochs=1, seed=0, rows=100)


def test_a_split_that_leaks_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_faces(tmp_path / "faces" / part, {"happy": 4, "sad": 4})
    said = r"leaks: \d+ times, duplicates or one person are in several parts"
    with pytest.raises(MoppetError, match=said):
        CliRunner().invoke(
            cli.app,
            ["train", str(tmp_path / "faces"), "-o", str(tmp_path / "model")],
            catch_exceptions=False,
        )


def test_a_disk_that_takes_no_more_ends_in_one_sentence_and_the_run_goes_on(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", {"happy": 14, "sad": 14})
    asked = [sys.executable, "-c", "from moppet.commands.main import main; main()"]
    asked += ["train", str(faces), "-o", str(tmp_path / "model"), "--epochs", "1"]
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({3 << 20},) * 2); "
    full = subprocess.run(
        [*asked[:2], limited + asked[2], *asked[3:]], capture_output=True, text=True, timeout=240
    )
    assert full.returncode == 1
    assert re.search(r"^moppet: Cannot write .*best\.safetensors: .+\.$", full.stderr, re.M)
    assert "Traceback" not in full.stderr
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.part*"))
    done = subprocess.run(asked, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and done.stdout.count("epoch 1,") == 1, done.stderr[-2000:]


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", {"happy": 14, "sad": 14})
    moppet = str(Path(sys.executable).with_name("moppet"))
    asked = [moppet, "train", str(faces), "-o", str(tmp_path / "model")]
    asked += ["--epochs", "1", "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp"]
    done = subprocess.run(
        asked,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in done.stderr + done.stdout
    assert done.stdout.count("epoch 1,") == done.stdout.count("majority class") == 1
    assert load_model(tmp_path / "model").names == ("happy", "sad")
