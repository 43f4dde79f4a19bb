"""Stopping an analysis, by Ctrl-C or by a kill, and going on with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_folder
from moppet.commands.analyze import AnalyzeOptions, _analyze_all
from moppet.infer.face_reader import FaceReader
from moppet.infer.pipeline import Analysis, Settings
from moppet.media import recording_sha256
from moppet.timeline import Timeline, read_timeline
from rendered import read_stills, write_video

N_FRAMES, FPS = 48, 20
# `moppet` that waits, after the second half second is done, for what comes.
WAITING = """
import contextlib, sys, time
from moppet.commands import analyze, main as cli
chunks = []
def show(position):
    chunks.append(position)
    if len(chunks) == 2:
        print("waiting", flush=True)
        time.sleep(600)
analyze.watched = lambda unit: contextlib.nullcontext(lambda name, done, total: show(done))
cli.main()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder.write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face that moves, for 2.4 seconds; it is away from 0.6 to 0.9 s."""
    face = read_stills()["age05_asian_happiness.jpg"].image
    frames = [np.roll(face, i, axis=1) for i in range(N_FRAMES)]
    frames[12:18] = [np.full_like(face, 90)] * 6
    return write_video(tmp_path_factory.mktemp("clip") / "child.mp4", frames, FPS)


def make_job(clip: Path, folder: Path, model: Path, **options: Any) -> AnalyzeOptions:
    options = {"no_report": True, **options}
    return AnalyzeOptions(paths=[str(clip)], output=folder, model=str(model), **options)


def analyze_all(options: AnalyzeOptions) -> int:
    settings = Settings(model=options.model, every=options.every, end_s=options.end)
    return _analyze_all(options, settings)


def result(folder: Path) -> Timeline:
    return read_timeline(folder / "child" / "timeline.parquet")


@pytest.fixture(scope="module")
def unbroken(clip: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    folder = tmp_path_factory.mktemp("unbroken")
    assert analyze_all(make_job(clip, folder, model)) == 0
    return result(folder)


def rows(timeline: Timeline) -> list[tuple[Any, ...]]:
    columns = ("frame", "time_s", "face_id", "status")
    return list(zip(*(timeline.table.column(name).to_pylist() for name in columns), strict=True))


def assert_same_rows(timeline: Timeline, unbroken: Timeline) -> None:
    assert timeline.metadata["complete"] is True
    frames = timeline.table.column("frame").to_pylist()
    assert frames == list(range(N_FRAMES))
    assert timeline.table.equals(unbroken.table)


def stop(clip: Path, folder: Path, model: Path, number: signal.Signals) -> tuple[int, str]:
    """Start `moppet analyze` in a process, send it a signal in the middle; its code and stderr."""
    arguments = ["analyze", str(clip), "-o", str(folder), "--model", str(model), "--no-report"]
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert process.stdout.readline() == "waiting\n", process.stderr.read()
            process.send_signal(number)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, err


def test_ctrl_c_leaves_a_valid_partial_timeline_and_resume_completes_it(
    clip: Path, model: Path, unbroken: Timeline, tmp_path: Path
) -> None:
    code, err = stop(clip, tmp_path, model, signal.SIGINT)
    assert code == 130
    assert "--resume" in err and str(tmp_path / "child") in err
    assert err.count("\n") == 1 and "Traceback" not in err
    partial = result(tmp_path)
    assert partial.metadata["complete"] is False
    done = partial.table.num_rows
    assert 0 < done < N_FRAMES
    assert rows(partial) == rows(unbroken)[:done]
    assert analyze_all(make_job(clip, tmp_path, model, resume=True)) == 0
    assert_same_rows(result(tmp_path), unbroken)
    assert not (tmp_path / "child" / "journal.arrows").exists()


def test_after_a_kill_resume_completes_from_the_journal(
    clip: Path,
    model: Path,
    unbroken: Timeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, _ = stop(clip, tmp_path, model, signal.SIGKILL)
    assert code == -signal.SIGKILL
    left = {path.name for path in (tmp_path / "child").iterdir()}
    assert left == {"journal.arrows", ".analyze.lock"}  # the next run takes the lock over
    begun: list[int] = []
    real = FaceReader.find

    def find(self: FaceReader, frames: Any, **options: Any) -> Any:
        begun.append(frames[0].index)
        return real(self, frames, **options)

    monkeypatch.setattr(FaceReader, "find", find)
    assert analyze_all(make_job(clip, tmp_path, model, resume=True)) == 0
    assert begun[0] >= FPS  # a second was done before the kill
    assert_same_rows(result(tmp_path), unbroken)


def test_a_torn_journal_goes_on_from_its_last_whole_half_second(
    clip: Path, model: Path, unbroken: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(2, monkeypatch)
    assert analyze_all(make_job(clip, tmp_path, model)) == 130
    journal = tmp_path / "child" / "journal.arrows"
    journal.write_bytes(journal.read_bytes()[:-100])
    monkeypatch.undo()
    assert analyze_all(make_job(clip, tmp_path, model, resume=True)) == 0
    assert_same_rows(result(tmp_path), unbroken)


def interrupt_after(chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the frames after so many half seconds are read."""
    real = FaceReader.find
    calls = 0

    def find(self: FaceReader, frames: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > chunks:
            raise KeyboardInterrupt
        return real(self, frames, **options)

    monkeypatch.setattr(FaceReader, "find", find)


def test_ctrl_c_before_the_first_row_leaves_what_resume_completes(
    clip: Path,
    model: Path,
    unbroken: Timeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt_after(0, monkeypatch)
    assert analyze_all(make_job(clip, tmp_path, model)) == 130
    assert "--resume" in capsys.readouterr().err
    monkeypatch.undo()
    assert analyze_all(make_job(clip, tmp_path, model, resume=True)) == 0
    assert_same_rows(result(tmp_path), unbroken)


def test_a_partial_timeline_has_a_report_too(
    clip: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(1, monkeypatch)
    job = make_job(clip, tmp_path, model, formats="csv,json", no_report=False)
    assert analyze_all(job) == 130
    names = {path.name for path in (tmp_path / "child").iterdir()}
    assert names >= {"timeline.csv", "timeline.json", "report.html", "journal.arrows"}
    assert read_timeline(tmp_path / "child" / "timeline.csv").metadata["complete"] is False


def test_resume_with_other_settings_is_refused_and_the_journal_kept(
    clip: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt_after(1, monkeypatch)
    assert analyze_all(make_job(clip, tmp_path, model)) == 130
    monkeypatch.undo()
    journal = tmp_path / "child" / "journal.arrows"
    before = journal.read_bytes()
    capsys.readouterr()
    other = make_job(clip, tmp_path, model, every=2, resume=True)
    assert analyze_all(other) == 1
    assert "another settings" in capsys.readouterr().err
    assert journal.read_bytes() == before


def refuse_to_analyze(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished recording was analyzed again")

    monkeypatch.setattr(Analysis, "run", never)


@pytest.mark.parametrize("formats", [("parquet",), ("csv",), ("json", "csv")])
def test_resume_leaves_a_finished_recording_alone(
    clip: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, formats: Any
) -> None:
    kinds = ",".join(formats)
    assert analyze_all(make_job(clip, tmp_path, model, end=0.1, formats=kinds)) == 0
    refuse_to_analyze(monkeypatch)
    again = make_job(clip, tmp_path, model, end=0.1, formats=kinds, resume=True)
    assert analyze_all(again) == 0


def test_resume_makes_a_format_that_a_finished_recording_lacks(
    clip: Path, model: Path, tmp_path: Path
) -> None:
    assert analyze_all(make_job(clip, tmp_path, model, end=0.1)) == 0
    more = make_job(clip, tmp_path, model, end=0.1, formats="parquet,csv", resume=True)
    assert analyze_all(more) == 0
    csv = read_timeline(tmp_path / "child" / "timeline.csv")
    assert rows(csv) == rows(result(tmp_path))


def test_resume_never_takes_another_recordings_result_for_its_own(
    clip: Path, model: Path, tmp_path: Path
) -> None:
    blank = np.full((64, 64, 3), 120, np.uint8)
    (tmp_path / "other").mkdir()
    other = write_video(tmp_path / "other" / "child.mp4", [blank] * 3)
    assert analyze_all(make_job(other, tmp_path, model, end=0.1)) == 0
    code = analyze_all(make_job(clip, tmp_path, model, end=0.1, resume=True))
    assert code != 0 or result(tmp_path).metadata["source_sha256"] == recording_sha256(clip)
