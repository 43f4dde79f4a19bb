"""Which rows of a manifest a model is evaluated on, and notes on this selection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.duplicates import has_duplicate_groups, with_duplicate_groups
from moppet.datasets.manifest import Manifest, connect
from moppet.datasets.provenance import real_rows, rendered_rows
from moppet.datasets.readers.folder_tree import first_few
from moppet.evaluate.predictions import ClassMatch
from moppet.values import MoppetError, Progress, UsageError, nearest_name, no_progress
from moppet.vocabulary import current_key

ALL: Final = "all"
TEST: Final = "test"
FEW: Final = 50
"""With fewer faces, a note warns."""


@dataclass(frozen=True)
class Selection:
    """The labeled rows of an evaluation.

    manifest: these n rows. rows: (n,) their numbers in the whole manifest. groups: (n,) numbers;
    rows of one group (a subject, duplicates of an image) are resampled together.
    split: their split, or "all". counts: how many rows there are, and how many were left out.
    notes: warnings, as sentences.
    """

    manifest: Manifest
    rows: NDArray[np.intp]
    groups: NDArray[np.int64]
    split: str
    counts: dict[str, Any]
    notes: list[str]


def select_rows(manifest: Manifest, split: str | None, match: ClassMatch) -> Selection:
    """Return the rows of a split that carry a class of the model.

    split: None takes "test" if the data has it, else all rows; "all" takes all. Synthetic rows
        are left out, except rendered ones of data without any real image.
    Raises UsageError for an unknown split, MoppetError if no row is left.
    """
    column = manifest.column("split")
    there = _splits(column)
    split, inside = choose_split(manifest, split)
    real = real_rows(manifest)
    inside &= real if real.any() else rendered_rows(manifest)
    labels = manifest.labels
    known = np.isin(labels, match.of_data)
    unknown = {name: int((inside & (labels == i)).sum()) for i, name in enumerate(manifest.names)}
    unknown = {name: n for name, n in unknown.items() if name in match.unknown and n}
    rows = np.flatnonzero(inside & known)
    counts = {
        "in_data": len(manifest),
        "in_split": int(inside.sum()),
        "without_label": int((inside & (labels < 0)).sum()),
        "of_unknown_class": unknown,
        "duplicates": None,
        "evaluated": len(rows),
    }
    if not len(rows):
        raise MoppetError(
            f"no image of {'the data' if split == ALL else f'split {split!r}'} has a label that "
            f"the model knows: of {counts['in_split']:,} rows {counts['without_label']:,} have no "
            f"label and {sum(unknown.values()):,} another class."
        )
    groups = manifest.groups
    notes = [*_few_notes(len(rows)), *_notes(counts, split, there, _leaks(groups, rows, column))]
    return Selection(manifest.select(rows), rows, groups[rows], split, counts, notes)


def drop_unreadable(selection: Selection, lost: list[int]) -> Selection:
    """Return the rows without those whose images cannot be read; a note names them.

    lost: numbers from 0 to n - 1. Raises MoppetError if no row is left.
    """
    counts = selection.counts | {"unreadable": len(lost)}
    if not lost:
        return replace(selection, counts=counts)
    names = first_few(dict.fromkeys(selection.manifest.column("path")[sorted(lost)]))
    kept = np.delete(np.arange(len(selection.rows)), lost)
    if not len(kept):
        raise MoppetError(
            f"none of the {len(lost):,} images to evaluate can be read ({names}): "
            "`moppet data audit` lists all of them."
        )
    said = "1 image" if len(lost) == 1 else f"{len(lost):,} images"
    before = _few_notes(len(selection.rows))
    notes = [
        *_few_notes(len(kept)),
        f"{said} cannot be read and {'is' if len(lost) == 1 else 'are'} left out: {names}.",
        *(note for note in selection.notes if note not in before),
    ]
    rows, groups = selection.rows[kept], selection.groups[kept]
    counts["evaluated"] = len(kept)
    return Selection(selection.manifest.select(kept), rows, groups, selection.split, counts, notes)


def group_duplicates(
    selection: Selection, whole: Manifest, progress: Progress = no_progress
) -> Selection:
    """Return the rows with duplicates of an image in one group, if the data has no such groups.

    In the counts, `duplicates` is how many faces are duplicates, of how many images; None if the
    data lists its duplicates.
    """
    if has_duplicate_groups(whole):
        return selection
    looked = with_duplicate_groups(selection.manifest, progress=progress)
    number = looked.column("duplicate_group")
    found = {
        "faces": int((~np.isnan(number)).sum()),
        "images": len(np.unique(number[~np.isnan(number)])),
    }
    groups = connect(len(looked), [selection.groups.tolist(), looked.groups.tolist()])
    counts = selection.counts | {"duplicates": found}
    note = (
        f"The data does not list duplicates, but {found['faces']:,} of the faces are exact or near "
        f"duplicates of one another, from {found['images']:,} different images. The intervals "
        "draw the duplicates of an image together."
    )
    notes = [*selection.notes, note] if found["faces"] else selection.notes
    return replace(selection, groups=groups, counts=counts, notes=notes)


def choose_split(manifest: Manifest, split: str | None) -> tuple[str, NDArray[np.bool_]]:
    """Return the name of a split and whether each row is in it; see `select_rows`."""
    column = manifest.column("split")
    there = _splits(column)
    if split is None:
        split = TEST if TEST in there else ALL
    split = split if split in there else current_key(split)
    if split == ALL:
        return split, np.ones(len(column), bool)
    if split not in there:
        near = nearest_name(split, [*there, ALL])
        said = ", ".join(f"{name} ({n:,} rows)" for name, n in there.items())
        raise UsageError(
            f"the data has no split {split!r}"
            + (f"; did you mean {near!r}? " if near else ". ")
            + f"There is {said or 'no split at all'}; 'all' takes every row."
        )
    return split, np.asarray(column == split, bool)


def _splits(column: NDArray[Any]) -> dict[str, int]:
    return {str(s): int((column == s).sum()) for s in sorted({s for s in column if s})}


def _few_notes(n: int) -> list[str]:
    if n >= FEW:
        return []
    faces = "1 face was" if n == 1 else f"{n} faces were"
    return [f"Only {faces} evaluated: other faces of this kind can easily give other figures."]


def _notes(counts: dict[str, Any], split: str, there: dict[str, int], leaks: int) -> Iterator[str]:
    if counts["of_unknown_class"]:
        said = ", ".join(f"{name} ({n:,})" for name, n in counts["of_unknown_class"].items())
        yield (
            f"The model does not know {said}: these rows are left out. It would predict another "
            "class for each of them."
        )
    if not there:
        yield (
            "The data names no split, so all rows are used. If the model was trained on any of "
            "these images, or on other images of these people, the figures are too good."
        )
    elif split != TEST:
        used = "All rows are used, not only" if split == ALL else f"Split {split!r} is used, not"
        yield (
            f"{used} the test rows. If the model was trained or selected on such rows, the figures "
            "are too good."
        )
    if leaks:
        yield (
            f"{leaks:,} of the rows show a subject, or a duplicate of an image, that is also in "
            "another split, so the figures may be too good. `moppet data audit` lists these rows."
        )


def _leaks(groups: NDArray[np.int64], rows: NDArray[np.intp], column: NDArray[Any]) -> int:
    """Count the rows whose subject or duplicate is also in another split."""
    own = {column[i] for i in rows}
    elsewhere = np.array([s is not None and s not in own for s in column], bool)
    elsewhere[rows] = False
    return int(np.isin(groups[rows], groups[elsewhere]).sum())
