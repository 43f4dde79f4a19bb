"""BORIS: projects (.boris) and event tables (tabular and aggregated TSV or CSV)."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Any, Final, NamedTuple

from moppet.coders.codings import Code, Coding, Lane, decoded, milliseconds
from moppet.values import TimelineError

MAX_BYTES: Final = 256_000_000
"""A project that unpacks to more is refused."""
UNNAMED: Final = "behavior"
"""Name of the lane for behaviors without a category."""


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
    stem, date = Path(name).stem, coding.made_at.removesuffix("Z")
    media = {
        "length": {name: round(coding.end_s, 3)},
        "fps": {name: round(coding.fps or 0.0, 3)},
        "hasVideo": {name: True},
        "hasAudio": {name: False},
        "offset": {"1": 0.0},
    }
    files = {str(player): [name] if player == 1 else [] for player in range(1, 9)}
    observation = _form("observation") | {"file": files, "date": date, "media_info": media}
    observation["events"] = sorted(rows, key=lambda row: float(row[0]))
    persons = dict.fromkeys(lane.person for lane in coding.lanes if lane.person)
    used = dict.fromkeys((event.behavior, event.category) for event in events)
    behaviors = [
        {"type": "Point event" if behavior.is_point else "State event", "code": behavior.code}
        | {"category": category}
        for behavior, category in used
    ]
    project = _form("project") | {
        "project_date": date,
        "project_name": stem,
        "subjects_conf": _numbered("subject", [{"name": person} for person in persons]),
        "behaviors_conf": _numbered("behavior", behaviors),
        "observations": {stem: observation},
        "behavioral_categories": sorted({event.category for event in events}),
    }
    # ASCII: BORIS opens projects in the encoding of the system it runs on.
    path.write_text(json.dumps(project, indent=1), encoding="ascii", newline="\n")


def _form(name: str) -> dict[str, Any]:
    """Return a part of BORIS's files with the values that are the same in all of ours."""
    found: dict[str, Any] = _forms()[name]
    return dict(found)


@lru_cache(maxsize=1)
def _forms() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("boris.toml").read_text(encoding="utf-8"))


def _numbered(form: str, entries: Iterable[dict[str, str]]) -> dict[str, Any]:
    return {str(number): _form(form) | entry for number, entry in enumerate(entries)}


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
    rows: list[_Row] = []
    faults: dict[str, str] = {}
    media = set()
    for name, observation in project["observations"].items():
        files = (observation.get("file") or {}).get("1") or []
        media |= {PureWindowsPath(file).name for file in files}
        events = observation["events"]
        if any(event[0] is None or math.isnan(float(event[0])) for event in events):
            faults[name] = f"The observation {name!r} has codes of images, without times."
            continue
        offset_s = float(observation.get("time offset") or 0)
        for event in sorted(events, key=lambda event: float(event[0])):
            time_s, subject, code = float(event[0]) - offset_s, str(event[1]), str(event[2])
            entry = ethogram.get(code, {})
            is_state = str(entry.get("type")).lower().startswith("state")
            kind = "STATE" if is_state else "POINT"
            category = str(entry.get("category") or "")
            rows.append(_Row(name, subject, code, category, (str(event[3]),), kind, time_s))
    return _coding(rows, faults, media)


class _Row(NamedTuple):
    """A line of a BORIS file, in seconds of the recording.

    kind: POINT, START, STOP, or STATE for both in turn. end_s: if start and stop are on one line.
    """

    observation: str
    subject: str
    behavior: str
    category: str
    modifiers: tuple[str, ...]
    kind: str
    time_s: float
    end_s: float | None = None


def _coding(rows: Iterable[_Row], faults: dict[str, str], media: set[str]) -> Coding:
    """Return the coding of what could be read; TimelineError if nothing could, but for a fault.

    rows: sorted by time within an observation. faults: observation → why it cannot be read.
    media: all the recordings.
    """
    codes: dict[tuple[str, str, str], list[Code]] = defaultdict(list)
    open_since: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key = row[:3] + row.modifiers
        start_s, end_s = row.time_s, row.end_s
        if row.kind == "POINT" and end_s is None:
            end_s = start_s
        elif end_s is None and row.kind != "START" and key in open_since:
            start_s, end_s = open_since.pop(key), start_s
        elif end_s is None and row.kind in ("START", "STATE"):
            open_since[key] = start_s
            continue
        elif end_s is None:
            kind = row.kind or "no type"
            raise ValueError(f"{row.behavior!r} at {start_s} s has {kind} without a START")
        category = row.category or UNNAMED
        label = row.behavior.removesuffix(f" ({category})")  # as write_boris appends it
        codes[row.observation, row.subject, category].append(Code(start_s, end_s, label))
    for (observation, subject, code, *_), time_s in open_since.items():
        whose = f" of {subject}" if subject else ""
        faults.setdefault(
            observation,
            f"{code!r}{whose} starts at {time_s:.3f} s and never stops: add the stop event in "
            "BORIS.",
        )
    lanes = tuple(
        Lane(category, tuple(found), subject, observation=observation)
        for (observation, subject, category), found in codes.items()
        if observation not in faults
    )
    if faults and not lanes:
        raise TimelineError(next(iter(faults.values())))
    return Coding(lanes, media.pop() if len(media) == 1 else None, faults=faults)


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
    _write(path, "tabular", sorted(rows, key=lambda row: float(row["Time"])))


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
    _write(path, "aggregated", rows)


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


def _write(path: Path, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    tab = "\t" if path.suffix.lower() == ".tsv" else ","
    writer = csv.DictWriter(
        text, _forms()["columns"][table], "", "ignore", delimiter=tab, lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="\n")


def read_boris_table(path: Path) -> Coding:
    """Return a lane for every observation, subject and category, in seconds of the recording.

    An observation with a state that never stops is listed in `Coding.faults`; if it is the only
    one, it raises TimelineError. Raises ValueError if the file is not a BORIS table.
    """
    lines = _lines(path)
    aggregated = bool(lines) and "Start (s)" in lines[0]
    rows = [
        _Row(
            observation=line.get("Observation id", ""),
            subject=line.get("Subject", "").removeprefix(_NOBODY),
            behavior=line["Behavior"],
            category=line.get("Behavioral category", "").replace("Not defined", ""),
            modifiers=tuple(line[name] for name in line if name.startswith("Modifier")),
            kind=(line.get("Behavior type") or line.get("Status", "")).upper(),
            time_s=_seconds(line, "Start (s)" if aggregated else "Time"),
            end_s=_seconds(line, "Stop (s)") if aggregated else None,
        )
        for line in lines
    ]
    if not aggregated:
        rows.sort(key=lambda row: row.time_s)
    media = {PureWindowsPath(line[x]).name for line in lines for x in _MEDIA if line.get(x)}
    return _coding(rows, {}, media)


def _lines(path: Path) -> list[dict[str, str]]:
    lines = decoded(path.read_bytes(), "cp1252").splitlines()
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
