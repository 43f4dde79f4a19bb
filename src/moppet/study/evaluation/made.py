"""What a reader of figures must know of how they came about."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any, Final

from moppet.data.manifest import Manifest
from moppet.infer.expressions import ExpressionModel
from moppet.study.evaluation.readings import ClassMatch, Readings
from moppet.study.evaluation.rows import Chosen

_PACKAGES: Final = ("moppet", "numpy", "onnxruntime", "opencv-python-headless", "scikit-learn")


def class_notes(match: ClassMatch, model: ExpressionModel) -> list[str]:
    renamed = [n for n in match.lacking]
    if not renamed:
        return []
    return [
        f"The data does not know {', '.join(renamed)}: the model's probability of "
        f"{'it' if len(renamed) == 1 else 'them'} is left out and the others are scaled to sum "
        f"to 1, so {model.name} is judged as if it could not answer so."
    ]


def group_notes(readings: Readings, grouped: Readings | None) -> list[str]:
    if grouped is None:
        return [
            "There are no figures by group: for the shared classes the model's card has fewer than "
            "two groups, or one class in each."
        ]
    without = len(readings) - len(grouped)
    if not without:
        return []
    return [f"{without:,} faces have a class that is in no group: the groups leave them out."]


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
            "licence": manifest.licence or None,
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
