"""The command line as people meet it: what it prints, writes, refuses, and how it exits."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import model_folder
from command_line import Done, Run
from moppet.infer.expression_model import bundled_models
from moppet.media import recording_sha256
from moppet.timeline import read_timeline
from moppet.values import EXPRESSIONS
from rendered import read_stills, write_video

N_FRAMES, N_BLANK = 30, 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder.write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second and a half: a face that moves, then nobody."""
    face = read_stills()["age05_asian_happiness.jpg"].image
    shown = [np.roll(face, i, axis=1) for i in range(N_FRAMES - N_BLANK)]
    nobody = [np.full_like(face, 90)] * N_BLANK
    return write_video(tmp_path_factory.mktemp("clip") / "child.mp4", shown + nobody)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording that costs little: three frames of nobody, 64 pixels square."""
    blank = np.full((64, 64, 3), 120, np.uint8)
    return write_video(tmp_path_factory.mktemp("still") / "still.mp4", [blank] * 3)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    path = tmp_path / "fake.mp4"
    path.write_text("This is a shopping list, not a video.\n" * 50, encoding="utf-8")
    return path


def assert_one_sentence(done: Done, *, code: tuple[int, ...] = (1, 2)) -> None:
    assert done.code in code
    assert done.err.startswith("moppet: ") and done.err.endswith((".\n", "?\n"))
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err + done.out


# ------------------------------------------------------------------------------ what is written


def test_analyze_writes_the_timeline_in_every_format_and_a_report_and_says_so(
    moppet: Run, clip: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = moppet("analyze", clip, "-o", out, "--model", model, "--format", "parquet,csv, JSON")
    assert done.code == 0
    folder = out / "child"
    names = {"timeline.parquet", "timeline.csv", "timeline.json", "timeline.meta.json"}
    assert {path.name for path in folder.iterdir()} == names | {"report.html"}
    parquet, csv, text = (
        read_timeline(folder / f"timeline.{kind}") for kind in ("parquet", "csv", "json")
    )
    assert parquet == csv == text
    assert parquet.metadata["complete"] is True
    assert parquet.metadata["source_sha256"] == recording_sha256(clip)
    frames = parquet.table.column("frame").to_pylist()
    status = parquet.table.column("status").to_pylist()
    assert frames == list(range(N_FRAMES))
    assert set(status[: N_FRAMES - N_BLANK]) == {"ok"}
    assert set(status[N_FRAMES - N_BLANK :]) == {"no_face"}
    assert f"{clip}: {N_FRAMES} frames in" in done.out
    for name in ("timeline.parquet", "timeline.csv", "timeline.json", "report.html"):
        assert str(folder / name) in done.out
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!")


def test_only_what_was_asked_for_is_written(
    moppet: Run, still: Path, model: Path, tmp_path: Path
) -> None:
    options = ["-o", tmp_path, "--model", model, "--format", "csv", "--no-report"]
    assert moppet("analyze", still, *options).code == 0
    written = {path.name for path in (tmp_path / "still").iterdir()}
    assert written == {"timeline.csv", "timeline.meta.json"}


def test_options_reach_the_timeline(moppet: Run, clip: Path, model: Path, tmp_path: Path) -> None:
    options = ["--every", 3, "--start", 0.5, "--end", 1.0, "--smooth", 0, "--min-face", 60]
    assert moppet("analyze", clip, "-o", tmp_path, "--model", model, *options).code == 0
    read = read_timeline(tmp_path / "child" / "timeline.parquet")
    frames = read.table.column("frame").to_pylist()
    assert frames == list(range(10, 20))
    skipped = [s == "skipped" for s in read.table.column("status").to_pylist()]
    assert skipped == [frame % 3 > 0 for frame in frames]
    kept = read.metadata["settings"]
    assert (kept["every"], kept["start_s"], kept["end_s"], kept["min_face_px"]) == (3, 0.5, 1.0, 60)
    assert read.settings.smooth_s == 0
    for name in EXPRESSIONS:
        assert read.table.column(f"p_{name}").equals(read.table.column(f"s_{name}"))


def test_a_folder_and_a_pattern_stand_for_their_recordings(
    moppet: Run, still: Path, model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("one.mp4", "two.mp4", "ten.mov"):
        shutil.copy(still, source / name)
    (source / "notes.txt").write_text("no video")
    common = ["--model", model, "--no-report", "-o"]
    assert moppet("analyze", source, *common, tmp_path / "a").code == 0
    names = {"one.mp4", "two.mp4", "ten.mov", "ledger.jsonl"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    assert moppet("analyze", source / "*.mp4", *common, tmp_path / "b").code == 0
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"one", "two", "ledger.jsonl"}


def test_recordings_of_one_name_keep_apart(
    moppet: Run, still: Path, clip: Path, model: Path, tmp_path: Path
) -> None:
    sources = [tmp_path / "a" / "visit.mp4", tmp_path / "b" / "visit.mp4", tmp_path / "visit.avi"]
    for path in sources:
        path.parent.mkdir(exist_ok=True)
    shutil.copy(still, sources[0])
    shutil.copy(clip, sources[1])
    shutil.copy(still, sources[2])
    options = ["-o", tmp_path / "out", "--model", model, "--end", 0.12, "--no-report", "--json"]
    done = moppet("analyze", *sources, *options, "-j", 1)
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["source"] for line in lines] == [str(path) for path in sources]
    files = [Path(line["files"][0]) for line in lines]
    assert len(set(files)) == 3
    for path, source in zip(files, sources, strict=True):
        assert read_timeline(path).metadata["source_sha256"] == recording_sha256(source)


def test_json_is_one_line_a_recording_and_nothing_else(
    moppet: Run, still: Path, fake: Path, model: Path, tmp_path: Path
) -> None:
    other = shutil.copy(still, tmp_path / "näher dran.mp4")
    options = ["-o", tmp_path / "out", "--model", model, "--json", "-j", 1]
    done = moppet("analyze", still, fake, other, *options)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["source"] for line in lines] == [str(still), str(other)]
    for line in lines:
        assert [Path(path).name for path in line["files"]] == ["timeline.parquet", "report.html"]
        assert all(Path(path).is_file() for path in line["files"])
        assert line["summary"] == json.loads(
            json.dumps(read_timeline(line["files"][0]).summary(), allow_nan=False)
        )


# ------------------------------------------------------------------------------ what is refused


def test_a_text_file_named_mp4_is_one_sentence_and_the_others_finish(
    moppet: Run, still: Path, fake: Path, model: Path, tmp_path: Path
) -> None:
    options = ["-o", tmp_path / "out", "--model", model, "--no-report"]
    alone = moppet("analyze", fake, *options)
    assert_one_sentence(alone, code=(1,))
    assert str(fake) in alone.err
    assert not (tmp_path / "out" / "fake").exists()
    both = moppet("analyze", fake, still, *options)
    assert both.code == 1
    assert both.err == alone.err
    assert "2 recordings: 1 read, 1 failed" in both.out and f"failed: {fake}" in both.out
    assert read_timeline(tmp_path / "out" / "still" / "timeline.parquet").metadata["complete"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--detector", "haar"], "'haar'"),
        (["--detector", "yunet"], "--detector-model"),
        (["--detector", "yunet", "--detector-model", "none.onnx"], "none.onnx"),
        (["--model", "none"], "'none'"),
        (["--format", "xlsx"], "'xlsx'"),
        (["--format", ","], "--format"),
        (["--start", "2", "--end", "1"], "2.0, 1.0"),
        (["--min-face", "3"], "min_face_px"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_sentence(
    moppet: Run, still: Path, model: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    out = tmp_path / "out"
    given = options if "--model" in options else [*options, "--model", model]
    done = moppet("analyze", still, "-o", out, *given)
    assert_one_sentence(done)
    assert said in done.err
    assert not list(out.glob("*/*"))


def test_a_start_behind_the_end_of_the_recording_is_no_success(
    moppet: Run, still: Path, model: Path, tmp_path: Path
) -> None:
    done = moppet("analyze", still, "-o", tmp_path / "out", "--model", model, "--start", 99)
    assert_one_sentence(done)
    assert "99" in done.err


@pytest.mark.parametrize("options", [["--every", "0"], ["--smooth", "-1"], ["--frames", "2"]])
def test_an_option_out_of_range_or_unknown_exits_2(
    moppet: Run, still: Path, tmp_path: Path, options: list[str]
) -> None:
    done = moppet("analyze", still, "-o", tmp_path / "out", *options)
    assert done.code == 2
    assert options[0] in done.err and "Traceback" not in done.err
    assert not (tmp_path / "out").exists()


def test_a_path_that_is_not_there_exits_2_before_anything_is_done(
    moppet: Run, still: Path, tmp_path: Path
) -> None:
    done = moppet("analyze", still, tmp_path / "none.mp4", "-o", tmp_path / "out")
    assert_one_sentence(done, code=(2,))
    assert "none.mp4" in done.err
    assert not (tmp_path / "out").exists()
    assert_one_sentence(moppet("analyze", "camera:0", "-o", tmp_path / "out"), code=(2,))


def test_a_file_in_the_place_of_the_output_folder_is_one_sentence(
    moppet: Run, still: Path, model: Path, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "out"
    in_the_way.write_text("mine")
    done = moppet("analyze", still, "-o", in_the_way, "--model", model)
    assert_one_sentence(done, code=(1,))
    assert str(in_the_way) in done.err
    assert in_the_way.read_text() == "mine"


def test_a_folder_in_the_place_of_the_report_is_one_sentence(
    moppet: Run, still: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "still" / "report.html").mkdir(parents=True)
    done = moppet("analyze", still, "-o", tmp_path, "--model", model)
    assert_one_sentence(done, code=(1,))
    assert "report.html" in done.err


# -------------------------------------------------------------------------------- other commands


def test_report_writes_a_page_beside_the_timeline_or_where_it_is_told(
    moppet: Run, clip: Path, model: Path, tmp_path: Path
) -> None:
    analyze = ["analyze", clip, "-o", tmp_path, "--model", model, "--no-report", "--every", 5]
    assert moppet(*analyze).code == 0
    timeline = tmp_path / "child" / "timeline.parquet"
    done = moppet("report", timeline)
    page = tmp_path / "child" / "report.html"
    assert (done.code, done.out) == (0, f"{page}\n")
    plain = page.read_text(encoding="utf-8")
    assert "data:image" not in plain
    other = tmp_path / "other.html"
    done = moppet("report", timeline, "-o", other, "--show-faces", clip, "--blur")
    assert (done.code, done.out) == (0, f"{other}\n")
    assert "data:image" in other.read_text(encoding="utf-8")


def test_report_refuses_in_one_sentence(moppet: Run, clip: Path, tmp_path: Path) -> None:
    assert_one_sentence(moppet("report", tmp_path / "none.parquet"), code=(1,))
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    assert_one_sentence(moppet("report", wrong), code=(1,))
    assert_one_sentence(moppet("report", clip), code=(1,))
    assert_one_sentence(moppet("report", wrong, "--blur"), code=(2,))


def test_models_lists_what_is_bundled(moppet: Run) -> None:
    listed = moppet("models")
    assert listed.code == 0
    cards = json.loads(moppet("models", "--json").out)
    assert "default" in cards
    assert cards.keys() == bundled_models().keys()
    for name, card in cards.items():
        assert f"{name}: {', '.join(card['labels'])}" in " ".join(listed.out.split())
        assert str(bundled_models()[name]) in listed.out
    assert set(cards["default"]["labels"]) == set(EXPRESSIONS)


def test_train_refuses_a_wrong_recipe_in_one_sentence(moppet: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "a"\ndata = "b"\nepoch = 1\n')
    done = moppet("train", recipe, "-o", tmp_path / "run")
    assert_one_sentence(done, code=(2,))
    assert "'epochs'" in done.err
    assert not (tmp_path / "run").exists()


def test_train_without_its_extra_says_how_to_install_it(
    moppet: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("moppet.train")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "recipe.toml").write_text('name = "mine"\ndata = "faces"\n', encoding="utf-8")
    done = moppet("train", tmp_path / "recipe.toml", "-o", tmp_path / "run")
    assert (done.code, done.out) == (1, "")
    assert (
        done.err == "moppet: Training needs torch. Install it with: pip install 'moppet[train]'\n"
    )


@pytest.mark.parametrize("command", ["analyze", "report", "train", "models"])
def test_help_shows_an_example(moppet: Run, command: str) -> None:
    for flag in ("--help", "-h"):
        done = moppet(command, flag)
        assert done.code == 0
        assert f"Example: moppet {command} " in done.out
    assert command in moppet("--help").out


def test_version_is_the_installed_one(moppet: Run) -> None:
    done = moppet("--version")
    assert (done.code, done.out) == (0, f"moppet {importlib.metadata.version('moppet')}\n")
