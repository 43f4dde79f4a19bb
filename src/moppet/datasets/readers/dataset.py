"""Dataset: the layout, license and reader of a known set of images."""

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

    name: value of `kind`. title: name for display.
    layout: the files that its reader expects, as a tree.
    basis: the sources of that layout, and what was not checked against the dataset.
    license: its license and consent conditions, in plain sentences.
    looks_like: quick test of whether a path has that layout.
    reader: called as reader(dataset, path, **options), returns the manifest.
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
        """Return whether a path has this dataset's layout; no image is opened."""
        try:
            return self.looks_like(Path(path))
        except (OSError, ValueError, MoppetError):
            return False

    def read(self, path: str | os.PathLike[str], **options: Any) -> Manifest:
        """Return the manifest of the dataset at a path; no image is opened.

        options: see docs/reference/dataset-layouts.md.
        Raises UsageError for an unknown option, and MoppetError for missing or unexpected files,
        with the expected layout.
        """
        for option in options:
            if option not in self.options:
                hint = name_hint(option, self.options)
                raise UsageError(f"{self.title} has no option {option!r}.{hint}")
            self._check_option(option, options[option])
        root = Path(path)
        if not root.exists():
            raise MoppetError(f"{self.title} was expected at {root}, which does not exist.")
        return self.reader(self, root, **options)

    def _check_option(self, option: str, value: object) -> None:
        declared = str(inspect.signature(self.reader).parameters[option].annotation)
        kinds, needed = _KINDS.get(declared, (object, ""))
        odd_flag = isinstance(value, bool) and declared in ("float", "int")
        if not isinstance(value, kinds) or odd_flag:
            raise UsageError(f"{self.title}: option {option} needs {needed}, not {value!r}.")

    def expected(self, what: str, where: Path) -> MoppetError:
        """Return the error for a missing part of the layout; the caller raises it."""
        return MoppetError(
            f"{self.title} needs {what} in {where}, but {describe(where)}.\n"
            f"Its layout:\n{textwrap.indent(textwrap.dedent(self.layout).strip(), '    ')}"
        )

    def odd(self, what: str, where: Path | str) -> MoppetError:
        """Return the error for a file with unexpected contents; the caller raises it."""
        return MoppetError(f"{self.title}: {where} {what}.")

    def folder(self, root: Path, *candidates: str) -> Path:
        """Return the first existing folder ("." is root). Raises MoppetError if there is none."""
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
        """Return whether each listed image exists.

        Raises MoppetError if one is missing, unless allow_missing.
        """
        exists = [os.path.isfile(os.path.join(root, path)) for path in paths]
        missing = [path for path, found in zip(paths, exists, strict=True) if not found]
        if missing and (not allow_missing or len(missing) == len(paths)):
            raise MoppetError(
                f"{self.title}: {len(missing):,} of the {len(paths):,} images listed in "
                f"{listed_in} are missing in {root} ({some_of(missing)}): copy them there, or "
                "leave their rows out with allow_missing=True."
            )
        return exists

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
        only_expressions: leave out rows whose label is not one of the seven expressions.
        Raises MoppetError if no row is left, or a path is not valid text.
        """
        if only_expressions:
            keep = [name is None or name in EXPRESSIONS for name in columns["label"]]
            columns = choose(columns, keep)
        if not columns["path"]:
            raise MoppetError(f"{self.title}: no row of {root} is left with these options.")
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
    """Return a function that finds the subject in a relative path by a regular expression.

    The first group is the subject, or the whole match without a group.
    Raises UsageError for an invalid expression.
    """
    if pattern is None:
        return lambda _: None
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"subject_pattern {pattern!r} is not a valid regular expression: {error}."
        ) from None

    def find(path: str) -> str | None:
        match = expression.search(path)
        return match.group(1 if expression.groups else 0) if match else None

    return find


def read_text(path: Path) -> str:
    """Return a text file's content; MoppetError if it is unreadable or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise MoppetError(f"{path} is not UTF-8 text: save it as UTF-8.") from None
    except OSError as error:
        raise MoppetError(f"{path} cannot be read: {error.strerror}.") from None


def _check_text(paths: Sequence[str]) -> None:
    try:
        "\n".join(paths).encode()
    except UnicodeEncodeError:
        odd = next(path for path in paths if any("\ud800" <= x <= "\udfff" for x in path))
        shown = odd.encode(errors="surrogateescape").decode(errors="replace")
        raise MoppetError(f"the file name {shown} is not UTF-8 text: rename the file.") from None
