"""A guard session started from the page: its events, log and notifications."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar, Final

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from moppet.guard import (
    EventLog,
    Guard,
    GuardSettings,
    default_rules,
    event_record,
    parse_rules,
    read_log,
)
from moppet.guard.event_log import csv_text, read_records
from moppet.guard.notifications import Alerts, Channels, Notifier, now
from moppet.guard.rules import Child
from moppet.guard.trials import read_measured
from moppet.infer.expression_model import find_model, read_card
from moppet.infer.pipeline import LiveReader
from moppet.server.responses import Json, attachment, body_of, existing_file
from moppet.values import MoppetError

_LONGEST_RULES: Final = 10_000


@dataclass(frozen=True)
class SessionOptions:
    """The form of a guard session.

    rules: one per line, or separated by ";". auto_resume: whether the video resumes by itself once
    the child is calm again.
    """

    RENAMED: ClassVar = {"goes_on": "auto_resume"}

    rules: str
    child: Child = "largest"
    auto_resume: bool = True

    def problems(self) -> list[str]:
        """Return what is wrong with the rules' length."""
        too_long = len(self.rules) > _LONGEST_RULES
        return [f"rules may have at most {_LONGEST_RULES:,} characters."] * too_long

    @property
    def settings(self) -> GuardSettings:
        """The settings of the guard; UsageError for a rule that cannot be understood."""
        return GuardSettings(parse_rules([self.rules]), child=self.child)


class GuardSession:
    """One guard session, from its creation until `end`. Alerts are sent before the log is written.

    name: name of the log. folder: where the log is written; its name is the start time.
    Raises UsageError for rules that the model does not support, MoppetError if the log cannot be
    written.
    """

    def __init__(
        self, options: SessionOptions, reader: LiveReader, folder: Path, alerts: Alerts
    ) -> None:
        self._auto_resume, self._settings = options.auto_resume, options.settings
        self._guard = Guard.from_card(self._settings, reader.card, reader.settings)
        path = _new_log(folder)
        self.name = path.stem
        self._notifier = Notifier(alerts, EventLog(path))
        self._model = reader.model_name
        self._time_s = 0.0
        self._watching = False
        self._begin()

    @property
    def rules(self) -> list[str]:
        return [str(rule) for rule in self._settings.rules]

    def observe(self, rows: Sequence[Json]) -> list[Json]:
        """Process the rows of a frame; return the records of its events."""
        if not self._watching:
            self._begin()
        self._time_s = float(rows[0]["time_s"])
        records = []
        for event in self._guard.observe(rows):
            record = event_record(event, now())
            if event.kind == "resume" and self._auto_resume:
                self._guard.resume(event.time_s)
            elif event.kind == "resume":
                record["event"] = "calm"  # a person must resume the video
            records.append(self._notifier.send(record))
        return records

    def resume(self) -> Json | None:
        """Record that a person resumed the video; return the record, None if no rule had paused."""
        rule = self._guard.paused_by
        self._guard.resume(self._time_s)
        if rule is None:
            return None
        record = {"event": "resume", "at": now(), "time_s": round(self._time_s, 3), "rule": rule}
        return self._notifier.send({**record, "by": "hand"})

    def stop(self, reason: str) -> None:
        """Record, once, that the guard stopped watching; the next frame starts it again."""
        if self._watching:
            self._watching = False
            self._notifier.send({"event": "stopped", "at": now(), "reason": reason})

    def end(self) -> Json:
        """Close the log and return the summary."""
        summary = asdict(self._guard.summary)
        self._notifier.log({"event": "end", "at": now(), **summary})
        self._notifier.close()
        return summary

    def _begin(self) -> None:
        self._watching = True
        settings = {**self._settings.to_dict(), "auto_resume": self._auto_resume}
        self._notifier.log_start(self._model, settings)


def _new_log(folder: Path) -> Path:
    """Return the path of a new log."""
    while (path := folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl").exists():
        pass
    return path


_LOG: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
_LISTED: Final = 50


def add_guards(site: FastAPI, folder: Path, channels: Channels) -> None:
    """Add the routes below /api/guard. folder: of the session logs."""

    @site.get("/api/guard")
    def about() -> Json:
        """Return the default rules, how well they work, and the alerts of the command line."""
        card = read_card(find_model())
        measured = read_measured(card)
        commands = {name: getattr(channels, f"on_{name}") for name in ("alert", "pause", "resume")}
        return {
            "rules": list(default_rules(card)),
            "measured": None if measured is None else asdict(measured),
            "commands": {
                name: Path(shlex.split(command)[0]).name for name, command in commands.items()
                if command
            },
            "webhook": Alerts(channels).webhook_host,
        }  # fmt: skip

    @site.post("/api/guard/check")
    def check(form: Annotated[SessionOptions, body_of(SessionOptions)]) -> Json:
        """Return the rules as they are understood; 400 with one sentence for an invalid rule."""
        settings = form.settings
        Guard.from_card(settings, read_card(find_model()))
        return {"rules": [str(rule) for rule in settings.rules]}

    @site.get("/api/guard/logs")
    def logs() -> list[Json]:
        """Return the latest sessions, newest first."""
        paths = sorted((p for p in folder.glob("*.jsonl") if _LOG.fullmatch(p.stem)), reverse=True)
        return [_log_summary(path) for path in paths[:_LISTED]]

    @site.get("/api/guard/logs/{name}.{kind}")
    def log(name: str, kind: str) -> Response:
        if not _LOG.fullmatch(name) or kind not in ("jsonl", "csv"):
            raise HTTPException(404)
        path = existing_file(folder / f"{name}.jsonl")
        if kind == "jsonl":
            return FileResponse(path, media_type="application/jsonl", filename=path.name)
        text = csv_text(read_log(path))
        return attachment(f"{name}.csv", text, "text/csv; charset=utf-8")


def _log_summary(path: Path) -> Json:
    """Return a log's name, start time and number of events."""
    try:
        records = read_records(path)
    except MoppetError:
        return {"name": path.stem, "at": None, "error": f"{path.name} is damaged."}
    counts = Counter(record["event"] for record in records)
    events = {kind: counts[kind] for kind in ("pause", "alert", "stopped")}
    at = records[0].get("at") if records else None
    return {"name": path.stem, "at": at if isinstance(at, str) else None, "events": events}
