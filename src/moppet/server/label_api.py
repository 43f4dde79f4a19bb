"""Routes of the label page: rating, agreement and adjudication."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Final

import numpy as np
from fastapi import FastAPI
from fastapi.responses import Response
from numpy.typing import NDArray

from moppet.config import read_stored
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.datasets.rater_agreement import (
    Agreement,
    Ratings,
    as_dict,
    measure_agreement,
    rated_manifest,
    read_adjudication,
    read_ratings,
)
from moppet.datasets.readers.csv_tables import read_table
from moppet.files import one_line, write_csv, write_text
from moppet.metrics import confusion
from moppet.server.ratings import NO_FACE, NewSet, Rater, RatingSet, RatingSets
from moppet.server.responses import Json, body_of
from moppet.server.workspace import Workspace
from moppet.values import EXPRESSIONS, MoppetError, UsageError

LEAST: Final = 3
"""Images of a class that `moppet train` needs."""


def progress(of: RatingSet) -> list[Json]:
    """Return how many images each rater has rated, without the ratings."""
    states = [(name, Rater(of, name).state()) for name in of.raters()]
    return [
        {"name": name, "done": state["done"], "left": state["total"] - state["done"]}
        for name, state in states
    ]


@dataclass(frozen=True)
class _Opened:
    """The content of opened.json."""

    raters: tuple[str, ...]


def opened_raters(of: RatingSet) -> tuple[str, ...]:
    """Return the raters whose agreement was opened; () while the rating is in progress."""
    path = of.place / "opened.json"
    if not path.exists():
        return ()
    return read_stored(_Opened, path, "file of opened raters", "Restore it from a backup.").raters


def check_rating(of: RatingSet) -> None:
    """Raise UsageError once the agreement was opened: after that, raters are no longer blind."""
    if opened_raters(of):
        raise UsageError("The rating of this set has ended: its agreement was opened.")


def open_agreement(of: RatingSet) -> None:
    """End the rating permanently, and open the agreement of the raters who have finished.

    Raises UsageError unless two raters have finished and both gave a class to at least one image.
    """
    check_rating(of)
    states = progress(of)
    finished = [each["name"] for each in states if not each["left"]]
    if len(finished) < 2:
        left = ", ".join(f"{x['name']} has {x['left']} left" for x in states if x["left"])
        raise UsageError(
            f"The agreement opens when two raters have finished: {left or 'no rater has started'}."
        )
    labeled = [{i for i, r in Rater(of, x).given.items() if r.label} for x in finished]
    if not any(a & b for a, b in itertools.combinations(labeled, 2)):
        raise UsageError("No image has a class from two raters: there is nothing to compare.")
    write_text(of.place / "opened.json", json.dumps({"raters": finished}))


@dataclass(frozen=True)
class ClosedSet:
    """The results of a set whose rating has ended. Raises UsageError while it is in progress."""

    set: RatingSet

    def __post_init__(self) -> None:
        if not opened_raters(self.set):
            raise UsageError("The agreement of this set is not open yet.")

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The CSV files of the raters who had finished."""
        return tuple(self.set.rater_file(name) for name in opened_raters(self.set))

    @cached_property
    def measured(self) -> tuple[Ratings, Agreement]:
        """The ratings of these raters, and their agreement."""
        return _measure(self.files, tuple(file.stat().st_mtime_ns for file in self.files))

    @property
    def ratings(self) -> Ratings:
        """The ratings of these raters."""
        return self.measured[0]

    @cached_property
    def no_face(self) -> NDArray[np.bool_]:
        """(n, r) where a rater saw no face, in the order of the ratings."""
        number = {path: i for i, path in enumerate(self.set.images)}
        rows = [number[path] for path in self.ratings.paths]
        given = [Rater(self.set, file.stem).given for file in self.files]
        return np.array([[i in g and g[i].mark == NO_FACE for g in given] for i in rows], bool)

    @cached_property
    def disputed(self) -> NDArray[np.intp]:
        """Rows to decide: different classes, or a class that not every rater gave."""
        rated = self.ratings.votes.sum(axis=1)
        mixed = np.flatnonzero((rated > 0) & (rated < len(self.files)))
        return np.union1d(self.ratings.disputed, mixed)

    @property
    def choices(self) -> list[str]:
        """The classes that `read_adjudication` accepts, and "no face"."""
        known = {*self.ratings.names, *EXPRESSIONS}
        return [*(name for name in self.set.classes if name in known), NO_FACE]

    @property
    def adjudication(self) -> Path:
        """The CSV of decisions (path,label,mark), in the format of `--adjudication`."""
        return self.set.place / "adjudication.csv"

    def decisions(self) -> dict[str, str]:
        """Return image → the decided class, or "no face"."""
        if not self.adjudication.is_file():
            return {}
        header, rows = read_table(self.adjudication, ["path", "label"])
        cells = [dict(zip(header, row, strict=True)) for row in rows]
        faceless = {cell["path"]: NO_FACE for cell in cells if cell.get("mark") == NO_FACE}
        return read_adjudication(self.adjudication, self.ratings) | faceless

    def decide(self, image: int, label: str | None) -> None:
        """Save a decision on a disputed image; a label of None removes it."""
        path = self.set.images[self.set.check_number(image)]
        if path not in {self.ratings.paths[row] for row in self.disputed}:
            raise UsageError("The raters agree on this image: there is nothing to decide.")
        if label is not None and label not in self.choices:
            raise UsageError(f"A decision is one of {', '.join(self.choices)}.")
        decided = {**self.decisions(), path: label}
        rows = [
            [each, "", NO_FACE] if choice == NO_FACE else [each, choice, ""]
            for each, choice in decided.items()
            if choice is not None
        ]
        write_csv(self.adjudication, ["path", "label", "mark"], rows)

    def as_json(self) -> Json:
        """Return the figures of `moppet data agreement --json`, with image numbers for paths.

        tables: for each pair of raters, a table of the first one's (rows) and the second one's
        (columns) answers, including no face, over the images that neither skipped.
        """
        ratings, decided = self.ratings, self.decisions()
        number = {path: i for i, path in enumerate(self.set.images)}
        figures = as_dict(ratings, self.measured[1], {})
        answers = np.where(self.no_face, len(ratings.names), ratings.given)
        names = [*ratings.names, NO_FACE]
        rows = sorted(self.disputed, key=lambda row: number[ratings.paths[row]])
        return figures | {
            "tables": [
                self._table(answers, a, b)
                for a, b in itertools.combinations(range(len(ratings.raters)), 2)
            ],
            "table_names": names,
            "choices": self.choices,
            "no_face": self.no_face.sum(axis=0).tolist(),
            "unrated": ((ratings.given < 0) & ~self.no_face).sum(axis=0).tolist(),
            "disagreements": [
                {
                    "image": number[ratings.paths[row]],
                    "answers": [names[i] if i >= 0 else None for i in answers[row]],
                    "decided": decided.get(ratings.paths[row]),
                }
                for row in rows
            ],
        }

    def _table(self, answers: NDArray[np.int64], a: int, b: int) -> list[list[int]]:
        both = answers[(answers[:, [a, b]] >= 0).all(axis=1)]
        table: list[list[int]] = confusion(
            both[:, a], both[:, b], len(self.ratings.names) + 1
        ).tolist()
        return table

    def manifest(self, *, without_rare: bool = False) -> Manifest:
        """Return the manifest of the images that show a face.

        It contains an image if a decision gives it a class, or if there is no decision and more
        raters gave it a class than saw no face. The column `no_face` counts the latter.
        without_rare: leave out the classes of fewer than LEAST images.
        """
        decided = self.decisions()
        classes = {path: name for path, name in decided.items() if name != NO_FACE}
        whole = rated_manifest(self.ratings, classes, root=self.set.folder)
        faceless = self.no_face.sum(axis=1)
        kept = self.ratings.votes.sum(axis=1) > faceless
        for row, path in enumerate(self.ratings.paths):
            kept[row] = path in classes or (kept[row] and path not in decided)
        found = whole.replace(no_face=faceless.astype(np.int64)).select(kept)
        return _without(found, rare_classes(found)) if without_rare else found

    def write_manifest(self, *, without_rare: bool = False) -> Json:
        """Write the manifest into the set's folder; return its counts and a command to train."""
        manifest = self.manifest(without_rare=without_rare)
        path = manifest.write(self.set.place / "manifest.parquet")
        counts = label_counts(manifest)
        return {
            "path": str(path),
            "command": f"moppet train {shlex.quote(str(path))} -o my_model",
            "images": len(manifest),
            "labels": counts,
            "unlabeled": len(manifest) - sum(counts.values()),
            "left_out": len(self.set.images) - len(manifest),
            "rare": list(rare_classes(manifest)),
        }


def label_counts(manifest: Manifest) -> dict[str, int]:
    """Return the number of images of each class, including 0."""
    return {name: int((manifest.labels == i).sum()) for i, name in enumerate(manifest.names)}


def rare_classes(manifest: Manifest) -> tuple[str, ...]:
    """Return the classes with fewer images than training needs."""
    return tuple(name for name, count in label_counts(manifest).items() if count < LEAST)


def _without(manifest: Manifest, classes: tuple[str, ...]) -> Manifest:
    """Return the manifest without these classes, their rows and the votes for them."""
    names = [name for name in manifest.names if name not in classes]
    if len(names) < 2:
        raise UsageError(f"Fewer than two classes have {LEAST} images: nothing can be trained.")
    part = manifest.select(~np.isin(manifest.column("label").astype(str), classes))
    votes = part.column("votes")[:, [manifest.names.index(name) for name in names]]
    votes[votes.sum(axis=1) == 0] = np.nan
    columns = {name: part.table[name] for name in part.table.column_names}
    return build_manifest(columns | {"votes": votes}, names=names, root=part.root)


@lru_cache(maxsize=4)
def _measure(files: tuple[Path, ...], changed_ns: tuple[int, ...]) -> tuple[Ratings, Agreement]:
    """Return the ratings and their agreement, measured again only if a file changes.

    The seed is the same as in the command line, so both give the same intervals.
    """
    ratings = read_ratings(files)
    return ratings, measure_agreement(ratings, np.random.default_rng(0))


@dataclass(frozen=True)
class NewRater:
    """The name of a new rater."""

    name: str


@dataclass(frozen=True)
class NewRating:
    """A rating: of the image of this number, a class (label) or a mark."""

    RENAMED: ClassVar = {"picture": "image"}

    image: int
    label: str | None = None
    mark: str | None = None


@dataclass(frozen=True)
class Decision:
    """A decision on the disputed image of this number; a label of null removes it."""

    RENAMED: ClassVar = {"picture": "image"}

    image: int
    label: str | None


@dataclass(frozen=True)
class ManifestOptions:
    """without_rare: leave out classes with too few images to train."""

    without_rare: bool = False


def add_label(site: FastAPI, workspace: Workspace) -> None:
    """Add the routes below /api/labels."""
    sets = RatingSets(workspace.root / "labels")
    _add_sets(site, sets)
    _add_rating(site, sets)
    _add_agreement(site, sets)


def _add_sets(site: FastAPI, sets: RatingSets) -> None:
    @site.get("/api/labels")
    def all_sets() -> list[Json]:
        """Return every set; one whose files are damaged has only a name and an error."""
        return [_set_or_error(sets, name) for name in sets.names()]

    @site.post("/api/labels", status_code=201)
    def new_set(new: Annotated[NewSet, body_of(NewSet)]) -> Json:
        with sets.lock:
            return _set_json(sets.create(new))

    @site.get("/api/labels/{name}")
    def one_set(name: str) -> Json:
        return _set_json(sets.of(name))

    @site.get("/api/labels/{name}/images/{image}")
    def image(name: str, image: int) -> Response:
        """Return the image as an upright PNG, without its name, date or other metadata."""
        return Response(sets.of(name).png(image), media_type="image/png")


def _add_rating(site: FastAPI, sets: RatingSets) -> None:
    def change(name: str, action: Callable[[RatingSet], Rater]) -> Json:
        with sets.lock:
            of = sets.of(name)
            check_rating(of)
            return action(of).state()

    @site.post("/api/labels/{name}/raters", status_code=201)
    def new_rater(name: str, new: Annotated[NewRater, body_of(NewRater)]) -> Json:
        return change(name, lambda of: Rater.begin(of, new.name))

    @site.get("/api/labels/{name}/raters/{rater}")
    def state(name: str, rater: str) -> Json:
        return Rater(sets.of(name), rater).state()

    @site.post("/api/labels/{name}/raters/{rater}/ratings")
    def rate(name: str, rater: str, new: Annotated[NewRating, body_of(NewRating)]) -> Json:
        return change(name, lambda of: Rater(of, rater).rate(new.image, new.label, new.mark))

    @site.post("/api/labels/{name}/raters/{rater}/undo")
    def undo(name: str, rater: str) -> Json:
        return change(name, lambda of: Rater(of, rater).undo())


def _add_agreement(site: FastAPI, sets: RatingSets) -> None:
    @site.post("/api/labels/{name}/open")
    def end_rating(name: str) -> Json:
        with sets.lock:
            open_agreement(sets.of(name))
        return _set_json(sets.of(name))

    @site.get("/api/labels/{name}/agreement")
    def agreement(name: str) -> Json:
        return ClosedSet(sets.of(name)).as_json()

    @site.post("/api/labels/{name}/decisions")
    def decide(name: str, new: Annotated[Decision, body_of(Decision)]) -> Json:
        with sets.lock:
            ClosedSet(sets.of(name)).decide(new.image, new.label)
        return {"image": new.image, "decided": new.label}

    @site.post("/api/labels/{name}/manifest")
    def manifest(name: str, options: Annotated[ManifestOptions, body_of(ManifestOptions)]) -> Json:
        with sets.lock:
            return ClosedSet(sets.of(name)).write_manifest(without_rare=options.without_rare)


def _set_or_error(sets: RatingSets, name: str) -> Json:
    try:
        return _set_json(sets.of(name))
    except MoppetError as error:
        return {"name": name, "error": one_line(error)}


def _set_json(of: RatingSet) -> Json:
    """Return the fields of a set that the page shows: progress, but no ratings."""
    raters = progress(of)
    return {
        "name": of.name,
        "folder": str(of.folder),
        "classes": list(of.classes),
        "images": len(of.images),
        "raters": raters,
        "finished": sum(not rater["left"] for rater in raters),
        "opened": list(opened_raters(of)),
    }
