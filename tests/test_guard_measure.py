"""What a guard found of coded distress: exact rates, delays, and the command that says so."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from typer.testing import CliRunner

from moppet.coders import Code, Coding, Lane, write_program
from moppet.commands import main as cli
from moppet.guard import match_events
from moppet.metrics import event_rate, exact_share
from moppet.timeline.annotations import add_correction

EXAMPLE = Path(__file__).parents[1] / "examples" / "child.mp4"
RULE = "sadness >= 50 % for 1 s -> alert"


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.623, 11.668), (10, 4.795, 18.390)],
)
def test_a_rate_s_interval_is_that_of_the_published_table(
    count: int, low: float, high: float
) -> None:
    """Garwood's exact limits for a Poisson count, as in Pearson and Hartley's table 40."""
    rate = event_rate(count, 1.0)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=6e-4)
    half = event_rate(count, 2.0)
    assert half.high == pytest.approx(high / 2, abs=6e-4) and half.value == count / 2


def test_a_share_s_interval_is_exact_and_nothing_of_nothing_is_undefined() -> None:
    found = exact_share(2, 10)  # Clopper and Pearson: 2.52 % to 55.61 %
    assert (found.low, found.high) == pytest.approx((0.0252, 0.5561), abs=1e-4)
    assert math.isnan(exact_share(0, 0).value) and exact_share(0, 0).n == 0
    assert all(math.isnan(v) for v in event_rate(3, 0.0)[:3])


@pytest.mark.parametrize(("count", "total"), [(0, 7), (3, 7), (7, 7), (40, 900)])
def test_a_share_s_interval_is_scipy_s(count: int, total: int) -> None:
    expected = binomtest(count, total).proportion_ci()
    found = exact_share(count, total)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_events_find_the_distress_that_they_fall_into() -> None:
    found = match_events([3.0, 9.5, 20.9, 40.0], [(1, 5), (20, 20), (5, 8), (60, 61)], 100)
    assert [(d.start_s, d.end_s) for d in found.distress] == [(1, 8), (20, 20), (60, 61)]
    assert found.distress[0].delay_s == 2.0 and found.delays_s == [2.0, pytest.approx(0.9)]
    assert math.isnan(found.distress[2].delay_s)
    assert found.false_alarms_s == (9.5, 40.0)
    assert found.calm_s == 100 - 8 and found.missed.value == pytest.approx(1 / 3)
    nothing = match_events([], [], 0.0)
    assert math.isnan(nothing.missed.value) and math.isnan(nothing.median_delay_s)
    assert math.isnan(nothing.false_alarms_per_hour.value)


@given(
    st.lists(st.floats(0, 100), max_size=8),
    st.lists(st.tuples(st.floats(0, 90), st.floats(0, 10)), max_size=5),
)
def test_every_event_is_one_or_the_other(
    events: list[float], spans: list[tuple[float, float]]
) -> None:
    found = match_events(events, [(a, a + length) for a, length in spans], 100)
    ends = [one.end_s for one in found.distress]
    assert ends == sorted(ends) and found.calm_s >= 0
    inside = {t for t in events for d in found.distress if d.start_s <= t <= d.end_s + 1}
    assert set(found.false_alarms_s) == set(events) - inside
    assert bool(inside) == bool(found.delays_s)
    assert all(d >= 0 for d in found.delays_s)


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["watch", *map(str, arguments)])
    return done.exit_code, done.output or str(done.exception)


def test_watch_says_what_it_found_of_a_coder_s_file(tmp_path: Path) -> None:
    codes = (Code(6.5, 9.0, "cry"), Code(10.0, 11.0, "fuss"), Code(2.0, 4.0, "smile"))
    coding = Coding((Lane("affect", tuple(sorted(codes)), "child"),), "child.mp4", 19.667)
    (elan,) = write_program(coding, tmp_path, "codes", "elan")
    code, said = run(EXAMPLE, "--rule", RULE, "--against", elan, "--sound", "none")
    assert code == 0 and "Coded distress: 2, found 1, missed 0.50" in said, said
    assert "10.0-11.0 s: missed" in said and "False alarms: 0 in" in said


def test_corrections_count_too_and_the_json_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "child.corrections.jsonl"
    for start, end, label in ((6.5, 9.0, "sadness"), (2.0, 4.0, "happiness")):
        add_correction(
            path, face_id=0, start_s=start, end_s=end, label=label, by="AB", at="2026-11-21"
        )
    code, said = run(EXAMPLE, "--rule", RULE, "--against", path, "--json")
    assert code == 0, said
    record = json.loads(said.splitlines()[-1])
    assert record["event"] == "measured" and len(record["distress"]) == 1
    assert record["missed"]["value"] == 0 and 0.9 < record["median_delay_s"] < 2.5
    assert record["false_alarms_s"] == []


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    code, said = run("camera:0", "--against", tmp_path / "a.eaf")
    assert code != 0
    (tmp_path / "a.csv").write_text("no codes\n")
    code, said = run(EXAMPLE, "--against", tmp_path / "a.csv")
    assert code != 0 and "a.csv" in said
    coding = Coding((Lane("affect", (Code(0, 1, "zorg"),), "child"),), "child.mp4")
    (elan,) = write_program(coding, tmp_path, "codes", "elan")
    code, said = run(EXAMPLE, "--against", elan)
    assert code != 0 and "zorg" in said
