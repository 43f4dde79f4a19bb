"""One clock for every recording: joints, odd stamps and missing stamps, on generated streams."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moppet.media.clock import ClockReport, clock_notes, mend_stamps

STEP, SECOND = 3600, 90_000  # 25 frames per second in MPEG's time base
HOURS = 3 * 3600 * SECOND
DAY = 24 * 3600 * SECOND


@dataclass
class Packet:
    dts: int | None
    pts: int | None
    duration: int = STEP


def stream(count: int, start: int = 0, reorder: int = 0, steps: Sequence[int] = ()) -> list[Packet]:
    """Packets in decoding order; with `reorder`, each group of that many B-frames follows."""
    shown = list(itertools.accumulate([start, *(steps or [STEP] * (count - 1))]))
    order = list(range(count))
    if reorder:
        order = [0]
        for first in range(1, count, reorder + 1):
            group = list(range(first, min(first + reorder + 1, count)))
            order += [group[-1], *group[:-1]]
    delay = reorder and 1
    early = [shown[0] - STEP * (delay - i) for i in range(delay)]
    decoded = [*early, *shown][:count]
    return [Packet(decoded[i], shown[k]) for i, k in enumerate(order)]


def mended(packets: list[Packet], joinable: bool = False) -> tuple[list[Packet], ClockReport]:
    report = ClockReport()
    found = mend_stamps(
        packets,
        STEP,
        10 * SECOND,
        joinable=joinable,
        report=report,
        seconds=lambda stamp: stamp / SECOND,
    )
    return list(found), report


def shown(packets: list[Packet]) -> list[int]:
    return sorted(packet.pts for packet in packets if packet.pts is not None)


reorders = st.sampled_from([0, 1, 2, 3])


@given(st.integers(1, 120), reorders, st.integers(-10 * SECOND, HOURS), st.booleans())
def test_a_sound_stream_is_left_alone(count: int, reorder: int, start: int, joinable: bool) -> None:
    got, report = mended(stream(count, start, reorder), joinable)
    assert got == stream(count, start, reorder)
    assert report.to_dict() == {}


@given(st.lists(st.integers(1, 100 * SECOND), min_size=1, max_size=80))
def test_gaps_and_variable_rates_are_left_alone(steps: list[int]) -> None:
    got, report = mended(stream(len(steps) + 1, steps=steps))
    assert got == stream(len(steps) + 1, steps=steps)
    assert report.to_dict() == {}


@settings(max_examples=60)
@given(st.integers(6, 60), st.integers(6, 60), reorders, st.integers(-HOURS, 0))
def test_joined_parts_follow_each_other(first: int, second: int, reorder: int, to: int) -> None:
    packets = stream(first, HOURS, reorder) + stream(second, HOURS + to, reorder)
    got, report = mended(packets)
    assert shown(got) == [HOURS + i * STEP for i in range(first + second)]
    assert report.joints_s == [pytest.approx((HOURS + first * STEP) / SECOND)]
    assert report.odd == 0


@given(st.integers(20, 60), st.integers(20, 60), st.integers(11 * SECOND, HOURS))
def test_a_jump_forward_is_a_joint_only_where_stamps_may_start_anew(
    first: int, second: int, gap: int
) -> None:
    def packets() -> list[Packet]:
        return stream(first) + stream(second, first * STEP + gap)

    got, report = mended(packets(), joinable=True)
    assert shown(got) == [i * STEP for i in range(first + second)]
    assert len(report.joints_s) == 1
    got, report = mended(packets())
    assert got == packets() and report.to_dict() == {}


@given(st.integers(20, 60), reorders, st.integers(11 * DAY, 2**60))
def test_a_gap_of_more_than_ten_days_is_closed(first: int, reorder: int, gap: int) -> None:
    got, report = mended(stream(first, 0, reorder) + stream(30, first * STEP + gap, reorder))
    assert shown(got) == [i * STEP for i in range(first + 30)]
    assert len(report.joints_s) == 1


@settings(max_examples=80)
@given(st.data(), reorders, st.sampled_from(["pts", "dts", "both"]))
def test_one_odd_stamp_moves_no_other_frame(data: st.DataObject, reorder: int, kind: str) -> None:
    count = data.draw(st.integers(40, 100))
    at = data.draw(st.integers(1, count - 4))
    away = data.draw(st.integers(12 * SECOND, HOURS)) * data.draw(st.sampled_from([-1, 1]))
    packets = stream(count, HOURS, reorder)
    true = [packet.pts for packet in packets]
    odd = packets[at]
    if kind != "dts" and odd.pts is not None:
        odd.pts += away
    if kind != "pts" and odd.dts is not None:
        odd.dts += away
    got, report = mended(packets)
    pts = [packet.pts for packet in got]
    assert pts[:at] + pts[at + 1 :] == true[:at] + true[at + 1 :]
    assert pts[at] is not None and true[at] is not None
    assert abs(pts[at] - true[at]) <= 4 * STEP
    assert len(set(pts)) == count
    assert report.odd >= 1 and report.joints_s == []


def test_what_was_assumed_is_told_in_plain_words() -> None:
    assumed = ClockReport([2.0, 4.5, 6.0, 8.0], odd=1, missing=3, assumed_fps=25.0).to_dict()
    assert clock_notes(assumed) == [
        "the file stores no time stamps: 25 frames per second are assumed.",
        "the time stamps start anew at 2.00, 4.50, 6.00, … s: the parts follow each other.",
        "1 time stamp is far from the others': placed between neighbors.",
        "3 time stamps are missing: placed by the frame rate.",
    ]
    assert clock_notes(ClockReport().to_dict()) == []
