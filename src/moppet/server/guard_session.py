"""A guard started from the page: its session, events, log and notifications."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from moppet.guard import (
    CHILD,
    DEFAULT_RULES,
    EventLog,
    Guard,
    GuardSettings,
    event_record,
    parse_rules,
    read_log,
)
from moppet.guard.event_log import csv_rows
from moppet.guard.notifications import Alerts, Channels, Notifier, now
from moppet.guard.rules import Child
from moppet.infer.models import find_model, read_card
from moppet.infer.pipeline import LiveReader
from moppet.server.responses import json_of, there
from moppet.values import UsageError

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What the page asks a guard to do.

    goes_on: whether the video goes on by itself once the child was seen calm again.
    """

    settings: GuardSettings
    goes_on: bool = True


def asked_of(told: Json) -> Asked:
    """Return what a page's form says; UsageError, in one sentence, where it cannot be.

    told: "rules" (text, a rule a line or ";" between), "child", "goes_on"; the last two may lack.
    """
    rules, goes_on = told.get("rules"), told.get("goes_on", True)
    if not isinstance(rules, str) or not isinstance(goes_on, bool):
        raise UsageError("A guard needs rules as a text, and goes_on as true or false.")
    child = told.get("child", CHILD[0])
    if not isinstance(child, str):
        raise UsageError("A guard needs the child as a word.")
    return Asked(GuardSettings(parse_rules([rules]), child=cast(Child, child)), goes_on)


class Guarding:
    """One run of a guard: begins with the object, ends with `end`. Alerts go before the log.

    name: of its log. folder: where its log is written, named by the time of its begin.
    Raises UsageError for rules that the model cannot follow, MoppetError where the log cannot be.
    """

    def __init__(self, asked: Asked, reader: LiveReader, folder: Path, alerts: Alerts) -> None:
        self._asked = asked
        self._guard = Guard(asked.settings, reader.names, reader.group_of, reader.settings)
        path = _new_log(folder)
        self.name = path.stem
        self._notifier = Notifier(alerts, EventLog(path))
        self._model = reader.model_name
        self._time_s = 0.0
        self._watches = False
        self._begin()

    @property
    def rules(self) -> list[str]:
        return [str(rule) for rule in self._asked.settings.rules]

    def observe(self, rows: Sequence[Json]) -> list[Json]:
        """Take in a frame's rows; return the records of what is to be done."""
        if not self._watches:
            self._begin()
        self._notifier.alerts.tend()
        self._time_s = float(rows[0]["time_s"])
        told = []
        for event in self._guard.observe(rows):
            record = event_record(event, now())
            if event.kind == "resume" and self._asked.goes_on:
                self._guard.resume(event.time_s)
            elif event.kind == "resume":
                record["event"] = "calm"  # a person must go on
            told.append(self._notifier.send(record))
        return told

    def go_on(self) -> Json | None:
        """Say that a person let the video go on; return the record, None if no rule had paused."""
        rule = self._guard.paused_by
        self._guard.resume(self._time_s)
        if rule is None:
            return None
        record = {"event": "resume", "at": now(), "time_s": round(self._time_s, 3), "rule": rule}
        return self._notifier.send({**record, "by": "hand"})

    def stop(self, reason: str) -> None:
        """Say, once, that nobody watches any more; the next frame begins anew."""
        if self._watches:
            self._watches = False
            self._notifier.send({"event": "stopped", "at": now(), "reason": reason})

    def end(self) -> Json:
        """Close the log; return the summary."""
        summary = asdict(self._guard.summary)
        self._notifier.log({"event": "end", "at": now(), **summary})
        self._notifier.close()
        return summary

    def _begin(self) -> None:
        self._watches = True
        settings = {**self._asked.settings.to_dict(), "goes_on": self._asked.goes_on}
        self._notifier.log_start(self._model, settings)


def _new_log(folder: Path) -> Path:
    """Return the path of a log that is not there yet."""
    while (path := folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl").exists():
        pass
    return path


_LOG: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
_LISTED: Final = 50


def add_guards(site: FastAPI, folder: Path, channels: Channels) -> None:
    """Answer /api/guard…; folder: of the guards' logs."""

    @site.get("/api/guard")
    def about() -> dict[str, Any]:
        """The default rules, and whom the command line named."""
        commands = {name: getattr(channels, f"on_{name}") for name in ("alert", "pause", "resume")}
        return {
            "rules": list(DEFAULT_RULES),
            "commands": {
                name: Path(shlex.split(command)[0]).name for name, command in commands.items()
                if command
            },
            "webhook": Alerts(channels).webhook_host,
        }  # fmt: skip

    @site.post("/api/guard/check")
    async def check(request: Request) -> dict[str, Any]:
        """Say how rules are understood; 400 and the sentence for one that cannot be."""
        settings = asked_of(await json_of(request)).settings
        card = read_card(find_model())
        Guard(settings, [str(name) for name in card["labels"]], card.get("groups", {}))
        return {"rules": [str(rule) for rule in settings.rules]}

    @site.get("/api/guard/logs")
    def logs() -> list[dict[str, Any]]:
        """The latest sessions, the newest first."""
        paths = sorted((p for p in folder.glob("*.jsonl") if _LOG.fullmatch(p.stem)), reverse=True)
        return [_told(path) for path in paths[:_LISTED]]

    @site.get("/api/guard/logs/{name}.{kind}")
    def log(name: str, kind: str) -> Response:
        if not _LOG.fullmatch(name) or kind not in ("jsonl", "csv"):
            raise HTTPException(404)
        path = there(folder / f"{name}.jsonl")
        if kind == "jsonl":
            return FileResponse(path, media_type="application/jsonl", filename=path.name)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(csv_rows(read_log(path)))
        headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
        return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _told(path: Path) -> dict[str, Any]:
    """Return a log's name, when it began and how often what happened."""
    counts = dict.fromkeys(("pause", "alert", "stopped"), 0)
    at = None
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            at = at or record["at"]
            if record["event"] in counts:
                counts[record["event"]] += 1
    except (OSError, ValueError, TypeError, KeyError):
        return {"name": path.stem, "at": at, "error": f"{path.name} is damaged."}
    return {"name": path.stem, "at": at, "events": counts}
