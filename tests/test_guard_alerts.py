"""How people are called: programs and addresses that work, fail, hang or are not there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from moppet.guard import notifications as alerts_module
from moppet.guard.notifications import Alerts, Channels
from moppet.values import UsageError

RECORD = {
    "event": "alert",
    "at": "2026-01-01T00:00:00+00:00",
    "time_s": 12.5,
    "rule": "negative >= 60 % for 4 s -> alert",
    "face_id": 0,
    "value": 0.75,
    "counted_s": 4.0,
    "why": {"time_s": [1, 2], "value": [0.1, None], "counts": [False, False]},
}


def python(code: str) -> str:
    """A command that runs this code."""
    return shlex.join([sys.executable, "-c", code])


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_a_command_gets_the_event_in_its_environment_and_no_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOPPET_PLAIN", "1")  # of the user, and no field of the event
    monkeypatch.setenv("MOPPET_PERSON", "of another event")
    out = tmp_path / "out.json"
    code = (
        "import json, os, sys; json.dump([sys.argv[1:], "
        f"{{k: v for k, v in os.environ.items() if k[:7] == 'MOPPET_'}}], open({str(out)!r}, 'w'))"
    )
    alerts = Alerts(Channels(on_alert=python(code) + " '$HOME; rm x' two"))
    alerts.send(RECORD)
    alerts.finish()
    words, fields = json.loads(out.read_text())
    assert words == ["$HOME; rm x", "two"]
    assert fields == {
        "MOPPET_EVENT": "alert",
        "MOPPET_AT": "2026-01-01T00:00:00+00:00",
        "MOPPET_TIME_S": "12.500",
        "MOPPET_RULE": "negative >= 60 % for 4 s -> alert",
        "MOPPET_FACE_ID": "0",
        "MOPPET_VALUE": "0.750",
        "MOPPET_COUNTED_S": "4.000",
    }


def test_each_kind_of_event_starts_its_own_command(tmp_path: Path) -> None:
    def command(name: str) -> str:
        return python(
            f"import os; open({str(tmp_path / name)!r}, 'a').write(os.environ['MOPPET_EVENT'])"
        )

    alerts = Alerts(Channels(command("alert"), command("pause"), command("resume")))
    for event in ("pause", "resume", "stopped"):
        alerts.send({**RECORD, "event": event})
    alerts.finish()
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert told == {"alert": "stopped", "pause": "pause", "resume": "resume"}


def test_a_failing_command_is_named_and_nothing_else_happens(
    capfd: pytest.CaptureFixture[str],
) -> None:
    alerts = Alerts(Channels(on_alert=python("print('said'); raise SystemExit(3)")))
    alerts.send(RECORD)
    alerts.finish()
    out, err = capfd.readouterr()
    assert out == "" and "said" in err  # stdout belongs to the guard
    assert "failed with exit code 3; the guard continues." in err


def test_a_hanging_command_holds_nothing_up_and_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(alerts_module, "COMMAND_S", 2.0)
    pids = tmp_path / "pids"
    alerts = Alerts(Channels(on_alert=f"sh -c 'sleep 600 & echo $$ $! > {pids}; wait'"))
    started = time.monotonic()
    alerts.send(RECORD)
    assert time.monotonic() - started < 1
    alerts.finish()
    assert 1.5 < time.monotonic() - started < 10
    assert "sh was stopped: it ran for more than 2 s" in capfd.readouterr().err
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())


def test_a_storm_of_events_does_not_become_a_storm_of_commands(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    command = python(f"import time; open({str(log)!r}, 'a').write('x'); time.sleep(1.5)")
    alerts = Alerts(Channels(on_alert=command))
    for _ in range(20):
        alerts.send(RECORD)
    alerts.finish()
    assert log.read_text() == "xxxx"
    assert capfd.readouterr().err.count("was not started") == 16


@pytest.mark.parametrize(
    ("channels", "says"),
    [
        (Channels(on_alert="there-is-no-such-program now"), "'there-is-no-such-program'"),
        (Channels(on_pause="echo 'half"), "--on-pause"),
        (Channels(on_resume=""), "--on-resume"),
        (Channels(sound="nothing.wav"), "--sound"),
        (Channels(webhook="ftp://host/x"), "--webhook"),
        (Channels(webhook="https:///x"), "--webhook"),
        (Channels(webhook="http://[::1"), "--webhook"),
    ],
)
def test_what_cannot_work_is_refused_before_it_is_needed(
    channels: Channels, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError) as refused:
        Alerts(channels)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_a_sound_file_is_played_by_what_is_installed_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, played, bin = tmp_path / "bell.wav", tmp_path / "played", tmp_path / "bin"
    sound.write_bytes(b"RIFF")
    bin.mkdir()
    monkeypatch.setenv("PATH", str(bin))
    with pytest.raises(UsageError, match="aplay"):
        Alerts(Channels(sound=str(sound)))
    (bin / "aplay").write_text(f"#!/bin/sh\necho $@ > {played}\n")
    (bin / "aplay").chmod(0o755)
    alerts = Alerts(Channels(sound=str(sound)))
    alerts.send({**RECORD, "event": "pause"})
    alerts.send(RECORD)
    alerts.finish()
    assert played.read_text() == f"-q {sound}\n"


class _Listener(BaseHTTPRequestHandler):
    seen: list[tuple[str, Any]]
    status = 200
    wait_s = 0.0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, json.loads(body)))
        time.sleep(self.wait_s)
        self.send_response(self.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Listener]]:
    """A web server on this machine; `.seen` is what it was told."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    kind = type("Listener", (_Listener,), {"seen": []})
    server = HTTPServer(("127.0.0.1", 0), kind)
    kind.address = f"http://127.0.0.1:{server.server_port}/hook?key=secret"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield kind
    server.shutdown()
    server.server_close()


def test_a_webhook_is_told_of_alerts_in_numbers(listener: Any) -> None:
    alerts = Alerts(Channels(webhook=listener.address))
    assert alerts.webhook_host == "127.0.0.1"
    alerts.send({**RECORD, "event": "pause"})
    alerts.send(RECORD)
    alerts.finish()
    assert listener.seen == [
        ("/hook?key=secret", {key: value for key, value in RECORD.items() if key != "why"})
    ]


@pytest.mark.parametrize("status", [500, 302, 404])
def test_a_webhook_that_refuses_is_asked_once_and_never_sent_elsewhere(
    listener: Any, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    listener.status = status
    alerts = Alerts(Channels(webhook=listener.address))
    alerts.send(RECORD)
    alerts.finish()
    assert len(listener.seen) == 1
    err = capfd.readouterr().err
    assert err == f"moppet: the webhook at 127.0.0.1 answered {status}; the guard continues.\n"
    assert "secret" not in err


def test_a_slow_webhook_holds_nothing_up(
    listener: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(alerts_module, "WEBHOOK_S", 0.5)
    listener.wait_s = 2.0
    alerts = Alerts(Channels(webhook=listener.address))
    started = time.monotonic()
    for _ in range(10):
        alerts.send(RECORD)
    assert time.monotonic() - started < 0.5
    alerts.finish()
    assert time.monotonic() - started < 5
    err = capfd.readouterr().err
    assert err.count("the webhook was not called") == 6 and "was not reached" in err


def test_nobody_is_told_without_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    alerts = Alerts(Channels())
    assert alerts.webhook_host is None
    alerts.send(RECORD)
    alerts.finish()
