"""Every `moppet` command in the documents is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from moppet.commands.main import app

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SEPARATORS = {"|", "||", "&&", ";", ">", ">>", "2>"}


def bash_lines(text: str) -> Iterator[str]:
    """The command lines of a page's ```bash blocks, continued lines joined."""
    for block in re.findall(r"^ *```(?:bash|sh|console)[^\n]*\n(.*?)^ *```", text, re.M | re.S):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            yield line.strip().removeprefix("$ ")


def commands_in(line: str) -> Iterator[list[str]]:
    """The words behind each `moppet` of a line: a pipe or `&&` ends a command."""
    words = shlex.split(line, comments=True) if "moppet" in line else []
    current: list[str] | None = None
    for word in words:
        if word in SEPARATORS or word.endswith(";"):
            if current is not None:
                yield [
                    *current,
                    *filter(None, [word.rstrip(";")] if word not in SEPARATORS else []),
                ]
            current = None
        elif word == "moppet" and current is None:
            current = []
        elif current is not None:
            current.append(word)
    if current is not None:
        yield current


def parse(words: list[str]) -> Any:
    """Parse a command as the command line does, without running it."""
    group = typer.main.get_command(app)
    context = group.make_context("moppet", list(words), resilient_parsing=False)
    arguments = [*context._protected_args, *context.args]
    command = group
    while hasattr(command, "commands") and arguments:
        name, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(name, arguments, parent=context)
        if hasattr(command, "commands"):
            arguments = [*context._protected_args, *context.args]
    return context


FOUND = [
    (page.relative_to(ROOT).as_posix(), words)
    for page in PAGES
    for line in bash_lines(page.read_text(encoding="utf-8"))
    for words in commands_in(line)
]


def test_the_documents_show_most_commands() -> None:
    shown = {words[0] for _, words in FOUND if words}
    names = typer.main.get_command(app).commands.keys()
    assert len(FOUND) > 60 and len(shown & names) >= 14


@pytest.mark.parametrize("page", sorted({page for page, _ in FOUND}))
def test_a_command_in_a_document_has_known_names_and_options(
    page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = []
    for where, words in FOUND:
        if where == page and words and words != ["--version"]:
            try:
                parse(words)
            except SystemExit as ended:
                assert not ended.code
            except RuntimeError:
                pass  # --help and the like: typer's Exit
            except Exception as error:
                wrong.append(f"moppet {shlex.join(words)}: {error}")
    assert wrong == []
    assert "is now" not in capsys.readouterr().err  # no old name


@pytest.mark.parametrize(
    "line",
    ["moppet analize a.mp4", "moppet analyze a.mp4 --from 3", "cd x && moppet compare a"],
)
def test_the_check_finds_a_wrong_command(line: str) -> None:
    (words,) = commands_in(line)
    with pytest.raises(Exception, match=r"No such|Missing|analize|from"):
        parse(words)
