"""What holds for the episodes and the summary of every recording."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moppet.timeline import TimelineSettings, build_timeline
from moppet.values import EXPRESSIONS, GROUPS


@st.composite
def recordings(draw):
    """Two faces that come and go at uneven times, of changing quality."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, time_s, ps = [], 0.0, rng.dirichlet(np.full(7, 0.2), 3)
    for frame in range(draw(st.integers(1, 60))):
        time_s += draw(st.sampled_from([0.0, 0.04, 0.04, 0.1, 0.9, 1.5]))
        faces = draw(st.sampled_from([(), (0,), (0, 1), (1,)]))
        if not faces:
            status = draw(st.sampled_from(["no_face", "unreadable", "skipped"]))
            rows.append({"frame": frame, "time_s": time_s, "status": status})
        for face_id in faces:
            if draw(st.integers(0, 5)) == 0:
                ps[face_id] = rng.dirichlet(np.full(7, 0.2))
            row = {"frame": frame, "time_s": time_s, "face_id": face_id, "p": ps[face_id].copy()}
            row["status"] = draw(st.sampled_from(["ok", "ok", "low_quality"]))
            row["quality"] = draw(st.sampled_from([None, 0.0, 0.2, 0.9]))
            if draw(st.integers(0, 9)) == 0:
                row["p"] = None
            rows.append(row)
    enter = draw(st.sampled_from([0.1, 0.5, 0.8]))
    rule = TimelineSettings(
        smooth_s=draw(st.sampled_from([0.0, 0.25])),
        min_episode_s=draw(st.sampled_from([0.0, 0.4])),
        enter=enter,
        leave=draw(st.sampled_from([0.05, enter])),
    )
    return build_timeline(rows, names=EXPRESSIONS, group_of=GROUPS, settings=rule)


@given(recordings())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_episodes_never_overlap_and_keep_their_rule(timeline):
    rule = timeline.settings
    last_end = {}
    for e in timeline.episodes():
        assert e.start_s >= last_end.get((e.face_id, e.kind), -1) - 1e-9
        last_end[e.face_id, e.kind] = e.end_s
        assert e.end_s - e.start_s == e.duration_s >= rule.min_episode_s - 1e-6
        assert e.start_s <= e.peak_s <= e.end_s
        inside = [
            row
            for row in timeline.table.to_pylist()
            if row["face_id"] == e.face_id
            and row["expression"] is not None
            and e.start_s <= row["time_s"] <= e.end_s
        ]
        assert len(inside) >= e.n_frames >= 1
        assert e.mean_probability >= rule.leave - 1e-6
    kinds = ("expression", "group")
    apart = sorted((e for k in kinds for e in timeline.episodes(k)), key=lambda e: e.face_id)
    assert sorted(map(repr, apart)) == sorted(map(repr, timeline.episodes()))


@given(recordings())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_shares_sum_to_one_and_times_to_the_whole(timeline):
    summary = timeline.summary()
    json.dumps(summary, allow_nan=False)
    frames = summary["frames"]
    assert frames["total"] == sum(n for kind, n in frames.items() if kind != "total")
    if summary["analyzed_s"] is None:
        return
    parts = ("time_with_face_s", "time_without_face_s", "time_unreadable_s")
    assert summary["analyzed_s"] == pytest.approx(sum(summary[part] for part in parts))
    for face in summary["faces"].values():
        assert face["time_s"] == pytest.approx(face["time_sure_s"] + face["time_unsure_s"])
        for key in ("share", "share_with_unsure"):
            by_expression = [figures[key] for figures in face["expressions"].values()]
            by_group = [figures[key] for figures in face["groups"].values()]
            none = face[key.replace("share", "share_no_group")]
            if by_expression[0] is None:
                assert {*by_expression, *by_group, none} == {None}
            else:
                assert sum(by_expression) == pytest.approx(1)
                assert sum(by_group) + none == pytest.approx(1)
        counts = [figures["episodes"] for figures in face["expressions"].values()]
        moves = sum(sum(ends.values()) for ends in face["transitions"]["expression"].values())
        assert moves <= max(sum(counts) - 1, 0)
