"""A live stream's rows follow the timeline's rules, knowing only the past."""

from __future__ import annotations

import math

import pytest

from moppet.timeline import CausalSmoother, TimelineSettings, build_timeline, live_rows

NAMES = ("joy", "crying")
GROUP_OF = {"joy": "positive"}
OFF = TimelineSettings(smooth_s=0)


def face(frame, time_s, p, face_id=0, status="ok", **more):
    box = {"box_x": 1.5, "box_y": -2, "box_w": 30, "box_h": 40, "detection_score": 0.9}
    pose = {"yaw": 1, "pitch": math.nan, "roll": None, "quality": 0.8}
    row = {"frame": frame, "time_s": time_s, "face_id": face_id, "status": status, "p": p}
    return row | box | pose | more


def empty(frame, time_s, status="no_face"):
    return {"frame": frame, "time_s": time_s, "status": status}


def test_live_rows_are_the_table_where_nothing_is_smoothed():
    rows = [
        face(0, 0, [0.25, 0.75], pitch=2.0, roll=None),
        empty(1, 0.04),
        face(2, 0.08, [0.9, 0.1], status="low_quality"),
        face(3, 0.12, None),
    ]
    smoother = CausalSmoother(OFF)
    live = [
        one
        for row in rows
        for one in live_rows([row], smoother, names=NAMES, group_of=GROUP_OF, settings=OFF)
    ]
    table = build_timeline(rows, names=NAMES, group_of=GROUP_OF, settings=OFF).table
    assert [list(row) for row in live] == [table.column_names] * 4
    for got, expected in zip(live, table.to_pylist(), strict=True):
        for name, value in expected.items():
            close = pytest.approx(value) if isinstance(value, float) else value
            assert got[name] == close, name


def test_live_rows_smooth_with_the_past_only():
    smooth = TimelineSettings(smooth_s=0.25)
    smoother = CausalSmoother(smooth)
    for i in range(10):
        (row,) = live_rows(
            [face(i, i / 10, [1, 0])], smoother, names=NAMES, group_of=GROUP_OF, settings=smooth
        )
    (row,) = live_rows(
        [face(10, 1.0, [0, 1])], smoother, names=NAMES, group_of=GROUP_OF, settings=smooth
    )
    assert row["p_joy"] == 0 and row["expression"] == "joy" and row["group"] == "positive"
    assert row["s_joy"] + row["s_crying"] == pytest.approx(1)
