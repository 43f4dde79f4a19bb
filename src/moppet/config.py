"""The one validator of settings: recipes, plans, rules, cards and everything else in TOML.

Settings are frozen dataclasses whose annotations give the type and the range of every key:

    @dataclass(frozen=True)
    class Recipe:
        RENAMED: ClassVar = {"colour": "color"}  # old key → new key
        RENAMED_WORDS: ClassVar = {"color": {"grey": "gray"}}  # key → old word → new word

        name: str
        epochs: Annotated[int, Ge(1)] = 20
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.2
        color: Literal["gray", "rgb"] = "gray"
        classes: tuple[str, ...] = ()
        augmentation: Augmentation = Augmentation()

        def problems(self) -> Iterator[str]:  # optional: what several keys must fulfill together
            if len(set(self.classes)) < len(self.classes):
                yield f"classes must differ, got {list(self.classes)}."

        @classmethod
        def table_problems(cls, table: Mapping[str, Any]) -> Iterator[str]:  # optional: what is
            yield from ()  # wrong in tables of other settings, also if keys beside them are wrong

    recipe = read_settings(Recipe, Path("recipe.toml"), "recipe")
    recipe = check_settings(Recipe, {"name": "mine", "epochs": 5}, source="recipe.toml")

Ranges are those of `annotated_types`: Ge, Gt, Le, Lt, Interval, MultipleOf, MinLen, MaxLen. A
whole number counts as a number; a text is no number, and true is no 1. Every mistake is reported
at once, in one UsageError. pydantic does the checking, and is imported when the first is checked.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import tomllib
import types
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from moppet.files import one_line, read_bytes, read_json
from moppet.values import MoppetError, UsageError, name_hint, nearest_name

T = TypeVar("T")

_MOST_BYTES: Final = 1_000_000
_MOST_LEVELS: Final = 12
_KEY: Final = rb"""(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY: Final = re.compile(_KEY + rb"(?:[ \t]*+\.[ \t]*+" + _KEY + rb"){1000}")
"""A key of a thousand parts, such as a.a.a.a…"""
_MOST_LINES: Final = 11
_MOST_SHOWN: Final = 60
_CHECKING: Final[ContextVar[bool]] = ContextVar("_CHECKING", default=False)
_ADAPTERS: Final[dict[Any, Any]] = {}
_KINDS: Final[dict[Any, tuple[str, str]]] = {
    str: ("a text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    Path: ("a path", "paths"),
}
_TABLES: Final = ("a table", "tables")


class SettingsError(UsageError):
    """Wrong settings. problems: a sentence for each mistake."""

    def __init__(self, problems: list[str], source: str = "") -> None:
        super().__init__(_message(problems, source))
        self.problems = problems


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return a TOML file's table; UsageError, in one sentence, where there is none.

    what: the file in words, such as "recipe".
    """
    content = read_bytes(path, what, UsageError, _MOST_BYTES)
    table = None
    try:
        if not _LONG_KEY.search(content):  # tomllib takes gigabytes for them
            table = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:  # also for numbers of thousands of digits
        raise UsageError(f"the {what} {path} is not valid TOML: {one_line(error)}.") from None
    except RecursionError:
        pass
    if table is None or _levels(table) > _MOST_LEVELS:
        raise UsageError(f"the {what} {path} nests tables or lists more than {_MOST_LEVELS} deep.")
    if b"0000" in content and "\\u0000" in json.dumps(table, default=str):
        raise UsageError(f"the {what} {path} has a text with a null character: remove it.")
    return table


def read_settings(
    kind: type[T], path: Path, what: str, changes: Mapping[str, Any] | None = None
) -> T:
    """Return the settings in a TOML file; see `read_toml`, `change_keys` and `check_settings`."""
    table = change_keys(read_toml(path, what), changes or {})
    return check_settings(kind, table, source=str(path))


def change_keys(table: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with some keys set anew; "augmentation.noise" is a key within a table."""
    for name, value in changes.items():
        *tables, key = name.split(".")
        place = table
        for inner in tables:
            place = place.setdefault(inner, {})
            if not isinstance(place, dict):
                raise UsageError(f"--set {name}: {inner!r} is not a table.")
        place[key] = value
    return table


def check_settings(
    kind: type[T], values: Any, source: str = "", *, others: Literal["forbid", "ignore"] = "forbid"
) -> T:
    """Return a dataclass of settings made from a table, with old keys renamed.

    source: where the table comes from, such as a file's name, for the message. others: what to do
    with keys that the dataclass lacks.
    Raises UsageError that lists every wrong key, what it needs, what came, and the nearest name.
    """
    import pydantic

    if not isinstance(values, Mapping):
        raise SettingsError([f"expected a table, got {_shown(values)}."], source)
    problems: list[str] = []
    table = _renamed(kind, values, problems, "")
    problems += getattr(kind, "table_problems", lambda _: ())(table)
    token = _CHECKING.set(True)
    try:
        # As JSON, strictness takes lists for tuples and tables for dataclasses, and no more.
        made: T = _adapter(kind, others).validate_json(json.dumps([table], default=str))[0]
    except pydantic.ValidationError as error:
        raise SettingsError(problems + _sentences(kind, error), source) from None
    except (TypeError, ValueError):  # no table: a key that is no text, a table within itself
        raise SettingsError(["expected a plain table."], source) from None
    finally:
        _CHECKING.reset(token)
    problems += _problems(made, "")
    if problems:
        raise SettingsError(problems, source)
    return made


def read_stored(
    kind: type[T], path: Path, what: str, remedy: str, error: type[MoppetError] = MoppetError
) -> T:
    """Return the content of a JSON file of ours; see `read_json` and `check_stored`."""
    try:
        values = read_json(path, what, error)
    except MoppetError as damage:
        raise error(f"{damage} {remedy}") from None
    return check_stored(kind, values, f"the {what} {path}", remedy, error)


def check_stored(
    kind: type[T], values: Any, where: str, remedy: str, error: type[MoppetError] = MoppetError
) -> T:
    """Return the content of a file of ours as a dataclass, with old keys renamed.

    Keys that the dataclass lacks are left out: files of later versions may have more.
    where: the file. remedy: a sentence. Raises `error` with the first mistake, and the remedy.
    """
    try:
        return check_settings(kind, values, others="ignore")
    except SettingsError as mistake:
        raise error(f"{where} is damaged: {mistake.problems[0]} {remedy}") from None


def check_fields(settings: Any) -> None:
    """Check settings that were made in Python: for `__post_init__`. Whole numbers become floats.

    Raises UsageError as `check_settings` does.
    """
    fields = dataclasses.fields(settings)
    given = [(getattr(settings, field.name), field.default) for field in fields]
    if _CHECKING.get() or all(type(a) is type(b) and a == b for a, b in given):
        return
    import pydantic

    token = _CHECKING.set(True)
    try:
        made = _adapter(type(settings)).validate_python([settings])[0]
    except pydantic.ValidationError as error:
        raise SettingsError(_sentences(type(settings), error)) from None
    finally:
        _CHECKING.reset(token)
    for field in fields:
        object.__setattr__(settings, field.name, getattr(made, field.name))
    if problems := _problems(settings, ""):
        raise SettingsError(problems)


def old_names(settings: Any) -> dict[str, Any]:
    """Return settings as nested plain values under the keys and words that they had before.

    What was hashed or saved under those names keeps its hash.
    """
    kind = type(settings)
    found: dict[str, Any] = {}
    keys = {new: old for old, new in _mapping(kind, "RENAMED").items()}
    words = _mapping(kind, "RENAMED_WORDS")
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            value = old_names(value)
        elif field.name in words:
            back = {new: old for old, new in words[field.name].items()}
            value = _reworded(value, back)
        found[keys.get(field.name, field.name)] = value
    return found


def _adapter(kind: Any, others: Literal["forbid", "ignore"] = "forbid") -> Any:
    import pydantic

    key = kind, others
    if key not in _ADAPTERS:  # a list hands the configuration on to the dataclass
        _ADAPTERS[key] = pydantic.TypeAdapter(
            list[kind],
            config=pydantic.ConfigDict(
                strict=True, extra=others, allow_inf_nan=False, revalidate_instances="always"
            ),
        )
    return _ADAPTERS[key]


def _mapping(kind: Any, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(kind, name, {})
    return found


def _hints(kind: Any) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(kind)}
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in hints.items() if name in fields}


def _bare(hint: Any) -> Any:
    """A type without the ranges that annotate it."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _inner(hint: Any, key: str | int) -> Any:
    """The type of a key of a table or an item of a list of this type."""
    hint = _bare(hint)
    if dataclasses.is_dataclass(hint):
        return _hints(hint).get(str(key), Any)
    if get_origin(hint) in (Union, types.UnionType):
        plain = [one for one in get_args(hint) if one is not type(None)]
        return _inner(plain[0], key) if len(plain) == 1 else Any
    arguments = get_args(hint)
    if get_origin(hint) is dict:
        return arguments[1]
    return arguments[0] if get_origin(hint) in (tuple, list) else Any


def _renamed(hint: Any, value: Any, problems: list[str], place: str) -> Any:
    hint = _bare(hint)
    if isinstance(value, Mapping):
        made: dict[Any, Any] = {}
        known, words = _mapping(hint, "RENAMED"), _mapping(hint, "RENAMED_WORDS")
        for key, given in value.items():
            name = known.get(key, key)
            if name != key and name in value:
                problems.append(f"give {place}{name} or its old name {key}, not both.")
            given = _reworded(given, words.get(name, {}))
            made[name] = _renamed(_inner(hint, name), given, problems, f"{place}{name}.")
        return made
    if isinstance(value, list | tuple):
        return [_renamed(_inner(hint, i), one, problems, place) for i, one in enumerate(value)]
    return value


def _reworded(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return words.get(value, value)
    if isinstance(value, list | tuple):
        return type(value)(_reworded(one, words) for one in value)
    return value


def _problems(settings: Any, place: str) -> list[str]:
    found: list[str] = []
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            found += _problems(value, f"{place}{key}.")
    elif dataclasses.is_dataclass(settings):
        if hasattr(settings, "problems"):
            found += [
                f"{place.rstrip('.')}: {one}" if place else one for one in settings.problems()
            ]
        for field in dataclasses.fields(settings):
            found += _problems(getattr(settings, field.name), f"{place}{field.name}.")
    elif isinstance(settings, tuple):
        for one in settings:
            found += _problems(one, place)
    return found


def _sentences(kind: type[Any], error: Any) -> list[str]:
    found: dict[tuple[str | int, ...], str] = {}
    for one in error.errors(include_url=False, include_context=False):
        hint, path = kind, []
        for key in one["loc"][1:]:
            inner = _inner(hint, key)
            if inner is Any and one["type"] not in ("missing", "unexpected_keyword_argument"):
                break  # what follows names a branch of a union
            hint = inner
            path.append(key)
        found.setdefault(tuple(path), _sentence(kind, one, hint, path))
    within = {path[:end] for path in found for end in range(len(path))}
    return [text for path, text in found.items() if path not in within]


def _place(path: list[str | int]) -> str:
    *rest, last = path
    return (
        f"item {last + 1} of {_place(rest)}"
        if isinstance(last, int)
        else ".".join(one_line(key, _MOST_SHOWN) for key in path)
    )


def _sentence(kind: type[Any], one: Mapping[str, Any], hint: Any, path: list[str | int]) -> str:
    place = _place(path)
    if one["type"] in ("missing", "unexpected_keyword_argument"):
        if one["type"] == "missing":
            return f"the key {place!r} is needed."
        owner = functools.reduce(_inner, path[:-1], kind)
        return f"unknown key {place!r}.{name_hint(path[-1], _hints(_bare(owner)))}"
    if one["type"] == "value_error":  # of a type's own check, such as that of a registry's names
        return f"{place}: {one_line(one['msg'].removeprefix('Value error, '))}."
    choices = get_args(_bare(hint)) if get_origin(_bare(hint)) is Literal else ()
    near = nearest_name(one["input"], choices) if isinstance(one["input"], str) else None
    more = f" Did you mean {near!r}?" if near else ""
    return f"{place} must be {expected(hint)}, got {_shown(one['input'])}.{more}"


def expected(hint: Any) -> str:
    """Return in words what a type and its range ask for, as in "a whole number of at least 1"."""
    bare, limits = _bare(hint), _limits(hint)
    origin, arguments = get_origin(bare), get_args(bare)
    if origin is Literal:
        return " or ".join(_shown(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(expected(one) for one in arguments if one is not type(None))
    if origin in (tuple, list):
        item = _bare(arguments[0])
        many = expected(item) if get_origin(item) is Literal else _KINDS.get(item, _TABLES)[1]
        least = f"at least {limits['min_length']} " if limits.get("min_length") else ""
        most = f"at most {limits['max_length']} " if limits.get("max_length") else ""
        return f"a list of {least}{'and ' if least and most else ''}{most}{many}"
    if origin is dict and arguments[1] is not Any:
        return f"a table whose values are {_KINDS.get(_bare(arguments[1]), _TABLES)[1]}"
    base = _KINDS.get(origin or bare, _TABLES)[0]
    if "multiple_of" in limits:
        base = f"a multiple of {limits['multiple_of']}"
    if limits.get("min_length"):
        return f"{base} that is not empty"
    if "ge" in limits and "le" in limits:
        return f"{base} from {limits['ge']} to {limits['le']}"
    told = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    ranges = " and ".join(f"{word} {limits[key]}" for key, word in told.items() if key in limits)
    return f"{base} {ranges}" if ranges else base


def _limits(hint: Any) -> dict[str, Any]:
    names = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length")
    return {
        name: getattr(one, name)
        for one in (get_args(hint)[1:] if get_origin(hint) is Annotated else ())
        for name in names
        if getattr(one, name, None) is not None
    }


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits
        return "a number of too many digits"
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _message(problems: list[str], source: str) -> str:
    if len(problems) == 1:
        return f"{source}: {problems[0]}" if source else problems[0]
    listed = problems if len(problems) <= _MOST_LINES else problems[: _MOST_LINES - 1]
    more = [f"and {len(problems) - len(listed)} more"] * (len(listed) < len(problems))
    head = f"{source} has {len(problems)} mistakes:" if source else f"{len(problems)} mistakes:"
    return "\n  ".join([head, *listed, *more])


def _levels(value: Any) -> int:
    """Return how deep tables and lists nest, counted no further than is allowed."""
    level, inner = 0, [value]
    while inner and level <= _MOST_LEVELS:
        tables = [one for one in inner if isinstance(one, dict | list)]
        level += bool(tables)
        inner = [
            item for one in tables for item in (one.values() if isinstance(one, dict) else one)
        ]
    return level
