"""`moppet watch` as people meet it: a video in; events, a log and a summary out."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import Done, Run, run_moppet
from model_folder import write_whole_model
from moppet.commands import watch as watch_module
from moppet.guard import (
    DEFAULT_RULES,
    DISTRESS_RULES,
    DistressScore,
    EventLog,
    read_log,
    write_csv,
)
from moppet.guard.distress import write_distress
from moppet.values import EXPRESSIONS, MediaError, MoppetError, UsageError
from rendered import write_video

EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"
RULE = "sadness >= 60 % for 1 s -> pause; again within 1 min -> pause and alert"


def records(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture
def moppet(capfd: pytest.CaptureFixture[str]) -> Run:
    return partial(run_moppet, capfd)


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of nobody."""
    image = np.full((64, 64, 3), 120, np.uint8)
    return write_video(tmp_path_factory.mktemp("blank") / "blank.mp4", [image] * 20, fps=10)


def row(time_s: float, sadness: float) -> dict[str, Any]:
    shown = {f"s_{name}": 0.0 for name in EXPRESSIONS} | {"s_sadness": sadness}
    about = {"time_s": time_s, "status": "ok", "unsure": False, "face_id": 3}
    return about | {"box_w": 50.0, "box_h": 60.0} | shown


@pytest.fixture
def sad(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stream show a child who is sad from 1 s to 3 s and from 15 s to 18 s."""

    def stream(*_: Any, **__: Any) -> Iterator[list[dict[str, Any]]]:
        for i in range(200):
            is_sad = 10 <= i < 30 or 150 <= i < 180
            yield [row(i / 10, 0.9 if is_sad else 0.0)]

    monkeypatch.setattr("moppet.infer.pipeline.stream", stream)


def test_a_video_of_nobody_pauses_by_its_own_rule(moppet: Run, blank: Path) -> None:
    done = moppet("watch", blank, "--rule", "no face for 1 s → pause", "--sound", "none")
    assert done.code == 0 and done.err == ""
    lines = done.out.splitlines()
    assert lines[1] == "  no face for 1 s -> pause"
    assert " ".join(lines[2].split()) == "1.0 s pause no face for 1 s -> pause"
    assert "missing 1.9 s" in lines[3] and lines[4] == "Pauses: 1 (0.9 s), alerts: 0"


def test_json_lines_tell_begin_events_and_end(moppet: Run, blank: Path, sad: None) -> None:
    done = moppet("watch", blank, "--rule", RULE, "--json")
    assert done.code == 0 and done.err == ""
    told = [(record["event"], record.get("time_s")) for record in records(done)]
    assert told == [
        ("start", None), ("pause", 2.0), ("resume", 8.0), ("pause", 16.0), ("alert", 16.0),
        ("end", None),
    ]  # fmt: skip
    start, pause, end = records(done)[0], records(done)[1], records(done)[-1]
    assert start["settings"]["rules"] == RULE.split("; ")
    assert (pause["face_id"], pause["value"], pause["counted_s"]) == (3, 0.9, 1.0)
    assert pause["why"]["value"][-1] == 0.9 and pause["why"]["time_s"][-1] == 2.0
    assert end["events"] == {"pause": 2, "alert": 1, "resume": 1}


def test_a_log_holds_what_json_tells_and_grows_run_by_run(
    moppet: Run, blank: Path, sad: None, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "guard.jsonl"
    done = moppet("watch", blank, "--rule", RULE, "--json", "--log", log)
    assert [json.loads(line) for line in log.read_text().splitlines()] == records(done)
    moppet("watch", blank, "--rule", RULE, "--log", log)
    assert [record["event"] for record in read_log(log)] == 2 * [
        "pause", "resume", "pause", "alert"
    ]  # fmt: skip
    exported = write_csv(read_log(log), tmp_path / "guard.csv")
    rows = list(csv.DictReader(io.StringIO(exported.read_text())))
    assert len(rows) == 8 and rows[0]["rule"] == RULE.split("; ")[0]
    assert rows[0]["time_s"] == "2.0" and rows[0]["value"] == "0.9"


def test_a_csv_log_has_one_header_and_a_line_an_event(
    moppet: Run, blank: Path, sad: None, tmp_path: Path
) -> None:
    log = tmp_path / "guard.csv"
    for _ in range(2):
        assert moppet("watch", blank, "--rule", RULE, "--log", log).code == 0
    header, *lines = list(csv.reader(io.StringIO(log.read_text())))
    assert header == ["at", "event", "time_s", "rule", "face_id", "value", "counted_s"]
    assert [line[1] for line in lines] == 2 * ["pause", "resume", "pause", "alert"]


def test_commands_run_on_their_events(moppet: Run, blank: Path, sad: None, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = f"sh -c 'echo $MOPPET_EVENT $MOPPET_TIME_S >> {out}'"
    done = moppet(
        "watch", blank, "--rule", RULE, "--on-pause", command, "--on-resume", command,
        "--on-alert", command,
    )  # fmt: skip
    assert done.code == 0
    assert sorted(out.read_text().splitlines()) == [
        "alert 16.000", "pause 16.000", "pause 2.000", "resume 8.000"
    ]  # fmt: skip


def test_neither_a_failing_command_nor_a_full_disk_stops_the_guard(
    moppet: Run, blank: Path, sad: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = EventLog.write

    def write(self: EventLog, record: dict[str, Any]) -> None:
        if record["event"] == "pause":
            raise MoppetError("guard.jsonl cannot be written: No space left on device.")
        real(self, record)

    monkeypatch.setattr(EventLog, "write", write)
    done = moppet(
        "watch",
        blank,
        "--rule",
        RULE,
        "--json",
        "--log",
        tmp_path / "g.jsonl",
        "--on-pause",
        "false",
    )
    assert done.code == 0 and "Traceback" not in done.err
    assert [record["event"] for record in records(done)][-1] == "end"
    assert done.err.count("false failed with exit code 1") == 2
    assert done.err.count("No space left on device") == 1


def test_a_camera_that_breaks_off_calls_for_help(
    moppet: Run, blank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream(*_: Any, **__: Any) -> Iterator[list[dict[str, Any]]]:
        yield [row(0.0, 0.0)]
        yield [row(0.1, 0.0)]
        raise MediaError("camera 0 gives no more images: check its plug.")

    monkeypatch.setattr("moppet.infer.pipeline.stream", stream)
    out = tmp_path / "out"
    done = moppet("watch", blank, "--on-alert", f"sh -c 'echo $MOPPET_EVENT > {out}'", "--json")
    assert done.code == 1 and out.read_text() == "stopped\n"
    assert done.err == "moppet: camera 0 gives no more images: check its plug.\n"
    assert [record["event"] for record in records(done)] == ["start", "stopped", "end"]


def test_ctrl_c_ends_it_with_a_summary(blank: Path) -> None:
    code = (
        "import sys, time; from moppet.commands import main as cli\n"
        "from moppet.infer import pipeline\n"
        "real = pipeline.stream\n"
        "def stream(*a, **k):\n"
        "    for rows in real(*a, **k):\n"
        "        yield rows\n"
        "        if rows[0]['frame'] == 9: print('waiting', file=sys.stderr, flush=True); "
        "time.sleep(600)\n"
        "pipeline.stream = stream; cli.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "watch", str(blank)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == "waiting\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0 and err == ""
    assert "Watched 0.9 s" in out and "alerts: 0" in out


def test_real_time_keeps_the_video_s_own_pace(
    moppet: Run, blank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(watch_module.time, "sleep", slept.append)
    monkeypatch.setattr(watch_module.time, "monotonic", lambda: 100.0)
    assert moppet("watch", blank, "--real-time").code == 0
    assert slept[:20] == pytest.approx([i / 10 for i in range(20)])


def test_frames_far_apart_are_said_to_be_unwatched(
    moppet: Run, blank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [[row(1.5 * i, 0.9)] for i in range(20)]
    monkeypatch.setattr("moppet.infer.pipeline.stream", lambda *_, **__: iter(frames))
    done = moppet("watch", blank, "--json")
    assert done.err.count("this time is not watched") == 1
    assert records(done)[-1]["unwatched_s"] == 28.5


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--rule", "negative > 60 % for 4 s -> pause"], 2, "rule 1 of --rule"),
        (["--rule", "negativ >= 60 % for 4 s -> pause"], 2, "Did you mean 'negative'?"),
        (["--rules", "nothing.toml"], 2, "nothing.toml cannot be read"),
        (["--child", "tallest"], 2, "'largest' or 'longest'"),
        (["--log", "guard.txt"], 2, ".jsonl or .csv"),
        (["--log", "/proc/nothing/guard.csv"], 1, "cannot be written"),
        (["--on-alert", "there-is-no-such-program"], 2, "--on-alert"),
        (["--webhook", "host/path"], 2, "--webhook"),
        (["--model", "nothing"], 1, "nothing"),
    ],
)
def test_mistakes_end_in_one_sentence(
    moppet: Run, blank: Path, options: list[str], code: int, says: str
) -> None:
    done = moppet("watch", blank, *options)
    assert done.code == code and says in done.err and done.out == ""
    assert done.err.startswith("moppet: ") and done.err.endswith((".\n", "?\n"))
    assert done.err.count("\n") == 1 and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("source", "code"), [("nothing.mp4", 1), ("camera:77", 1), ("camera:x", 2), ("camera:", 2)]
)
def test_a_source_that_is_not_there_ends_in_one_sentence(
    moppet: Run, source: str, code: int
) -> None:
    done = moppet("watch", source)
    assert done.code == code and done.err.count("\n") == 1 and done.out == ""


def test_images_are_no_recording(moppet: Run) -> None:
    done = moppet("watch", Path(__file__).parent / "pictures")
    assert done.code == 2 and "holds images" in done.err


def test_rules_on_the_command_line_take_the_place_of_the_file_s(
    moppet: Run, blank: Path, tmp_path: Path
) -> None:
    path = tmp_path / "guard.toml"
    path.write_text('rules = ["no face for 5 s -> alert"]\ncalm_s = 2\n')
    settings = records(moppet("watch", blank, "--rules", path, "--json"))[0]["settings"]
    assert (settings["rules"], settings["calm_s"]) == (["no face for 5 s -> alert"], 2)
    own = ("--rule", "no face for 9 s -> pause", "--json")
    settings = records(moppet("watch", blank, "--rules", path, *own))[0]["settings"]
    assert (settings["rules"], settings["calm_s"]) == (["no face for 9 s -> pause"], 2)


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "guard.jsonl"
    for text in ("shopping list", "[1]", '{"a": 1}', "3"):
        path.write_text(text)
        with pytest.raises(MoppetError, match="not a guard log"):
            read_log(path)
    with pytest.raises(MoppetError, match="cannot be read"):
        read_log(tmp_path / "missing.jsonl")
    with pytest.raises(UsageError, match=r"guard\.txt"):
        EventLog(tmp_path / "guard.txt")


def test_the_command_is_listed_with_an_example(moppet: Run) -> None:
    done = moppet("watch", "--help")
    assert done.code == 0 and "moppet watch camera:0" in done.out
    for option in ("--rule", "--rules", "--on-alert", "--on-pause", "--webhook", "--log", "--json"):
        assert option in done.out


# ------------------------------------------------------------------- a model with a distress score


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """A model folder with a score that is high for every face."""
    calm = {"d_negative": (-1.0, 0.0), "m_jaw_open": (0.0,)}
    score = DistressScore(6.0, calm, {"d_negative": 0.1}, {"m_jaw_open": 0.1})
    model = write_whole_model(tmp_path / "scored")
    write_distress(model / "card.toml", score.to_toml())
    return model


def test_a_model_with_a_score_is_watched_by_it(moppet: Run, scored: Path) -> None:
    done = moppet("watch", EXAMPLE, "--model", scored, "--json")
    assert done.code == 0, done.err
    start, pause = records(done)[:2]
    assert start["settings"]["rules"] == list(DISTRESS_RULES)
    assert (pause["event"], pause["rule"]) == ("pause", DISTRESS_RULES[0])
    assert pause["value"] > 0.9 and pause["counted_s"] == pytest.approx(4, abs=0.1)


def test_the_score_gets_its_reading_whichever_decides(moppet: Run, scored: Path) -> None:
    for reading in ("observers", "display", "both"):
        done = moppet("watch", EXAMPLE, "--model", scored, "--json", "--reading", reading)
        assert done.code == 0 and records(done)[1]["rule"] == DISTRESS_RULES[0], done.err


def test_a_file_without_rules_takes_the_model_s(
    moppet: Run, blank: Path, scored: Path, tmp_path: Path
) -> None:
    path = tmp_path / "guard.toml"
    path.write_text("calm_s = 2\n")
    done = moppet("watch", blank, "--model", scored, "--rules", path, "--json")
    settings = records(done)[0]["settings"]
    assert (settings["rules"], settings["calm_s"]) == (list(DISTRESS_RULES), 2)
    settings = records(moppet("watch", blank, "--rules", path, "--json"))[0]["settings"]
    assert settings["rules"] == list(DEFAULT_RULES)


def test_a_score_is_not_read_under_another_prior(moppet: Run, blank: Path, scored: Path) -> None:
    done = moppet("watch", blank, "--model", scored, "--prior", "uniform")
    assert done.code == 2 and "leave out --prior" in done.err and done.out == ""
    rule = ("--rule", "negative >= 60 % for 4 s -> pause")
    assert moppet("watch", blank, "--model", scored, "--prior", "uniform", *rule).code == 0


def test_a_damaged_score_ends_in_one_sentence(moppet: Run, blank: Path, scored: Path) -> None:
    write_distress(scored / "card.toml", "[distress]\nintercept = 1\n")
    done = moppet("watch", blank, "--model", scored)
    assert done.code == 1 and "[distress]" in done.err and done.err.count("\n") < 4


def test_a_rule_about_a_movement_reads_it(moppet: Run, scored: Path) -> None:
    rules = ("--rule", "m_jaw_open >= 1 % for 1 s -> alert", "--sound", "none")
    done = moppet("watch", EXAMPLE, "--model", scored, "--json", *rules)
    assert records(done)[1]["rule"] == "m_jaw_open >= 1 % for 1 s -> alert"
    done = moppet("watch", EXAMPLE, "--rule", "jaw_open >= 1 % for 1 s -> alert")
    assert done.code == 2 and "measures no movements" in done.err
