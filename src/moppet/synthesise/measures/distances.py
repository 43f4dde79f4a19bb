"""Fréchet and kernel distance of two samples of embeddings.

The figures known as FID and KID are these on the 2,048 numbers of an Inception network that learned
from ImageNet. Here they stand on the embedding of a moppet model, which is about faces: they
compare made faces with each other, and with no figure of another publication.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def frechet_distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the squared Fréchet distance of the normal densities fitted to two samples (FID).

    first, second: (n, d) and (m, d). The distance of the means, squared, and
    tr(C₁ + C₂ - 2 (C₁ C₂)^½) (Heusel et al. 2017, eq. 6); C with n - 1 below. 0 alike, no upper
    limit. Too large for few rows, the more so the fewer: compare only figures of as many rows.
    NaN where a sample has fewer than two rows.
    """
    if min(len(first), len(second)) < 2 or not first.shape[1]:
        return math.nan
    apart = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    one, two = (np.atleast_2d(np.cov(x.astype(np.float64).T)) for x in (first, second))
    # (C₁ C₂)^½ has the trace of (R C₂ R)^½ with R = C₁^½, which is symmetric.
    values, axes = np.linalg.eigh(one)
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ two @ root), 0)).sum()
    return max(0.0, float(apart @ apart + np.trace(one) + np.trace(two) - 2 * shared))


def cubic_kernel(first: NDArray[Any], second: NDArray[Any]) -> Values:
    """Return (n, m) of (x · y / d + 1)³, the kernel of KID. first: (n, d); second: (m, d)."""
    product = first.astype(np.float64) @ second.astype(np.float64).T
    return np.asarray((product / max(first.shape[1], 1) + 1) ** 3)


def kernel_distance(first: Values, across: Values, second: Values) -> float:
    """Return the unbiased squared maximum mean discrepancy (KID; Bińkowski et al. 2018, eq. 4).

    first: (n, n), across: (n, m), second: (m, m): `cubic_kernel` within and between the samples.
    0 on average for two samples of one density, below 0 by chance; no upper limit.
    NaN where a sample has fewer than two rows.
    """
    n, m = across.shape
    if min(n, m) < 2:
        return math.nan
    within = (first.sum() - np.trace(first)) / (n * (n - 1))
    beside = (second.sum() - np.trace(second)) / (m * (m - 1))
    return float(within + beside - 2 * across.mean())
