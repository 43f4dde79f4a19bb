"""BORIS: projects (.boris), and the events and media that its tables hold as well."""

from __future__ import annotations

import gzip
import io
import json
import math
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Any, Final, NamedTuple

from moppet.coders.codings import (
    MAX_BYTES,
    Code,
    Coding,
    Lane,
    Medium,
    check_marks,
    check_size,
    milliseconds,
    quoted,
    read_content,
)
from moppet.files import one_line
from moppet.values import TimelineError

IMAGES: Final = "The observation {} has codes of images, without times."
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
                    f"BORIS cannot hold {quoted(code)} twice at once, but one starts at "
                    f"{after.start_s:.3f} s before the other stops."
                )


def boris_project(coding: Coding) -> bytes:
    """Return a project with one observation; BORIS finds the recording beside the file."""
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
    return json.dumps(project, indent=1).encode("ascii")


def _form(name: str) -> dict[str, Any]:
    """Return a part of BORIS's files with the values that are the same in all of ours."""
    found: dict[str, Any] = forms()[name]
    return dict(found)


@lru_cache(maxsize=1)
def forms() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("boris.toml").read_text(encoding="utf-8"))


def _numbered(form: str, entries: Iterable[dict[str, str]]) -> dict[str, Any]:
    return {str(number): _form(form) | entry for number, entry in enumerate(entries)}


def read_boris(path: Path) -> Coding:
    """Return a lane for every observation, subject and category, in seconds of the first recording.

    The time offset of an observation, and creation dates of media that BORIS added to the times,
    are taken off. An offset of player 1 is noted only: the clock of BORIS is the position in the
    files of player 1, and the other players follow it. An observation with a state that never
    stops is listed in `Coding.faults`; if it is the only one, it raises TimelineError. Raises
    ValueError or KeyError if the file is not a project.
    """
    project = _read_json(path)
    ethogram = {entry["code"]: entry for entry in project["behaviors_conf"].values()}
    rows: list[Row] = []
    faults: dict[str, str] = {}
    media: list[Medium] = []
    notes: list[str] = []
    unknown = 0
    for name, observation in project["observations"].items():
        shown = _project_media(name, observation)
        offset_s = _offsets(observation).get(1)
        if shown and offset_s:
            notes.append(
                f"{quoted(name)} has an offset of {offset_s:g} s for player 1, which BORIS does "
                "not apply: the times are positions in its file. Use --offset if they are not."
            )
        origin_s = (shown[0].start_s or 0.0) if shown else 0.0
        media += (_moved(medium, -origin_s) for medium in shown)
        events = observation["events"]
        if any(event[0] is None or math.isnan(float(event[0])) for event in events):
            faults[name] = IMAGES.format(quoted(name))
            continue
        origin_s += float(observation.get("time offset") or 0)
        for event in sorted(events, key=lambda event: float(event[0])):
            time_s, subject, code = float(event[0]) - origin_s, str(event[1]), str(event[2])
            if code not in ethogram:
                unknown += 1
                continue
            is_state = str(ethogram[code].get("type")).lower().startswith("state")
            kind = "STATE" if is_state else "POINT"
            category = str(ethogram[code].get("category") or "")
            rows.append(Row(name, subject, code, category, (str(event[3]),), kind, time_s))
    coding = coding_of_rows(rows, faults, media, {_UNKNOWN: unknown})
    return replace(coding, notes=tuple(notes))


_UNKNOWN: Final = "events of behaviors that the ethogram lacks"


def _read_json(path: Path) -> Any:
    data = read_content(path)
    if path.name.lower().endswith(".gz"):
        with gzip.open(io.BytesIO(data)) as file:
            data = file.read(MAX_BYTES + 1)
        check_size(len(data), MAX_BYTES)
    check_marks(data, (b",", b"[", b"{"))
    try:
        return json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("its values nest too deep") from None


def _project_media(name: str, observation: Mapping[str, Any]) -> list[Medium]:
    """Return the media of an observation on the clock of its events, without the time offset.

    The files of one player follow each other. Player n > 1 starts its first file at its offset.
    With `media_creation_date_as_offset`, BORIS adds the creation time of player 1's file.
    """
    files = observation.get("file")
    players = {int(key): found for key, found in files.items()} if isinstance(files, dict) else {}
    info = observation.get("media_info") or {}
    lengths, has_video = _by_file(info.get("length")), _by_file(info.get("hasVideo"))
    is_dated = bool(observation.get("media_creation_date_as_offset"))
    dates = _by_file(info.get("media_creation_time"))
    offsets = _offsets(observation)
    first = players.get(1) or []
    media = []
    for player, paths in sorted(players.items()):
        start_s = 0.0 if player == 1 else offsets.get(player, 0.0)
        shifts: list[float | None] = [0.0] * len(paths)
        if is_dated and player == 1:
            shifts = [seconds_or_none(dates(path)) for path in paths]
        elif is_dated:  # which file of player 1 was shown then is unclear if it has several
            date = seconds_or_none(dates(first[0])) if len(first) == 1 else None
            shifts = [date] * len(paths)
        found = playlist(
            name, player, start_s, paths, [seconds_or_none(lengths(path)) for path in paths], shifts
        )
        for path, shift_s, medium in zip(paths, shifts, found, strict=True):
            is_sound = has_video(path) is False
            media.append(medium._replace(is_sound=is_sound, created_s=shift_s or 0.0))
    return media


def _offsets(observation: Mapping[str, Any]) -> dict[int, float]:
    """Return the offsets in seconds of the players that have one."""
    # Projects before version 7 have one offset, for the second player.
    given = {"2": observation.get("time offset second player")}
    given |= (observation.get("media_info") or {}).get("offset") or {}
    return {
        int(player): seconds_or_none(value) or 0.0
        for player, value in given.items()
        if str(player).isdecimal()
    }


def _by_file(values: Any) -> Callable[[str], Any]:
    """Return a look-up in a table of files: by path, or by name if the path differs."""
    values = values if isinstance(values, dict) else {}
    by_name = {file_name(key): value for key, value in values.items()}
    return lambda path: values.get(path, by_name.get(file_name(path)))


def file_name(path: str) -> str:
    return PureWindowsPath(str(path)).name  # it splits at / and at \


def seconds_or_none(value: Any) -> float | None:
    """Return a finite number of seconds, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def playlist(
    observation: str,
    player: int,
    start_s: float | None,
    paths: Sequence[str],
    lengths: Sequence[float | None],
    shifts: Sequence[float | None],
) -> list[Medium]:
    """Return the media of one player, one after the other.

    shifts: the creation time that BORIS adds to the times of each; 0 if it adds none. Then, the
    first medium has no lower, and the last one no upper limit.
    """
    media: list[Medium] = []
    dated, last = any(shifts), len(paths) - 1
    for path, length_s, shift_s in zip(paths, lengths, shifts, strict=True):
        begin_s = None if start_s is None or shift_s is None else start_s + shift_s
        medium = Medium(file_name(path), observation, player, length_s, begin_s)
        if begin_s is not None and (media or dated):
            medium = medium._replace(from_s=begin_s)
        if begin_s is not None and (len(media) < last or dated):
            medium = medium._replace(to_s=None if length_s is None else begin_s + length_s)
        media.append(medium)
        start_s = None if start_s is None or length_s is None else start_s + length_s
    return media


def _moved(medium: Medium, seconds: float) -> Medium:
    start_s, to_s = (None if x is None else x + seconds for x in (medium.start_s, medium.to_s))
    return medium._replace(start_s=start_s, from_s=medium.from_s + seconds, to_s=to_s)


class Row(NamedTuple):
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


def coding_of_rows(
    rows: Iterable[Row],
    faults: dict[str, str],
    media: Sequence[Medium],
    left_out: Mapping[str, int],
) -> Coding:
    """Return the coding of what could be read; TimelineError if nothing could, but for a fault.

    rows: sorted by time within an observation. faults: observation → why it cannot be read.
    left_out: reason → number of other rows.
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
        elif end_s is None and row.kind in ("START", "STATE") and key not in open_since:
            open_since[key] = start_s
            continue
        elif end_s is None:
            wrong = "no STOP before this START" if row.kind == "START" else "no START before it"
            kind = one_line(row.kind, 20) or "no type"
            at = f"{quoted(row.behavior)} at {start_s:.3f} s has {kind}"
            faults.setdefault(row.observation, f"{at} and {wrong}: pair the events in BORIS.")
            continue
        category = row.category or UNNAMED
        label = row.behavior.removesuffix(f" ({category})")  # as boris_project appends it
        codes[row.observation, row.subject, category].append(Code(start_s, end_s, label))
    for (observation, subject, code, *_), time_s in open_since.items():
        whose = f" of {one_line(subject, 80)}" if subject else ""
        faults.setdefault(
            observation,
            f"{quoted(code)}{whose} starts at {time_s:.3f} s and never stops: add the stop "
            "event in BORIS.",
        )
    lanes = tuple(
        Lane(category, tuple(found), subject, observation=observation)
        for (observation, subject, category), found in codes.items()
        if observation not in faults
    )
    if faults and not lanes:
        raise TimelineError(next(iter(faults.values())))
    names = list(dict.fromkeys(medium.name for medium in media))
    name = names[0] if len(names) == 1 else None
    left_out = {reason: number for reason, number in left_out.items() if number}
    return Coding(lanes, name, faults=faults, media=tuple(media), left_out=left_out)
