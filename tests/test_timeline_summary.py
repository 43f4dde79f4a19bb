"""The summary's figures, worked by hand, and what must hold for every recording."""

from __future__ import annotations

import pytest

from moppet.timeline import TimelineSettings, build_timeline, summary_lines

NAMES = ("neutral", "joy", "crying", "rage")
GROUP_OF = {"neutral": "neutral", "joy": "positive", "crying": "negative", "rage": "negative"}
RAW = TimelineSettings(smooth_s=0, min_episode_s=0)
N, J, C = [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]


def row(frame, time_s, p=None, face_id=0, status="ok", **more):
    made = {"frame": frame, "time_s": time_s, "status": status}
    return made if p is None else made | {"face_id": face_id, "p": p} | more


def build(rows, rule=RAW, **metadata):
    return build_timeline(rows, names=NAMES, group_of=GROUP_OF, settings=rule, metadata=metadata)


@pytest.fixture(name="worked")
def worked_example():
    """Ten frames a second: 4 neutral, 3 joy (1 poor), 2 empty, 1 unreadable, 2 joy, 3 crying."""
    rows = [row(i, i / 10, N) for i in range(4)]
    rows += [row(4, 0.4, J), row(5, 0.5, J, status="low_quality"), row(6, 0.6, J)]
    rows += [row(7, 0.7, status="no_face"), row(8, 0.8, status="no_face")]
    rows += [row(9, 0.9, status="unreadable")]
    rows += [row(10, 1.0, J), row(11, 1.1, J), *(row(i, i / 10, C) for i in (12, 13, 14))]
    return build(rows, source_name="x.mp4", duration_s=1.5, complete=True)


def test_frames_and_times_are_counted_by_kind(worked):
    summary = worked.summary()
    assert summary["source"] == "x.mp4" and summary["complete"] is True
    assert summary["duration_s"] == 1.5
    assert summary["frames"] == {
        "total": 15,
        **{"ok": 11, "no_face": 2, "low_quality": 1, "unreadable": 1, "skipped": 0},
    }
    assert summary["analyzed_s"] == pytest.approx(1.5)
    assert summary["time_with_face_s"] == pytest.approx(1.2)
    assert summary["time_without_face_s"] == pytest.approx(0.2)
    assert summary["time_unreadable_s"] == pytest.approx(0.1)
    assert summary["time_unsure_s"] == pytest.approx(0.1)
    assert summary["faceless"] == [{"start_s": 0.7, "end_s": pytest.approx(0.9)}]
    assert summary["unreadable"] == [{"start_s": 0.9, "end_s": pytest.approx(1.0)}]


def test_shares_are_of_the_sure_time_and_the_unsure_time_stands_beside_them(worked):
    face = worked.summary()["faces"]["0"]
    assert face["time_s"] == pytest.approx(1.2)
    assert face["time_sure_s"] == pytest.approx(1.1)
    assert face["time_unsure_s"] == pytest.approx(0.1)
    assert (face["first_s"], face["last_s"]) == (0, pytest.approx(1.5))
    assert face["share_unsure"] == pytest.approx(1 / 12)

    def of(kind, name):
        return {label: figures[name] for label, figures in face[kind].items()}

    with_unsure, seconds = {"neutral": 4, "joy": 5, "crying": 3, "rage": 0}, "share_with_unsure"
    assert of("expressions", seconds) == pytest.approx({k: n / 12 for k, n in with_unsure.items()})
    sure = {"neutral": 4, "joy": 4, "crying": 3, "rage": 0}
    assert of("expressions", "share") == pytest.approx({k: n / 11 for k, n in sure.items()})
    assert of("expressions", "time_sure_s") == pytest.approx({k: n / 10 for k, n in sure.items()})
    assert of("expressions", "time_unsure_s")["joy"] == pytest.approx(0.1)
    assert of("expressions", "time_s")["joy"] == pytest.approx(0.5)
    groups = {"neutral": 4, "positive": 4, "negative": 3}
    assert of("groups", "share") == pytest.approx({k: n / 11 for k, n in groups.items()})


def test_episodes_are_counted_with_mean_and_longest_and_null_where_none(worked):
    expressions = worked.summary()["faces"]["0"]["expressions"]
    # Joy spans the short absence: 0.4 to 1.2 s.
    assert expressions["joy"]["episodes"] == 1
    assert expressions["joy"]["longest_s"] == pytest.approx(0.8)
    assert expressions["rage"] == {
        **{"time_s": 0, "time_sure_s": 0, "time_unsure_s": 0},
        **{"share": 0, "share_with_unsure": 0, "episodes": 0},
        **{"mean_s": None, "longest_s": None},
    }
    rows = [row(i, i / 10, N if i in (3, 4) else J) for i in range(8)]
    joy = build(rows).summary()["faces"]["0"]["expressions"]["joy"]
    assert joy["episodes"] == 2
    assert (joy["mean_s"], joy["longest_s"]) == (pytest.approx(0.3), pytest.approx(0.3))


def test_transitions_count_consecutive_episodes(worked):
    transitions = worked.summary()["faces"]["0"]["transitions"]
    counted = {
        (start, end): n
        for start, ends in transitions["expression"].items()
        for end, n in ends.items()
        if n
    }
    assert counted == {("neutral", "joy"): 1, ("joy", "crying"): 1}
    assert set(transitions["expression"]) == set(NAMES)
    assert transitions["group"]["positive"] == {"neutral": 0, "positive": 0, "negative": 1}


def test_no_transition_is_counted_across_a_lost_face():
    rows = [row(0, 0.0, N), row(1, 0.1, N), row(2, 5.0, J), row(3, 5.1, J), row(4, 5.2, C)]
    transitions = build(rows).summary()["faces"]["0"]["transitions"]["expression"]
    assert transitions["neutral"]["joy"] == 0
    assert transitions["joy"]["crying"] == 1


def test_no_transition_is_counted_from_one_face_to_another():
    rows = [row(i, i / 10, N if face == 0 else J, face) for i in range(4) for face in (0, 1)]
    transitions = build(rows).summary()["faces"]["all"]["transitions"]["expression"]
    assert not any(n for ends in transitions.values() for n in ends.values())


def test_time_weighs_rows_not_their_number():
    rows = [row(i, t, p) for i, (t, p) in enumerate([(0, J), (0.8, N), (0.9, N), (1.0, N)])]
    face = build(rows).summary()["faces"]["0"]
    # The median step, 0.1 s, stands for the last frame.
    assert face["expressions"]["joy"]["time_s"] == pytest.approx(0.8)
    assert face["expressions"]["neutral"]["time_s"] == pytest.approx(0.3)


def test_a_hole_in_the_recording_belongs_to_nobody():
    rows = [row(i, t, J) for i, t in enumerate([0, 0.1, 0.2, 60, 60.1])]
    summary = build(rows).summary()
    assert summary["faces"]["0"]["time_s"] == pytest.approx(0.5)
    assert summary["analyzed_s"] == pytest.approx(0.5)


def test_steps_longer_than_max_gap_count_max_gap_each():
    rows = [row(i, 2.0 * i, J) for i in range(5)]
    assert build(rows).summary()["faces"]["0"]["time_s"] == pytest.approx(5 * RAW.max_gap_s)


def test_skipped_frames_hand_their_time_to_the_frame_before():
    rows = [row(i, i / 10, J) if i % 2 == 0 else row(i, i / 10, status="skipped") for i in range(6)]
    summary = build(rows).summary()
    assert summary["frames"]["skipped"] == 3
    assert summary["faces"]["0"]["time_s"] == pytest.approx(0.6)


def test_a_frame_with_two_faces_counts_once_and_all_pools_the_faces():
    rows = [row(i, i / 10, J, 0) for i in range(4)]
    rows += [row(i, i / 10, N, 5, status="low_quality") for i in (0, 1)]
    summary = build(rows).summary()
    assert summary["frames"]["total"] == 4 and summary["frames"]["ok"] == 4
    assert summary["time_with_face_s"] == pytest.approx(0.4)
    assert summary["time_unsure_s"] == 0, "a sure face is in every frame"
    assert list(summary["faces"]) == ["all", "0", "5"]
    everyone = summary["faces"]["all"]
    assert everyone["time_s"] == pytest.approx(0.6)
    assert everyone["time_unsure_s"] == pytest.approx(0.2)
    assert everyone["expressions"]["joy"]["share_with_unsure"] == pytest.approx(4 / 6)
    assert everyone["expressions"]["joy"]["share"] == 1
    assert everyone["expressions"]["neutral"]["share"] == 0
    assert summary["faces"]["5"]["expressions"]["neutral"]["share"] is None


def test_faceless_stretches_end_at_faces_unreadable_frames_and_holes():
    kinds = ["no_face", "skipped", "no_face", "unreadable", "no_face", "face", "no_face"]
    rows = [
        row(i, i / 10, J) if kind == "face" else row(i, i / 10, status=kind)
        for i, kind in enumerate(kinds)
    ]
    rows += [row(7, 30.0, status="no_face"), row(8, 30.1, status="no_face")]
    found = [(s["start_s"], s["end_s"]) for s in build(rows).summary()["faceless"]]
    expected = [(0, 0.3), (0.4, 0.5), (0.6, 0.7), (30.0, 30.2)]
    assert found == [pytest.approx(span) for span in expected]


def test_a_class_without_a_group_and_a_face_not_classified_are_told_apart():
    rows = [row(i, i / 10, p) for i, p in enumerate([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])]
    rows.append({"frame": 3, "time_s": 0.3, "status": "ok", "face_id": 0, "p": None})
    made = build_timeline(rows, names=("joy", "odd"), group_of={"joy": "up"}, settings=RAW)
    face = made.summary()["faces"]["0"]
    assert face["share_no_group"] == pytest.approx(2 / 3)
    assert face["groups"]["up"]["share"] == pytest.approx(1 / 3)
    assert face["time_unclassified_s"] == pytest.approx(0.1)
    assert face["time_s"] == pytest.approx(0.4)


def test_a_single_image_has_null_for_every_time():
    summary = build([row(0, 0.0, J)]).summary()
    face = summary["faces"]["0"]
    assert summary["analyzed_s"] is None and summary["time_without_face_s"] is None
    assert face["time_s"] is None and face["last_s"] is None
    assert face["expressions"]["joy"]["share"] is None
    assert face["expressions"]["joy"]["time_s"] is None
    assert face["expressions"]["rage"]["time_s"] is None
    nobody = build([row(0, 0.0, status="no_face")]).summary()
    assert nobody["faceless"] == [{"start_s": 0, "end_s": None}]


def test_a_recording_without_a_face_has_null_shares():
    summary = build([row(i, i / 10, status="no_face") for i in range(5)]).summary()
    assert list(summary["faces"]) == ["all"]
    everyone = summary["faces"]["all"]
    assert everyone["time_s"] == 0 and everyone["first_s"] is None
    assert everyone["expressions"]["joy"]["share"] is None
    assert summary["faceless"] == [{"start_s": 0, "end_s": pytest.approx(0.5)}]


def test_lines_say_the_figures_and_a_dash_for_none(worked):
    text = "\n".join(summary_lines(worked.summary()))
    assert (
        "x.mp4: 1.5 s analyzed, 15 frames (11 ok, 2 no face, 1 low quality, 1 unreadable)" in text
    )
    assert "with a face 1.2 s, without 0.2 s, unsure 0.1 s" in text
    (joy,) = [line for line in text.splitlines() if line.strip().startswith("joy")]
    assert joy.split()[1:5] == ["36", "%", "1", "episode,"]
    assert joy.endswith("unsure 0.1 s")
    assert "face 0: 1.2 s, unsure 0.1 s (not in the shares)" in text
    (never,) = [line for line in text.splitlines() if line.strip().startswith("not observed:")]
    assert "rage" in never and "joy" not in never
    assert "all faces" not in text
    part = build([row(0, 0, J, 0), row(0, 0, N, 1), row(1, 3700, J, 0)], complete=False).summary()
    lines = "\n".join(summary_lines(part))
    assert "interrupted" in lines and "all faces" in lines and "face 1" in lines


def test_unsure_below_is_what_makes_time_unsure():
    rows = [row(i, i / 10, [0.45, 0.35, 0.1, 0.1]) for i in range(4)]
    assert build(rows).summary()["time_unsure_s"] == pytest.approx(0.4)
    lax = TimelineSettings(smooth_s=0, unsure_below=0.45)
    assert build(rows, lax).summary()["time_unsure_s"] == 0
