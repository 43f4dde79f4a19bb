"""What to install where a command needs more than `pip install moppet` brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moppet.values import MoppetError


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Turn the import of a library that only an extra brings into what to install.

    name: of the extra. what: the one that needs it, to begin the sentence with.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MoppetError(
            f"{what} needs {error.name}. Install it with: pip install 'moppet[{name}]'"
        ) from None
