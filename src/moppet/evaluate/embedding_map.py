"""Embeddings of faces → a map in two dimensions, near where the network finds them alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.values import Floats, MoppetError

MOST_POINTS: Final = 2000
_LEAST_POINTS: Final = 10
_COMPONENTS: Final = 50
_PERPLEXITY: Final = 30.0


@dataclass(frozen=True)
class EmbeddingMap:
    """Where up to 2,000 faces lie on the map.

    rows: (m,) which faces. points: (m, 2) in [0, 1], without a unit: only nearness tells.
    method: how it was made.
    """

    rows: NDArray[np.intp]
    points: NDArray[np.float64]
    method: str

    def as_json(self, label: list[str], group: list[str | None]) -> dict[str, Any]:
        """Return plain values. label, group: of all faces."""
        rows = self.rows.tolist()
        return {
            "method": self.method,
            "n": len(rows),
            "x": [round(float(x), 4) for x in self.points[:, 0]],
            "y": [round(float(y), 4) for y in self.points[:, 1]],
            "label": [label[i] for i in rows],
            "group": [group[i] for i in rows],
        }


def map_embeddings(embeddings: Floats, rng: np.random.Generator) -> EmbeddingMap:
    """Return a t-SNE map (van der Maaten & Hinton 2008), started from the principal components.

    embeddings: (n, d), of which at most 2,000 rows are drawn by rng.
    Raises MoppetError where there is nothing to map or scikit-learn is missing.
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
