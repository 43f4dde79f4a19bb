"""What a finished model is worth: figures on rows that neither trained nor chose it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from moppet.data.ferplus import FerPlus
from moppet.infer.expressions import ExpressionModel
from moppet.metrics import (
    accuracy,
    balanced_accuracy,
    bootstrap,
    calibration_error,
    confusion,
    macro_f1,
)
from moppet.train.dataset import evaluation_crops
from moppet.values import EXPRESSIONS, Floats

_K: Final = len(EXPRESSIONS)
BANDS: Final = {"infant": (0,), "child": (1,), "infant or child": (0, 1), "not a child": (2,)}


def fit_temperature(logits: Floats, label: NDArray[np.int8]) -> float:
    """Return the temperature with the least negative log-likelihood (Guo et al. 2017)."""
    rows = np.arange(len(label))

    def loss(log_temperature: float) -> float:
        z = logits.astype(np.float64) / np.exp(log_temperature)
        z -= z.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[rows, label]))

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
    return float(np.exp(found.x))


def measure(
    model: ExpressionModel, data: FerPlus, landmarks: Floats, attempt: NDArray[np.int8]
) -> dict[str, Any]:
    """Return the model's figures on the report rows, as plain values.

    Three ways to meet a picture: the crop as it is ("raw"); found and aligned as in video, the
    whole crop where no face is found ("aligned"); and the same with every missed face counted
    as wrong ("aligned, missed wrong"). Intervals: 95 %, bootstrap over duplicate groups.
    """
    rows = data.rows("report", labelled=True)
    label, found = data.label[rows].astype(np.int64), attempt[rows] >= 0
    figures: dict[str, Any] = {
        "rows": len(rows),
        "faces_found": int(found.sum()),
        "faces_found_at_default_thresholds": int((attempt[rows] == 0).sum()),
    }
    for view in ("raw", "aligned"):
        crops = evaluation_crops(data, landmarks, rows, aligned=view == "aligned")
        scores = model.predict(crops)
        plain = _at_temperature_one(scores.probabilities, model.temperature)
        guess = scores.probabilities.argmax(axis=1)
        figures[view] = _view_figures(data, rows, label, scores.probabilities, plain)
        if view == "aligned":
            missed_wrong = np.where(found, guess, -1)
            figures["aligned_missed_wrong"] = {
                "accuracy": _estimate(accuracy, data.group[rows], label, missed_wrong)
            }
    figures["human"] = _human_figures(data, rows, label)
    return figures


def _view_figures(
    data: FerPlus,
    rows: NDArray[np.intp],
    label: NDArray[np.int64],
    probabilities: Floats,
    uncalibrated: Floats,
) -> dict[str, Any]:
    guess = probabilities.argmax(axis=1)
    band = data.age_band[rows]
    subsets = {"all": np.arange(len(rows))}
    subsets |= {name: np.flatnonzero(np.isin(band, codes)) for name, codes in BANDS.items()}
    figures: dict[str, Any] = {}
    for name, part in subsets.items():
        t, g, groups = label[part], guess[part], data.group[rows][part]
        p, u = probabilities[part], uncalibrated[part]
        figures[name] = {
            "n": len(part),
            "accuracy": _estimate(accuracy, groups, t, g),
            "balanced_accuracy": _estimate(_balanced, groups, t, g),
            "macro_f1": _estimate(_macro_f1, groups, t, g),
            "ece": _estimate(calibration_error, groups, p, t),
            "ece_before_scaling": _estimate(calibration_error, groups, u, t),
            "recall": _recalls(t, g, groups),
            "confusion": confusion(t, g, _K).tolist(),
        }
    return figures


def _balanced(label: NDArray[np.int64], guess: NDArray[np.int64]) -> float:
    return balanced_accuracy(label, guess, _K)


def _macro_f1(label: NDArray[np.int64], guess: NDArray[np.int64]) -> float:
    return macro_f1(label, guess, _K)


def _recalls(
    label: NDArray[np.int64], guess: NDArray[np.int64], groups: NDArray[np.int64]
) -> dict[str, Any]:
    found = {}
    for k, name in enumerate(EXPRESSIONS):
        part = np.flatnonzero(label == k)
        # Among the rows of one true class the share guessed right is the recall.
        found[name] = _estimate(accuracy, groups[part], label[part], guess[part])
    return found


def _human_figures(
    data: FerPlus, rows: NDArray[np.intp], label: NDArray[np.int64]
) -> dict[str, Any]:
    """How often one rater's vote is the plurality: the share of the ten votes on the label."""
    share = data.votes[rows, label] / 10
    figures = {"all": _estimate(_mean, data.group[rows], share)}
    for name, codes in BANDS.items():
        part = np.flatnonzero(np.isin(data.age_band[rows], codes))
        figures[name] = _estimate(_mean, data.group[rows][part], share[part])
    return figures


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _estimate(
    figure: Callable[..., float], groups: NDArray[np.int64], *columns: NDArray[Any]
) -> dict[str, float | int | None]:
    """Return the figure of the columns with its interval, None for what is undefined."""

    def of_rows(rows: NDArray[np.intp]) -> float:
        return figure(*(column[rows] for column in columns))

    estimate = bootstrap(of_rows, groups, np.random.default_rng(0))
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in estimate._asdict().items()
    }


def _at_temperature_one(probabilities: Floats, temperature: float) -> Floats:
    logits = np.log(np.maximum(probabilities, 1e-30)) * temperature
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)
