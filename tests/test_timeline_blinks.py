"""Blinks are short closures, counted where frames come often enough; means are over sure time."""

from __future__ import annotations

from typing import Any

import pytest

from moppet import EXPRESSIONS, GROUPS, Timeline, TimelineSettings
from moppet.timeline import OptionalColumns, build_timeline, summary_lines
from moppet.timeline.downsample import build_drawing
from moppet.timeline.summary import summary_csv

OPTIONAL = OptionalColumns(movements=("blink", "gaze_x"))
JOY = [0.1, 0.7, 0.1, 0.1, 0.0, 0.0, 0.0]
OPEN, SHUT = 0.1, 0.9


def build(
    closed: list[float | None],
    *,
    fps: float = 20,
    times: list[float] | None = None,
    status: dict[int, str] | None = None,
    **metadata: Any,
) -> Timeline:
    """A timeline of one face: `closed` is its blink in each frame, None for no face."""
    rows: list[Any] = []
    for i, value in enumerate(closed):
        row: dict[str, Any] = {"frame": i, "time_s": times[i] if times else i / fps}
        if value is None:
            rows.append(row | {"status": "no_face"})
            continue
        seen = {"status": (status or {}).get(i, "ok"), "face_id": 0, "p": JOY, "m": [value, -0.5]}
        rows.append(row | seen)
    return build_timeline(
        rows,
        names=EXPRESSIONS,
        group_of=GROUPS,
        settings=TimelineSettings(smooth_s=0),
        metadata=metadata,
        optional=OPTIONAL,
    )


def spans(timeline: Timeline) -> list[tuple[float, float]]:
    return [(round(one.start_s, 3), round(one.end_s, 3)) for one in timeline.blinks()]


def test_a_blink_lasts_from_its_first_closed_frame_to_the_first_open_one() -> None:
    timeline = build([OPEN] * 4 + [SHUT, 0.6, 0.4, SHUT] + [0.2] * 4 + [SHUT] + [OPEN] * 3)
    assert spans(timeline) == [(0.2, 0.4), (0.6, 0.65)]
    face = timeline.summary()["faces"]["0"]
    assert face["blinks"] == 2
    assert face["blinks_per_min"] == pytest.approx(60 * 2 / 0.75)


@pytest.mark.parametrize(
    ("closed", "why"),
    [
        ([OPEN, *[0.45] * 3, OPEN], "never closed far enough"),
        ([OPEN, *[SHUT] * 11, OPEN], "closed for more than half a second"),
        ([*[SHUT] * 3, OPEN, OPEN], "its beginning was not seen"),
        ([OPEN, *[SHUT] * 3], "its end was not seen"),
        ([OPEN, SHUT, None, None, None, OPEN, OPEN], "frames are missing within it"),
    ],
)
def test_other_closures_are_no_blinks(closed: list[float | None], why: str) -> None:
    timeline = build(closed)
    assert spans(timeline) == [], why
    assert timeline.summary()["faces"]["0"]["blinks"] == 0


def test_a_closure_shorter_than_a_blink_is_noise() -> None:
    assert spans(build([OPEN, OPEN, SHUT, OPEN, OPEN], fps=60)) == []
    assert len(spans(build([OPEN, OPEN, *[SHUT] * 4, OPEN], fps=60))) == 1


def test_faces_of_poor_quality_tell_nothing_of_blinks() -> None:
    closed: list[float | None] = [OPEN] * 4 + [SHUT] * 3 + [OPEN] * 4
    assert len(spans(build(closed))) == 1
    assert spans(build(closed, status=dict.fromkeys((3, 4, 5, 6), "low_quality"))) == []


def test_at_few_frames_a_second_the_rate_is_undefined_not_zero() -> None:
    closed: list[float | None] = [OPEN, SHUT, OPEN, OPEN]
    assert build(closed, fps=10).summary()["faces"]["0"]["blinks"] == 1
    face = build(closed, fps=8).summary()["faces"]["0"]
    assert face["blinks"] is None and face["blinks_per_min"] is None
    assert not any("blink" in line for line in summary_lines(build(closed, fps=8).summary()))


def test_photos_have_no_blinks() -> None:
    timeline = build([OPEN, SHUT, OPEN], files=["a.jpg", "b.jpg", "c.jpg"])
    assert timeline.blinks() == []
    assert timeline.summary()["faces"]["0"]["blinks_per_min"] is None


def test_means_are_over_the_sure_time() -> None:
    """Frames of 0.1, 0.3 and 0.1 s, and one of poor quality."""
    timeline = build([0.0, 1.0, 0.0, 0.5], times=[0.0, 0.1, 0.4, 0.5], status={2: "low_quality"})
    face = timeline.summary()["faces"]["0"]
    assert face["movements"]["blink"] == pytest.approx((0.3 * 1.0 + 0.1 * 0.5) / 0.5)
    assert face["movements"]["gaze_x"] == pytest.approx(-0.5)
    assert face["mean_valence"] == pytest.approx(0.6)


def test_timelines_without_movements_have_none_in_their_summary() -> None:
    row: Any = {"frame": 0, "time_s": 0.0, "status": "ok", "face_id": 0, "p": JOY}
    plain = build_timeline(
        [row, row | {"frame": 1, "time_s": 0.04}], names=EXPRESSIONS, group_of=GROUPS
    )
    face = plain.summary()["faces"]["all"]
    assert {"movements", "blinks", "blinks_per_min"} & {*face} == set()
    assert face["mean_valence"] == pytest.approx(0.6)
    assert plain.blinks() == []


def test_the_summary_is_printed_and_exported_with_them() -> None:
    summary = build([OPEN] * 4 + [SHUT] * 2 + [OPEN] * 34).summary()
    assert "  31 blinks a minute" in summary_lines(summary)
    head, line = summary_csv([summary]).splitlines()
    found = dict(zip(head.split(","), line.split(","), strict=True))
    assert found["blinks"] == "1" and float(found["blinks_per_min"]) == pytest.approx(30.8, abs=0.1)
    assert float(found["m_gaze_x mean"]) == -0.5 and float(found["mean_valence"]) == 0.6


def test_the_lanes_of_a_report_have_the_means_of_movements_and_valence() -> None:
    drawing = build_drawing(build([0.25] * 30), ["positive"])
    assert drawing.movements == ("blink", "gaze_x")
    (lane,) = drawing.lanes
    assert lane.movements.shape == (30, 2)
    assert lane.movements[:, 1] == pytest.approx(-0.5)
    assert lane.valence == pytest.approx(0.6)
