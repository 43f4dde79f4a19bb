"""Hold-out and folds that keep subjects and duplicate images on one side.

Groups (`Manifest.groups`) are assigned one by one, the largest first and ties in random order, to
the part that lacks most of its rows, counted by label and by label within age band. Then groups
are moved so that every part has every class, if there are enough groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.manifest import Manifest
from moppet.datasets.provenance import refuse_cleaned, refuse_synthetic
from moppet.values import MoppetError, UsageError

Shares = NDArray[np.float64]


def holdout(manifest: Manifest, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return (n,) whether each row is held out: about this share of each class and age band.

    Rows of one group stay together; every class is on both sides.
    Raises UsageError for a share outside (0, 1), MoppetError if no such split exists.
    """
    if not 0 < share < 1:
        raise UsageError(f"the share to hold out must be between 0 and 1, not {share}.")
    part = _assign(manifest, np.array([1 - share, share]), rng)
    return np.asarray(part == 1)


def kfold(manifest: Manifest, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (n,) the fold of each row, 0 to k - 1, with similar classes and age bands.

    Rows of one group stay together; a class of at least k groups is in every fold.
    Raises UsageError for fewer than two folds, MoppetError if a fold would be empty or a class
    would be in one fold only.
    """
    if k < 2:
        raise UsageError(f"at least 2 folds are needed, not {k}.")
    return _assign(manifest, np.full(k, 1 / k), rng)


def split_manifest(
    manifest: Manifest,
    *,
    test: float,
    val: float,
    keep_test: bool = False,
    rng: np.random.Generator,
) -> Manifest:
    """Return the manifest with every row's `split`: train, val or test.

    test: share of all rows for the test set. val: share of all rows for the validation set, on
        which the epoch, temperature and other settings are selected (0: none).
    keep_test: keep the manifest's test rows and ignore `test`. Other rows of their groups get no
        split, because they would leak.
    """
    if val and not 0 < test + val < 1:
        raise UsageError(
            f"the shares for test ({test}) and val ({val}) must leave rows to train on."
        )
    n, groups = len(manifest), manifest.groups
    split = np.full(n, "train", object)
    if keep_test:
        tested = manifest.column("split") == "test"
        if not tested.any():
            raise MoppetError("this manifest has no test rows to keep: split it without keep_test.")
        split[np.isin(groups, groups[tested])] = None
    else:
        tested = holdout(manifest, test, rng)
    split[tested] = "test"
    rest = np.flatnonzero(split == "train")
    if val:
        share = val * n / len(rest) if len(rest) else 1.0
        split[rest[holdout(manifest.select(rest), share, rng)]] = "val"
    return manifest.replace(split=split)


def _assign(manifest: Manifest, shares: Shares, rng: np.random.Generator) -> NDArray[np.int64]:
    refuse_synthetic(manifest)
    refuse_cleaned(manifest)
    groups, labels = manifest.groups, manifest.labels
    counts = _counts(groups, labels, manifest.column("age_band"), len(manifest.names))
    classes = counts[:, : len(manifest.names)]
    _refuse_lone_classes(manifest, classes)
    if len(counts) < len(shares):
        raise MoppetError(
            f"{len(shares)} parts need at least {len(shares)} groups, but the {len(groups)} "
            f"images make {len(counts)} (one subject, or duplicates of one image, are a group)."
        )
    part = _greedy(counts, shares, rng)
    _spread_classes(part, classes, len(shares))
    empty = np.flatnonzero(np.bincount(part, minlength=len(shares)) == 0)
    if len(empty):
        raise MoppetError(
            f"{len(counts)} groups of images are too few for a part of "
            f"{shares[empty[0]]:.0%}, which would be empty: use a larger part or fewer folds."
        )
    return np.asarray(part[groups], np.int64)


def _counts(
    groups: NDArray[np.int64], labels: NDArray[np.int64], bands: NDArray[np.object_], classes: int
) -> Shares:
    """Return (groups, strata) rows of each group by label, then by label within age band.

    The last label counts rows without one.
    """
    label = np.where(labels < 0, classes, labels)
    _, band = np.unique([b or "" for b in bands], return_inverse=True)
    fine = label * (band.max(initial=0) + 1) + band
    counts = np.zeros((groups.max(initial=-1) + 1, classes + 1 + fine.max(initial=0) + 1))
    np.add.at(counts, (groups, label), 1)
    np.add.at(counts, (groups, classes + 1 + fine), 1)
    return counts


def _refuse_lone_classes(manifest: Manifest, classes: Shares) -> None:
    for name, column in zip(manifest.names, classes.T, strict=True):
        if np.count_nonzero(column) == 1:
            count = int(column.sum())
            what = "one image" if count == 1 else f"{count} images of one group"
            raise MoppetError(
                f"class {name!r} has only {what}, and a split needs it on both sides: add more "
                "images, or leave the class out."
            )


def _greedy(counts: Shares, shares: Shares, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return each group's part: the one that lacks most of the group's labels."""
    total = counts.sum(axis=0)
    per_row = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    lacking = shares[:, None] * total
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    part = np.empty(len(counts), np.int64)
    for group in order:
        rows = np.flatnonzero(counts[group])
        need = lacking[:, rows] @ (counts[group, rows] * per_row[rows])
        best = np.flatnonzero(need >= need.max() - 1e-9)
        part[group] = chosen = best[rng.integers(len(best))] if len(best) > 1 else best[0]
        lacking[chosen, rows] -= counts[group, rows]
    return part


def _spread_classes(part: NDArray[np.int64], classes: Shares, parts: int) -> None:
    """Move groups, the smallest first, to parts that lack a class of which others have several."""
    has = (classes > 0).astype(np.int64)
    size = classes.sum(axis=1)
    held = np.zeros((parts, has.shape[1]), np.int64)
    np.add.at(held, part, has)
    for name in np.argsort(has.sum(axis=0), kind="stable"):
        for lacking in np.flatnonzero(held[:, name] == 0):
            # A group may move if its part keeps another group of each of its classes.
            spare = (held[part] - has > 0) | (has == 0)
            free = np.flatnonzero((has[:, name] > 0) & spare.all(axis=1))
            if len(free):
                group = free[np.lexsort((size[free], -held[part[free], name]))[0]]
                held[part[group]] -= has[group]
                held[lacking] += has[group]
                part[group] = lacking
