"""What a reader of a quality report must know of these figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from moppet.synthesise.measures.agreement import Agreement
from moppet.synthesise.measures.comparison import Comparison
from moppet.synthesise.measures.memory import LEAST_REAL, Memory

FEW: Final = 50


def quality_notes(
    rows: Mapping[str, Any],
    of_class: Mapping[str, Comparison | None],
    everything: Comparison,
    memory: Memory,
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


def _memory_notes(memory: Memory) -> Iterator[str]:
    n, alarms = len(memory.alarm), int(memory.alarm.sum())
    if alarms:
        yield (
            f"{alarms:,} of {n:,} made faces are nearly a real face of the training set. Showing "
            "one may show a real person; they are left out of kept.parquet."
        )
    if math.isnan(memory.limit):
        yield (
            f"With fewer than {LEAST_REAL} real people or pictures no distance tells a repeated "
            "face from a new one: only copies of whole pictures raise the alarm."
        )


def _row_notes(rows: Mapping[str, Any]) -> Iterator[str]:
    if not rows["marked"]:
        yield (
            "The made pictures do not say what made them (no made_by): every one of them is taken "
            "for made."
        )
    if rows["without_label"]:
        yield (
            f"{rows['without_label']:,} made faces have no class. All faces are compared as they "
            "are, so that another mix of classes counts as a difference."
        )
    if rows["of_one_face"]:
        yield (
            f"{rows['of_one_face']:,} made pictures are one real face each, changed: whoever knows "
            "the child may know it again, whether or not an alarm rings. Treat them as pictures of "
            "the children that they were made of."
        )
    if not rows["real_subjects"]:
        yield (
            "The real pictures do not say whom they show. Where several show one person, the alarm "
            "for faces too near may miss most of what it would find: give --subject to `moppet "
            "synthesise`, whose manifest then says it."
        )
    if rows["real_split"] == "all":
        yield (
            "The real pictures name no training split, so all are used. Name those that the "
            "generator learned from: only with them does the alarm see every face it may repeat."
            if not rows["real_has_splits"]
            else "None of the real pictures is in split train, so all are used."
        )


def _class_notes(of_class: Mapping[str, Comparison | None]) -> Iterator[str]:
    without = [name for name, one in of_class.items() if one is None]
    if without:
        yield f"There is no real face of {', '.join(without)} to compare the made ones with."
    few = [
        f"{name} ({one.n_made} made, {one.n_real} real)"
        for name, one in of_class.items()
        if one is not None and min(one.n_made, one.n_real) < FEW
    ]
    if few:
        yield f"Few faces, so that the figures of the class are rough: {', '.join(few)}."


def _size_notes(everything: Comparison) -> Iterator[str]:
    n = min(everything.n_made, everything.n_real)
    if n <= 256:
        yield (
            f"The Fréchet distance of so few faces ({n}) comes out too high; the kernel distance "
            "has no such error."
        )


def _judge_notes(agreement: Agreement) -> Iterator[str]:
    if agreement.unknown:
        said = ", ".join(f"{name} ({n:,})" for name, n in agreement.unknown.items())
        yield f"The judge does not know {said}: these made faces are left out of the agreement."
