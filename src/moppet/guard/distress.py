"""The guard's distress score, and the calm face of the watched child that it is measured against.

A face that looks strained at rest is not in distress, and one that always smiles may be when it
only looks plain. So the score weighs, besides the values themselves, how far they are from the
same child's calm face. FaceReader's "individual calibration" and OpenFace's person normalization
(Baltrušaitis, Mahmoud & Robinson 2015) do this for expressions and movements: the one subtracts a
running average, the other the median of a person's frames. Here it is a running median that long
distress cannot move; see `CalmFace`.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.config import check_settings
from moppet.files import read_bytes, write_text
from moppet.timeline.settings import TimelineSettings
from moppet.timeline.smoothing import TIME_TOLERANCE_S, CausalSmoother
from moppet.values import ModelError, UsageError

Row = Mapping[str, Any]
Vector = NDArray[np.float64]

DISTRESS: Final = "distress"
"""Name of the score in rules, and of its table in a model card."""
SAMPLE_S: Final = 1.0
WINDOW_S: Final = 180.0
POPULATION_S: Final = 20.0
LEAST_WEIGHT: Final = 0.1
"""A child's calm face is the median over the last WINDOW_S seconds seen, taken every SAMPLE_S.
Distress weighs at least LEAST_WEIGHT. The faces of other children weigh POPULATION_S, which is more
than distress without end ever does (LEAST_WEIGHT * WINDOW_S)."""
INHERITED_S: Final = 30.0
"""A lone face that follows a lone face within so many seconds is taken for the same child's."""
_FLOOR: Final = 0.005
_MOST: Final = 200
_KEPT: Final = 20
"""Tracks whose calm faces are kept."""


@dataclass(frozen=True)
class DistressScore:
    """The distress score of a model, as stored in the table [distress] of its card.

        score = 1 / (1 + exp(-(intercept + sum raw_i x_i + sum relative_j (x_j - calm_j))))

    x: features by name. "d_anger" (display reading) and "p_anger" (observers) are log-odds of a
    class, "d_negative" of the sum over a group; "m_jaw_open" is a movement.
    raw, relative: their weights, for the value itself and for its difference from the child's calm
    face. calm: for each feature, what it is on the calm faces of other children: some quantiles,
    from the lowest to the highest, spaced evenly.
    """

    intercept: float
    calm: dict[str, tuple[float, ...]]
    raw: dict[str, float] = field(default_factory=dict)
    relative: dict[str, float] = field(default_factory=dict)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of all features."""
        return tuple(dict.fromkeys([*self.raw, *self.relative]))

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with these values."""
        if not self.features:
            yield "raw or relative must have at least one feature."
        elif set(self.features) != set(self.calm):
            yield "calm must have the features of raw and relative, and no others."
        if len(self.calm) > _MOST or any(not 1 <= len(v) <= _MOST for v in self.calm.values()):
            yield f"calm must have 1 to {_MOST} values for each of at most {_MOST} features."
        if any(list(values) != sorted(values) for values in self.calm.values()):
            yield "the values in calm must be in ascending order."

    def to_toml(self) -> str:
        """Return the table [distress] of a card."""
        lines = [f"[{DISTRESS}]", f"intercept = {self.intercept:.4f}"]
        for name in ("raw", "relative"):
            lines += ["", f"[{DISTRESS}.{name}]"]
            lines += [f'"{key}" = {value:.4f}' for key, value in getattr(self, name).items()]
        lines += ["", f"[{DISTRESS}.calm]"]
        for key, values in self.calm.items():
            lines.append(f'"{key}" = [{", ".join(f"{value:.4f}" for value in values)}]')
        return "\n".join(lines) + "\n"


def write_distress(card: Path, tables: str) -> None:
    """Write the tables [distress] and [distress.…] of a model card in the place of earlier ones."""
    kept, drop = [], False
    for line in read_bytes(card, "model card").decode("utf-8").splitlines():
        if found := _HEADER.match(line):
            drop = found[1] == DISTRESS
        if not drop:
            kept.append(line)
    write_text(card, "\n".join(kept).rstrip() + "\n\n" + tables)


_HEADER: Final = re.compile(r"\s*\[\[?\s*[\"']?([\w-]+)")


def read_score(card: Mapping[str, Any]) -> DistressScore | None:
    """Return the distress score in a model card, None if it has none.

    The tables beside the score, such as what was measured, are ignored. Raises ModelError for a
    table that does not fit the model.
    """
    if DISTRESS not in card:
        return None
    try:
        table = card[DISTRESS]
        kept = {k: v for k, v in table.items() if k in DistressScore.__dataclass_fields__}
        score = check_settings(DistressScore, kept, source="the table [distress] of the card")
        labels, groups = [str(one) for one in card["labels"]], card.get("groups", {})
        FeatureReader(score.features, labels, groups, card.get("movements", ()))
    except AttributeError:
        raise ModelError("the key distress of the model card must be a table.") from None
    except UsageError as error:
        raise ModelError(str(error)) from None
    return score


class FeatureReader:
    """Reads features from a row: the log-odds of classes and groups, and movements.

    Raises ModelError for a feature that the model does not have.
    """

    def __init__(
        self,
        features: Sequence[str],
        names: Sequence[str],
        group_of: Mapping[str, str],
        movements: Sequence[str],
    ) -> None:
        self.features = tuple(features)
        self._columns: list[list[str]] = []
        for feature in self.features:
            letter, _, name = feature.partition("_")
            members = [one for one in names if name in (one, group_of.get(one))]
            if name in names:
                members = [name]
            if letter == "m":
                members = [name] if name in movements else []
            if letter not in ("p", "d", "m") or not members:
                raise ModelError(
                    f"the model's distress score uses {feature!r}, which the model does not have: "
                    "fit it again with `moppet distress`."
                )
            self._columns.append([f"{letter}_{member}" for member in members])

    def read(self, row: Row) -> Vector | None:
        """Return the features (k,), None if the face was not classified.

        Raises UsageError if the row lacks the columns of a reading.
        """
        values = np.empty(len(self._columns))
        try:
            for i, columns in enumerate(self._columns):
                parts = [row[column] for column in columns]
                if None in parts:
                    return None
                values[i] = sum(parts) if columns[0][0] == "m" else _log_odds(sum(parts))
        except KeyError as error:
            raise UsageError(
                f"the distress score needs the column {error.args[0]}: read with the model whose "
                "score it is, and with --reading display or both."
            ) from None
        return values


def _log_odds(share: float) -> float:
    """Return the log-odds of a probability, kept between 0.5 and 99.5 %."""
    kept = min(max(share, _FLOOR), 1 - _FLOOR)
    return math.log(kept / (1 - kept))


class CalmFace:
    """The features of a child's calm face so far: a running weighted median.

    A sample a second counts for the time since the one before, by how calm the score finds it (1 -
    score, at least 0.1). The calm faces of other children count for 20 s, so that the median starts
    there, and cannot leave their range in distress that lasts from the beginning. Only the last
    three minutes seen count. The result depends on times, not on the number of frames.

    population: (k, m), the calm values of other children in ascending order.
    """

    def __init__(self, population: NDArray[np.floating[Any]]) -> None:
        self._population = np.asarray(population, np.float64)
        self._samples: deque[tuple[Vector, float, float]] = deque()  # features, weight, seconds
        self._seen_s = 0.0
        self.features = self._median()

    def add(self, features: Vector, calmness: float, seconds: float) -> None:
        """Add what was seen for some seconds. calmness: [0, 1]."""
        self._samples.append((features, max(LEAST_WEIGHT, calmness) * seconds, seconds))
        self._seen_s += seconds
        while self._seen_s > WINDOW_S + TIME_TOLERANCE_S:
            self._seen_s -= self._samples.popleft()[2]
        self.features = self._median()

    def _median(self) -> Vector:
        """Return the lower weighted median of each feature, (k,)."""
        k, m = self._population.shape
        own = np.array([sample[0] for sample in self._samples]).reshape(-1, k)
        values = np.concatenate([self._population.T, own])
        weights = [POPULATION_S / m] * m + [sample[1] for sample in self._samples]
        order = values.argsort(axis=0, kind="stable")
        total = np.cumsum(np.array(weights)[order], axis=0)
        middle = (total >= total[-1] / 2).argmax(axis=0)
        return np.asarray(np.take_along_axis(values, order, 0)[middle, np.arange(k)])


@dataclass
class _Person:
    """What is known of one face track."""

    calm: CalmFace
    sampled_at_s: float = -math.inf


class DistressMeter:
    """Computes the distress score of the watched child, frame by frame.

    names, group_of, movements: the model's classes, their groups, and its movements. timeline: the
    settings that say how features are smoothed (as in `CausalSmoother`) and when a face is gone.
    Raises ModelError for a feature that the model does not have.

    features, calm: those of the last face that was read, (k,) each, in the order of the score's;
    calm is what it was compared with.
    """

    def __init__(
        self,
        score: DistressScore,
        names: Sequence[str],
        group_of: Mapping[str, str],
        movements: Sequence[str] = (),
        timeline: TimelineSettings | None = None,
    ) -> None:
        timeline = timeline or TimelineSettings()
        keys = score.features
        self._reader = FeatureReader(keys, names, group_of, movements)
        self._intercept = score.intercept
        self._raw = np.array([score.raw.get(key, 0.0) for key in keys])
        self._relative = np.array([score.relative.get(key, 0.0) for key in keys])
        self._population = _population([score.calm[key] for key in keys])
        self._smoother = CausalSmoother(timeline)
        self._max_gap_s = timeline.max_gap_s
        self._people: dict[int, _Person] = {}
        self._lone: tuple[int, float] | None = None
        self.features = self.calm = np.full(len(keys), np.nan)

    def update(
        self, time_s: float, face: Row | None, *, alone: bool, reliable: bool
    ) -> float | None:
        """Return the score of the watched face, [0, 1]; None without a face or its features.

        alone: whether it is the only face of the frame. reliable: whether the child's calm face may
        be learned from it.
        """
        found = None if face is None else self._reader.read(face)
        if face is None or found is None:
            return None
        face_id, quality = int(face["face_id"]), face.get("quality")
        self.features = self._smoother.update(face_id, time_s, found, quality).astype(np.float64)
        self.calm = self.learn(time_s, face_id, self.features, alone=alone, reliable=reliable)
        return float(np.float32(self.scores(self.features, self.calm)))

    def learn(
        self, time_s: float, face_id: int, features: Vector, *, alone: bool, reliable: bool
    ) -> Vector:
        """Return the child's calm face before this frame, (k,), and learn from the frame.

        features: (k,), smoothed. alone, reliable: as in `update`.
        """
        person = self._person(time_s, face_id, alone)
        calm = person.calm.features
        since_s = time_s - person.sampled_at_s
        if reliable and since_s >= SAMPLE_S - TIME_TOLERANCE_S:
            was_there = since_s <= SAMPLE_S + self._max_gap_s
            seconds = since_s if was_there else SAMPLE_S
            person.calm.add(features, 1 - float(self.scores(features, calm)), seconds)
            person.sampled_at_s = time_s
        return calm

    def scores(self, features: Vector, calm: Vector) -> Any:
        """Return the scores of features (…, k) against calm faces (…, k)."""
        z = self._intercept + features @ self._raw + (features - calm) @ self._relative
        return 1 / (1 + np.exp(-np.clip(z, -50.0, 50.0)))

    def _person(self, time_s: float, face_id: int, alone: bool) -> _Person:
        """Return what is known of a face: that of a track which it continues, or nothing yet."""
        if face_id not in self._people:
            before = self._lone
            follows = alone and before is not None and time_s - before[1] <= INHERITED_S
            known = self._people.get(before[0]) if before is not None and follows else None
            self._people[face_id] = known or _Person(CalmFace(self._population))
            while len(self._people) > _KEPT:
                del self._people[next(iter(self._people))]
        self._lone = (face_id, time_s) if alone else None
        return self._people[face_id]


def _population(calm: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return (k, m): each feature's quantiles, stretched to the same number m."""
    most = max(len(values) for values in calm)
    places = np.linspace(0, 1, most)
    return np.array([np.interp(places, np.linspace(0, 1, len(v)), v) for v in calm])
