"""Audit: problems of a dataset that should be corrected before training."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.duplicates import DuplicateSearch, find_duplicates
from moppet.datasets.manifest import Manifest
from moppet.values import Progress, no_progress

Rows = NDArray[np.int64]
SPLITS: Final = ("split", "fold")
"""Columns with sides (parts); all rows of a group must be on one side."""


class Leak(NamedTuple):
    """Rows that belong together but are on two or more sides of a split.

    kind: the relation; "chain" is two subjects related through a duplicate without a split.
    column: the split's column.
    """

    kind: Literal["exact duplicates", "near duplicates", "subject", "chain"]
    column: str
    rows: Rows


class Disagreement(NamedTuple):
    """Duplicates of one image with different labels."""

    rows: Rows
    labels: tuple[str, ...]
    exact: bool


@dataclass(frozen=True)
class Audit:
    """The findings of an audit.

    manifest: with hashes, duplicate groups and the extra columns `readable` and, if faces were
        searched for, `face_found`.
    readable: (n,) whether the image could be read.
    faceless: rows without a detected face; None if faces were not searched for.
    exact, near: groups of rows with equal pixels, and of duplicates that are not all equal.
    mirrored: number of pairs of near duplicates that are mirror images.
    """

    manifest: Manifest
    readable: NDArray[np.bool_]
    faceless: Rows | None
    exact: tuple[Rows, ...]
    near: tuple[Rows, ...]
    mirrored: int
    leaks: tuple[Leak, ...]
    disagreements: tuple[Disagreement, ...]

    @property
    def unreadable(self) -> Rows:
        """Numbers of the rows with an unreadable image."""
        return np.flatnonzero(~self.readable)

    def counts(self, column: str, by: str = "split") -> dict[str, dict[str, int]]:
        """Return the counts of `count_rows`."""
        return count_rows(self.manifest, column, by)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON values, rows with their paths."""
        return {
            "n": len(self.manifest),
            "names": list(self.manifest.names),
            "license": self.manifest.license,
            "leaks": [leak._asdict() | {"rows": self._places(leak.rows)} for leak in self.leaks],
            "class_counts": self.counts("label"),
            "age_band_counts": self.counts("age_band"),
            "unreadable": self._places(self.unreadable),
            "faceless": None if self.faceless is None else self._places(self.faceless),
            "exact_duplicates": _size(self.exact),
            "near_duplicates": _size(self.near) | {"mirrored": self.mirrored},
            "label_disagreements": [
                d._asdict() | {"rows": self._places(d.rows)} for d in self.disagreements
            ],
            "votes": vote_entropy(self.manifest),
        }

    def _places(self, rows: Rows) -> list[dict[str, Any]]:
        columns = ["path", "array_row", "time_s", "label", "split"]
        if "fold" in self.manifest.table.column_names:
            columns.append("fold")
        found = self.manifest.table.select(columns).take(rows).to_pylist()
        kept = [{k: v for k, v in place.items() if v is not None} for place in found]
        return [{"row": row} | place for row, place in zip(rows.tolist(), kept, strict=True)]


def audit_manifest(
    manifest: Manifest, *, faces: bool = False, progress: Progress = no_progress
) -> Audit:
    """Read every image of a manifest and return the problems found.

    faces: also search for a face in each readable image (slow).
    """
    searched = find_duplicates(manifest, progress=progress)
    audited, faceless = searched.manifest, None
    if faces:
        found = _find_faces(searched, progress)
        faceless = np.flatnonzero([f is False for f in found])
        audited = audited.replace(face_found=found)
    content = audited.column("content_hash")
    groups = group_rows(audited.table["duplicate_group"].to_pylist())
    return Audit(
        manifest=audited,
        readable=searched.readable,
        faceless=faceless,
        exact=group_rows(content),
        near=tuple(rows for rows in groups if len(set(content[rows])) > 1),
        mirrored=int(searched.near.mirrored.sum()),
        leaks=find_leaks(audited),
        disagreements=_disagreements(audited, groups),
    )


def find_leaks(manifest: Manifest) -> tuple[Leak, ...]:
    """Return the leaks between the sides of `split` and `fold`; rows without a side do not count.

    The manifest must have its duplicate groups (`find_duplicates`).
    """
    subject = [
        None if s is None else (source, s)
        for source, s in zip(manifest.column("source"), manifest.column("subject"), strict=True)
    ]
    duplicates = manifest.table["duplicate_group"].to_pylist()
    content = manifest.column("content_hash")
    leaks = []
    for column in (c for c in SPLITS if c in manifest.table.column_names):
        sides = manifest.table[column].to_pylist()
        reported: set[int] = set()
        for rows in _across_sides(duplicates, sides):
            exact = any(True for _ in _across_sides(content[rows], [sides[i] for i in rows]))
            leaks.append(Leak("exact duplicates" if exact else "near duplicates", column, rows))
            reported.update(rows.tolist())
        # A manifest without duplicate groups may still have content hashes.
        for kind, keys in (("exact duplicates", content), ("subject", subject)):
            for rows in _across_sides(keys, sides):
                if kind == "subject" or not reported.issuperset(rows.tolist()):
                    leaks.append(Leak(kind, column, rows))  # type: ignore[arg-type]
                    reported.update(rows.tolist())
        for rows in group_rows(manifest.groups.tolist()):
            if len({sides[r] for r in rows} - {None}) > 1 and reported.isdisjoint(rows.tolist()):
                leaks.append(Leak("chain", column, rows))
    return tuple(leaks)


def group_rows(keys: Iterable[Hashable]) -> tuple[Rows, ...]:
    """Return the rows of each key that occurs at least twice; None is not a key."""
    members: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            members.setdefault(key, []).append(row)
    return tuple(np.array(rows, np.int64) for rows in members.values() if len(rows) > 1)


def count_rows(manifest: Manifest, column: str, by: str) -> dict[str, dict[str, int]]:
    """Return value of `column` → value of `by` → number of rows; "–" means null.

    Classes are in the manifest's order and include those without rows.
    """
    values = manifest.table[column].to_pylist()
    sides = manifest.table[by].to_pylist()
    known = list(manifest.names) if column == "label" else sorted({v for v in values if v})
    found = [*known, *([None] if None in values else [])]
    across = [*sorted({s for s in sides if s is not None}, key=str)]
    across += [None] if None in sides else []
    counts = {str(v or "–"): {"–" if s is None else str(s): 0 for s in across} for v in found}
    for value, side in zip(values, sides, strict=True):
        counts[str(value or "–")]["–" if side is None else str(side)] += 1
    return counts


def vote_entropy(manifest: Manifest) -> dict[str, Any]:
    """Return the entropy of raters' votes, in bits: 0 if all raters chose one class.

    Means are None without votes.
    """
    votes = manifest.column("votes").astype(float)
    total = np.nan_to_num(votes).sum(axis=1)
    voted = total > 0
    share = votes[voted] / total[voted, None]
    bits = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)
    labels = manifest.labels[voted]
    by_class = {name: bits[labels == i] for i, name in enumerate(manifest.names)}
    return {
        "n": int(voted.sum()),
        "mean_entropy_bits": float(bits.mean()) if len(bits) else None,
        "no_majority": int((share.max(axis=1, initial=0) <= 0.5).sum()),
        "mean_entropy_bits_by_class": {
            name: float(b.mean()) if len(b) else None for name, b in by_class.items()
        },
    }


def _across_sides(keys: Iterable[Hashable], sides: Sequence[Any]) -> Iterable[Rows]:
    """Yield the rows of each key that occurs on several sides, without rows that have no side."""
    for rows in group_rows(keys):
        placed = np.array([r for r in rows if sides[r] is not None], np.int64)
        if len({sides[r] for r in placed}) > 1:
            yield placed


def _disagreements(manifest: Manifest, groups: Sequence[Rows]) -> tuple[Disagreement, ...]:
    label, content = manifest.column("label"), manifest.column("content_hash")
    found = []
    for rows in groups:
        labeled = rows[[label[r] is not None for r in rows]]
        names = tuple(n for n in manifest.names if n in set(label[labeled]))
        if len(names) > 1:
            exact = any(len(set(label[labeled[s]])) > 1 for s in group_rows(content[labeled]))
            found.append(Disagreement(labeled, names, exact))
    return tuple(found)


def _find_faces(searched: DuplicateSearch, progress: Progress) -> list[bool | None]:
    """Return whether each image shows a face; None for unreadable images."""
    from moppet.datasets.faces import find_manifest_faces

    rows = np.flatnonzero(searched.readable)
    found: list[bool | None] = [None] * len(searched.manifest)
    if len(rows):
        faces = find_manifest_faces(
            searched.manifest.select(rows),
            progress=partial(progress, "faces"),
        )
        for row, face_found in zip(rows, faces.found, strict=True):
            found[row] = bool(face_found)
    return found


def _size(groups: Sequence[Rows]) -> dict[str, int]:
    return {"groups": len(groups), "rows": sum(map(len, groups))}
