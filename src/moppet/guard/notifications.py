"""Notifications of a guard: sound, local commands and webhooks."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from moppet.guard.event_log import COLUMNS, EventLog
from moppet.values import MoppetError, UsageError

COMMAND_S: Final = 10.0
WEBHOOK_S: Final = 5.0
_MAX_RUNNING: Final = 4
_PLAYERS: Final = ("paplay", "pw-play", "afplay", "aplay -q", "ffplay -nodisp -autoexit -v quiet")


@dataclass(frozen=True)
class Channels:
    """What to do on an event.

    on_alert, on_pause, on_resume: commands to run. sound: "bell" (the terminal bell), "none", or
    a sound file for an installed player. webhook: http or https address that receives the alerts.
    """

    on_alert: str | None = None
    on_pause: str | None = None
    on_resume: str | None = None
    sound: str = "bell"
    webhook: str | None = None


class Alerts:
    """Sends notifications of events; failures are printed to stderr.

    Raises UsageError for a command, sound or address that cannot be used.
    """

    def __init__(self, channels: Channels) -> None:
        self._commands = {
            kind: _split(getattr(channels, f"on_{kind}"), f"--on-{kind}")
            for kind in ("alert", "pause", "resume")
        }
        self._bell = channels.sound == "bell"
        if channels.sound not in ("bell", "none"):
            self._commands["alert"].append(_player(channels.sound))
        self._webhook = channels.webhook and _web_address(channels.webhook)
        self._threads: dict[str, list[threading.Thread]] = {"command": [], "call": []}
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def webhook_host(self) -> str | None:
        """The host that receives the alerts; None without a webhook."""
        return urlsplit(self._webhook).hostname if self._webhook else None

    def send(self, record: Mapping[str, Any]) -> None:
        """Send an event record (see `event_record`); "stopped" is treated as an alert."""
        kind = "alert" if record["event"] == "stopped" else str(record["event"])
        shown = {name: record.get(name) for name in COLUMNS}
        for command in self._commands.get(kind, []):
            refusal = f"{Path(command[0]).name} was not started: {_MAX_RUNNING} commands are still"
            self._start("command", f"{refusal} running", self._run, command, shown)
        if kind != "alert":
            return
        if self._bell and sys.stderr.isatty():
            print("\a", end="", file=sys.stderr, flush=True)
        if self._webhook:
            refusal = f"the webhook was not called: {_MAX_RUNNING} calls are still waiting"
            self._start("call", refusal, _post, self._webhook, shown)

    def _start(self, kind: str, refusal: str, task: Callable[..., None], *arguments: Any) -> None:
        """Start a task in a thread, so that the guard never waits for it."""
        alive = [thread for thread in self._threads[kind] if thread.is_alive()]
        self._threads[kind] = alive
        if len(alive) >= _MAX_RUNNING:
            return _warn(refusal)
        alive.append(threading.Thread(target=task, args=arguments, daemon=True))
        alive[-1].start()

    def _run(self, command: list[str], shown: Mapping[str, Any]) -> None:
        """Run a command, and end it with its children if it takes longer than COMMAND_S."""
        name = Path(command[0]).name
        fields = {f"MOPPET_{key.upper()}": _text(value) for key, value in shown.items()}
        # Without those of the user's own, which would look like fields of this event.
        others = {key: value for key, value in os.environ.items() if key[:7] != "MOPPET_"}
        try:
            process = subprocess.Popen(
                command,
                env=others | fields,
                stdin=subprocess.DEVNULL,
                stdout=2,  # stdout is the guard's own
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return _warn(f"{name} could not be started: {error}")
        self._processes.append(process)
        try:
            if code := process.wait(COMMAND_S):
                _warn(f"{name} failed with exit code {code}")
        except subprocess.TimeoutExpired:
            _kill(process)
            _warn(f"{name} was stopped: it ran for more than {COMMAND_S:g} s")
        self._processes.remove(process)

    def finish(self) -> None:
        """Wait for running commands and webhook calls, then stop them."""
        try:
            for thread in itertools.chain(*self._threads.values()):
                thread.join(COMMAND_S + 1)
        finally:
            for process in list(self._processes):
                _kill(process)


def _split(command: str | None, option: str) -> list[list[str]]:
    """Return a command split into words as by a shell, after checking that it can be started."""
    if command is None:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{option} {command!r} cannot be split into words: {error}.") from None
    if not words or shutil.which(words[0]) is None:
        raise UsageError(
            f"{option} needs an executable program, got {words[0] if words else ''!r}. The command "
            "runs without a shell; for pipes and variables use sh -c '…'."
        )
    return [words]


def _player(sound: str) -> list[str]:
    """Return the command that plays a sound file."""
    if not Path(sound).is_file():
        raise UsageError(f"--sound takes bell, none or a sound file, but there is no {sound}.")
    for player in _PLAYERS:
        if shutil.which(player.split()[0]):
            return [*player.split(), str(Path(sound).resolve())]
    names = ", ".join(player.split()[0] for player in _PLAYERS)
    raise UsageError(f"--sound FILE needs one of {names}; install one, or use --sound bell.")


def _web_address(address: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname:
            return address
    raise UsageError(f"--webhook takes an address such as https://host/path, not {address!r}.")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: alerts are sent only to the address that the user entered."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(address: str, shown: Mapping[str, Any]) -> None:
    """Send an event once, with a timeout. Failures are reported, not retried."""
    host = urlsplit(address).hostname
    request = urllib.request.Request(
        address,
        data=json.dumps(shown).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "moppet"},
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=WEBHOOK_S):
            return
    except urllib.error.HTTPError as error:
        _warn(f"the webhook at {host} answered {error.code}")
    except Exception as error:  # of any kind: an error in a thread would print a traceback
        _warn(f"the webhook at {host} was not reached: {getattr(error, 'reason', error)}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):  # it has already ended
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


class Notifier:
    """Sends notifications and writes them to an optional log. Log errors do not stop the guard."""

    def __init__(self, alerts: Alerts, log: EventLog | None) -> None:
        self.alerts, self._log = alerts, log

    def log_start(self, model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Record the start of a run and return the record."""
        about = {"moppet_version": version("moppet"), "model": model, "settings": dict(settings)}
        return self.log({"event": "start", "at": now(), **about})

    def send(self, record: dict[str, Any]) -> dict[str, Any]:
        """Send a record as a notification, then log it."""
        self.alerts.send(record)
        return self.log(record)

    def log(self, record: dict[str, Any]) -> dict[str, Any]:
        """Log a record and return it. If the log cannot be written, logging stops."""
        if self._log is not None:
            try:
                self._log.write(record)
            except MoppetError as error:
                self._log = None
                print_note(f"{error} The guard continues without its log.")
        return record

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()


def now() -> str:
    """Return the time of day in UTC, ISO 8601, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def print_note(text: str) -> None:
    """Print a note to stderr; stdout is reserved for events."""
    print(f"moppet: {text}", file=sys.stderr, flush=True)


def _warn(text: str) -> None:
    print_note(f"{text}; the guard continues.")
