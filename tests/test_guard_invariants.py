"""What holds for the guard over every recording."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_rows import empty, face, make_guard
from moppet.guard import Event, Guard

STEPS = st.sampled_from([0.04, 0.1, 0.1, 0.3, 0.9, 1.5])
SIGHTS = st.sampled_from([0.95, 0.95, 0.95, 0.61, 0.5, 0.1, "unsure", "low_quality", "no_face",
                          "unreadable", "unclassified"])  # fmt: skip
RECORDINGS = st.lists(st.tuples(STEPS, SIGHTS, st.integers(1, 12)), max_size=40)
SEVERAL = ("negative >= 60 % for 1 s -> pause", "again within 5 s -> pause and alert",
           "no face for 2 s -> pause", "joy >= 60 % for 1 s -> alert")  # fmt: skip


def frame(time_s: float, sight: float | str) -> dict:
    if isinstance(sight, float):
        return face(time_s, sight)
    if sight == "unsure":
        return face(time_s, 0.95, unsure=True, quality=0.1)
    if sight == "low_quality":
        return face(time_s, 0.95, unsure=True, status="low_quality")
    if sight == "unclassified":
        nothing = dict.fromkeys(("s_joy", "s_crying", "s_calm"))
        return face(time_s, 0.95, unsure=True) | nothing
    return empty(time_s, sight)


def frames_of(recording: list[tuple[float, float | str, int]]) -> list[tuple[float, float | str]]:
    frames, time_s = [], 0.0
    for step_s, sight, times in recording:
        for _ in range(times):
            frames.append((round(time_s, 6), sight))
            time_s += step_s
    return frames


def run(guard: Guard, frames: list[tuple[float, Any]], resumes: bool = True) -> list[Event]:
    events: list[Event] = []
    for time_s, sight in frames:
        for event in guard.observe([frame(time_s, sight)]):
            events.append(event)
            if resumes and event.kind == "resume":
                guard.resume(event.time_s)
    return events


@given(RECORDINGS)
@settings(deadline=None)
def test_what_is_unsure_or_gone_never_counts_as_negative(recording) -> None:
    frames = [
        (time_s, "unsure" if sight in (0.95, 0.61) else sight)
        for time_s, sight in frames_of(recording)
    ]
    assert run(make_guard("negative >= 60 % for 0.05 s -> pause and alert"), frames) == []


@given(RECORDINGS, st.booleans())
@settings(deadline=None)
def test_pauses_and_resumes_take_turns(recording, resumes: bool) -> None:
    paused = allowed = False
    guard = make_guard(*SEVERAL, cooldown_s=1, calm_s=1)
    for event in run(guard, frames_of(recording), resumes):
        if event.kind == "pause":
            assert not paused
            paused = True
        if event.kind == "resume":
            assert paused
            allowed = True
            paused = not resumes
    assert guard.paused == paused and (allowed or guard.summary.events["resume"] == 0)


@given(RECORDINGS)
@settings(deadline=None)
def test_every_hit_has_its_seconds_of_sure_negative_time_just_before(recording) -> None:
    """Checked against the frames themselves, without the guard's own counting."""
    frames = frames_of(recording)
    for event in run(make_guard(*SEVERAL[:2], cooldown_s=1), frames):
        if event.kind == "resume":
            continue
        now = [time_s for time_s, _ in frames].index(event.time_s)
        assert frames[now][1] in (0.95, 0.61)
        good = other = longest = streak = 0.0
        for (time_s, sight), (next_s, _) in reversed(list(pairwise(frames))):
            if next_s > event.time_s or good - other >= 1 - 1e-6:
                continue
            counts = sight in (0.95, 0.61) and next_s - time_s <= 1 + 1e-6
            good, other = (
                good + (next_s - time_s) * counts,
                other + (next_s - time_s) * (not counts),
            )
            streak = 0.0 if counts else streak + next_s - time_s
            longest = max(longest, streak)
        assert good - other >= 1 - 1e-6 and longest <= 1 + 1e-6


@given(RECORDINGS, st.integers(2, 5), st.sampled_from([SEVERAL[0], SEVERAL[2]]))
@settings(deadline=None)
def test_times_do_not_depend_on_the_frame_rate(recording, finer: int, rule: str) -> None:
    """Where more frames show the same, an event comes in the old step before, or was missed there.

    It was missed if the step filled the time needed and the next frame no longer counted.
    """
    frames, dense = frames_of(recording), []
    for (time_s, sight), (next_s, _) in pairwise(frames):
        parts = finer if next_s - time_s <= 1 else 1  # a hole stays one
        dense += [(time_s + i * (next_s - time_s) / parts, sight) for i in range(parts)]
    dense += frames[-1:]
    coarse = [event.time_s for event in run(make_guard(rule), frames, False)[:1]]
    fine = [event.time_s for event in run(make_guard(rule), dense, False)[:1]]
    if not fine:
        assert not coarse
        return
    at_s, sight = next((time_s, s) for time_s, s in frames if time_s >= fine[0] - 1e-6)
    if sight in ((0.95, 0.61) if rule == SEVERAL[0] else ("no_face",)):
        assert coarse == [at_s]
    else:
        assert not coarse or coarse[0] > at_s


@given(RECORDINGS, st.integers(0, 100_000))
@settings(deadline=None)
def test_a_recording_that_begins_later_gives_the_same_events_later(recording, shift_s: int) -> None:
    frames = frames_of(recording)
    options = {"cooldown_s": 1, "calm_s": 1}
    plain = run(make_guard(*SEVERAL, **options), frames)
    later = run(make_guard(*SEVERAL, **options), [(t + shift_s, s) for t, s in frames])
    assert [(e.kind, e.rule) for e in plain] == [(e.kind, e.rule) for e in later]
    assert [e.time_s + shift_s for e in plain] == pytest.approx([e.time_s for e in later])


@given(RECORDINGS)
@settings(deadline=None)
def test_a_smaller_face_beside_the_child_changes_nothing(recording) -> None:
    frames = [(t, s) for t, s in frames_of(recording) if s not in ("no_face", "unreadable")]
    alone, beside = make_guard(*SEVERAL), make_guard(*SEVERAL)
    for time_s, sight in frames:
        other = face(time_s, 0.99, face_id=1, side=20)
        assert alone.observe([frame(time_s, sight)]) == beside.observe(
            [frame(time_s, sight), other]
        )
