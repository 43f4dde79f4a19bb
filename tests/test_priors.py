"""Priors change probabilities by Bayes' rule, and can be estimated from the faces themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_folder import DISPLAY_PRIOR, PRIOR, write_model, write_whole_model
from moppet import EXPRESSIONS, load_model
from moppet.infer.expression_model import softmax
from moppet.infer.priors import change_prior, estimate_prior, full_prior, log_ratio, read_prior
from moppet.values import ModelError, UsageError

CROPS = np.random.default_rng(1).integers(0, 256, (5, 40, 40, 3)).astype(np.uint8)
UNIFORM = dict.fromkeys(EXPRESSIONS, 1 / 7)
SKEWED = dict.fromkeys(EXPRESSIONS, 0.05) | {"neutral": 0.7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whole_model(tmp_path_factory.mktemp("prior") / "whole")


def by_bayes(p: np.ndarray, old: dict[str, float], new: dict[str, float]) -> np.ndarray:
    weighted = p * np.array([new[name] / old[name] for name in EXPRESSIONS])
    return weighted / weighted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("prior", ["uniform", SKEWED])
def test_both_readings_follow_bayes_rule(folder: Path, prior: object) -> None:
    own, changed = load_model(folder), load_model(folder, prior=prior)
    new = UNIFORM if prior == "uniform" else dict(prior)
    before, after = own.predict(CROPS), changed.predict(CROPS)
    np.testing.assert_allclose(
        after.probabilities, by_bayes(before.probabilities, PRIOR, new), atol=1e-6
    )
    np.testing.assert_allclose(
        after.display, by_bayes(before.display, DISPLAY_PRIOR, new), atol=1e-6
    )
    assert changed.prior == pytest.approx(new) and own.prior == pytest.approx(PRIOR)


def test_the_cards_own_prior_changes_nothing(folder: Path) -> None:
    own, same = load_model(folder), load_model(folder, prior=PRIOR)
    assert np.array_equal(own.predict(CROPS).probabilities, same.predict(CROPS).probabilities)
    back = load_model(folder, prior="uniform").with_prior("natural")
    assert np.array_equal(own.predict(CROPS).display, back.predict(CROPS).display)


def test_a_class_that_does_not_occur_gets_nothing(folder: Path) -> None:
    none = dict(zip(EXPRESSIONS, (0.5, 0.5, 0, 0, 0, 0, 0), strict=True))
    p = load_model(folder, prior=none).predict(CROPS).probabilities
    assert (p[:, 2:] == 0).all() and p.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({**UNIFORM, "joy": 0.1}, r"names 'joy'"),
        ({"neutral": 1.0}, "lacks happiness, sadness"),
        (dict.fromkeys(EXPRESSIONS, 0.1), "sums to 0.7"),
        ({**UNIFORM, "fear": -0.1}, "from 0 to 1"),
        ("even", "natural, uniform"),
    ],
)
def test_a_wrong_prior_is_one_sentence(folder: Path, prior: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(folder, prior=prior)


def test_a_model_of_unknown_prior_says_so(tmp_path: Path) -> None:
    for model in ("default", write_model(tmp_path / "tiny")):
        with pytest.raises(UsageError, match=r"card has no \[prior\]\. Use --prior natural"):
            load_model(model, prior="uniform")
    half = write_whole_model(tmp_path / "half", tables={"prior": PRIOR})
    with pytest.raises(UsageError, match=r"card has no \[display_prior\]"):
        load_model(half, prior="uniform")


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (dict.fromkeys(EXPRESSIONS, 0.1), "prior must sum to 1, but sums to 0.7"),
        ({**PRIOR, "fear": 0.0, "anger": 0.11}, "prior must be above 0"),
        ({"neutral": 1.0}, "prior must name every class, but lacks happiness"),
    ],
)
def test_a_wrong_prior_in_a_card_is_one_sentence(
    tmp_path: Path, prior: dict[str, float], message: str
) -> None:
    folder = write_model(tmp_path / "wrong", tables={"prior": prior})
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_the_estimate_is_the_prior_that_drew_the_faces() -> None:
    """Faces drawn from known densities under another prior than the calibrated one."""
    rng = np.random.default_rng(0)
    true = np.array([0.1, 0.1, 0.4, 0.1, 0.1, 0.1, 0.1])
    old = np.array(list(PRIOR.values()))
    label = rng.choice(7, 20_000, p=true)
    at = rng.normal(2.0 * np.eye(7)[label], 1.0)
    likelihood = 2.0 * at  # log density of class c, but for what all share
    p = softmax((likelihood + np.log(old)).astype(np.float32))
    found = estimate_prior(p, PRIOR, EXPRESSIONS)
    assert found.n == 20_000
    np.testing.assert_allclose(list(found.prior.values()), true, atol=0.015)
    assert np.abs(p.mean(axis=0) - true).max() > 0.05  # plain counting is not enough
    changed = change_prior(p, PRIOR, found.prior, EXPRESSIONS)
    own = softmax((likelihood + np.log(true)).astype(np.float32))
    assert (changed.argmax(1) == label).mean() > (p.argmax(1) == label).mean()
    np.testing.assert_allclose(changed.mean(axis=0), own.mean(axis=0), atol=0.01)


def test_a_few_faces_that_are_all_alike_rule_nothing_out() -> None:
    p = np.array([[0.9, 0.1]] * 20, np.float32)
    old = {"a": 0.5, "b": 0.5}
    found = estimate_prior(p, old, ("a", "b")).prior
    assert 0.5 < found["a"] < 0.8
    film = estimate_prior(p, old, ("a", "b"), weight=0.05).prior
    assert 0.5 < film["a"] < 0.52
    many = estimate_prior(np.repeat(p, 1000, axis=0), old, ("a", "b")).prior
    assert many["a"] > 0.98


def test_rows_without_a_reading_are_left_out_and_stay() -> None:
    p = np.array([[0.5, 0.5], [np.nan, np.nan]], np.float32)
    old, new = {"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}
    assert estimate_prior(p, old, ("a", "b")).n == 1
    assert estimate_prior(p[1:], old, ("a", "b")).prior == old
    changed = change_prior(p, old, new, ("a", "b"))
    assert changed[0] == pytest.approx([0.9, 0.1]) and np.isnan(changed[1]).all()
    assert log_ratio(old, {"a": 1.0, "b": 0.0}, ("a", "b"))[1] == -np.inf


def test_a_prior_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("\n".join(f"{name} = {value}" for name, value in PRIOR.items()))
    assert full_prior(read_prior(str(path)), EXPRESSIONS) == pytest.approx(PRIOR)
    assert read_prior("estimate") == "estimate"
    with pytest.raises(UsageError, match="needs all faces"):
        read_prior("estimate", estimate=False)
    with pytest.raises(UsageError, match=r"natural, uniform, estimate, or a TOML file"):
        read_prior("even")
    path.write_text('neutral = "half"')
    with pytest.raises(UsageError, match="must give each class a number, but neutral is 'half'"):
        read_prior(str(path))
