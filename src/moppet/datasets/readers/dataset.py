"""Dataset: the layout, license and reader of a known set of images."""

from __future__ import annotations

import inspect
import os
import re
import signal
import textwrap
import threading
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, make_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from moppet.config import check_settings
from moppet.datasets.manifest import Manifest, build_manifest
from moppet.datasets.readers.folder_tree import describe, first_few
from moppet.files import one_line, read_bytes
from moppet.values import EXPRESSIONS, MoppetError, UsageError

Columns = dict[str, list[Any]]

IMAGES: Final = "images (.png, .jpg, .jpeg, .bmp, .webp, .tif, .tiff)"
_LONGEST_PATTERN: Final = 1000
_MATCH_S: Final = 1.0
_FORMER_OPTIONS: Final = {"keep_unlabelled": "keep_unlabeled"}


@dataclass(frozen=True)
class Dataset:
    """A known set of images.

    name: value of `kind`. title: name for display.
    layout: the files that its reader expects, as a tree.
    basis: the sources of that layout, and what was not checked against the dataset.
    license: its license and consent conditions, in plain sentences.
    looks_like: quick test of whether a path has that layout.
    reader: called as reader(dataset, path, **options), returns the manifest. Its keyword-only
        parameters are the options; their annotations are checked as in `moppet.config`.
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
        return tuple(parameter.name for parameter in self._parameters(eval_str=False))

    def _parameters(self, *, eval_str: bool) -> list[inspect.Parameter]:
        parameters = inspect.signature(self.reader, eval_str=eval_str).parameters.values()
        return [p for p in parameters if p.kind is p.KEYWORD_ONLY]

    def recognizes(self, path: str | os.PathLike[str]) -> bool:
        """Return whether a path has this dataset's layout; no image is opened."""
        try:
            return self.looks_like(Path(path))
        except (OSError, ValueError, MoppetError):
            return False

    def read(self, path: str | os.PathLike[str], **options: Any) -> Manifest:
        """Return the manifest of the dataset at a path; no image is opened.

        options: see docs/reference/dataset-layouts.md.
        Raises UsageError for unknown options and values of another kind, and MoppetError for
        missing or unexpected files, with the expected layout.
        """
        checked = self._check(options) if options else {}
        root = Path(path)
        if not root.exists():
            raise MoppetError(f"{self.title} was expected at {root}, which does not exist.")
        return self.reader(self, root, **checked)

    def _check(self, options: dict[str, Any]) -> dict[str, Any]:
        fields = [
            (p.name, Any if p.annotation is p.empty else p.annotation, p.default)
            for p in self._parameters(eval_str=True)
        ]
        kind = make_dataclass("Options", fields, namespace={"RENAMED": _FORMER_OPTIONS})
        return dict(vars(check_settings(kind, options, f"--option of {self.name}")))

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
                f"{listed_in} are missing in {root} ({first_few(missing)}): copy them there, or "
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


def known_dataset(
    name: str, looks_like: Callable[[Path], bool], reader: Callable[..., Manifest]
) -> Dataset:
    """Return a dataset whose texts are in layouts.toml."""
    texts = _texts()[name]
    prose = {key: " ".join(texts[key].split()) for key in ("title", "basis", "license")}
    return Dataset(
        name, layout=texts["layout"].strip(), looks_like=looks_like, reader=reader, **prose
    )


@lru_cache(maxsize=1)
def _texts() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_name("layouts.toml").read_text(encoding="utf-8"))


def as_columns(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Columns:
    """Return rows as columns of these names, which are empty without rows."""
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return {name: list(values) for name, values in zip(names, columns, strict=True)}


def choose(columns: Columns, keep: Sequence[bool]) -> Columns:
    """Return the columns with only the rows to keep."""
    return {
        name: [value for value, kept in zip(values, keep, strict=True) if kept]
        for name, values in columns.items()
    }


def subject_finder(pattern: str | None) -> Callable[[str], str | None]:
    """Return a function that finds the subject in a relative path by a regular expression.

    The first group is the subject, or the whole match without a group.
    Raises UsageError for an invalid expression, and for one that takes seconds for one path, as
    nested repetitions such as (a+)+ do.
    """
    if pattern is None:
        return lambda _: None
    shown = one_line(repr(pattern), 60)
    if len(pattern) > _LONGEST_PATTERN:
        raise UsageError(
            f"subject_pattern {shown} has {len(pattern):,} characters, at most {_LONGEST_PATTERN} "
            "are read."
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(
            f"subject_pattern {shown} is not a valid regular expression: {one_line(error)}."
        ) from None

    def find(path: str) -> str | None:
        try:
            with _seconds(_MATCH_S):
                match = expression.search(path)
        except _TooSlow:
            raise UsageError(
                f"subject_pattern {shown} takes more than {_MATCH_S} s for {path}: write it "
                "without repetitions inside repetitions."
            ) from None
        return match.group(1 if expression.groups else 0) if match else None

    return find


class _TooSlow(Exception):
    """A regular expression has not found an end in time."""


@contextmanager
def _seconds(most: float) -> Iterator[None]:
    """Raise _TooSlow if the block, of Python's `re` alone, takes longer.

    `re` looks for signals while it searches. Where there are none (Windows, other threads), and
    where the program has a timer of its own, nothing is limited.
    """
    here = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if not here or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def stop(*_: Any) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, most)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_text(path: Path) -> str:
    """Return a text file's content; MoppetError if it is unreadable or not UTF-8."""
    try:
        return read_bytes(path, "file").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MoppetError(f"{path} is not UTF-8 text: save it as UTF-8.") from None


def _check_text(paths: Sequence[str]) -> None:
    try:
        "\n".join(paths).encode()
    except UnicodeEncodeError:
        odd = next(path for path in paths if any("\ud800" <= x <= "\udfff" for x in path))
        shown = odd.encode(errors="surrogateescape").decode(errors="replace")
        raise MoppetError(f"the file name {shown} is not UTF-8 text: rename the file.") from None
