"""Results belong to their recording, photos are no film, and an odd recording fails alone."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from command_line import run_moppet
from model_folder import write_model
from moppet.infer import pipeline
from moppet.timeline import read_timeline
from moppet.timeline.annotations import add_correction, corrections_path
from moppet.timeline.people import People, Person, Piece, people_path
from rendered import read_stills, write_video


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def write_clip(path: Path, shade: int = 120, frames: int = 4) -> Path:
    path.parent.mkdir(exist_ok=True)
    images = [np.full((96, 128, 3), shade, np.uint8)] * frames
    return write_video(path, images, 10)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b2.jpg", "b10.jpg"):
        image = cv2.cvtColor(read_stills()["three_people.jpg"].image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / name), image)
    return folder


Analyze = Callable[..., tuple[str, str]]


@pytest.fixture
def analyze(capsys: pytest.CaptureFixture[str]) -> Analyze:
    """`moppet analyze`, which must end with a code; what it prints."""

    def run(*arguments: Any, code: int = 0) -> tuple[str, str]:
        done = run_moppet(capsys, "analyze", *arguments)
        assert done.code == code, done.err
        return done.out, done.err

    return run


def test_results_of_another_recording_are_not_overwritten(
    analyze: Analyze, tmp_path: Path, model: Path
) -> None:
    one = write_clip(tmp_path / "a" / "s1.mp4", 100)
    other = write_clip(tmp_path / "b" / "s1.mp4", 200)
    results = tmp_path / "results"
    common = ("-o", results, "--model", model, "--no-report")
    analyze(one, *common)
    before = (results / "s1" / "timeline.parquet").read_bytes()
    _, err = analyze(other, *common, code=1)
    assert "holds the results of another recording, s1.mp4" in err and "-o" in err
    assert (results / "s1" / "timeline.parquet").read_bytes() == before
    analyze(one, *common)  # the same recording again is no other one


def test_every_format_of_an_earlier_run_is_written_anew(
    analyze: Analyze, tmp_path: Path, model: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    common = (clip, "-o", tmp_path / "r", "--model", model, "--no-report")
    analyze(*common, "--format", "csv")
    analyze(*common, "--every", "2")
    found = [read_timeline(tmp_path / "r" / "clip" / f"timeline.{k}") for k in ("csv", "parquet")]
    assert [one.metadata["settings"]["every"] for one in found] == [2, 2]


def test_photos_have_their_file_names_and_nobody_is_followed(
    analyze: Analyze, tmp_path: Path, model: Path, photos: Path
) -> None:
    out, _ = analyze(photos, "-o", tmp_path / "r", "--model", model, "--no-report")
    assert "photos.csv" in out and "face 0" not in out
    timeline = read_timeline(tmp_path / "r" / "photos" / "timeline.parquet")
    assert timeline.metadata["files"] == ["b2.jpg", "b10.jpg"]
    assert timeline.table["face_id"].to_pylist() == [0, 1, 2, 3, 4, 5]
    with (tmp_path / "r" / "photos" / "photos.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["b2.jpg"] * 3 + ["b10.jpg"] * 3
    assert [float(r["box_x"]) for r in rows] == timeline.table["box_x"].to_pylist()


def test_what_a_folder_holds_and_is_not_read_is_named(
    analyze: Analyze, tmp_path: Path, model: Path, photos: Path
) -> None:
    write_clip(photos / "clip.mp4")
    (photos / "sub").mkdir()
    (photos / "notes.txt").write_text("nap at two")
    (photos / ".hidden").write_text("")
    out, err = analyze(photos, "-o", tmp_path / "r", "--model", model, "--no-report")
    assert "clip.mp4: 4 frames" in out
    assert f"not read in {photos}: b2.jpg, b10.jpg, notes.txt." in err


def test_a_sequence_of_images_is_a_film(
    analyze: Analyze, tmp_path: Path, model: Path, photos: Path
) -> None:
    analyze(photos, "-o", tmp_path / "r", "--model", model, "--no-report")
    out, _ = analyze(photos, "-o", tmp_path / "r", "--model", model, "--no-report", "--sequence")
    assert "face 0" in out and "photos.csv" not in out
    assert not (tmp_path / "r" / "photos" / "photos.csv").exists()  # nothing of it is left
    timeline = read_timeline(tmp_path / "r" / "photos" / "timeline.parquet")
    assert timeline.table["face_id"].to_pylist() == [0, 1, 2, 0, 1, 2]


def test_a_single_photo_prints_its_reading(analyze: Analyze, tmp_path: Path, model: Path) -> None:
    still = Path(__file__).parent / "pictures" / "age05_asian_happiness.jpg"
    out, _ = analyze(still, "-o", tmp_path / "r", "--model", model, "--no-report")
    (row,) = read_timeline(
        tmp_path / "r" / "age05_asian_happiness" / "timeline.parquet"
    ).table.to_pylist()
    assert "1 image in" in out
    assert f"{row['expression']} [{row['group']}], confidence {row['confidence']:.0%}" in out


def test_an_unexpected_error_fails_one_recording_by_name_and_leaves_a_log(
    analyze: Analyze, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, good = write_clip(tmp_path / "odd.mp4", 10), write_clip(tmp_path / "good.mp4", 20)
    real = pipeline.read_frames

    def read(source: Any, **options: Any) -> Any:
        if "odd" in str(source):
            raise ZeroDivisionError("the decoder\ndivides")
        return real(source, **options)

    monkeypatch.setattr(pipeline, "read_frames", read)
    common = ("-o", tmp_path / "r", "--model", model, "--no-report", "-j", "1")
    out, err = analyze(odd, good, *common, code=1)
    log = tmp_path / "r" / "odd" / "error.log"
    assert f"{odd} could not be analyzed (ZeroDivisionError: the decoder divides)" in err
    assert str(log) in err and "1 read, 1 failed" in out and "Traceback" not in err
    assert "ZeroDivisionError" in log.read_text()
    assert read_timeline(tmp_path / "r" / "good" / "timeline.parquet").metadata["complete"]


def test_a_refused_recording_leaves_no_folder(
    analyze: Analyze, tmp_path: Path, model: Path
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video\n" * 400)
    clip = write_clip(tmp_path / "clip.mp4")
    common = ("-o", tmp_path / "r", "--model", model)
    analyze(text, *common, code=1)
    analyze(clip, *common, "--start", "50", code=2)
    assert list((tmp_path / "r").iterdir()) == [] if (tmp_path / "r").exists() else True


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_a_name_of_bytes_that_are_no_text_is_read(tmp_path: Path, model: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    name = os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff\xfe.mp4")
    shutil.move(clip, name)
    command = [sys.executable, "-m", "moppet", "analyze", name, "-o", tmp_path / "r"]
    done = subprocess.run(
        [*command, "--model", model, "--format", "csv,json,parquet"], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert b"odd\\udcff\\udcfe.mp4: 4 frames" in done.stdout
    (folder,) = (tmp_path / "r").iterdir()
    assert read_timeline(folder / "timeline.csv").metadata["source_name"] == "odd��.mp4"


def test_assumptions_about_time_are_printed_and_kept(
    analyze: Analyze, tmp_path: Path, model: Path
) -> None:
    part = write_video(tmp_path / "part.ts", [np.full((96, 128, 3), 90, np.uint8)] * 20, 10)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    out, _ = analyze(joined, "-o", tmp_path / "r", "--model", model, "--no-report")
    metadata = read_timeline(tmp_path / "r" / "joined" / "timeline.parquet").metadata
    assert "note: the time stamps start anew at 2.00 s" in out
    assert metadata["clock"] == {"joints_s": [2.0]}
    assert metadata["duration_s"] == pytest.approx(4.0)


def write_offset(path: Path, start_s: float, *, sound: bool) -> Path:
    """Two seconds of images whose first is stamped start_s; with sound, that starts at 0."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        if audio is not None:
            samples = np.zeros((1, round(8000 * (start_s + 2))), np.float32)
            silence = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, 0
            container.mux([*audio.encode(silence), *audio.encode(None)])
        for number in range(20):
            image = np.full((96, 128, 3), 90, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number + round(10 * start_s), Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "start_s", "sound", "length_s"),
    [("late.mkv", 3600, False, 2.0), ("sound_first.mp4", 1.5, True, 3.5)],
)
def test_exports_last_as_long_as_the_frames(
    analyze: Analyze,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    model: Path,
    name: str,
    start_s: float,
    sound: bool,
    length_s: float,
) -> None:
    clip = write_offset(tmp_path / name, start_s, sound=sound)
    analyze(clip, "-o", tmp_path / "r", "--model", model, "--no-report")
    folder = tmp_path / "r" / clip.stem
    run_moppet(capsys, "export", folder / "timeline.parquet", "--format", "textgrid,boris")
    assert read_timeline(folder / "timeline.parquet").metadata["duration_s"] == pytest.approx(
        length_s, abs=0.05
    )
    (xmax, *_) = re.findall(r"xmax = (\S+)", (folder / f"{clip.stem}.TextGrid").read_text())
    project = json.loads((folder / f"{clip.stem}.boris").read_text())
    (observation,) = project["observations"].values()
    (boris_s,) = observation["media_info"]["length"].values()
    assert [float(xmax), boris_s] == pytest.approx([length_s] * 2, abs=0.05)


def test_a_second_analysis_keeps_the_names_and_corrections_of_the_recording(
    analyze: Analyze, tmp_path: Path, model: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    image = read_stills()["three_people.jpg"].image
    write_video(clip, [image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]] * 12, 10)
    analyze(clip, "-o", tmp_path, "--model", model)
    path = tmp_path / "clip" / "timeline.parquet"
    sha256 = read_timeline(path).metadata["source_sha256"]
    People((Person("Ann", "child", (Piece(0),)),)).write(people_path(path), sha256)
    label = read_timeline(path).names[0]
    for face_id in (0, 40):
        add_correction(
            *(corrections_path(path),),
            **{"face_id": face_id, "start_s": 0.0, "end_s": 1.0, "label": label},
            **{"by": "AB", "at": "2026-11-21", "source_sha256": sha256},
        )
        out, error = analyze(clip, "-o", tmp_path, "--model", model)
        fits = face_id == 0
        assert ("Ann (child)" in out and "with 1 correction by AB" in out) is fits
        assert ("left out: Correction 2" in error) is not fits
        page = (tmp_path / "clip" / "report.html").read_text(encoding="utf-8")
        assert ("Ann" in page) is fits
        assert "people" not in read_timeline(path).metadata  # the timeline stays the machine's


def test_files_of_two_recordings_of_one_name_do_not_replace_each_other(
    analyze: Analyze, capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    paths = []
    for place, shade in (("a", 90), ("b", 160)):
        clip = write_clip(tmp_path / place / "s1.mp4", shade)
        options = ("--model", model, "--no-report", "--format", "parquet,csv")
        analyze(clip, "-o", tmp_path / f"results_{place}", *options)
        paths.append(tmp_path / f"results_{place}" / "s1" / "timeline.parquet")
    done = run_moppet(capsys, "export", *paths, "-o", tmp_path / "out")
    assert done.code == 2 and "both of a recording called s1" in done.err
    assert not (tmp_path / "out").exists()
    other = tmp_path / "b" / "s1.mp4"
    done = run_moppet(capsys, "report", paths[0], "--show-faces", other, "-o", tmp_path / "r.html")
    assert done.code == 2 and "belongs to another recording" in done.err
    same = paths[0].with_suffix(".csv")  # the same recording's: nothing is lost
    assert run_moppet(capsys, "export", paths[0], same, "-o", tmp_path / "out").code == 0
    assert run_moppet(capsys, "export", *paths, "--format", "summary", "-o", tmp_path).code == 0
    with (tmp_path / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["recording"] for row in rows] == ["s1.mp4"] * 2
    assert [row["timeline"] for row in rows] == [str(path) for path in paths]
    assert len({row["source_sha256"] for row in rows}) == 2
