"""What the charts of an evaluation show: ROC, reliability, training epochs, embedding map."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.evaluate.predictions import Predictions
from moppet.evaluate.subgroups import Resampling
from moppet.metrics import Estimate, as_json, bootstrap_many, reliability, roc_curve
from moppet.metrics.bootstrap import Weights, divide, drawn_sums
from moppet.values import Floats, ModelError, MoppetError
from moppet.vocabulary import current_key

BINS: Final = 15
_ROC_STEPS: Final = 120


class ReliabilityBin(NamedTuple):
    """A bin of confidence: its edges, mean confidence (NaN without faces), and accuracy."""

    low: float
    high: float
    confidence: float
    accuracy: Estimate


def reliability_bins(predictions: Predictions, resampling: Resampling) -> list[ReliabilityBin]:
    """Return accuracy by confidence in 15 equal bins, each with its interval and rows."""
    points = reliability(predictions.probabilities, predictions.label, BINS)
    confidence = predictions.probabilities.max(axis=1)
    which = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    right = predictions.correct.astype(np.float64)

    def drawn(weight: Weights) -> dict[str, NDArray[np.float64]]:
        shares = divide(drawn_sums(weight * right, which, BINS), drawn_sums(weight, which, BINS))
        return {str(number): shares[:, number] for number in range(BINS)}

    found = bootstrap_many(drawn, predictions.groups, resampling.rng, resampling.draws)
    accuracy = [found[str(i)]._replace(n=int(points.rows[i])) for i in range(BINS)]
    edges = points.low.tolist(), points.high.tolist(), points.confidence.tolist()
    return [ReliabilityBin(*one) for one in zip(*edges, accuracy, strict=True)]


def roc_points(predictions: Predictions) -> dict[str, list[list[float]] | None]:
    """Return each class's ROC against the others as [false, true positive rate] points.

    Reduced: no point of the whole curve is farther than 1/120 from a line between two of these.
    None for a class that no face has, or that all faces have.
    """
    points: dict[str, list[list[float]] | None] = {}
    for number, name in enumerate(predictions.names):
        positive = predictions.label == number
        if not positive.any() or positive.all():
            points[name] = None
            continue
        curve = roc_curve(predictions.probabilities[:, number], positive)
        x, y = curve.false_positive_rate, curve.true_positive_rate
        step = np.floor((x + y) * _ROC_STEPS + 1e-9)
        keep = np.r_[True, step[1:] != step[:-1]] | np.r_[step[1:] != step[:-1], True]
        points[name] = np.stack([x[keep], y[keep]], axis=1).round(5).tolist()
    return points


def read_training(folder: Path) -> dict[str, Any] | None:
    """Return the epochs of a model folder's training.csv, by column; None if there is none.

    Keys: "columns", each a list with None for missing numbers, and "best_epoch", the one with the
    lowest validation loss. Raises ModelError for a file that is not such a table.
    """
    path = folder / "training.csv"
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = {
            current_key(name): as_json([float(row[name] or "nan") for row in rows])
            for name in rows[0]
        }
        epochs = columns["epoch"]
        if None in epochs:
            raise ValueError
    except (OSError, csv.Error, UnicodeDecodeError, ValueError, TypeError, KeyError, IndexError):
        raise ModelError(
            f"{path} is not a table of training epochs (epoch,train_loss,…). Remove it, or get the "
            "model folder again."
        ) from None
    losses = columns.get("val_loss", [None] * len(epochs))
    known = [(x, epoch) for x, epoch in zip(losses, epochs, strict=True) if x is not None]
    return {"columns": columns, "best_epoch": min(known)[1] if known else None}


MOST_POINTS: Final = 2000
_LEAST_POINTS: Final = 10
_COMPONENTS: Final = 50
_PERPLEXITY: Final = 30.0


class EmbeddingMap(NamedTuple):
    """Where m faces, at most 2,000, lie on the map.

    rows: (m,) which faces. points: (m, 2) in [0, 1], without a unit: only nearness has a meaning.
    method: in words.
    """

    rows: NDArray[np.intp]
    points: NDArray[np.float64]
    method: str


def map_embeddings(embeddings: Floats, rng: np.random.Generator) -> EmbeddingMap:
    """Return a t-SNE map (van der Maaten & Hinton 2008), started from the principal components.

    embeddings: (n, d), of which at most 2,000 rows are drawn by rng.
    Raises MoppetError if there is nothing to map, or if scikit-learn is missing.
    """
    if not embeddings.shape[1]:
        raise MoppetError("The model's network gives no embedding, so there is no map of it.")
    n = len(embeddings)
    if n < _LEAST_POINTS:
        raise MoppetError(f"A map needs {_LEAST_POINTS} faces or more; there are {n}.")
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ModuleNotFoundError:
        raise MoppetError(
            "The embedding map needs scikit-learn. Install it with: pip install 'moppet[train]'"
        ) from None
    drawn = np.sort(rng.permutation(n)[:MOST_POINTS])
    seed = int(rng.integers(2**31))
    table = embeddings[drawn].astype(np.float64)
    kept = min(_COMPONENTS, *table.shape)
    if table.std() == 0:
        raise MoppetError("The model gives every face the same embedding, so there is no map.")
    reduced = PCA(kept, svd_solver="full").fit_transform(table)
    perplexity = min(_PERPLEXITY, (len(drawn) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    points = np.asarray(tsne.fit_transform(reduced), np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    span = max(float((high - low).max()), 1e-12)  # one scale, so that the map keeps its shape
    middle = (low + high) / 2
    method = (
        f"t-SNE (perplexity {perplexity:g}) of {kept} principal components of "
        f"{table.shape[1]} numbers a face"
    )
    return EmbeddingMap(drawn, 0.5 + (points - middle) / span, method)
