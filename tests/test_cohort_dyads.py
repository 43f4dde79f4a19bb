"""Synchrony, lead and lag, matching and contingency of two people, on dyads with a known lag."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

import moppet as package
from cohort_sample import write_study
from command_line import Run
from moppet.cohort.dyads import DyadQuestion, measure_dyads
from moppet.cohort.study_folder import StudyFolder, read_study
from moppet.cohort.synchrony import (
    against,
    contingency,
    lag_profile,
    matching,
    phase_randomized,
    rotated,
    windowed_correlations,
)
from moppet.values import UsageError


def smooth_noise(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.convolve(rng.normal(size=n + 20), np.hanning(21) / 10, "valid")[:n]


def states(*runs: tuple[int, int]) -> np.ndarray:
    """States of value and length."""
    return np.concatenate([np.full(length, value) for value, length in runs])


def test_each_window_is_pearsons_r_at_each_lag() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200)) + 5
    y[40:47] = np.nan
    r = windowed_correlations(x, y, 50, 25, 3)
    assert r.shape == (7, 7)
    for row, start in enumerate(range(0, 151, 25)):
        for column, lag in enumerate(range(-3, 4)):
            at = np.arange(start, start + 50)
            at = at[(at + lag >= 0) & (at + lag < 200)]
            a, b = x[at], y[at + lag]
            known = ~np.isnan(b)
            wanted = np.corrcoef(a[known], b[known])[0, 1]
            assert r[row, column] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("lag", [-7, 0, 4, 12])
def test_a_known_lag_is_found_and_its_sign_says_who_leads(lag: int) -> None:
    rng = np.random.default_rng(lag + 10)
    first = smooth_noise(rng, 1500)
    second = np.roll(first, lag) + 0.3 * smooth_noise(rng, 1500)
    found = lag_profile(first, second, 50, 25, 15)
    assert found.peak_lag == pytest.approx(lag, abs=1) and found.peak_r > 0.8
    if abs(lag) > 2:
        assert math.copysign(1, found.lead) == math.copysign(1, lag)


def test_gaps_do_not_move_the_lag() -> None:
    rng = np.random.default_rng(3)
    first = smooth_noise(rng, 1500)
    second = np.roll(first, 5)
    first, second = first.copy(), second.copy()
    for start in rng.integers(0, 1450, 25):
        first[start : start + 15] = np.nan
        second[start + 20 : start + 30] = np.nan
    assert lag_profile(first, second, 50, 25, 15).peak_lag == 5


def test_series_that_do_not_vary_have_no_figure() -> None:
    found = lag_profile(np.ones(100), np.arange(100.0), 20, 10, 3)
    assert found.windows == 0 and math.isnan(found.peak_r) and math.isnan(found.synchrony)
    assert math.isnan(lag_profile(np.ones(5), np.ones(5), 20, 10, 3).lead)


def test_independent_people_are_rarely_above_their_surrogates() -> None:
    p = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        first, second = smooth_noise(rng, 400), smooth_noise(rng, 400)
        observed = lag_profile(first, second, 50, 25, 10).peak_r
        chance = [
            lag_profile(first, phase_randomized(second, rng), 50, 25, 10).peak_r for _ in range(19)
        ]
        p.append(against(observed, chance).p)
    assert 0.3 < np.mean(p) < 0.7 and (np.array(p) <= 0.05).mean() < 0.2


def test_random_phases_keep_the_spectrum_and_break_the_order() -> None:
    rng = np.random.default_rng(1)
    for n in (200, 201):
        series = smooth_noise(rng, n)
        turned = phase_randomized(series, rng)
        assert np.abs(np.fft.rfft(turned)) == pytest.approx(np.abs(np.fft.rfft(series)), abs=1e-9)
        assert abs(np.corrcoef(series, turned)[0, 1]) < 0.9
    series[50:60] = np.nan
    assert np.isnan(phase_randomized(series, rng)).tolist() == np.isnan(series).tolist()


def test_matching_counts_only_time_known_of_both() -> None:
    first = states((0, 5), (1, 5), (-1, 5))
    second = states((0, 8), (1, 7))
    assert matching(first, second) == pytest.approx(7 / 10)
    assert math.isnan(matching(states((-1, 4)), states((0, 4))))


def test_an_onset_counts_if_the_other_does_not_show_it_yet() -> None:
    first = states((0, 10), (1, 5), (0, 10), (1, 5), (0, 10), (1, 5), (0, 5))
    second = states((0, 12), (1, 5), (0, 7), (1, 9), (0, 17))
    found = contingency(first, second, 3)
    assert found[1:] == (1, 2)  # the second onset falls into the other's own smile
    assert contingency(first, second, 1).followed == 0
    back = contingency(second, first, 3)
    assert back[1:] == (1, 1)  # 12: the first smiles already; 24: it follows at 25
    assert math.isnan(contingency(states((0, 9)), second, 3).rate)


def test_rotated_states_keep_their_lengths_and_leave_their_place() -> None:
    series = np.arange(100)
    for seed in range(20):
        turned = rotated(series, 30, np.random.default_rng(seed))
        assert sorted(turned) == sorted(series) and 30 <= (turned[0] or 100) <= 70


def test_p_counts_the_observed_figure_too() -> None:
    assert against(3.0, [1.0, 2.0, 4.0]).p == pytest.approx(2 / 4)
    assert against(-3.0, [1.0, -1.0, 0.0], two_sided=True).p == pytest.approx(1 / 4)
    assert math.isnan(against(3.0, []).p)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    folder = tmp_path_factory.mktemp("dyads")
    results, listed = write_study(folder, dyads=5, seconds=50, lag_s=1.4)
    package.gather(results, folder / "study", listed)
    return read_study(folder / "study")


def test_the_lag_of_a_simulated_study_is_found(study: StudyFolder) -> None:
    question = DyadQuestion(labels=("happiness",), surrogates=20, within=("condition",))
    found = measure_dyads(study, question)
    (curve,) = found.curves
    assert np.median(curve.peak_lag_s) == pytest.approx(1.4, abs=0.2)
    groups = {(g.label, g.measure, g.surrogates): g for g in found.groups}
    for kind in ("partners", "time"):
        for measure in ("peak_r", "lead", "response"):
            one = groups["happiness", measure, kind]
            assert one.difference.low > 0 and one.n == 5, (measure, kind)
            assert one.p == pytest.approx(2 / 2**5)
        assert groups["happiness", "response_back", kind].difference.low < 0.1
    partners = [f.against["partners"].n for f in found.figures if f.measure == "peak_r"]
    assert set(partners) == {4}  # of four other participants, in the same condition


def test_the_reversed_roles_reverse_the_lag(study: StudyFolder) -> None:
    question = DyadQuestion(roles=("caregiver", "child"), labels=("lip_corner_pull",), surrogates=2)
    found = measure_dyads(study, question)
    assert np.median(found.curves[0].peak_lag_s) == pytest.approx(-1.4, abs=0.2)


def test_the_command_writes_tables_and_figures(
    study: StudyFolder, moppet: Run, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    given = ("--surrogates", "3", "--label", "happiness", "-o", tmp_path / "d")
    done = moppet("dyads", study.folder, *given)
    assert done.code == 0 and "largest correlation at +1.4 s" in done.out and "10 dyads" in done.out
    files = {path.name for path in (tmp_path / "d").iterdir()}
    drawn = {f"{name}.{kind}" for name in ("lags", "measures") for kind in ("svg", "pdf")}
    assert files == drawn | {"dyads.csv", "lags.csv", "dyads.json", "index.html"}
    with (tmp_path / "d" / "dyads.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["measure"] for row in rows} == {
        *("synchrony", "peak_r", "lead", "peak_lag_s", "matching", "response", "response_back"),
    }
    assert json.loads((tmp_path / "d" / "dyads.json").read_text())["dyads"] == 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--roles", "child"), "--roles takes two"),
        (("--roles", "child,child"), "--roles takes two"),
        (("--roles", "child,other"), "No recording has one child and one other"),
        (("--label", "hapiness"), "no 'hapiness' to compare. Did you mean 'happiness'"),
        (("--window", "0.3"), "--window is at least 3 times --step"),
        (("--within", "sesion"), "--within takes columns"),
    ],
)
def test_wrong_options_name_the_remedy(
    study: StudyFolder, moppet: Run, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = moppet("dyads", study.folder, "-o", tmp_path / "d", "--no-figures", *options)
    assert done.code == 2 and said in done.err and not (tmp_path / "d").exists()


def test_a_recording_with_two_children_is_left_out_by_name(tmp_path: Path) -> None:
    from moppet.timeline.people import People, Person, Piece, people_path

    results, listed = write_study(tmp_path, dyads=2, seconds=10)
    path = results / "c01" / "play" / "timeline.parquet"
    both = (Person("A", "child", (Piece(0),)), Person("B", "child", (Piece(1),)))
    People(both).write(people_path(path))
    package.gather(results, tmp_path / "study", listed)
    found = measure_dyads(read_study(tmp_path / "study"), DyadQuestion(surrogates=2))
    assert len(found.dyads) == 3 and "c01/play (A, B)" in found.notes[0]
    with pytest.raises(UsageError, match="two different roles"):
        DyadQuestion(roles=("child", "child"))
