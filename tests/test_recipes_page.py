"""docs/reference/recipes.md lists every key that the readers accept, with its default and range."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from moppet.config import check_settings
from moppet.guard.rules import GuardSettings, read_guard
from moppet.study.plan import (
    ClassifierPlan,
    DataSet,
    Method,
    NetworkPlan,
    Regime,
    Table,
    read_plan,
)
from moppet.synthesis.settings import SynthesisSettings, settings_from
from moppet.timeline import TimelineSettings
from moppet.train.networks import NETWORKS
from moppet.train.recipe import RandomViewSettings, Recipe
from moppet.values import UsageError

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "recipes.md"
MISSING = object()


class Key(NamedTuple):
    section: str
    name: str
    kind: str
    default: Any
    range: str
    meaning: str


def read_page() -> list[Key]:
    """Every row of the page's tables under the level-2 heading that it belongs to.

    Tables of a part, such as "### [regimes.NAME]", are a section of their own.
    """
    keys, section = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"(##+) (.+)", line):
            if heading[1] == "##" or heading[2].startswith("["):
                section = heading[2]
        elif line.startswith("| `"):
            name, kind, default, span, meaning = (part.strip() for part in line.split("|")[1:-1])
            keys.append(Key(section, name.strip("`"), kind, plain(default), span, meaning))
    return keys


def plain(cell: str) -> Any:
    return tomllib.loads(f"x = {cell.strip('`')}")["x"] if cell.startswith("`") else MISSING


KEYS = read_page()
every_key = pytest.mark.parametrize("key", KEYS, ids=lambda k: f"{k.section}-{k.name}")


def of(section: str) -> dict[str, Key]:
    found = {key.name: key for key in KEYS if key.section == section}
    assert found, section
    return found


def fields_of(kind: type[Any]) -> dict[str, Any]:
    """Field → default of a dataclass or a pydantic model, MISSING where it is required."""
    if not dataclasses.is_dataclass(kind):
        return {
            name: MISSING if one.is_required() else one.get_default(call_default_factory=True)
            for name, one in kind.model_fields.items()  # type: ignore[attr-defined]
        }
    found = {}
    for one in dataclasses.fields(kind):
        made = one.default_factory
        found[one.name] = one.default if made is dataclasses.MISSING else made()
        if found[one.name] is dataclasses.MISSING:
            found[one.name] = MISSING
    return found


def same(documented: Any, value: Any) -> bool:
    if isinstance(value, tuple):
        value = [str(item) for item in value]
    return documented is MISSING if value is MISSING else documented == value


# ------------------------------------------------------------------------- keys and defaults


@pytest.mark.parametrize(
    "section, kind, apart",
    [
        ("Training recipes", Recipe, {"random_views"}),
        ("[random_views]", RandomViewSettings, set()),
        ("[regimes.NAME]", Regime, {"name"}),
        ("[tables.NAME]", Table, set()),
        ("[data_sets.NAME]", DataSet, {"name"}),
        ("[methods.NAME]", Method, {"name"}),
        ("Synthesis settings", SynthesisSettings, set()),
        ("Guard settings", GuardSettings, set()),
        ("Timeline settings", TimelineSettings, set()),
    ],
)
def test_a_table_has_the_readers_keys_and_defaults(section, kind, apart):
    listed, fields = of(section), fields_of(kind)
    assert {*listed} - apart == {*fields} - apart
    wrong = {
        name: (listed[name].default, value)
        for name, value in fields.items()
        if name not in apart and not same(listed[name].default, value)
    }
    assert wrong == {}


NOT_IN_A_RECIPE = {"base", "other_data"}
"""Fields of a plan that its reader sets."""


@pytest.mark.parametrize("section", ["Studies of networks", "Studies of classifiers"])
def test_a_studys_keys_are_those_of_its_plan(section, tmp_path):
    kind, table = STUDIES[section]
    listed, fields = of(section), fields_of(kind)
    assert {*listed} == {*fields} - NOT_IN_A_RECIPE
    plan = read_study(tmp_path, table)
    for name, key in listed.items():
        if key.default is MISSING:
            with pytest.raises(UsageError, match=name):
                read_study(tmp_path, {k: v for k, v in table.items() if k != name})
        else:
            assert same(key.default, getattr(plan, name)), name


def test_the_networks_are_all_listed():
    assert {*quoted(of("Training recipes")["network"].range)} == {*NETWORKS}


# ------------------------------------------------------------------------------ types, ranges

TYPES = {
    "string": "one",
    "integer": 7,
    "float": 0.5,
    "boolean": True,
    "list": ["one", "two"],
    "table": {"one": 1},
}


@every_key
def test_a_key_has_a_type_and_a_meaning(key):
    assert key.kind in (*TYPES, "list of tables")
    assert len(key.meaning) > 5


@every_key
def test_a_value_of_another_type_is_refused(key, tmp_path):
    for kind, value in TYPES.items():
        whole = {kind, key.kind} == {"integer", "float"} and kind == "integer"
        if kind != key.kind and not whole and key.name not in ("name", "title", "notes"):
            with pytest.raises(UsageError):
                give(key, value, tmp_path)


def quoted(text: str) -> list[str]:
    return re.findall(r'`"([^"]*)"`', text)


CHECKED_WHEN_USED = {"network", "augmentations", "ages", "ethnicities", "backgrounds", "occlusions"}
"""Words that the part which uses them refuses, not the reader."""


@every_key
def test_the_words_of_a_range_are_accepted_and_others_refused(key, tmp_path):
    words = quoted(key.range)
    if not words:
        return
    for word in words:
        give(key, [word] if key.kind == "list" else word, tmp_path)
    if key.name not in CHECKED_WHEN_USED:
        with pytest.raises(UsageError):
            give(key, ["no such word"] if key.kind == "list" else "no such word", tmp_path)


@every_key
def test_the_borders_of_a_range_are_those_of_the_reader(key, tmp_path):
    if key.kind not in ("integer", "float") or not key.range:
        return
    step = 1 if key.kind == "integer" else 0.001
    borders = re.findall(r"(at least|above|at most|below) (\d+(?:\.\d+)?)", key.range)
    assert borders, key.range
    for word, number in borders:
        border = int(number) if key.kind == "integer" else float(number)
        if word in ("at least", "at most"):
            give(key, border, tmp_path)
            refused = border - step if word == "at least" else border + step
        else:
            give(key, border + step if word == "above" else border - step, tmp_path)
            refused = border
        with pytest.raises(UsageError):
            give(key, refused, tmp_path)


# ---------------------------------------------------------------------------------- the files

STUDY: dict[str, Any] = {
    "name": "s",
    "title": "S",
    "output": "out",
    "work": "work",
    "common": {"data": "faces"},
    "regimes": {"all": {}},
    "tables": {"one": {"experiments": [{"name": "first"}]}},
}
CLASSIFIERS: dict[str, Any] = {
    "name": "h",
    "title": "H",
    "output": "out",
    "work": "work",
    "data": "faces",
    "reference": "plain",
    "data_sets": {"all": {"classes": ["anger", "fear"]}},
    "methods": {"plain": {}, "one": {}},
}
STUDIES = {
    "Studies of networks": (NetworkPlan, STUDY),
    "Studies of classifiers": (ClassifierPlan, CLASSIFIERS),
}
TOGETHER: dict[str, dict[str, Any]] = {
    "enter": {"leave": 0},
    "leave": {"enter": 1},
    "synthetic": {"ratio": 1},
    "ratio": {"synthetic": "gan"},
}
"""What else must be said where a key's value depends on another's."""


def give(key: Key, value: Any, folder: Path) -> Any:
    """Read a file in which a key has this value; UsageError where it is refused."""
    own = {key.name: value}
    if key.kind in ("integer", "float") and isinstance(value, int | float):
        own |= TOGETHER.get(key.name, {})
        if key.name == "ratio" and value == 0:
            own = {"ratio": value}
    match key.section:
        case "Training recipes":
            return check_settings(Recipe, {"name": "n", "data": "d"} | own, "page")
        case "[random_views]":
            return check_settings(Recipe, {"name": "n", "data": "d", "random_views": own}, "page")
        case "Synthesis settings":
            method = "diffusion" if key.name in ("guidance", "strength", "model_steps") else "gan"
            return settings_from({"method": method} | own, "page")
        case "Timeline settings":
            return TimelineSettings.from_dict(own)
        case "Guard settings":
            path = write(folder, own)
            return read_guard(path)
        case "[regimes.NAME]":
            made = {"generators": {"gan": {"method": "gan"}}}
            return read_study(folder, STUDY | made | {"regimes": {"all": own}})
        case "[tables.NAME]":
            table = STUDY["tables"]["one"] | own
            return read_study(folder, STUDY | {"tables": {"one": table}})
        case "[[tables.NAME.experiments]]":
            line = {"name": "first"} | own
            return read_study(folder, STUDY | {"tables": {"one": {"experiments": [line]}}})
        case "Studies of networks":
            return read_study(folder, STUDY | own)
        case "[data_sets.NAME]":
            sets = {"all": {"classes": ["anger", "fear"]} | own}
            return read_study(folder, CLASSIFIERS | {"data_sets": sets})
        case "[methods.NAME]":
            return read_study(folder, CLASSIFIERS | {"methods": {"plain": {}, "one": own}})
        case "Studies of classifiers":
            return read_study(folder, CLASSIFIERS | own)
    raise AssertionError(f"the page has a section that this test does not know: {key.section}")


def read_study(folder: Path, table: dict[str, Any]) -> Any:
    return read_plan(write(folder, table))


def write(folder: Path, table: dict[str, Any]) -> Path:
    path = folder / "page.toml"
    path.write_text("".join(f"{k} = {toml(v)}\n" for k, v in table.items()), encoding="utf-8")
    return path


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}" = {toml(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return '"' + value.replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)
