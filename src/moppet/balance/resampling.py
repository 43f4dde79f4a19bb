"""Balances training rows, and counts the classes before and after."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.balance.methods import (
    BALANCERS,
    Balancer,
    CannotOversample,
    Counts,
    Doubles,
    Ints,
    Neighbors,
    Oversampled,
    find_method,
    require_imblearn,
)
from moppet.balance.targets import EQUAL, Targets, resolve_targets
from moppet.values import Floats, UsageError

_HEADS: Final = ("class", "before", "share", "removed", "added", "after", "share")


class ClassCount(NamedTuple):
    """Rows of one class: before = kept + removed, after = kept + synthetic (the new rows)."""

    name: str
    before: int
    removed: int
    synthetic: int
    after: int


def class_table(counts: Sequence[ClassCount]) -> str:
    """Return a text table of rows and shares by class before and after.

    The last line is the ratio of the largest class to the smallest one with rows.
    """
    total = ClassCount("all", *map(sum, zip(*(one[1:] for one in counts), strict=True)))
    lines: list[tuple[str, ...]] = [_HEADS]
    for one in (*counts, total):
        removed = f"-{one.removed:,}" if one.removed else "0"
        added = f"+{one.synthetic:,}" if one.synthetic else "0"
        before, after = _with_share(one.before, total.before), _with_share(one.after, total.after)
        lines.append((one.name, *before, removed, added, *after))
    first, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join([n.ljust(first), *map(str.rjust, cells, widths)]) for n, *cells in lines]
    rule = "-" * len(text[0])
    ratios = imbalance([one.before for one in counts]), imbalance([one.after for one in counts])
    ratio = "largest to smallest class: {:.1f} before, {:.1f} after".format(*ratios)
    return "\n".join([text[0], rule, *text[1:-1], rule, text[-1], ratio])


def imbalance(counts: Sequence[int]) -> float:
    """Return the ratio of the largest to the smallest class with rows; NaN without rows."""
    some = [n for n in counts if n]
    return max(some) / min(some) if some else float("nan")


def _with_share(part: int, whole: int) -> tuple[str, str]:
    return f"{part:,}", f"{part / whole:.1%}" if whole else "–"


_SEEDS: Final = 2**31 - 1
_COPIES_AT_ONCE: Final = 4  # of the new rows, in memory during oversampling


@dataclass(frozen=True)
class Balanced:
    """n training rows of d features, balanced.

    method: key of BALANCERS. seed: of imbalanced-learn's random numbers.
    kept, removed: numbers of the input rows, sorted; together all n.
    features: (m, d) float32, the new rows; labels: (m,) their classes.
    parents: (m, 2) int64 numbers of the two rows that a new row is a mixture of, the nearer one
        first; the same number twice for a repeated row. A parent may be among the removed rows.
    shares: (m,) float32, 0.5 to 1: new = share * first + (1 - share) * second.
    counts: one for each class. notes: sentences on deviations from the request.
    warnings: sentences on what the method did against its purpose: a larger ratio of the largest
        to the smallest class than before, or a class that lost more than half of its rows.
    """

    method: str
    seed: int
    kept: Ints
    removed: Ints
    features: Floats
    labels: NDArray[Any]
    parents: Ints
    shares: Floats
    counts: tuple[ClassCount, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


CleaningSpace = Callable[[Floats], NDArray[Any]]
"""(m, d) float32 new rows → (n + m, e) finite features of the input rows and then the new ones."""


def balance(
    features: NDArray[Any],
    labels: Sequence[Any] | NDArray[Any],
    *,
    method: str,
    rng: np.random.Generator,
    targets: Targets | None = None,
    neighbors: Neighbors | None = None,
    keep_wiped: bool = False,
    cleaning_space: CleaningSpace | None = None,
) -> Balanced:
    """Return balanced training rows; pass training rows only.

    features: (n, d) finite numbers; neighbors are the nearest rows by Euclidean distance.
    labels: (n,) class names, at least two classes.
    method: a key of BALANCERS; see `BALANCERS[method].source` for its paper.
    targets: the number of rows for each class (`Targets`); None means "equal". Must be None for
        enn and tomek, where the neighbors decide.
    keep_wiped: keep the input rows of a class of which the method would keep none.
    cleaning_space: gives the features in which cleaning finds its neighbors; None for `features`.
    Raises UsageError for an unknown method, unreachable targets, a class with a single row to
    interpolate, and, without keep_wiped, a class that would be removed entirely.
    """
    require_imblearn()
    name = find_method(method)
    x, classes, y = _checked(features, labels)
    wanted = _wanted(name, targets, classes, y)
    _refuse_too_many(wanted, y, x.shape[1])
    seed, nearest = int(rng.integers(_SEEDS)), neighbors or Neighbors()
    task = _Task(name, BALANCERS[name], x, y, classes, wanted, seed, nearest, cleaning_space)
    new, oversampling_notes = _oversample(task)
    keep, cleaning_notes = _clean(task, new, keep_wiped)
    kept = keep[: len(task.y)]
    new = new.select(keep[len(task.y) :])
    counts = tuple(_count(task, kept, new.labels))
    return Balanced(
        method=task.name,
        seed=task.seed,
        kept=np.flatnonzero(kept),
        removed=np.flatnonzero(~kept),
        features=new.features.astype(np.float32),
        labels=task.labels[new.labels],
        parents=new.parents,
        shares=new.shares.astype(np.float32),
        counts=counts,
        notes=(*oversampling_notes, *cleaning_notes),
        warnings=tuple(_warnings(task, counts)),
    )


@dataclass(frozen=True)
class _Task:
    """The checked request. labels: the classes; y: (n,) each row's index into them.

    wanted: class → count, only for classes that change; empty if the neighbors decide.
    """

    name: str
    balancer: Balancer
    x: Doubles
    y: Ints
    labels: NDArray[Any]
    wanted: Counts
    seed: int
    neighbors: Neighbors
    cleaning_space: CleaningSpace | None = None

    @property
    def counts(self) -> Ints:
        """(k,) rows of each class."""
        return np.bincount(self.y, minlength=len(self.labels))

    def label(self, number: int) -> str:
        """The name of a class for messages."""
        return f"class {self.labels[number].item()!r}"


def _checked(
    features: NDArray[Any], labels: Sequence[Any] | NDArray[Any]
) -> tuple[Doubles, NDArray[Any], Ints]:
    x = np.asarray(features, np.float64)
    given = np.asarray(labels)
    if x.ndim != 2 or given.shape != x.shape[:1]:
        raise UsageError(
            f"balancing needs features (n, d) and n labels, but got {x.shape} and {given.shape}."
        )
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise UsageError(f"balancing needs finite features, but row {row} has NaN or infinity.")
    names, y = np.unique(given, return_inverse=True)
    if len(names) < 2:
        got = f"only class {names[0].item()!r}" if len(names) else "no rows"
        raise UsageError(f"balancing needs training rows of two classes, but got {got}.")
    return x, names, y.astype(np.int64)


def _wanted(name: str, targets: Targets | None, labels: NDArray[Any], y: Ints) -> Counts:
    balancer = BALANCERS[name]
    if balancer.targets is None:
        if targets is not None:
            raise UsageError(
                f"{name} takes no target: the neighbors of each row decide whether it is removed."
            )
        return {}
    number = {label: i for i, label in enumerate(labels.tolist())}
    counts = {label: int((y == i).sum()) for label, i in number.items()}
    found = resolve_targets(targets or EQUAL, counts, balancer.targets, name)
    for label, count in found.items():
        if balancer.interpolates and counts[label] < 2:
            raise UsageError(
                f"class {label!r} has 1 training row, and {name} interpolates between two: add "
                f"rows, name targets without this class (it has {count}), or use 'random_over'."
            )
    return {number[label]: count for label, count in found.items()}


def _refuse_too_many(wanted: Counts, y: Ints, width: int) -> None:
    counts = np.bincount(y)
    added = sum(max(0, count - int(counts[c])) for c, count in wanted.items())
    needed = added * width * 8 * _COPIES_AT_ONCE
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if needed > memory:
        raise UsageError(
            f"these targets need {added:,} new rows and {needed / 2**30:,.0f} GiB of memory, but "
            f"this machine has {memory / 2**30:,.0f} GiB: use lower targets."
        )


def _oversample(task: _Task) -> tuple[Oversampled, list[str]]:
    """Return the new rows, and notes on classes that miss their targets."""
    oversample, wanted, counts = task.balancer.oversample, task.wanted, task.counts
    if oversample is None or not wanted:
        return Oversampled(task.x[:0], task.y[:0], np.empty((0, 2), np.int64), np.empty(0)), []
    try:
        new = oversample(task.x, task.y, wanted, task.seed, task.neighbors)
    except CannotOversample as reason:
        raise UsageError(_explain(task, reason)) from None
    notes = []
    k = task.neighbors.smote
    if task.balancer.interpolates:
        notes += [
            f"{task.label(c)} has {counts[c]} rows, too few for {k} neighbors of the same class: "
            f"{counts[c] - 1} are used."
            for c in wanted
            if counts[c] <= k
        ]
    totals = np.bincount(new.labels, minlength=len(counts)) + counts
    for c, count in wanted.items():
        if totals[c] == counts[c]:
            notes.append(
                f"no row of {task.label(c)} is at the border to other classes, so {task.name} "
                f"added none: it has {counts[c]} rows, not {count}."
            )
        elif totals[c] != count:
            notes.append(
                f"{task.label(c)} was oversampled to {totals[c]} rows, not {count}: {task.name} "
                "rounds the number of new rows for each row."
            )
    return new, notes


def _explain(task: _Task, reason: CannotOversample) -> str:
    label, count = task.label(reason.label), int(task.counts[reason.label])
    if reason.apart:
        return (
            f"{task.name} adds rows of {label} near other classes, but none of its {count} rows "
            "is near one: use 'smote', or name targets without this class."
        )
    return (
        f"{task.name} distributes {task.wanted[reason.label] - count} new rows of {label} over "
        f"its {count} rows and rounds each share down to 0: use a higher target, or 'smote'."
    )


def _clean(task: _Task, new: Oversampled, keep_wiped: bool) -> tuple[NDArray[np.bool_], list[str]]:
    """Return a mask (n + m,) of the input and then the new rows to keep, and notes.

    Raises UsageError for a class of which no row would be kept, unless keep_wiped.
    """
    every = np.concatenate([task.y, new.labels])
    keep = np.ones(len(every), bool)
    clean = task.balancer.clean
    if clean is None or (task.balancer.targets == "down" and not task.wanted):
        return keep, []
    if task.cleaning_space is None:
        x = np.concatenate([task.x, new.features])
    else:
        x = np.asarray(task.cleaning_space(new.features.astype(np.float32)), np.float64)
    kept_rows = clean(x, every, task.wanted, task.seed, task.neighbors)
    keep[:] = False
    keep[kept_rows] = True
    notes = []
    kept, kept_new = keep[: len(task.y)], keep[len(task.y) :]
    if not kept_new.all():
        notes.append(
            f"{int((~kept_new).sum())} of the {len(kept_new)} new rows were removed by "
            "nearest-neighbor cleaning."
        )
    for c in range(len(task.labels)):
        mine, added = task.y == c, new.labels == c
        if kept[mine].any():
            continue
        n, label = int(mine.sum()), task.label(c)
        if keep_wiped:
            kept[mine] = True
            notes.append(
                f"{task.name} would keep none of the {n} original rows of {label}: keep_wiped "
                "keeps them."
            )
        elif kept_new[added].any():
            notes.append(
                f"{task.name} keeps none of the {n} original rows of {label}, only "
                f"{int(kept_new[added].sum())} of {int(added.sum())} new ones; use keep_wiped to "
                "keep the original rows."
            )
        else:
            also = f" and all {int(added.sum())} new rows" if added.any() else ""
            raise UsageError(
                f"{task.name} would remove all {n} rows{also} of {label}, because their neighbors "
                "are of other classes. Keep the original rows (keep_wiped, --keep-wiped), let ENN "
                "keep by majority, or find the neighbors in another space."
            )
    return keep, notes


def _warnings(task: _Task, counts: Sequence[ClassCount]) -> Iterator[str]:
    """Yield what cleaning did against its purpose; undersampling was asked for."""
    if task.balancer.targets == "down":
        return
    ways = []
    if task.cleaning_space is None:
        ways.append("find neighbors in an embedding (--clean-space embedding)")
    if task.neighbors.enn_keeps != "majority":
        ways.append("let ENN keep by majority (--enn majority)")
    milder = "'smote' removes none."
    if ways:
        milder = f"To remove fewer, {' or '.join(ways)}; {milder}"
    before, after = imbalance([c.before for c in counts]), imbalance([c.after for c in counts])
    if after > before:
        yield (
            f"{task.name} made the classes less balanced: the largest was {before:.1f} times the "
            f"smallest and is now {after:.1f} times. {milder}"
        )
    halved = [c for c in counts if 2 * c.removed > c.before]
    if halved:
        which = ", ".join(f"{c.name!r} {c.removed:,} of {c.before:,}" for c in halved)
        yield (
            f"{task.name} removed more than half of the original rows of {len(halved)} "
            f"{'class' if len(halved) == 1 else 'classes'} ({which}). {milder}"
        )


def _count(task: _Task, kept: NDArray[np.bool_], added: Ints) -> Iterator[ClassCount]:
    for c, label in enumerate(task.labels.tolist()):
        before, rest, new = (int((part == c).sum()) for part in (task.y, task.y[kept], added))
        yield ClassCount(str(label), before, before - rest, new, rest + new)
