"""A comparison of a timeline with the files of one or two coders."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from moppet.coders.agreement import FEW_BLOCKS, Comparison, compare_tracks
from moppet.coders.code_map import (
    LEVELS,
    Level,
    Vocabulary,
    check_known,
    read_map,
    unknown_labels,
)
from moppet.coders.codings import Coding, Lane, shifted
from moppet.coders.programs import read_coding
from moppet.coders.time_units import human_track, machine_track, make_units
from moppet.timeline import Timeline
from moppet.timeline.annotations import CORRECTIONS_SUFFIX, read_annotated, read_corrections
from moppet.values import TimelineError, UsageError
from moppet.vocabulary import SKIP

REST: Final = "rest"
NO_FACE: Final = "no face"
COUNTABLE: Final = ("unsure", NO_FACE)

Ask = Callable[[Counter[str], Vocabulary, Level | None], Mapping[str, str]]
"""Callback that asks for the meaning of unknown codes: (code → count, the names to choose from, the
level if known) → code → name."""


@dataclass(frozen=True)
class Coder:
    """A coder's file: the part to read, and the seconds to add to get times of the video."""

    path: Path
    tier: str | None = None
    observation: str | None = None
    offset_s: float = 0.0


@dataclass(frozen=True)
class Job:
    """The files and settings of a comparison. The fields are the options of `moppet compare`."""

    timeline: Path
    coders: Sequence[Coder]
    face: str | None = None
    code_map: Sequence[str] = ()
    level: str | None = None
    unit_s: float = 0.1
    tolerance_s: float = 0.5
    uncoded: str = SKIP
    count: Sequence[str] = ()
    start_s: float | None = None
    end_s: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """A comparison, its settings, and cautions for the reader."""

    comparison: Comparison
    about: dict[str, Any]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return plain values; undefined figures are None."""
        found = self.comparison
        return {
            "about": self.about,
            "notes": self.notes,
            "left_out_s": found.left_out_s(),
            "pairs": [pair.as_json(found.names) for pair in found.pairs],
        }


def compare_files(job: Job, ask: Ask | None = None) -> Result:
    """Return the agreement between a timeline and the coders' files.

    ask: called for unknown codes; without it, unknown codes are an error.
    Raises UsageError for an option that does not fit the files, TimelineError for an unreadable
    file.
    """
    _check(job)
    timeline = read_annotated(job.timeline).timeline
    for coder in job.coders:
        if coder.path.name.endswith(CORRECTIONS_SUFFIX) and coder.path.is_file():
            read_corrections(coder.path, timeline.metadata)  # refuses another recording's
    plain = Vocabulary(timeline.names, timeline.group_of, {})
    vocabulary = replace(plain, given=read_map(job.code_map, plain))
    lanes, notes = _read_lanes(job, vocabulary, timeline.metadata.get("source_name"))
    faces = choose_faces(timeline, job.face)
    vocabulary = _name_codes(job, vocabulary, lanes, ask)
    level = _level(job, vocabulary, lanes)
    comparison = _compare(job, timeline, vocabulary, level, lanes, faces)
    about = {
        "timeline": job.timeline.name,
        "recording": timeline.metadata.get("source_name"),
        "model": timeline.metadata.get("model_name"),
        "faces": faces,
        "people": [timeline.face_name(face) for face in faces],
        "coders": [
            {"file": coder.path.name, "tier": lane.title, "offset_s": coder.offset_s}
            for coder, lane in zip(job.coders, lanes, strict=True)
        ],
        "level": level,
        "code_map": {
            x: vocabulary.name_of(level, x) or SKIP for lane in lanes for x in lane.labels
        },
        "unit_s": job.unit_s,
        "tolerance_s": job.tolerance_s,
        "uncoded": job.uncoded,
        "counted": list(job.count),
        "from_s": comparison.units.from_s,
        "to_s": comparison.units.from_s + comparison.units.n * job.unit_s,
        "seed": job.seed,
    }
    return Result(comparison, about, [*notes, *_notes(comparison)])


def _read_lanes(
    job: Job, vocabulary: Vocabulary, recording: str | None
) -> tuple[list[Lane], list[str]]:
    """Return each coder's lane in recording time, and notes on files of another recording."""
    lanes, notes = [], []
    for coder in job.coders:
        coding = shifted(read_coding(coder.path), coder.offset_s)
        which = {"tier": coder.tier, "observation": coder.observation, "recording": recording}
        lanes.append(choose_lane(coding, coder.path, vocabulary, **which))
        if coding.source_name and recording and coding.source_name != recording:
            notes.append(
                f"{coder.path.name} codes {coding.source_name}, but the timeline is of {recording}."
            )
    return lanes, notes


def _name_codes(
    job: Job, vocabulary: Vocabulary, lanes: Sequence[Lane], ask: Ask | None
) -> Vocabulary:
    """Return the vocabulary with all unknown codes mapped by asking; UsageError without `ask`.

    Called last, so that other errors are raised before the user answers questions.
    """
    labels = [code.label for lane in lanes for code in lane.codes]
    if ask is not None and (unknown := unknown_labels(labels, vocabulary)):
        settled = _level(job, vocabulary, lanes)
        level = settled if job.level or settled == "group" else None
        given = {**vocabulary.given, **ask(unknown, vocabulary, level)}
        vocabulary = replace(vocabulary, given=given)
    for coder, lane in zip(job.coders, lanes, strict=True):
        check_known([code.label for code in lane.codes], vocabulary, str(coder.path))
    return vocabulary


def _check(job: Job) -> None:
    if not (math.isfinite(job.unit_s) and 0.001 <= job.unit_s <= 60):
        raise UsageError(f"--unit must be between 0.001 and 60 seconds, got {job.unit_s}.")
    if not (math.isfinite(job.tolerance_s) and job.tolerance_s >= 0):
        raise UsageError(f"--tolerance must be 0 seconds or more, got {job.tolerance_s}.")
    numbers = (job.start_s, job.end_s, *(coder.offset_s for coder in job.coders))
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise UsageError("--start, --end and --offset must be finite numbers of seconds.")
    if job.level is not None and job.level not in LEVELS:
        raise UsageError(f"--level must be {' or '.join(LEVELS)}, got {job.level!r}.")
    unknown = [word for word in job.count if word not in COUNTABLE]
    if unknown:
        raise UsageError(f"--count takes {', '.join(COUNTABLE)}, got {unknown[0]!r}.")


def _level(job: Job, vocabulary: Vocabulary, lanes: Sequence[Lane]) -> Level:
    given = next((level for level in LEVELS if level == job.level), None)
    return given or vocabulary.level_of(label for lane in lanes for label in lane.labels)


def _compare(
    job: Job,
    timeline: Timeline,
    vocabulary: Vocabulary,
    level: Level,
    lanes: Sequence[Lane],
    faces: Sequence[int],
) -> Comparison:
    coded = {vocabulary.name_of(level, label) for lane in lanes for label in lane.labels} - {None}
    names = vocabulary.names(level)
    labels = [name for name in names if name in coded]
    if job.uncoded == REST:
        names = [*labels, REST]
    elif job.uncoded not in (SKIP, *names):
        raise UsageError(
            f"--uncoded must be {SKIP}, {REST} or one of {', '.join(names)}, got {job.uncoded!r}."
        )
    if NO_FACE in job.count:
        names = [*names, NO_FACE]
    units = make_units(timeline, job.unit_s, job.start_s, job.end_s)
    uncoded = None if job.uncoded == SKIP else job.uncoded
    target_of = partial(vocabulary.name_of, level)
    raters = ["coder"] if len(lanes) == 1 else [f"coder {i}" for i in range(1, len(lanes) + 1)]
    humans = [
        human_track(lane, name, units, names, rename=target_of, uncoded=uncoded)
        for lane, name in zip(lanes, raters, strict=True)
    ]
    machine = machine_track(
        *(timeline, faces, units, names, level),
        rename=lambda label: label if label in names else REST,
        count=job.count,
    )
    return compare_tracks(
        *(humans, machine, units, names),
        labels=labels,
        tolerance_s=job.tolerance_s,
        rng=np.random.default_rng(job.seed),
    )


def _notes(comparison: Comparison) -> list[str]:
    notes = []
    first = comparison.pairs[0]
    if not comparison.everyone.any():
        notes.append(
            "At no time do all raters have a value. Check the times of the codes "
            "(--offset), the face (--face) and the tier (--tier)."
        )
    elif first.blocks < FEW_BLOCKS:
        were = "segment was" if first.blocks == 1 else "segments were"
        notes.append(f"Only {first.blocks} coded {were} compared: too few for good intervals.")
    points = [t.name for t in comparison.tracks if t.events and all(e.is_point for e in t.events)]
    notes += [f"{name} has point codes only: they count as events, not as time." for name in points]
    return notes


def choose_faces(timeline: Timeline, wanted: str | None) -> list[int]:
    """Return the face tracks of one person: those named ("0,2", "Mia", "child"), or the only one.

    Raises UsageError if there are several and none is named, or if a named one does not exist.
    """
    faces = {
        face["face_id"]: face
        for face in timeline.summary()["faces"].values()
        if face["face_id"] is not None
    }
    known = ", ".join(
        f"{face.get('name') or number} ({face['time_s'] or 0:.1f} s)"
        for number, face in faces.items()
    )
    if not faces:
        raise UsageError("The timeline has no face, so there is nothing to compare.")
    if wanted is None:
        if len(faces) == 1:
            return list(faces)
        raise UsageError(
            f"The timeline has the faces {known}: use --face to select the person that was "
            "coded, e.g. --face 0, or --face 0,2 if one person has several face tracks."
        )
    chosen: list[int] = []
    for part in (part.strip() for part in wanted.split(",")):
        found = [
            number
            for number, face in faces.items()
            if part.casefold() in (str(number), str(face.get("name")).casefold(), face.get("role"))
        ]
        if not found:
            raise UsageError(f"The timeline has no face {part}; it has {known}.")
        chosen += [number for number in found if number not in chosen]
    return chosen


def choose_lane(
    coding: Coding,
    path: Path,
    vocabulary: Vocabulary,
    *,
    tier: str | None,
    observation: str | None,
    recording: str | None,
) -> Lane:
    """Return the lane of a coder's file that is compared.

    tier: a tier, column or BORIS subject, by its name or a unique part of it; None selects the
        only one with a known code.
    observation: of a BORIS file with several; None selects the one named like the recording.
    Raises UsageError with the available names if the choice is not unique.
    """
    lanes = [lane for lane in coding.lanes if lane.codes]
    if not lanes:
        raise UsageError(f"{path} contains no codes.")
    lanes = _of_observation(lanes, coding.faults, path, observation, recording)
    subjects = _by_subject(lanes)
    if tier is not None:
        return _named(lanes, subjects, path, tier)
    fit = [
        lane
        for lane in subjects
        if any(vocabulary.target_of(label) not in (None, SKIP) for label in lane.labels)
    ]
    candidates = fit or subjects
    if len(candidates) > 1:
        raise UsageError(
            f"{path} has several tiers ({_titles(candidates)}): use --tier to select the one to "
            "compare."
        )
    return candidates[0]


def _of_observation(
    lanes: Sequence[Lane],
    faults: Mapping[str, str],
    path: Path,
    observation: str | None,
    recording: str | None,
) -> list[Lane]:
    names = list(dict.fromkeys([*(lane.observation for lane in lanes), *faults]))
    if observation is None and len(names) == 1:
        return list(lanes)
    wanted = observation or (Path(recording).stem if recording else "")
    for name, fault in faults.items():
        if name.casefold() == wanted.casefold():
            raise TimelineError(f"{path}: {fault}")
    found = [lane for lane in lanes if lane.observation.casefold() == wanted.casefold()]
    if not found:
        raise UsageError(
            f"{path} has the observations {', '.join(map(repr, names))}: use --observation to "
            f"select this recording{'' if observation is None else f', not {observation!r}'}."
        )
    return found


def _by_subject(lanes: Sequence[Lane]) -> list[Lane]:
    """Return the lanes, joining all categories of a BORIS subject into one."""
    joined: dict[tuple[str, str], Lane] = {}
    for lane in lanes:
        key = (lane.observation, lane.person) if lane.observation else ("", lane.title)
        if key in joined:
            codes = (*joined[key].codes, *lane.codes)
            joined[key] = Lane("", codes, lane.person or "no subject", "", lane.observation)
        else:
            joined[key] = lane
    return list(joined.values())


def _named(lanes: Sequence[Lane], subjects: Sequence[Lane], path: Path, tier: str) -> Lane:
    word = tier.casefold()
    tests: list[tuple[Sequence[Lane], Callable[[Lane], bool]]] = [
        (lanes, lambda lane: lane.title.casefold() == word),
        (subjects, lambda lane: lane.person.casefold() == word),
        (lanes, lambda lane: word in lane.title.casefold()),
    ]
    for among, test in tests:
        found = [lane for lane in among if test(lane)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{path} has several tiers like {tier!r}: {_titles(found)}.")
    raise UsageError(f"{path} has no tier {tier!r}; it has {_titles(lanes)}.")


def _titles(lanes: Sequence[Lane]) -> str:
    titles = [repr(lane.title) for lane in lanes]
    more = f" and {len(titles) - 12} more" if len(titles) > 12 else ""
    return ", ".join(titles[:12]) + more


def coded_times(
    path: Path,
    tier: str | None,
    group: str,
    names: Sequence[str],
    group_of: Mapping[str, str],
    recording: str,
) -> list[tuple[float, float]]:
    """Return start and end of each code that means a group, in seconds.

    tier: the part of the file to use. names, group_of: the classes of a model and their groups.
    Raises UsageError for an unknown tier or code, TimelineError for a file that cannot be read.
    """
    vocabulary = Vocabulary(names, group_of, {})
    lane = choose_lane(
        read_coding(path), path, vocabulary, tier=tier, observation=None, recording=recording
    )
    check_known(lane.labels, vocabulary, str(path))
    return [
        (code.start_s, code.end_s)
        for code in lane.codes
        if not code.is_point and vocabulary.name_of("group", code.label) == group
    ]
