"""Settings from TOML files, checked key by key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from moppet.values import UsageError


def checked_value(kind: Any, value: Any, where: str) -> Any:
    """Return a value as a type wants it; UsageError, naming the place, for another kind.

    kind: str, int, float (whole numbers too), bool, a table (dict, dict[str, int]) or a list of
    texts (tuple[str, ...], and a tuple is returned).
    """
    origin = get_origin(kind) or kind
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"{where}: expected a list of texts, got {value!r}.")
        return tuple(value)
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not origin:
        word = "a table" if origin is dict else origin.__name__
        raise UsageError(f"{where}: expected {word}, got {value!r}.")
    if origin is dict and get_args(kind):
        return {k: checked_value(get_args(kind)[1], v, f"{where}: {k}") for k, v in value.items()}
    return value


def checked_table(kind: type[Any], table: Any, where: str) -> dict[str, Any]:
    """Return a table's values as a dataclass wants them; its unknown keys are left as they are."""
    types = get_type_hints(kind)
    return {
        key: checked_value(types[key], value, f"{where}: {key}") if key in types else value
        for key, value in checked_value(dict, table, where).items()
    }


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
