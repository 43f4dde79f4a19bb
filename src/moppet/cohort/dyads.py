"""Two people of each recording: synchrony, lead and lag, matching and contingency."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from moppet.cohort.statistics import LEAST_PAIRS, cluster, compare_levels, level_text
from moppet.cohort.study_folder import StudyFolder
from moppet.cohort.synchrony import (
    Against,
    LagProfile,
    Series,
    States,
    against,
    contingency,
    lag_profile,
    matching,
    phase_randomized,
    rotated,
)
from moppet.metrics import Estimate, as_json
from moppet.metrics.bootstrap import bootstrap_means
from moppet.timeline.movements import LEVEL
from moppet.timeline.schema import MOVEMENT, flags, numbers, texts
from moppet.timeline.summary import UNNAMED
from moppet.values import UsageError, name_hint
from moppet.vocabulary import MOVEMENT_OF, TWO_WAY_MOVEMENTS

SURROGATES: Final = ("partners", "time")
"""Kinds of surrogates: the second person of other participants, and series moved in time."""
MEASURES: Final[Mapping[str, str]] = {
    "synchrony": "mean absolute cross-correlation (Fisher's z)",
    "peak_r": "largest mean cross-correlation",
    "lead": "cross-correlation at positive less negative lags: above 0 if the first leads",
    "matching": "share of the time in which both show the same",
    "response": "share of the first's onsets that the second follows",
    "response_back": "share of the second's onsets that the first follows",
}
_WINDOWED: Final = "Boker, Rotondo, Xu & King 2002, Psychological Methods 7, 338-355"
_SEQUENTIAL: Final = "Bakeman & Quera 2011, chapter 9; Van Egeren, Barratt & Roach 2001"
SOURCES: Final[Mapping[str, str]] = {
    "synchrony": "Ramseyer & Tschacher 2011, J. Consulting and Clinical Psychology 79, 284-295",
    **dict.fromkeys(("peak_r", "lead", "peak_lag_s"), _WINDOWED),
    "matching": "Tronick & Cohn 1989, Child Development 60, 85-92",
    **dict.fromkeys(("response", "response_back"), _SEQUENTIAL),
    "partners": "Bernieri, Reznick & Rosenthal 1988, J. Personality and Social Psychology 54",
    "time": "Theiler et al. 1992, Physica D 58, 77-94; Moulder et al. 2018, Psych. Methods 23",
}
"""Measure, or kind of surrogates → where it comes from."""
_HOLDS_S: Final = 0.5
"""A value lasts at most this long beyond its frame."""
EXPRESSIONS: Final = "expressions"
GROUPS: Final = "groups"


@dataclass(frozen=True, kw_only=True)
class DyadQuestion:
    """What is measured.

    roles: the first and the second. labels: expressions, movements, or "valence". window_s,
    max_lag_s, step_s, respond_s: seconds; see `moppet.cohort.synchrony`. surrogates: of each kind
    and dyad; of partners, at most as many as there are dyads of other participants. within: columns
    of the list of recordings that a partner's recording must share, such as the condition.
    """

    roles: tuple[str, str] = ("child", "caregiver")
    labels: tuple[str, ...] = ("valence", "happiness")
    window_s: float = 10.0
    max_lag_s: float = 3.0
    step_s: float = 0.2
    respond_s: float = 3.0
    within: tuple[str, ...] = ()
    surrogates: int = 100
    machine: bool = False
    seed: int = 0
    draws: int = 2000

    def __post_init__(self) -> None:
        limits = (self.window_s, self.max_lag_s, self.step_s, self.respond_s)
        if not all(math.isfinite(x) and x > 0 for x in limits) or self.window_s < 3 * self.step_s:
            raise UsageError(
                "--window, --max-lag, --respond and --step are seconds above 0, and --window is "
                "at least 3 times --step."
            )
        if len(set(self.roles)) != 2:
            raise UsageError("--roles takes two different roles, such as child,caregiver.")

    def steps(self, seconds: float) -> int:
        """Return a time in steps, at least 1."""
        return max(1, round(seconds / self.step_s))


@dataclass(frozen=True)
class Dyad:
    """Two people of a recording, sampled at equal steps.

    levels: its values of the columns `within`. series: label → (first, second), NaN where unsure.
    shown: label → the same as 1, 0 and -1.
    states: "expressions" and "groups" → the same as numbers of labels and -1.
    """

    recording: str
    participant: str
    levels: tuple[str, ...]
    people: tuple[str, str]
    series: Mapping[str, tuple[Series, Series]]
    shown: Mapping[str, tuple[States, States]]
    states: Mapping[str, tuple[States, States]]


@dataclass(frozen=True)
class DyadFigure:
    """One measure of one dyad. label: what it is of. against: by kind of surrogates."""

    recording: str
    participant: str
    label: str
    measure: str
    value: float
    against: Mapping[str, Against]


@dataclass(frozen=True)
class GroupFigure:
    """One measure over all participants, less the mean of its surrogates of one kind.

    observed, expected: means. difference: with its interval. p: a paired permutation test.
    """

    label: str
    measure: str
    surrogates: str
    observed: float
    expected: float
    difference: Estimate
    p: float
    n: int


@dataclass(frozen=True)
class LagCurve:
    """The mean cross-correlation of one label by lag, over participants; and of its surrogates.

    lag_s: (m,). estimates: (m,). by_surrogate: kind → (m,) means. peak_lag_s: of each dyad.
    """

    label: str
    lag_s: NDArray[np.floating[Any]]
    estimates: tuple[Estimate, ...]
    by_surrogate: Mapping[str, NDArray[np.float64]]
    peak_lag_s: NDArray[np.float64]


@dataclass(frozen=True)
class DyadResults:
    """The figures of all dyads of a study."""

    question: DyadQuestion
    dyads: tuple[Dyad, ...] = field(repr=False)
    figures: tuple[DyadFigure, ...]
    groups: tuple[GroupFigure, ...]
    curves: tuple[LagCurve, ...]
    notes: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return the figures of the dyads as rows of a table."""
        found = []
        for one in self.figures:
            row = {
                "recording": one.recording,
                "participant": one.participant,
                "label": one.label,
                "measure": one.measure,
                "value": one.value,
            }
            for kind in SURROGATES:
                chance = one.against.get(kind)
                for name in ("mean", "sd", "z", "p", "n"):
                    row[f"{kind}_{name}"] = None if chance is None else getattr(chance, name)
            found.append(row)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return plain values; undefined figures are None."""
        q = self.question
        settings = ("window_s", "max_lag_s", "step_s", "respond_s", "surrogates", "machine", "seed")
        return {
            "roles": list(q.roles),
            "labels": list(q.labels),
            "within": list(q.within),
            **{name: getattr(q, name) for name in settings},
            "dyads": len(self.dyads),
            "participants": len({dyad.participant for dyad in self.dyads}),
            "groups": [
                {
                    "label": g.label,
                    "measure": g.measure,
                    "surrogates": g.surrogates,
                    "observed": _plain(g.observed),
                    "expected": _plain(g.expected),
                    "difference": as_json(g.difference),
                    "p": _plain(g.p),
                    "participants": g.n,
                }
                for g in self.groups
            ],
            "peak_lag_s": {c.label: _plain(_median(c.peak_lag_s)) for c in self.curves},
            "notes": list(self.notes),
        }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _median(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def measure_dyads(
    study: StudyFolder,
    question: DyadQuestion,
    progress: Callable[[int, int], None] | None = None,
) -> DyadResults:
    """Return the figures of the two people of each recording, against surrogates.

    Raises UsageError for an unknown label, or if no recording has both roles.
    """
    dyads, notes = read_dyads(study, question)
    figures: list[DyadFigure] = []
    profiles: dict[str, list[tuple[str, LagProfile, dict[str, list[Series]]]]] = {}
    rng = np.random.default_rng(question.seed)
    for number, dyad in enumerate(dyads):
        if progress is not None:
            progress(number, len(dyads))
        others = [
            one
            for one in dyads
            if one.participant != dyad.participant and one.levels == dyad.levels
        ]
        figures += _continuous(dyad, others, question, rng, profiles)
        figures += _states(dyad, others, question, rng)
    if len({dyad.participant for dyad in dyads}) < 2:
        notes.append("there is only one participant, so no partners can be shuffled.")
    return DyadResults(
        question,
        tuple(dyads),
        tuple(figures),
        _groups(figures, question),
        tuple(_curve(label, found, question) for label, found in profiles.items()),
        tuple(notes),
    )


# ------------------------------------------------------------------------------------ reading


def read_dyads(study: StudyFolder, question: DyadQuestion) -> tuple[list[Dyad], list[str]]:
    """Return the dyads of a study, and notes on recordings that have none.

    Raises UsageError for an unknown label or role, or if there is no dyad.
    """
    study.check_columns(question.within, "--within")
    columns = {label: _column(label, study) for label in question.labels}
    dyads, without, several = [], [], []
    prefix = "" if question.machine else "corrected_"
    needed = ["time_s", "person", "role", "unsure", f"{prefix}unsure"]
    needed += [f"{prefix}expression", f"{prefix}group", *columns.values()]
    for about, table in study.frames(list(dict.fromkeys(needed))):
        parts = []
        for role in question.roles:
            part = table.filter(pc.equal(table.column("role"), role))
            people = pc.unique(part.column("person")).to_pylist()
            if len(people) > 1:
                several.append(f"{about['recording']} ({', '.join(map(str, people))})")
            parts.append((part, people))
        if all(len(people) == 1 for _, people in parts):
            dyads.append(_dyad(about, parts, columns, question, prefix))
        elif not any(len(people) > 1 for _, people in parts):
            without.append(str(about["recording"]))
    notes = []
    for names, words in (
        (without, "without both roles"),
        (several, "with several people of one role: join or rename them"),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            notes.append(f"left out, {words}: {', '.join(names[:5])}{more}.")
    if not dyads:
        known = sorted({str(r["role"]) for r in study.summary} - {UNNAMED})
        raise UsageError(
            f"No recording has one {question.roles[0]} and one {question.roles[1]}: name the "
            f"people on the page of moppet serve. The study has the roles "
            f"{', '.join(known) or '(none)'}."
        )
    return dyads, notes


def _column(label: str, study: StudyFolder) -> str:
    """Return the column of the frames that a label means."""
    have = study.frame_columns
    for column in (label if label == "valence" else f"s_{label}", MOVEMENT + label):
        if column in have:
            return column
    known = [name[2:] for name in have if name[:2] in ("s_", MOVEMENT)] + ["valence"]
    raise UsageError(f"The study has no {label!r} to compare.{name_hint(label, known)}")


def _dyad(
    about: Mapping[str, Any],
    parts: Sequence[tuple[Any, Sequence[Any]]],
    columns: Mapping[str, str],
    question: DyadQuestion,
    prefix: str,
) -> Dyad:
    times = [numbers(part, "time_s") for part, _ in parts]
    start_s = min(float(t.min()) for t in times)
    end_s = max(float(t.max()) for t in times)
    n = max(1, int((end_s - start_s) / question.step_s) + 1)
    grid = start_s + question.step_s * (np.arange(n) + 0.5)
    names: dict[str, int] = {}
    sampled = [_Sampled(part, grid, question.step_s, prefix) for part, _ in parts]
    series = {
        label: (sampled[0].series(column), sampled[1].series(column))
        for label, column in columns.items()
    }
    shown = {
        label: (sampled[0].shown(label, column), sampled[1].shown(label, column))
        for label, column in columns.items()
        if label != "valence"
    }
    states = {
        kind: (
            sampled[0].states(f"{prefix}{word}", names),
            sampled[1].states(f"{prefix}{word}", names),
        )
        for kind, word in ((EXPRESSIONS, "expression"), (GROUPS, "group"))
    }
    row = {"recording": about["recording"], **about["info"]}
    people = (str(parts[0][1][0]), str(parts[1][1][0]))
    levels = tuple(level_text(about["info"].get(name)) for name in question.within)
    return Dyad(str(about["recording"]), str(cluster(row)), levels, people, series, shown, states)


class _Sampled:
    """One person's rows, sampled at the middles of equal steps."""

    def __init__(
        self, part: Any, grid: NDArray[np.floating[Any]], step_s: float, prefix: str
    ) -> None:
        order = np.argsort(numbers(part, "time_s"), kind="stable")
        self._part = part.take(order)
        self._grid, self._step_s, self._prefix = grid, step_s, prefix
        self._time_s = numbers(self._part, "time_s")
        self._sure = ~flags(self._part, f"{prefix}unsure")
        after = np.clip(np.searchsorted(self._time_s, grid), 1, max(len(self._time_s) - 1, 1))
        before = after - 1
        after = np.minimum(after, len(self._time_s) - 1)
        nearer = np.abs(self._time_s[after] - grid) < np.abs(self._time_s[before] - grid)
        self._nearest = np.where(nearer, after, before)
        self._near = np.abs(self._time_s[self._nearest] - grid) <= max(_HOLDS_S, step_s)

    def series(self, column: str) -> Series:
        """Return the mean of the sure rows of each step; between them, a line."""
        values = numbers(self._part, column)
        known = self._sure & ~np.isnan(values)
        n = len(self._grid)
        if not known.any():
            return np.full(n, np.nan)
        first_s = float(self._grid[0]) - self._step_s / 2
        cell = np.clip(((self._time_s - first_s) / self._step_s).astype(np.int64), 0, n - 1)
        count = np.bincount(cell[known], minlength=n)
        total = np.bincount(cell[known], values[known], minlength=n)
        line = np.interp(self._grid, self._time_s[known], values[known])
        place = np.clip(np.searchsorted(self._time_s[known], self._grid), 0, known.sum() - 1)
        gap = np.minimum(
            np.abs(self._time_s[known][place] - self._grid),
            np.abs(self._time_s[known][np.maximum(place - 1, 0)] - self._grid),
        )
        line = np.where(gap <= max(_HOLDS_S, self._step_s), line, np.nan)
        return np.where(count > 0, total / np.maximum(count, 1), line)

    def states(self, column: str, names: dict[str, int]) -> States:
        """Return the label of the nearest row, by its number in `names`, which grows."""
        label = texts(self._part, column)
        code = np.array(
            [-1 if name is None else names.setdefault(str(name), len(names)) for name in label],
            np.int64,
        )
        code = np.where(self._sure, code, -1)
        return np.where(self._near, code[self._nearest], -1)

    def shown(self, label: str, column: str) -> States:
        """Return 1 where the label is shown, 0 where it is not, -1 where that is unknown."""
        if column.startswith(MOVEMENT) and label in MOVEMENT_OF:
            values = numbers(self._part, column)
            level = np.abs(values) if MOVEMENT_OF[label] in TWO_WAY_MOVEMENTS else values
            on = np.where(np.isnan(values) | ~self._sure, -1, level >= LEVEL).astype(np.int64)
        else:
            word = texts(self._part, f"{self._prefix}expression")
            on = np.array([-1 if w is None else int(w == label) for w in word], np.int64)
            on = np.where(self._sure, on, -1)
        return np.where(self._near, on[self._nearest], -1)


# ---------------------------------------------------------------------------------- measuring


def _continuous(
    dyad: Dyad,
    others: Sequence[Dyad],
    question: DyadQuestion,
    rng: np.random.Generator,
    profiles: dict[str, list[tuple[str, LagProfile, dict[str, list[Series]]]]],
) -> list[DyadFigure]:
    window = question.steps(question.window_s)
    lengths = (window, max(1, window // 2), question.steps(question.max_lag_s))
    found = []
    for label, (first, second) in dyad.series.items():
        observed = lag_profile(first, second, *lengths)
        partners = _drawn([one.series[label][1] for one in others], question.surrogates, rng)
        chance = {
            "partners": [lag_profile(first, other, *lengths) for other in partners],
            "time": [
                lag_profile(first, phase_randomized(second, rng), *lengths)
                for _ in range(question.surrogates)
            ],
        }
        for measure in ("synchrony", "peak_r", "lead"):
            value = getattr(observed, measure)
            by_kind = {
                kind: against(value, [getattr(p, measure) for p in ps], two_sided=measure == "lead")
                for kind, ps in chance.items()
            }
            found.append(
                DyadFigure(dyad.recording, dyad.participant, label, measure, value, by_kind)
            )
        lag_s = observed.peak_lag * question.step_s
        found.append(DyadFigure(dyad.recording, dyad.participant, label, "peak_lag_s", lag_s, {}))
        curves = {kind: [p.r for p in ps] for kind, ps in chance.items()}
        profiles.setdefault(label, []).append((dyad.participant, observed, curves))
    return found


def _states(
    dyad: Dyad, others: Sequence[Dyad], question: DyadQuestion, rng: np.random.Generator
) -> list[DyadFigure]:
    respond = question.steps(question.respond_s)
    least = question.steps(question.window_s)

    def follow(first: States, second: States) -> float:
        return contingency(first, second, respond).rate

    def follow_back(first: States, second: States) -> float:
        return contingency(second, first, respond).rate

    jobs: list[tuple[str, str, Callable[[States, States], float], str]] = [
        ("states", kind, matching, "matching") for kind in dyad.states
    ]
    jobs += [("shown", label, follow, "response") for label in dyad.shown]
    jobs += [("shown", label, follow_back, "response_back") for label in dyad.shown]
    found = []
    for part, label, figure, measure in jobs:
        first, second = getattr(dyad, part)[label]
        value = figure(first, second)
        partners = [getattr(one, part)[label][1] for one in others]
        chance = {
            "partners": [
                figure(first, other) for other in _drawn(partners, question.surrogates, rng)
            ],
            "time": [
                figure(first, rotated(second, least, rng)) for _ in range(question.surrogates)
            ],
        }
        by_kind = {kind: against(value, values) for kind, values in chance.items()}
        found.append(DyadFigure(dyad.recording, dyad.participant, label, measure, value, by_kind))
    return found


def _drawn(others: Sequence[Any], most: int, rng: np.random.Generator) -> list[Any]:
    if len(others) <= most:
        return list(others)
    return [others[i] for i in rng.choice(len(others), most, replace=False).tolist()]


# --------------------------------------------------------------------------------- all dyads


def _groups(figures: Sequence[DyadFigure], question: DyadQuestion) -> tuple[GroupFigure, ...]:
    """Return each measure over participants, whose dyads are averaged first."""
    rng = np.random.default_rng([question.seed, 3])
    participants = list(dict.fromkeys(one.participant for one in figures))
    found = []
    for label, measure in dict.fromkeys((one.label, one.measure) for one in figures):
        mine = [one for one in figures if (one.label, one.measure) == (label, measure)]
        for kind in SURROGATES if measure in MEASURES else ():
            pairs = [
                (one.participant, one.value, one.against[kind].mean)
                for one in mine
                if not math.isnan(one.value) and one.against[kind].n
            ]
            if not pairs:
                continue
            sums = np.zeros((2, len(participants)))
            count = np.zeros(len(participants))
            for participant, value, expected in pairs:
                at = participants.index(participant)
                sums[:, at] += value, expected
                count[at] += 1
            means = np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)
            observed, expected = (float(np.nanmean(x)) for x in means)
            n, nan = int((count > 0).sum()), math.nan
            difference, p = Estimate(observed - expected, nan, nan, n), nan
            if n >= LEAST_PAIRS:
                _, _, difference, _, p, _ = compare_levels(means[0], means[1], rng, question.draws)
            found.append(GroupFigure(label, measure, kind, observed, expected, difference, p, n))
    return tuple(found)


def _curve(
    label: str,
    found: Sequence[tuple[str, LagProfile, dict[str, list[Series]]]],
    question: DyadQuestion,
) -> LagCurve:
    participants = [participant for participant, _, _ in found]
    clusters = np.unique(participants, return_inverse=True)[1]
    r = np.array([profile.r for _, profile, _ in found])
    rng = np.random.default_rng([question.seed, 4])
    columns = {str(i): r[:, i] for i in range(r.shape[1])}
    drawn = bootstrap_means(columns, clusters, rng, question.draws)
    by_surrogate = {}
    for kind in SURROGATES:
        rows = [row for _, _, curves in found for row in curves[kind]]
        if rows:
            stacked = np.array(rows)
            known = ~np.isnan(stacked)
            count = known.sum(axis=0)
            total = np.where(known, stacked, 0).sum(axis=0)
            nothing = np.full(len(count), np.nan)
            by_surrogate[kind] = np.divide(total, count, out=nothing, where=count > 0)
    return LagCurve(
        label,
        found[0][1].lags * question.step_s,
        tuple(drawn[str(i)] for i in range(r.shape[1])),
        by_surrogate,
        np.array([profile.peak_lag * question.step_s for _, profile, _ in found]),
    )
