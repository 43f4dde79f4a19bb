"""Rating sets: a folder's pictures that several people label, each blind to the others."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2

from moppet.data.readers.dataset import subject_finder
from moppet.data.readers.words import class_of
from moppet.media import PICTURE_SUFFIXES
from moppet.media.pictures import load_picture
from moppet.values import EXPRESSIONS, MediaError, MoppetError, UsageError

NO_FACE: Final = "no face"
MOST_PICTURES: Final = 20_000
MOST_CLASSES: Final = 20
SHOWN_PX: Final = 1600
"""The longer side of a picture as the page gets it, at most."""
_PLAIN: Final = re.compile(r"\w([\w .-]{0,38}\w)?")


@dataclass(frozen=True)
class RatingSet:
    """What is rated, and where its files are.

    place: its folder in the workspace. folder: where the pictures are. classes: in the order of
        the buttons. pictures: paths below the folder, with "/", in an order that tells nothing of
        their sub-folders: a picture is known to the page by its number here, and by that alone.
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
        """Return the numbers of all pictures in a rater's own order, the same every time."""
        keys = [_key(self.seed, rater, path) for path in self.pictures]
        return sorted(range(len(keys)), key=keys.__getitem__)

    def check_number(self, picture: object) -> int:
        """Return a picture's number; UsageError where the set has no such picture."""
        if type(picture) is not int or not 0 <= picture < len(self.pictures):
            raise UsageError(f"The set has {len(self.pictures)} pictures, but not this one.")
        return picture

    def readable(self, picture: int) -> bool:
        """Return whether a picture can be read now."""
        return load_picture(self.folder / self.pictures[picture]) is not None

    def png(self, picture: int) -> bytes:
        """Return a picture as PNG, upright, its longer side at most SHOWN_PX, without its name.

        Raises MediaError, which names no file, where it cannot be read.
        """
        image = load_picture(self.folder / self.pictures[self.check_number(picture)])
        if image is None:
            raise MediaError("This picture cannot be read: it is damaged, or not in its folder.")
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
        """Return a new set of all pictures in a folder and its sub-folders.

        Raises UsageError for a name that is taken or not plain, a path that is no folder, no
        pictures or more than MOST_PICTURES, and classes that are no two different words.
        """
        place = self.root / plain_name(name, "set")
        if place.name.casefold() in map(str.casefold, self.names()):
            raise UsageError(f"There is a set {place.name!r} already: choose another name.")
        subject_finder(subject_pattern)
        source = _folder(folder)
        named = _check_classes(classes)
        pictures = sorted(_pictures(source), key=lambda path: _key(seed, "", path))
        made = RatingSet(place, source, named, tuple(pictures), subject_pattern, seed)
        kept = {
            "folder": str(source),
            "classes": named,
            "pictures": pictures,
            "subject_pattern": subject_pattern,
            "seed": seed,
        }
        write_whole(place / "set.json", json.dumps(kept, ensure_ascii=False, indent=0))
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


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a kill or a power cut leaves the old one or the new one whole."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise MoppetError(f"Cannot write {path}: {error.strerror}.") from None


def _key(seed: int, rater: str, path: str) -> bytes:
    """What pictures are sorted by: chance, but the same on every machine and in every version."""
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


def _pictures(folder: Path) -> list[str]:
    """Return the pictures below a folder, hidden ones left out."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"The folder {error.filename} cannot be read: {error.strerror}.")

    found: list[str] = []
    for here, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if name[0] != "."]
        for name in files:
            if name[0] != "." and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                found.append((Path(here) / name).relative_to(folder).as_posix())
        if len(found) > MOST_PICTURES:
            raise UsageError(f"A set has at most {MOST_PICTURES:,} pictures: choose a sub-folder.")
    if not found:
        raise UsageError(f"{folder} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}).")
    for path in found:
        # A table of paths must give them back as they are: see `read_ratings`.
        text = path.encode(errors="replace").decode()
        if text != path or path != path.strip() or set(path) & set("\\\r\n"):
            raise UsageError(f"The file name {text!r} cannot stand in a table: rename the file.")
    return found
