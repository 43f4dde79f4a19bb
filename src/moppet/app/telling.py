"""What a guard says: to people first, then to its log."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from moppet.app.alerts import Alerts
from moppet.timeline.guard import EventLog
from moppet.values import MoppetError


class Telling:
    """Alerts, and a log or none. What fails at writing keeps no alert back, and stops no guard."""

    def __init__(self, alerts: Alerts, log: EventLog | None) -> None:
        self.alerts, self._log = alerts, log

    def begin(self, model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Note which guard begins to watch; return the record."""
        about = {"moppet_version": version("moppet"), "model": model, "settings": dict(settings)}
        return self.note({"event": "start", "at": now(), **about})

    def tell(self, record: dict[str, Any]) -> dict[str, Any]:
        """Tell people of a record, then note it."""
        self.alerts.tell(record)
        return self.note(record)

    def note(self, record: dict[str, Any]) -> dict[str, Any]:
        """Add a record to the log, and return it; a log that cannot be written is given up."""
        if self._log is not None:
            try:
                self._log.write(record)
            except MoppetError as error:
                self._log = None
                say_aside(f"{error} The guard goes on without its log.")
        return record

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()


def now() -> str:
    """Return the time of day, UTC, as logs have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def say_aside(text: str) -> None:
    """Say something on stderr: stdout is for events."""
    print(f"moppet: {text}", file=sys.stderr, flush=True)
