"""The examples in the docstrings of the public functions run and print what they say."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import moppet
from moppet.infer import ExpressionModel

ROOT = Path(__file__).resolve().parents[1]


def _is_documented(thing: object) -> bool:
    """Functions and classes that need an example; errors and plain values do not."""
    if inspect.isclass(thing):
        return not issubclass(thing, BaseException)
    return inspect.isfunction(thing)


def _public_docstrings() -> Iterator[tuple[str, str]]:
    """Yield the dotted name and docstring of every public function, class and method."""
    things = {name: getattr(moppet, name) for name in moppet.__all__}
    for name, thing in {**things, "ExpressionModel": ExpressionModel}.items():
        if not _is_documented(thing):
            continue
        if thing is not ExpressionModel:  # the example of load_model creates one
            yield name, inspect.getdoc(thing) or ""
        if inspect.isclass(thing):
            for method, function in vars(thing).items():
                function = getattr(function, "__func__", function)
                if not method.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{method}", inspect.getdoc(function) or ""


@pytest.mark.parametrize(("name", "text"), [*_public_docstrings()])
def test_its_example_prints_what_it_says(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)  # examples may write files
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples, f"{name} has no example in its docstring"
    printed: list[str] = []
    result = doctest.DocTestRunner().run(example, out=printed.append)
    assert result.failed == 0, "".join(printed)
