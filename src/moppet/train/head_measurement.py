"""The other heads of a trained network: what is chosen on validation rows, what is reported."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.infer.expression_model import softmax
from moppet.metrics import summarize
from moppet.train.data_module import TrainingData, evaluation_crops, network_input
from moppet.train.head_targets import DATA, RENDERED, SOURCES, UNLABELED, prevalence
from moppet.train.measurement import Json, age_parts, fit_temperature, summary_values
from moppet.train.model_folder import REAL_R, RENDERED_R, onnx_heads
from moppet.train.module import HeadArrays
from moppet.train.movements import COLUMNS, correlation
from moppet.train.recipe import Recipe
from moppet.values import Floats
from moppet.vocabulary import MOVEMENT_OF, MOVEMENTS, SIDED_MOVEMENTS, SIDES

SIDES_R: Final = 0.6
"""Least correlation of the difference between left and right for giving the sides apart."""
LEAST_ROWS: Final = 50
"""Age bands and tone groups with fewer rendered faces are not judged."""
_AT_ONCE: Final = 1024
_TONES: Final = {"tones 1-3": (1, 3), "tones 4-6": (4, 6), "tones 7-10": (7, 10)}


@dataclass(frozen=True)
class Validity:
    """How well a column of movements is read in some rows; correlations are Pearson's r.

    rendered: with the truth of rendered faces; NaN without any. lowest: in the age band or tone
        group in which it is lowest, and its name. real: with Face Landmarker on real faces, the
        mean over sources by their rows; by_source: of each.
    """

    rendered: float
    lowest: float
    lowest_in: str
    real: float
    by_source: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> Json:
        """Return the figures as plain values; null for undefined."""
        plain: Json = {"lowest_in": self.lowest_in}
        for name in ("rendered", "lowest", "real"):
            plain[name] = _plain(getattr(self, name))
        return plain | {"real_by_source": {k: _plain(v) for k, v in self.by_source.items()}}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


class HeldOut:
    """What a network file reads in all rows of a split, and the truth of it.

    path: an ONNX file. detail_px: of its preprocessing. columns: of its output movements.
    """

    def __init__(
        self,
        path: Path,
        data: TrainingData,
        recipe: Recipe,
        part: str,
        columns: Sequence[str],
        detail_px: int = 0,
    ) -> None:
        assert data.heads is not None
        self.data, self.heads, self.columns = data, data.heads, tuple(columns)
        taught = np.isfinite(self.heads.movements).any(axis=1) | (self.heads.display >= 0)
        self.rows = np.flatnonzero((data.part == part) & taught)
        chunks = [self.rows[i : i + 1024] for i in range(0, len(self.rows), 1024)]
        found = [
            onnx_heads(
                path, network_input(evaluation_crops(data, c, aligned=True), recipe, detail_px)
            )
            for c in chunks
        ]
        self.found = _concatenated(found)

    @property
    def source(self) -> NDArray[np.int8]:
        """(n,) the source of each row."""
        return self.heads.source[self.rows]

    @property
    def display(self) -> NDArray[np.int64]:
        """(n,) each row's label of the display reading, -1 for none."""
        return self.heads.display[self.rows]

    def truth(self, column: str) -> Floats:
        """Return (n,) the target of a column, NaN for unknown."""
        return np.asarray(self.heads.movements[self.rows, COLUMNS.index(column)])

    def read(self, column: str) -> Floats:
        """Return (n,) what the network reads."""
        assert self.found.movements is not None
        return np.asarray(self.found.movements[:, self.columns.index(column)])

    def groups(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield the age bands and tone groups of the rendered faces that have enough rows."""
        manifest, rendered = self.data.manifest, self.source == RENDERED
        band = manifest.column("age_band")[self.rows].astype(str)
        for name in ("infant", "child", "uncertain", "adult"):
            yield name, rendered & (band == name)
        if "tone" in manifest.table.column_names:
            tone = manifest.column("tone")[self.rows].astype(float)
            for name, (low, high) in _TONES.items():
                yield name, rendered & (tone >= low) & (tone <= high)

    def validity(self, column: str) -> Validity:
        """Return how well a column is read."""
        found, true = self.read(column), self.truth(column)
        rendered = self.source == RENDERED
        by_group = {
            name: correlation(found[rows], true[rows])
            for name, rows in self.groups()
            if rows.sum() >= LEAST_ROWS
        }
        known = {name: r for name, r in by_group.items() if not math.isnan(r)}
        lowest = min(known, key=lambda name: known[name], default="")
        counts: dict[str, tuple[float, int]] = {}
        for source in (DATA, UNLABELED):
            rows = (self.source == source) & np.isfinite(true)
            r = correlation(found[rows], true[rows])
            if not math.isnan(r):
                counts[SOURCES[source]] = r, int(rows.sum())
        total = sum(n for _, n in counts.values())
        return Validity(
            correlation(found[rendered], true[rendered]) if known else math.nan,
            known.get(lowest, math.nan),
            lowest,
            sum(r * n for r, n in counts.values()) / total if total else math.nan,
            {name: r for name, (r, _) in counts.items()},
        )

    def sides_apart(self, movement: str) -> float:
        """Return the correlation of left less right with the truth, on rendered faces."""
        left, right = (f"{movement}_{side}" for side in SIDES)
        rows = self.source == RENDERED
        found = (self.read(left) - self.read(right))[rows]
        return correlation(found, (self.truth(left) - self.truth(right))[rows])


def _concatenated(found: Sequence[HeadArrays]) -> HeadArrays:
    if not found:
        return HeadArrays(np.empty((0, 0), np.float32))
    display = [one.display for one in found if one.display is not None]
    movements = [one.movements for one in found if one.movements is not None]
    return HeadArrays(
        np.concatenate([one.logits for one in found]),
        np.concatenate(display) if display else None,
        np.concatenate(movements) if movements else None,
    )


@dataclass(frozen=True)
class Chosen:
    """Which columns are exported, and why not the others: column → reason."""

    columns: tuple[str, ...]
    left_out: Mapping[str, str]
    validity: Mapping[str, Validity]


def choose_columns(held: HeldOut) -> Chosen:
    """Return the columns that are read well enough, judged on validation rows.

    A column needs `RENDERED_R` in every age band and tone group, and `REAL_R` with Face Landmarker.
    Sides are given only together, where both pass and can be read apart.
    """
    validity = {column: held.validity(column) for column in held.columns}
    left_out: dict[str, str] = {}
    for movement in MOVEMENTS:
        sides = [f"{movement}_{s}" for s in SIDES] if movement in SIDED_MOVEMENTS else []
        for column in [movement, *sides]:
            if why := _shortfall(validity[column]):
                left_out[column] = why
        if sides and not any(side in left_out for side in sides):
            apart = held.sides_apart(movement)
            if not apart >= SIDES_R:
                why = f"left and right are not read apart: r of their difference {apart:.2f}"
                left_out |= dict.fromkeys(sides, why)
        elif sides:
            other = "the other side is left out"
            left_out |= {side: left_out.get(side, other) for side in sides}
    columns = tuple(column for column in held.columns if column not in left_out)
    return Chosen(columns, left_out, validity)


def _shortfall(found: Validity) -> str:
    """Return why a column is not exported, "" if it is."""
    if math.isnan(found.rendered) or math.isnan(found.lowest):
        return "too few rendered faces show it"
    if not found.lowest >= RENDERED_R:
        return f"rendered faces, {found.lowest_in}: {found.lowest:.2f}"
    if math.isnan(found.real):
        return "Face Landmarker does not measure it"
    return "" if found.real >= REAL_R else f"real faces: {found.real:.2f}"


def loses_nothing(whole: HeldOut, small: HeldOut, most: float) -> tuple[bool, dict[str, Any]]:
    """Return whether the int8 file reads as well as the float32 one, and both files' figures.

    most: how much accuracy of the display reading, and correlation of any movement, may be lost.
    """
    notes: dict[str, Any] = {}
    lost = [0.0]
    known = whole.display >= 0
    if whole.found.display is not None and known.any():
        pair = [
            float(np.mean(one.found.display[known].argmax(axis=1) == one.display[known]))
            for one in (whole, small)
            if one.found.display is not None
        ]
        notes["display reading, validation accuracy, float32 and int8"] = (
            f"{pair[0]:.4f}, {pair[1]:.4f}"
        )
        lost.append(pair[0] - pair[1])
    if whole.columns:
        losses = [
            whole.validity(name).rendered - small.validity(name).rendered for name in whole.columns
        ]
        notes["largest loss of a movement's r by int8"] = f"{max(losses):.4f}"
        lost.append(max(losses))
    return max(lost) <= most, notes


def display_temperature(held: HeldOut, expected: NDArray[np.float64]) -> float:
    """Return the temperature of the display reading, as if classes were as frequent as expected.

    expected: (k,). Fitted on the data's validation rows, or on all where it has no such labels.
    """
    known = held.display >= 0
    own = known & (held.source == DATA)
    rows = own if own.any() else known
    label = held.display[rows]
    if held.found.display is None or not len(label):
        return 1.0
    weights = expected / prevalence(label, len(expected))
    spread = math.inf if len(label) >= 200 else 0.5
    return fit_temperature(held.found.display[rows], label, weights=weights[label], spread=spread)


def display_figures(held: HeldOut, temperature: float, observers_temperature: float) -> Json:
    """Return the figures of the display reading on test rows: of the data, by age band; of
    rendered faces, by age band and tone group; and of other faces with labels of their own kind,
    of both readings."""
    assert held.found.display is not None
    reading = softmax(held.found.display / np.float32(temperature))
    observers = softmax(held.found.logits / np.float32(observers_temperature))
    known = held.display >= 0
    figures: Json = {}
    own = np.flatnonzero(known & (held.source == DATA))
    if len(own):
        parts = age_parts(held.data, held.rows[own])
        figures["data"] = {name: _summary(held, reading, own[part]) for name, part in parts.items()}
    rendered = known & (held.source == RENDERED)
    if rendered.any():
        groups = [("all", rendered), *held.groups()]
        figures["rendered"] = {
            name: _summary(held, reading, np.flatnonzero(rows & known))
            for name, rows in groups
            if (rows & known).any()
        }
    other = np.flatnonzero(known & (held.source == UNLABELED))
    if len(other):
        figures["unlabeled"] = {
            "display": _summary(held, reading, other),
            "observers": _summary(held, observers, other),
        }
    return figures


def _summary(held: HeldOut, probabilities: Floats, rows: NDArray[np.intp]) -> Json:
    groups = held.data.manifest.groups[held.rows[rows]]
    rng = np.random.default_rng(0)
    found = summarize(probabilities[rows], held.display[rows], groups, held.data.names, rng)
    return summary_values(found)


def movement_figures(chosen: Chosen, test: HeldOut) -> Json:
    """Return what is known of each column: of the validation rows that chose it, and of test rows.

    test: what the file with all columns reads in the test rows.
    """
    return {
        column: {
            "action_unit": MOVEMENTS[MOVEMENT_OF[column]],
            "exported": column in chosen.columns,
            "left_out": chosen.left_out.get(column),
            "val": chosen.validity[column].as_json(),
            "test": test.validity(column).as_json(),
        }
        for column in test.columns
    }


def card_validity(figures: Json) -> Json:
    """Return the exported columns' figures for the card: of test rows where there are some."""
    found: Json = {}
    for column, one in figures.items():
        if one["exported"]:
            named = {"rendered": "rendered", "rendered_lowest": "lowest", "real": "real"}
            found[column] = {
                key: one["val"][name] if one["test"][name] is None else one["test"][name]
                for key, name in named.items()
            }
    return found
