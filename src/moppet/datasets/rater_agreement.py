"""Labels of several raters for the same images: their agreement, and the combined manifest."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moppet.datasets.manifest import (
    Manifest,
    build_manifest,
    connect,
    order_names,
    plurality,
)
from moppet.files import write_csv
from moppet.metrics import Estimate, accuracy, as_json, bootstrap, cohen_kappa
from moppet.values import EXPRESSIONS, MoppetError, UsageError


@dataclass(frozen=True)
class Ratings:
    """The labels of r raters for n images.

    raters: r names. names: the k classes used, in a manifest's order.
    paths: n images, in order of first appearance.
    given: (n, r) index into names, -1 if a rater did not rate the image.
    subjects: n, None if unspecified.
    """

    raters: tuple[str, ...]
    names: tuple[str, ...]
    paths: tuple[str, ...]
    given: NDArray[np.int64]
    subjects: tuple[str | None, ...]

    @property
    def votes(self) -> NDArray[np.int64]:
        """(n, k) the number of raters who chose each class."""
        return np.asarray((self.given[:, :, None] == np.arange(len(self.names))).sum(axis=1))

    @property
    def complete(self) -> NDArray[np.intp]:
        """Rows that every rater rated."""
        return np.flatnonzero((self.given >= 0).all(axis=1))

    @property
    def disputed(self) -> NDArray[np.intp]:
        """Rows on which raters disagree."""
        return np.flatnonzero((self.votes > 0).sum(axis=1) > 1)

    @property
    def groups(self) -> NDArray[np.int64]:
        """(n,) one number for the images of one subject."""
        return connect(len(self.paths), [self.subjects])

    def labels_of(self, row: int) -> list[str]:
        """Return each rater's label of an image, "" without one."""
        return ["" if i < 0 else self.names[i] for i in self.given[row]]


@dataclass(frozen=True)
class Agreement:
    """The raters' agreement; each figure has a 95 % interval and its number of images.

    equal, cohen: pair of raters → share of equal labels and Cohen's kappa, over the images that
        both rated. fleiss: Fleiss' kappa over the images that all rated.
    confused: pair of classes given to one image → number of images, most frequent first.
    """

    equal: Mapping[tuple[str, str], Estimate]
    cohen: Mapping[tuple[str, str], Estimate]
    fleiss: Estimate
    confused: Mapping[tuple[str, str], int]


def read_ratings(files: Sequence[Path]) -> Ratings:
    """Read one CSV (path,label[,subject]) for each rater; file names become rater names.

    Synonyms of the seven expressions ("happy") are replaced, other labels become lower case; an
    empty label is no rating. Raises UsageError for fewer than two files, MoppetError for files
    that do not fit.
    """
    if len(files) < 2:
        raise UsageError(f"agreement needs the files of at least two raters, not {len(files)}.")
    read = [_read_rater(file) for file in files]
    paths = tuple(dict.fromkeys(itertools.chain(*(labels for labels, _ in read))))
    names = order_names(filter(None, itertools.chain(*(x.values() for x, _ in read))))
    number = {name: i for i, name in enumerate(names)} | {"": -1}
    given = [[number[labels.get(path, "")] for labels, _ in read] for path in paths]
    table = np.array(given, np.int64).reshape(len(paths), len(files))
    if not ((table >= 0).sum(axis=1) > 1).any():
        raise MoppetError(
            f"no image was rated in two of the files {', '.join(map(str, files))}: "
            "the paths in the files must be equal."
        )
    subjects = _merge_subjects(paths, [subjects for _, subjects in read])
    return Ratings(_name_raters(files), names, paths, table, subjects)


def fleiss_kappa(votes: NDArray[Any]) -> float:
    """Return Fleiss' kappa: 1 = perfect agreement, 0 = chance agreement (Fleiss 1971).

    votes: (n, k) the number of raters for each class; every image needs the same number of raters,
        at least two. NaN without images, or if only one class was chosen.
    """
    votes = np.asarray(votes, np.float64)
    n, raters = len(votes), votes.sum(axis=1)
    if not n:
        return float("nan")
    if raters.min() < 2 or raters.min() != raters.max():
        raise UsageError(
            "Fleiss' kappa needs the same number of raters, two or more, for every image, but "
            f"there are {raters.min():g} to {raters.max():g}."
        )
    observed = ((votes * (votes - 1)).sum(axis=1) / (raters * (raters - 1))).mean()
    expected = ((votes.sum(axis=0) / votes.sum()) ** 2).sum()
    return float((observed - expected) / (1 - expected)) if expected < 1 else float("nan")


def measure_agreement(
    ratings: Ratings, rng: np.random.Generator, *, draws: int = 1000
) -> Agreement:
    """Return the raters' agreement; intervals resample subjects, or images without a subject."""
    k, groups, votes = len(ratings.names), ratings.groups, ratings.votes
    equal, cohen = {}, {}
    for a, b in itertools.combinations(range(len(ratings.raters)), 2):
        rows = np.flatnonzero((ratings.given[:, [a, b]] >= 0).all(axis=1))
        pair = (ratings.raters[a], ratings.raters[b])
        both = ratings.given[rows][:, [a, b]]

        def share(drawn: NDArray[np.intp], both: NDArray[np.int64] = both) -> float:
            return accuracy(both[drawn, 0], both[drawn, 1])

        def kappa(drawn: NDArray[np.intp], both: NDArray[np.int64] = both) -> float:
            return cohen_kappa(both[drawn, 0], both[drawn, 1], k)

        equal[pair] = bootstrap(share, groups[rows], rng, draws)
        cohen[pair] = bootstrap(kappa, groups[rows], rng, draws)
    rows = ratings.complete
    fleiss = bootstrap(lambda r: fleiss_kappa(votes[rows][r]), groups[rows], rng, draws)
    return Agreement(equal, cohen, fleiss, _confused(ratings))


def read_adjudication(path: Path, ratings: Ratings) -> dict[str, str]:
    """Return image → class from a CSV (path,label); rows with an empty label are ignored.

    Raises MoppetError for an image that nobody rated, or a class that no rater used and that is
    not an expression.
    """
    labels, _ = _read_rater(path)
    decided = {image: label for image, label in labels.items() if label}
    known, rated = {*ratings.names, *EXPRESSIONS}, set(ratings.paths)
    for image, label in decided.items():
        if image not in rated:
            raise MoppetError(f"{path} decides on {image}, which nobody rated.")
        if label not in known:
            raise MoppetError(
                f"{path} labels {image} as {label!r}, but the classes are "
                f"{', '.join(order_names(known))}."
            )
    return decided


def write_disagreements(path: Path, ratings: Ratings, decided: Mapping[str, str]) -> int:
    """Write the undecided disputed images as a CSV for the adjudicator; return their number.

    Its columns: path, label (empty, to be filled in), subject, then each rater's label.
    """
    rows = [r for r in ratings.disputed if ratings.paths[r] not in decided]
    header = ["path", "label", "subject", *(f"label by {rater}" for rater in ratings.raters)]
    cells = ([ratings.paths[r], "", ratings.subjects[r] or "", *ratings.labels_of(r)] for r in rows)
    write_csv(path, header, cells)
    return len(rows)


def rated_manifest(
    ratings: Ratings, decided: Mapping[str, str], *, root: Path, license: str = ""
) -> Manifest:
    """Return the manifest of rated images.

    label: the decided class, else the class that most raters chose; null for ties.
    votes: one for each rater; none for decided images, so that the soft label is the decision.
    Extra columns: each rater's label in `label by <rater>`, and `adjudicated` for decided rows.
    """
    names = order_names([*ratings.names, *decided.values()])
    at = [names.index(name) for name in ratings.names]
    votes = np.zeros((len(ratings.paths), len(names)), np.float32)
    votes[:, at] = ratings.votes
    labels = [
        decided.get(path) or (names[i] if i >= 0 else None)
        for path, i in zip(ratings.paths, plurality(votes), strict=True)
    ]
    ruled = np.array([path in decided for path in ratings.paths], bool)
    votes[ruled | ~votes.any(axis=1)] = np.nan
    by_rater = {
        f"label by {rater}": [ratings.names[i] if i >= 0 else None for i in ratings.given[:, r]]
        for r, rater in enumerate(ratings.raters)
    }
    return build_manifest(
        {
            "path": ratings.paths,
            "label": labels,
            "votes": votes,
            "subject": ratings.subjects,
            "source": ["ratings"] * len(labels),
            "adjudicated": ruled,
            **by_rater,
        },
        names=names,
        root=root,
        license=license,
    )


def _read_rater(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return image → class, "" for none, and image → subject."""
    from moppet.datasets.readers.csv_tables import read_table
    from moppet.vocabulary import class_of

    header, rows = read_table(path, ["path", "label"])
    at, label_at = header.index("path"), header.index("label")
    labels: dict[str, str] = {}
    subjects: dict[str, str] = {}
    for row in rows:
        image = os.path.normpath(row[at].strip().replace("\\", "/"))
        if image in labels:
            raise MoppetError(f"{path} names {image} twice: keep one of its rows.")
        labels[image] = class_of(row[label_at])
        if "subject" in header and row[header.index("subject")].strip():
            subjects[image] = row[header.index("subject")].strip()
    return labels, subjects


def _merge_subjects(
    paths: Sequence[str], files: Sequence[Mapping[str, str]]
) -> tuple[str | None, ...]:
    merged: list[str | None] = []
    for path in paths:
        given = {subjects[path] for subjects in files if path in subjects}
        if len(given) > 1:
            raise MoppetError(
                f"the raters' files name different subjects for {path}: {', '.join(sorted(given))}."
            )
        merged.append(next(iter(given), None))
    return tuple(merged)


def _name_raters(files: Sequence[Path]) -> tuple[str, ...]:
    stems = [file.stem for file in files]
    return tuple(
        stem if stems.count(stem) == 1 else f"{stem} {stems[: i + 1].count(stem)}"
        for i, stem in enumerate(stems)
    )


def _confused(ratings: Ratings) -> dict[tuple[str, str], int]:
    pairs: Counter[tuple[str, str]] = Counter()
    for votes in ratings.votes[ratings.disputed]:
        chosen = [ratings.names[i] for i in np.flatnonzero(votes)]
        pairs.update(itertools.combinations(chosen, 2))
    return dict(pairs.most_common())


def as_dict(ratings: Ratings, agreement: Agreement, decided: dict[str, str]) -> dict[str, Any]:
    """Return the agreement as JSON values; undefined figures are null."""
    return {
        "raters": list(ratings.raters),
        "names": list(ratings.names),
        "n": len(ratings.paths),
        "subjects": len({s for s in ratings.subjects if s is not None}),
        "pairs": [
            {"raters": list(pair), "equal": as_json(equal), "cohen_kappa": as_json(kappa)}
            for (pair, equal), kappa in zip(
                agreement.equal.items(), agreement.cohen.values(), strict=True
            )
        ],
        "fleiss_kappa": as_json(agreement.fleiss),
        "confused": [[*pair, n] for pair, n in agreement.confused.items()],
        "disagreements": [
            {
                "path": ratings.paths[row],
                "labels": dict(zip(ratings.raters, ratings.labels_of(row), strict=True)),
                "decided": decided.get(ratings.paths[row]),
            }
            for row in ratings.disputed
        ],
    }
