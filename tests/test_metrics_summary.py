"""The summary holds every figure as computed alone, and differences of two models."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import moppet.metrics as metrics
from moppet.metrics import (
    as_json,
    bootstrap,
    drawn_figures,
    paired_bootstrap_many,
    summarize,
    within,
)
from moppet.values import UsageError

DOCUMENT = Path(__file__).parents[1] / "docs" / "reference" / "metrics.md"
NAMES = ("calm", "happy", "crying")


def made_up(n=240, k=3, seed=0):
    """Return probabilities, labels, groups of about two rows, and ten votes a row."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[label]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    votes = rng.multinomial(9, (p + np.eye(k)[label]) / 2)
    return p.astype(np.float32), label, rng.integers(0, n // 2, n), votes


def alone(p, label, votes, k):
    """Every figure of some rows by the function that computes it alone."""
    guess = p.argmax(axis=1)
    per_class = {
        "recall": metrics.recalls(label, guess, k),
        "precision": metrics.precisions(label, guess, k),
        "f1": metrics.f1_scores(label, guess, k),
        "auc": metrics.aucs(p, label),
    }
    overall = {
        "accuracy": metrics.accuracy(label, guess),
        "balanced_accuracy": metrics.balanced_accuracy(label, guess, k),
        "macro_precision": metrics.macro_precision(label, guess, k),
        "macro_f1": metrics.macro_f1(label, guess, k),
        "g_mean": metrics.g_mean(label, guess, k),
        "macro_auc": metrics.macro_auc(p, label),
        "kappa": metrics.cohen_kappa(label, guess, k),
        "ece": metrics.calibration_error(p, label),
        "brier": metrics.brier_score(p, label),
        "vote_divergence": metrics.vote_divergences(p, votes).mean(),
        "vote_distance": metrics.vote_distances(p, votes).mean(),
        "model_rater_agreement": metrics.guess_agreements(guess, votes).mean(),
        "human_rater_agreement": metrics.rater_agreements(votes).mean(),
        "model_plurality_agreement": metrics.guess_plurality_agreements(guess, votes).mean(),
        "human_plurality_agreement": metrics.rater_plurality_agreements(votes).mean(),
    }
    return overall, per_class


def test_every_figure_and_interval_is_the_one_computed_alone():
    p, label, groups, votes = made_up()
    summary = summarize(p, label, groups, NAMES, _rng(), votes=votes, draws=60)
    overall, per_class = alone(p, label, votes, 3)
    assert summary.overall.keys() == overall.keys()
    assert summary.per_class.keys() == per_class.keys()

    seen = {}

    def of_rows(name, number):
        def figure(rows):
            key = rows.tobytes()
            if key not in seen:
                seen[key] = alone(p[rows], label[rows], votes[rows], 3)
            found = seen[key]
            return float(found[0][name] if number is None else found[1][name][number])

        return figure

    for name, estimate in summary.overall.items():
        known = bootstrap(of_rows(name, None), groups, _rng(), draws=60)
        np.testing.assert_allclose(estimate[:3], known[:3], rtol=1e-6, err_msg=name)
    for name in per_class:
        known = bootstrap(of_rows(name, 2), groups, _rng(), draws=60)
        ours = summary.per_class[name]["crying"]
        np.testing.assert_allclose(ours[:3], known[:3], rtol=1e-6, err_msg=name)


def test_each_estimate_says_what_it_rests_on():
    p, label, groups, votes = made_up()
    votes[:30] = 0
    votes[30:40] = [1, 0, 0]
    summary = summarize(p, label, groups, NAMES, _rng(), votes=votes, draws=20)
    guess = p.argmax(axis=1)
    happy = {figure: by_class["happy"].n for figure, by_class in summary.per_class.items()}
    assert happy == {
        "recall": (label == 1).sum(),
        "auc": (label == 1).sum(),
        "precision": (guess == 1).sum(),
        "f1": ((label == 1) | (guess == 1)).sum(),
    }
    assert summary.n == summary.overall["accuracy"].n == 240
    assert summary.overall["vote_distance"].n == 210
    assert summary.overall["human_rater_agreement"].n == 200


def test_a_class_of_one_group_has_figures_without_intervals():
    p, label, groups, votes = made_up()
    groups = np.where(label == 2, 500, groups)
    votes[groups != 3] = 0
    summary = summarize(p, label, groups, NAMES, _rng(), votes=votes, draws=200)
    for figure in ("recall", "auc"):
        one, other = (summary.per_class[figure][name] for name in ("crying", "happy"))
        assert not math.isnan(one.value) and np.isnan([one.low, one.high]).all()
        assert other.low < other.value < other.high
    assert np.isnan(summary.overall["vote_distance"][1:3]).all()
    assert summary.overall["vote_distance"].value > 0
    assert not np.isnan(summary.overall["macro_f1"][:3]).any()


def test_a_share_that_all_draws_repeat_has_the_exact_limits_of_its_groups():
    label = np.array([0] * 8 + [1] * 4)
    p = np.eye(2, dtype=np.float32)[[0] * 8 + [0] * 4] * 0.8 + 0.1  # class 1 is never read
    groups = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9])
    found = summarize(p, label, groups, NAMES[:2], np.random.default_rng(0))
    # 7 of 7 and 0 of 3 groups: the closed forms of Clopper and Pearson's limits.
    right, wrong = found.per_class["recall"]["calm"], found.per_class["recall"]["happy"]
    assert right == pytest.approx((1, 0.025 ** (1 / 7), 1, 8))
    assert wrong == pytest.approx((0, 0, 1 - 0.025 ** (1 / 3), 4))
    assert math.isnan(found.per_class["precision"]["happy"].value)
    alone = summarize(p[:8], label[:8], groups[:8], NAMES[:2], np.random.default_rng(0))
    assert alone.overall["accuracy"] == pytest.approx((1, 0.025 ** (1 / 7), 1, 8))
    # Groups that are partly right vary: percentiles stay.
    mixed = summarize(p, label, np.arange(12), NAMES[:2], np.random.default_rng(0))
    drawn = bootstrap(
        lambda r: metrics.accuracy(label[r], p[r].argmax(1)),
        np.arange(12),
        np.random.default_rng(0),
    )
    assert mixed.overall["accuracy"] == drawn


def test_an_absent_class_is_null_in_json():
    p, label, groups, _ = made_up()
    here = label != 2
    summary = summarize(p[here], label[here], groups[here], NAMES, _rng(), draws=20)
    written = json.loads(json.dumps(summary.as_json(), allow_nan=False))
    n = int(here.sum())
    assert written["per_class"]["recall"]["crying"] == {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
    }
    assert written["n"] == n and np.sum(written["confusion"]) == n
    assert 0 < written["overall"]["balanced_accuracy"]["value"] < 1
    assert "human_rater_agreement" not in written["overall"]
    none = np.empty(0, int)
    empty = summarize(np.empty((0, 3)), none, none, NAMES, _rng(), votes=np.empty((0, 3)))
    assert all(math.isnan(e.value) and e.n == 0 for e in empty.overall.values())


def test_a_better_model_is_better_in_every_figure():
    p, label, groups, votes = made_up()
    noise = np.random.default_rng(1).dirichlet(np.ones(3), len(p))
    first = drawn_figures(p, label, NAMES, votes=votes)
    second = drawn_figures(noise, label, NAMES, votes=votes)
    found = paired_bootstrap_many(first, second, groups, _rng(), draws=99)
    costs = {"brier", "vote_divergence", "vote_distance"}
    for name, difference in found.items():
        if name in {"human_rater_agreement", "human_plurality_agreement"}:
            assert difference[:4] == (0, 0, 0, 1)
        elif name != "ece":
            sign = -1 if name in costs else 1
            assert sign * difference.value > 0 and difference.p == 0.02, name
    assert as_json(found["accuracy"])["p"] == 0.02


def test_the_figures_within_a_part_are_those_of_its_rows():
    p, label, _, votes = made_up()
    part = np.random.default_rng(2).uniform(size=240) < 0.3
    figures = within(drawn_figures(p, label, NAMES, votes=votes), part)(np.ones((1, 240)))
    overall, per_class = alone(p[part], label[part], votes[part], 3)
    for name, value in overall.items():
        assert figures[name][0] == pytest.approx(value, rel=1e-6), name
    for name, values in per_class.items():
        ours = [figures[f"{name}/{c}"][0] for c in NAMES]
        assert ours == pytest.approx(list(values), rel=1e-6), name


def test_a_thousand_draws_of_3300_rows_take_seconds():
    p, label, groups, votes = made_up(n=3300, k=7)
    start = time.process_time()
    summary = summarize(p, label, groups, [f"c{i}" for i in range(7)], _rng(), votes=votes)
    assert time.process_time() - start < 10
    assert len(summary.overall) + sum(map(len, summary.per_class.values())) == 43


def test_names_and_groups_must_fit():
    p, label, groups, _ = made_up()
    with pytest.raises(UsageError, match="3 different names"):
        drawn_figures(p, label, ["a", "b", "a"])
    with pytest.raises(UsageError, match="got 239 and 240"):
        summarize(p, label, groups[1:], NAMES, _rng())


def test_every_figure_is_documented():
    text = DOCUMENT.read_text(encoding="utf-8")
    p, label, groups, votes = made_up(n=20)
    summary = summarize(p, label, groups, NAMES, _rng(), votes=votes, draws=4)
    functions = [name for name in metrics.__all__ if name[0].islower()]
    named = [*summary.overall, *summary.per_class, *functions]
    assert [name for name in named if f"`{name}`" not in text] == []


def test_importing_the_metrics_loads_no_scipy():
    code = "import sys, moppet.metrics; print('scipy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def _rng() -> np.random.Generator:
    return np.random.default_rng(11)
