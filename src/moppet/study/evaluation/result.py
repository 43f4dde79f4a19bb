"""Evaluation: what is known of how a model reads a data set, and its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moppet.metrics import Estimate, as_json
from moppet.study.evaluation.curves import Bins
from moppet.study.evaluation.parts import Gap, Part


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
    """How a model reads a data set's faces; docs/evaluate.md describes every key of its JSON.

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
