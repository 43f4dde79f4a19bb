"""The guard's log of events, as JSON lines or CSV, and their comparison with coded distress."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from moppet import files
from moppet.config import check_settings
from moppet.files import parse_json, read_bytes, write_text
from moppet.guard.state_machine import Event
from moppet.metrics import Estimate, event_rate, exact_share
from moppet.values import MoppetError, UsageError

LOG_SUFFIXES: Final = (".jsonl", ".csv")
COLUMNS: Final = ("at", "event", "time_s", "rule", "face_id", "value", "counted_s")


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
    return files.csv_text(COLUMNS, map(_row, records))


def write_csv(records: Iterable[dict[str, Any]], path: Path) -> Path:
    """Write records as a CSV and return its path."""
    return write_text(path, csv_text(records))


def _row(record: dict[str, Any]) -> list[Any]:
    return [record.get(name) for name in COLUMNS]


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
                csv.writer(self._file, lineterminator="\n").writerow(COLUMNS)
                self._file.flush()

    def write(self, record: dict[str, Any]) -> None:
        """Append a record. A CSV log keeps events only."""
        with self._reporting():
            if not self._is_csv:
                self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
            elif "time_s" in record:
                csv.writer(self._file, lineterminator="\n").writerow(_row(record))
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


LATE_S: Final = 1.0
"""An event up to this many seconds after the end of a distress still belongs to it."""


class Distress(NamedTuple):
    """An interval in which the child was in distress, in seconds of the recording.

    delay_s: from its start to the guard's first event in it; NaN if the guard missed it.
    """

    start_s: float
    end_s: float
    delay_s: float = math.nan


@dataclass(frozen=True)
class DetectionResult:
    """A guard's events compared with coded distress. calm_s: watched time without distress."""

    distress: tuple[Distress, ...]
    false_alarms_s: tuple[float, ...]
    calm_s: float

    @property
    def false_alarms_per_hour(self) -> Estimate:
        return event_rate(len(self.false_alarms_s), self.calm_s / 3600)

    @property
    def delays_s(self) -> list[float]:
        """The delays of all detected intervals, in order of time."""
        return [one.delay_s for one in self.distress if not math.isnan(one.delay_s)]

    @property
    def missed(self) -> Estimate:
        return exact_share(len(self.distress) - len(self.delays_s), len(self.distress))

    @property
    def median_delay_s(self) -> float:
        """NaN if nothing was detected."""
        return statistics.median(self.delays_s) if self.delays_s else math.nan


def match_events(
    events_s: Sequence[float], distress: Sequence[tuple[float, float]], watched_s: float
) -> DetectionResult:
    """Match a guard's events with the intervals of distress.

    events_s: times at which the guard paused or alerted. distress: start and end of each interval
    in seconds; intervals that touch or overlap are merged. watched_s: seconds the guard watched.
    An event within an interval, or up to LATE_S after it, detects it. All others are false alarms.
    """
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted(distress):
        if joined and start_s <= joined[-1][1]:
            start_s, end_s = joined[-1][0], max(end_s, joined.pop()[1])
        joined.append((start_s, end_s))
    found, during = [], set()
    for start_s, end_s in joined:
        inside = [t for t in sorted(events_s) if start_s <= t <= end_s + LATE_S]
        during.update(inside)
        delay_s = inside[0] - start_s if inside else math.nan
        found.append(Distress(start_s, end_s, delay_s))
    calm_s = max(0.0, watched_s - sum(end_s - start_s for start_s, end_s in joined))
    return DetectionResult(tuple(found), tuple(sorted(set(events_s) - during)), calm_s)
