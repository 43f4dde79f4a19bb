"""BORIS's event tables as TSV or CSV: tabular (a row an event) and aggregated (a row a code).

Written with the columns of BORIS 8; older columns and the header lines of BORIS 7 are read.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from moppet.timeline.coders.boris import (
    UNNAMED,
    Event,
    boris_events,
    never_stops,
    plain_label,
    settled,
)
from moppet.timeline.coders.codes import Code, Coding, Lane, in_order

_ABOUT: Final = ("Observation id", "Observation date", "Description")
TABULAR: Final = (
    *_ABOUT,
    *("Observation duration", "Observation type", "Source", "Time offset (s)"),
    *("Media duration (s)", "FPS", "Subject", "Behavior", "Behavioral category"),
    *("Behavior type", "Time", "Media file name", "Image index", "Image file path", "Comment"),
)
AGGREGATED: Final = (
    *_ABOUT,
    *("Observation type", "Source", "Time offset (s)", "Coding duration"),
    *("Media duration (s)", "FPS (frame/s)", "Subject"),
    *("Observation duration by subject by observation", "Behavior", "Behavioral category"),
    *("Behavior type", "Start (s)", "Stop (s)", "Duration (s)", "Media file name"),
    *("Image index start", "Image index stop", "Image file path start", "Image file path stop"),
    *("Comment start", "Comment stop"),
)
_ABOVE: Final = ("Observation id", "Time offset (s)")
"""What BORIS 7 says once, in lines of their own above the table."""
_MEDIA: Final = ("Media file name", "Media file path", "Media file")
_NOBODY: Final = "No focal subject"


def write_boris_tabular(coding: Coding, path: Path) -> None:
    """Write a row for every point, and two for every state: START and STOP."""
    rows, about = [], _about(coding)
    for event in boris_events(coding):
        row = about | _of_event(event)
        if event.behaviour.is_point:
            marks = [("POINT", event.start_s, event.comment)]
        else:
            marks = [("START", event.start_s, event.comment), ("STOP", event.stop_s, "")]
        for kind, time_s, comment in marks:
            more = {"Behavior type": kind, "Time": f"{time_s:.3f}", "Comment": comment}
            rows.append(row | more | {"Observation type": "Media file(s)"})
    _write(path, TABULAR, sorted(rows, key=lambda row: float(row["Time"])))


def write_boris_aggregated(coding: Coding, path: Path) -> None:
    """Write a row for every code, with its start, stop and duration."""
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
            "Behavior type": "POINT" if event.behaviour.is_point else "STATE",
            "Start (s)": f"{event.start_s:.3f}",
            "Stop (s)": f"{event.stop_s:.3f}",
            "Duration (s)": "NA" if event.behaviour.is_point else length,
            "Comment start": event.comment,
        }
        rows.append(about | _of_event(event) | more)
    _write(path, AGGREGATED, rows)


def _about(coding: Coding) -> dict[str, str]:
    """Return the columns that say the same in every row."""
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
        "Behavior": event.behaviour.code,
        "Behavioral category": event.category,
    }


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    tab = "\t" if path.suffix.lower() == ".tsv" else ","
    writer = csv.DictWriter(text, columns, "", "ignore", delimiter=tab, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="\n")


def read_boris_table(path: Path) -> Coding:
    """Return a lane for every observation, subject and category, in seconds of the recording.

    An observation with a state that never stops is a fault of the coding; if it is the only one,
    it is raised as TimelineError. ValueError for no table of BORIS.
    """
    rows = _rows(path)
    codes: dict[tuple[str, str, str], list[Code]] = defaultdict(list)
    open_since: dict[tuple[str, ...], float] = {}
    aggregated = bool(rows) and "Start (s)" in rows[0]
    for row in rows if aggregated else sorted(rows, key=lambda row: _seconds(row, "Time")):
        subject = row.get("Subject", "").removeprefix(_NOBODY)
        code = row["Behavior"]
        category = row.get("Behavioral category") or UNNAMED
        category = UNNAMED if category == "Not defined" else category
        lane = codes[row.get("Observation id", ""), subject, category]
        label = plain_label(code, category)
        if aggregated:
            lane.append(Code(_seconds(row, "Start (s)"), _seconds(row, "Stop (s)"), label))
            continue
        time_s = _seconds(row, "Time")
        kind = (row.get("Behavior type") or row.get("Status", "")).upper()
        modifiers = [row[name] for name in row if name.startswith("Modifier")]
        key = (row.get("Observation id", ""), subject, code, *modifiers)
        if kind == "POINT":
            lane.append(Code(time_s, time_s, label))
        elif kind == "START":
            open_since[key] = time_s
        elif kind == "STOP" and key in open_since:
            lane.append(Code(open_since.pop(key), time_s, label))
        else:
            raise ValueError(f"{code!r} at {time_s} s is {kind or 'nothing'} without a START")
    faults = {
        observation: str(never_stops(code, subject, time_s))
        for (observation, subject, code, *_), time_s in reversed(open_since.items())
    }
    media = {PureWindowsPath(row[name]).name for row in rows for name in _MEDIA if row.get(name)}
    lanes = (
        Lane(category, in_order(found), subject, observation=observation)
        for (observation, subject, category), found in codes.items()
        if observation not in faults
    )
    return settled(lanes, faults, media)


def _rows(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    lines = text.splitlines()
    for number, line in enumerate(lines):
        delimiter = max("\t,;", key=line.count)
        header = next(csv.reader([line], delimiter=delimiter), [])
        if "Behavior" in header and ("Time" in header or "Start (s)" in header):
            reader = csv.DictReader(lines[number:], delimiter=delimiter)
            above = csv.reader(lines[:number], delimiter=delimiter)
            about = {row[0]: row[1] for row in above if len(row) > 1 and row[0] in _ABOVE}
            return [about | {k: v or "" for k, v in row.items() if k} for row in reader]
    raise ValueError("it has no line with the columns Behavior and Time, or Start (s) and Stop (s)")


def _seconds(row: Mapping[str, str], column: str) -> float:
    offset = row.get("Time offset (s)", "").strip()
    try:
        return float(row[column]) - (float(offset) if offset not in ("", "NA") else 0.0)
    except (ValueError, KeyError):
        raise ValueError(
            f"{row.get('Behavior')!r} has no {column} in seconds: export times in seconds"
        ) from None
