"""Rating sets: images that several people label independently."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import cv2

from moppet.config import read_stored
from moppet.datasets.readers.csv_tables import read_table
from moppet.datasets.readers.dataset import subject_finder
from moppet.files import write_csv, write_text
from moppet.media import IMAGE_SUFFIXES
from moppet.media.images import load_image
from moppet.server.workspace import local_path
from moppet.values import EXPRESSIONS, MediaError, MoppetError, UsageError
from moppet.vocabulary import class_of

NO_FACE: Final = "no face"
MOST_IMAGES: Final = 20_000
MOST_CLASSES: Final = 20
SHOWN_PX: Final = 1600
"""Longest side of an image on the page, in pixels."""
_LONGEST_PATTERN: Final = 200
_PATTERN_S: Final = 5.0
_PLAIN: Final = re.compile(r"\w([\w .-]{0,38}\w)?")


@dataclass(frozen=True)
class RatingSet:
    """The images to rate, and where the files are.

    place: the set's folder in the workspace. folder: folder of the images. classes: in the order
        of the buttons. images: paths below the folder, with "/", in random order, so that the
        numbers that identify images on the page reveal nothing about their sub-folders.
    subject_pattern: finds the subject in a path (`subject_finder`); None for no subjects.
    """

    place: Path
    folder: Path
    classes: tuple[str, ...]
    images: tuple[str, ...]
    subject_pattern: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of the set."""
        return self.place.name

    def rater_file(self, rater: str) -> Path:
        """Return the path of a rater's CSV, which may not exist; UsageError for an invalid name."""
        return self.place / "raters" / f"{plain_name(rater, 'rater')}.csv"

    def raters(self) -> list[str]:
        """Return the names of the raters who have started."""
        return sorted(file.stem for file in (self.place / "raters").glob("[!.]*.csv"))

    def order_of(self, rater: str) -> list[int]:
        """Return all image numbers in a rater's own random order, the same every time."""
        keys = [_key(self.seed, rater, path) for path in self.images]
        return sorted(range(len(keys)), key=keys.__getitem__)

    def check_number(self, number: int) -> int:
        """Return an image's number; UsageError if the set has no such image."""
        if not 0 <= number < len(self.images):
            raise UsageError(f"The set has {len(self.images)} images, but none of this number.")
        return number

    def readable(self, number: int) -> bool:
        """Return whether an image can be read."""
        return load_image(self.folder / self.images[number]) is not None

    def png(self, number: int) -> bytes:
        """Return an image as an upright PNG with sides of at most SHOWN_PX, without metadata.

        Raises MediaError, without the file's name, if it cannot be read.
        """
        image = load_image(self.folder / self.images[self.check_number(number)])
        if image is None:
            raise MediaError("This image cannot be read: the file is damaged or missing.")
        scaled = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        high, wide = image.shape[:2]
        shrink = SHOWN_PX / max(high, wide)
        if shrink < 1:
            size = (max(1, round(wide * shrink)), max(1, round(high * shrink)))
            scaled = cv2.resize(scaled, size, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".png", scaled, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


@dataclass(frozen=True)
class NewSet:
    """A new set. subject: finds the subject in a path, see `subject_finder`."""

    name: str
    folder: str
    classes: tuple[str, ...] = EXPRESSIONS
    subject: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class _StoredSet:
    """The content of set.json."""

    RENAMED: ClassVar = {"pictures": "images"}

    folder: str
    classes: tuple[str, ...]
    images: tuple[str, ...]
    subject_pattern: str | None = None
    seed: int = 0


class RatingSets:
    """The rating sets of a workspace; hold `lock` while writing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of the existing sets."""
        return sorted(file.parent.name for file in self.root.glob("*/set.json"))

    def of(self, name: str) -> RatingSet:
        """Return a set; UsageError if there is none of this name, MoppetError if it is damaged."""
        if name not in self.names():
            raise UsageError(f"There is no set {name!r}.")
        file = self.root / name / "set.json"
        stored = read_stored(_StoredSet, file, "rating set", "Restore it from a backup.")
        folder, pattern = Path(stored.folder), stored.subject_pattern
        return RatingSet(file.parent, folder, stored.classes, stored.images, pattern, stored.seed)

    def create(self, new: NewSet) -> RatingSet:
        """Create and return a set of all images in a folder and its sub-folders.

        Raises UsageError for an invalid name or one in use, a missing folder, no images or more
        than MOST_IMAGES, and fewer than two different classes.
        """
        place = self.root / plain_name(new.name, "set")
        if place.name.casefold() in map(str.casefold, self.names()):
            raise UsageError(f"There is a set {place.name!r} already: choose another name.")
        subject = (new.subject or "").strip() or None
        if subject is not None and len(subject) > _LONGEST_PATTERN:
            raise UsageError(f"The subject pattern may have {_LONGEST_PATTERN} characters at most.")
        subject_finder(subject)
        source, classes = _folder(new.folder), _check_classes(new.classes)
        images = sorted(_images(source), key=lambda path: _key(new.seed, "", path))
        _try_pattern(subject, images)
        stored = {
            "folder": str(source),
            "classes": classes,
            "images": images,
            "subject_pattern": subject,
            "seed": new.seed,
        }
        write_text(place / "set.json", json.dumps(stored, ensure_ascii=False, indent=0))
        return RatingSet(place, source, classes, tuple(images), subject, new.seed)


def plain_name(name: str, of: str) -> str:
    """Return a name that is a valid file name on every system; UsageError if it is not."""
    given = unicodedata.normalize("NFC", name.strip())
    if not _PLAIN.fullmatch(given):
        raise UsageError(
            f"A {of}'s name is at most 40 letters, digits, spaces, dots and dashes, with a letter "
            "or digit at either end."
        )
    return given


def _key(seed: int, rater: str, path: str) -> bytes:
    """Return a random sort key that is the same on every machine and in every version."""
    return hashlib.sha256(f"{seed}/{rater}/{path}".encode()).digest()


def _folder(text: str) -> Path:
    place = local_path(text, "folder")
    if not place.is_dir():
        raise UsageError(f"There is no folder {place}.")
    return place.resolve()


_TRY: Final = (
    "import json, re, sys; given = json.load(sys.stdin); find = re.compile(given[0]).search; "
    "[find(path) for path in given[1]]"
)


def _try_pattern(pattern: str | None, images: Sequence[str]) -> None:
    """Raise UsageError if a pattern takes too long on these paths, as "(a|a)*$" can.

    Python cannot interrupt a search, so it runs in a process of its own.
    """
    if pattern is None:
        return
    task = json.dumps([pattern, images])
    try:
        subprocess.run(
            [sys.executable, "-I", "-c", _TRY],
            input=task,
            text=True,
            timeout=_PATTERN_S,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        raise UsageError(
            f"The subject pattern {pattern!r} takes longer than {_PATTERN_S:g} s on these file "
            "names: simplify it."
        ) from None


def _check_classes(classes: Iterable[str]) -> tuple[str, ...]:
    """Return the classes under their standard names: "Happy" becomes "happiness"."""
    named = [class_of(unicodedata.normalize("NFC", name)) for name in classes]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise UsageError(f"The class {twice[0]!r} occurs twice.")
    if not 2 <= len(named) <= MOST_CLASSES:
        raise UsageError(f"A set has 2 to {MOST_CLASSES} classes, got {len(named)}.")
    for name in named:
        if not name or len(name) > 40 or not name.isprintable() or name == NO_FACE:
            raise UsageError(f"{name!r} cannot be a class: enter a word of at most 40 letters.")
    return tuple(named)


def _images(folder: Path) -> list[str]:
    """Return the images below a folder, without hidden files."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"The folder {error.filename} cannot be read: {error.strerror}.")

    found: list[str] = []
    for here, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if name[0] != "."]
        for name in files:
            if name[0] != "." and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                found.append((Path(here) / name).relative_to(folder).as_posix())
        if len(found) > MOST_IMAGES:
            raise UsageError(f"A set has at most {MOST_IMAGES:,} images: choose a sub-folder.")
    if not found:
        raise UsageError(f"{folder} contains no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    for path in found:
        # Paths must survive writing to a CSV and reading it with `read_ratings`.
        text = path.encode(errors="replace").decode()
        if text != path or path != path.strip() or set(path) & set("\\\r\n"):
            raise UsageError(
                f"The file name {text!r} cannot be written to a table: rename the file."
            )
    return found


LATER: Final = "later"
SKIPPED: Final = "skipped"
UNREADABLE: Final = "unreadable"
_MARKS: Final = (NO_FACE, LATER, SKIPPED, UNREADABLE)


class Rating(NamedTuple):
    """A rater's answer for an image: a class, or a mark with the reason why there is none.

    seen: how often the image had been shown by then, 1 or 2.
    """

    label: str
    mark: str = ""
    seen: int = 1


class Rater:
    """One person's ratings, stored in a CSV (path,label,mark,seen[,subject]).

    Every image is shown once, in the rater's own order; skipped ones are shown once more at the
    end. `read_ratings` ignores rows with an empty label; their `mark` is the reason: "no face",
    "skipped" (twice), "unreadable", or "later" (skipped once, to be shown again).
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
        """Add and return a rater; UsageError if the name is in use or invalid."""
        file = of.rater_file(name)
        if file.stem.casefold() in map(str.casefold, of.raters()):
            raise UsageError(
                f"There is a rater {file.stem} already: select this name, or enter another."
            )
        write_text(file, "path,label,mark,seen\n")
        return Rater(of, file.stem)

    @property
    def queue(self) -> list[int]:
        """The images still to rate, the next one first."""
        fresh = [i for i in self.order if i not in self.given]
        return fresh + [i for i in self.order if i in self.given and self.given[i].mark == LATER]

    def state(self) -> dict[str, Any]:
        """Return the rater's progress, without the ratings.

        image, next: numbers of the image to rate and of the one after it, or null.
        again: the image was skipped before. later: number of skipped images.
        """
        queue = self.queue
        return {
            "name": self.file.stem,
            "image": queue[0] if queue else None,
            "next": queue[1] if len(queue) > 1 else None,
            "again": bool(queue) and queue[0] in self.given,
            "later": sum(rating.mark == LATER for rating in self.given.values()),
            "done": len(self.order) - len(queue),
            "total": len(self.order),
            "undo": bool(self.given),
        }

    def rate(self, number: int, label: str | None = None, mark: str | None = None) -> Rater:
        """Save the rating of the next image; return the rater.

        label: a class; or mark: "no face", "skip" or "unreadable". Raises UsageError for anything
        else, for another image, and for "unreadable" if the image can be read.
        """
        queue = self.queue
        if not queue or self.set.check_number(number) != queue[0]:
            raise UsageError("Another image is next: was this one rated in another window?")
        again = queue[0] in self.given
        marks = {NO_FACE: NO_FACE, "skip": SKIPPED if again else LATER, UNREADABLE: UNREADABLE}
        known = mark in marks if label is None else mark is None and label in self.set.classes
        if not known:
            raise UsageError(
                f"A rating is one of {', '.join(self.set.classes)} (label), or one of "
                f"{', '.join(marks)} (mark)."
            )
        if mark == UNREADABLE and self.set.readable(queue[0]):
            raise UsageError("This image can be read after all: please rate it.")
        self.given[queue[0]] = Rating(label or "", marks.get(mark or "", ""), 2 if again else 1)
        self._write()
        return self

    def undo(self) -> Rater:
        """Remove the last rating, so that its image is next; UsageError if there is none."""
        rated = [i for i in self.order if i in self.given]
        second = [i for i in rated if self.given[i].seen > 1]
        if second:
            self.given[second[-1]] = Rating("", LATER)
        elif rated:
            del self.given[rated[-1]]
        else:
            raise UsageError("There is nothing to undo.")
        self._write()
        return self

    def _read(self) -> dict[int, Rating]:
        header, rows = read_table(self.file, ["path", "label"])
        number = {path: i for i, path in enumerate(self.set.images)}
        given = {}
        for row in rows:
            cells = dict(zip(header, row, strict=True))
            label, mark = class_of(cells["label"]), cells.get("mark", "")
            if cells["path"] not in number:
                raise MoppetError(f"{self.file} lists {cells['path']}, which is not in the set.")
            if label and label not in self.set.classes:
                raise MoppetError(
                    f"{self.file} has the label {label!r}, which is not a class of the set."
                )
            if label or mark in _MARKS:
                seen = 2 if cells.get("seen") == "2" else 1
                given[number[cells["path"]]] = Rating(label, "" if label else mark, seen)
        return given

    def _write(self) -> None:
        subject = subject_finder(self.set.subject_pattern)
        more = ["subject"] if self.set.subject_pattern else []
        rows = []
        for number in self.order:
            if number in self.given:
                path = self.set.images[number]
                rows.append([path, *self.given[number], *([subject(path) or ""] if more else [])])
        write_csv(self.file, ["path", "label", "mark", "seen", *more], rows)
