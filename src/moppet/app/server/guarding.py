"""A guard that the page started: events for the page, its log, and whom it calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moppet.app.alerts import Alerts
from moppet.app.telling import Telling, now
from moppet.infer.live import LiveReader
from moppet.timeline.guard import CHILD, EventLog, Guard, GuardSettings, event_record, parse_rules
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
    return Asked(GuardSettings(parse_rules([rules]), child=child), goes_on)


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
        self._telling = Telling(alerts, EventLog(path))
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
        self._telling.alerts.tend()
        self._time_s = float(rows[0]["time_s"])
        told = []
        for event in self._guard.observe(rows):
            record = event_record(event, now())
            if event.kind == "resume" and self._asked.goes_on:
                self._guard.resume(event.time_s)
            elif event.kind == "resume":
                record["event"] = "calm"  # a person must go on
            told.append(self._telling.tell(record))
        return told

    def go_on(self) -> Json | None:
        """Say that a person let the video go on; return the record, None if no rule had paused."""
        rule = self._guard.paused_by
        self._guard.resume(self._time_s)
        if rule is None:
            return None
        record = {"event": "resume", "at": now(), "time_s": round(self._time_s, 3), "rule": rule}
        return self._telling.tell({**record, "by": "hand"})

    def stop(self, reason: str) -> None:
        """Say, once, that nobody watches any more; the next frame begins anew."""
        if self._watches:
            self._watches = False
            self._telling.tell({"event": "stopped", "at": now(), "reason": reason})

    def end(self) -> Json:
        """Close the log; return the summary."""
        summary = asdict(self._guard.summary)
        self._telling.note({"event": "end", "at": now(), **summary})
        self._telling.close()
        return summary

    def _begin(self) -> None:
        self._watches = True
        settings = {**self._asked.settings.to_dict(), "goes_on": self._asked.goes_on}
        self._telling.begin(self._model, settings)


def _new_log(folder: Path) -> Path:
    """Return the path of a log that is not there yet."""
    while (path := folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl").exists():
        pass
    return path
