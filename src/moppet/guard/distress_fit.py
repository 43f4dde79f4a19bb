"""Fitting a model's distress score to trials: logistic regression, cross-validated by child."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.guard.distress import DistressMeter, DistressScore
from moppet.guard.state_machine import TargetFace, Timer
from moppet.guard.trials import Outcome, Trial, figures, match_trial
from moppet.timeline.labels import threshold
from moppet.timeline.schema import FACE_STATUSES, MOVEMENT
from moppet.values import CountProgress, MoppetError, no_progress
from moppet.vocabulary import SIDED_MOVEMENTS, TWO_WAY_MOVEMENTS

Floats64 = NDArray[np.float64]

FOLDS: Final = 5
LEVEL: Final = 0.6
SPAN_S: Final = 4.0
"""The default rule, for which the operating point is chosen: distress >= 60 % for 4 s."""
WANTED_MISSED: Final = 0.1
WANTED_ALARMS: Final = 1.0
"""Missing one distress in ten is as bad as one false alarm an hour."""
_STEP_S: Final = 0.2
_ROUNDS: Final = 2
PENALTIES: Final = (0.003, 0.03, 0.3)
_SHIFTS: Final = tuple(np.arange(-4.0, 4.01, 0.25))
_QUANTILES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


class FeatureSet(NamedTuple):
    """Features that a score may use, as they are, or against the child's calm face."""

    name: str
    raw: tuple[str, ...] = ()
    relative: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.raw, *self.relative]))


def feature_sets(
    names: Sequence[str], group_of: Mapping[str, str], movements: Sequence[str], letter: str
) -> list[FeatureSet]:
    """Return the sets that are compared.

    letter: "d" for the display reading, "p" for the observers'. Movements of one side, and those
    that have a direction, are not used.
    Raises MoppetError if the model has no group "negative".
    """
    groups = [f"{letter}_{name}" for name in ("negative", "positive") if name in group_of.values()]
    if f"{letter}_negative" not in groups:
        raise MoppetError('the model has no group "negative": name the groups of its classes.')
    classes = tuple(f"{letter}_{name}" for name in names)
    found = (f"{letter}_negative",)
    sets = [
        FeatureSet("negative", found),
        FeatureSet("negative, and against calm", found, found),
        FeatureSet("classes, and against calm", classes, classes),
    ]
    usable = [
        MOVEMENT + name
        for name in movements
        if name not in TWO_WAY_MOVEMENTS
        and not (name.endswith(("_left", "_right")) and name.rsplit("_", 1)[0] in SIDED_MOVEMENTS)
    ]
    if usable:
        moved, both = tuple(usable), (*groups, *usable)
        sets += [
            FeatureSet("movements, and against calm", moved, moved),
            FeatureSet("groups and movements", both),
            FeatureSet("groups and movements, and against calm", both, both),
        ]
    return sets


@dataclass(frozen=True)
class Trace:
    """What a score sees in a trial: n frames, at most five a second.

    features, calm: (n, k). score: (n,), NaN where the face cannot be read. distress: (n,), the
    truth; counts: (n,), whether the frame is distress or calm, and its face can be read.
    """

    trial: Trial
    time_s: Floats64
    features: Floats64
    calm: Floats64
    score: Floats64
    distress: NDArray[np.bool_]
    counts: NDArray[np.bool_]


class _Seen(NamedTuple):
    """One frame of a trial: the watched face, None if it is absent, and its features (k,)."""

    time_s: float
    face_id: int | None
    alone: bool
    good: bool
    features: Floats64


@dataclass(frozen=True)
class Fitted:
    """The result: the chosen score, and what cross-validation found of each candidate.

    candidates: rows with "features", "penalty", "log_loss", "missed", "false_alarms_per_hour" and
    "chosen".
    """

    score: DistressScore
    candidates: list[dict[str, Any]]


@dataclass(frozen=True)
class Fitter:
    """Fits the score of a model with these classes, groups and movements."""

    names: Sequence[str]
    group_of: Mapping[str, str]
    movements: Sequence[str]
    penalties: Sequence[float] = PENALTIES
    _seen: dict[tuple[str, tuple[str, ...]], list[_Seen]] = field(default_factory=dict, repr=False)

    def fit(self, trials: Sequence[Trial], progress: CountProgress = no_progress) -> Fitted:
        """Return the score with the least cross-validated log loss, with its operating point.

        Children are never on both sides of a fold. Only trials for tuning may be passed.
        Raises MoppetError if there are fewer than two children, or one side is missing.
        """
        if any(one.split != "val" for one in trials) or len(trials) < 2:
            raise MoppetError("a distress score needs two or more clips for tuning (split val).")
        if not any(trial.distress for trial in trials):
            raise MoppetError("a distress score needs clips with distress, and there is none.")
        self._seen.clear()
        first = next(row for trial in trials for rows in trial.frames for row in rows)
        letter = "d" if f"d_{self.names[0]}" in first else "p"
        sets = feature_sets(self.names, self.group_of, self.movements, letter)
        tried: list[tuple[dict[str, Any], FeatureSet, float]] = []
        for number, (one, penalty) in enumerate((s, p) for s in sets for p in self.penalties):
            progress(number, len(sets) * len(self.penalties))
            tried.append((self._validate(trials, one, penalty), one, penalty))
        best, chosen, penalty = min(tried, key=lambda row: row[0]["log_loss"])
        score = self._train(trials, chosen, penalty)
        shift = best["shift"]
        rows = [
            {k: v for k, v in row.items() if k != "shift"} | {"chosen": row is best}
            for row, *_ in tried
        ]
        return Fitted(replace(score, intercept=round(score.intercept + shift, 4)), rows)

    def _validate(self, trials: Sequence[Trial], one: FeatureSet, penalty: float) -> dict[str, Any]:
        """Return what a feature set gives for children that it was not fitted to."""
        unseen: list[Trace] = []
        for fold in range(min(FOLDS, len(trials))):
            held = list(trials[fold::FOLDS])
            rest = [trial for trial in trials if trial not in held]
            score = self._train(rest, one, penalty)
            unseen += [self.trace(trial, score) for trial in held]
        shift, (missed, alarms) = _operating_point(unseen)
        return {
            "features": one.name,
            "penalty": penalty,
            "log_loss": _log_loss(unseen),
            "missed": missed,
            "false_alarms_per_hour": alarms,
            "shift": shift,
        }

    def _train(self, trials: Sequence[Trial], one: FeatureSet, penalty: float) -> DistressScore:
        """Return the score fitted to trials.

        A child's calm face depends on the score, so this starts with the negative probability for
        a score, and repeats.
        """
        keys = one.features
        start = dict.fromkeys(keys, 0.0)
        start |= {key: 1.0 for key in keys if key.endswith("_negative")}
        score = DistressScore(0.0, dict.fromkeys(keys, (0.0,)), start)
        for turn in range(_ROUNDS + 1):
            traces = [self.trace(trial, score) for trial in trials]
            if turn == 0:
                calm = _calm_faces(traces, keys)
                traces = [self.trace(trial, replace(score, calm=calm)) for trial in trials]
            score = _regress(traces, one, calm, penalty)
        return score

    def trace(self, trial: Trial, score: DistressScore) -> Trace:
        """Return what the score sees in a trial, in at most five frames a second."""
        meter = DistressMeter(score, self.names, self.group_of, self.movements, trial.settings)
        seen = self._features(trial, score)
        features = np.array([one.features for one in seen])
        calm = np.full(features.shape, np.nan)
        for i, one in enumerate(seen):
            if one.face_id is not None:
                known = {"alone": one.alone, "reliable": one.good}
                calm[i] = meter.learn(one.time_s, one.face_id, one.features, **known)
        good = np.array([one.good and one.face_id is not None for one in seen])
        scores = np.where(good, meter.scores(features, calm), np.nan)
        time_s = np.array([one.time_s for one in seen])
        distress, neither = _within(time_s, trial.distress), _within(time_s, trial.neither)
        counts = good & (distress | ~neither)
        return Trace(trial, time_s, features, calm, scores, distress, counts)

    def _features(self, trial: Trial, score: DistressScore) -> list[_Seen]:
        """Return the features of a trial's frames; they do not depend on the score's weights."""
        key = trial.name, score.features
        if key not in self._seen:
            target = TargetFace("largest", trial.settings.max_gap_s)
            meter = DistressMeter(score, self.names, self.group_of, self.movements, trial.settings)
            poor = threshold(trial.settings.low_quality_below)
            self._seen[key] = seen = []
            for rows in _thinned(trial):
                time_s = rows[0]["time_s"]
                faces = [row for row in rows if row["status"] in FACE_STATUSES]
                face = target.find(time_s, faces)
                alone, face_id, good = len(faces) == 1, None, False
                value = meter.update(time_s, face, alone=alone, reliable=False)
                if face is not None and value is not None:
                    quality = 1.0 if face["quality"] is None else face["quality"]
                    face_id, good = face["face_id"], face["status"] == "ok" and quality >= poor
                seen.append(_Seen(time_s, face_id, alone, good, meter.features))
        return self._seen[key]


def _thinned(trial: Trial) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield the frames of a trial that were analyzed, at most five a second."""
    last_s = -math.inf
    for rows in trial.frames:
        time_s = rows[0]["time_s"]
        if rows[0]["status"] != "skipped" and time_s - last_s >= _STEP_S - 1e-6:
            last_s = time_s
            yield rows


def _within(time_s: Floats64, spans: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    inside = np.zeros(len(time_s), np.bool_)
    for start_s, end_s in spans:
        inside |= (time_s >= start_s) & (time_s < end_s)
    return inside


def _calm_faces(traces: Sequence[Trace], keys: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return each feature's quantiles over the children's medians in calm time."""
    medians = np.array([
        np.median(one.features[calm], axis=0)
        for one in traces
        if (calm := one.counts & ~one.distress).any()
    ])  # fmt: skip
    if not len(medians):
        raise MoppetError("a distress score needs clips with calm time, and there is none.")
    found = np.round(np.quantile(medians, _QUANTILES, axis=0), 4)
    return {key: tuple(found[:, i].tolist()) for i, key in enumerate(keys)}


def _weights(one: Trace) -> Floats64:
    """Return (n,) weights: distress and calm weigh the same in each child, and every child, too."""
    weights = np.zeros(len(one.counts))
    for part in (one.counts & one.distress, one.counts & ~one.distress):
        if part.any():
            weights[part] = 0.5 / part.sum()
    return weights


def _regress(
    traces: Sequence[Trace], one: FeatureSet, calm: dict[str, tuple[float, ...]], penalty: float
) -> DistressScore:
    """Return the logistic regression with a penalty on the squares of its standardized weights."""
    keys = list(one.features)
    raw, relative = ([keys.index(key) for key in part] for part in (one.raw, one.relative))
    kept = [trace.counts for trace in traces]
    x = np.concatenate([
        np.hstack([t.features[:, raw], (t.features - t.calm)[:, relative]])[rows]
        for t, rows in zip(traces, kept, strict=True)
    ])  # fmt: skip
    y = np.concatenate([t.distress[rows] for t, rows in zip(traces, kept, strict=True)])
    w = np.concatenate([_weights(t)[rows] for t, rows in zip(traces, kept, strict=True)])
    if not y.any() or y.all():
        raise MoppetError("a distress score needs both distress and calm time in every fold.")
    intercept, weights = logistic_regression(x, y, w, penalty)
    found = [round(float(weight), 4) for weight in weights]
    n = len(raw)
    return DistressScore(
        round(intercept, 4),
        calm,
        dict(zip(one.raw, found[:n], strict=True)),
        dict(zip(one.relative, found[n:], strict=True)),
    )


def logistic_regression(
    x: Floats64, y: NDArray[np.bool_], weight: Floats64, penalty: float
) -> tuple[float, Floats64]:
    """Return intercept and weights (k,) that minimize

        sum_i w_i log-loss_i / sum_i w_i + penalty / 2 * sum_j (weight_j * deviation_j)^2

    by Newton's method. x: (n, k), y: (n,), weight: (n,). deviation: of each column, weighted. The
    intercept is not penalized.
    """
    w = weight / weight.sum()
    mean = w @ x
    deviation = np.sqrt(w @ (x - mean) ** 2)
    deviation[deviation < 1e-9] = np.inf  # a constant says nothing
    z = np.column_stack([np.ones(len(x)), (x - mean) / deviation])
    ridge = np.diag([0.0, *[penalty] * x.shape[1]])
    beta = np.zeros(z.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(z @ beta, -30, 30)))
        gradient = z.T @ (w * (p - y)) + ridge @ beta
        curvature = (z.T * (w * p * (1 - p) + 1e-12)) @ z + ridge
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        beta = beta - step * min(1.0, 5.0 / (1e-12 + np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    weights = beta[1:] / deviation
    return float(beta[0] - weights @ mean), weights


def _log_loss(traces: Sequence[Trace]) -> float:
    """Return the mean log loss; each child, and its distress and calm, weigh the same."""
    total = count = 0.0
    for one in traces:
        w, p = _weights(one), np.clip(np.nan_to_num(one.score, nan=0.5), 1e-4, 1 - 1e-4)
        total += float(w @ -np.log(np.where(one.distress, p, 1 - p)))
        count += float(w.sum())
    return total / count


def _operating_point(traces: Sequence[Trace]) -> tuple[float, tuple[float, float]]:
    """Return what to add to the intercept, and the misses and false alarms an hour with it.

    The middle of the shifts that cost the least.
    """
    results = [_missed_and_alarms(traces, shift) for shift in _SHIFTS]
    costs = [round(m / WANTED_MISSED + a / WANTED_ALARMS, 6) for m, a in results]
    best = [i for i, cost in enumerate(costs) if cost == min(costs)]
    middle = best[len(best) // 2]
    return float(_SHIFTS[middle]), results[middle]


def _missed_and_alarms(traces: Sequence[Trace], shift: float) -> tuple[float, float]:
    found = figures([rule_outcome(one, shift) for one in traces])
    return found.missed.value, found.false_alarms_per_hour.value


def rule_outcome(one: Trace, shift: float, cooldown_s: float = 10.0) -> Outcome:
    """Return what the default rule finds if `shift` is added to the score's log-odds."""
    timer, fired = Timer(SPAN_S, one.trial.settings.max_gap_s), []
    level = math.log(LEVEL / (1 - LEVEL)) - shift
    kept = np.clip(one.score, 1e-7, 1 - 1e-7)
    odds = np.log(kept / (1 - kept))
    for time_s, holds in zip(one.time_s.tolist(), (odds >= level).tolist(), strict=True):
        if timer.update(time_s, None, holds):
            fired.append(time_s)
            timer.cool_down(until_s=time_s + cooldown_s)
    watched_s = float(one.time_s[-1] - one.time_s[0]) if len(one.time_s) else 0.0
    return match_trial(one.trial, fired, watched_s)
