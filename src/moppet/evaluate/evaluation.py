"""A model and labeled faces in, an `Evaluation` of its predictions out."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.duplicates import Progress
from moppet.datasets.faces import find_manifest_faces
from moppet.datasets.manifest import Manifest
from moppet.evaluate.curves import Bins, read_training, reliability_bins, roc_points
from moppet.evaluate.embedding_map import EmbeddingMap, map_embeddings
from moppet.evaluate.model_comparison import compare_readings, shared_classes
from moppet.evaluate.predictions import (
    ClassMatch,
    Readings,
    group_readings,
    match_classes,
    take_readings,
)
from moppet.evaluate.selection import Chosen, choose_rows, join_copies, leave_out_unreadable
from moppet.evaluate.subgroups import (
    Gap,
    Mask,
    Part,
    age_parts,
    column_parts,
    measure_gaps,
    measure_part,
    share_right,
)
from moppet.infer.models import ExpressionModel, find_model, load_model
from moppet.metrics import Estimate, as_json
from moppet.values import Floats, MoppetError, UsageError


@dataclass(frozen=True)
class Level:
    """Every figure over one set of classes: the model's, or the groups they fall into.

    parts: "all", then faces found and not found, and age bands. by: column → value → figures.
    missed_wrong: accuracy with every face that was not found counted as wrong.
    roc: class → points. bins: the reliability diagram.
    """

    names: tuple[str, ...]
    parts: dict[str, Part]
    by: dict[str, dict[str, Part]]
    missed_wrong: Estimate
    gaps: list[Gap]
    roc: dict[str, list[list[float]] | None]
    bins: Bins

    def as_json(self) -> dict[str, Any]:
        """Return plain values, None for what is undefined."""
        return {
            "names": list(self.names),
            "parts": {name: part.as_json() for name, part in self.parts.items()},
            "by": {
                column: {value: part.as_json() for value, part in parts.items()}
                for column, parts in self.by.items()
            },
            "missed_wrong": as_json(self.missed_wrong),
            "gaps": [gap.as_json() for gap in self.gaps],
            "roc": self.roc,
            "reliability": self.bins.as_json(),
        }


@dataclass(frozen=True)
class Evaluation:
    """How a model reads a dataset's faces; docs/guides/evaluation.md has every key of its JSON.

    made: from what it was made. rows: how many rows there were, were left out and why.
    notes: sentences that a reader must know. classes, groups: the figures; no groups where the
    model names none. map: of the embeddings, or the reason why there is none. mistakes: the most
    confident ones first. against: the comparison with a second model, and who that is.
    """

    made: dict[str, Any]
    rows: dict[str, Any]
    notes: list[str]
    classes: Level
    groups: Level | None
    group_of: dict[str, str]
    training: dict[str, Any] | None
    map: dict[str, Any] | None
    mistakes: list[dict[str, Any]]
    against: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, None for what is undefined."""
        return {
            "made": self.made,
            "rows": self.rows,
            "notes": self.notes,
            "group_of": self.group_of,
            "classes": self.classes.as_json(),
            "groups": None if self.groups is None else self.groups.as_json(),
            "training": self.training,
            "map": self.map,
            "mistakes": self.mistakes,
            "against": self.against,
        }


_PACKAGES: Final = ("moppet", "numpy", "onnxruntime", "opencv-python-headless", "scikit-learn")


def class_notes(match: ClassMatch, model: ExpressionModel) -> list[str]:
    renamed = [n for n in match.lacking]
    if not renamed:
        return []
    return [
        f"The data does not know {', '.join(renamed)}: the model's probability of "
        f"{'it' if len(renamed) == 1 else 'them'} is left out and the others are scaled to sum "
        f"to 1, so {model.name} is evaluated as if it did not have "
        f"{'this class' if len(renamed) == 1 else 'these classes'}."
    ]


def group_notes(readings: Readings, grouped: Readings | None) -> list[str]:
    if grouped is None:
        return [
            "There are no figures by group: the shared classes belong to fewer than two groups of "
            "the model card, or each group has only one of them."
        ]
    without = len(readings) - len(grouped)
    if not without:
        return []
    return [f"{without:,} faces have a class without a group: figures by group leave them out."]


def model_facts(model: ExpressionModel) -> dict[str, Any]:
    return {"model": {"name": model.name, "sha256": model.sha256}}


def made_from(
    model: ExpressionModel,
    manifest: Manifest,
    chosen: Chosen,
    by: Sequence[str],
    seed: int,
    draws: int,
) -> dict[str, Any]:
    card = model.card
    return {
        "model": {
            "name": model.name,
            "sha256": model.sha256,
            "labels": list(model.names),
            "temperature": model.temperature,
            "licence": card.get("licence"),
            "training_data": card.get("training_data"),
            "limits": card.get("limits"),
        },
        "data": {
            "sources": sorted({s for s in manifest.column("source") if s}),
            "classes": list(manifest.names),
            "licence": manifest.license or None,
        },
        "split": chosen.split,
        "by": list(by),
        "intervals": f"95 %, bootstrap over groups, {draws:,} draws, seed {seed}",
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


SEED: Final = 0
DRAWS: Final = 1000
MOST_MISTAKES: Final = 60
_CHUNK: Final = 4096
"""Pictures whose faces are held at once: some 350 MB of cuts at most."""


def evaluate(
    model: str | Path,
    manifest: Manifest,
    *,
    split: str | None = None,
    by: Sequence[str] = (),
    against: str | Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    seed: int = SEED,
    draws: int = DRAWS,
) -> Evaluation:
    """Return how a model reads the labeled faces of a manifest, with 95 % intervals.

    model, against: a bundled model's name, or a model folder.
    split: the rows to use; None takes "test" where the manifest has it, else all; "all" all.
    by: columns whose values part the rows. cache: see `find_manifest_faces`.
    progress: called with what is being done, how many images are done, and their total.
    Images that cannot be read are left out, and a note names them.
    Raises UsageError for a split or column that is not there, MoppetError where model and data
    share too few classes, no row has a label or no image can be read.
    """
    folder = find_model(model)
    first, training = load_model(folder), read_training(folder)
    match = match_classes(first.names, manifest.names)
    second = None if against is None else _second(against, first, match, manifest)
    chosen = choose_rows(manifest, split, match)
    _parts_by(chosen, by)  # a column that is not there is refused before the long reading
    models = [first] if second is None else [first, second.model]
    lost: list[int] = []
    reading = _read(chosen.manifest, models, cache, progress, lost)
    chosen = join_copies(leave_out_unreadable(chosen, lost), manifest, progress)
    bands = chosen.manifest.column("age_band")
    readings = take_readings(reading.probabilities[0], match, chosen.manifest, chosen.groups)
    group_of = {name: first.group_of[name] for name in match.names if name in first.group_of}
    grouped = group_readings(readings, group_of)
    sides = _Sides(
        reading.attempt >= 0, age_parts(bands), _parts_by(chosen, by), bands, seed, draws
    )
    drawn, why = _map(reading.embeddings, readings, group_of, np.random.default_rng(seed))
    return Evaluation(
        made=made_from(first, manifest, chosen, by, seed, draws),
        rows=chosen.counts | _found(reading.attempt),
        notes=[*class_notes(match, first), *chosen.notes, *group_notes(readings, grouped), *why],
        classes=_level(readings, sides),
        groups=None if grouped is None else _level(grouped, sides),
        group_of=group_of,
        training=training,
        map=drawn,
        mistakes=_mistakes(readings, chosen, reading.attempt),
        against=None if second is None else _compared(readings, second, reading, chosen, sides),
    )


def _parts_by(chosen: Chosen, by: Sequence[str]) -> dict[str, dict[str, Mask]]:
    return {column: column_parts(chosen.manifest, column) for column in by}


class _Second(NamedTuple):
    """The model to compare with; its classes by the names that the first model has for them."""

    model: ExpressionModel
    match: ClassMatch


def _second(
    against: str | Path, first: ExpressionModel, match: ClassMatch, manifest: Manifest
) -> _Second:
    model = load_model(against)
    if model.sha256 == first.sha256:
        raise UsageError(
            f"--against needs another model, but {against} is the same network as the first."
        )
    own = match_classes(model.names, manifest.names)
    called = dict(zip(match.of_data, match.names, strict=True))
    names = (called.get(i, name) for i, name in zip(own.of_data, own.names, strict=True))
    renamed = replace(own, names=tuple(names))
    shared_classes(match.names, renamed.names)
    return _Second(model, renamed)


def _compared(
    readings: Readings, second: _Second, reading: _Reading, chosen: Chosen, sides: _Sides
) -> dict[str, Any]:
    theirs = take_readings(reading.probabilities[1], second.match, chosen.manifest, chosen.groups)
    comparison = compare_readings(readings, theirs, sides.ages, seed=sides.seed, draws=sides.draws)
    called = dict(zip(second.match.of_model, second.match.names, strict=True))
    theirs_only = [
        x for i, x in enumerate(second.model.names) if called.get(i) not in comparison.names
    ]
    left_out = {"second_left_out": theirs_only, "faces_left_out": len(readings) - comparison.n}
    return model_facts(second.model) | comparison.as_json() | left_out


class _Reading(NamedTuple):
    """probabilities: one (n, classes) a model. embeddings: (n, d) of the first model."""

    probabilities: list[Floats]
    embeddings: Floats
    attempt: NDArray[np.int8]


def _read(
    manifest: Manifest,
    models: Sequence[ExpressionModel],
    cache: Path | None,
    progress: Progress | None,
    lost: list[int],
) -> _Reading:
    """Read every image of a manifest, some thousand at a time; lost: takes unreadable rows."""
    n = len(manifest)
    probabilities: list[list[Floats]] = [[] for _ in models]
    embeddings, attempts = [], []
    for start in range(0, n, _CHUNK):
        part = manifest.select(np.arange(start, min(start + _CHUNK, n)))

        def report(done: int, _: int, before: int = start) -> None:
            if progress is not None:
                progress("faces", before + done, n)

        own = cache.with_name(f"{cache.stem}_{start}.npz") if cache and start else cache
        unreadable: list[int] = []
        faces = find_manifest_faces(part, cache=own, progress=report, unreadable=unreadable)
        lost += [start + row for row in unreadable]
        if not len(faces):
            continue
        crops = faces.aligned()
        for number, model in enumerate(models):
            scores = model.predict(crops)
            probabilities[number].append(scores.probabilities)
            if number == 0:
                embeddings.append(scores.embeddings)
        attempts.append(faces.attempt)
    if not attempts:
        return _Reading([], np.empty((0, 0), np.float32), np.empty(0, np.int8))
    return _Reading(
        [np.concatenate(parts) for parts in probabilities],
        np.concatenate(embeddings),
        np.concatenate(attempts),
    )


class _Sides(NamedTuple):
    """Masks over all faces looked at, and what intervals are drawn with."""

    found: Mask
    ages: dict[str, Mask]
    by: dict[str, dict[str, Mask]]
    bands: NDArray[Any]
    seed: int
    draws: int


def _level(readings: Readings, sides: _Sides) -> Level:
    def measure(part: Mask) -> Part:
        return measure_part(readings.within(part), seed=sides.seed, draws=sides.draws)

    looked_at = {"all": np.ones(len(sides.found), bool)}
    if not sides.found.all():
        looked_at |= {"face found": sides.found, "no face found": ~sides.found}
    right = readings.right & sides.found[readings.rows]
    return Level(
        names=readings.names,
        parts={name: measure(mask) for name, mask in (looked_at | sides.ages).items()},
        by={
            column: {value: measure(mask) for value, mask in parts.items()}
            for column, parts in sides.by.items()
        },
        missed_wrong=share_right(right, readings.groups, seed=sides.seed, draws=sides.draws),
        gaps=measure_gaps(readings, sides.bands, seed=sides.seed, draws=sides.draws),
        roc=roc_points(readings),
        bins=reliability_bins(readings, seed=sides.seed, draws=sides.draws),
    )


def _map(
    embeddings: Floats,
    readings: Readings,
    group_of: dict[str, str],
    rng: np.random.Generator,
) -> tuple[dict[str, Any] | None, list[str]]:
    """The map as plain values, or none and the reason why."""
    try:
        drawn: EmbeddingMap = map_embeddings(embeddings[readings.rows], rng)
    except MoppetError as error:
        return None, [str(error)]
    label = [readings.names[i] for i in readings.label]
    return drawn.as_json(label, [group_of.get(name) for name in label]), []


def _mistakes(
    readings: Readings, chosen: Chosen, attempt: NDArray[np.int8]
) -> list[dict[str, Any]]:
    """The mistakes with the highest probability of a wrong class, first."""
    p, guess = readings.probabilities, readings.guess
    wrong = np.flatnonzero(~readings.right)
    order = wrong[np.argsort(-p[wrong, guess[wrong]], kind="stable")][:MOST_MISTAKES]
    columns = chosen.manifest.table.select(["path", "array_row", "time_s", "age_band"])
    plain = columns.take(readings.rows[order]).to_pylist()
    on_label = readings.votes_on_label()
    return [
        {
            "row": int(chosen.rows[readings.rows[i]]),
            **facts,
            "label": readings.names[readings.label[i]],
            "read_as": readings.names[guess[i]],
            "confidence": float(p[i, guess[i]]),
            "p_label": float(p[i, readings.label[i]]),
            "votes_on_label": None if np.isnan(on_label[i]) else float(on_label[i]),
            "face_found": bool(attempt[readings.rows[i]] >= 0),
        }
        for i, facts in zip(order.tolist(), plain, strict=True)
    ]


def _found(attempt: NDArray[np.int8]) -> dict[str, int]:
    return {
        "faces_found": int((attempt >= 0).sum()),
        "faces_found_at_default_thresholds": int((attempt == 0).sum()),
    }
