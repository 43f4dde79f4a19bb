"""Quality of synthetic faces: how similar to real ones, and whether any is a near copy."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.manifest import Manifest
from moppet.datasets.provenance import SYNTHETIC_FROM, real_rows
from moppet.evaluate.memorization import LEAST_REAL, Memorization, find_memorized
from moppet.evaluate.sample_distances import (
    Sample,
    SampleComparison,
    Space,
    compare_samples,
    fit_space,
)
from moppet.evaluate.sample_predictions import (
    Agreement,
    SampleFaces,
    in_order,
    measure_agreement,
    predict_faces,
    share,
)
from moppet.infer.expression_model import ExpressionModel, load_model
from moppet.metrics import Estimate, as_json
from moppet.values import CountProgress, ModelError, MoppetError, Progress, no_progress

TRAIN: Final = "train"
ALL: Final = "all"


def select_samples(
    synthetic: Manifest, real: Manifest
) -> tuple[NDArray[np.intp], NDArray[np.intp], dict[str, Any]]:
    """Return the rows of both manifests to compare, and counts of rows.

    Synthetic rows are those with a `generator`, or all if no row has one. Real rows are those
    without a `generator` in split "train", or in all splits if none is in "train".
    Raises MoppetError if there is no row of either kind.
    """
    marked = ~real_rows(synthetic)
    chosen = marked if marked.any() else np.ones(len(synthetic), bool)
    photographed = real_rows(real)
    split = real.column("split")
    trained = np.array([s == TRAIN for s in split], bool)
    inside = photographed & trained if (photographed & trained).any() else photographed
    rows = {
        "in_synthetic": len(synthetic),
        "synthetic": int(chosen.sum()),
        "marked": bool(marked.any()),
        "without_label": int((chosen & (synthetic.labels < 0)).sum()),
        "of_one_face": int((chosen & _of_one_face(synthetic)).sum()),
        "in_real": len(real),
        "real": int(inside.sum()),
        "real_split": TRAIN if (photographed & trained).any() else ALL,
        "real_has_splits": any(s is not None for s in split),
        "real_subjects": any(s is not None for s in real.column("subject")[inside]),
    }
    if not rows["synthetic"]:
        raise MoppetError("there is no synthetic image to measure: the first argument has no rows.")
    if not rows["real"]:
        why = f"all {len(real):,} rows of the second argument are synthetic."
        if not len(real):
            why = "the second argument has no rows."
        raise MoppetError(f"there is no real image to compare with: {why}")
    return np.flatnonzero(chosen), np.flatnonzero(inside), rows


def _of_one_face(synthetic: Manifest) -> NDArray[np.bool_]:
    """(n,) whether the row was generated from a single image."""
    if SYNTHETIC_FROM not in synthetic.table.column_names:
        return np.zeros(len(synthetic), bool)
    return np.array([s is not None and len(s) == 1 for s in synthetic.column(SYNTHETIC_FROM)], bool)


def _describe(
    synthetic: Manifest,
    real: Manifest,
    model: ExpressionModel,
    classifier: ExpressionModel,
    space: Space,
    seed: int,
    draws: int,
) -> dict[str, Any]:
    """Return data, models and settings behind the figures, as plain values."""
    marked = "generator" in synthetic.table.column_names
    by: list[str | None] = synthetic.column("generator").tolist() if marked else []
    return {
        "generators": sorted({x for x in by if x is not None}),
        "sources": sorted({s for s in real.column("source") if s}),
        "license": real.license or None,
        "model": _facts(model),
        "classifier": _facts(classifier),
        "space": {"components": space.axes.shape[1], "explained": as_json(space.explained)},
        "intervals": f"95 %; distances by {draws} half samples, shares by 1,000 bootstrap draws, "
        f"of groups; seed {seed}",
        "moppet_version": importlib.metadata.version("moppet"),
    }


def _facts(model: ExpressionModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "labels": list(model.names),
        "training_data": model.card.get("training_data"),
    }


FEW: Final = 50


def _quality_notes(
    rows: Mapping[str, Any],
    of_class: Mapping[str, SampleComparison | None],
    everything: SampleComparison,
    memory: Memorization,
    agreement: Agreement,
) -> list[str]:
    """Return notes for the reader, the most serious first."""
    return [
        *_memory_notes(memory),
        *_row_notes(rows),
        *_figure_notes(of_class, everything, agreement),
    ]


def _memory_notes(memory: Memorization) -> Iterator[str]:
    n, alarms = len(memory.alarm), int(memory.alarm.sum())
    if alarms:
        yield (
            f"{alarms:,} of {n:,} synthetic faces are close copies of real training faces. Showing "
            "one may show a real person; they are left out of kept.parquet."
        )
    if math.isnan(memory.limit):
        yield (
            f"With fewer than {LEAST_REAL} real people or images, distances cannot separate copied "
            "faces from new ones: only copies of whole images raise an alarm."
        )


def _row_notes(rows: Mapping[str, Any]) -> Iterator[str]:
    if not rows["marked"]:
        yield (
            "The synthetic images do not name their generator (no column generator): all of them "
            "are treated as synthetic."
        )
    if rows["without_label"]:
        yield (
            f"{rows['without_label']:,} synthetic faces have no class. All faces are compared as "
            "they are, so a different mix of classes counts as a difference."
        )
    if rows["of_one_face"]:
        yield (
            f"{rows['of_one_face']:,} synthetic images are altered from one real face each: people "
            "who know the child may recognize it, with or without an alarm. Treat these images "
            "like the originals."
        )
    if not rows["real_subjects"]:
        yield (
            "The real images do not identify their subjects. If several show the same person, the "
            "distance alarm can miss most copies. Use --subject with `moppet synthesize` to store "
            "the subjects in its manifest."
        )
    if rows["real_split"] == "all":
        yield (
            "The real images name no training split, so all are used. Give the images that the "
            "generator was trained on: the alarm can only find copies of images it is given."
            if not rows["real_has_splits"]
            else "None of the real images is in split train, so all are used."
        )


def _figure_notes(
    of_class: Mapping[str, SampleComparison | None],
    everything: SampleComparison,
    agreement: Agreement,
) -> Iterator[str]:
    without = [name for name, one in of_class.items() if one is None]
    if without:
        yield f"There is no real face of {', '.join(without)} to compare the synthetic ones with."
    few = [
        f"{name} ({one.n_synthetic} synthetic, {one.n_real} real)"
        for name, one in of_class.items()
        if one is not None and min(one.n_synthetic, one.n_real) < FEW
    ]
    if few:
        yield f"Few faces, so the figures of these classes are rough: {', '.join(few)}."
    n = min(everything.n_synthetic, everything.n_real)
    if n <= 256:
        yield (
            f"The Fréchet distance is overestimated for so few faces ({n}); the kernel distance "
            "is not."
        )
    if agreement.unknown:
        unknown = ", ".join(f"{name} ({n:,})" for name, n in agreement.unknown.items())
        yield f"The classifier does not know {unknown}: these faces are left out of the agreement."


SEED: Final = 0
DRAWS: Final = 100
BINS: Final = 24
"""Bins of the histogram of closeness, from 0 to 2; the last one includes higher values."""


class Detected(NamedTuple):
    """Share of images in which the detector finds a face: of all images at its default thresholds
    and at lower ones (`loosely`), and by class at the default thresholds."""

    all: Estimate
    loosely: Estimate
    of_class: dict[str, Estimate]


@dataclass(frozen=True)
class Quality:
    """Quality of synthetic faces; docs/guides/quality.md describes every key of its JSON.

    about: data, models and settings behind the figures. rows: counts of rows, and which were used.
    notes: sentences for the reader. classes: of the synthetic faces, in order.
    everything: all synthetic faces against equally many real ones of each class. of_class: class →
    its synthetic faces against all its real ones; None if the class has no real face.
    detected, real_detected: how often the detector finds a face.
    agreement, real_agreement: how often the classifier reads the intended class.
    memory: how close each synthetic face is to a real one.
    memorized: one entry for each face with an alarm, the closest first.
    keep: (rows of the synthetic manifest,) False where a face has an alarm.
    """

    about: dict[str, Any]
    rows: dict[str, Any]
    notes: list[str]
    classes: list[str]
    everything: SampleComparison
    of_class: dict[str, SampleComparison | None]
    detected: Detected
    real_detected: Detected
    agreement: Agreement
    real_agreement: Agreement
    memory: Memorization
    alarms: Estimate
    memorized: list[dict[str, Any]]
    keep: NDArray[np.bool_]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, None for what is undefined."""
        found = dict(as_json(self))
        found["all"] = found.pop("everything")
        found["memory"] = {
            "alarms": found.pop("alarms"),
            "limit": as_json(self.memory.limit),
            "real_duplicates": self.memory.real_duplicates,
            "real_compared": len(self.memory.real_closeness),
            "histogram": _histogram(self.memory),
        }
        del found["keep"]
        return found


def measure_quality(
    synthetic: Manifest,
    real: Manifest,
    *,
    model: str | Path | ExpressionModel = "default",
    classifier: str | Path | ExpressionModel | None = None,
    progress: Progress = no_progress,
    seed: int = SEED,
    draws: int = DRAWS,
) -> Quality:
    """Return the quality of synthetic faces compared with real ones.

    synthetic: manifest of synthetic faces, see `select_samples`. real: manifest of the real faces
        that the generator was trained on.
    model: its embedding is used for distances. classifier: model that reads the expressions of the
        synthetic faces; None uses `model`. Neither should be trained on the synthetic faces.
    progress: called with the current step, the number done and the total.
    Raises MoppetError if there is nothing to compare, ModelError for a model without embedding.
    """
    first = _loaded(model)
    second = first if classifier is None else _loaded(classifier)
    synthetic_rows, real_chosen, rows = select_samples(synthetic, real)
    of_synthetic = predict_faces(
        synthetic, synthetic_rows, first, second, partial(progress, "synthetic faces")
    )
    of_real = predict_faces(real, real_chosen, first, second, partial(progress, "real faces"))
    if not of_synthetic.embeddings.shape[1]:
        raise ModelError(
            f"the network of {first.name} gives no embedding, which is needed to compare faces: "
            "choose another --model."
        )
    memory = _memory(of_synthetic, of_real, seed, partial(progress, "copies"))
    classes = in_order(synthetic.names, of_synthetic.classes)
    space = fit_space(of_real.embeddings)
    everything, of_class = _compare(of_synthetic, of_real, classes, space, seed, draws, progress)
    keep = np.ones(len(synthetic), bool)
    keep[of_synthetic.rows[memory.alarm]] = False
    rng = np.random.default_rng(seed)
    rows |= {"kept": int(len(of_synthetic) - memory.alarm.sum())}
    agreements = [measure_agreement(x, second.names, classes, rng) for x in (of_synthetic, of_real)]
    detected, real_detected = (_detected(x, classes, rng) for x in (of_synthetic, of_real))
    notes = _quality_notes(rows, of_class, everything, memory, agreements[0])
    return Quality(
        about=_describe(synthetic, real, first, second, space, seed, draws),
        rows=rows,
        notes=notes,
        classes=classes,
        everything=everything,
        of_class=of_class,
        detected=detected,
        real_detected=real_detected,
        agreement=agreements[0],
        real_agreement=agreements[1],
        memory=memory,
        alarms=share(memory.alarm, of_synthetic.groups, rng),
        memorized=_memorized(memory, of_synthetic, of_real, synthetic, real),
        keep=keep,
    )


def _memory(
    synthetic: SampleFaces, real: SampleFaces, seed: int, progress: CountProgress
) -> Memorization:
    return find_memorized(
        *(synthetic.embeddings, real.embeddings, real.groups),
        np.random.default_rng(seed),
        synthetic_thumbs=synthetic.thumbs,
        real_thumbs=real.thumbs,
        progress=progress,
    )


def _loaded(model: str | Path | ExpressionModel) -> ExpressionModel:
    return model if isinstance(model, ExpressionModel) else load_model(model)


def _compare(
    synthetic: SampleFaces,
    real: SampleFaces,
    classes: list[str],
    space: Space,
    seed: int,
    draws: int,
    show: Progress,
) -> tuple[SampleComparison, dict[str, SampleComparison | None]]:
    def sample(reading: SampleFaces, rows: NDArray[np.intp]) -> Sample:
        return Sample(reading.embeddings[rows], reading.groups[rows])

    rng = np.random.default_rng(seed)
    matched = _matched(synthetic, real, rng)
    whole = compare_samples(
        sample(synthetic, matched[0]), sample(real, matched[1]), space, rng, draws
    )
    of_class: dict[str, SampleComparison | None] = {}
    for done, name in enumerate(classes, 1):
        show("figures", done, len(classes))
        rows, others = synthetic.of_class(name), real.of_class(name)
        of_class[name] = None
        if len(others):
            of_class[name] = compare_samples(
                sample(synthetic, rows),
                sample(real, others),
                space,
                np.random.default_rng(seed),
                draws,
                frechet=False,
            )
    return whole, of_class


def _matched(
    synthetic: SampleFaces, real: SampleFaces, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return equally many synthetic and real faces of each class, so that class shares do not
    matter; all faces if a synthetic face has no class, or if no class is shared."""
    pairs = [(synthetic.of_class(name), real.of_class(name)) for name in synthetic.classes]
    pairs = [(a, b) for a, b in pairs if len(a) and len(b)]
    if not pairs or any(x is None for x in synthetic.label):
        return synthetic.of_class(None), real.of_class(None)
    drawn = [[rng.permutation(x)[: min(map(len, pair))] for x in pair] for pair in pairs]
    first, second = (np.sort(np.concatenate(part)) for part in zip(*drawn, strict=True))
    return first, second


def _detected(reading: SampleFaces, classes: list[str], rng: np.random.Generator) -> Detected:
    of_class = {}
    for name in classes:
        rows = reading.of_class(name)
        of_class[name] = share(reading.found[rows], reading.groups[rows], rng)
    return Detected(
        share(reading.found, reading.groups, rng),
        share(reading.loosely, reading.groups, rng),
        of_class,
    )


def _memorized(
    memory: Memorization,
    of_synthetic: SampleFaces,
    of_real: SampleFaces,
    synthetic: Manifest,
    real: Manifest,
) -> list[dict[str, Any]]:
    alarms = np.flatnonzero(memory.alarm)
    order = alarms[np.argsort(memory.closeness[alarms], kind="stable")]
    found = []
    for i in order.tolist():
        # The copied image need not be the nearest one in the embedding.
        twin = int(memory.copy_of[i]) if memory.copy_of[i] >= 0 else int(memory.nearest[i])
        row, real_row = int(of_synthetic.rows[i]), int(of_real.rows[twin])
        found.append(
            {
                "row": row,
                "path": synthetic.table["path"][row].as_py(),
                "label": of_synthetic.label[i],
                "real_row": real_row,
                "real_path": real.table["path"][real_row].as_py(),
                "real_label": of_real.label[twin],
                "too_near": bool(memory.too_near[i]),
                "copy": bool(memory.copy_of[i] >= 0),
                "closeness": memory.closeness[i],
                "similarity": memory.similarity[i],
            }
        )
    return list(as_json(found))


def _histogram(memory: Memorization) -> dict[str, list[float]]:
    edges = np.linspace(0, 2, BINS + 1)

    def shares(values: NDArray[np.float64]) -> list[float]:
        known = np.minimum(values[~np.isnan(values)], 2 - 1e-9)
        counts = np.histogram(known, edges)[0]
        return [float(x) for x in (counts / max(len(known), 1)).round(6)]

    return {
        "edges": [float(x) for x in edges.round(6)],
        "synthetic": shares(memory.closeness),
        "real": shares(memory.real_closeness),
    }
