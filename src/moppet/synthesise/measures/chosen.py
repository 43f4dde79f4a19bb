"""Which rows are compared, and from what the figures are made."""

from __future__ import annotations

import importlib.metadata
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.data.manifest import Manifest
from moppet.data.provenance import MADE_FROM, real_rows
from moppet.infer.expressions import ExpressionModel
from moppet.synthesise.measures.divergence import Space
from moppet.values import MoppetError

TRAIN: Final = "train"
ALL: Final = "all"


def choose_rows(
    made: Manifest, real: Manifest
) -> tuple[NDArray[np.intp], NDArray[np.intp], dict[str, Any]]:
    """Return the rows of both manifests to compare, and how many there were.

    Made rows are those with `made_by`, all where no row has it; real ones those of split "train"
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
        raise MoppetError("there is no made picture to judge: the first argument holds no rows.")
    if not rows["real"]:
        raise MoppetError(
            f"there is no real picture to compare with: of {len(real):,} rows of the second "
            "argument every one is made."
            if len(real)
            else "there is no real picture to compare with: the second argument holds no rows."
        )
    return np.flatnonzero(chosen), np.flatnonzero(inside), rows


def _of_one_face(made: Manifest) -> NDArray[np.bool_]:
    """(n,) whether a row says that it was made of one picture."""
    if MADE_FROM not in made.table.column_names:
        return np.zeros(len(made), bool)
    return np.array([s is not None and len(s) == 1 for s in made.column(MADE_FROM)], bool)


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
    marked = "made_by" in made.table.column_names
    by: list[str | None] = made.column("made_by").tolist() if marked else []
    return {
        "made_by": sorted({x for x in by if x is not None}),
        "sources": sorted({s for s in real.column("source") if s}),
        "licence": real.licence or None,
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
