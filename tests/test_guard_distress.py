"""The guard's distress score: what it weighs, the child's calm face, and rules about it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.config import check_settings
from moppet.guard import (
    DISTRESS_RULES,
    DistressMeter,
    DistressScore,
    Event,
    Guard,
    GuardSettings,
    default_rules,
    parse_rules,
    read_score,
)
from moppet.guard.distress import LEAST_WEIGHT, POPULATION_S, WINDOW_S, CalmFace, FeatureReader
from moppet.timeline import TimelineSettings
from moppet.values import EXPRESSIONS, GROUPS, ModelError, UsageError

MOVEMENTS = ("brow_lower", "jaw_open", "gaze_x")
CALM = (0.0, 0.05, 0.1, 0.15, 0.2)
BROWS = DistressScore(-4.0, {"m_brow_lower": CALM}, relative={"m_brow_lower": 10.0})
RULE = "distress >= 60 % for 4 s -> pause"


def face(time_s: float, brow: float | None, *, face_id: int = 0, **more: Any) -> dict[str, Any]:
    """A face that is unsure between sadness and anger, with lowered brows."""
    shown = dict.fromkeys(EXPRESSIONS, 0.0) | {"sadness": 0.45, "anger": 0.45, "neutral": 0.1}
    row = {f"{letter}_{name}": p for letter in "ps" for name, p in shown.items()}
    row |= {"time_s": time_s, "face_id": face_id, "status": "ok", "unsure": True, "quality": 1.0}
    row |= {"box_w": 50.0, "box_h": 50.0}
    return row | {"m_brow_lower": brow, "m_jaw_open": 0.0, "m_gaze_x": -0.5} | more


def make_guard(*rules: str, score: DistressScore | None = BROWS, **options: Any) -> Guard:
    chosen = GuardSettings(parse_rules(rules or (RULE,)), **options)
    return Guard(chosen, EXPRESSIONS, GROUPS, movements=MOVEMENTS, distress=score)


def play(guard: Guard, *parts: tuple[float, float], fps: float = 10, **more: Any) -> list[Event]:
    """Show brows for some seconds each, one after another."""
    events: list[Event] = []
    frames = [brow for seconds, brow in parts for _ in range(round(seconds * fps))]
    for i, brow in enumerate(frames):
        events += guard.observe([face(i / fps, brow, **more)])
    return events


def meter(score: DistressScore = BROWS) -> DistressMeter:
    still = TimelineSettings(smooth_s=0)
    return DistressMeter(score, EXPRESSIONS, GROUPS, MOVEMENTS, still)


def watch(of: DistressMeter, start_s: float, seconds: float, brow: float, fps: float = 10) -> float:
    """Show a lone face; return its last score."""
    score = None
    for i in range(round(seconds * fps)):
        row = face(start_s + i / fps, brow)
        score = of.update(row["time_s"], row, alone=True, reliable=True)
    assert score is not None
    return score


# ---------------------------------------------------------------------------------- the score


def test_the_score_is_the_logistic_function_of_what_the_card_weighs() -> None:
    score = DistressScore(
        -1.0, {"p_negative": (-2.0,), "m_brow_lower": (0.1,)}, {"p_negative": 0.5},
        {"p_negative": 0.25, "m_brow_lower": 2.0},
    )  # fmt: skip
    x = math.log(0.9 / 0.1)
    z = -1.0 + 0.5 * x + 0.25 * (x + 2.0) + 2.0 * (0.6 - 0.1)
    found = meter(score).update(0.0, face(0.0, 0.6), alone=True, reliable=True)
    assert found == pytest.approx(1 / (1 + math.exp(-z)), abs=1e-6)


def test_features_are_log_odds_of_a_class_or_a_group_and_movements() -> None:
    names = ("p_negative", "p_anger", "p_neutral", "p_happiness", "m_gaze_x")
    found = FeatureReader(names, EXPRESSIONS, GROUPS, MOVEMENTS).read(face(0.0, 0.0))
    odds = [0.9 / 0.1, 0.45 / 0.55, 0.1 / 0.9, 0.005 / 0.995]  # none is below 0.5 %
    assert found is not None and list(found) == pytest.approx([*np.log(odds), -0.5])
    nothing = face(0.0, 0.0, p_anger=None)
    assert FeatureReader(names, EXPRESSIONS, GROUPS, MOVEMENTS).read(nothing) is None


def test_a_reading_that_was_not_written_is_named() -> None:
    score = DistressScore(0.0, {"d_negative": (0.0,)}, {"d_negative": 1.0})
    with pytest.raises(UsageError, match=r"column d_sadness.*--reading display or both"):
        make_guard(score=score).observe([face(0.0, 0.5)])


def test_a_card_holds_the_score_as_it_was_written() -> None:
    import tomllib

    card = {"labels": list(EXPRESSIONS), "groups": dict(GROUPS), "movements": list(MOVEMENTS)}
    text = BROWS.to_toml() + "[distress.measured]\nmissed = 0.1\n"
    assert read_score(card | tomllib.loads(text)) == BROWS
    assert read_score(card) is None
    assert default_rules(card) != default_rules(card | tomllib.loads(text)) == DISTRESS_RULES


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (3, "must be a table"),
        ({}, "intercept"),
        ({"intercept": 1.0, "calm": {}}, "at least one feature"),
        ({"intercept": 1.0, "raw": {"m_jaw_open": 1.0}, "calm": {}}, "calm must have"),
        ({"intercept": math.nan, "raw": {"p_anger": 1}, "calm": {"p_anger": [0]}}, "intercept"),
        ({"intercept": 1.0, "raw": {"p_anger": 1}, "calm": {"p_anger": [1, 0]}}, "ascending"),
        ({"intercept": 1.0, "raw": {"p_anger": 1}, "calm": {"p_anger": []}}, "1 to 200"),
        ({"intercept": 1.0, "raw": {"m_blink": 1}, "calm": {"m_blink": [0]}}, "'m_blink'"),
        ({"intercept": 1.0, "raw": {"x_anger": 1}, "calm": {"x_anger": [0]}}, "'x_anger'"),
        ({"intercept": 1.0, "raw": {"p_rage": 1}, "calm": {"p_rage": [0]}}, "'p_rage'"),
    ],
)
def test_a_table_that_does_not_fit_the_model_is_refused(table: Any, says: str) -> None:
    card = {"labels": list(EXPRESSIONS), "groups": dict(GROUPS), "movements": list(MOVEMENTS)}
    with pytest.raises(ModelError, match=says):
        read_score(card | {"distress": table})


# ------------------------------------------------------------------------------- the calm face


def test_a_child_that_always_frowns_is_not_in_distress_for_long() -> None:
    person = meter()
    assert watch(person, 0, 0.1, 0.6) > 0.6
    assert watch(person, 1, 120, 0.6) < 0.1
    assert watch(person, 122, 1, 1.0) == pytest.approx(0.5, abs=0.01)


def test_distress_that_lasts_from_the_beginning_never_becomes_the_calm_face() -> None:
    person = meter()
    assert watch(person, 0, 3600, 0.9) > 0.9
    assert person.calm[0] <= max(CALM)
    assert LEAST_WEIGHT * WINDOW_S < POPULATION_S


def test_distress_after_a_calm_time_moves_nothing() -> None:
    person = meter()
    watch(person, 0, 60, 0.12)
    assert person.calm[0] == pytest.approx(0.12)
    watch(person, 60, 60, 0.9)
    assert person.calm[0] == pytest.approx(0.12)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
@settings(deadline=None)
def test_the_calm_face_is_a_weighted_median(seen: list[tuple[float, float]]) -> None:
    """Checked against the definition: half of the weight lies at or below it."""
    calm = CalmFace(np.array([CALM]))
    for value, calmness in seen:
        calm.add(np.array([value]), calmness, 0.5)
    values = [*CALM, *(value for value, _ in seen)]
    weights = [POPULATION_S / 5] * 5 + [0.5 * max(LEAST_WEIGHT, c) for _, c in seen]
    at_or_below = sum(w for v, w in zip(values, weights, strict=True) if v <= calm.features[0])
    below = sum(w for v, w in zip(values, weights, strict=True) if v < calm.features[0])
    assert below <= sum(weights) / 2 + 1e-9 and at_or_below >= sum(weights) / 2 - 1e-9


def test_only_the_last_minutes_count() -> None:
    person = meter()
    watch(person, 0, 600, 0.2)
    watch(person, 600, WINDOW_S + 1, 0.0)
    assert person.calm[0] == 0.0


@pytest.mark.parametrize("fps", [4, 10, 30])
def test_the_calm_face_depends_on_times_and_not_on_frames(fps: float) -> None:
    person = meter()
    for start_s, brow in ((0, 0.12), (20, 0.9), (40, 0.3), (60, 0.12), (80, 0.05)):
        watch(person, start_s, 20, brow, fps)
    reference = meter()
    for start_s, brow in ((0, 0.12), (20, 0.9), (40, 0.3), (60, 0.12), (80, 0.05)):
        watch(reference, start_s, 20, brow, 2)
    assert person.calm[0] == pytest.approx(reference.calm[0], abs=0.02)


def test_a_face_of_poor_quality_says_nothing_of_the_calm_face() -> None:
    guard = make_guard()
    play(guard, (60, 0.2), quality=0.1)
    assert guard._meter is not None and guard._meter.calm[0] == 0.1


def test_a_lone_face_behind_a_cut_keeps_its_calm_face_and_a_second_one_has_its_own() -> None:
    person = meter()
    watch(person, 0, 60, 0.2)
    person.update(61.0, face(61.0, 0.2, face_id=1), alone=True, reliable=True)
    assert person.calm[0] == pytest.approx(0.2)
    person.update(61.1, face(61.1, 0.2, face_id=2), alone=False, reliable=True)
    assert person.calm[0] == 0.1
    person.update(61.2, face(61.2, 0.2, face_id=1), alone=True, reliable=True)
    assert person.calm[0] == pytest.approx(0.2)
    person.update(100.0, face(100.0, 0.2, face_id=3), alone=True, reliable=True)  # too late
    assert person.calm[0] == 0.1


# -------------------------------------------------------------------------- rules about scores


def test_a_rule_about_distress_pauses_and_a_calm_child_may_go_on() -> None:
    guard = make_guard(*DISTRESS_RULES)
    events = play(guard, (10, 0.1), (6, 0.9), (10, 0.1))
    assert [(e.kind, round(e.time_s, 1)) for e in events][:1] == [
        ("pause", pytest.approx(14.2, abs=0.4))
    ]
    assert [e.kind for e in events] == ["pause", "resume"]
    assert events[0].rule == RULE and 0.6 <= events[0].value <= 1


def test_a_rule_about_a_movement_smooths_it() -> None:
    for name in ("m_brow_lower", "brow_lower"):
        guard = make_guard(f"{name} >= 50 % for 1 s -> alert", score=None)
        (event,) = play(guard, (2, 0.1), (1.8, 0.8))
        assert event.time_s == pytest.approx(3.3, abs=0.21) and event.value > 0.5
    assert play(make_guard("gaze_x >= 10 % for 1 s -> alert"), (5, 0.1)) == []


def test_a_movement_or_a_score_of_a_poor_face_does_not_count() -> None:
    both = (RULE, "brow_lower >= 50 % for 1 s -> alert")
    assert play(make_guard(*both), (8, 0.9), quality=0.1) == []
    assert play(make_guard(*both), (8, 0.9), status="low_quality") == []
    assert play(make_guard(*both), (8, None)) == []


def test_a_face_between_sad_and_angry_is_negative() -> None:
    guard = make_guard("negative >= 60 % for 4 s -> pause")
    assert [e.kind for e in play(guard, (6, 0.0))] == ["pause"]
    assert guard.summary.unsure_s == 0 and guard.summary.sure_s == pytest.approx(5.9)
    assert play(make_guard("sadness >= 40 % for 4 s -> pause"), (6, 0.0)) == []
    assert len(play(make_guard("sadness + anger >= 60 % for 4 s -> pause"), (6, 0.0))) == 1


def test_a_sum_that_is_itself_unsure_does_not_count() -> None:
    mixed = {f"s_{name}": 1 / 7 for name in EXPRESSIONS} | {"s_anger": 0.05, "s_fear": 0.05}
    assert play(make_guard("negative >= 30 % for 1 s -> pause"), (6, 0.0), **mixed) == []


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("m_blink >= 50 % for 1 s -> alert", 'does not measure "blink".*only brow_lower'),
        ("distres >= 60 % for 4 s -> pause", "Did you mean 'distress'"),
        ("distress + anger >= 60 % for 4 s -> pause", 'a rule of its own for "distress"'),
        ("anger + jaw_open >= 60 % for 4 s -> pause", 'a rule of its own for "jaw_open"'),
    ],
)
def test_a_rule_that_the_model_cannot_follow_is_refused(rule: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_guard(rule)


def test_a_model_without_a_distress_score_says_so() -> None:
    with pytest.raises(UsageError, match=r"no distress score: use \"negative\""):
        make_guard(score=None)
    with pytest.raises(UsageError, match="it measures no movements"):
        Guard(GuardSettings(parse_rules(["jaw_open >= 5 % for 1 s -> alert"])), EXPRESSIONS, GROUPS)


def test_a_class_of_the_model_s_own_comes_before_the_score() -> None:
    own = ("calm", "distress")
    guard = Guard(GuardSettings(parse_rules([RULE])), own, {})
    row = face(0.0, 0.0, unsure=False) | {"s_calm": 0.1, "s_distress": 0.9}
    events = [guard.observe([row | {"time_s": i / 10}]) for i in range(60)]
    assert [e.kind for e in sum(events, [])] == ["pause"]


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5]), st.floats(0, 1)), max_size=60))
@settings(deadline=None)
def test_the_same_rows_give_the_same_events_at_any_time_of_day(steps: list[Any]) -> None:
    rules = ("distress >= 60 % for 0.5 s -> pause", "jaw_open >= 5 % for 1 s -> alert")
    runs = []
    for shift_s in (0.0, 1000.0):
        guard, time_s, events = make_guard(*rules, cooldown_s=0.5, calm_s=0.5), shift_s, []
        for step_s, brow in steps:
            time_s += step_s
            events += guard.observe([face(time_s, brow)])
        runs.append(
            [(e.kind, round(e.time_s - shift_s, 3), round(e.value or 0, 3)) for e in events]
        )
    assert runs[0] == runs[1]


def test_settings_of_a_score_are_checked_like_others() -> None:
    with pytest.raises(UsageError, match="Did you mean 'relative'"):
        check_settings(DistressScore, {"intercept": 0, "calm": {}, "relativ": {}})
