"""Losses and weights for shares of votes, against PyTorch's, scikit-learn's and the papers'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from moppet.train.losses import (
    class_weights,
    focal_loss,
    sampling_weights,
    soft_cross_entropy,
)
from moppet.values import UsageError

LABEL = torch.tensor([0, 1, 2, 3, 4, 6, 0, 0])
HARD = functional.one_hot(LABEL, 7).double()
BY_CLASS = torch.tensor([0.3, 1.0, 2.0, 0.5, 4.0, 7.0, 0.9], dtype=torch.float64)
BY_ROW = torch.tensor([1.0, 0.2, 0.5, 0.0, 0.9, 0.4, 0.6, 1.0], dtype=torch.float64)


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(8, 7, generator=torch.Generator().manual_seed(1)).double() * 2


@pytest.fixture
def soft() -> torch.Tensor:
    return torch.rand(8, 7, generator=torch.Generator().manual_seed(2)).double().softmax(dim=1)


def test_cross_entropy_against_shares_is_torchs(logits: torch.Tensor, soft: torch.Tensor) -> None:
    expected = functional.cross_entropy(logits, soft)
    assert torch.allclose(soft_cross_entropy(logits, soft), expected)
    same = torch.full((8,), 0.7, dtype=torch.float64)
    assert torch.allclose(soft_cross_entropy(logits, soft, same), expected)


def test_row_weights_give_a_weighted_mean(logits: torch.Tensor, soft: torch.Tensor) -> None:
    each = functional.cross_entropy(logits, soft, reduction="none")
    got = soft_cross_entropy(logits, soft, BY_ROW)
    assert torch.allclose(got, (each * BY_ROW).sum() / BY_ROW.sum())


def test_class_weights_weigh_as_torchs_do_for_hard_labels(logits: torch.Tensor) -> None:
    expected = functional.cross_entropy(logits, LABEL, weight=BY_CLASS)
    assert torch.allclose(soft_cross_entropy(logits, HARD, class_weights=BY_CLASS), expected)


def test_class_weights_weigh_each_share_as_torchs_do(
    logits: torch.Tensor, soft: torch.Tensor
) -> None:
    summed = functional.cross_entropy(logits, soft, weight=BY_CLASS, reduction="sum")
    got = soft_cross_entropy(logits, soft, class_weights=BY_CLASS)
    assert torch.allclose(got * (soft @ BY_CLASS).sum(), summed)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_is_torchs(logits: torch.Tensor, smoothing: float) -> None:
    expected = functional.cross_entropy(logits, LABEL, label_smoothing=smoothing)
    assert torch.allclose(soft_cross_entropy(logits, HARD, smoothing=smoothing), expected)


def test_rows_without_a_label_count_nothing(logits: torch.Tensor) -> None:
    none = torch.cat([HARD, torch.zeros(2, 7).double()])
    more = torch.cat([logits, torch.randn(2, 7).double()])
    for settings in ({}, {"gamma": 0.0, "smoothing": 0.1}, {"class_weights": BY_CLASS}):
        expected = focal_loss(logits, HARD, **settings)
        assert torch.allclose(focal_loss(more, none, **settings), expected)


def test_a_batch_in_which_nothing_counts_has_no_loss(logits: torch.Tensor) -> None:
    assert soft_cross_entropy(logits, HARD, torch.zeros(8).double()).isnan()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_the_focal_loss_of_two_classes_is_lins_formula(gamma: float) -> None:
    z = np.random.default_rng(3).normal(0, 3, 50)
    y = np.random.default_rng(4).integers(0, 2, 50)
    alpha = np.array([0.75, 0.25])
    p = 1 / (1 + np.exp(-z))
    p_t = np.where(y == 1, p, 1 - p)
    expected = -alpha[y] * (1 - p_t) ** gamma * np.log(p_t)
    logits = torch.from_numpy(np.stack([np.zeros(50), z], axis=1))
    soft = functional.one_hot(torch.from_numpy(y), 2).double()
    got = focal_loss(logits, soft, gamma=gamma, class_weights=torch.from_numpy(alpha))
    assert float(got) == pytest.approx(expected.sum() / alpha[y].sum())


def test_without_focus_the_focal_loss_is_cross_entropy_and_with_it_less(
    logits: torch.Tensor, soft: torch.Tensor
) -> None:
    plain = functional.cross_entropy(logits, soft)
    assert torch.allclose(focal_loss(logits, soft, gamma=0.0), plain)
    assert focal_loss(logits, soft, gamma=2.0) < plain


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gradients_are_right_and_finite_where_the_network_is_sure(gamma: float) -> None:
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    soft = torch.rand(3, 4).double().softmax(dim=1)
    assert torch.autograd.gradcheck(
        lambda z: focal_loss(z, soft, gamma=gamma, smoothing=0.1), (logits,)
    )
    sure = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    label = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    loss = focal_loss(sure, label, gamma=gamma)
    loss.backward()
    assert loss.isfinite() and sure.grad.isfinite().all()
    # The row that is wrong still learns.
    assert sure.grad[1].abs().max() > 0.4


def test_inverse_weights_are_scikit_learns_balanced_ones() -> None:
    rng = np.random.default_rng(5)
    label = np.concatenate([rng.integers(0, 4, 200), np.zeros(300, int)])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=label)
    got = class_weights(functional.one_hot(torch.from_numpy(label), 4))
    assert got.numpy() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
def test_effective_number_weights_are_cuis_formula(beta: float) -> None:
    counts = np.array([1, 20, 300, 4000])
    soft = functional.one_hot(torch.from_numpy(np.repeat(np.arange(4), counts)), 4)
    expected = (1 - beta) / (1 - beta**counts)
    expected *= 4 / expected.sum()
    got = class_weights(soft, weighting="effective", beta=beta).numpy()
    assert got == pytest.approx(expected, rel=1e-5)


def test_weights_count_shares_and_rows_by_weight() -> None:
    soft = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    rows = torch.tensor([1.0, 0.5, 1.5])
    # Counts 1 and 2; the third class has no rows: it weighs nothing and is not counted.
    assert class_weights(soft, rows).tolist() == pytest.approx([1.5, 0.75, 0.0])
    assert class_weights(soft, rows, weighting="none").tolist() == [1, 1, 1]
    effective = class_weights(soft, rows, weighting="effective", beta=0.9)
    assert effective[2] == 0 and effective.sum() == pytest.approx(2)


def test_balanced_chances_make_every_class_as_likely() -> None:
    label = torch.tensor([0] * 90 + [1] * 9 + [2])
    soft = functional.one_hot(label, 3)
    chances = sampling_weights(soft)
    assert float(chances.sum()) == pytest.approx(1)
    assert (chances @ soft.double()).tolist() == pytest.approx([1 / 3] * 3)
    weighted = sampling_weights(soft, torch.rand(100) + 0.1)
    assert (weighted @ soft.double()).tolist() == pytest.approx([1 / 3] * 3)


def test_root_chances_lie_between_even_classes_and_what_there_is() -> None:
    soft = functional.one_hot(torch.tensor([0] * 90 + [1] * 9 + [2]), 3)
    roots = np.sqrt([90, 9, 1])
    found = sampling_weights(soft, power=0.5) @ soft.double()
    assert found.tolist() == pytest.approx((roots / roots.sum()).tolist())
    plain = sampling_weights(soft, power=0.0) @ soft.double()
    assert plain.tolist() == pytest.approx([0.9, 0.09, 0.01])


def test_balanced_chances_never_draw_what_has_no_label_and_skip_empty_classes() -> None:
    soft = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0.5, 0.5, 0]])
    chances = sampling_weights(soft)
    assert chances[1] == 0
    assert chances.tolist() == pytest.approx([1 / 3, 0, 2 / 3])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda z: focal_loss(z, HARD, gamma=-1.0), "gamma must not be negative, got -1"),
        (lambda z: soft_cross_entropy(z, HARD, smoothing=1.0), "smoothing must be .* got 1"),
        (lambda z: class_weights(HARD, weighting="inverted"), "weighting must be one of none,"),
        (lambda z: class_weights(HARD, weighting="effective", beta=1.0), "beta must be"),
    ],
)
def test_settings_outside_their_range_are_refused(
    logits: torch.Tensor, call: object, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        call(logits)
