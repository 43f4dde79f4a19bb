"""Group statistics of a study: means with intervals over participants, and comparisons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.cohort.recordings import PARTICIPANT
from moppet.cohort.study_folder import Row, StudyFolder
from moppet.metrics import Estimate, as_json, bootstrap_many, correct_p_values
from moppet.metrics.bootstrap import Weights, divide, drawn_means
from moppet.timeline.summary import UNNAMED
from moppet.values import UsageError, name_hint

MEASURES: Final[Mapping[str, tuple[str, str]]] = {
    "share": ("share of sure time", "face_sure_s"),
    "per_min": ("episodes a minute", "face_s"),
    "mean_s": ("mean episode, in seconds", "episodes"),
    "mean": ("mean", "face_sure_s"),
}
"""Measure → its name on axes, and the column that weighs the recordings of a participant."""
_CORRECTED_KINDS: Final = ("expression", "group", "valence")
MOST_LEVELS: Final = 12
LEAST_PAIRS: Final = 3
"""With fewer participants in both levels, a comparison is one of independent groups."""
_RESAMPLES: Final = 9999
_SD_FLOOR: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is summarized.

    by: columns of the study; the levels of the first are compared, within each level of the others.
    kind: expression, group, movement, blink or valence. labels: of it; () for all that occur.
    measure: one of MEASURES. machine: the model's figures, without corrections.
    """

    by: tuple[str, ...] = ("role",)
    kind: str = "expression"
    labels: tuple[str, ...] = ()
    measure: str = "share"
    machine: bool = False
    seed: int = 0
    draws: int = 2000

    def column(self, name: str) -> str:
        """Return the column of the summary that has a figure."""
        is_corrected = not self.machine and self.kind in _CORRECTED_KINDS
        return f"corrected_{name}" if is_corrected and name != "face_s" else name


class Cell(NamedTuple):
    """One label in one combination of levels.

    values: (n,) of the participants, NaN for those that are not in it. recordings: their number.
    """

    label: str
    levels: tuple[str, ...]
    values: NDArray[np.float64]
    recordings: int
    estimate: Estimate
    median: float
    sd: float


class LevelComparison(NamedTuple):
    """The difference of two levels of the first column: first minus second.

    within: the levels of the other columns. n: participants, in both levels if it is paired; else
    of each level. effect: Cohen's d of the differences (d_z) if paired, else with the pooled
    standard deviation. p: of a permutation test; p_holm: corrected for all comparisons.
    """

    label: str
    column: str
    first: str
    second: str
    within: tuple[str, ...]
    paired: bool
    n: tuple[int, ...]
    difference: Estimate
    effect: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class GroupStatistics:
    """The figures of a study, by label and level. participants: in the order of Cell.values."""

    question: Question
    participants: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    cells: tuple[Cell, ...]
    comparisons: tuple[LevelComparison, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of the tables."""
        return list(dict.fromkeys(cell.label for cell in self.cells))

    def cell(self, label: str, levels: Sequence[str]) -> Cell | None:
        """Return one cell, None if nobody is in it."""
        wanted = (label, tuple(levels))
        return next((c for c in self.cells if (c.label, c.levels) == wanted), None)

    def as_json(self) -> dict[str, Any]:
        """Return plain values; undefined figures are None."""
        q = self.question
        return {
            "by": list(q.by),
            "kind": q.kind,
            "measure": q.measure,
            "machine": q.machine,
            "seed": q.seed,
            "draws": q.draws,
            "participants": len(self.participants),
            "cells": [
                {
                    "label": c.label,
                    **dict(zip(q.by, c.levels, strict=True)),
                    "recordings": c.recordings,
                    **as_json(c.estimate),
                    "median": _plain(c.median),
                    "sd": _plain(c.sd),
                }
                for c in self.cells
            ],
            "comparisons": [
                {
                    "label": c.label,
                    "column": c.column,
                    "first": c.first,
                    "second": c.second,
                    **dict(zip(q.by[1:], c.within, strict=True)),
                    "paired": c.paired,
                    "participants": list(c.n),
                    "difference": as_json(c.difference),
                    "effect": _plain(c.effect),
                    "p": _plain(c.p),
                    "p_holm": _plain(c.p_holm),
                }
                for c in self.comparisons
            ],
            "notes": list(self.notes),
        }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def summarize_study(study: StudyFolder, question: Question) -> GroupStatistics:
    """Return the figures of a study's groups.

    A participant's value is the mean over its recordings, weighted by their time, so that each
    participant counts once. Intervals are percentile intervals of a bootstrap over participants.
    Raises UsageError for an unknown column, kind, label or measure, or one with too many levels.
    """
    _check(study, question)
    rows = [row for row in study.summary if row["kind"] == question.kind]
    labels = _labels(rows, question)
    participants = {str(cluster(row)): None for row in rows}
    place = {name: i for i, name in enumerate(participants)}
    levels = {name: _levels(rows, name, question) for name in question.by}
    values: dict[tuple[str, tuple[str, ...]], NDArray[np.float64]] = {}
    recordings: dict[tuple[str, tuple[str, ...]], int] = {}
    for label in labels:
        for combination in itertools.product(*levels.values()):
            mine = [r for r in rows if r["label"] == label and _key(r, question.by) == combination]
            found = _participant_values(mine, question, place)
            if not np.isnan(found).all():
                values[label, combination] = found
                known = (r for r in mine if r[question.column(question.measure)] is not None)
                recordings[label, combination] = len({r["recording"] for r in known})
    if not values:
        raise UsageError(
            f"The study has no {question.measure} of a {question.kind}: choose another --measure "
            "or --what."
        )
    cells = _cells(values, recordings, question)
    notes = []
    if any(row.get(PARTICIPANT) is None for row in rows):
        notes.append(
            "Recordings without a participant count as a participant each: give gather a list of "
            "recordings."
        )
    return GroupStatistics(
        question,
        tuple(participants),
        levels,
        cells,
        _comparisons(values, labels, levels, question),
        tuple(notes),
    )


def cluster(row: Mapping[str, Any]) -> Any:
    """Return the participant of a row, or its recording if there is none."""
    return row.get(PARTICIPANT) if row.get(PARTICIPANT) is not None else row["recording"]


def level_text(value: Any) -> str:
    """Return a level as text: 14 for 14.0, "unspecified" for an empty cell."""
    if value is None:
        return "unspecified"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _key(row: Row, by: Sequence[str]) -> tuple[str, ...]:
    return tuple(level_text(row.get(name)) for name in by)


def _check(study: StudyFolder, question: Question) -> None:
    study.check_columns(question.by, "--by")
    kinds = list(dict.fromkeys(str(row["kind"]) for row in study.summary))
    if question.kind not in kinds:
        raise UsageError(f"--what takes any of {', '.join(kinds)}, got {question.kind!r}.")
    if question.measure not in MEASURES:
        raise UsageError(f"--measure takes any of {', '.join(MEASURES)}, got {question.measure!r}.")


def _labels(rows: Sequence[Row], question: Question) -> list[str]:
    known = list(dict.fromkeys(str(row["label"]) for row in rows))
    for label in question.labels:
        if label not in known:
            raise UsageError(
                f"The study has no {question.kind} {label!r}.{name_hint(label, known)}"
            )
    column = question.column("time_s")
    seen = {row["label"] for row in rows if row.get(column) or question.kind == "valence"}
    return list(question.labels) or [label for label in known if label in seen]


def _levels(rows: Iterable[Row], name: str, question: Question) -> tuple[str, ...]:
    given = {row.get(name) for row in rows}
    if name == "role" and len(given) > 1:
        given.discard(UNNAMED)
    if len(given) > MOST_LEVELS:
        raise UsageError(
            f"The column {name!r} has {len(given)} values, but --by takes at most {MOST_LEVELS}: "
            "add a column of classes, such as age_group, to the list of recordings."
        )
    numbers = sorted(value for value in given if isinstance(value, int | float))
    words = sorted(str(value) for value in given if isinstance(value, str))
    if name == "role":
        words = [r for r in ("child", "caregiver", "other", UNNAMED) if r in words]
    empty = [level_text(None)] * (None in given)
    return (*map(level_text, numbers), *words, *empty)


def _participant_values(
    rows: Sequence[Row], question: Question, place: Mapping[str, int]
) -> NDArray[np.float64]:
    """Return (n,) the weighted mean of each participant's rows; NaN for no row."""
    sums, weights = np.zeros(len(place)), np.zeros(len(place))
    column = question.column(question.measure)
    weigh = question.column(MEASURES[question.measure][1])
    for row in rows:
        value, weight = row[column], row[weigh]
        if value is not None and weight:
            at = place[str(cluster(row))]
            sums[at] += value * weight
            weights[at] += weight
    return divide(sums, weights)


def _cells(
    values: Mapping[tuple[str, tuple[str, ...]], NDArray[np.float64]],
    recordings: Mapping[tuple[str, tuple[str, ...]], int],
    question: Question,
) -> tuple[Cell, ...]:
    n = len(next(iter(values.values())))

    def means(weight: Weights) -> dict[str, NDArray[np.float64]]:
        return {repr(key): drawn_means(x, weight) for key, x in values.items()}

    rng = np.random.default_rng(question.seed)
    drawn = bootstrap_many(means, np.arange(n), rng, question.draws)
    found = []
    for key, x in values.items():
        known = x[~np.isnan(x)]
        sd = float(known.std(ddof=1)) if len(known) > 1 else math.nan
        estimate = drawn[repr(key)]._replace(n=len(known))
        found.append(Cell(*key, x, recordings[key], estimate, float(np.median(known)), sd))
    return tuple(found)


def _comparisons(
    values: Mapping[tuple[str, tuple[str, ...]], NDArray[np.float64]],
    labels: Sequence[str],
    levels: Mapping[str, tuple[str, ...]],
    question: Question,
) -> tuple[LevelComparison, ...]:
    """Return all pairs of levels of the first column, within all levels of the others."""
    column, *others = question.by
    rng = np.random.default_rng([question.seed, 1])
    found: list[LevelComparison] = []
    for label in labels:
        for within in itertools.product(*(levels[name] for name in others)):
            for first, second in itertools.combinations(levels[column], 2):
                a, b = (values.get((label, (level, *within))) for level in (first, second))
                if a is not None and b is not None:
                    one = compare_levels(a, b, rng, question.draws)
                    found.append(LevelComparison(label, column, first, second, within, *one))
    corrected = correct_p_values(np.array([one.p for one in found]))
    return tuple(
        one._replace(p_holm=float(p)) for one, p in zip(found, corrected.tolist(), strict=True)
    )


def compare_levels(
    first: NDArray[np.float64], second: NDArray[np.float64], rng: np.random.Generator, draws: int
) -> tuple[bool, tuple[int, ...], Estimate, float, float, float]:
    """Return paired, n, the difference of the means, the effect, p, and NaN for Holm's p.

    first, second: (n,) of the same participants, NaN where one has no value. If at least
    LEAST_PAIRS have both, only these are compared, by flipping the signs of their differences;
    else the two groups are, by exchanging participants between them. All permutations are used if
    there are fewer than 10,000. With fewer than 2 values in a group, all is NaN.
    """
    from scipy.stats import permutation_test  # not at import: a second

    both = ~np.isnan(first) & ~np.isnan(second)
    paired = int(both.sum()) >= LEAST_PAIRS
    a = first[both] if paired else first[~np.isnan(first)]
    b = second[both] if paired else second[~np.isnan(second)]
    n = (len(a),) if paired else (len(a), len(b))
    nan = math.nan
    if min(n) < 2:
        value = float(a.mean() - b.mean()) if min(n) else nan
        return paired, n, Estimate(value, nan, nan, sum(n)), nan, nan, nan
    samples = (a - b,) if paired else (a, b)
    spread = float(samples[0].std(ddof=1)) if paired else _pooled_sd(a, b)
    result = permutation_test(
        samples,
        _mean_difference,
        permutation_type="samples" if paired else "independent",
        n_resamples=_RESAMPLES,
        random_state=rng,  # scipy before 1.15 knows no other name
    )
    used = (np.where(both, first, nan), np.where(both, second, nan)) if paired else (first, second)

    def difference(weight: Weights) -> dict[str, NDArray[np.float64]]:
        return {"d": drawn_means(used[0], weight) - drawn_means(used[1], weight)}

    drawn = bootstrap_many(difference, np.arange(len(first)), rng, draws)["d"]
    effect = drawn.value / spread if spread > _SD_FLOOR else nan
    return paired, n, drawn._replace(n=sum(n)), effect, float(result.pvalue), nan


def _mean_difference(*samples: NDArray[np.float64], axis: int = -1) -> Any:
    first = samples[0].mean(axis=axis)
    return first - samples[1].mean(axis=axis) if len(samples) == 2 else first


def _pooled_sd(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    total = ((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()
    return math.sqrt(float(total) / (len(a) + len(b) - 2))
