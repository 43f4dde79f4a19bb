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
from moppet.coders.codings import Coding, Lane, counted, quoted, shifted
from moppet.coders.media import Placed, Recording, of_observation, place
from moppet.coders.programs import read_coding
from moppet.coders.time_units import human_track, machine_track, make_units
from moppet.timeline import Timeline
from moppet.timeline.annotations import CORRECTIONS_SUFFIX, read_annotated, read_corrections
from moppet.values import UsageError
from moppet.vocabulary import SKIP

REST: Final = "rest"
NO_FACE: Final = "no face"
COUNTABLE: Final = ("unsure", NO_FACE)

Ask = Callable[[Counter[str], Vocabulary, Level | None], Mapping[str, str]]
"""Callback that asks for the meaning of unknown codes: (code → count, the names to choose from, the
level if known) → code → name."""


@dataclass(frozen=True)
class Coder:
    """A coder's file: the part to read, and the seconds to add to get times of the video.

    tiers: those that are one coding together; none selects the only one with known codes.
    medium: which of several media in the file is the video; None selects it by name or length.
    """

    path: Path
    tiers: tuple[str, ...] = ()
    observation: str | None = None
    offset_s: float = 0.0
    medium: str | None = None


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


def _check_corrections(job: Job, origin: Mapping[str, Any]) -> None:
    """Raise TimelineError for a file of corrections of another recording or analysis."""
    for coder in job.coders:
        if coder.path.name.endswith(CORRECTIONS_SUFFIX) and coder.path.is_file():
            read_corrections(coder.path, origin)


def compare_files(job: Job, ask: Ask | None = None) -> Result:
    """Return the agreement between a timeline and the coders' files.

    ask: called for unknown codes; without it, unknown codes are an error.
    Raises UsageError for an option that does not fit the files, TimelineError for an unreadable
    file.
    """
    _check(job)
    annotated = read_annotated(job.timeline)
    timeline = annotated.timeline
    _check_corrections(job, annotated.origin)
    plain = Vocabulary(timeline.names, timeline.group_of, {})
    vocabulary = replace(plain, given=read_map(job.code_map, plain))
    recording = Recording(timeline.metadata.get("source_name"), timeline.metadata.get("duration_s"))
    read = [_read_coder(coder, vocabulary, recording) for coder in job.coders]
    lanes = [one.lane for one in read]
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
            {"file": coder.path.name, "tier": one.lane.title, "offset_s": coder.offset_s}
            | one.as_json()
            for coder, one in zip(job.coders, read, strict=True)
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
    notes = [note for one in read for note in one.notes]
    notes += _skipped(job, vocabulary, lanes)
    return Result(comparison, about, [*notes, *_notes(comparison)])


@dataclass(frozen=True)
class _Read:
    """What is compared of a coder's file: the lane in recording time, and what was left out."""

    lane: Lane
    placed: Placed
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        found = self.placed.coding
        return {
            "medium": self.placed.as_json(),
            "codes": len(self.lane.codes),
            "left_out": counted(self.lane.left_out, found.left_out),
            "tiers_not_used": {x.title: len(x.codes) for x in _others(found, self.lane)},
        }


def _read_coder(coder: Coder, vocabulary: Vocabulary, recording: Recording) -> _Read:
    placed = place(
        read_coding(coder.path),
        coder.path,
        recording,
        observation=coder.observation,
        wanted=coder.medium,
    )
    coding = shifted(placed.coding, coder.offset_s)
    which = {"observation": coder.observation, "recording": recording.name}
    lane = choose_lane(coding, coder.path, vocabulary, tiers=coder.tiers, **which)
    placed = replace(placed, coding=coding)
    name = coder.path.name
    notes = [*placed.notes, *(f"{name}: {note}" for note in coding.notes)]
    others = _others(coding, lane)
    if others and not coder.tiers:
        listed = ", ".join(f"{quoted(x.title)} ({_counts(x)})" for x in others[:12])
        more = f" and {len(others) - 12} more" if len(others) > 12 else ""
        notes.append(f"{name}: only {quoted(lane.title)} is compared; not used: {listed}{more}.")
    if lane.is_presence:
        notes.append(
            f"{name}: {quoted(lane.title)} has times without values, so its name is the code."
            if lane.name
            else f"{name}: {quoted(lane.person)} have times without values: their names are the "
            "codes, compared as one tier."
        )
    if lane.left_out:
        missing = sum(lane.left_out.values())
        reasons = ", ".join(f"{number} {reason}" for reason, number in lane.left_out.items())
        notes.append(
            f"{name}: {missing} of the {_codes(missing + len(lane.codes))} in {quoted(lane.title)} "
            f"{'is' if missing == 1 else 'are'} left out: {reasons}."
        )
    if coding.left_out:
        rows = ", ".join(f"{number} {reason}" for reason, number in coding.left_out.items())
        notes.append(f"{name}: left out: {rows}.")
    return _Read(lane, placed, [*notes, *_outside(lane, name, recording)])


def _codes(number: int) -> str:
    return f"{number} code{'' if number == 1 else 's'}"


def _counts(lane: Lane) -> str:
    missing = sum(lane.left_out.values())
    return _codes(len(lane.codes)) + (f", {missing} left out" if missing else "")


def _others(coding: Coding, lane: Lane) -> list[Lane]:
    """Return the lanes with codes besides the compared one."""

    used = {id(code) for code in lane.codes}
    return [x for x in coding.lanes if x.codes and not all(id(code) in used for code in x.codes)]


def _outside(lane: Lane, name: str, recording: Recording) -> list[str]:
    """Return a note if codes lie outside the recording."""
    end_s = recording.length_s
    if end_s is None:
        return []
    out = sum(code.end_s < 0 or code.start_s > end_s for code in lane.codes)
    if not out:
        return []
    return [
        f"{name}: {out} of {_codes(len(lane.codes))} in {quoted(lane.title)} "
        f"{'lies' if out == 1 else 'lie'} outside the recording (0 to {end_s:.1f} s)."
    ]


def _skipped(job: Job, vocabulary: Vocabulary, lanes: Sequence[Lane]) -> list[str]:
    """Return a note for each coder on the codes whose time is left out because they mean SKIP."""
    notes = []
    for coder, lane in zip(job.coders, lanes, strict=True):
        skipped = Counter(x.label for x in lane.codes if vocabulary.target_of(x.label) == SKIP)
        if skipped:
            listed = ", ".join(f"{quoted(label)} ({n})" for label, n in skipped.most_common(8))
            more = f" and {len(skipped) - 8} more" if len(skipped) > 8 else ""
            notes.append(
                f"{coder.path.name}: {skipped.total()} of {_codes(len(lane.codes))} "
                f"{'means' if skipped.total() == 1 else 'mean'} {SKIP!r}, so their time is left "
                f"out: {listed}{more}."
            )
    return notes


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
    only = [
        f"{track.name} has only {comparison.names[value.pop()]!r}"
        for track in comparison.tracks
        if len(value := set(track.value[comparison.everyone].tolist())) == 1
    ]
    if only:
        notes.append(
            f"In the compared time, {' and '.join(only)}: kappa does not measure agreement there."
        )
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
    tiers: Sequence[str],
    observation: str | None,
    recording: str | None,
) -> Lane:
    """Return the lane of a coder's file that is compared.

    tiers: each a tier, column or BORIS subject, by its name, its path ("parent/name"), its number
        in the file (1 is the first), or a unique part of the name; several are joined. None
        selects the only one with a known code; several tiers that have times only, such as "smile"
        and "cry", are joined then.
    observation: of a BORIS file with several; None selects the one named like the recording.
    Raises UsageError with the available names if the choice is not unique.
    """
    coding = of_observation(coding, path, observation, Recording(recording))
    lanes = [lane for lane in coding.lanes if lane.codes]
    if not lanes:
        left_out = counted(*(lane.left_out for lane in coding.lanes), coding.left_out)
        found = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
        raise UsageError(
            f"{path} contains no codes{' of this recording' if found else ''}"
            f"{f' (left out: {found})' if found else ''}."
        )
    subjects = _by_subject(lanes)
    if tiers:
        return _joined([_named(coding.lanes, subjects, path, tier) for tier in tiers])
    fit = [
        lane
        for lane in subjects
        if any(vocabulary.target_of(label) not in (None, SKIP) for label in lane.labels)
    ]
    candidates = fit or subjects
    if len(candidates) > 1 and all(lane.is_presence for lane in candidates):
        return _joined(candidates)
    if len(candidates) > 1:
        raise UsageError(
            f"{path} has several tiers ({_titles(candidates, coding.lanes)}): use --tier to select "
            "the one to compare, once for each of several that are one coding."
        )
    return candidates[0]


_NO_SUBJECT: Final = "no subject"


def _joined(lanes: Sequence[Lane]) -> Lane:
    """Return one lane of several; a lane or a code that is given twice counts once."""
    lanes = list({id(lane): lane for lane in lanes}.values())
    if len(lanes) == 1:
        return lanes[0]
    codes = tuple({id(code): code for lane in lanes for code in lane.codes}.values())
    left_out = counted(*(lane.left_out for lane in lanes))
    titles = ", ".join(lane.title for lane in lanes)
    is_presence = all(lane.is_presence for lane in lanes)
    return Lane("", codes, titles, left_out=left_out, is_presence=is_presence)


def _by_subject(lanes: Sequence[Lane]) -> list[Lane]:
    """Return the lanes, joining all categories of a BORIS subject into one."""
    joined: dict[tuple[str, str | int], Lane] = {}
    for number, lane in enumerate(lanes):
        key = (lane.observation, lane.person) if lane.observation else ("", number)
        if key in joined:
            before = joined[key]
            joined[key] = Lane(
                name="",
                codes=(*before.codes, *lane.codes),
                person=lane.person or _NO_SUBJECT,
                observation=lane.observation,
                left_out=counted(before.left_out, lane.left_out),
            )
        else:
            joined[key] = lane
    return list(joined.values())


def _named(all_lanes: Sequence[Lane], subjects: Sequence[Lane], path: Path, tier: str) -> Lane:
    word = tier.casefold()
    lanes = [lane for lane in all_lanes if lane.codes]
    number = word.removeprefix("#")
    at = int(number) - 1 if number.isdecimal() and len(number) < 6 else -1
    tests: list[tuple[Sequence[Lane], Callable[[Lane], bool]]] = [
        (lanes, lambda lane: lane.title.casefold() == word),
        (lanes, lambda lane: lane.path.casefold() == word),
        (subjects, lambda lane: lane.person.casefold() == word),
        (lanes, lambda lane: 0 <= at < len(all_lanes) and lane is all_lanes[at]),
        (lanes, lambda lane: word in lane.title.casefold()),
    ]
    for among, test in tests:
        found = [lane for lane in among if test(lane)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{path} has several tiers like {tier!r}: {_titles(found, all_lanes)}."
            )
    raise UsageError(f"{path} has no tier {tier!r} with codes; it has {_titles(lanes, all_lanes)}.")


def _titles(lanes: Sequence[Lane], all_lanes: Sequence[Lane]) -> str:
    """Return the names in quotes; with paths and numbers in the file if a name occurs twice."""
    titles = [quoted(lane.title) for lane in lanes]
    if len(set(titles)) < len(titles):
        numbers = {id(lane): number for number, lane in enumerate(all_lanes, 1)}
        titles = [
            f"#{numbers[id(x)]} {quoted(x.path)}" if id(x) in numbers else quoted(x.title)
            for x in lanes
        ]
    more = f" and {len(titles) - 12} more" if len(titles) > 12 else ""
    return ", ".join(titles[:12]) + more


def coded_times(
    path: Path,
    tier: str | None,
    group: str,
    names: Sequence[str],
    group_of: Mapping[str, str],
    recording: str,
    tell: Callable[[str], None],
) -> list[tuple[float, float]]:
    """Return start and end of each code that means a group, in seconds.

    tier: the part of the file to use. names, group_of: the classes of a model and their groups.
    recording: its file name. tell: called with each caution on what was read.
    Raises UsageError for an unknown tier or code, TimelineError for a file that cannot be read.
    """
    vocabulary = Vocabulary(names, group_of, {})
    tiers = () if tier is None else (tier,)
    read = _read_coder(Coder(path, tiers), vocabulary, Recording(recording))
    for note in read.notes:
        tell(note)
    lane = read.lane
    check_known(lane.labels, vocabulary, str(path))
    return [
        (code.start_s, code.end_s)
        for code in lane.codes
        if not code.is_point and vocabulary.name_of("group", code.label) == group
    ]
