"""Losses for targets that may be proportions of votes, and weights against class imbalance.

soft: (n, k), target proportion of each class, rows summing to 1; one-hot for a single label.
weights: (n,), weight of each row; equal if left out.
class_weights: (k,), weight of each class; equal if left out.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Literal

import torch
from torch import Tensor

from moppet.values import UsageError

Weighting = Literal["none", "inverse", "effective"]
WEIGHTINGS: Final = ("none", "inverse", "effective")


def focal_loss(
    logits: Tensor,
    soft: Tensor,
    weights: Tensor | None = None,
    *,
    gamma: float = 2.0,
    class_weights: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the weighted mean focal loss of (n, k) logits against shares.

    A class's part of the cross-entropy is weighted by (1 - p) to the power `gamma`, so that rows
    that are already classified well count less (Lin et al. 2017, equation 5, with softmax for
    sigmoid and `class_weights` for alpha). gamma: 0 gives the cross-entropy. smoothing: the share
    of each row that is spread over all classes (Szegedy et al. 2016).
    The mean is over rows by their weight and, as PyTorch's for hard labels, by the weight of
    their classes. NaN if nothing has weight.
    """
    if gamma < 0:
        raise UsageError(f"gamma must not be negative, got {gamma}.")
    if not 0 <= smoothing < 1:
        raise UsageError(f"smoothing must be at least 0 and below 1, got {smoothing}.")
    if class_weights is None:
        class_weights = logits.new_ones(logits.shape[1])
    log_p = logits.log_softmax(dim=1)
    target = soft
    if smoothing:
        target = soft * (1 - smoothing) + soft.sum(dim=1, keepdim=True) * smoothing / soft.shape[1]
    parts = -class_weights * target * log_p
    if gamma:
        # Not quite 0, where a power below 1 has no slope.
        parts = parts * (-log_p.expm1()).clamp(min=1e-12) ** gamma
    mass = soft @ class_weights
    if weights is None:
        return parts.sum() / mass.sum()
    return (parts.sum(dim=1) * weights).sum() / (mass * weights).sum()


soft_cross_entropy: Final = partial(focal_loss, gamma=0.0)
"""The weighted mean cross-entropy of (n, k) logits against shares; arguments of `focal_loss`."""


def movement_loss(columns: Tensor, targets: Tensor, spread: Tensor) -> Tensor:
    """Return the mean squared error of movements in squares of their spread; 0 without targets.

    columns: (n, c), found. targets: (n, c), NaN for unknown. spread: (c,), standard deviation of
    each column's targets, so that rare and slight movements count as much as others.
    """
    known = torch.isfinite(targets)
    if not known.any():
        return columns.new_zeros(())
    error = (columns - torch.where(known, targets, 0)) / spread
    return torch.where(known, error, 0).square().sum() / known.sum()


def class_weights(
    soft: Tensor,
    weights: Tensor | None = None,
    *,
    weighting: Weighting = "inverse",
    beta: float = 0.999,
) -> Tensor:
    """Return (k,) weights that increase with the rarity of a class in the training rows.

    weighting: "inverse", n / (k · count), as scikit-learn's "balanced"; "effective",
        (1 - beta) / (1 - beta^count), summing to the number of classes (Cui et al. 2019);
        "none", 1 each. A class's count is the sum of its shares by row weight.
    A class without rows weighs 0 and is not counted in k.
    Raises UsageError on another weighting or a beta outside [0, 1).
    """
    if weighting not in WEIGHTINGS:
        raise UsageError(f"weighting must be one of {', '.join(WEIGHTINGS)}, got {weighting!r}.")
    if not 0 <= beta < 1:
        raise UsageError(f"beta must be at least 0 and below 1, got {beta}.")
    counts = _counts(soft, weights)
    present = counts > 0
    if weighting == "none":
        return torch.ones_like(counts).float()
    if weighting == "inverse":
        lifted = counts.sum() / (present.sum() * counts)
    else:
        lifted = (1 - beta) / (1 - beta**counts)
        lifted = lifted * present.sum() / lifted[present].sum()
    return torch.where(present, lifted, 0).float()


def sampling_weights(soft: Tensor, weights: Tensor | None = None, *, power: float = 1.0) -> Tensor:
    """Return (n,) sampling probabilities, summing to 1, that make the classes more balanced.

    A row's probability is the sum of its proportions, each over its class's count to the given
    power, times its weight. A power of 1 balances hard labels in expectation, and proportions
    nearly; with 1/2 classes come in proportion to the roots of their counts (Mahajan et al.
    2018); with 0 as in the data. Rows without a label are never drawn.
    """
    counts = _counts(soft, weights)
    lifted = torch.where(counts > 0, counts**-power, 0)
    chances = soft.double() @ lifted
    if weights is not None:
        chances = chances * weights.double()
    return chances / chances.sum()


def _counts(soft: Tensor, weights: Tensor | None) -> Tensor:
    shares = soft.double()
    return shares.sum(dim=0) if weights is None else weights.double() @ shares
