"""The guard's log of events, as JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

from moppet.config import check_settings
from moppet.files import parse_json, read_bytes, write_text
from moppet.guard.state_machine import Event
from moppet.values import MoppetError, UsageError

LOG_SUFFIXES: Final = (".jsonl", ".csv")
COLUMNS: Final = ("at", "event", "time_s", "rule", "face_id", "value", "counted_s")
_csv_writer: Final = partial(
    csv.DictWriter, fieldnames=COLUMNS, extrasaction="ignore", lineterminator="\n"
)


def event_record(event: Event, at: str) -> dict[str, Any]:
    """Return an event as a JSON record, numbers rounded to 0.001. at: time of day, ISO 8601."""
    why = event.why
    return {
        "event": event.kind,
        "at": at,
        "time_s": _short(event.time_s),
        "rule": event.rule,
        "face_id": event.face_id,
        "value": _short(event.value),
        "counted_s": _short(event.counted_s),
        "why": {
            "time_s": [_short(time_s) for time_s in why.time_s],
            "value": [_short(value) for value in why.value],
            "counts": list(why.counts),
        },
    }


def _short(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def csv_text(records: Iterable[dict[str, Any]]) -> str:
    """Return records as a CSV table with a header; curves are left out."""
    text = io.StringIO()
    rows = _csv_writer(text)
    rows.writeheader()
    rows.writerows(records)
    return text.getvalue()


def write_csv(records: Iterable[dict[str, Any]], path: Path) -> Path:
    """Write records as a CSV and return its path."""
    return write_text(path, csv_text(records))


@dataclass(frozen=True)
class _Record:
    """What a line of a JSON lines log may hold."""

    event: str
    at: str = ""
    time_s: float | None = None
    rule: str | None = None
    face_id: int | None = None
    value: float | None = None
    counted_s: float | None = None


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the events of all runs in a JSON lines log.

    Raises MoppetError if the file cannot be read or is not a guard log.
    """
    return [one for one in read_records(path) if one["event"] in ("pause", "alert", "resume")]


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return every record of a JSON lines log, each with its "event"; errors as in `read_log`."""
    lines = read_bytes(path, "guard log").splitlines()
    try:
        records = [parse_json(line, str(path)) for line in lines if line.strip()]
        for record in records:
            check_settings(_Record, record, others="ignore")
    except MoppetError:
        raise MoppetError(f"{path} is not a guard log: choose a file written by --log.") from None
    return records


class EventLog:
    """A log that appends one line per record and flushes it to disk; earlier runs are kept.

    path: the suffix selects the format, .jsonl or .csv. A .jsonl log also records the start and
    end of each run (`start`, `end`) and the curve that led to each event (`why`).
    Raises UsageError for another suffix, MoppetError if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in LOG_SUFFIXES:
            raise UsageError(
                f"a log file must end in {' or '.join(LOG_SUFFIXES)}, got {path.name}."
            )
        self._path = path
        self._is_csv = path.suffix.lower() == ".csv"
        with self._reporting():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = path.open("a", newline="", encoding="utf-8")
            if self._is_csv and path.stat().st_size == 0:
                _csv_writer(self._file).writeheader()
                self._file.flush()

    def write(self, record: dict[str, Any]) -> None:
        """Append a record. A CSV log keeps events only."""
        with self._reporting():
            if not self._is_csv:
                self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
            elif "time_s" in record:
                _csv_writer(self._file).writerow(record)
            self._file.flush()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MoppetError(f"{self._path} cannot be written: {error.strerror}.") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
