"""Dataset: a known set of images, with its layout, its conditions and its reader."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moppet.datasets.manifest import Manifest, build_manifest
from moppet.datasets.readers.folder_tree import describe, some_of
from moppet.values import EXPRESSIONS, MoppetError, UsageError, name_hint

Columns = dict[str, list[Any]]

_KINDS: Final[dict[str, tuple[Any, str]]] = {
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": (int | float, "a number"),
    "str": (str, "a text"),
    "str | None": (str | None, "a text"),
    "str | os.PathLike[str] | None": (str | os.PathLike | None, "a file's name"),
}
IMAGES: Final = "images (.png, .jpg, .jpeg, .bmp, .webp, .tif, .tiff)"


@dataclass(frozen=True)
class Dataset:
    """A known set of images.

    name: what `kind` calls it. title: what people call it.
    layout: the files that its reader expects, as a tree.
    basis: what that layout rests on, and what of it nobody here could check on the real set.
    license: its license and consent conditions, in plain sentences.
    looks_like: tells cheaply whether what is at a path has that layout.
    reader: called as reader(dataset, path, **options), gives the manifest.
    """

    name: str
    title: str
    layout: str
    basis: str
    license: str
    looks_like: Callable[[Path], bool]
    reader: Callable[..., Manifest]

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options that `read` takes."""
        parameters = inspect.signature(self.reader).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    def recognizes(self, path: str | os.PathLike[str]) -> bool:
        """Whether what is at a path has this set's layout; no image is opened."""
        try:
            return self.looks_like(Path(path))
        except (OSError, ValueError, MoppetError):
            return False

    def read(self, path: str | os.PathLike[str], **options: Any) -> Manifest:
        """Return the manifest of the set at a path; no image is opened.

        options: those of docs/reference/dataset-layouts.md.
        Raises UsageError for an unknown option, and MoppetError for files that are missing or
        odd, which lists what was expected and where.
        """
        for option in options:
            if option not in self.options:
                hint = name_hint(option, self.options)
                raise UsageError(f"{self.title} has no option {option!r}.{hint}")
            self._check_option(option, options[option])
        root = Path(path)
        if not root.exists():
            raise MoppetError(f"{self.title} was expected at {root}, but nothing is there.")
        return self.reader(self, root, **options)

    def _check_option(self, option: str, value: object) -> None:
        declared = str(inspect.signature(self.reader).parameters[option].annotation)
        kinds, needed = _KINDS.get(declared, (object, ""))
        odd_flag = isinstance(value, bool) and declared in ("float", "int")
        if not isinstance(value, kinds) or odd_flag:
            raise UsageError(f"{self.title}: option {option} needs {needed}, not {value!r}.")

    def expected(self, what: str, where: Path) -> MoppetError:
        """Return the error for a part of the layout that is missing; the caller raises it."""
        return MoppetError(
            f"{self.title} needs {what} in {where}, but {describe(where)}.\n"
            f"Its layout:\n{textwrap.indent(textwrap.dedent(self.layout).strip(), '    ')}"
        )

    def odd(self, what: str, where: Path | str) -> MoppetError:
        """Return the error for a file that is there but not as it should be."""
        return MoppetError(f"{self.title}: {where} {what}.")

    def folder(self, root: Path, *candidates: str) -> Path:
        """Return the first of these folders that exists, "." for root itself.

        Raises MoppetError if none does.
        """
        for name in candidates:
            if (root / name).is_dir():
                return root / name
        raise self.expected(" or ".join(f"the folder {name}" for name in candidates), root)

    def file(self, root: Path, *candidates: str) -> Path:
        """Return the first of these files that exists. Raises MoppetError if none does."""
        for name in candidates:
            if (root / name).is_file():
                return root / name
        raise self.expected(" or ".join(candidates), root)

    def present(
        self, root: Path, paths: Sequence[str], listed_in: Path, allow_missing: bool
    ) -> list[bool]:
        """Return whether each listed image is there.

        Raises MoppetError if one is missing, unless allow_missing.
        """
        there = [os.path.isfile(os.path.join(root, path)) for path in paths]
        missing = [path for path, found in zip(paths, there, strict=True) if not found]
        if missing and (not allow_missing or len(missing) == len(paths)):
            raise MoppetError(
                f"{self.title}: {len(missing):,} of the {len(paths):,} images that {listed_in} "
                f"lists were expected in {root} and are not there ({some_of(missing)}): copy "
                "them there, or leave their rows out with allow_missing=True."
            )
        return there

    def build(
        self,
        root: Path,
        columns: Columns,
        *,
        names: Sequence[str] | None = None,
        only_expressions: bool = False,
    ) -> Manifest:
        """Return the manifest of these columns.

        names: see `build_manifest`.
        only_expressions: leave out rows whose label is none of the seven.
        Raises MoppetError if no row is left, or a path is not valid text.
        """
        if only_expressions:
            keep = [name is None or name in EXPRESSIONS for name in columns["label"]]
            columns = choose(columns, keep)
        if not columns["path"]:
            raise MoppetError(f"{self.title}: no row of {root} is left that was asked for.")
        _check_text(columns["path"])
        source = {"source": [self.name] * len(columns["path"])}
        return build_manifest(source | columns, root=root, license=self.license, names=names)


def choose(columns: Columns, keep: Sequence[bool]) -> Columns:
    """Return the columns with only the rows to keep."""
    return {
        name: [value for value, kept in zip(values, keep, strict=True) if kept]
        for name, values in columns.items()
    }


def subject_finder(pattern: str | None) -> Callable[[str], str | None]:
    """Return what finds the subject in a relative path by a regular expression.

    The first group is the subject, or the whole match where there is no group.
    Raises UsageError for an expression that cannot be read.
    """
    if pattern is None:
        return lambda _: None
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"subject_pattern {pattern!r} is no regular expression: {error}."
        ) from None

    def find(path: str) -> str | None:
        match = expression.search(path)
        return match.group(1 if expression.groups else 0) if match else None

    return find


def read_text(path: Path) -> str:
    """Return a text file's content; MoppetError naming it if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise MoppetError(f"{path} is no text in UTF-8: save it as that.") from None
    except OSError as error:
        raise MoppetError(f"{path} cannot be read: {error.strerror}.") from None


def _check_text(paths: Sequence[str]) -> None:
    try:
        "\n".join(paths).encode()
    except UnicodeEncodeError:
        odd = next(path for path in paths if not _is_text(path))
        shown = odd.encode(errors="surrogateescape").decode(errors="replace")
        raise MoppetError(f"the file name {shown} is no text in UTF-8: rename the file.") from None


def _is_text(path: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in path)
