"""What to install where a command needs more than `pip install moppet` brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moppet.values import MoppetError


@contextmanager
def training_extra() -> Iterator[None]:
    """Turn the import of a library that only the extra brings into what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MoppetError(
            f"Training needs {error.name}. Install it with: pip install 'moppet[train]'"
        ) from None
