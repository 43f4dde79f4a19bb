"""Many recordings: folders, parallel processes, the ledger, shards, and what is known of each."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import Done, run_moppet
from model_folder import write_model
from moppet.cohort.ledger import Ledger, LedgerEntry, read_ledger
from moppet.cohort.recording_info import PathPattern
from moppet.cohort.result_folders import result_names
from moppet.cohort.shards import Shard
from moppet.commands import analyze_batch
from moppet.files import file_lock
from moppet.media import FoundRecording
from moppet.processes import Send, WorkerDied, supervise
from moppet.timeline import read_timeline
from moppet.values import UsageError
from rendered import write_video


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def write_clip(path: Path, shade: int, frames: int = 4) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    return write_video(path, [np.full((64, 64, 3), shade, np.uint8)] * frames, 10)


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    """Recordings of two children, of which two have one name, and one that is damaged."""
    for i, name in enumerate(("c01/s1.mp4", "c01/s2.mp4", "c02/s1.mp4")):
        write_clip(tmp_path / "visits" / name, 60 + 40 * i)
    (tmp_path / "visits" / "c02" / "s2.mp4").write_text("a shopping list\n" * 99)
    return tmp_path / "visits"


Analyze = Callable[..., Done]


@pytest.fixture
def analyze(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> Analyze:
    """`moppet analyze` into the folder `r`, one recording after another in this process."""

    def run(*arguments: Any, code: int = 0, jobs: int = 1) -> Done:
        options = ("-o", tmp_path / "r", "--model", model, "--no-report", "-j", jobs)
        done = run_moppet(capsys, "analyze", *arguments, *options)
        assert done.code == code, done.err
        return done

    return run


def timelines(results: Path) -> dict[str, Path]:
    found = results.rglob("timeline.parquet")
    return {path.parent.relative_to(results).as_posix(): path for path in found}


# ------------------------------------------------------------------------------------- folders


def test_recordings_of_a_folder_are_read_in_parallel_and_one_failure_stops_nothing(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    done = analyze(visits, jobs=2, code=1)
    assert set(timelines(tmp_path / "r")) == {"c01/s1.mp4", "c01/s2.mp4", "c02/s1.mp4"}
    assert "4 recordings: 3 read, 1 failed; 12 frames" in done.out
    damaged = str(visits / "c02" / "s2.mp4")
    (reason,) = done.err.splitlines()
    assert damaged in reason and f"failed: {damaged}" in done.out
    assert not (tmp_path / "r" / "c02" / "s2.mp4").exists()
    states = {entry.folder: entry.state for entry in read_ledger(tmp_path / "r")}
    assert states == {**dict.fromkeys(timelines(tmp_path / "r"), "read"), "c02/s2.mp4": "failed"}
    assert not list((tmp_path / "r").rglob(".analyze.lock"))


def test_options_reach_the_processes(analyze: Analyze, visits: Path, tmp_path: Path) -> None:
    options = ("--every", 2, "--end", 0.25, "--smooth", 0, "--device", "auto", "--json")
    one = analyze(visits, *options, code=1)
    alone = {n: read_timeline(path) for n, path in timelines(tmp_path / "r").items()}
    both = analyze(visits, *options, jobs=2, code=1)
    for name, path in timelines(tmp_path / "r").items():
        found = read_timeline(path)
        assert found.table.equals(alone[name].table)
        assert found.metadata["settings"] == alone[name].metadata["settings"]
        assert found.metadata["settings"]["every"] == 2
        assert found.metadata["settings"]["device"] == "auto"
    lines = [sorted(line for line in done.out.splitlines()) for done in (one, both)]
    assert len(lines[0]) == 3 and lines[0] == lines[1]
    assert "3 read, 1 failed" in both.err


def test_resume_reads_only_what_is_missing_new_changed_or_failed(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    analyze(visits, code=1)
    before = {name: path.read_bytes() for name, path in timelines(tmp_path / "r").items()}
    write_clip(visits / "c02" / "s2.mp4", 200)
    write_clip(visits / "c03" / "s1.mp4", 220)
    (tmp_path / "r" / "c01" / "s2.mp4" / "timeline.parquet").unlink()
    done = analyze(visits, "--resume")
    assert "5 recordings: 3 read, 2 already read; 12 frames" in done.out
    after = {name: path.read_bytes() for name, path in timelines(tmp_path / "r").items()}
    assert len(after) == 5
    for kept in ("c01/s1.mp4", "c02/s1.mp4"):
        assert after[kept] == before[kept]
    assert "0 read, 5 already read" in analyze(visits, "--resume").out
    done = analyze(visits, "--resume", "--every", 2)  # other settings: all again
    assert "5 recordings: 5 read;" in done.out


def test_a_replaced_recording_never_gets_the_results_of_another(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    (visits / "c02" / "s2.mp4").unlink()
    analyze(visits)
    before = (tmp_path / "r" / "c01" / "s1.mp4" / "timeline.parquet").read_bytes()
    write_clip(visits / "c01" / "s1.mp4", 250)
    done = analyze(visits, "--resume", code=1)
    assert "holds the results of another recording" in done.err
    assert (tmp_path / "r" / "c01" / "s1.mp4" / "timeline.parquet").read_bytes() == before


def test_a_second_run_into_one_folder_is_refused(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    (tmp_path / "r").mkdir()
    with file_lock(tmp_path / "r" / analyze_batch.LOCK) as is_mine:
        assert is_mine
        done = analyze(visits, code=1)
    assert "another moppet analyze is working at" in done.err and done.err.count("\n") == 1
    assert timelines(tmp_path / "r") == {}
    analyze(visits, code=1)  # the damaged one fails, the others are read
    assert len(timelines(tmp_path / "r")) == 3


def test_a_recording_that_another_run_reads_is_refused(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    place = tmp_path / "r" / "s1"
    place.mkdir(parents=True)
    with file_lock(place / ".analyze.lock"):
        done = analyze(visits / "c01" / "s1.mp4", code=1)
    assert "by another moppet analyze: wait for it" in done.err


def test_results_of_an_earlier_layout_keep_their_folder(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    (visits / "c02" / "s2.mp4").unlink()
    analyze(visits / "c01" / "s1.mp4")
    assert set(timelines(tmp_path / "r")) == {"s1"}
    analyze(visits, "--resume")
    assert set(timelines(tmp_path / "r")) == {"s1", "c01/s2.mp4", "c02/s1.mp4"}


def test_recordings_that_are_one_are_named(analyze: Analyze, visits: Path, tmp_path: Path) -> None:
    shutil.copy(visits / "c01" / "s1.mp4", visits / "c02" / "s2.mp4")
    assert "c01/s1.mp4 and c02/s2.mp4 are the same recording" in analyze(visits).out


def test_no_two_recordings_share_a_folder_and_adding_one_moves_none() -> None:
    def names(*sources: tuple[str, str | None]) -> list[str]:
        return result_names([FoundRecording(*one) for one in sources])

    assert names(("v/a/s1.mp4", "a/s1.mp4"), ("v/s1.mov", "s1.mov")) == ["a/s1.mp4", "s1.mov"]
    assert names(("v/a/s1.mp4", None), ("v/b/s2.mp4", None)) == ["s1", "s2"]
    assert names(("v/a/s1.mp4", None), ("v/b/s1.mp4", None), ("v/c.mp4", None)) == [
        "a/s1.mp4", "b/s1.mp4", "c.mp4",
    ]  # fmt: skip
    assert names(("x/s1.mp4", "s1.mp4"), ("y/s1.mp4", "s1.mp4")) == ["x/s1.mp4", "y/s1.mp4"]


# ------------------------------------------------------------------------------- processes


def echo(task: str, send: Send) -> str:
    """Work of a process: end it, wait for Ctrl-C, or return the task."""
    send(f"begun {task}")
    if task == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "wait":
        try:
            while True:
                time.sleep(0.05)
                send("waiting")
        except KeyboardInterrupt:
            return "stopped"
    return task


def test_a_process_that_dies_ends_its_own_task_alone() -> None:
    told: list[Any] = []
    ends = supervise(
        echo,
        ["a", "kill", "b", "c"],
        2,
        on_message=lambda task, message: told.append((task, message)),
        stopping=lambda: False,
    )
    found = dict(ends)
    died = found.pop("kill")
    assert isinstance(died, WorkerDied) and "SIGKILL" in died.reason and "memory" in died.reason
    assert found == {"a": "a", "b": "b", "c": "c"}
    assert {message for _, message in told} == {f"begun {t}" for t in ("a", "b", "c", "kill")}


def test_a_stop_ends_running_tasks_and_begins_no_other() -> None:
    told: list[Any] = []
    ends = supervise(
        echo,
        ["wait", "a", "b"],
        1,
        on_message=lambda _, message: told.append(message),
        stopping=lambda: "waiting" in told,
    )
    assert list(ends) == [("wait", "stopped")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])  # of a terminal, of Slurm
def test_a_stop_keeps_what_was_read_and_resume_completes_it(
    tmp_path: Path, model: Path, number: signal.Signals
) -> None:
    for i in range(2):
        write_clip(tmp_path / "v" / f"{i}.mp4", 60 + i, frames=1500)
    command = [sys.executable, "-m", "moppet", "analyze", "v", "-o", "r", "--model", str(model)]
    with subprocess.Popen(
        [*command, "--no-report", "-j", "2"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        journals = [tmp_path / "r" / f"{i}.mp4" / "journal.arrows" for i in range(2)]
        while not all(j.exists() and j.stat().st_size > 5000 for j in journals):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, number)  # the processes of the batch get it, too
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "with --resume" in err and "Traceback" not in err
    parts = [read_timeline(path) for path in timelines(tmp_path / "r").values()]
    assert False in [part.metadata["complete"] for part in parts]
    done = subprocess.run(
        [*command, "--no-report", "--resume"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for path in timelines(tmp_path / "r").values():
        assert read_timeline(path).table["frame"].to_pylist() == list(range(1500))


# ------------------------------------------------------------------------------------ shards


def test_shards_take_every_recording_once_and_equally_long() -> None:
    rng = np.random.default_rng(1)
    sizes = [int(size) for size in rng.lognormal(10, 1, 101)]
    parts = [Shard(n, 8).indices(sizes) for n in range(1, 9)]
    assert sorted(i for part in parts for i in part) == list(range(101))
    loads = [sum(sizes[i] for i in part) for part in parts]
    assert max(loads) <= 1.1 * sum(sizes) / 8 or max(loads) == max(sizes)
    assert Shard(1, 8).indices([]) == []


def test_each_shard_reads_its_own_and_resumes_what_any_read(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    (visits / "c02" / "s2.mp4").unlink()
    assert "2 recordings of shard 1/2: 2 read;" in analyze(visits, "--shard", "1/2").out
    assert "1 recording of shard 2/2: 1 read;" in analyze(visits, "--shard", "2/2").out
    assert len(timelines(tmp_path / "r")) == 3
    again = analyze(visits, "--shard", "1/1", "--resume")
    assert "3 recordings of shard 1/1: 0 read, 3 already read" in again.out
    assert "0 recordings of shard 9/9: 0 read" in analyze(visits, "--shard", "9/9").out


@pytest.mark.parametrize("text", ["0/3", "4/3", "a/3", "3", "1/0", "-1/3"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard takes number/count"):
        Shard.read(text)


# ------------------------------------------------------------------- lists, and columns in paths


def write_list(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_columns_of_the_list_travel_with_the_timeline_in_every_format(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    rows = ("path,participant,age_months,room", "visits/c01/s1.mp4,01,14,blue")
    listed = write_list(tmp_path / "recordings.csv", *rows, "c02/s1.mp4,02,,red")
    (visits / "c02" / "s2.mp4").unlink()
    done = analyze(visits, "--recordings", listed, "--format", "parquet,csv,json")
    assert f"1 recording not in {listed}" in done.err and "c01/s2.mp4" in done.err
    for kind in ("parquet", "csv", "json"):
        found = [
            read_timeline(tmp_path / "r" / name / f"timeline.{kind}").metadata.get("recording_info")
            for name in ("c01/s1.mp4", "c01/s2.mp4", "c02/s1.mp4")
        ]
        first = {"participant": "01", "age_months": 14, "room": "blue"}
        assert found == [first, None, {"participant": "02", "room": "red"}]


def test_a_list_alone_names_the_recordings(analyze: Analyze, visits: Path, tmp_path: Path) -> None:
    listed = write_list(tmp_path / "l.csv", "path,participant", "visits/c02/s1.mp4,2")
    analyze("--recordings", listed)
    (name,) = timelines(tmp_path / "r")
    assert name == "visits/c02/s1.mp4"


def test_a_changed_list_changes_the_metadata_and_nothing_is_read_again(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    listed = write_list(tmp_path / "l.csv", "path,participant", "visits/c02/s1.mp4,2")
    analyze("--recordings", listed)
    write_list(listed, "path,participant", "visits/c02/s1.mp4,two")
    assert "0 read, 1 already read" in analyze("--recordings", listed, "--resume").out
    (path,) = timelines(tmp_path / "r").values()
    assert read_timeline(path).metadata["recording_info"] == {"participant": "two"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["path,sex", "visits/c09/s1.mp4,f"], "1 recording that is not there: visits/c09/s1.mp4"),
        (["path", "visits/c01/s1.mp4", "visits/../visits/c01/s1.mp4"], "twice"),
        (["path,sex"], "has no rows"),
        (["file", "visits/c01/s1.mp4"], "needs a column 'path'"),
    ],
)
def test_a_wrong_list_is_one_sentence_before_anything_is_read(
    analyze: Analyze, visits: Path, tmp_path: Path, rows: list[str], said: str
) -> None:
    done = analyze("--recordings", write_list(tmp_path / "l.csv", *rows), code=2)
    assert said in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_two_rows_of_one_recording_are_refused(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    rows = ("path,sex", "visits/c01/s1.mp4,f", "c01/s1.mp4,m")
    done = analyze(visits, "--recordings", write_list(tmp_path / "l.csv", *rows), code=2)
    assert "two rows of" in done.err


def test_rows_without_a_recording_are_counted_and_named(
    analyze: Analyze, visits: Path, tmp_path: Path
) -> None:
    rows = ("path,sex", "visits/c01/s1.mp4,f", "visits/c09.mp4,m", "visits/c02/s1.mp4,m")
    listed = write_list(tmp_path / "l.csv", *rows)
    done = analyze(visits / "c01", "--recordings", listed)
    assert f"{listed} names 1 missing file: visits/c09.mp4." in done.err
    assert f"1 row of {listed} not analyzed in this run: visits/c02/s1.mp4." in done.err


def test_a_pattern_reads_columns_from_paths(analyze: Analyze, visits: Path, tmp_path: Path) -> None:
    shutil.move(visits / "c02" / "s2.mp4", visits / "c02" / "odd name.txt")
    write_clip(visits / "extra.mp4", 222)
    done = analyze(visits, "--pattern", "c{participant}/s{session}")
    assert f"1 recording not matched by the pattern: {visits / 'extra.mp4'}." in done.err
    found = {n: read_timeline(p).metadata for n, p in timelines(tmp_path / "r").items()}
    assert found["c02/s1.mp4"]["recording_info"] == {"participant": "02", "session": 1}
    assert "recording_info" not in found["extra.mp4"]
    done = analyze(visits, "--pattern", "{participant}-{session}", code=2)
    assert "fits no recording" in done.err


def test_patterns_take_the_shortest_texts() -> None:
    pattern = PathPattern("{participant}_{session}")
    assert pattern.info("v/c01_s1_x.mp4") == {"participant": "c01", "session": "s1_x"}
    assert pattern.info("v/c01.mp4") is None
    assert PathPattern("*_{session}").info("v/a_b.c_2.mp4") == {"session": "b.c_2"}
    for odd in ("", "c01", "{}", "{a}{a}", "{path}"):
        with pytest.raises(UsageError, match="--pattern"):
            PathPattern(odd)


def test_a_ledger_that_a_kill_tore_is_read_up_to_there(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, resume=True)
    ledger.add(LedgerEntry("v/a.mp4", "a.mp4", "read", frames=3))
    with ledger.path.open("ab") as file:
        file.write(b'{"recording": "v/b.mp4", "fold')
    again = Ledger(tmp_path, resume=True)
    again.add(LedgerEntry("v/c.mp4", "c.mp4", "failed", reason="It is odd."))
    assert [(one.folder, one.state) for one in read_ledger(tmp_path)] == [
        ("a.mp4", "read"), ("c.mp4", "failed"),
    ]  # fmt: skip
