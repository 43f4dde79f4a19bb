"""Write the reference of commands for the documentation site, from the command line itself.

MkDocs runs this as a hook: the page reference/commands.md exists only while the site is built. To
read it without a site:

    python tools/commands_page.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from moppet.commands.main import app
from moppet.commands.options import help_record

PAGE = "reference/commands.md"
HEAD = """# Commands

This page is generated from the command line. `moppet COMMAND --help` (or `-h`) prints the same.

Every command exits with 0 if it succeeded, 1 if something went wrong, and 2 if an argument, option
or recipe is not valid.
"""


def commands_page() -> str:
    """Return the page: a list of the commands, then a section for each with its options."""
    root = typer.main.get_command(app)
    found = [*_commands(root, "moppet")]
    rows = [f"| [`{name}`](#{_anchor(name)}) | {_cell(_summary(c))} |" for name, c, _ in found]
    index = ["| command | what it does |", "|---|---|", *rows, ""]
    return "\n".join([HEAD, *index, *(_section(*entry) for entry in found)])


def _commands(group: Any, path: str, parent: Any = None) -> Iterator[tuple[str, Any, Any]]:
    """Yield each visible command with its whole name and context, groups opened."""
    context = _context(group, path.split()[-1], parent)
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}", context)
        else:
            yield f"{path} {name}", command, _context(command, name, context)


def _context(command: Any, name: str, parent: Any) -> Any:
    settings = command.context_settings or {}
    return command.context_class(command, info_name=name, parent=parent, **settings)


def _section(name: str, command: Any, context: Any) -> str:
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [f"## {name} {{ #{_anchor(name)} }}", "", _paragraphs(command.help), ""]
    lines += ['```text title="Usage"', usage, "```", ""]
    if command.epilog:
        lines += ['```bash title="Example"', _example(command.epilog), "```", ""]
    for kind, head in (("argument", "Argument"), ("option", "Option")):
        records = [
            record
            for parameter in command.get_params(context)
            if parameter.param_type_name == kind
            and parameter.name != "help"
            and (record := help_record(parameter, context)) is not None
        ]
        if records:
            lines += [f"| {head} | Meaning | Default |", "|---|---|---|"]
            lines += [_row(*record) for record in records] + [""]
    return "\n".join(lines)


def _row(names: str, text: str) -> str:
    """Return a table's line of a parameter. "text  [default: 1; at least 0]" is split in three."""
    notes_at_end = (
        r"(.*?)\s*\[([^\[\]]*(?:default: |required|at least |at most |\d to \d)[^\[\]]*)\]"
    )
    found = re.fullmatch(notes_at_end, text, re.DOTALL)
    meaning, notes = (found[1], found[2].split("; ")) if found else (text, [])
    default = ""
    for note in notes:
        if note.startswith("default: "):
            default = f"`{note.removeprefix('default: ')}`"
        elif note == "required":
            default = "required"
        else:
            meaning = f"{meaning} ({note})"
    return f"| `{names}` | {_cell(meaning)} | {_cell(default)} |"


def _example(epilog: str) -> str:
    return " ".join(epilog.split()).removeprefix("Example: ")


def _summary(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _paragraphs(text: str | None) -> str:
    parts = re.split(r"\n\s*\n", (text or "").replace("\b", "").strip())
    return "\n\n".join(_escape(" ".join(part.split())) for part in parts)


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _cell(text: str) -> str:
    return _escape(" ".join(text.split())).replace("|", r"\|")


def _escape(text: str) -> str:
    """Keep Markdown and HTML from reading something into a text of the terminal."""
    pieces = re.split(r"(`[^`]*`)", text)
    pieces[::2] = [re.sub(r"([\\<>*_\[\]])", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(pieces)


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add the page to those of the site (MkDocs calls this)."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=commands_page()))
    return files


if __name__ == "__main__":
    print(commands_page())
