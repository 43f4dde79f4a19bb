"""Rating sets: images that several people label, each blind to the others."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2

from moppet.datasets.readers.dataset import subject_finder
from moppet.datasets.readers.tables import read_table
from moppet.files import write_text
from moppet.media import IMAGE_SUFFIXES
from moppet.media.images import load_image
from moppet.values import EXPRESSIONS, MediaError, MoppetError, UsageError
from moppet.vocabulary import class_of

NO_FACE: Final = "no face"
MOST_IMAGES: Final = 20_000
MOST_CLASSES: Final = 20
SHOWN_PX: Final = 1600
"""The longer side of an image as the page gets it, at most."""
_PLAIN: Final = re.compile(r"\w([\w .-]{0,38}\w)?")


@dataclass(frozen=True)
class RatingSet:
    """What is rated, and where its files are.

    place: its folder in the workspace. folder: where the images are. classes: in the order of
        the buttons. images: paths below the folder, with "/", in an order that tells nothing of
        their sub-folders: an image is known to the page by its number here, and by that alone.
    subject_pattern: finds in a path who it is (`subject_finder`), None where nothing does.
    """

    place: Path
    folder: Path
    classes: tuple[str, ...]
    pictures: tuple[str, ...]
    subject_pattern: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """What it is called."""
        return self.place.name

    def rater_file(self, rater: str) -> Path:
        """Return where a rater's CSV is, or is to be; UsageError for a name that is not plain."""
        return self.place / "raters" / f"{plain_name(rater, 'rater')}.csv"

    def raters(self) -> list[str]:
        """Return who has begun."""
        return sorted(file.stem for file in (self.place / "raters").glob("[!.]*.csv"))

    def order_of(self, rater: str) -> list[int]:
        """Return the numbers of all images in a rater's own order, the same every time."""
        keys = [_key(self.seed, rater, path) for path in self.pictures]
        return sorted(range(len(keys)), key=keys.__getitem__)

    def check_number(self, photo: object) -> int:
        """Return an image's number; UsageError where the set has no such image."""
        if type(photo) is not int or not 0 <= photo < len(self.pictures):
            raise UsageError(f"The set has {len(self.pictures)} images, but not this one.")
        return photo

    def readable(self, photo: int) -> bool:
        """Return whether an image can be read now."""
        return load_image(self.folder / self.pictures[photo]) is not None

    def png(self, photo: int) -> bytes:
        """Return an image as PNG, upright, its longer side at most SHOWN_PX, without its name.

        Raises MediaError, which names no file, where it cannot be read.
        """
        image = load_image(self.folder / self.pictures[self.check_number(photo)])
        if image is None:
            raise MediaError("This image cannot be read: it is damaged, or not in its folder.")
        shown = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        high, wide = image.shape[:2]
        shrink = SHOWN_PX / max(high, wide)
        if shrink < 1:
            size = (max(1, round(wide * shrink)), max(1, round(high * shrink)))
            shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".png", shown, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


class RatingSets:
    """The rating sets of a workspace; `lock` is held while something is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.Lock()

    def names(self) -> list[str]:
        """Return the sets that are there."""
        return sorted(file.parent.name for file in self.root.glob("*/set.json"))

    def of(self, name: str) -> RatingSet:
        """Return a set; UsageError where there is none of this name, MoppetError where damaged."""
        if name not in self.names():
            raise UsageError(f"There is no set {name!r}.")
        file = self.root / name / "set.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            return RatingSet(
                file.parent,
                Path(kept["folder"]),
                tuple(kept["classes"]),
                tuple(kept["pictures"]),
                kept["subject_pattern"],
                int(kept["seed"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            raise MoppetError(f"{file} is damaged: take it from a backup.") from None

    def create(
        self,
        name: str,
        folder: str,
        classes: Sequence[str] = EXPRESSIONS,
        subject_pattern: str | None = None,
        seed: int = 0,
    ) -> RatingSet:
        """Return a new set of all images in a folder and its sub-folders.

        Raises UsageError for a name that is taken or not plain, a path that is no folder, no
        images or more than MOST_IMAGES, and classes that are no two different words.
        """
        place = self.root / plain_name(name, "set")
        if place.name.casefold() in map(str.casefold, self.names()):
            raise UsageError(f"There is a set {place.name!r} already: choose another name.")
        subject_finder(subject_pattern)
        source = _folder(folder)
        named = _check_classes(classes)
        pictures = sorted(_images(source), key=lambda path: _key(seed, "", path))
        made = RatingSet(place, source, named, tuple(pictures), subject_pattern, seed)
        kept = {
            "folder": str(source),
            "classes": named,
            "pictures": pictures,
            "subject_pattern": subject_pattern,
            "seed": seed,
        }
        write_text(place / "set.json", json.dumps(kept, ensure_ascii=False, indent=0))
        return made


def plain_name(name: str, of: str) -> str:
    """Return a name that can be a file's everywhere; UsageError for another. of: "set", "rater"."""
    given = unicodedata.normalize("NFC", name.strip())
    if not _PLAIN.fullmatch(given):
        raise UsageError(
            f"A {of}'s name is at most 40 letters, digits, spaces, dots and dashes, with a letter "
            "or digit at either end."
        )
    return given


def _key(seed: int, rater: str, path: str) -> bytes:
    """What images are sorted by: chance, but the same on every machine and in every version."""
    return hashlib.sha256(f"{seed}/{rater}/{path}".encode()).digest()


def _folder(text: str) -> Path:
    try:
        place = Path(text.strip()).expanduser()
        if not place.is_absolute():
            raise UsageError("Give the whole path of the folder, from / on.")
        if place.is_dir():
            return place.resolve()
    except (OSError, RuntimeError, ValueError):
        pass
    raise UsageError(f"There is no folder {text.strip()}.")


def _check_classes(classes: Iterable[str]) -> tuple[str, ...]:
    """Return the classes as the raters' files will have them: "Happy" is happiness."""
    named = [class_of(unicodedata.normalize("NFC", name)) for name in classes]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise UsageError(f"The class {twice[0]!r} is there twice.")
    if not 2 <= len(named) <= MOST_CLASSES:
        raise UsageError(f"A set has 2 to {MOST_CLASSES} classes, but {len(named)} came.")
    for name in named:
        if not name or len(name) > 40 or not name.isprintable() or name == NO_FACE:
            raise UsageError(f"{name!r} cannot be a class: give a word, of at most 40 letters.")
    return tuple(named)


def _images(folder: Path) -> list[str]:
    """Return the images below a folder, hidden ones left out."""

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
        raise UsageError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    for path in found:
        # A table of paths must give them back as they are: see `read_ratings`.
        text = path.encode(errors="replace").decode()
        if text != path or path != path.strip() or set(path) & set("\\\r\n"):
            raise UsageError(f"The file name {text!r} cannot stand in a table: rename the file.")
    return found


LATER: Final = "later"
SKIPPED: Final = "skipped"
UNREADABLE: Final = "unreadable"
_MARKS: Final = (NO_FACE, LATER, SKIPPED, UNREADABLE)


class Rating(NamedTuple):
    """What a rater said of an image: a class, or else a mark that says why there is none.

    seen: how often the image had come by then, 1 or 2.
    """

    label: str
    mark: str = ""
    seen: int = 1


class Rater:
    """One person's ratings, read from and kept in a CSV (path,label,mark,seen[,subject]).

    Every image comes once, in the rater's own order; those that were skipped come once more at
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
        write_text(file, "path,label,mark,seen\n")
        return Rater(of, file.stem)

    @property
    def queue(self) -> list[int]:
        """The images that are still to come, the next one first."""
        fresh = [i for i in self.order if i not in self.given]
        return fresh + [i for i in self.order if i in self.given and self.given[i].mark == LATER]

    def state(self) -> dict[str, Any]:
        """Return how far the rater is, without a word of what was said.

        image, next: numbers of the image to rate and of the one after it, or null.
        again: the image was skipped before. later: how many were.
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

    def rate(self, photo: object, label: object = None, mark: object = None) -> None:
        """Keep what the rater says of the image that is next.

        label: a class; or mark: "no face", "skip" or "unreadable". Raises UsageError for anything
        else, for another image, and for a readable one that is called unreadable.
        """
        queue = self.queue
        if not queue or self.set.check_number(photo) != queue[0]:
            raise UsageError("Another image is next: was this one rated in another window?")
        again = queue[0] in self.given
        if label is not None and mark is None and label in self.set.classes:
            said = Rating(str(label))
        elif label is None and mark == NO_FACE:
            said = Rating("", NO_FACE)
        elif label is None and mark == "skip":
            said = Rating("", SKIPPED if again else LATER)
        elif label is None and mark == UNREADABLE:
            if self.set.readable(queue[0]):
                raise UsageError("This image can be read after all: look at it again.")
            said = Rating("", UNREADABLE)
        else:
            raise UsageError(
                f"A rating is one of {', '.join(self.set.classes)} (label), or one of "
                f"{NO_FACE}, skip, {UNREADABLE} (mark)."
            )
        self.given[queue[0]] = said._replace(seen=2 if again else 1)
        self._write()

    def undo(self) -> None:
        """Take the last rating back, so that its image is next; UsageError if there is none."""
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
        for photo in self.order:
            if photo in self.given:
                path = self.set.pictures[photo]
                who = [subject(path) or ""] if more else []
                table.writerow([path, *self.given[photo], *who])
        write_text(self.file, text.getvalue())
