"""Recipes, settings and studies as TOML files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from moppet.values import UsageError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return a TOML file's table; UsageError, in one sentence, where there is none.

    what: the file in words, such as "recipe".
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the {what} {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the {what} {path} is not valid TOML: {error}.") from None
