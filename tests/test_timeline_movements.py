"""Movement episodes start at a level, end below 0.7 of it, and go to the coders' programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moppet import Timeline
from moppet.coders import read_coding
from moppet.coders.timeline_coding import coding_of
from moppet.timeline import OptionalColumns, TimelineSettings
from moppet.timeline.movements import LEVEL, choose_movements, find_movements
from moppet.timeline.readings import second_probabilities, second_reading
from moppet.values import UsageError
from report_samples import MOVED, make_row, make_timeline, moving_people, two_people

Run = Callable[..., Any]
CALM = [0.94, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]
EXACT = TimelineSettings(min_episode_s=0)


def one(
    values: list[float | None],
    name: str = "brow_lower",
    settings: TimelineSettings = EXACT,
    low: tuple[int, ...] = (),
) -> Timeline:
    """One face at 10 frames a second with this movement; None for a frame without it."""
    rows = []
    for i, value in enumerate(values):
        if value is None:
            rows.append(make_row(i, i / 10))
            continue
        quality = {"status": "low_quality"} if i in low else {}
        rows.append(make_row(i, i / 10, CALM, m=[value], **quality))
    optional = OptionalColumns(movements=(name,))
    return make_timeline(rows, settings=settings, optional=optional)


def spans(timeline: Timeline, level: float = LEVEL) -> list[tuple[str, float, float]]:
    (name,) = choose_movements(timeline.table, ["all"])
    found = find_movements(timeline.table, timeline.settings, [name], level)
    return [(e.label, round(e.start_s, 3), round(e.end_s, 3)) for e in found]


def test_an_episode_starts_at_the_level_and_ends_below_seven_tenths_of_it() -> None:
    values = [0.1, 0.49, 0.5, 0.9, 0.36, 0.49, 0.34, 0.4, 0.1]
    assert spans(one(values)) == [("brow_lower", 0.2, 0.6)]
    assert spans(one(values), level=0.3) == [("brow_lower", 0.1, 0.8)]
    assert spans(one(values), level=0.95) == []
    (found,) = find_movements(one(values).table, EXACT, ["brow_lower"])
    assert found.mean == pytest.approx(np.mean([0.5, 0.9, 0.36, 0.49]))


def test_short_ones_are_dropped_and_a_long_gap_ends_one() -> None:
    short = [0.1, 0.9, 0.9, 0.1] + [0.9] * 4 + [0.1]
    assert spans(one(short, settings=TimelineSettings())) == [("brow_lower", 0.4, 0.8)]
    away = [0.9] * 3 + [None] * 12 + [0.9] * 3
    assert spans(one(away)) == [("brow_lower", 0.0, 0.3), ("brow_lower", 1.5, 1.8)]
    bridged = [0.9] * 3 + [None] * 5 + [0.4] * 3
    assert spans(one(bridged)) == [("brow_lower", 0.0, 1.1)]


def test_a_face_of_poor_quality_starts_none_but_ends_none_either() -> None:
    assert spans(one([0.9] * 6, low=(0, 1))) == [("brow_lower", 0.2, 0.6)]
    assert spans(one([0.9] * 6, low=(4, 5))) == [("brow_lower", 0.0, 0.6)]


def test_a_two_way_movement_has_two_labels() -> None:
    values = [0.6, 0.6, 0.0, -0.7, -0.4, 0.1, 0.8]
    expected = [("gaze_left", 0.0, 0.2), ("gaze_right", 0.3, 0.5), ("gaze_left", 0.6, 0.7)]
    assert spans(one(values, "gaze_x")) == expected
    assert [label for label, *_ in spans(one(values, "gaze_y"))][:2] == ["gaze_up", "gaze_down"]


def test_blinks_are_events_whatever_the_shortest_episode() -> None:
    values = [0.1] * 5 + [0.9, 0.9] + [0.1] * 5 + [0.9] * 9 + [0.1] * 3
    timeline = one(values, "blink", TimelineSettings())
    (blink,) = timeline.blinks()
    assert spans(timeline) == spans(timeline, 0.95) == [("blink", blink.start_s, blink.end_s)]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1, width=16)), max_size=40))
def test_hysteresis_agrees_with_a_plain_loop(values: list[float | None]) -> None:
    settings = TimelineSettings(min_episode_s=0, max_gap_s=0.15)
    timeline = one(values, settings=settings)
    expected, since, last = [], None, -9
    for i, value in enumerate(values):
        if value is None:
            continue
        value = float(np.float32(value))
        if since is not None and (i - last > 1 or value < np.float32(0.7 * 0.5)):
            expected.append((since, last))
            since = None
        if since is None and value >= 0.5:
            since = i
        last = i
    if since is not None:
        expected.append((since, last))
    found = find_movements(timeline.table, settings, ["brow_lower"])
    if len(values) < 2:  # a single image has no length
        expected = []
    assert [round(10 * e.start_s) for e in found] == [a for a, _ in expected]
    rows = {round(10 * t): t for t in timeline.table["time_s"].to_pylist()}
    assert all(rows[b] < e.end_s for e, (_, b) in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["brow_lowr"], r"'brow_lowr' .*none of that name\. Did you mean 'brow_lower'"),
        (["m_tongue_show"], r"'m_tongue_show' .*the timeline lacks it\.?.* The timeline has inner"),
    ],
)
def test_a_movement_that_is_not_there_is_refused_with_those_that_are(
    wanted: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        choose_movements(moving_people(1).table, wanted)
    with pytest.raises(UsageError, match="the timeline has no movements"):
        choose_movements(two_people().table, ["blink"])


def test_names_may_be_those_of_columns_and_come_once() -> None:
    table = moving_people(1).table
    assert choose_movements(table, ["m_blink", "blink", "gaze_x"]) == ["blink", "gaze_x"]
    assert choose_movements(table, ["blink", "all"]) == [
        "blink",
        *(m for m in MOVED if m != "blink"),
    ]


# ------------------------------------------------------------------------------ coders' files


def test_movements_become_lanes_with_their_intensity() -> None:
    timeline = moving_people()
    coding = coding_of(timeline, movements=["brow_lower", "blink"], probabilities_s=0)
    plain = coding_of(timeline, probabilities_s=0)
    lanes = {lane.title: lane for lane in coding.lanes}
    assert [lane for lane in coding.lanes if lane in plain.lanes] == list(plain.lanes)
    found = find_movements(timeline.table, timeline.settings, ["brow_lower"])
    mine = [(e.start_s, e.end_s, "brow_lower") for e in found if e.face_id == 0]
    assert mine and [tuple(code) for code in lanes["face 0 brow_lower"].codes] == mine
    intensity = [code.label for code in lanes["face 0 brow_lower intensity"].codes]
    assert intensity == [f"{e.mean:.2f}" for e in found if e.face_id == 0]
    blinks = [(b.start_s, b.end_s) for b in timeline.blinks() if b.face_id == 1]
    assert [code[:2] for code in lanes["face 1 blink"].codes] == blinks != []


@pytest.mark.parametrize(
    ("program", "file"),
    [
        ("elan", "child.eaf"),
        ("boris", "child.boris"),
        ("boris", "child_tabular.tsv"),
        ("datavyu", "child.opf"),
        ("textgrid", "child.TextGrid"),
    ],
)
def test_every_program_gets_them_on_request_only(
    tmp_path: Path, moppet: Run, program: str, file: str
) -> None:
    path = moving_people().write(tmp_path / "t.parquet")
    export = ("export", path, "--format", program, "-o", tmp_path / "out")
    assert moppet(*export)[0] == 0
    before = {
        code.label for lane in read_coding(tmp_path / "out" / file).lanes for code in lane.codes
    }
    assert not before & {"brow_lower", "blink", "gaze_left"}
    code, _, err = moppet(*export, "--movements", "brow_lower,blink,gaze_x", "--level", "0.4")
    assert code == 0 and not err
    lanes = read_coding(tmp_path / "out" / file).lanes
    labels = {label for lane in lanes for label in lane.labels}
    assert {"brow_lower", "blink", "gaze_left", "gaze_right"} <= labels
    timeline = moving_people()
    found = find_movements(timeline.table, timeline.settings, ["brow_lower"], level=0.4)
    times = sorted(code[:2] for lane in lanes for code in lane.codes if code.label == "brow_lower")
    np.testing.assert_allclose(times, sorted((e.start_s, e.end_s) for e in found), atol=0.001)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--movements", "all", "--format", "summary"), "--movements takes names"),
        (("--movements", ","), "--movements takes names"),
        (("--movements", "smile"), "there is none of that name"),
        (("--level", "0"), "--level"),
    ],
)
def test_export_refuses_what_it_cannot_do(
    tmp_path: Path, moppet: Run, options: tuple[str, ...], message: str
) -> None:
    path = moving_people(2).write(tmp_path / "t.parquet")
    code, _, err = moppet("export", path, *options)
    assert code == 2 and message in err
    assert [one.name for one in tmp_path.iterdir()] == ["t.parquet"]


# ------------------------------------------------------------------------- the second reading


def test_the_second_reading_is_the_one_that_does_not_decide() -> None:
    both, display = moving_people(3), moving_people(3, reading="display")
    assert second_reading(both.table, both.names, both.settings) == "display"
    assert second_reading(display.table, display.names, display.settings) == "observers"
    shown = second_probabilities(both.table, both.names, both.settings)
    smoothed = np.column_stack([display.table[f"s_{name}"].to_numpy() for name in both.names])
    np.testing.assert_allclose(shown, smoothed, atol=1e-6)
    none = two_people()
    assert second_reading(none.table, none.names, none.settings) is None
    rows = none.table.num_rows
    assert second_probabilities(none.table, none.names, none.settings).shape == (rows, 0)
