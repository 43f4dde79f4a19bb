"""Every `moppet` command and option in the documents is one that the command line takes."""

from __future__ import annotations

import json
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
    *sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")),
]
MENTIONS = [
    *sorted(ROOT.glob("recipes/**/*.toml")),
    *(path for room in ("tools", "benchmarks") for path in sorted(ROOT.glob(f"{room}/*.py"))),
    *(ROOT / "Makefile", ROOT / "src" / "moppet" / "__init__.py"),
]
"""Files in which lines of comments or rules start with a command."""
SEPARATORS = {"|", "||", "&&", ";", ">", ">>", "2>"}


def command_lines(page: Path) -> Iterator[str]:
    """The command lines of a page's ```bash blocks, of a notebook, or of comments."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
        yield from (line[1:] for cell in cells for line in cell.splitlines() if line[:1] == "!")
    elif page in MENTIONS:
        joined = re.sub(r"\\\n[#\s]*", "", text)
        yield from re.findall(
            r"^[#\s]*(?:make \w+ && |\$\(VENV\)/bin/)?(moppet [a-z].*)$", joined, re.M
        )
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
    for page in (*PAGES, *MENTIONS)
    for line in command_lines(page)
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


def options_of(*, old: bool) -> dict[str, dict[str, str]]:
    """Command → each option's name (or old name) → its present name."""
    root = typer.main.get_command(app)
    found = {}
    for name, command in root.commands.items():
        for part, inner in getattr(command, "commands", {"": command}).items():
            known = {o: o for p in inner.params for o in (*p.opts, *p.secondary_opts)}
            part = "" if part == getattr(command, "default", "") else part
            found[f"{name} {part}".strip()] = dict(inner.old_options) if old else known
    return found


def test_an_option_named_in_a_text_is_one_of_its_command() -> None:
    known = options_of(old=False)
    wrong = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").split("\n## Old names\n")[0]
        for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
            named = re.search(r"moppet ([a-z]+(?: [a-z]+)?)", span)
            verb = named and next((v for v in (named[1], named[1].split()[0]) if v in known), None)
            any_of = known[verb] if verb else {o for options in known.values() for o in options}
            for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", span):
                if option not in any_of and option != "--help" and "completion" not in option:
                    wrong.append(f"{page.name}: {span}")
    assert wrong == []


def test_the_table_of_old_names_is_complete() -> None:
    page = ROOT / "docs" / "guides" / "command-line.md"
    table = page.read_text(encoding="utf-8").split("\n## Old names\n")[1]
    shown = set()
    for old, new in re.findall(r"^\| (`.*`) \| (`.*`) \|$", table, re.M):
        command = ""
        for name, now in zip(re.findall("`([^`]+)`", old), new.split(", ") * 9, strict=False):
            *verb, option = name.split(" ")
            command = " ".join(verb) or command
            shown.add((command, option, now.strip("`")))
    listed = {(c, o, n) for c, options in options_of(old=True).items() for o, n in options.items()}
    assert shown == {*listed, ("moppet", "ablate", "moppet study")}


@pytest.mark.parametrize(
    "line",
    ["moppet analize a.mp4", "moppet analyze a.mp4 --from 3", "cd x && moppet export"],
)
def test_the_check_finds_a_wrong_command(line: str) -> None:
    (words,) = commands_in(line)
    with pytest.raises(Exception, match=r"No such|Missing|analize|from"):
        parse(words)
