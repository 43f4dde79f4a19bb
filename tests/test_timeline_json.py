"""JSON needs few digits and restores every number."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.timeline import build_timeline, read_timeline
from moppet.timeline.formats import _short


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=300))
@settings(max_examples=50, deadline=None)
def test_json_restores_float32_to_the_bit_in_few_digits(values):
    column = pa.chunked_array([pa.array(values, pa.float32())])
    back = json.loads(json.dumps(_short(column, pa.field("x", pa.float32()))))
    assert np.array_equal(np.array(back, np.float32), np.array(values, np.float32))
    (tenth,) = _short(
        pa.chunked_array([pa.array([0.1], pa.float32())]), pa.field("x", pa.float32())
    )
    assert tenth == 0.1


def test_json_restores_the_number_whose_shortest_digits_round_twice():
    # As a double 7.038531e-26 lies halfway between two float32 and would round to the wrong one.
    column = pa.chunked_array([pa.array(["7.038531e-26"]).cast(pa.float32())])
    back = pa.array(_short(column, pa.field("x", pa.float32())), pa.float32())
    assert back.equals(column.combine_chunks())


def test_json_with_a_byte_order_mark_is_read(tmp_path):
    row = {"frame": 0, "time_s": 0.1, "status": "no_face"}
    made = build_timeline([row], names=["a"], group_of={})
    path = made.write(tmp_path / "t.json")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_timeline(path) == made
