"""The ledger of `moppet analyze`: what became of each recording, one line of JSON each."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from moppet.cohort.shards import Shard
from moppet.config import check_settings
from moppet.files import parse_json, read_bytes
from moppet.values import MoppetError, UsageError

State = Literal["read", "failed", "stopped"]
READ: Final = "read"
FAILED: Final = "failed"
STOPPED: Final = "stopped"


@dataclass(frozen=True)
class LedgerEntry:
    """What became of a recording.

    recording: its path. folder: of its results, below the results folder. reason: why it failed.
    frames: number analyzed; analysis_s: how long that took. size, modified_ns: of the file.
    settings, info: of the analysis, and of the recording's row in the list of recordings.
    at: ISO 8601, UTC.
    """

    recording: str
    folder: str
    state: State
    reason: str | None = None
    frames: int | None = None
    analysis_s: float | None = None
    source_sha256: str | None = None
    size: int | None = None
    modified_ns: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    at: str = ""


class Ledger:
    """The ledger in a folder of results. Each shard writes its own file and reads all.

    resume: keep what is there; otherwise the file of this run, or of this shard, starts anew.
    Raises MoppetError if it cannot be read or written.
    """

    def __init__(self, results: Path, shard: Shard | None = None, *, resume: bool = False) -> None:
        name = "ledger.jsonl" if shard is None else f"ledger.{shard.number}-of-{shard.count}.jsonl"
        self.path = results / name
        self._entries: dict[str, LedgerEntry] = {}
        if resume:
            self._entries = {entry.folder: entry for entry in read_ledger(results)}
        elif self.path.exists():
            self.path.unlink()

    def entry(self, folder: str) -> LedgerEntry | None:
        """Return the last entry of a folder of results; None if there is none."""
        return self._entries.get(folder)

    def add(self, entry: LedgerEntry) -> None:
        """Append an entry, so that it is on the disk when this returns."""
        entry = replace(entry, at=datetime.now(UTC).isoformat(timespec="milliseconds"))
        values = {k: v for k, v in asdict(entry).items() if v not in (None, {})}
        line = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
        try:
            with self.path.open("ab") as file:
                # A line that a killed run left unfinished stays alone.
                file.write(b"\n" * (file.tell() > 0 and not _ends_in_newline(self.path)))
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise MoppetError(f"{self.path} cannot be written: {error.strerror}.") from None
        self._entries[entry.folder] = entry


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_ledger(results: Path) -> list[LedgerEntry]:
    """Return the last entry of each recording in a folder of results, by its folder.

    Empty if there is no ledger. Lines that are damaged are left out: their recordings are looked
    at again. Raises MoppetError if a file cannot be read.
    """
    found: dict[str, LedgerEntry] = {}
    for path in sorted(results.glob("ledger*.jsonl")):
        for folder, entry in _read(path).items():
            if folder not in found or found[folder].at <= entry.at:
                found[folder] = entry
    return [found[folder] for folder in sorted(found)]


def _read(path: Path) -> dict[str, LedgerEntry]:
    found = {}
    for line in read_bytes(path, "ledger").split(b"\n"):
        try:
            values = parse_json(line, "it", UsageError) if line.strip() else None
            entry = check_settings(LedgerEntry, values, others="ignore") if values else None
        except UsageError:
            continue
        if entry is not None:
            found[entry.folder] = entry
    return found


def same_file(entry: LedgerEntry, path: Path) -> bool:
    """Return whether a file has the size and time of change that it had when it was analyzed.

    False for a folder of photos.
    """
    try:
        found = path.stat()
    except OSError:
        return False
    is_same = (entry.size, entry.modified_ns) == (found.st_size, found.st_mtime_ns)
    return is_same and path.is_file()


def size_and_time(path: Path) -> dict[str, Any]:
    """Return the size and time of change of a file, for its entry; nothing for a folder."""
    try:
        found = path.stat()
    except OSError:
        return {}
    return {"size": found.st_size, "modified_ns": found.st_mtime_ns} if path.is_file() else {}
