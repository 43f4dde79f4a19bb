"""What a timeline's table holds, row by row, and what it refuses."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from moppet.timeline import TimelineSettings, build_timeline
from moppet.timeline.schema import conform, table_schema
from moppet.timeline.table import Timeline
from moppet.values import EXPRESSIONS, GROUPS, TimelineError

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


def build(*rows, settings=OFF, names=NAMES, group_of=GROUP_OF, **more):
    return build_timeline(rows, names=names, group_of=group_of, settings=settings, **more)


def column(timeline, name):
    return timeline.table.column(name).to_pylist()


def test_columns_have_the_fixed_order_and_types():
    timeline = build(empty(0, 0), names=EXPRESSIONS, group_of=GROUPS)
    assert timeline.table.schema.names == [
        *("frame", "time_s", "face_id", "status", "box_x", "box_y", "box_w", "box_h"),
        *("detection_score", "yaw", "pitch", "roll", "quality"),
        *(f"p_{name}" for name in EXPRESSIONS),
        *(f"s_{name}" for name in EXPRESSIONS),
        *("expression", "group", "confidence", "unsure", "valence"),
    ]
    kinds = {field.name: str(field.type) for field in timeline.table.schema}
    assert kinds.pop("frame") == "int64"
    assert kinds.pop("time_s") == "double"
    assert kinds.pop("face_id") == "int32"
    assert kinds.pop("unsure") == "bool"
    assert {kinds.pop(name) for name in ("status", "expression", "group")} == {"string"}
    assert set(kinds.values()) == {"float"}


@pytest.mark.parametrize("status", ["no_face", "unreadable", "skipped"])
def test_a_frame_without_a_face_has_null_in_every_face_field(status):
    (row,) = build(empty(7, 0.28, status)).table.to_pylist()
    assert (row.pop("frame"), row.pop("time_s"), row.pop("status")) == (7, 0.28, status)
    assert set(row.values()) == {None}


def test_missing_numbers_are_null_never_nan_or_zero():
    (row,) = build(face(0, 0, [0.25, 0.75])).table.to_pylist()
    assert row["pitch"] is None and row["roll"] is None
    assert row["yaw"] == 1 and row["box_y"] == -2


def test_expression_is_the_largest_smoothed_probability_with_its_group_and_confidence():
    timeline = build(face(0, 0, [0.75, 0.25]), face(1, 0.04, [0.25, 0.75]))
    assert column(timeline, "expression") == ["joy", "crying"]
    assert column(timeline, "group") == ["positive", None]
    assert column(timeline, "confidence") == [0.75, 0.75]


def test_expression_follows_the_smoothed_not_the_raw_probability():
    rows = [face(i, i / 25, [0.9, 0.1]) for i in range(11)]
    rows[5] = face(5, 5 / 25, [0.4, 0.6])
    timeline = build(*rows, settings=TimelineSettings())
    assert column(timeline, "expression") == ["joy"] * 11
    assert column(timeline, "p_crying")[5] == pytest.approx(0.6)
    assert column(timeline, "s_crying")[5] < 0.2


def test_unsure_marks_low_quality_low_confidence_and_never_blanks():
    third = {"joy": 0.4, "crying": 0.35, "x": 0.25}
    timeline = build(
        face(0, 0.0, [0.9, 0.1, 0]),
        face(1, 0.1, [0.9, 0.1, 0], status="low_quality"),
        face(2, 0.2, [0.9, 0.1, 0], quality=0.29),
        face(3, 0.3, [0.9, 0.1, 0], quality=0.3),
        face(4, 0.4, [0.9, 0.1, 0], quality=None),
        face(5, 0.5, list(third.values())),
        face(6, 0.6, [0.5, 0.3, 0.2]),
        face(7, 0.7, None),
        empty(8, 0.8),
        names=tuple(third),
    )
    assert column(timeline, "unsure") == [
        *(False, True, True, False, False, True, False, True, None)
    ]
    assert column(timeline, "expression") == ["joy"] * 7 + [None] * 2


def test_rows_come_sorted_by_frame_and_face_whatever_their_order():
    rows = [face(2, 0.2, [1, 0], 1), empty(1, 0.1), face(2, 0.2, [0, 1], 0), face(0, 0, [1, 0])]
    timeline = build(*rows)
    assert column(timeline, "frame") == [0, 1, 2, 2]
    assert column(timeline, "face_id") == [0, None, 0, 1]
    assert timeline == build(*rows[::-1])


def test_smoothing_goes_by_time_where_time_stamps_run_backwards():
    def smoothed(pairs):
        rows = [face(i, time_s, p) for i, (time_s, p) in enumerate(pairs)]
        return column(build(*rows, settings=TimelineSettings(smooth_s=0.1)), "s_joy")

    # 0.35 s is out of the reach of 0.0 s, but not of 0.1 s.
    pairs = [(0.35, [0.1, 0.9]), (0.0, [0.2, 0.8]), (0.1, [0.9, 0.1]), (0.2, [0.4, 0.6])]
    by_time = [pairs[i] for i in (1, 2, 3, 0)]
    assert [smoothed(pairs)[i] for i in (1, 2, 3, 0)] == smoothed(by_time)


def test_each_face_is_smoothed_by_itself():
    wide = TimelineSettings(smooth_s=5)
    rows = [face(i, i / 25, [1, 0], 0) for i in range(5)]
    rows += [face(i, i / 25, [0, 1], 4) for i in range(5)]
    timeline = build(*rows, settings=wide)
    assert set(zip(column(timeline, "face_id"), column(timeline, "s_joy"), strict=True)) == {
        (0, 1.0),
        (4, 0.0),
    }


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([face(3, 0, [0.7, 0.7])], "frame 3 must be 0 or more and sum to 1"),
        ([face(3, 0, [1.5, -0.5])], "frame 3 must be 0 or more"),
        ([face(3, 0, [math.nan, 1])], "frame 3 must be"),
        ([face(3, 0, [1.0])], "Frame 3 has 1 probabilities, but there are 2 classes"),
        ([face(3, 0, [1, 0], None)], "Frame 3 .* without a face_id"),
        ([empty(3, 0) | {"box_x": 1}], "Frame 3 .* has no face but contains face values"),
        ([empty(3, 0) | {"p": [1, 0]}], "Frame 3 .* has no face but contains face values"),
        ([empty(3, 0, "lost")], "'lost'"),
        ([empty(3, 0), empty(3, 0)], "Frame 3 .* twice"),
        ([empty(3, 0), face(3, 0, [1, 0])], "Frame 3 .* twice"),
        ([face(3, 0, [1, 0]), face(3, 0, [1, 0])], "Frame 3 .* twice"),
        ([face(3, 0, [1, 0], 0), face(3, 1, [1, 0], 1)], "Frame 3 .* two different times"),
        ([empty(3, math.nan)], "'time_s' .* must have a value"),
        ([empty(3, math.inf)], "infinite"),
        ([face(3, 0, [1, 0], box_x=math.inf)], "'box_x' .* infinite"),
        ([empty(3, 0) | {"boxx": 1}], "boxx"),
        ([{"frame": 0, "status": "no_face"}], "needs frame, time_s, status"),
    ],
)
def test_rows_that_fit_no_timeline_are_refused_with_their_frame(rows, text):
    with pytest.raises(TimelineError, match=text):
        build(*rows)


@pytest.mark.parametrize("names", [(), ("a", "a"), ("",), ("a\nb",), (None,)])
def test_names_that_cannot_head_a_column_are_refused(names):
    with pytest.raises(TimelineError):
        build(empty(0, 0), names=names)


def test_metadata_is_kept_as_json_with_names_groups_and_settings():
    from pathlib import Path

    given = {
        "source_name": Path("a/b.mp4"),
        "duration_s": math.nan,
        "frame_count": np.int64(3),
        "settings": {"every": 2},
    }
    metadata = build(empty(0, 0), metadata=given, group_of=GROUP_OF | {"other": "x"}).metadata
    assert metadata == {
        "source_name": str(Path("a/b.mp4")),
        "duration_s": None,
        "frame_count": 3,
        "names": ["joy", "crying"],
        "groups": {"joy": "positive"},
        "settings": {"every": 2, "timeline": OFF.to_dict()},
    }
    with pytest.raises(TimelineError, match="Metadata"):
        build(empty(0, 0), metadata={"x": object()})


def test_a_timeline_without_rows_is_one():
    timeline = build()
    assert timeline.table.num_rows == 0
    assert timeline.episodes() == []
    assert timeline.summary()["frames"]["total"] == 0


def test_timelines_differ_where_any_part_does():
    one = build(face(0, 0, [0.6, 0.4]))
    assert one == build(face(0, 0, [0.6, 0.4]))
    assert one != build(face(0, 0, [0.5, 0.5]))
    assert one != build(face(0, 0, [0.6, 0.4]), metadata={"source_name": "x"})
    assert one != build(face(0, 0, [0.6, 0.4]), settings=TimelineSettings(smooth_s=0, enter=0.6))


def test_foreign_types_are_taken_where_nothing_is_lost():
    timeline = build(face(0, 0, [0.25, 0.75]), empty(1, 0.04))
    frame = timeline.table.to_pandas()
    assert str(frame["face_id"].dtype) == "float64", "pandas makes floats of ids with gaps"
    foreign = pa.Table.from_pandas(frame.assign(coder="me"))
    status = foreign.column("status").dictionary_encode()
    foreign = foreign.set_column(foreign.schema.get_field_index("status"), "status", status)
    assert conform(foreign, NAMES).equals(timeline.table)
    wrong = foreign.set_column(0, "frame", pa.array([0.5, 1.0]))
    with pytest.raises(TimelineError, match="'frame'"):
        conform(wrong, NAMES)
    with pytest.raises(TimelineError, match=r"'frame' .* holds int64, but .* string"):
        conform(foreign.set_column(0, "frame", pa.array(["0", "1"])), NAMES)


def test_a_missing_column_is_named_with_its_nearest():
    table = build(empty(0, 0)).table
    with pytest.raises(TimelineError, match=r"'time_s'.*'times'"):
        conform(table.rename_columns(["frame", "times", *table.column_names[2:]]), NAMES)


def test_tables_that_contradict_themselves_are_refused():
    table = build(face(0, 0, [0.25, 0.75])).table
    for name, value, text in [
        ("expression", "anger", "'anger', which is not one of its classes"),
        ("expression", None, "only some of"),
        ("confidence", None, "only some of"),
        ("unsure", None, "without 'unsure'"),
        ("p_joy", None, "lacks some p_"),
        ("s_joy", 0.9, "s_ values that do not sum to 1"),
        ("p_joy", -0.1, "outside 0 and 1"),
    ]:
        at = table.schema.get_field_index(name)
        field = table_schema(NAMES).field(name)
        bad = table.set_column(at, field, pa.array([value], field.type))
        with pytest.raises(TimelineError, match=text):
            Timeline(bad, NAMES, GROUP_OF)


def test_pandas_gets_nan_for_numbers_and_na_for_ids():
    frame = build(face(0, 0, [0.25, 0.75], 3), empty(1, 0.04)).to_pandas()
    assert frame["face_id"].tolist()[0] == 3 and str(frame["face_id"].dtype) == "Int32"
    assert math.isnan(frame["box_x"][1]) and str(frame["box_x"].dtype) == "float32"
    assert len(frame[frame["unsure"]]) == 0, "a boolean column can select rows"


def test_without_pandas_the_error_says_how_to_get_it():
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pandas': raise ModuleNotFoundError('No module named pandas')\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from moppet.timeline import build_timeline\n"
        "row = {'frame': 0, 'time_s': 0.0, 'status': 'no_face'}\n"
        "timeline = build_timeline([row], names=['a'], group_of={})\n"
        "try: timeline.to_pandas()\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"Install it with: {sys.executable} -m pip install pandas" in done.stdout
