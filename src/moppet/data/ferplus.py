"""FER2013's pictures with FER+'s ten votes each, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moppet.data.arrays import read_arrays
from moppet.values import EXPRESSIONS, Floats, Image, MoppetError

AGE_BANDS: Final = {0: "infant", 1: "child", 2: "not a child", 3: "uncertain", -1: "not looked at"}
_KEYS: Final = [
    "images",
    "votes",
    "vote_names",
    "split",
    "dup_group",
    "near_dup_group",
    "leaks_into_split1",
    "age_band",
]


@dataclass(frozen=True)
class FerPlus:
    """n grey face crops with their raters' votes.

    images: (n, 48, 48) uint8.
    votes: (n, 7) uint8, the votes for each of EXPRESSIONS, in that order.
    label: (n,) int8, index into EXPRESSIONS of the unique plurality of all ten vote columns;
        -1 where it is a tie, contempt, unknown or no face.
    part: (n,) "train", "choose" (set aside from training for every choice), "report", or "" for
        training rows that repeat a picture of the report rows.
    group: (n,) int64, equal for duplicates and near duplicates.
    age_band: (n,) int8, a key of AGE_BANDS.
    """

    images: Image
    votes: NDArray[np.uint8]
    label: NDArray[np.int8]
    part: NDArray[np.str_]
    group: NDArray[np.int64]
    age_band: NDArray[np.int8]

    def rows(self, part: str, *, labelled: bool = False) -> NDArray[np.intp]:
        """Return the row numbers of a part, only those with a label if `labelled`."""
        return np.flatnonzero((self.part == part) & ((self.label >= 0) | (not labelled)))

    @property
    def soft_labels(self) -> Floats:
        """(n, 7) votes as shares; contempt, unknown and no-face votes are left out."""
        total = self.votes.sum(axis=1, keepdims=True)
        return np.asarray(self.votes / np.maximum(total, 1), np.float32)

    @property
    def weights(self) -> Floats:
        """(n,) the share of the ten votes that fell on the seven expressions."""
        return np.asarray(self.votes.sum(axis=1) / 10, np.float32)


def read_ferplus(path: Path, *, seed: int = 0) -> FerPlus:
    """Read FER+ joined to FER2013 from an .npz file.

    The file's split 0 without the rows that leak into split 1 becomes "train" and "choose", a
    tenth by duplicate group, drawn within each age band; split 1 becomes "report".
    Raises MoppetError if the file is missing or lacks a key.
    """
    if not path.is_file():
        raise MoppetError(f"FER+ was expected at {path}, but there is no such file.")
    z = _read_arrays(path)
    names = z["vote_names"].tolist()
    group = _merge_groups(z["dup_group"], z["near_dup_group"])
    part = np.where(z["split"] == 1, "report", np.where(z["leaks_into_split1"], "", "train"))
    return FerPlus(
        images=z["images"],
        votes=z["votes"][:, [names.index(name) for name in EXPRESSIONS]],
        label=plurality_label(z["votes"], names),
        part=_set_aside(part, group, z["age_band"], np.random.default_rng(seed)),
        group=group,
        age_band=z["age_band"],
    )


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    z = read_arrays(path, _KEYS)
    names, n = z["vote_names"].ravel().tolist(), len(np.atleast_1d(z["split"]))
    unnamed = [name for name in EXPRESSIONS if name not in names]
    if unnamed:
        raise MoppetError(f"{path} is not FER+: it has no votes for {', '.join(unnamed)}.")
    shapes = {key: (n,) for key in _KEYS} | {
        "images": (n, *z["images"].shape[1:3]),
        "vote_names": (len(names),),
        "votes": (n, len(names)),
    }
    for key, shape in shapes.items():
        kinds = "U" if key == "vote_names" else "uib"
        if z[key].shape != shape or z[key].dtype.kind not in kinds or not n:
            raise MoppetError(
                f"{path} is not FER+: {key} should be {shape} of "
                f"{'words' if kinds == 'U' else 'whole numbers'}, but is {z[key].shape} "
                f"{z[key].dtype}."
            )
    strange = set(z["age_band"].tolist()) - set(AGE_BANDS)
    if strange:
        raise MoppetError(
            f"{path} is not FER+: age_band {min(strange)} is none of "
            f"{', '.join(map(str, AGE_BANDS))}."
        )
    return z


def plurality_label(votes: NDArray[np.uint8], names: list[str]) -> NDArray[np.int8]:
    """Return the index into EXPRESSIONS of each row's winner among all vote columns.

    votes: (n, m) counts over `names`. -1 where two columns tie for the most votes or the winner
    is none of EXPRESSIONS. Winners are mapped by name, never by position.
    """
    most = votes.max(axis=1, keepdims=True)
    unique = (votes == most).sum(axis=1) == 1
    lookup = [EXPRESSIONS.index(name) if name in EXPRESSIONS else -1 for name in names]
    winner = np.array(lookup, np.int8)[votes.argmax(axis=1)]
    return np.where(unique, winner, -1).astype(np.int8)


def _merge_groups(exact: NDArray[np.int32], near: NDArray[np.int32]) -> NDArray[np.int64]:
    """Join rows that share an exact or a near group (-1: compared with nobody)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(exact)
    _, exact_id = np.unique(exact, return_inverse=True)
    _, near_id = np.unique(near, return_inverse=True)
    rows = np.concatenate([np.arange(n), np.flatnonzero(near >= 0)])
    nodes = np.concatenate([n + exact_id, n + n + near_id[near >= 0]])
    graph = coo_array((np.ones(len(rows), bool), (rows, nodes)), shape=(3 * n, 3 * n))
    return np.asarray(connected_components(graph, directed=False)[1][:n], np.int64)


def _set_aside(
    part: NDArray[np.str_],
    group: NDArray[np.int64],
    age_band: NDArray[np.int8],
    rng: np.random.Generator,
) -> NDArray[np.str_]:
    part = part.astype("<U6")
    train = part == "train"
    # A group is drawn with the age band of its first row, wherever its other rows stand.
    first_of = dict(zip(group[train][::-1], age_band[train][::-1], strict=True))
    for band in sorted(AGE_BANDS):
        members = np.array(sorted(g for g, b in first_of.items() if b == band))
        if len(members):
            drawn = rng.choice(members, round(len(members) / 10), replace=False)
            part[train & np.isin(group, drawn)] = "choose"
    return part
