"""What rows teach the heads of a network beside the observers' votes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moppet.values import Floats

DATA, RENDERED, UNLABELED = range(3)
SOURCES: Final = ("data", "rendered", "unlabeled")
_LEAST: Final = 1e-3


@dataclass(frozen=True)
class HeadTargets:
    """What n rows teach, or report, beside the observers' votes.

    source: (n,) int8 index into SOURCES: where the row is from.
    display: (n,) int64 index into the classes, what the face was meant to show; -1 for unknown.
    movements: (n, COLUMNS) float32, NaN for unknown: of rendered faces the exact truth, of others
        Face Landmarker's answers.
    """

    source: NDArray[np.int8]
    display: NDArray[np.int64]
    movements: Floats

    def rows(self, *sources: int) -> NDArray[np.bool_]:
        """Return (n,) whether each row is from one of the sources."""
        return np.isin(self.source, sources)

    def display_shifts(
        self, train: NDArray[np.bool_], classes: int, adjustment: float
    ) -> NDArray[np.float32]:
        """Return (SOURCES, classes): what is added to a source's display logits in training.

        The reading is to expect the classes as in `expected_prevalence`; a source's training rows
        show them as often as they do. The difference of both logarithms is added in training
        alone (logit adjustment, Menon et al. 2021), so that the balance of a source is not learned.
        train: (n,) the training rows. adjustment: the recipe's `display_adjustment`.
        """
        shown = [self._prevalence(train & self.rows(s), classes) for s in range(len(SOURCES))]
        meant = self.expected_prevalence(train, classes, adjustment)
        return np.asarray(np.log(shown) - np.log(meant), np.float32)

    def expected_prevalence(
        self, train: NDArray[np.bool_], classes: int, adjustment: float
    ) -> NDArray[np.float64]:
        """Return (classes,) how often the display reading expects each class; the sum is 1.

        As often as the data's training rows show it, to the power of 1 less `adjustment`.
        Without display labels of the data, those of the other sources count.
        """
        own = train & self.rows(DATA)
        own = own if (self.display[own] >= 0).any() else train
        found = self._prevalence(own, classes) ** (1 - adjustment)
        return np.asarray(found / found.sum(), np.float64)

    def _prevalence(self, rows: NDArray[np.bool_], classes: int) -> NDArray[np.float64]:
        return prevalence(self.display[rows], classes)


def prevalence(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return (classes,) how frequent each class is, never quite 0; the sum is 1.

    labels: -1 for none. Half a row is added to each class (Jeffreys' prior).
    """
    counts = np.bincount(labels[labels >= 0], minlength=classes) + 0.5
    found = np.maximum(counts / counts.sum(), _LEAST)
    return np.asarray(found / found.sum(), np.float64)
