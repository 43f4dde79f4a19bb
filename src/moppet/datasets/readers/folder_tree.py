"""What lies in a folder: its images by name, without opening one."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from moppet.media import IMAGE_SUFFIXES
from moppet.values import MoppetError

_PHONES: Final = ".heic .heif .hif .avif .jxl .jp2 .jfif .jpe .gif .pgm .ppm .psd"
_CAMERAS: Final = ".dng .cr2 .cr3 .nef .arw .raf .orf .rw2"
OTHER_IMAGES: Final = frozenset(f"{_PHONES} {_CAMERAS}".split())
"""Suffixes of images that are not read here: what telephones and cameras write besides."""
_SHOWN: Final = 6
_LEFTOVERS: Final = ("__macosx", "@eadir")  # of archives and of network disks


def walk_files(root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> Iterator[str]:
    """Yield the files with these suffixes (any case) below a folder, relative, with slashes.

    A folder's files come in natural order, then its folders'. Names that begin with a dot are
    left out. Links are followed; one that leads back to a folder it lies in is ignored. Files are
    named, never opened: ten thousand take a fraction of a second.
    Raises MoppetError for a folder that may not be read.
    """
    return _walk(os.fspath(root), "", frozenset(suffixes), ())


def _walk(
    folder: str, prefix: str, suffixes: frozenset[str], above: tuple[tuple[int, int], ...]
) -> Iterator[str]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as entries:
            listed = sorted((e for e in entries if not _leftover(e.name)), key=_by_name)
    except OSError as error:
        raise MoppetError(f"the folder {folder} cannot be read: {error.strerror}.") from None
    folders = []
    for entry in listed:
        if _is_folder(entry):
            folders.append(entry)
        elif os.path.splitext(entry.name)[1].lower() in suffixes and _is_file(entry):
            yield prefix + entry.name
    for entry in folders:
        yield from _walk(entry.path, f"{prefix}{entry.name}/", suffixes, (*above, here))


def subfolders(folder: Path) -> list[Path]:
    """Return a folder's folders in natural order, without hidden ones; [] if it is none."""
    try:
        with os.scandir(folder) as entries:
            listed = [e for e in entries if not _leftover(e.name) and _is_folder(e)]
    except OSError:
        return []
    return [Path(entry.path) for entry in sorted(listed, key=_by_name)]


def first_files(root: Path, count: int, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[str]:
    """Return the first few files below a folder, enough to tell what set it is."""
    if not root.is_dir():
        return []
    return list(itertools.islice(walk_files(root, suffixes), count))


def tell_unread(root: Path) -> None:
    """Say on stderr how many images below a folder are of kinds that are not read."""
    found = list(walk_files(root, OTHER_IMAGES))
    if found:
        print(
            f"moppet: {len(found):,} images in {root} are of kinds that are not read and are "
            f"left out ({some_of(found)}): save them as .jpg or .png.",
            file=sys.stderr,
        )


def describe(folder: Path) -> str:
    """Say what is at a path, to end a sentence with: "it holds a/, b.txt and 3 more"."""
    if folder.is_file():
        return "that is a file"
    try:
        with os.scandir(folder) as entries:
            names = [
                e.name + "/" * _is_folder(e)
                for e in sorted(entries, key=_by_name)
                if not _leftover(e.name)
            ]
    except OSError:
        return "there is no such folder"
    if not names:
        return "it is empty"
    return f"it holds {some_of(names)}"


def some_of(names: Collection[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = ", ".join(itertools.islice(names, _SHOWN))
    more = len(names) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def bears_name(path: Path, *words: str) -> bool:
    """Whether a folder's own name has all of these words in it, whatever stands between."""
    name = re.sub(r"[\W_]", "", path.resolve().name.casefold())
    return all(word in name for word in words)


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key in which 2.png comes before 10.png."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(int(digits or -1), text.casefold()) for digits, text in parts], name


def _by_name(entry: os.DirEntry[str]) -> tuple[list[tuple[int, str]], str]:
    return natural(entry.name)


def _leftover(name: str) -> bool:
    return name[0] == "." or name.casefold() in _LEFTOVERS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """A broken link is a file too: the audit tells of it. A pipe or a socket is none."""
    try:
        return entry.is_file() or entry.is_symlink()
    except OSError:
        return True
