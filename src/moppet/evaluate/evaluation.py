"""Evaluation of a model on labeled faces."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.manifest import Manifest
from moppet.evaluate.chart_data import (
    ReliabilityBin,
    map_embeddings,
    read_training,
    reliability_bins,
    roc_points,
)
from moppet.evaluate.model_comparison import compare_predictions, shared_classes
from moppet.evaluate.model_outputs import ModelOutputs, predict_rows
from moppet.evaluate.movement_figures import (
    MovementFigures,
    measure_movements,
    measured_movements,
)
from moppet.evaluate.predictions import (
    ClassMatch,
    Predictions,
    group_predictions,
    match_classes,
    take_predictions,
)
from moppet.evaluate.selection import Selection, group_duplicates, select_rows
from moppet.evaluate.subgroups import (
    Gap,
    Mask,
    Resampling,
    Subgroup,
    age_subgroups,
    column_subgroups,
    measure_gaps,
    measure_subgroup,
)
from moppet.infer.expression_model import (
    ExpressionModel,
    check_reading,
    find_model,
    load_for,
)
from moppet.infer.priors import PriorChoice
from moppet.metrics import Estimate, as_json
from moppet.metrics.bootstrap import bootstrap_means
from moppet.timeline.settings import Reading
from moppet.values import Floats, MoppetError, Progress, UsageError, no_progress


@dataclass(frozen=True)
class Level:
    """Every metric over one set of classes: the model's classes, or their groups.

    parts: "all", then faces found and not found, and age bands. by: column → value → metrics.
    missed_wrong: accuracy if every face that was not found counts as wrong.
    roc: class → points. reliability: its diagram.
    """

    names: tuple[str, ...]
    parts: dict[str, Subgroup]
    by: dict[str, dict[str, Subgroup]]
    missed_wrong: Estimate
    gaps: list[Gap]
    roc: dict[str, list[list[float]] | None]
    reliability: list[ReliabilityBin]


@dataclass(frozen=True)
class Evaluation:
    """Results of a model on a dataset; docs/guides/evaluation.md lists every key of its JSON.

    about: the model, the data and the versions. rows: how many rows there are, and how many were
    left out. notes: warnings, as sentences. classes, groups: the metrics; no groups if the model
    has none. display: classes and groups by the display reading, if both readings were asked for.
    movements: of the faces, if the model measures any. map: of the embeddings, if there is one.
    mistakes: the most confident ones first. against: the comparison with a second model.
    """

    about: dict[str, Any]
    rows: dict[str, Any]
    notes: list[str]
    classes: Level
    groups: Level | None
    group_of: dict[str, str]
    training: dict[str, Any] | None
    map: dict[str, Any] | None
    mistakes: list[dict[str, Any]]
    against: dict[str, Any] | None
    display: dict[str, Level | None] | None = None
    movements: MovementFigures | None = None

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, None for what is undefined."""
        return dict(as_json(self))


_PACKAGES: Final = ("moppet", "numpy", "onnxruntime", "opencv-python-headless", "scikit-learn")


def _class_notes(match: ClassMatch, model: ExpressionModel) -> list[str]:
    if not match.lacking:
        return []
    one = len(match.lacking) == 1
    return [
        f"The data does not contain {', '.join(match.lacking)}: the model's probability of "
        f"{'it' if one else 'them'} is left out and the others are scaled to sum to 1, so "
        f"{model.name} is evaluated as if it did not have "
        f"{'this class' if one else 'these classes'}."
    ]


def _without_group(
    predictions: Predictions, grouped: Predictions, group_of: Mapping[str, str]
) -> dict[str, int]:
    """Count the faces that the figures by group leave out: for their label, or the prediction."""
    grouped_class = np.array([name in group_of for name in predictions.names])
    labels = int((~grouped_class[predictions.label]).sum())
    return {"label": labels, "prediction": len(predictions) - labels - len(grouped)}


def _group_notes(without: Mapping[str, int] | None) -> list[str]:
    if without is None:
        return [
            "There are no figures by group: the shared classes belong to fewer than two groups of "
            "the model card, or each group has only one of them."
        ]
    if not any(without.values()):
        return []
    return [
        f"The figures by group leave out {without['label']:,} faces labeled with a class that has "
        f"no group, and {without['prediction']:,} faces for which such classes are together more "
        "probable than any group, as in the timeline."
    ]


def _describe(
    model: ExpressionModel,
    manifest: Manifest,
    selection: Selection,
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
            "license": card.get("license"),
            "training_data": card.get("training_data"),
            "limits": card.get("limits"),
        },
        "data": {
            "sources": sorted({s for s in manifest.column("source") if s}),
            "classes": list(manifest.names),
            "license": manifest.license or None,
        },
        "split": selection.split,
        "by": list(by),
        "intervals": f"95 %, bootstrap over groups, {draws:,} draws, seed {seed}",
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


SEED: Final = 0
DRAWS: Final = 1000
MOST_MISTAKES: Final = 60


def evaluate(
    model: str | Path,
    manifest: Manifest,
    *,
    split: str | None = None,
    by: Sequence[str] = (),
    against: str | Path | None = None,
    reading: Reading = "observers",
    prior: PriorChoice = "natural",
    cache: Path | None = None,
    progress: Progress = no_progress,
    seed: int = SEED,
    draws: int = DRAWS,
) -> Evaluation:
    """Return the metrics of a model on the labeled faces of a manifest, with 95 % intervals.

    model, against: a bundled model's name, or a model folder.
    split: the rows to use; None takes "test" if the manifest has it, else all rows, like "all".
    by: columns that define subgroups. cache: see `find_manifest_faces`.
    reading: of the model's two, the one that is measured; "both" adds the display reading.
    prior: see `load_model`; "estimate" estimates it from these faces, without their labels.
    progress: called with what is being done, how many images are done, and their total.
    Images that cannot be read are left out, and a note names them.
    Raises UsageError for an unknown split or column, MoppetError if model and data share too few
    classes, no row has a label, or no image can be read.
    """
    folder = find_model(model)
    first, training = load_for(folder, prior), read_training(folder)
    check_reading(first, reading)
    match = match_classes(first.names, manifest.names)
    second = None if against is None else _second(against, first, match, manifest, prior)
    selection = select_rows(manifest, split, match)
    _by_column(selection, by)  # a column that is not there is refused before the long outputs
    models = [first] if second is None else [first, second.model]
    selection, outputs = predict_rows(selection, models, prior, cache, progress)
    first = outputs.models[0]
    selection = group_duplicates(selection, manifest, progress)
    predictions = take_predictions(
        outputs.read_as(reading), match, selection.manifest, selection.groups
    )
    group_of = {name: first.group_of[name] for name in match.names if name in first.group_of}
    grouped = group_predictions(predictions, group_of)
    without = None if grouped is None else _without_group(predictions, grouped, group_of)
    subgroups = _subgroups(selection, by, outputs, Resampling(seed, draws))
    drawn, why = _map(
        outputs.scores[0].embeddings, predictions, group_of, np.random.default_rng(seed)
    )
    notes = [*_class_notes(match, first), *outputs.notes(reading, prior), *selection.notes]
    return Evaluation(
        about=_describe(first, manifest, selection, by, seed, draws)
        | {"reading": reading, "prior": outputs.describe_prior(prior)},
        rows={
            **selection.counts,
            "faces_found": int(subgroups.found.sum()),
            "faces_found_at_default_thresholds": int((outputs.attempt == 0).sum()),
            "without_group": without,
        },
        notes=[*notes, *_group_notes(without), *why],
        classes=_level(predictions, subgroups),
        groups=None if grouped is None else _level(grouped, subgroups),
        group_of=group_of,
        training=training,
        map=drawn,
        mistakes=_mistakes(predictions, selection, outputs.attempt),
        against=_compared(predictions, second, outputs, reading, selection, subgroups),
        display=_display(match, group_of, selection, outputs, subgroups, reading),
        movements=_movements(predictions, selection, outputs, subgroups),
    )


def _display(
    match: ClassMatch,
    group_of: Mapping[str, str],
    selection: Selection,
    outputs: ModelOutputs,
    subgroups: _Subgroups,
    reading: Reading,
) -> dict[str, Level | None] | None:
    """Return the levels of the display reading on the same faces, if both were asked for."""
    if reading != "both":
        return None
    found = take_predictions(
        outputs.read_as("display"), match, selection.manifest, selection.groups
    )
    grouped = group_predictions(found, group_of)
    return {
        "classes": _level(found, subgroups),
        "groups": None if grouped is None else _level(grouped, subgroups),
    }


def _movements(
    predictions: Predictions,
    selection: Selection,
    outputs: ModelOutputs,
    subgroups: _Subgroups,
) -> MovementFigures | None:
    scores = outputs.scores[0]
    if not scores.movement_names:
        return None
    label = np.full(len(subgroups.found), -1)
    label[predictions.rows] = predictions.label
    return measure_movements(
        scores.movement_names,
        np.where(subgroups.found[:, None], scores.movements, np.float32(np.nan)),
        measured_movements(selection.manifest, scores.movement_names),
        {name: label == i for i, name in enumerate(predictions.names)},
        {"all": np.ones(len(label), bool)} | subgroups.ages,
        subgroups.by,
        selection.groups,
        subgroups.resampling,
    )


def _by_column(selection: Selection, by: Sequence[str]) -> dict[str, dict[str, Mask]]:
    return {column: column_subgroups(selection.manifest, column) for column in by}


def _subgroups(
    selection: Selection, by: Sequence[str], outputs: ModelOutputs, resampling: Resampling
) -> _Subgroups:
    bands = selection.manifest.column("age_band")
    found = outputs.attempt >= 0
    return _Subgroups(found, age_subgroups(bands), _by_column(selection, by), bands, resampling)


class _Second(NamedTuple):
    """The model to compare with, and its classes by the first model's names."""

    model: ExpressionModel
    match: ClassMatch


def _second(
    against: str | Path,
    first: ExpressionModel,
    match: ClassMatch,
    manifest: Manifest,
    prior: PriorChoice,
) -> _Second:
    model = load_for(against, prior)
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
    predictions: Predictions,
    second: _Second | None,
    outputs: ModelOutputs,
    reading: Reading,
    selection: Selection,
    subgroups: _Subgroups,
) -> dict[str, Any] | None:
    if second is None:
        return None
    theirs = take_predictions(
        outputs.read_as(reading, of=1),
        *(second.match, selection.manifest, selection.groups),
    )
    comparison = compare_predictions(predictions, theirs, subgroups.ages, subgroups.resampling)
    called = dict(zip(second.match.of_model, second.match.names, strict=True))
    names = enumerate(second.model.names)
    return {
        "model": {"name": second.model.name, "sha256": second.model.sha256},
        **as_json(comparison),
        "second_left_out": [x for i, x in names if called.get(i) not in comparison.names],
        "faces_left_out": len(predictions) - comparison.n,
    }


class _Subgroups(NamedTuple):
    """Masks over all faces, and how intervals are drawn."""

    found: Mask
    ages: dict[str, Mask]
    by: dict[str, dict[str, Mask]]
    bands: NDArray[Any]
    resampling: Resampling


def _level(predictions: Predictions, subgroups: _Subgroups) -> Level:
    resampling = subgroups.resampling

    def measure(part: Mask) -> Subgroup:
        return measure_subgroup(predictions.within(part), resampling)

    looked_at = {"all": np.ones(len(subgroups.found), bool)}
    if not subgroups.found.all():
        looked_at |= {"face found": subgroups.found, "no face found": ~subgroups.found}
    right = predictions.correct & subgroups.found[predictions.rows]
    return Level(
        names=predictions.names,
        parts={name: measure(mask) for name, mask in (looked_at | subgroups.ages).items()},
        by={
            column: {value: measure(mask) for value, mask in parts.items()}
            for column, parts in subgroups.by.items()
        },
        missed_wrong=bootstrap_means(
            {"accuracy": right}, predictions.groups, resampling.rng, resampling.draws
        )["accuracy"],
        gaps=measure_gaps(predictions, subgroups.bands, resampling),
        roc=roc_points(predictions),
        reliability=reliability_bins(predictions, resampling),
    )


def _map(
    embeddings: Floats,
    predictions: Predictions,
    group_of: dict[str, str],
    rng: np.random.Generator,
) -> tuple[dict[str, Any] | None, list[str]]:
    """The map as plain values, or None and the reason as a note."""
    try:
        drawn = map_embeddings(embeddings[predictions.rows], rng)
    except MoppetError as error:
        return None, [str(error)]
    label = [predictions.names[i] for i in predictions.label[drawn.rows]]
    return {
        "method": drawn.method,
        "n": len(label),
        "x": drawn.points[:, 0].round(4).tolist(),
        "y": drawn.points[:, 1].round(4).tolist(),
        "label": label,
        "group": [group_of.get(name) for name in label],
    }, []


def _mistakes(
    predictions: Predictions, selection: Selection, attempt: NDArray[np.int8]
) -> list[dict[str, Any]]:
    """The mistakes, those with the highest probability of a wrong class first."""
    p, guess = predictions.probabilities, predictions.predicted
    wrong = np.flatnonzero(~predictions.correct)
    order = wrong[np.argsort(-p[wrong, guess[wrong]], kind="stable")][:MOST_MISTAKES]
    columns = selection.manifest.table.select(["path", "array_row", "time_s", "age_band"])
    plain = columns.take(predictions.rows[order]).to_pylist()
    on_label = predictions.votes_on_label()
    return [
        {
            "row": int(selection.rows[predictions.rows[i]]),
            **facts,
            "label": predictions.names[predictions.label[i]],
            "read_as": predictions.names[guess[i]],
            "confidence": float(p[i, guess[i]]),
            "p_label": float(p[i, predictions.label[i]]),
            "votes_on_label": None if np.isnan(on_label[i]) else float(on_label[i]),
            "face_found": bool(attempt[predictions.rows[i]] >= 0),
        }
        for i, facts in zip(order.tolist(), plain, strict=True)
    ]
