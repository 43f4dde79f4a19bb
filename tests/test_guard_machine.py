"""What the guard does with frames, by example."""

from __future__ import annotations

from typing import Any

import pytest

from guard_rows import AGAIN, RULE, empty, face, make_guard
from moppet.guard import Event, Guard
from moppet.guard.rules import DEFAULT_RULES


def play(guard: Guard, *parts: tuple[float, Any], fps: float = 10, resumes: bool = False) -> list:
    """Show the parts (seconds, what) one after another; what: crying's share, or a status."""
    events: list[Event] = []
    end_s = guard._last[0] + 1 / fps if guard._last else 0.0
    for seconds, what in parts:
        for i in range(round(seconds * fps)):
            time_s = end_s + i / fps
            row = empty(time_s, what) if isinstance(what, str) else face(time_s, what)
            for event in guard.observe([row]):
                events.append(event)
                if resumes and event.kind == "resume":
                    guard.resume(event.time_s)
        end_s += seconds
    return events


def kinds(events: list[Event]) -> list[tuple[str, float]]:
    return [(event.kind, pytest.approx(event.time_s, abs=1e-6)) for event in events]


def test_it_pauses_once_the_child_was_negative_for_the_time() -> None:
    events = play(make_guard(), (5, 0.1), (3.9, 0.9), (5, 0.1), (6, 0.9))
    assert kinds(events) == [("pause", 17.9)]
    (event,) = events
    assert event.rule == RULE and event.face_id == 0
    assert event.value == pytest.approx(0.9) and event.counted_s == pytest.approx(4)


def test_the_level_itself_counts_as_float32_holds_it() -> None:
    assert play(make_guard("crying >= 60 % for 1 s -> pause"), (2, 0.6))
    assert not play(make_guard("crying >= 60 % for 1 s -> pause"), (2, 0.599))


def test_short_interruptions_take_away_what_they_last() -> None:
    events = play(make_guard(), (2, 0.9), (0.5, 0.1), (6, 0.9))
    assert kinds(events) == [("pause", 5.0)]


def test_a_long_interruption_starts_the_count_afresh() -> None:
    events = play(make_guard(), (3, 0.9), (1.1, 0.1), (6, 0.9))
    assert kinds(events) == [("pause", 8.1)]


def test_the_time_of_a_hole_is_nobodys() -> None:
    guard = make_guard()
    play(guard, (3, 0.9))
    assert guard.observe([face(10.0, 0.9)]) == []
    assert guard.observe([face(10.5, 0.9)]) == []
    assert guard.summary.unwatched_s == pytest.approx(7.1)


def test_after_a_hit_the_rule_rests_then_counts_anew() -> None:
    events = play(make_guard(RULE, AGAIN), (30, 0.9))
    assert kinds(events) == [("pause", 4.0), ("alert", 18.0)]
    assert events[1].rule == f"{RULE}; {AGAIN}"
    assert kinds(play(make_guard(RULE, AGAIN, cooldown_s=0), (9, 0.9))) == [
        ("pause", 4.0),
        ("alert", 8.0),
    ]


def test_a_calm_child_may_go_on_and_nothing_is_paused_twice() -> None:
    guard = make_guard()
    events = play(guard, (5, 0.9), (20, 0.1))
    assert kinds(events) == [("pause", 4.0), ("resume", 10.0)]
    assert guard.paused
    guard.resume(25.0)
    assert not guard.paused


def test_half_calm_is_not_calm() -> None:
    # 0.45 lies below the level of 0.6, but not below 70 % of it.
    assert kinds(play(make_guard(), (5, 0.9), (20, 0.45))) == [("pause", 4.0)]


def test_a_child_who_cries_again_takes_the_permission_back() -> None:
    events = play(make_guard(RULE, AGAIN), (5, 0.9), (10, 0.1), (6, 0.9), (10, 0.1))
    assert [event.kind for event in events] == ["pause", "resume", "alert", "resume"]


def test_again_runs_from_the_end_of_the_pause() -> None:
    script = (5, 0.9), (6, 0.1), (115, 0.1), (6, 0.9)
    events = play(make_guard(RULE, AGAIN), *script, resumes=True)
    assert [event.kind for event in events] == ["pause", "resume", "pause", "alert"]
    later = (5, 0.9), (6, 0.1), (118, 0.1), (6, 0.9)
    events = play(make_guard(RULE, AGAIN), *later, resumes=True)
    assert [event.kind for event in events] == ["pause", "resume", "pause"]


def test_nobody_for_the_time_pauses_and_the_child_s_return_allows_to_go_on() -> None:
    events = play(make_guard(*DEFAULT_RULES), (5, 0.1), (40, "no_face"), (8, 0.1))
    assert kinds(events) == [("pause", 35.0), ("resume", 50.0)]
    assert events[0].value is None and events[0].face_id is None


@pytest.mark.parametrize("status", ["unreadable", "skipped"])
def test_a_frame_that_was_not_looked_at_is_not_an_empty_one(status: str) -> None:
    assert play(make_guard("no face for 3 s -> alert"), (0.1, 0.1), (20, status)) == []


def test_an_alert_alone_pauses_nothing() -> None:
    guard = make_guard("joy + crying >= 50 % for 2 s -> alert")
    assert kinds(play(guard, (5, 0.9))) == [("alert", 2.0)]
    assert not guard.paused


def test_the_largest_face_is_the_child_and_stays_so_while_it_is_there() -> None:
    guard = make_guard("negative >= 60 % for 1 s -> pause")
    for i in range(30):  # the other is larger at times, but never for two seconds on end
        small = face(i / 10, 0.0, face_id=1, side=50 if i % 18 < 5 else 300)
        events = guard.observe([face(i / 10, 0.9), small])
        assert [event.face_id for event in events] == ([0] if i == 10 else [])


def test_a_face_that_stays_much_larger_takes_over() -> None:
    guard = make_guard("negative >= 60 % for 1 s -> alert", cooldown_s=0)
    alerts = []
    for i in range(60):  # a parent first, then the child before the camera, both there
        rows = [face(i / 10, 0.0, side=100), face(i / 10, 0.9, face_id=1, side=130)]
        alerts += guard.observe(rows if i >= 10 else rows[:1])
    assert [(event.face_id, event.time_s) for event in alerts] == [(1, 4.0), (1, 5.0)]


def test_longest_is_the_face_that_was_seen_longest() -> None:
    guard = make_guard("negative >= 60 % for 1 s -> pause", child="longest")
    for i in range(40):
        guard.observe(
            [face(i / 10, 0.0, face_id=6, side=90), face(i / 10, 0.9, face_id=7, side=50)]
        )
    for i in range(40, 80):  # the child is gone; of the others, one is known and one is larger
        both = face(i / 10, 0.9, face_id=7, side=50), face(i / 10, 0.0, face_id=8, side=300)
        events = guard.observe(both)
        assert [event.face_id for event in events] == ([7] if i == 60 else [])


def test_a_chosen_face_is_the_child() -> None:
    guard = make_guard("negative >= 60 % for 4 s -> pause")
    events = []
    for i in range(60):
        rows = [face(i / 10, 0.0, face_id=0, side=200), face(i / 10, 0.9, face_id=1)]
        events += guard.observe(rows)
        if i == 0:
            guard.choose_child(1)
    assert [(event.face_id, event.time_s) for event in events] == [(1, 4.1)]


def test_another_face_does_not_inherit_the_count() -> None:
    guard = make_guard()
    play(guard, (3.5, 0.9))
    events = []
    for i in range(36, 85):  # the first face is gone; after a second the other one is the child
        events += guard.observe([face(i / 10, 0.9, face_id=1)])
    assert kinds(events) == []
    assert kinds(guard.observe([face(8.5, 0.9, face_id=1)])) == [("pause", 8.5)]


def test_not_even_the_last_frame_of_another_face_is_inherited() -> None:
    guard = make_guard("negative >= 60 % for 0.9 s -> alert")
    assert guard.observe([face(0.0, 0.9)]) == guard.observe([face(0.5, 0.9)]) == []
    guard.choose_child(1)
    events = [guard.observe([face(time_s, 0.9, face_id=1)]) for time_s in (1.0, 1.5, 2.0)]
    assert kinds(sum(events, [])) == [("alert", 2.0)]


def test_a_count_starts_at_the_first_frame_after_a_resume() -> None:
    guard = make_guard("negative >= 60 % for 1 s -> alert", cooldown_s=0)
    play(guard, (0.9, 0.9))
    guard.resume(0.9)
    assert kinds(play(guard, (2, 0.9))) == [("alert", 1.9)]


def test_why_is_the_curve_that_led_to_the_event() -> None:
    (event,) = play(make_guard(), (8, 0.1), (6, 0.9))
    why = event.why
    assert len(why.time_s) == len(why.value) == len(why.counts) <= 41
    assert why.time_s[-1] == event.time_s and why.value[-1] == pytest.approx(0.9)
    assert why.time_s[0] <= event.time_s - 5 and why.value[0] == pytest.approx(0.1)
    assert [value > 0.5 for value in why.value if value is not None] == list(why.counts)


def test_if_time_runs_backwards_counts_start_afresh() -> None:
    guard = make_guard()
    play(guard, (3.5, 0.9))
    events = [guard.observe([face(1 + i / 10, 0.9)]) for i in range(41)]
    assert kinds(sum(events, [])) == [("pause", 5.0)]


def test_the_summary_tells_where_the_time_went() -> None:
    guard = make_guard()
    play(guard, (2, 0.9), (3, "no_face"))
    guard.observe([face(5.0, 0.9, unsure=True, quality=0.1)])
    guard.observe([face(5.5, 0.9)])
    total = guard.summary
    assert (total.sure_s, total.absent_s) == (pytest.approx(2), pytest.approx(3))
    assert total.unsure_s == pytest.approx(0.5) and total.unwatched_s == 0
    assert total.watched_s == pytest.approx(5.5)
