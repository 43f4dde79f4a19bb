"""Episodes, worked by hand and held to their promises on anything."""

from __future__ import annotations

import numpy as np
import pytest

from moppet.timeline import TimelineSettings, build_timeline
from moppet.timeline.labels import threshold

NAMES = ("neutral", "joy", "crying", "rage")
GROUP_OF = {"neutral": "neutral", "joy": "positive", "crying": "negative", "rage": "negative"}
RAW = TimelineSettings(smooth_s=0, min_episode_s=0)
N, J, C = [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]


def build(ps, *, step=0.1, times=None, rule=RAW, **fields):
    """One face, a row for each entry; None is a frame without a face."""
    rows = []
    for i, p in enumerate(ps):
        row = {"frame": i, "time_s": times[i] if times else i * step, "status": "no_face"}
        if p is not None:
            row |= {"face_id": 0, "status": "ok", "p": p}
            row |= {name: values[i] for name, values in fields.items() if values[i] is not None}
        rows.append(row)
    return build_timeline(rows, names=NAMES, group_of=GROUP_OF, settings=rule)


def spans(timeline, kind="expression"):
    return [
        (e.label, pytest.approx(e.start_s), pytest.approx(e.end_s)) for e in timeline.episodes(kind)
    ]


def test_an_episode_runs_from_its_first_frame_to_the_end_of_its_last():
    timeline = build([N, N, J, J, J, N])
    assert spans(timeline) == [("neutral", 0, 0.2), ("joy", 0.2, 0.5), ("neutral", 0.5, 0.6)]
    joy = timeline.episodes("expression")[1]
    assert joy.duration_s == pytest.approx(0.3)
    assert joy.mean_probability == pytest.approx(0.7)
    assert (joy.face_id, joy.kind, joy.n_frames) == (0, "expression", 3)


def test_an_episode_starts_at_enter_and_holds_until_below_leave():
    level = [0.49, 0.50, 0.36, 0.35, 0.60, 0.349, 0.49, 0.2]
    ps = [[v, *[(1 - v) / 3] * 3] for v in level]
    (only,) = [e for e in build(ps).episodes("expression") if e.label == "neutral"]
    assert (only.start_s, only.end_s) == pytest.approx((0.1, 0.5))
    assert only.peak_s == pytest.approx(0.4)
    assert only.mean_probability == pytest.approx(np.mean([0.5, 0.36, 0.35, 0.6]))


def test_the_peak_is_the_first_of_equal_heights():
    (joy,) = build([J, [0, 0.8, 0.1, 0.1], J, [0, 0.8, 0.1, 0.1]]).episodes("expression")
    assert joy.peak_s == pytest.approx(0.1)


def test_a_label_that_starts_ends_the_one_before_even_above_leave():
    rows = [J, J, [0, 0.45, 0.55, 0], [0, 0.45, 0.55, 0]]
    assert spans(build(rows)) == [("joy", 0, 0.2), ("crying", 0.2, 0.4)]


def test_a_larger_rival_below_enter_does_not_end_it():
    rows = [J, [0.3, 0.36, 0.34, 0], [0.26, 0.36, 0.38, 0], J]
    assert spans(build(rows)) == [("joy", 0, 0.4)]


def test_short_episodes_are_dropped_and_an_exact_length_is_kept():
    rule = TimelineSettings(smooth_s=0, min_episode_s=0.4)
    rows = [N] * 5 + [J] * 3 + [N] * 5 + [C] * 4
    times = [12.0 + i / 10 for i in range(len(rows))]
    assert spans(build(rows, times=times, rule=rule)) == [
        ("neutral", 12.0, 12.5),
        ("neutral", 12.8, 13.3),
        ("crying", 13.3, 13.7),
    ]


def test_a_short_absence_is_bridged_and_a_long_one_ends_the_episode():
    rule = TimelineSettings(smooth_s=0, min_episode_s=0, max_gap_s=0.5)
    assert spans(build([J, J, None, None, None, None, J], rule=rule)) == [("joy", 0, 0.7)]
    away = build([J, J, None, None, None, None, None, J], rule=rule)
    assert spans(away) == [("joy", 0, 0.2), ("joy", 0.7, 0.8)]


def test_a_hole_in_the_time_stamps_ends_the_episode_one_usual_step_on():
    timeline = build([J] * 4, times=[0.0, 0.1, 5.0, 5.1])
    assert spans(timeline) == [("joy", 0, 0.2), ("joy", 5.0, 5.2)]


def test_with_uneven_frames_an_episode_lasts_until_the_next_frame():
    timeline = build([J, J, N, N], times=[0.0, 0.1, 0.7, 0.8])
    assert spans(timeline) == [("joy", 0, 0.7), ("neutral", 0.7, 0.9)]


def test_skipped_frames_do_not_shorten_the_last_one():
    rows = []
    for i in range(9):
        row = {"frame": i, "time_s": i / 10, "status": "skipped"}
        if i % 3 == 0:
            row |= {"status": "ok", "face_id": 0, "p": J}
        rows.append(row)
    timeline = build_timeline(rows, names=NAMES, group_of=GROUP_OF, settings=RAW)
    assert spans(timeline) == [("joy", 0, 0.9)]


def test_poor_frames_start_no_episode_but_continue_one():
    quality = [0.1, 0.1, 0.9, 0.1, None, 0.1]
    rows = [J, J, J, J, J, C]
    assert spans(build(rows, quality=quality)) == [("joy", 0.2, 0.5)]
    status = ["low_quality", "ok", "low_quality", "ok", "ok", "ok"]
    assert spans(build(rows, status=status)) == [("joy", 0.1, 0.5), ("crying", 0.5, 0.6)]


def test_a_poor_rival_does_not_end_an_episode():
    rows = [J, [0, 0.4, 0.6, 0], J]
    assert spans(build(rows, quality=[1, 0.1, 1])) == [("joy", 0, 0.3)]
    assert [label for label, *_ in spans(build(rows, quality=[1, 1, 1]))] == [
        *("joy", "crying", "joy")
    ]


def test_a_group_is_the_sum_of_its_classes():
    mixed = [0.2, 0.2, 0.3, 0.3]
    timeline = build([N, mixed, mixed])
    assert spans(timeline) == [("neutral", 0, 0.1)]
    assert spans(timeline, "group") == [("neutral", 0, 0.1), ("negative", 0.1, 0.3)]
    assert timeline.episodes("group")[1].mean_probability == pytest.approx(0.6)


def test_classes_without_a_group_make_no_episode_but_end_one():
    rows = [{"frame": i, "time_s": i / 10, "status": "ok", "face_id": 0} for i in range(4)]
    for row, p in zip(rows, [[0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [0.9, 0.1]], strict=True):
        row["p"] = p
    timeline = build_timeline(rows, names=("joy", "odd"), group_of={"joy": "up"}, settings=RAW)
    assert spans(timeline, "group") == [("up", 0, 0.1), ("up", 0.3, 0.4)]


def test_each_face_has_its_own_episodes_and_both_kinds_come_in_order():
    rows = []
    for i in range(4):
        for face_id, p in ((2, J), (0, C if i < 2 else N)):
            rows.append({"frame": i, "time_s": i / 10, "status": "ok", "face_id": face_id, "p": p})
    timeline = build_timeline(rows, names=NAMES, group_of=GROUP_OF, settings=RAW)
    assert [(e.face_id, e.kind, e.label) for e in timeline.episodes()] == [
        (0, "expression", "crying"),
        (0, "expression", "neutral"),
        (0, "group", "negative"),
        (0, "group", "neutral"),
        (2, "expression", "joy"),
        (2, "group", "positive"),
    ]


def test_a_single_image_has_no_time_and_no_episodes():
    assert build([J]).episodes() == []


def test_probabilities_at_the_threshold_count_as_reached_in_float32():
    for value in (0.35, 0.1, 0.7, 1 / 3):
        assert float(np.float32(value)) >= threshold(value)
