"""Settings: every mistake at once, in plain words; old names are read; hashes keep theirs."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Ge, Interval, MinLen, MultipleOf
from hypothesis import given
from hypothesis import strategies as st

from moppet.config import check_fields, check_settings, old_names, read_settings, read_toml
from moppet.values import UsageError


@dataclass(frozen=True)
class Flips:
    flip: Annotated[float, Interval(ge=0, le=1)] = 0.5


@dataclass(frozen=True)
class Recipe:
    RENAMED: ClassVar = {"colour": "color", "pictures": "images"}
    RENAMED_WORDS: ClassVar = {"color": {"grey": "gray"}, "splits": {"choose": "val"}}

    name: str
    epochs: Annotated[int, Ge(1)] = 20
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.2
    size: Annotated[int, Interval(ge=16, le=256), MultipleOf(16)] = 48
    color: Literal["gray", "rgb"] = "gray"
    classes: Annotated[tuple[str, ...], MinLen(2)] = ("happiness", "fear")
    splits: tuple[str, ...] = ("train",)
    images: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    augmentation: Flips = field(default_factory=Flips)
    regimes: dict[str, Flips] = field(default_factory=dict)
    published: Annotated[float, Interval(ge=0, le=1)] | None = None

    def problems(self) -> Iterator[str]:
        if len(set(self.classes)) < len(self.classes):
            yield f"classes must differ, got {list(self.classes)}."


def message(values: dict[str, object]) -> str:
    with pytest.raises(UsageError) as raised:
        check_settings(Recipe, {"name": "mine", **values}, source="recipe.toml")
    return str(raised.value)


def test_a_file_becomes_settings_that_compare_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'name = "mine"\ndropout = 0\nclasses = ["fear", "anger"]\n'
        "[augmentation]\nflip = 1\n[regimes.small]\nflip = 0.25\n",
        encoding="utf-8",
    )
    recipe = read_settings(Recipe, path, "recipe")
    assert recipe == Recipe(
        "mine",
        dropout=0.0,
        classes=("fear", "anger"),
        augmentation=Flips(1.0),
        regimes={"small": Flips(0.25)},
    )
    assert type(recipe.dropout) is float and type(recipe.augmentation.flip) is float
    assert dataclasses.replace(recipe, epochs=3).epochs == 3


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"epoch": 5}, "recipe.toml: unknown key 'epoch'. Did you mean 'epochs'?"),
        ({"epochs": 0}, "recipe.toml: epochs must be a whole number of at least 1, got 0."),
        ({"epochs": "5"}, "recipe.toml: epochs must be a whole number of at least 1, got '5'."),
        ({"epochs": True}, "recipe.toml: epochs must be a whole number of at least 1, got true."),
        ({"epochs": 2.0}, "recipe.toml: epochs must be a whole number of at least 1, got 2.0."),
        ({"dropout": 1}, "dropout must be a number of at least 0 and below 1, got 1."),
        ({"dropout": float("nan")}, "dropout must be a number of at least 0 and below 1, got nan."),
        ({"dropout": True}, "dropout must be a number of at least 0 and below 1, got true."),
        (
            {"size": 50},
            "size must be a multiple of 16 from 16 to 256, got 50.",
        ),
        ({"color": "gary"}, "color must be 'gray' or 'rgb', got 'gary'. Did you mean 'gray'?"),
        ({"classes": "fear"}, "classes must be a list of at least 2 texts, got 'fear'."),
        ({"classes": ["a", 3]}, "item 2 of classes must be a text, got 3."),
        ({"classes": ["a", "a"]}, "recipe.toml: classes must differ, got ['a', 'a']."),
        ({"images": 1}, "images must be true or false, got 1."),
        ({"counts": {"fear": "3"}}, "counts.fear must be a whole number, got '3'."),
        ({"counts": 3}, "counts must be a table whose values are whole numbers, got 3."),
        ({"augmentation": {"flip": 2}}, "augmentation.flip must be a number from 0 to 1, got 2."),
        ({"augmentation": {"flop": 1}}, "unknown key 'augmentation.flop'. Did you mean 'flip'?"),
        ({"regimes": {"small": 3}}, "regimes.small must be a table, got 3."),
        ({"published": "x"}, "published must be a number from 0 to 1, got 'x'."),
        ({"name": None}, "name must be a text, got None."),
        ({"colour": "grey", "color": "rgb"}, "give color or its old name colour, not both."),
    ],
)
def test_a_wrong_key_is_named_with_what_it_needs(values: dict[str, object], text: str) -> None:
    assert text in message(values)
    assert "\n" not in message(values)


def test_all_mistakes_are_listed_at_once_in_a_dozen_lines() -> None:
    text = message({"epoch": 5, "size": "48", "dropout": 3, "colour": "red"})
    assert text.splitlines() == [
        "recipe.toml has 4 mistakes:",
        "  dropout must be a number of at least 0 and below 1, got 3.",
        "  size must be a multiple of 16 from 16 to 256, got '48'.",
        "  color must be 'gray' or 'rgb', got 'red'.",
        "  unknown key 'epoch'. Did you mean 'epochs'?",
    ]
    many = message({f"odd{n}": n for n in range(30)})
    assert len(many.splitlines()) == 12 and many.splitlines()[-1] == "  and 20 more"


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UsageError, match=r"^x: the key 'name' is needed\.$"):
        check_settings(Recipe, {}, source="x")


def test_old_keys_and_words_are_read_and_can_be_written_back() -> None:
    old = {"name": "a", "colour": "grey", "pictures": False, "splits": ["choose", "train"]}
    recipe = check_settings(Recipe, old)
    assert (recipe.color, recipe.images, recipe.splits) == ("gray", False, ("val", "train"))
    back = old_names(recipe)
    assert back["colour"] == "grey" and back["splits"] == ("choose", "train")
    assert "color" not in back and back["augmentation"] == {"flip": 0.5}
    assert check_settings(Recipe, back) == recipe


@dataclass(frozen=True, slots=True)
class Smoothing:
    smooth_s: Annotated[float, Ge(0)] = 0.25
    enter: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self)

    def problems(self) -> Iterator[str]:
        if self.enter > 1:
            yield "enter must be at most 1."


def test_settings_made_in_python_are_checked_too() -> None:
    assert type(Smoothing(smooth_s=1).smooth_s) is float
    with pytest.raises(UsageError, match=r"^smooth_s must be a number of at least 0, got '1'\.$"):
        Smoothing(smooth_s="1")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="enter must be at most 1"):
        Smoothing(enter=2)
    with pytest.raises(UsageError, match="enter must be at most 1"):
        check_settings(Smoothing, {"enter": 2})


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_whatever_comes_is_checked_or_refused_in_words(value: object) -> None:
    for key in [one.name for one in dataclasses.fields(Recipe)]:
        try:
            check_settings(Recipe, {"name": "a", key: value})
        except UsageError as error:
            assert key in str(error)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a = " + b"[" * 3000 + b"]" * 3000, "nests tables or lists more than 12 deep"),
        (b"a = " + b"[" * 20 + b"]" * 20, "nests tables or lists more than 12 deep"),
        (b"#" * 1_000_001, "is larger than 1,000,000 bytes"),
        (b"a = ", "is not valid TOML"),
        (b"\xff", "is not valid TOML"),
    ],
)
def test_odd_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"the recipe .*odd.toml {text}"):
        read_toml(path, "recipe")
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(tmp_path, "recipe")


def test_pydantic_is_imported_only_to_check() -> None:
    code = (
        "import sys, moppet, moppet.commands.main\n"
        "moppet.TimelineSettings()\n"
        "print('pydantic' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
