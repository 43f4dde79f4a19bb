"""Audit: what is wrong with a set of images before anything is learned from it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.duplicates import Copies, Progress, find_copies
from moppet.datasets.manifest import Manifest

Rows = NDArray[np.int64]
SPLITS: Final = ("split", "fold")
"""Columns that no group of rows may stand on two sides of."""


class Leak(NamedTuple):
    """Rows that belong together and stand on two or more sides of a split.

    kind: what ties them; "chain" is a subject tied to another by a copy that has no split itself.
    column: the split's column.
    """

    kind: Literal["exact copies", "near duplicates", "subject", "chain"]
    column: str
    rows: Rows


class Disagreement(NamedTuple):
    """Copies of one image with different labels."""

    rows: Rows
    labels: tuple[str, ...]
    exact: bool


@dataclass(frozen=True)
class Audit:
    """What an audit saw.

    manifest: with hashes, duplicate groups and the extra columns `readable` and, where faces were
        looked for, `face_found`.
    readable: (n,) whether the image could be read.
    faceless: rows in whose image no face was found; None if nobody looked.
    exact, near: groups of rows with equal pixels, and of copies that are not all equal.
    mirrored: how many near duplicates were joined as mirror images.
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
        """Rows whose image could not be read."""
        return np.flatnonzero(~self.readable)

    def counts(self, column: str, by: str = "split") -> dict[str, dict[str, int]]:
        """Return rows by value of a column and of another; "–" stands for null."""
        return count_rows(self.manifest, column, by)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON takes it, rows with their paths."""
        return {
            "n": len(self.manifest),
            "names": list(self.manifest.names),
            "license": self.manifest.license,
            "leaks": [leak._asdict() | {"rows": self._places(leak.rows)} for leak in self.leaks],
            "class_counts": self.counts("label"),
            "age_band_counts": self.counts("age_band"),
            "unreadable": self._places(self.unreadable),
            "faceless": None if self.faceless is None else self._places(self.faceless),
            "exact_copies": _size(self.exact),
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
    manifest: Manifest, *, faces: bool = False, progress: Progress | None = None
) -> Audit:
    """Look at every image of a manifest and return what is wrong with it.

    faces: also look for a face in each readable image (slow).
    """
    copies = find_copies(manifest, progress=progress)
    looked, faceless = copies.manifest, None
    if faces:
        found = _find_faces(copies, progress)
        faceless = np.flatnonzero([f is False for f in found])
        looked = looked.replace(face_found=found)
    content = looked.column("content_hash")
    duplicate = looked.table["duplicate_group"].to_pylist()
    groups = gather(duplicate)
    return Audit(
        manifest=looked,
        readable=copies.readable,
        faceless=faceless,
        exact=gather(content),
        near=tuple(rows for rows in groups if len(set(content[rows])) > 1),
        mirrored=int(copies.near.mirrored.sum()),
        leaks=find_leaks(looked),
        disagreements=_disagreements(looked, groups),
    )


def find_leaks(manifest: Manifest) -> tuple[Leak, ...]:
    """Return what stands on two sides of `split` or of `fold`; rows without a side do not count.

    The manifest says what belongs together: find its copies first.
    """
    subject = [
        None if s is None else (source, s)
        for source, s in zip(manifest.column("source"), manifest.column("subject"), strict=True)
    ]
    copies = manifest.table["duplicate_group"].to_pylist()
    content = manifest.column("content_hash")
    leaks = []
    for column in (c for c in SPLITS if c in manifest.table.column_names):
        sides = manifest.table[column].to_pylist()
        told: set[int] = set()
        for rows in _astride(copies, sides):
            exact = any(True for _ in _astride(content[rows], [sides[i] for i in rows]))
            leaks.append(Leak("exact copies" if exact else "near duplicates", column, rows))
            told.update(rows.tolist())
        # A manifest whose copies nobody has searched may still know its images' hashes.
        for kind, keys in (("exact copies", content), ("subject", subject)):
            for rows in _astride(keys, sides):
                if kind == "subject" or not told.issuperset(rows.tolist()):
                    leaks.append(Leak(kind, column, rows))  # type: ignore[arg-type]
                    told.update(rows.tolist())
        for rows in gather(manifest.groups.tolist()):
            if len({sides[r] for r in rows} - {None}) > 1 and told.isdisjoint(rows.tolist()):
                leaks.append(Leak("chain", column, rows))
    return tuple(leaks)


def gather(keys: Iterable[Hashable]) -> tuple[Rows, ...]:
    """Return the rows of each key that two rows or more share; None is no key."""
    members: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            members.setdefault(key, []).append(row)
    return tuple(np.array(rows, np.int64) for rows in members.values() if len(rows) > 1)


def count_rows(manifest: Manifest, column: str, by: str) -> dict[str, dict[str, int]]:
    """Return rows by value of a column and of another; "–" stands for null.

    Classes come in their order, also those without a row.
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
    """Return how much the raters of an image disagree, in bits: 0 where all chose one class.

    The means are None where nobody voted.
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


def _astride(keys: Iterable[Hashable], sides: Sequence[Any]) -> Iterable[Rows]:
    """Yield the rows of each key that stand on several sides, without rows that have no side."""
    for rows in gather(keys):
        placed = np.array([r for r in rows if sides[r] is not None], np.int64)
        if len({sides[r] for r in placed}) > 1:
            yield placed


def _disagreements(manifest: Manifest, groups: Sequence[Rows]) -> tuple[Disagreement, ...]:
    label, content = manifest.column("label"), manifest.column("content_hash")
    found = []
    for rows in groups:
        labelled = rows[[label[r] is not None for r in rows]]
        names = tuple(n for n in manifest.names if n in set(label[labelled]))
        if len(names) > 1:
            exact = any(len(set(label[labelled[s]])) > 1 for s in gather(content[labelled]))
            found.append(Disagreement(labelled, names, exact))
    return tuple(found)


def _find_faces(copies: Copies, progress: Progress | None) -> list[bool | None]:
    """Whether each image shows a face; None where it could not be read."""
    from moppet.datasets.faces import find_manifest_faces

    rows = np.flatnonzero(copies.readable)
    found: list[bool | None] = [None] * len(copies.manifest)
    if len(rows):
        faces = find_manifest_faces(
            copies.manifest.select(rows),
            progress=None if progress is None else lambda d, t: progress("faces", d, t),
        )
        for row, there in zip(rows, faces.found, strict=True):
            found[row] = bool(there)
    return found


def _size(groups: Sequence[Rows]) -> dict[str, int]:
    return {"groups": len(groups), "rows": sum(map(len, groups))}
