"""The points of curves that a page draws: ROC, reliability, and the epochs of a training."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.evaluate.predictions import Readings
from moppet.metrics import Estimate, Reliability, as_json, bootstrap_many, reliability, roc_curve
from moppet.metrics.bootstrap import Weights, divide, drawn_sums
from moppet.values import ModelError
from moppet.vocabulary import current_key

BINS: Final = 15
_ROC_STEPS: Final = 120


@dataclass(frozen=True)
class Bins:
    """A reliability diagram: points, and each bin's accuracy with its interval."""

    points: Reliability
    accuracy: list[Estimate]

    def as_json(self) -> list[dict[str, Any]]:
        """Return one dict a bin, None for what is undefined."""
        points = self.points
        return [
            {
                "low": float(low),
                "high": float(high),
                "confidence": number_or_none(confidence),
                "accuracy": as_json(accuracy),
            }
            for low, high, confidence, accuracy in zip(
                points.low, points.high, points.confidence, self.accuracy, strict=True
            )
        ]


def reliability_bins(readings: Readings, *, seed: int = 0, draws: int = 1000) -> Bins:
    """Return accuracy by confidence in 15 equal bins, each with its interval and rows."""
    points = reliability(readings.probabilities, readings.label, BINS)
    confidence = readings.probabilities.max(axis=1)
    which = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    right = readings.right.astype(np.float64)

    def drawn(weight: Weights) -> dict[str, NDArray[np.float64]]:
        shares = divide(drawn_sums(weight * right, which, BINS), drawn_sums(weight, which, BINS))
        return {str(number): shares[:, number] for number in range(BINS)}

    found = bootstrap_many(drawn, readings.groups, np.random.default_rng(seed), draws)
    accuracy = [found[str(i)]._replace(n=int(points.rows[i])) for i in range(BINS)]
    return Bins(points, accuracy)


def roc_points(readings: Readings) -> dict[str, list[list[float]] | None]:
    """Return each class's ROC against the others as [false, true positive rate] points.

    Thinned: no point of the whole curve is farther than 1/120 from a line between two of these.
    None for a class that no face or every face has.
    """
    points: dict[str, list[list[float]] | None] = {}
    for number, name in enumerate(readings.names):
        positive = readings.label == number
        if not positive.any() or positive.all():
            points[name] = None
            continue
        curve = roc_curve(readings.probabilities[:, number], positive)
        x, y = curve.false_positive_rate, curve.true_positive_rate
        step = np.floor((x + y) * _ROC_STEPS + 1e-9)
        keep = np.r_[True, step[1:] != step[:-1]] | np.r_[step[1:] != step[:-1], True]
        points[name] = [
            [round(float(a), 5), round(float(b), 5)] for a, b in zip(x[keep], y[keep], strict=True)
        ]
    return points


def read_training(folder: Path) -> dict[str, Any] | None:
    """Return the epochs of a model folder's training.csv, column by column; None without one.

    Keys: "columns", each a list with None where the file has no number, and "best_epoch", the one
    with the smallest loss on the rows set aside. Raises ModelError for a file that is no such
    table.
    """
    path = folder / "training.csv"
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = {
            current_key(name): [number_or_none(float(row[name] or "nan")) for row in rows]
            for name in rows[0]
        }
        epochs = columns["epoch"]
    except (OSError, csv.Error, UnicodeDecodeError, ValueError, TypeError, KeyError, IndexError):
        raise ModelError(
            f"{path} is no table of a training's epochs (epoch,train_loss,…): take it away, or "
            "get the model folder again."
        ) from None
    losses = columns.get("val_loss", [None] * len(epochs))
    known = [(x, epoch) for x, epoch in zip(losses, epochs, strict=True) if x is not None]
    return {"columns": columns, "best_epoch": min(known)[1] if known else None}


def number_or_none(value: float) -> float | None:
    """Return a finite number, None for any other."""
    return float(value) if math.isfinite(value) else None
