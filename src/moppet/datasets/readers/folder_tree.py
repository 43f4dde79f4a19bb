"""Lists the files and folders of a dataset, without opening images."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from moppet.media import IMAGE_SUFFIXES
from moppet.media.sources import natural
from moppet.values import MoppetError

_PHONES: Final = ".heic .heif .hif .avif .jxl .jp2 .jfif .jpe .gif .pgm .ppm .psd"
_CAMERAS: Final = ".dng .cr2 .cr3 .nef .arw .raf .orf .rw2"
DATASET_IMAGES: Final = (
    IMAGE_SUFFIXES
    if importlib.util.find_spec("pillow_heif")
    else IMAGE_SUFFIXES - {".heic", ".heif"}
)
"""Suffixes of the images that can be read here."""
OTHER_IMAGES: Final = frozenset(f"{_PHONES} {_CAMERAS}".split()) - DATASET_IMAGES
"""Suffixes of unsupported image formats of phones and cameras."""
_SHOWN: Final = 6
_MOST_LINKS: Final = 10_000
_DEEPEST: Final = 200
_SAMPLE: Final = 20
_LEFTOVERS: Final = ("__macosx", "@eadir")  # of archives and network drives


def walk_files(root: Path, suffixes: Collection[str] = DATASET_IMAGES) -> Iterator[str]:
    """Yield the relative paths of the files with these suffixes (any case) below a folder.

    Paths have slashes; files come before subfolders, both in natural order. Names that begin with
    a dot are left out. Links are followed, except back to a parent folder. Files are not opened.
    Raises MoppetError for an unreadable folder, and for folders whose links to each other have
    thousands of ways through them.
    """
    return _walk(os.fspath(root), "", frozenset(suffixes), (), [0])


def _walk(
    folder: str,
    prefix: str,
    suffixes: frozenset[str],
    above: tuple[tuple[int, int], ...],
    linked: list[int],
) -> Iterator[str]:
    """See `walk_files`. above: the folders that lead here. linked: links followed so far."""
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
        linked[0] += entry.is_symlink()
        if linked[0] > _MOST_LINKS or len(above) > _DEEPEST:
            raise MoppetError(
                f"the folder {entry.path} lies behind more than {_MOST_LINKS:,} links to folders, "
                f"or {_DEEPEST} folders deep: remove links that lead in circles."
            )
        yield from _walk(entry.path, f"{prefix}{entry.name}/", suffixes, (*above, here), linked)


def subfolders(folder: Path) -> list[Path]:
    """Return the subfolders in natural order, without hidden ones; [] if it is not a folder."""
    try:
        with os.scandir(folder) as entries:
            listed = [e for e in entries if not _leftover(e.name) and _is_folder(e)]
    except OSError:
        return []
    return [Path(entry.path) for entry in sorted(listed, key=_by_name)]


def first_files(root: Path, count: int, suffixes: Collection[str] = DATASET_IMAGES) -> list[str]:
    """Return the first `count` files below a folder."""
    if not root.is_dir():
        return []
    return list(itertools.islice(walk_files(root, suffixes), count))


def has_any(*names: str) -> Callable[[Path], bool]:
    """Return a test of whether a folder has one of these files or folders."""
    return lambda path: any((path / name).exists() for name in names)


def named_like(
    root: Path, pattern: re.Pattern[str], suffixes: Collection[str] = DATASET_IMAGES
) -> bool:
    """Return whether the first files below a folder all match a pattern."""
    found = first_files(root, _SAMPLE, suffixes)
    return bool(found) and all(pattern.fullmatch(os.path.basename(name)) for name in found)


def warn_unsupported(root: Path) -> None:
    """Print the number of images below a folder in unsupported formats on stderr."""
    found = list(walk_files(root, OTHER_IMAGES))
    if found:
        print(
            f"moppet: {len(found):,} images in {root} have unsupported formats and are left out "
            f"({first_few(found)}): save them as .jpg or .png.",
            file=sys.stderr,
        )


def describe(folder: Path) -> str:
    """Return a clause that describes a path: "it contains a/, b.txt and 3 more"."""
    if folder.is_file():
        return "it is a file"
    try:
        with os.scandir(folder) as entries:
            names = [
                e.name + "/" * _is_folder(e)
                for e in sorted(entries, key=_by_name)
                if not _leftover(e.name)
            ]
    except OSError:
        return "it does not exist"
    if not names:
        return "it is empty"
    return f"it contains {first_few(names)}"


def first_few(names: Collection[str]) -> str:
    """Return the first few names and the number of others."""
    shown = ", ".join(itertools.islice(names, _SHOWN))
    more = len(names) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def name_contains(path: Path, *words: str) -> bool:
    """Return whether a folder's name contains all of these words, ignoring punctuation."""
    name = re.sub(r"[\W_]", "", path.resolve().name.casefold())
    return all(word in name for word in words)


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
    """Return whether it is a file or a broken link (which the audit reports)."""
    try:
        return entry.is_file() or entry.is_symlink()
    except OSError:
        return True
