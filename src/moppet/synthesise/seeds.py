"""Seeds that depend on what they are for, so that nothing made depends on what else was made."""

from __future__ import annotations

import hashlib
from typing import Final

_SEEDS: Final = 2**48


def seed_of(*parts: int | str) -> int:
    """Return a seed that depends on all the parts and on nothing else; it fits a JSON number."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") % _SEEDS
