"""Trials of a guard, and fitting a distress score to them."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from guard_clips import DISTRESS, SHA256, child_timeline, write_clips
from model_folder import MOVEMENTS, write_model, write_whole_model
from moppet.commands import main as cli
from moppet.guard import DISTRESS_RULES, Guard, GuardSettings, parse_rules, read_score
from moppet.guard.distress_fit import Fitter, feature_sets, logistic_regression
from moppet.guard.trials import (
    Measured,
    figures,
    figures_by_group,
    find_trials,
    live_frames,
    make_trial,
    match_trial,
    read_measured,
    read_trial,
    run_trial,
    sort_out,
)
from moppet.infer.expression_model import find_model, load_model, read_card
from moppet.timeline import CausalSmoother, TimelineSettings
from moppet.values import EXPRESSIONS, GROUPS, MoppetError, UsageError


def fitter(movements: Sequence[str] = MOVEMENTS) -> Fitter:
    return Fitter(EXPRESSIONS, GROUPS, movements, penalties=(0.03,))


def trials_of(*children: int, split: str = "val", **about: Any) -> list[Any]:
    return [
        make_trial(str(child), child_timeline(child, **about), DISTRESS, split=split)
        for child in children
    ]


@pytest.fixture(scope="module")
def fitted() -> Any:
    return fitter().fit(trials_of(0, 1, 2, 3))


# -------------------------------------------------------------------------------------- trials


def test_distress_with_short_breaks_is_one_and_what_is_too_short_is_neither() -> None:
    spans = [(10, 13), (15, 17), (30, 31), (33.5, 34), (50, 54), (60, 63.9)]
    distress, neither = sort_out(spans)
    assert distress == ((10, 17), (50, 54)) and neither == ((30, 34), (60, 63.9))
    assert sort_out([]) == ((), ())


def test_what_is_neither_is_no_false_alarm_and_no_calm_time() -> None:
    spans = [(10.0, 20.0), (40.0, 42.0)]
    trial = make_trial("one", child_timeline(0), spans, age_years=1.5, skin_tone=9.2)
    outcome = match_trial(trial, [14.0, 42.5, 50.0], watched_s=60.0)
    assert outcome.found.false_alarms_s == (50.0,) and outcome.found.calm_s == 60 - 10 - 2
    found = figures([outcome, match_trial(trial, [], 60.0)])
    assert (found.missed_count, found.missed.n, found.delays_s) == (1, 2, (4.0,))
    assert found.hours == pytest.approx(96 / 3600) and found.median_delay_s == 4.0
    assert list(figures_by_group([outcome])) == ["infant", "tone 8-10"]
    assert math.isnan(figures([]).median_delay_s)


def test_a_trial_shows_the_guard_what_a_live_stream_would() -> None:
    timeline = child_timeline(0)
    smoother = CausalSmoother(TimelineSettings())
    for rows, given in zip(live_frames(timeline), timeline.table.to_pylist(), strict=True):
        (row,) = rows
        p = [given[f"p_{name}"] for name in EXPRESSIONS]
        live = smoother.update(given["face_id"], given["time_s"], p, given["quality"])
        assert [row[f"s_{name}"] for name in EXPRESSIONS] == pytest.approx(list(live), abs=1e-6)
        assert row["m_brow_lower"] == given["m_brow_lower"]


def test_clips_are_found_with_their_timelines_and_must_fit_them(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", tmp_path / "analyzed", 2)
    first, last = (read_trial(one, SHA256) for one in find_trials(clips, tmp_path / "analyzed"))
    assert (first.split, last.split) == ("val", "test") and last.age_years == 1
    assert [tuple(np.round(span, 6)) for span in first.distress] == list(DISTRESS)
    assert first.groups and list(first.groups) == ["infant", "tone 4-7"]
    (one, *_) = find_trials(clips, tmp_path / "analyzed")
    with pytest.raises(MoppetError, match="made with another model"):
        read_trial(one, "1" * 64)
    shutil.rmtree(tmp_path / "analyzed" / "001")
    with pytest.raises(UsageError, match="moppet analyze"):
        find_trials(clips, tmp_path / "analyzed")
    with pytest.raises(UsageError, match="no folder of clips"):
        find_trials(tmp_path, tmp_path)
    text = (clips / "clips.csv").read_text()
    (clips / "clips.csv").write_text(text.replace("001.truth", "000.truth"))
    with pytest.raises(UsageError, match="single person"):
        find_trials(clips, tmp_path / "analyzed")


# ----------------------------------------------------------------------------------------- fit


@pytest.mark.parametrize("penalty", [0.003, 0.3])
def test_the_regression_is_scikit_learn_s(penalty: float) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 3)) * [1, 5, 0.2] + [0, 3, -1]
    y = rng.random(400) < 1 / (1 + np.exp(-(x @ [1.0, -0.2, 3.0] + 2)))
    weight = rng.uniform(0.5, 2, 400)
    intercept, weights = logistic_regression(x, y, weight, penalty)
    w = weight / weight.sum()
    mean = w @ x
    z = (x - mean) / np.sqrt(w @ (x - mean) ** 2)
    other = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=1000).fit(z, y, sample_weight=w)
    assert weights * np.sqrt(w @ (x - mean) ** 2) == pytest.approx(other.coef_[0], abs=1e-4)
    assert intercept + weights @ mean == pytest.approx(other.intercept_[0], abs=1e-4)


def test_a_constant_says_nothing_and_what_is_separable_stays_finite() -> None:
    x = np.column_stack([np.ones(50), np.linspace(-1, 1, 50)])
    intercept, weights = logistic_regression(x, x[:, 1] > 0, np.ones(50), 0.01)
    assert weights[0] == 0 and 0 < weights[1] < 100 and math.isfinite(intercept)


def test_the_fit_finds_that_the_brows_against_calm_tell_distress(fitted: Any) -> None:
    (best,) = [row for row in fitted.candidates if row["chosen"]]
    assert "movements" in best["features"] and "calm" in best["features"]
    assert best["missed"] == 0 and best["false_alarms_per_hour"] == 0
    raw = [row for row in fitted.candidates if row["features"] == "groups and movements"]
    assert min(row["log_loss"] for row in raw) > best["log_loss"]
    assert fitted.score.relative["m_brow_lower"] > 0
    assert not {"m_gaze_x", "m_brow_lower_left"} & {*fitted.score.features}


def test_a_fitted_score_finds_distress_of_children_that_it_never_saw(fitted: Any) -> None:
    rules = GuardSettings(parse_rules(DISTRESS_RULES[:2]))
    outcomes = []
    for trial in trials_of(10, 11, 12, 13, split="test"):
        guard = Guard(rules, EXPRESSIONS, GROUPS, movements=MOVEMENTS, distress=fitted.score)
        outcomes.append(run_trial(trial, guard))
    found = figures(outcomes)
    assert found.missed_count == 0 and found.false_alarms_per_hour.n <= 1
    assert 3.9 <= found.median_delay_s < 5.5


def test_the_fit_is_repeatable_and_sees_tuning_clips_only(fitted: Any) -> None:
    assert fitter().fit(trials_of(0, 1, 2, 3)).score == fitted.score
    with pytest.raises(MoppetError, match="for tuning"):
        fitter().fit([*trials_of(0, 1), *trials_of(2, split="test")])
    with pytest.raises(MoppetError, match="two or more"):
        fitter().fit(trials_of(0))
    calm = [make_trial(str(i), child_timeline(i), [], split="val") for i in range(2)]
    with pytest.raises(MoppetError, match="clips with distress"):
        fitter().fit(calm)
    with pytest.raises(MoppetError, match='group "negative"'):
        feature_sets(("joy", "calm"), {"joy": "positive"}, (), "p")


def test_the_display_reading_is_used_where_there_is_one() -> None:
    about = {"display": True, "measures": False}
    score = fitter(()).fit(trials_of(0, 1, 2, **about)).score
    assert all(name.startswith("d_") for name in score.features)


# --------------------------------------------------------------------------------- the command


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["distress", *map(str, arguments)])
    return done.exit_code, done.output or str(done.exception)


def test_the_command_writes_the_score_and_what_it_measured(tmp_path: Path) -> None:
    model = write_whole_model(tmp_path / "model")
    sha256 = read_card(find_model(model))["sha256"]
    before = (model / "card.toml").read_text()
    clips = write_clips(tmp_path / "clips", tmp_path / "analyzed", 6, sha256=sha256)
    code, said = run(model, clips, tmp_path / "analyzed")
    assert code == 0, said
    assert "(chosen)" in said and "distress missed: 0.00 (0.00 to 0.46), 0 of 6" in said
    text = (model / "card.toml").read_text()
    assert text.startswith(before.rstrip()) and load_model(model).card["name"] == "tiny"
    card = read_card(find_model(model))
    measured = read_measured(card)
    assert read_score(card) is not None and measured is not None
    assert measured.clips == 3 and measured.missed["n"] == 6 and measured.missed["value"] == 0
    assert measured.groups["infant"] == {
        "clips": 1, "distress": 2, "missed": 0, "false_alarms": 0
    }  # fmt: skip
    code, said = run(model, clips, tmp_path / "analyzed")  # again: nothing is doubled
    assert code == 0 and (model / "card.toml").read_text() == text
    code, said = run(model, clips, tmp_path / "analyzed", "--measure-only", "--json")
    assert code == 0 and json.loads(said)["candidates"] is None
    assert json.loads(said)["measured"]["clips"] == 3
    assert (model / "card.toml").read_text() == text


def test_what_the_command_cannot_use_is_said(tmp_path: Path) -> None:
    code, said = run("default", tmp_path, tmp_path)
    assert code != 0 and "needs a model folder" in said
    model = write_model(tmp_path / "model")
    sha256 = read_card(find_model(model))["sha256"]
    clips = write_clips(tmp_path / "clips", tmp_path / "analyzed", 2, sha256=sha256)
    code, said = run(model, clips, tmp_path / "analyzed", "--measure-only")
    assert code != 0 and "no distress score yet" in said
    code, said = run(model, clips, tmp_path / "analyzed")
    assert code != 0 and "two or more clips" in said
    assert read_measured(read_card(find_model(model))) is None


def test_what_was_measured_reads_back_and_a_damaged_table_is_refused() -> None:
    trial = make_trial("one", child_timeline(0), DISTRESS, age_years=3, skin_tone=2)
    measured = Measured.of([match_trial(trial, [20.0, 50.0], 60.0)])
    assert read_measured(tomllib.loads(measured.to_toml())) == measured
    nothing = Measured.of([match_trial(trial, [], 60.0)])
    assert read_measured(tomllib.loads(nothing.to_toml())) == nothing
    with pytest.raises(MoppetError, match="hours"):
        read_measured({"distress": {"measured": {"clips": 3}}})
