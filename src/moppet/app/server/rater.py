"""One rater's ratings of a set: which picture comes next, what was said, and how it is kept."""

from __future__ import annotations

import csv
import io
from typing import Any, Final, NamedTuple

from moppet.app.server.rating_sets import NO_FACE, RatingSet, write_whole
from moppet.data.readers.dataset import subject_finder
from moppet.data.readers.tables import read_table
from moppet.data.readers.words import class_of
from moppet.values import MoppetError, UsageError

LATER: Final = "later"
SKIPPED: Final = "skipped"
UNREADABLE: Final = "unreadable"
_MARKS: Final = (NO_FACE, LATER, SKIPPED, UNREADABLE)


class Rating(NamedTuple):
    """What a rater said of a picture: a class, or else a mark that says why there is none.

    seen: how often the picture had come by then, 1 or 2.
    """

    label: str
    mark: str = ""
    seen: int = 1


class Rater:
    """One person's ratings, read from and kept in a CSV (path,label,mark,seen[,subject]).

    Every picture comes once, in the rater's own order; those that were skipped come once more at
    the end. An empty label is no rating to `read_ratings`; `mark` says what it is: "no face",
    "skipped" (twice), "unreadable", or "later" (skipped once, still to come).
    """

    def __init__(self, of: RatingSet, name: str) -> None:
        self.set = of
        self.file = of.rater_file(name)
        if not self.file.is_file():
            raise UsageError(f"There is no rater {name!r} in this set.")
        self.order = of.order_of(self.file.stem)
        self.given = self._read()

    @staticmethod
    def begin(of: RatingSet, name: str) -> Rater:
        """Return a new rater; UsageError where the name is taken or not plain."""
        file = of.rater_file(name)
        if file.stem.casefold() in map(str.casefold, of.raters()):
            raise UsageError(f"{file.stem} rates already: choose that name, or give another.")
        write_whole(file, "path,label,mark,seen\n")
        return Rater(of, file.stem)

    @property
    def queue(self) -> list[int]:
        """The pictures that are still to come, the next one first."""
        fresh = [i for i in self.order if i not in self.given]
        return fresh + [i for i in self.order if i in self.given and self.given[i].mark == LATER]

    def state(self) -> dict[str, Any]:
        """Return how far the rater is, without a word of what was said.

        picture, next: numbers of the picture to rate and of the one after it, or null.
        again: the picture was skipped before. later: how many were.
        """
        queue = self.queue
        return {
            "name": self.file.stem,
            "picture": queue[0] if queue else None,
            "next": queue[1] if len(queue) > 1 else None,
            "again": bool(queue) and queue[0] in self.given,
            "later": sum(rating.mark == LATER for rating in self.given.values()),
            "done": len(self.order) - len(queue),
            "total": len(self.order),
            "undo": bool(self.given),
        }

    def rate(self, picture: object, label: object = None, mark: object = None) -> None:
        """Keep what the rater says of the picture that is next.

        label: a class; or mark: "no face", "skip" or "unreadable". Raises UsageError for anything
        else, for another picture, and for a readable one that is called unreadable.
        """
        queue = self.queue
        if not queue or self.set.check_number(picture) != queue[0]:
            raise UsageError("Another picture is next: was this one rated in another window?")
        again = queue[0] in self.given
        if label is not None and mark is None and label in self.set.classes:
            said = Rating(str(label))
        elif label is None and mark == NO_FACE:
            said = Rating("", NO_FACE)
        elif label is None and mark == "skip":
            said = Rating("", SKIPPED if again else LATER)
        elif label is None and mark == UNREADABLE:
            if self.set.readable(queue[0]):
                raise UsageError("This picture can be read after all: look at it again.")
            said = Rating("", UNREADABLE)
        else:
            raise UsageError(
                f"A rating is one of {', '.join(self.set.classes)} (label), or one of "
                f"{NO_FACE}, skip, {UNREADABLE} (mark)."
            )
        self.given[queue[0]] = said._replace(seen=2 if again else 1)
        self._write()

    def undo(self) -> None:
        """Take the last rating back, so that its picture is next; UsageError if there is none."""
        rated = [i for i in self.order if i in self.given]
        second = [i for i in rated if self.given[i].seen > 1]
        if second:
            self.given[second[-1]] = Rating("", LATER)
        elif rated:
            del self.given[rated[-1]]
        else:
            raise UsageError("There is nothing to undo.")
        self._write()

    def _read(self) -> dict[int, Rating]:
        header, rows = read_table(self.file, ["path", "label"])
        number = {path: i for i, path in enumerate(self.set.pictures)}
        given = {}
        for row in rows:
            cells = dict(zip(header, row, strict=True))
            label, mark = class_of(cells["label"]), cells.get("mark", "")
            if cells["path"] not in number:
                raise MoppetError(f"{self.file} names {cells['path']}, which is not in the set.")
            if label and label not in self.set.classes:
                raise MoppetError(f"{self.file} has the label {label!r}, which is no class here.")
            if label or mark in _MARKS:
                seen = 2 if cells.get("seen") == "2" else 1
                given[number[cells["path"]]] = Rating(label, "" if label else mark, seen)
        return given

    def _write(self) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        subject = subject_finder(self.set.subject_pattern)
        more = ["subject"] if self.set.subject_pattern else []
        table.writerow(["path", "label", "mark", "seen", *more])
        for picture in self.order:
            if picture in self.given:
                path = self.set.pictures[picture]
                who = [subject(path) or ""] if more else []
                table.writerow([path, *self.given[picture], *who])
        write_whole(self.file, text.getvalue())
