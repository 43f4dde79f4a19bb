"""BORIS projects (.boris, format 7.0; older ones and .boris.gz are read). Times to 0.001 s.

A state is two events of one subject and behaviour, the first its start and the second its stop; a
point is one event. A lane is a subject's behaviours of one category.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Any, Final, NamedTuple

from moppet.timeline.coders.codes import Code, Coding, Lane, in_order, milliseconds
from moppet.values import TimelineError

MAX_BYTES: Final = 256_000_000
"""A project that unpacks to more is refused."""
UNNAMED: Final = "behavior"
"""The lane of behaviours without a category."""
_PLAYERS: Final = [str(number) for number in range(1, 9)]


class Behaviour(NamedTuple):
    """What BORIS calls a label of a lane, and whether it is coded by points only."""

    code: str
    is_point: bool


class Event(NamedTuple):
    """A code as BORIS keeps it: times in seconds with three digits."""

    subject: str
    behaviour: Behaviour
    category: str
    start_s: float
    stop_s: float
    comment: str


def boris_events(coding: Coding) -> list[Event]:
    """Return the codes of every lane that has a main part; the other parts become comments.

    Raises TimelineError where a label overlaps itself: BORIS could not tell which stop is whose.
    """
    main = [lane for lane in coding.lanes if not lane.part]
    behaviours = _behaviours(main)
    events = []
    for lane in main:
        comments = _comments(lane, coding.lanes)
        for code, comment in zip(lane.codes, comments, strict=True):
            start_s, stop_s = (milliseconds(time) / 1000 for time in code[:2])
            behaviour = behaviours[lane.name, code.label]
            events.append(Event(lane.person, behaviour, lane.name, start_s, stop_s, comment))
    _check_pairs(events)
    return sorted(events, key=lambda event: event.start_s)


def _behaviours(lanes: Iterable[Lane]) -> dict[tuple[str, str], Behaviour]:
    """Name every label of a category; one that several categories use says which it is."""
    points: dict[tuple[str, str], bool] = {}
    for lane in lanes:
        for code in lane.codes:
            key = lane.name, code.label
            points[key] = points.get(key, True) and code.is_point
    uses = Counter(label for _, label in points)
    return {
        (name, label): Behaviour(label if uses[label] == 1 else f"{label} ({name})", is_point)
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
        of_one[event.subject, event.behaviour.code].append(event)
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
        first = [event.start_s, event.subject, event.behaviour.code, "", event.comment]
        rows.append(first)
        if not event.behaviour.is_point:
            rows.append([event.stop_s, event.subject, event.behaviour.code, "", ""])
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
    used = dict.fromkeys((event.behaviour, event.category) for event in events)
    return {
        str(number): {
            "type": "Point event" if behaviour.is_point else "State event",
            "key": "",
            "code": behaviour.code,
            "description": "",
            "color": "",
            "category": category,
            "modifiers": {},
            "excluded": "",
            "coding map": "",
        }
        for number, (behaviour, category) in enumerate(used)
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

    An observation that cannot be read, as a state in it never stops, is a fault of the coding;
    if it is the only one, it is raised as TimelineError. ValueError or KeyError for no project.
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
        raise TimelineError(f"The observation {name!r} has codes of pictures, without times.")
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
    """Return a behaviour without the category that write_boris put behind it."""
    return code.removesuffix(f" ({category})")


def never_stops(code: str, subject: str, time_s: float) -> TimelineError:
    """Return the error for a state without a stop."""
    whose = f" of {subject}" if subject else ""
    return TimelineError(
        f"{code!r}{whose} starts at {time_s:.3f} s and never stops: give it its stop in BORIS."
    )
