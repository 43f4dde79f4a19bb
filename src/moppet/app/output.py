"""Where a command's results go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moppet.values import MoppetError


@contextmanager
def result_folder(folder: Path) -> Iterator[None]:
    """Make the folder before the work; take it away again if that fails."""
    fresh = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MoppetError(f"{folder} cannot be made: {error.strerror}.") from None
    try:
        yield
    except BaseException:
        if fresh and not any(folder.iterdir()):
            folder.rmdir()
        raise


def write_text(path: Path, text: str) -> Path:
    """Write a result and return where; MoppetError, in one sentence, where that fails."""
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise MoppetError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path
