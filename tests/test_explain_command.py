"""`moppet explain` writes what it says, says what it writes, and refuses in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import model_folder
import rendered
from command_line import Run
from moppet.commands.explain import print_explanation
from moppet.infer.alignment import CROP_PX


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rendered faces in folders of their class, and an image of nobody."""
    folder = tmp_path_factory.mktemp("faces")
    for name, source in (("happy", "age05_asian_happiness"), ("neutral", "age01_light_neutral")):
        (folder / name).mkdir()
        shutil.copyfile(rendered.FOLDER / f"{source}.jpg", folder / name / f"{source}.jpg")
    cv2.imwrite(str(folder / "neutral" / "wall.png"), np.full((200, 260, 3), 140, np.uint8))
    return folder


def test_the_command_writes_overlays_means_numbers_and_a_page(
    moppet: Run, faces: Path, tmp_path: Path
) -> None:
    model = model_folder.write_model(tmp_path / "tiny", name="<tiny>")
    out = tmp_path / "out"
    code, said, _ = moppet("explain", model, faces, "-o", out, "--method", "occlusion")
    assert code == 0
    assert "3 of 3 images explained by occlusion, a face found in 2" in said
    assert f"{out / 'images'}: 3 overlays, which show the faces" in said
    found = json.loads((out / "explanation.json").read_text(encoding="utf-8"))
    assert [one["face_found"] for one in found["images"]] == [True, True, False]
    assert [one["label"] for one in found["images"]] == ["happiness", "neutral", "neutral"]
    for one in found["images"]:
        assert one["explained"] == one["predicted"]
        image = cv2.imread(str(out / one["file"]))
        assert image.shape[0] == 3 * CROP_PX and image.shape[1] > 2 * image.shape[0]
        if one["face_found"]:
            assert sum(one["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert found["images"][2]["shares"] is None
    assert found["parts"][0]["n"] == 2
    assert all((out / part["map"]).is_file() for part in found["parts"])
    page = (out / "explanation.html").read_text(encoding="utf-8")
    assert "&lt;tiny&gt;" in page and "<tiny>" not in page
    assert "<script" not in page and "http://" not in page and "https://" not in page


def test_mean_only_writes_no_face(moppet: Run, faces: Path, tmp_path: Path) -> None:
    model, out = model_folder.write_model(tmp_path / "tiny"), tmp_path / "out"
    options = ("--method", "occlusion", "--mean-only", "--of", "happiness")
    code, said, _ = moppet("explain", model, faces, "-o", out, *options)
    assert code == 0 and "overlays" not in said
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == [
        "explanation.html",
        "explanation.json",
        "mean/all.png",
    ]
    found = json.loads((out / "explanation.json").read_text(encoding="utf-8"))
    assert found["images"] is None and "age05" not in json.dumps(found)
    # The mean of one face is not that face: nothing of the image shines through.
    mean = cv2.imread(str(out / "mean/all.png"))
    assert mean.shape == (3 * CROP_PX, 3 * CROP_PX, 3)


def test_copies_of_one_image_are_one_face_to_the_intervals(
    moppet: Run, faces: Path, tmp_path: Path
) -> None:
    model, copies = model_folder.write_model(tmp_path / "tiny"), tmp_path / "copies"
    (face,) = (faces / "happy").iterdir()
    (copies / "happy").mkdir(parents=True)
    for name in ("one.jpg", "two.jpg"):
        shutil.copyfile(face, copies / "happy" / name)
    for folder, undefined in ((faces, False), (copies, True)):
        out = tmp_path / f"of {folder.name}"
        options = ("-o", out, "--method", "occlusion", "--mean-only")
        assert moppet("explain", model, folder, *options)[0] == 0
        whole = json.loads((out / "explanation.json").read_text(encoding="utf-8"))["parts"][0]
        assert whole["n"] == 2
        assert {one["low"] is None for one in whole["shares"].values()} == {undefined}


def test_grad_cam_refuses_a_folder_without_a_network_of_ours(
    moppet: Run, faces: Path, tmp_path: Path
) -> None:
    model, out = model_folder.write_model(tmp_path / "tiny"), tmp_path / "out"
    code, _, err = moppet("explain", model, faces, "-o", out)
    assert code == 1 and "weights.safetensors" in err and "--method occlusion" in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "gradcam"), "--method takes one of grad-cam, occlusion, got 'gradcam'"),
        (
            ("--of", "joy"),
            "--of takes predicted, label or a class of the model (neutral, happiness",
        ),
        (("--split", "test"), "the data has no split 'test'. There is no split at all"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(
    moppet: Run, faces: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    model, out = model_folder.write_model(tmp_path / "tiny"), tmp_path / "out"
    code, _, err = moppet("explain", model, faces, "-o", out, "--method", "occlusion", *options)
    assert code == 2 and said in err
    assert err.count("moppet: ") == 1 and err.endswith(".\n")
    assert not out.exists()


def test_a_folder_that_holds_files_is_not_written_into(
    moppet: Run, faces: Path, tmp_path: Path
) -> None:
    model = model_folder.write_model(tmp_path / "tiny")
    code, _, err = moppet("explain", model, faces, "-o", model, "--method", "occlusion")
    assert code == 2 and "holds files already" in err


def test_a_plain_folder_of_images_needs_no_labels(moppet: Run, tmp_path: Path) -> None:
    model, out, plain = (
        model_folder.write_model(tmp_path / "tiny"),
        tmp_path / "out",
        tmp_path / "p",
    )
    plain.mkdir()
    shutil.copyfile(rendered.FOLDER / "age01_light_neutral.jpg", plain / "one.jpg")
    options = ("-o", out, "--method", "occlusion", "--mean-only")
    code, said, _ = moppet("explain", model, plain, *options)
    assert code == 0 and "1 of 1 images explained" in said
    found = json.loads((out / "explanation.json").read_text(encoding="utf-8"))
    (part,) = found["parts"]
    assert part["n"] == 1 and part["shares"]["mouth"]["low"] is None
    code, _, err = moppet(
        "explain", model, plain, "-o", tmp_path / "o", "--of", "label", *options[2:]
    )
    assert code == 1 and f"there is no image in {plain} with a label that is a class" in err


def test_the_terminal_counts_the_faces_that_the_shares_rest_on(
    moppet: Run, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = model_folder.write_model(tmp_path / "tiny"), tmp_path / "out"
    options = ("-o", out, "--method", "occlusion", "--mean-only")
    assert moppet("explain", model, faces, *options)[0] == 0
    found = json.loads((out / "explanation.json").read_text(encoding="utf-8"))
    found["parts"] = [found["parts"][0] | {"n": 9, "undefined": 2}]
    print_explanation(found, out)
    line = next(x for x in capsys.readouterr().out.splitlines() if x.split()[:1] == ["all"])
    assert line.split()[1] == "7"


def test_a_limit_draws_the_same_rows_for_the_same_seed(
    moppet: Run, faces: Path, tmp_path: Path
) -> None:
    model = model_folder.write_model(tmp_path / "tiny")

    def rows(name: str, *options: Any) -> list[int]:
        given = ("-o", tmp_path / name, "--method", "occlusion", "--limit", 1, *options)
        assert moppet("explain", model, faces, *given)[0] == 0
        text = (tmp_path / name / "explanation.json").read_text(encoding="utf-8")
        return [one["row"] for one in json.loads(text)["images"]]

    assert rows("a") == rows("b") and len(rows("c")) == 1
    assert {*rows("d"), *rows("e", "--seed", 1), *rows("f", "--seed", 2)} > {rows("g")[0]}
