"""How well a model's facial movements agree with measured ones, and what each class shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.manifest import Manifest
from moppet.datasets.rendered_truth import movement_truth
from moppet.evaluate.subgroups import Mask, Resampling
from moppet.metrics.bootstrap import Estimate, Weights, bootstrap_many, bootstrap_means
from moppet.metrics.correlation import drawn_pearson
from moppet.values import Floats
from moppet.vocabulary import MOVEMENT_OF, SIDED_MOVEMENTS

_PREFIX: Final = "m_"
_LEAST: Final = 3
"""Pearson's r of fewer rows is undefined."""


@dataclass(frozen=True)
class MovementFigures:
    """Movements of the faces that were found.

    n: faces. names: the model's movements. means: class → movement → mean. parts: subgroup →
    movement → Pearson's r with the data's own measure of it; by: column → value → the same. Only
    movements that the data measures are there; all are empty if it measures none.
    """

    n: int
    names: tuple[str, ...]
    means: dict[str, dict[str, Estimate]]
    parts: dict[str, dict[str, Estimate]]
    by: dict[str, dict[str, dict[str, Estimate]]]


def measured_movements(manifest: Manifest, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Return movement → (n,) the data's own measure of it, NaN for missing.

    It is the column m_<name> of the manifest, or of the truth.parquet beside rendered images. A
    movement of which only the sides are there is their mean.
    """
    columns = {
        column[len(_PREFIX) :]: manifest.column(column).astype(np.float64)
        for column in manifest.table.column_names
        if column[len(_PREFIX) :] in MOVEMENT_OF and column.startswith(_PREFIX)
    } or movement_truth(manifest.root, manifest.column("path"))
    for name in SIDED_MOVEMENTS:
        sides = [columns.get(f"{name}_{side}") for side in ("left", "right")]
        if name not in columns and sides[0] is not None and sides[1] is not None:
            columns[name] = (sides[0] + sides[1]) / 2
    return {name: columns[name] for name in names if name in columns}


def measure_movements(
    names: tuple[str, ...],
    movements: Floats,
    truth: Mapping[str, NDArray[Any]],
    classes: Mapping[str, Mask],
    parts: Mapping[str, Mask],
    by: Mapping[str, Mapping[str, Mask]],
    groups: NDArray[np.int64],
    resampling: Resampling,
) -> MovementFigures:
    """Return the figures of the movements (n, m), NaN for faces that were not found.

    truth: movement → (n,) its measure in the data. classes: the faces of each label. parts, by:
    masks over all faces. groups: (n,) rows of one group are drawn together.
    """

    def correlations(part: Mask) -> dict[str, Estimate]:
        pairs = {x: (movements[:, names.index(x)], truth[x]) for x in truth}

        def figures(weight: Weights) -> dict[str, Weights]:
            own = weight * part
            return {name: drawn_pearson(*pair, own) for name, pair in pairs.items()}

        counts = {x: int((part & ~np.isnan(a) & ~np.isnan(b)).sum()) for x, (a, b) in pairs.items()}
        found = bootstrap_many(figures, groups, resampling.rng, resampling.draws)
        none = Estimate(np.nan, np.nan, np.nan, 0)
        return {
            name: (found[name] if n >= _LEAST else none)._replace(n=n) for name, n in counts.items()
        }

    def means(part: Mask) -> dict[str, Estimate]:
        columns = {name: np.where(part, movements[:, i], np.nan) for i, name in enumerate(names)}
        return bootstrap_means(columns, groups, resampling.rng, resampling.draws)

    return MovementFigures(
        int((~np.isnan(movements).all(axis=1)).sum()),
        names,
        {name: means(mask) for name, mask in classes.items()},
        {name: correlations(mask) for name, mask in parts.items()} if truth else {},
        {
            column: {value: correlations(mask) for value, mask in values.items()}
            for column, values in by.items()
        }
        if truth
        else {},
    )
