"""BORIS: projects (.boris) and event tables (tabular and aggregated TSV or CSV)."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Any, Final, NamedTuple

from moppet.coders.codings import Code, Coding, Lane, in_order, milliseconds
from moppet.values import TimelineError

MAX_BYTES: Final = 256_000_000
"""A project that unpacks to more is refused."""
UNNAMED: Final = "behavior"
"""Name of the lane for behaviors without a category."""
_PLAYERS: Final = [str(number) for number in range(1, 9)]


class Behavior(NamedTuple):
    """The BORIS behavior code of a lane's label, and whether it has point events only."""

    code: str
    is_point: bool


class Event(NamedTuple):
    """A code as BORIS stores it: times in seconds with three digits."""

    subject: str
    behavior: Behavior
    category: str
    start_s: float
    stop_s: float
    comment: str


def boris_events(coding: Coding) -> list[Event]:
    """Return the codes of every main lane; lanes of other parts become comments.

    Raises TimelineError where a label overlaps itself, because BORIS pairs starts with stops.
    """
    main = [lane for lane in coding.lanes if not lane.part]
    behaviors = _behaviors(main)
    events = []
    for lane in main:
        comments = _comments(lane, coding.lanes)
        for code, comment in zip(lane.codes, comments, strict=True):
            start_s, stop_s = (milliseconds(time) / 1000 for time in code[:2])
            behavior = behaviors[lane.name, code.label]
            events.append(Event(lane.person, behavior, lane.name, start_s, stop_s, comment))
    _check_pairs(events)
    return sorted(events, key=lambda event: event.start_s)


def _behaviors(lanes: Iterable[Lane]) -> dict[tuple[str, str], Behavior]:
    """Return (category, label) → behavior; a label of several categories names its category."""
    points: dict[tuple[str, str], bool] = {}
    for lane in lanes:
        for code in lane.codes:
            key = lane.name, code.label
            points[key] = points.get(key, True) and code.is_point
    uses = Counter(label for _, label in points)
    return {
        (name, label): Behavior(label if uses[label] == 1 else f"{label} ({name})", is_point)
        for (name, label), is_point in points.items()
    }


def _comments(lane: Lane, lanes: Iterable[Lane]) -> list[str]:
    times = [code[:2] for code in lane.codes]
    parts = [
        [f"{other.part} {code.label}" for code in other.codes]
        for other in lanes
        if other.part
        and (other.person, other.name) == (lane.person, lane.name)
        and [code[:2] for code in other.codes] == times
    ]
    return [", ".join(texts) for texts in zip(*parts, strict=True)] if parts else [""] * len(times)


def _check_pairs(events: Iterable[Event]) -> None:
    of_one: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        of_one[event.subject, event.behavior.code].append(event)
    for (_, code), same in of_one.items():
        for before, after in pairwise(sorted(same, key=lambda event: event[3:5])):
            if after.start_s < before.stop_s:
                raise TimelineError(
                    f"BORIS cannot hold {code!r} twice at once, but one starts at "
                    f"{after.start_s:.3f} s before the other stops."
                )


def write_boris(coding: Coding, path: Path) -> None:
    """Write a project with one observation; BORIS finds the recording beside the file."""
    events = boris_events(coding)
    name = coding.recording
    rows = []
    for event in events:
        first = [event.start_s, event.subject, event.behavior.code, "", event.comment]
        rows.append(first)
        if not event.behavior.is_point:
            rows.append([event.stop_s, event.subject, event.behavior.code, "", ""])
    project = {
        "time_format": "hh:mm:ss",
        "project_date": coding.made_at.removesuffix("Z"),
        "project_name": Path(name).stem,
        "project_description": "Written by moppet",
        "project_format_version": "7.0",
        "subjects_conf": _subjects(coding),
        "behaviors_conf": _ethogram(events),
        "observations": {Path(name).stem: _observation(coding, name, rows)},
        "behavioral_categories": sorted({event.category for event in events}),
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    # ASCII: BORIS opens projects in the encoding of the system it runs on.
    path.write_text(json.dumps(project, indent=1), encoding="ascii", newline="\n")


def _subjects(coding: Coding) -> dict[str, Any]:
    persons = dict.fromkeys(lane.person for lane in coding.lanes if lane.person)
    return {
        str(number): {"key": "", "name": person, "description": ""}
        for number, person in enumerate(persons)
    }


def _ethogram(events: Iterable[Event]) -> dict[str, Any]:
    used = dict.fromkeys((event.behavior, event.category) for event in events)
    return {
        str(number): {
            "type": "Point event" if behavior.is_point else "State event",
            "key": "",
            "code": behavior.code,
            "description": "",
            "color": "",
            "category": category,
            "modifiers": {},
            "excluded": "",
            "coding map": "",
        }
        for number, (behavior, category) in enumerate(used)
    }


def _observation(coding: Coding, name: str, rows: list[list[Any]]) -> dict[str, Any]:
    return {
        "file": {player: [name] if player == "1" else [] for player in _PLAYERS},
        "type": "MEDIA",
        "date": coding.made_at.removesuffix("Z"),
        "description": "",
        "time offset": 0.0,
        "events": sorted(rows, key=lambda row: float(row[0])),
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "media_creation_date_as_offset": False,
        "media_scan_sampling_duration": 0,
        "image_display_duration": 1,
        "close_behaviors_between_videos": False,
        "media_info": {
            "length": {name: round(coding.end_s, 3)},
            "fps": {name: round(coding.fps or 0.0, 3)},
            "hasVideo": {name: True},
            "hasAudio": {name: False},
            "offset": {"1": 0.0},
        },
    }


def read_boris(path: Path) -> Coding:
    """Return a lane for every observation, subject and category, in seconds of the recording.

    An observation with a state that never stops is listed in `Coding.faults`; if it is the only
    one, it raises TimelineError. Raises ValueError or KeyError if the file is not a project.
    """
    if path.name.endswith(".gz"):
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
    else:
        data = path.read_bytes()
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 1_000_000} MB")
    project = json.loads(data.decode("utf-8-sig"))
    ethogram = {entry["code"]: entry for entry in project["behaviors_conf"].values()}
    lanes: list[Lane] = []
    faults: dict[str, str] = {}
    media = set()
    for name, observation in project["observations"].items():
        try:
            lanes += _read_observation(name, observation, ethogram)
        except TimelineError as error:
            faults[name] = str(error)
        files = (observation.get("file") or {}).get("1") or []
        media |= {PureWindowsPath(file).name for file in files}
    return settled(lanes, faults, media)


def settled(lanes: Iterable[Lane], faults: Mapping[str, str], media: set[str]) -> Coding:
    """Return the coding of what could be read; TimelineError if nothing could, but for a fault.

    faults: observation → why it cannot be read. media: all the recordings.
    """
    read = tuple(lanes)
    if faults and not read:
        raise TimelineError(next(iter(faults.values())))
    return Coding(read, media.pop() if len(media) == 1 else None, faults=faults)


def _read_observation(
    name: str, observation: Mapping[str, Any], ethogram: Mapping[str, Mapping[str, Any]]
) -> list[Lane]:
    offset_s = float(observation.get("time offset") or 0)
    open_since: dict[tuple[str, str, str], float] = {}
    codes: dict[tuple[str, str], list[Code]] = defaultdict(list)
    events = observation["events"]
    if any(row[0] is None or math.isnan(float(row[0])) for row in events):
        raise TimelineError(f"The observation {name!r} has codes of images, without times.")
    for row in sorted(events, key=lambda row: float(row[0])):
        time_s, subject, code = float(row[0]) - offset_s, str(row[1]), str(row[2])
        entry = ethogram.get(code, {})
        category = str(entry.get("category") or "") or UNNAMED
        label = plain_label(code, category)
        key = subject, code, str(row[3])
        if not str(entry.get("type", "Point event")).lower().startswith("state"):
            codes[subject, category].append(Code(time_s, time_s, label))
        elif key in open_since:
            codes[subject, category].append(Code(open_since.pop(key), time_s, label))
        else:
            open_since[key] = time_s
    for (subject, code, _), time_s in open_since.items():
        raise never_stops(code, subject, time_s)
    return [
        Lane(category, in_order(found), subject, observation=name)
        for (subject, category), found in codes.items()
    ]


def plain_label(code: str, category: str) -> str:
    """Return a behavior without the category that write_boris appended."""
    return code.removesuffix(f" ({category})")


def never_stops(code: str, subject: str, time_s: float) -> TimelineError:
    """Return the error for a state without a stop."""
    whose = f" of {subject}" if subject else ""
    return TimelineError(
        f"{code!r}{whose} starts at {time_s:.3f} s and never stops: add the stop event in BORIS."
    )


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
"""Values that BORIS 7 writes once, on separate lines above the table."""
_MEDIA: Final = ("Media file name", "Media file path", "Media file")
_NOBODY: Final = "No focal subject"


def write_boris_tabular(coding: Coding, path: Path) -> None:
    """Write one row for every point event and two (START and STOP) for every state event."""
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
    _write(path, TABULAR, sorted(rows, key=lambda row: float(row["Time"])))


def write_boris_aggregated(coding: Coding, path: Path) -> None:
    """Write one row for every code, with its start, stop and duration."""
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
    _write(path, AGGREGATED, rows)


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


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    tab = "\t" if path.suffix.lower() == ".tsv" else ","
    writer = csv.DictWriter(text, columns, "", "ignore", delimiter=tab, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="\n")


def read_boris_table(path: Path) -> Coding:
    """Return a lane for every observation, subject and category, in seconds of the recording.

    An observation with a state that never stops is listed in `Coding.faults`; if it is the only
    one, it raises TimelineError. Raises ValueError if the file is not a BORIS table.
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
            raise ValueError(f"{code!r} at {time_s} s has {kind or 'no type'} without a START")
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
    raise ValueError("no line has the columns Behavior and Time, or Start (s) and Stop (s)")


def _seconds(row: Mapping[str, str], column: str) -> float:
    offset = row.get("Time offset (s)", "").strip()
    try:
        return float(row[column]) - (float(offset) if offset not in ("", "NA") else 0.0)
    except (ValueError, KeyError):
        raise ValueError(
            f"{row.get('Behavior')!r} has no {column} in seconds: export times in seconds"
        ) from None
