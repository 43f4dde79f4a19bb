"""BORIS: event tables (tabular and aggregated TSV or CSV)."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from moppet.coders.boris import (
    IMAGES,
    Event,
    Row,
    boris_events,
    coding_of_rows,
    file_name,
    forms,
    playlist,
    seconds_or_none,
)
from moppet.coders.codings import (
    Coding,
    Medium,
    check_codes,
    decoded,
    quoted,
    read_content,
)

_NAMELESS: Final = "rows without a behavior"
_ABOVE: Final = ("Observation id", "Time offset (s)")
"""Values that BORIS 7 writes once, on separate lines above the table."""
_OFFSET: Final = "Time offset (s)"
_MEDIA: Final = ("Media file name", "Media file path", "Media file")
_NOBODY: Final = "No focal subject"


def boris_tabular(coding: Coding) -> bytes:
    """Return a TSV table with one row for every point event, and two for every state event."""
    rows, about = [], _about(coding)
    for event in boris_events(coding):
        row = about | _of_event(event)
        if event.behavior.is_point:
            marks = [("POINT", event.start_s, event.comment)]
        else:
            marks = [("START", event.start_s, event.comment), ("STOP", event.stop_s, "")]
        for kind, time_s, comment in marks:
            more = {"Behavior type": kind, "Time": f"{time_s:.3f}", "Comment": comment}
            rows.append(row | more | {"Observation type": "Media file(s)"})
    return _table("tabular", sorted(rows, key=lambda row: float(row["Time"])))


def boris_aggregated(coding: Coding) -> bytes:
    """Return a TSV table with one row for every code, with its start, stop and duration."""
    events = boris_events(coding)
    coded_s: dict[str, float] = defaultdict(float)
    for event in events:
        coded_s[event.subject] += event.stop_s - event.start_s
    rows, about = [], _about(coding)
    for event in events:
        length = f"{event.stop_s - event.start_s:.3f}"
        more = {
            "Observation type": "Media file",
            "Observation duration by subject by observation": f"{coded_s[event.subject]:.3f}",
            "Behavior type": "POINT" if event.behavior.is_point else "STATE",
            "Start (s)": f"{event.start_s:.3f}",
            "Stop (s)": f"{event.stop_s:.3f}",
            "Duration (s)": "NA" if event.behavior.is_point else length,
            "Comment start": event.comment,
        }
        rows.append(about | _of_event(event) | more)
    return _table("aggregated", rows)


def _about(coding: Coding) -> dict[str, str]:
    """Return the columns that are equal in every row."""
    name, length = coding.recording, f"{coding.end_s:.3f}"
    fps = f"{coding.fps:.3f}" if coding.fps else "NA"
    return {
        "Observation id": Path(name).stem,
        "Observation date": coding.made_at.replace("T", " ").removesuffix("Z"),
        "Observation duration": length,
        "Coding duration": length,
        "Source": f"player #1:{name}",
        "Time offset (s)": "0.0",
        "Media duration (s)": length,
        "FPS": fps,
        "FPS (frame/s)": fps,
        "Media file name": name,
        "Image index": "NA",
        "Image file path": "NA",
    }


def _of_event(event: Event) -> dict[str, str]:
    return {
        "Subject": event.subject or _NOBODY,
        "Behavior": event.behavior.code,
        "Behavioral category": event.category,
    }


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    columns = forms()["columns"][name]
    writer = csv.DictWriter(text, columns, "", "ignore", delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def read_boris_table(path: Path) -> Coding:
    """Return a lane for every observation, subject and category, in seconds of the first recording.

    Times may have a decimal point or a decimal comma. An observation with a state that never stops
    is listed in `Coding.faults`; if it is the only one, it raises TimelineError. Raises ValueError
    if the file is not a BORIS table.
    """
    lines = _lines(path)
    named = [line for line in lines if line["Behavior"].strip()]
    of_one: dict[str, list[dict[str, str]]] = defaultdict(list)
    for line in named:
        of_one[line.get("Observation id", "")].append(line)
    starts = "Start (s)" if bool(lines) and "Start (s)" in lines[0] else "Time"
    faults = {
        name: IMAGES.format(quoted(name))
        for name, found in of_one.items()
        if all(line[starts].strip() in _NOTHING for line in found)
    }
    named = [line for line in named if line.get("Observation id", "") not in faults]
    start_s = _seconds(named, starts)
    stop_s = _seconds(named, "Stop (s)") if starts == "Start (s)" else [None] * len(named)
    rows = [
        Row(
            observation=line.get("Observation id", ""),
            subject=line.get("Subject", "").removeprefix(_NOBODY),
            behavior=line["Behavior"],
            category=line.get("Behavioral category", "").replace("Not defined", ""),
            modifiers=tuple(line[name] for name in line if _is_modifier(name)),
            kind=(line.get("Behavior type") or line.get("Status", "")).upper(),
            time_s=start,
            end_s=stop,
        )
        for line, start, stop in zip(named, start_s, stop_s, strict=True)
    ]
    times: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for line, row in zip(named, rows, strict=True):
        times[row.observation].append((row.time_s, _row_medium(line)))
    media = [
        medium
        for name, found in of_one.items()
        for medium in _table_media(name, found[0], sorted(times[name]))
    ]
    if starts == "Time":
        rows.sort(key=lambda row: row.time_s)
    nameless = len(lines) - sum(map(len, of_one.values()))
    coding = coding_of_rows(rows, faults, media, {_NAMELESS: nameless})
    if decimal_mark([line.get(starts, "") for line in named], starts) == ",":
        coding = replace(coding, notes=("the times are read as numbers with a decimal comma.",))
    return coding


_NOTHING: Final = ("", "NA", "nan", "NaN")
"""What BORIS writes where there is no value, such as the file of a live observation."""
_PLAYER: Final = re.compile(r"player\s*+#(\d{1,3}):")


def _row_medium(line: Mapping[str, str]) -> str:
    values = (line.get(column, "").strip() for column in _MEDIA)
    return next((file_name(value) for value in values if value not in _NOTHING), "")


def _table_media(
    observation: str, line: Mapping[str, str], times: Sequence[tuple[float, str]]
) -> list[Medium]:
    """Return the media of an observation in a table.

    Tables contain no offsets of players, so that only the media of player 1 have a known start.
    times: (time in seconds, name of the medium) of each row, sorted.
    """
    parts = _PLAYER.split(line.get("Source", ""))[1:]
    players = {
        int(number): [name for one in re.split("[;|]", names) if (name := one.strip(" ,"))]
        for number, names in zip(parts[::2], parts[1::2], strict=True)
    }
    first = [name for name in players.pop(1, []) if name not in _NOTHING]
    total = line.get("Media duration (s)") or line.get("Total length") or ""
    lengths = [seconds_or_none(part.replace(",", ".")) for part in re.split("[;|]", total)]
    lengths = lengths[: len(first) or 1]
    seen = [name for name in dict.fromkeys(name for _, name in times) if name]
    names = [file_name(name) for name in first] if len(first) > 1 else seen or first
    if len(first) > 1 and len(lengths) == len(first) and None not in lengths:
        media = playlist(observation, 1, 0.0, first, lengths, [0.0] * len(first))
    elif len(names) > 1:
        media = _by_rows(observation, names, times)
    else:
        media = [Medium(file_name(name), observation, 1, lengths[0]) for name in names]
    others = [
        Medium(file_name(name), observation, number, None, None)
        for number, names in players.items()
        for name in names
        if name not in _NOTHING
    ]
    return media + others


def _by_rows(
    observation: str, names: Sequence[str], times: Sequence[tuple[float, str]]
) -> list[Medium]:
    """Return media whose lengths are unknown: each was shown from its first row on."""
    first_s: dict[str, float] = {}
    for time_s, name in times:
        first_s.setdefault(name, time_s)
    media: list[Medium] = []
    to_s = math.inf
    for number, name in reversed(list(enumerate(names))):
        from_s = first_s.get(name, to_s) if number else -math.inf
        start_s = None if number else 0.0
        media.append(Medium(name, observation, 1, None, start_s, from_s, to_s))
        to_s = min(to_s, from_s)
    return media[::-1]


_USED: Final = (
    *("Observation id", "Subject", "Behavior", "Behavioral category", "Behavior type", "Status"),
    *("Time", "Start (s)", "Stop (s)", _OFFSET, "Source", "Media duration (s)", "Total length"),
    *_MEDIA,
)
_MOST_COLUMNS: Final = 1000


def _lines(path: Path) -> list[dict[str, str]]:
    """Return the columns that are read of each row; equal values are one object."""
    text = decoded(read_content(path), "cp1252")
    lines = (match[0] for match in re.finditer(r"[^\r\n]++", text))
    above: list[str] = []
    for line in lines:
        delimiter = max("\t,;", key=line.count)
        header = next(csv.reader([line], delimiter=delimiter), []) if "Behavior" in line else []
        if "Behavior" in header and ("Time" in header or "Start (s)" in header):
            break
        above = [*above[-999:], line]
    else:
        raise ValueError("no line has the columns Behavior and Time, or Start (s) and Stop (s)")
    if len(header) > _MOST_COLUMNS:
        raise ValueError(f"it has more than {_MOST_COLUMNS:,} columns")
    about = {row[0]: row[1] for row in csv.reader(above, delimiter=delimiter) if len(row) > 1}
    about = {key: value for key, value in about.items() if key in _ABOVE}
    rows: list[dict[str, str]] = []
    for row in csv.DictReader(lines, header, delimiter=delimiter):
        check_codes(len(rows))
        used = {k: sys.intern(v or "") for k, v in row.items() if k in _USED or _is_modifier(k)}
        rows.append(about | used)
    return rows


def _is_modifier(column: str | None) -> bool:
    return column is not None and column.startswith("Modifier")


def _seconds(lines: Sequence[Mapping[str, str]], column: str) -> list[float]:
    """Return the times in a column, in seconds, without the time offset."""
    mark = decimal_mark([line.get(column, "") for line in lines], column)
    offset_mark = decimal_mark([line.get(_OFFSET, "") for line in lines], _OFFSET)
    found = []
    for line in lines:
        offset = line.get(_OFFSET, "").strip()
        try:
            time_s = _decimal(line[column], mark)
            found.append(time_s - (0.0 if offset in _NOTHING else _decimal(offset, offset_mark)))
        except (ValueError, KeyError):
            raise ValueError(
                f"{quoted(line['Behavior'])} has no {column} in seconds: export times in seconds"
            ) from None
    return found


def decimal_mark(values: Iterable[str], column: str) -> str:
    """Return "." or ",": what comes last in the numbers of a column that have either.

    Raises ValueError if some have one and some the other, because "1,250" would mean two things.
    """
    marks = {
        value[max(value.rfind("."), value.rfind(","))]
        for value in values
        if "." in value or "," in value
    }
    if len(marks) > 1:
        raise ValueError(
            f"the column {column} has decimal points and decimal commas: export it with one of them"
        )
    return marks.pop() if marks else "."


def _decimal(text: str, mark: str) -> float:
    whole, found, part = text.strip().rpartition(mark)
    if not found:
        return float(text)
    thousands = "," if mark == "." else "."
    if whole.count(mark) or not re.fullmatch(r"[-+]?(\d*|\d{1,3}([.,]\d{3})+)", whole):
        raise ValueError
    return float(f"{whole.replace(thousands, '')}.{part}")
