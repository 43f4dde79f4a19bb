"""Selects the lane of a coder's file and the faces of a timeline to compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from moppet.coders.code_map import Vocabulary
from moppet.coders.codings import Coding, Lane, in_order
from moppet.timeline import Timeline
from moppet.values import TimelineError, UsageError
from moppet.vocabulary import SKIP


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
            codes = in_order((*joined[key].codes, *lane.codes))
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
