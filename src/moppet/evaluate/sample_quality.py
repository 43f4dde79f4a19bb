"""Quality of synthetic faces: how close to real ones, and whether too close."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.manifest import Manifest
from moppet.datasets.provenance import SYNTHETIC_FROM, real_rows
from moppet.evaluate.chart_data import number_or_none
from moppet.evaluate.memorization import LEAST_REAL, Memorization, find_memorized
from moppet.evaluate.sample_distances import Comparison, Sample, Space, compare_samples, fit_space
from moppet.evaluate.sample_predictions import (
    Agreement,
    SampleFaces,
    in_order,
    measure_agreement,
    predict_faces,
    share,
)
from moppet.infer.models import ExpressionModel, load_model
from moppet.metrics import Estimate, as_json
from moppet.values import ModelError, MoppetError

TRAIN: Final = "train"
ALL: Final = "all"


def select_rows(
    made: Manifest, real: Manifest
) -> tuple[NDArray[np.intp], NDArray[np.intp], dict[str, Any]]:
    """Return the rows of both manifests to compare, and how many there were.

    Made rows are those with `generator`, all where no row has it; real ones those of split "train"
    without it, all real ones where there is no such split. Raises MoppetError where none is left.
    """
    marked = ~real_rows(made)
    chosen = marked if marked.any() else np.ones(len(made), bool)
    photographed = real_rows(real)
    split = real.column("split")
    trained = np.array([s == TRAIN for s in split], bool)
    inside = photographed & trained if (photographed & trained).any() else photographed
    rows = {
        "in_made": len(made),
        "made": int(chosen.sum()),
        "marked": bool(marked.any()),
        "without_label": int((chosen & (made.labels < 0)).sum()),
        "of_one_face": int((chosen & _of_one_face(made)).sum()),
        "in_real": len(real),
        "real": int(inside.sum()),
        "real_split": TRAIN if (photographed & trained).any() else ALL,
        "real_has_splits": any(s is not None for s in split),
        "real_subjects": any(s is not None for s in real.column("subject")[inside]),
    }
    if not rows["made"]:
        raise MoppetError("there is no made image to judge: the first argument holds no rows.")
    if not rows["real"]:
        raise MoppetError(
            f"there is no real image to compare with: of {len(real):,} rows of the second "
            "argument every one is made."
            if len(real)
            else "there is no real image to compare with: the second argument holds no rows."
        )
    return np.flatnonzero(chosen), np.flatnonzero(inside), rows


def _of_one_face(made: Manifest) -> NDArray[np.bool_]:
    """(n,) whether a row says that it was made of one image."""
    if SYNTHETIC_FROM not in made.table.column_names:
        return np.zeros(len(made), bool)
    return np.array([s is not None and len(s) == 1 for s in made.column(SYNTHETIC_FROM)], bool)


def made_from(
    made: Manifest,
    real: Manifest,
    model: ExpressionModel,
    judge: ExpressionModel,
    space: Space,
    seed: int,
    draws: int,
) -> dict[str, Any]:
    """Return what the figures rest on, as plain values."""
    marked = "generator" in made.table.column_names
    by: list[str | None] = made.column("generator").tolist() if marked else []
    return {
        "made_by": sorted({x for x in by if x is not None}),
        "sources": sorted({s for s in real.column("source") if s}),
        "licence": real.license or None,
        "model": _facts(model),
        "judge": _facts(judge),
        "space": {
            "components": space.axes.shape[1],
            "explained": space.explained if math.isfinite(space.explained) else None,
        },
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


def quality_notes(
    rows: Mapping[str, Any],
    of_class: Mapping[str, Comparison | None],
    everything: Comparison,
    memory: Memorization,
    agreement: Agreement,
) -> list[str]:
    """Return the notes, the gravest first."""
    return [
        *_memory_notes(memory),
        *_row_notes(rows),
        *_class_notes(of_class),
        *_size_notes(everything),
        *_judge_notes(agreement),
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


def _class_notes(of_class: Mapping[str, Comparison | None]) -> Iterator[str]:
    without = [name for name, one in of_class.items() if one is None]
    if without:
        yield f"There is no real face of {', '.join(without)} to compare the synthetic ones with."
    few = [
        f"{name} ({one.n_made} synthetic, {one.n_real} real)"
        for name, one in of_class.items()
        if one is not None and min(one.n_made, one.n_real) < FEW
    ]
    if few:
        yield f"Few faces, so the figures of these classes are rough: {', '.join(few)}."


def _size_notes(everything: Comparison) -> Iterator[str]:
    n = min(everything.n_made, everything.n_real)
    if n <= 256:
        yield (
            f"The Fréchet distance is overestimated for so few faces ({n}); the kernel distance "
            "is not."
        )


def _judge_notes(agreement: Agreement) -> Iterator[str]:
    if agreement.unknown:
        said = ", ".join(f"{name} ({n:,})" for name, n in agreement.unknown.items())
        yield f"The judge does not know {said}: these faces are left out of the agreement."


Progress = Callable[[str, int, int], None]
SEED: Final = 0
DRAWS: Final = 100
BINS: Final = 24
"""Of the histogram of closeness, from 0 to 2; the last one holds what is above."""


class Detected(NamedTuple):
    """Share of images in which the detector finds a face: of all at its default thresholds and
    at looser ones, and by class at the default ones."""

    all: Estimate
    loosely: Estimate
    of_class: dict[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """Return plain values, None for what is undefined."""
        return {
            "all": as_json(self.all),
            "loosely": as_json(self.loosely),
            "of_class": {name: as_json(e) for name, e in self.of_class.items()},
        }


@dataclass(frozen=True)
class Quality:
    """What there is to say of made faces; docs/guides/quality.md describes every key of its JSON.

    made: from what the figures were made. rows: how many rows there were, and which were used.
    notes: sentences that a reader must know. classes: of the made faces, in order.
    everything: all made faces against as many real ones of each class. of_class: class → its made
    faces against all its real ones; None where there is no real face of it.
    detected, real_detected: does the detector find a face?
    agreement, real_agreement: the judge's. memory: how near each made face comes to a real one.
    memorized: one entry for each face with an alarm, the nearest first.
    keep: (rows of the made manifest,) False where a face has an alarm.
    """

    made: dict[str, Any]
    rows: dict[str, Any]
    notes: list[str]
    classes: list[str]
    everything: Comparison
    of_class: dict[str, Comparison | None]
    detected: Detected
    real_detected: Detected
    agreement: Agreement
    real_agreement: Agreement
    memory: Memorization
    alarms: Estimate
    memorised: list[dict[str, Any]]
    keep: NDArray[np.bool_]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, None for what is undefined."""
        return {
            "made": self.made,
            "rows": self.rows,
            "notes": self.notes,
            "classes": self.classes,
            "all": self.everything.as_json(),
            "of_class": {k: None if c is None else c.as_json() for k, c in self.of_class.items()},
            "detected": self.detected.as_json(),
            "real_detected": self.real_detected.as_json(),
            "agreement": self.agreement.as_json(),
            "real_agreement": self.real_agreement.as_json(),
            "memory": {
                "alarms": as_json(self.alarms),
                "limit": number_or_none(self.memory.limit),
                "real_twins": self.memory.twins,
                "real_compared": len(self.memory.own),
                "histogram": _histogram(self.memory),
            },
            "memorised": self.memorised,
        }


def measure_quality(
    made: Manifest,
    real: Manifest,
    *,
    model: str | Path | ExpressionModel = "default",
    judge: str | Path | ExpressionModel | None = None,
    progress: Progress | None = None,
    seed: int = SEED,
    draws: int = DRAWS,
) -> Quality:
    """Return how good made faces are beside the real ones that they were made to resemble.

    made: its rows with `generator`; all of them where it has no such column.
    real: the rows that a generator learned from: split "train" where there is one, never made ones.
    model: gives the embedding that distances are measured in. judge: reads what was made; None
        takes the same model. Neither should have learned from the made faces.
    progress: called with what is done, how many, and of how many.
    Raises MoppetError where there is nothing to compare, ModelError for a model without embedding.
    """
    first = model if isinstance(model, ExpressionModel) else load_model(model)
    second = first
    if judge is not None:
        second = judge if isinstance(judge, ExpressionModel) else load_model(judge)
    made_rows, real_chosen, rows = select_rows(made, real)
    show = progress or (lambda what, done, total: None)
    of_made = predict_faces(
        made, made_rows, first, second, lambda done, n: show("made faces", done, n)
    )
    of_real = predict_faces(
        real, real_chosen, first, second, lambda done, n: show("real faces", done, n)
    )
    if not of_made.embeddings.shape[1]:
        raise ModelError(
            f"the network of {first.name} gives no embedding, and made faces are compared with "
            "real ones in it: take another --model."
        )
    memory = find_memorized(
        *(of_made.embeddings, of_real.embeddings, of_real.groups),
        np.random.default_rng(seed),
        made_thumbs=of_made.thumbs,
        real_thumbs=of_real.thumbs,
        progress=lambda done, n: show("copies", done, n),
    )
    classes = in_order(made.names, of_made.classes)
    space = fit_space(of_real.embeddings)
    everything, of_class = _compare(of_made, of_real, classes, space, seed, draws, show)
    keep = np.ones(len(made), bool)
    keep[of_made.rows[memory.alarm]] = False
    rng = np.random.default_rng(seed)
    rows |= {"kept": int(len(of_made) - memory.alarm.sum())}
    agreements = [measure_agreement(x, second.names, classes, rng) for x in (of_made, of_real)]
    detected, real_detected = (_detected(x, classes, rng) for x in (of_made, of_real))
    notes = quality_notes(rows, of_class, everything, memory, agreements[0])
    return Quality(
        made=made_from(made, real, first, second, space, seed, draws),
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
        alarms=share(memory.alarm, of_made.groups, rng),
        memorised=_memorized(memory, of_made, of_real, made, real),
        keep=keep,
    )


def _compare(
    made: SampleFaces,
    real: SampleFaces,
    classes: list[str],
    space: Space,
    seed: int,
    draws: int,
    show: Progress,
) -> tuple[Comparison, dict[str, Comparison | None]]:
    def sample(reading: SampleFaces, rows: NDArray[np.intp]) -> Sample:
        return Sample(reading.embeddings[rows], reading.groups[rows])

    rng = np.random.default_rng(seed)
    matched = _matched(made, real, rng)
    whole = compare_samples(sample(made, matched[0]), sample(real, matched[1]), space, rng, draws)
    of_class: dict[str, Comparison | None] = {}
    for done, name in enumerate(classes, 1):
        show("figures", done, len(classes))
        rows, others = made.of_class(name), real.of_class(name)
        of_class[name] = None
        if len(others):
            of_class[name] = compare_samples(
                sample(made, rows),
                sample(real, others),
                space,
                np.random.default_rng(seed),
                draws,
                frechet=False,
            )
    return whole, of_class


def _matched(
    made: SampleFaces, real: SampleFaces, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """As many made as real faces of each class, so that only their looks are compared; all faces
    where a made one has no class, or no class is shared."""
    pairs = [(made.of_class(name), real.of_class(name)) for name in made.classes]
    pairs = [(a, b) for a, b in pairs if len(a) and len(b)]
    if not pairs or any(x is None for x in made.label):
        return made.of_class(None), real.of_class(None)
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
    memory: Memorization, of_made: SampleFaces, of_real: SampleFaces, made: Manifest, real: Manifest
) -> list[dict[str, Any]]:
    alarms = np.flatnonzero(memory.alarm)
    order = alarms[np.argsort(memory.closeness[alarms], kind="stable")]
    found = []
    for i in order.tolist():
        # A copy is shown beside what it copies, which need not be the nearest in the embedding.
        twin = int(memory.copy_of[i]) if memory.copy_of[i] >= 0 else int(memory.nearest[i])
        row, real_row = int(of_made.rows[i]), int(of_real.rows[twin])
        found.append(
            {
                "row": row,
                "path": made.table["path"][row].as_py(),
                "label": of_made.label[i],
                "real_row": real_row,
                "real_path": real.table["path"][real_row].as_py(),
                "real_label": of_real.label[twin],
                "too_near": bool(memory.too_near[i]),
                "copy": bool(memory.copy_of[i] >= 0),
                "closeness": number_or_none(memory.closeness[i]),
                "likeness": number_or_none(memory.likeness[i]),
            }
        )
    return found


def _histogram(memory: Memorization) -> dict[str, list[float]]:
    edges = np.linspace(0, 2, BINS + 1)

    def shares(values: NDArray[np.float64]) -> list[float]:
        known = np.minimum(values[~np.isnan(values)], 2 - 1e-9)
        counts = np.histogram(known, edges)[0]
        return [float(x) for x in (counts / max(len(known), 1)).round(6)]

    return {
        "edges": [float(x) for x in edges.round(6)],
        "made": shares(memory.closeness),
        "real": shares(memory.own),
    }
