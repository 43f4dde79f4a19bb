"""Every command's --help: complete, in short sentences, and never cut."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from command_line import Run
from moppet.commands.main import FIRST_STEPS, app
from moppet.commands.options import VERBS

LONGEST_SUMMARY = 60


def all_commands() -> dict[str, Any]:
    """Each command by its words: "analyze", "data audit"."""
    found: dict[str, Any] = {}

    def walk(group: Any, words: str) -> None:
        for name, command in group.commands.items():
            found[f"{words} {name}".strip()] = command
            if hasattr(command, "commands"):
                walk(command, f"{words} {name}".strip())

    walk(typer.main.get_command(app), "")
    return found


COMMANDS = all_commands()
READY = list(COMMANDS)


def test_every_command_is_listed_once_under_a_heading(moppet: Run) -> None:
    listed = moppet("--help").out
    names = [name for name in COMMANDS if " " not in name]
    assert len(names) >= 16
    for name in names:
        assert sum(line.startswith(f"  {name} ") for line in listed.splitlines()) == 1
    for heading in ("Recordings:", "Models:", "Datasets:"):
        assert heading in listed
    assert not [old for old in VERBS if f"  {old} " in listed]


@pytest.mark.parametrize("name", READY)
def test_a_summary_is_a_sentence_of_at_most_60_characters(name: str) -> None:
    summary = COMMANDS[name].help.split("\n\n")[0]
    assert len(summary) <= LONGEST_SUMMARY and summary.endswith(".") and "\n" not in summary
    assert "..." not in COMMANDS[name].get_short_help_str(LONGEST_SUMMARY)


@pytest.mark.parametrize("name", READY)
def test_every_argument_and_option_has_a_help_text(name: str) -> None:
    lacking = [p.name for p in COMMANDS[name].params if not (getattr(p, "help", "") or "").strip()]
    assert lacking == []


@pytest.mark.parametrize("name", READY)
def test_help_is_never_cut_and_shows_no_markup(
    moppet: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    printed = moppet(*name.split(), "--help")
    assert (printed.code, printed.err) == (0, "")
    for mark in ("\\", "…", "[bold", "[dim"):
        assert mark not in printed.out, mark
    for parameter in COMMANDS[name].params:
        for option in parameter.opts:
            assert option in printed.out
    assert moppet(*name.split(), "-h").out == printed.out


@pytest.mark.parametrize(
    "name", [name for name in READY if not hasattr(COMMANDS[name], "commands")]
)
def test_help_ends_with_one_example_of_the_command(name: str) -> None:
    epilog = COMMANDS[name].epilog
    assert epilog.startswith(f"Example: moppet {name} ") and epilog.count("moppet ") == 1


def test_moppet_alone_prints_the_first_steps(moppet: Run) -> None:
    done = moppet()
    assert (done.code, done.out, done.err) == (0, FIRST_STEPS + "\n", "")
    assert len(FIRST_STEPS.splitlines()) < 10


def test_an_option_has_one_short_name_and_help_text_wherever_it_is_shared() -> None:
    shared = ("start", "end", "seed", "jobs", "option", "set", "subject", "kind", "people")
    for name in shared:
        texts = {
            (tuple(parameter.opts), parameter.help)
            for command in READY
            for parameter in COMMANDS[command].params
            if f"--{name}" in parameter.opts
        }
        assert len(texts) <= 1, texts
