"""What models give for the faces of labeled images: either reading, under any prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.evaluate.predictions import face_chunks
from moppet.evaluate.selection import Selection, drop_unreadable
from moppet.infer.expression_model import ExpressionModel
from moppet.infer.priors import PriorChoice, change_prior, estimate_prior
from moppet.timeline.settings import Reading
from moppet.values import Floats, Progress, Scores


class ModelOutputs(NamedTuple):
    """models: one or two, with the prior that their scores hold for. scores: of all n faces, one a
    model. attempt: (n,), see `Faces`."""

    models: list[ExpressionModel]
    scores: list[Scores]
    attempt: NDArray[np.int8]

    def read_as(self, reading: Reading, of: int = 0) -> Floats:
        """Return the probabilities of a reading, (n, classes).

        They are the observers' for "both", and for a model that has no other. of: the model's
        place.
        """
        scores = self.scores[of]
        is_display = reading == "display" and scores.display is not None
        return scores.display if is_display and scores.display is not None else scores.probabilities

    def describe_prior(self, prior: PriorChoice) -> dict[str, Any]:
        """Return which prior was asked for, and the first model's prevalences for each reading."""
        priors = {"observers": self.models[0].prior, "display": self.models[0].display_prior}
        kind = prior if isinstance(prior, str) else "given"
        return {"kind": kind} | {name: dict(x) if x else None for name, x in priors.items()}

    def notes(self, reading: Reading, prior: PriorChoice) -> list[str]:
        """Return sentences about the reading of a second model, and an estimated prior."""
        first, *others = self.models
        notes = [
            f"{model.name} has no display reading: its observers' reading is compared with the "
            f"display reading of {first.name}."
            for model in others
            if reading == "display" and not model.has_display
        ]
        used = first.display_prior if reading == "display" else first.prior
        if prior == "estimate" and used is not None:
            shares = ", ".join(f"{name} {share:.3f}" for name, share in used.items())
            notes.append(
                "The prevalence of each class was estimated from these faces, without their "
                f"labels: {shares}."
            )
        return notes


def predict_rows(
    selection: Selection,
    models: Sequence[ExpressionModel],
    prior: PriorChoice,
    cache: Path | None,
    progress: Progress,
) -> tuple[Selection, ModelOutputs]:
    """Run the models on the images; return the rows that can be read and the models' outputs.

    prior: "estimate" changes the outputs to the prior that is estimated from these faces.
    """
    scores: list[list[Scores]] = [[] for _ in models]
    attempts, unreadable = [], list[int]()
    show = partial(progress, "faces")
    for faces, crops in face_chunks(
        selection.manifest, cache=cache, progress=show, unreadable=unreadable
    ):
        for own, model in zip(scores, models, strict=True):
            own.append(model.predict(crops))
        attempts.append(faces.attempt)
    selection = drop_unreadable(selection, unreadable)
    pairs = [(model, _joined(own)) for model, own in zip(models, scores, strict=True)]
    if prior == "estimate":
        pairs = [_with_estimated_prior(*pair) for pair in pairs]
    outputs = ModelOutputs(
        [model for model, _ in pairs], [own for _, own in pairs], np.concatenate(attempts)
    )
    return selection, outputs


def _joined(parts: Sequence[Scores]) -> Scores:
    display = [part.display for part in parts if part.display is not None]
    return replace(
        parts[0],
        probabilities=np.concatenate([part.probabilities for part in parts]),
        embeddings=np.concatenate([part.embeddings for part in parts]),
        display=np.concatenate(display) if display else None,
        movements=np.concatenate([part.movements for part in parts]),
    )


def _with_estimated_prior(model: ExpressionModel, own: Scores) -> tuple[ExpressionModel, Scores]:
    """Return a model and its scores under the prior of each reading, estimated from the scores."""
    if model.prior is not None:
        new = estimate_prior(own.probabilities, model.prior, model.names).prior
        p = change_prior(own.probabilities, model.prior, new, model.names)
        model, own = replace(model, prior=new), replace(own, probabilities=p)
    if model.display_prior is not None and own.display is not None:
        new = estimate_prior(own.display, model.display_prior, model.names).prior
        p = change_prior(own.display, model.display_prior, new, model.names)
        model, own = replace(model, display_prior=new), replace(own, display=p)
    return model, own
