"""Training rows in, balanced training rows out, with class counts before and after."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.balance.methods import BALANCERS, Balancer, find_method
from moppet.balance.samplers import (
    CannotOversample,
    Counts,
    Doubles,
    Ints,
    Neighbors,
    Oversampled,
    require_imblearn,
)
from moppet.balance.targets import EQUAL, Targets, resolve_targets
from moppet.values import Floats, UsageError

_HEADS: Final = ("class", "before", "share", "removed", "made", "after", "share")


class ClassCount(NamedTuple):
    """Rows of one class: before = kept + removed, after = kept + made."""

    name: str
    before: int
    removed: int
    made: int
    after: int


def class_table(counts: Sequence[ClassCount]) -> str:
    """Return rows by class before and after, with their shares, as lines of text.

    Below: how many times the largest class is the smallest one of those that have rows.
    """
    total = ClassCount(
        "all",
        before=sum(one.before for one in counts),
        removed=sum(one.removed for one in counts),
        made=sum(one.made for one in counts),
        after=sum(one.after for one in counts),
    )
    lines = [_HEADS, *(_cells(one, total) for one in (*counts, total))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADS))]
    text = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    before = imbalance([one.before for one in counts])
    after = imbalance([one.after for one in counts])
    said = f"largest to smallest class: {before:.1f} before, {after:.1f} after"
    return "\n".join([text[0], rule, *text[1:-1], rule, text[-1], said])


def imbalance(counts: Sequence[int]) -> float:
    """Return how many times the largest class is the smallest, of those with rows; NaN of none."""
    there = [n for n in counts if n]
    return max(there) / min(there) if there else float("nan")


def _cells(one: ClassCount, total: ClassCount) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.before:,}",
        _share(one.before, total.before),
        f"-{one.removed:,}" if one.removed else "0",
        f"+{one.made:,}" if one.made else "0",
        f"{one.after:,}",
        _share(one.after, total.after),
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


_SEEDS: Final = 2**31 - 1
_COPIES_AT_ONCE: Final = 4
"""How often the new rows stand in memory while they are made."""


@dataclass(frozen=True)
class Balanced:
    """n training rows of d features, balanced.

    method: key of BALANCERS. seed: what imbalanced-learn's chance was drawn from.
    kept, removed: the numbers of the rows that came, each in order; together all n.
    features: (m, d) float32, the new rows; labels: (m,) their classes, as they came.
    parents: (m, 2) int64 numbers of the two rows that a made row lies between, the nearer one
        first; the same number twice for a copy. A parent may be among the removed.
    shares: (m,) float32, 0.5 to 1, how much of it is the first parent's:
        made = share * first + (1 - share) * second.
    counts: one a class. notes: sentences on what did not go as asked.
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


def balance(
    features: NDArray[Any],
    labels: Sequence[Any] | NDArray[Any],
    *,
    method: str,
    rng: np.random.Generator,
    targets: Targets | None = None,
    neighbours: Neighbors | None = None,
    keep_wiped: bool = False,
) -> Balanced:
    """Return training rows balanced; give it the training rows and no others.

    features: (n, d) finite numbers; a row's neighbors are the nearest by Euclid's distance.
    labels: (n,) names of the classes, of two or more.
    method: a key of BALANCERS.
    targets: how many rows each class should come to (`Targets`); None is "equal", and the only
        choice for enn and tomek, where the neighbors decide.
    keep_wiped: keep the rows that came of a class of which the method would leave none.
    Raises UsageError for an unknown method, targets that it cannot reach, a class of one row
    too small to interpolate in, and, without keep_wiped, a class that would be wiped out.
    Sources of the methods: `BALANCERS[method].source`.
    """
    require_imblearn()
    task = _Task.of(method, features, labels, targets, neighbours or Neighbors(), rng)
    new, oversampling_notes = _oversample(task)
    keep, cleaning_notes = _clean(task, new, keep_wiped)
    there, stays = keep[: len(task.y)], keep[len(task.y) :]
    made = new.select(stays)
    return Balanced(
        method=task.name,
        seed=task.seed,
        kept=np.flatnonzero(there),
        removed=np.flatnonzero(~there),
        features=made.features.astype(np.float32),
        labels=task.labels[made.labels],
        parents=made.parents,
        shares=made.shares.astype(np.float32),
        counts=tuple(_count(task, there, made.labels)),
        notes=(*oversampling_notes, *cleaning_notes),
    )


@dataclass(frozen=True)
class _Task:
    """What is asked, checked: labels are the classes, y (n,) each row's index into them.

    wanted: class → count, only of classes that change; empty where neighbors decide.
    """

    name: str
    balancer: Balancer
    x: Doubles
    y: Ints
    labels: NDArray[Any]
    wanted: Counts
    seed: int
    neighbours: Neighbors

    @classmethod
    def of(
        cls,
        method: str,
        features: NDArray[Any],
        labels: Sequence[Any] | NDArray[Any],
        targets: Targets | None,
        neighbours: Neighbors,
        rng: np.random.Generator,
    ) -> _Task:
        name = find_method(method)
        x, classes, y = _checked(features, labels)
        wanted = _wanted(name, targets, classes, y)
        _refuse_too_many(wanted, y, x.shape[1])
        seed = int(rng.integers(_SEEDS))
        return cls(name, BALANCERS[name], x, y, classes, wanted, seed, neighbours)

    @property
    def counts(self) -> Ints:
        """(k,) rows of each class."""
        return np.bincount(self.y, minlength=len(self.labels))

    def label(self, number: int) -> str:
        """A class as a sentence names it."""
        return f"class {self.labels[number].item()!r}"


def _checked(
    features: NDArray[Any], labels: Sequence[Any] | NDArray[Any]
) -> tuple[Doubles, NDArray[Any], Ints]:
    x = np.asarray(features, np.float64)
    given = np.asarray(labels)
    if x.ndim != 2 or given.shape != x.shape[:1]:
        raise UsageError(
            f"balancing needs features (n, d) and n labels, but {x.shape} and {given.shape} came."
        )
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise UsageError(f"balancing needs finite features, but row {row} has others.")
    names, y = np.unique(given, return_inverse=True)
    if len(names) < 2:
        there = f"only class {names[0].item()!r}" if len(names) else "no row at all"
        raise UsageError(f"balancing needs rows of two classes to train on, but {there} came.")
    return x, names, y.astype(np.int64)


def _wanted(name: str, targets: Targets | None, labels: NDArray[Any], y: Ints) -> Counts:
    balancer = BALANCERS[name]
    if balancer.targets is None:
        if targets is not None:
            raise UsageError(
                f"{name} takes no target: it removes what its neighbors speak against, as many "
                "rows as that may be."
            )
        return {}
    number = {label: i for i, label in enumerate(labels.tolist())}
    counts = {label: int((y == i).sum()) for label, i in number.items()}
    found = resolve_targets(targets or EQUAL, counts, balancer.targets, name)
    for label, count in found.items():
        if balancer.interpolates and counts[label] < 2:
            raise UsageError(
                f"class {label!r} has 1 row to train on, and {name} makes new rows between two: "
                f"add rows, name targets without this class ({count} came for it), or use "
                "'random_over'."
            )
    return {number[label]: count for label, count in found.items()}


def _refuse_too_many(wanted: Counts, y: Ints, width: int) -> None:
    counts = np.bincount(y)
    made = sum(max(0, count - int(counts[c])) for c, count in wanted.items())
    needed = made * width * 8 * _COPIES_AT_ONCE
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if needed > memory:
        raise UsageError(
            f"these targets ask for {made:,} new rows, which need {needed / 2**30:,.0f} GiB of "
            f"memory, but this machine has {memory / 2**30:,.0f}: ask for fewer."
        )


def _oversample(task: _Task) -> tuple[Oversampled, list[str]]:
    """Return the new rows, and sentences on classes that miss their targets."""
    oversample, wanted, counts = task.balancer.oversample, task.wanted, task.counts
    if oversample is None or not wanted:
        return Oversampled(task.x[:0], task.y[:0], np.empty((0, 2), np.int64), np.empty(0)), []
    try:
        new = oversample(task.x, task.y, wanted, task.seed, task.neighbours)
    except CannotOversample as reason:
        raise UsageError(_explain(task, reason)) from None
    notes = []
    k = task.neighbours.smote
    if task.balancer.interpolates:
        notes += [
            f"{task.label(c)} has {counts[c]} rows, too few for {k} neighbors of its own: "
            f"{counts[c] - 1} taken."
            for c in wanted
            if counts[c] <= k
        ]
    came = np.bincount(new.labels, minlength=len(counts)) + counts
    for c, count in wanted.items():
        if came[c] == counts[c]:
            notes.append(
                f"no row of {task.label(c)} lies at the border to others, so {task.name} made "
                f"none of it: it has {counts[c]}, not {count}."
            )
        elif came[c] != count:
            notes.append(
                f"{task.label(c)} was oversampled to {came[c]} rows, not {count}: {task.name} "
                "rounds how many each row gives."
            )
    return new, notes


def _explain(task: _Task, reason: CannotOversample) -> str:
    label, count = task.label(reason.label), int(task.counts[reason.label])
    if reason.apart:
        return (
            f"{task.name} makes rows of {label} where other classes are near, but near none of "
            f"its {count} rows is one: use 'smote', or name targets without this class."
        )
    return (
        f"{task.name} shares {task.wanted[reason.label] - count} new rows of {label} among its "
        f"{count} rows and rounds each share to none: ask for more, or use 'smote'."
    )


def _clean(task: _Task, new: Oversampled, keep_wiped: bool) -> tuple[NDArray[np.bool_], list[str]]:
    """Return (n + m,) which rows stay, those that came before those that were made, and notes.

    Raises UsageError for a class of which no row would stay, unless keep_wiped.
    """
    every = np.concatenate([task.y, new.labels])
    keep = np.ones(len(every), bool)
    clean = task.balancer.clean
    if clean is None or (task.balancer.targets == "down" and not task.wanted):
        return keep, []
    x = np.concatenate([task.x, new.features])
    stays = clean(x, every, task.wanted, task.seed, task.neighbours)
    keep[:] = False
    keep[stays] = True
    notes = []
    there, of_made = keep[: len(task.y)], keep[len(task.y) :]
    if not of_made.all():
        notes.append(
            f"{int((~of_made).sum())} of the {len(of_made)} new rows were removed by "
            "nearest-neighbor cleaning."
        )
    for c in range(len(task.labels)):
        mine, made = task.y == c, new.labels == c
        if there[mine].any():
            continue
        n, label = int(mine.sum()), task.label(c)
        if keep_wiped:
            there[mine] = True
            notes.append(
                f"{task.name} would keep none of the {n} rows of {label} that came: they are "
                "kept, as asked."
            )
        elif of_made[made].any():
            notes.append(
                f"{task.name} keeps none of the {n} rows of {label} that came, only "
                f"{int(of_made[made].sum())} of {int(made.sum())} made ones; keep_wiped keeps "
                "what came."
            )
        else:
            also = f", nor of the {int(made.sum())} made" if made.any() else ""
            raise UsageError(
                f"{task.name} would wipe out {label}: of the {n} rows that came none stays"
                f"{also}, for they lie among other classes. Keep what came (keep_wiped, "
                "--keep-wiped), let ENN keep by majority, or balance in another space."
            )
    return keep, notes


def _count(task: _Task, there: NDArray[np.bool_], made: Ints) -> Iterator[ClassCount]:
    for c, label in enumerate(task.labels.tolist()):
        before, kept, new = (int((part == c).sum()) for part in (task.y, task.y[there], made))
        yield ClassCount(str(label), before, before - kept, new, kept + new)
